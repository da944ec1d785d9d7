"""`vault:NAME` or `vault:MOUNT/NAME`: keys in the transit engine of HashiCorp Vault or OpenBao; MOUNT is `transit`.

Address and token come from VAULT_ADDR and VAULT_TOKEN, and where they are set the certificate authority from
VAULT_CACERT and the namespace from VAULT_NAMESPACE. The token's policy must allow `read` on MOUNT/keys/NAME, and
`update` on MOUNT/sign/NAME for a signing key, on MOUNT/encrypt/NAME and MOUNT/decrypt/NAME for a wrapping key.
A signer keeps to the key's version that was the newest when it was opened; a wrapped key says its own version.

Source: https://openbao.org/api-docs/secret/transit/
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ed25519

from sdk.crypto.encoding import b64, from_b64
from sdk.crypto.remote import RemoteSigner, RemoteWrapper, does_not_open, wrapped_bytes, wrong_kind
from sdk.crypto.signing import public_pem
from sdk.errors import InvalidInput, MissingExtra, StepFailed
from sdk.records import canonical_json

try:
    import hvac
    import requests
    from hvac import exceptions as faults
except ModuleNotFoundError:
    raise MissingExtra("hvac is not installed; run `pip install domain-adaptation-sdk[vault]`.") from None

TIMEOUT_SECONDS = 15
LOOPBACK = ("localhost", "127.0.0.1", "::1")
VERSIONED = re.compile(r"vault:v[1-9][0-9]{0,8}:(.+)", re.DOTALL)  # what encrypt and sign answer
NAME = re.compile(r"(?:(?P<mount>[\w-][\w.-]*(?:/[\w-][\w.-]*)*)/)?(?P<name>[\w-][\w.-]*)", re.ASCII)
NOT_THERE = "there is no such key; look at the name, the mount and the namespace"
ANSWER = "Vault's answer is not one of the transit engine; look at VAULT_ADDR and the mount"


class _Key:
    """One key of the transit engine, and how it is asked."""

    def __init__(self, uri: str) -> None:
        parts = NAME.fullmatch(uri.partition(":")[2])
        if not parts:
            raise InvalidInput(f"Key {uri} is not named vault:NAME or vault:MOUNT/NAME.")
        self.uri = uri
        self.place = {"name": parts["name"], "mount_point": parts["mount"] or "transit"}
        self.transit = _client(uri).secrets.transit
        self.about = self.ask(lambda: self.transit.read_key(**self.place))
        if self.about.get("derived"):
            raise InvalidInput(f"Key {uri} is a derived one; make a key without `derived=true`.")

    def ask(self, call: Callable[[], Any]) -> dict[str, Any]:
        """Return the answer's `data`, or raise our error: InvalidInput for what a person must mend, else StepFailed."""
        try:
            data = call()["data"]
        except faults.InvalidRequest as error:
            raise self._refused(str(error.errors)) from None
        except faults.InvalidPath:
            raise InvalidInput(f"Key {self.uri}: {NOT_THERE}.") from None
        except (faults.Forbidden, faults.Unauthorized):
            raise InvalidInput(
                f"Key {self.uri}: Vault denies it; renew VAULT_TOKEN, or have its policy allow this key."
            ) from None
        except faults.VaultError as error:
            raise StepFailed(f"Key {self.uri}: Vault failed ({type(error).__name__}); try again later.") from None
        except ValueError as error:
            raise InvalidInput(f"VAULT_ADDR or VAULT_TOKEN is malformed ({type(error).__name__}).") from None
        except requests.exceptions.RequestException as error:
            raise StepFailed(
                f"Key {self.uri}: Vault cannot be reached ({type(error).__name__}); look at VAULT_ADDR, try later."
            ) from None
        except OSError:  # nothing else is read from disk
            raise InvalidInput("VAULT_CACERT cannot be read; name a file or a folder of certificates.") from None
        except (KeyError, TypeError):
            data = None
        if not isinstance(data, dict):
            raise StepFailed(f"Key {self.uri}: {ANSWER}.")
        return data

    def _refused(self, text: str) -> Exception:
        """Make the error for a 400: what happened is said by its text alone."""
        if "authentication failed" in text or "invalid ciphertext" in text:
            return does_not_open(self.uri)
        if "key not found" in text:
            return InvalidInput(f"Key {self.uri}: {NOT_THERE}.")
        if "too old" in text:
            return InvalidInput(
                f"Key {self.uri}: the version that was used is below min_decryption_version or was trimmed away."
            )
        return InvalidInput(f"Key {self.uri}: Vault refuses the request; look at the key's type and its configuration.")

    def answered(self, answer: Any, field: str) -> str:
        value = answer.get(field) if isinstance(answer, dict) else None
        if not isinstance(value, str):
            raise StepFailed(f"Key {self.uri}: {ANSWER}.")
        return value


def _client(uri: str) -> Any:
    address, token = os.environ.get("VAULT_ADDR", ""), os.environ.get("VAULT_TOKEN", "")
    if not address or not token:
        raise InvalidInput(f"Key {uri}: set VAULT_ADDR and VAULT_TOKEN.")
    try:
        parts = urlsplit(address)
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:
        encrypted = False
    if not encrypted:
        raise InvalidInput("VAULT_ADDR is not an https:// address; http:// would show the token on its way.")
    return hvac.Client(
        url=address,
        token=token,
        timeout=TIMEOUT_SECONDS,
        verify=os.environ.get("VAULT_CACERT") or True,
        namespace=os.environ.get("VAULT_NAMESPACE") or None,
    )


def _public_pem(key: _Key, text: str) -> str:
    """Read a public key as Vault writes it: PEM for P-256, the 32 bytes in base64 for Ed25519."""
    if key.about["type"] == "ecdsa-p256":
        return text
    try:
        return public_pem(ed25519.Ed25519PublicKey.from_public_bytes(from_b64(text)))
    except ValueError:
        raise StepFailed(f"Key {key.uri}: {ANSWER}.") from None


def open_signer(uri: str) -> RemoteSigner:
    """Open a key of the type ecdsa-p256 or ed25519."""
    key = _Key(uri)
    kind = key.about.get("type")
    if kind not in ("ecdsa-p256", "ed25519"):
        raise wrong_kind(uri, "sign by ECDSA on P-256 or by Ed25519")
    version = key.about.get("latest_version")
    versions = key.about.get("keys")
    newest = versions.get(str(version)) if isinstance(versions, dict) else None
    # Vault signs a digest by ECDSA, so that the message need not travel; Ed25519 needs the message
    hashed = {"hash_algorithm": "sha2-256", "prehashed": True, "marshaling_algorithm": "asn1"}

    def sign(data: bytes) -> bytes:
        message, options = (hashlib.sha256(data).digest(), hashed) if kind == "ecdsa-p256" else (data, {})
        answer = key.ask(
            lambda: key.transit.sign_data(hash_input=b64(message), key_version=version, **options, **key.place)
        )
        versioned = VERSIONED.fullmatch(key.answered(answer, "signature"))
        try:
            return from_b64(versioned[1] if versioned else "")
        except ValueError:
            raise StepFailed(f"Key {uri}: {ANSWER}.") from None

    return RemoteSigner(uri, _public_pem(key, key.answered(newest, "public_key")), sign)


def open_wrapper(uri: str) -> RemoteWrapper:
    """Open a key of the type aes256-gcm96. The context is the associated data."""
    key = _Key(uri)
    if key.about.get("type") != "aes256-gcm96":
        raise wrong_kind(uri, "wrap keys (aes256-gcm96)")

    def bound(context: Mapping[str, str]) -> str:
        return b64(canonical_json(dict(context)))

    def encrypt(value: bytes, context: Mapping[str, str]) -> str:
        plaintext = b64(value)
        answer = key.ask(
            lambda: key.transit.encrypt_data(plaintext=plaintext, associated_data=bound(context), **key.place)
        )
        return key.answered(answer, "ciphertext")

    def decrypt(wrapped: str, context: Mapping[str, str]) -> bytes:
        versioned = VERSIONED.fullmatch(wrapped)
        wrapped_bytes(versioned[1] if versioned else "-", uri)
        answer = key.ask(
            lambda: key.transit.decrypt_data(ciphertext=wrapped, associated_data=bound(context), **key.place)
        )
        return wrapped_bytes(key.answered(answer, "plaintext"), uri)

    return RemoteWrapper(f"vault:{key.place['mount_point']}/{key.place['name']}", encrypt, decrypt)
