"""`pkcs11:token=NAME;object=LABEL?module-path=FILE`: keys on a token, such as an HSM or a smart card, by RFC 7512.

`module-path` is the PKCS #11 library. It is code, and a URI may have been written by somebody else, so only a library
that belongs to root and that nobody else can write is loaded. The PIN comes from the file in `pin-source` (of mode
0600), else from the environment variable SDK_PKCS11_PIN; a PIN in the URI is refused, since URIs are written down.
A session is opened for each operation and closed after it: nobody stays logged in, and a token may be drawn.

Source: PKCS #11 3.1 (OASIS); signatures by CKM_ECDSA over a SHA-256 that is made here, as tokens without
CKM_ECDSA_SHA256 need it; wrapping by CKM_AES_GCM with a nonce of 12 random bytes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sdk.crypto.encoding import b64
from sdk.crypto.keyfile import read_private_file
from sdk.crypto.remote import RemoteSigner, RemoteWrapper, does_not_open, wrapped_bytes, wrong_kind
from sdk.crypto.secret import NONCE_BYTES, SECRET_BYTES, TAG_BYTES
from sdk.crypto.signing import public_pem
from sdk.errors import InvalidInput, MissingExtra, StepFailed
from sdk.records import canonical_json

try:
    import pkcs11
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
except ModuleNotFoundError:
    raise MissingExtra("python-pkcs11 is not installed; run `pip install domain-adaptation-sdk[pkcs11]`.") from None

PIN = "SDK_PKCS11_PIN"
NEEDED = {"token", "object", "module-path"}
ALLOWED = NEEDED | {"pin-source"}
COORDINATE_BYTES = 32  # P-256
WRAPPED_BYTES = NONCE_BYTES + SECRET_BYTES + TAG_BYTES
P256_POINT = b"\x04\x41\x04"  # DER: an octet string of 65 bytes, an uncompressed point
P256 = bytes.fromhex("06082a8648ce3d030107")  # DER: the curve's object identifier
# PKCS #11 3.1 says CKR_ENCRYPTED_DATA_INVALID for a tag that does not match; SoftHSM says CKR_GENERAL_ERROR
NOT_AUTHENTIC = (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.GeneralError)
_one_at_a_time = threading.Lock()  # logging in and out is a matter of the whole process


class _Place:
    """What the URI names."""

    def __init__(self, uri: str) -> None:
        path, _, query = uri.partition(":")[2].partition("?")
        pairs = [part.partition("=") for part in (*path.split(";"), *query.split("&")) if part]
        attributes = {name: unquote(value) for name, _, value in pairs}
        shown = "A PKCS #11 key"  # the URI may hold a PIN, and is not repeated before that is known
        if "pin-value" in attributes:
            raise InvalidInput(
                f"{shown} has its PIN in the URI, where it would be written down; use pin-source or {PIN}."
            )
        absolute = all(
            attributes.get(name, "/").removeprefix("file:").startswith("/") for name in ("module-path", "pin-source")
        )
        complete = (
            set(attributes) <= ALLOWED
            and all(attributes.get(name) for name in NEEDED)
            and len(attributes) == len(pairs)
        )
        if not (complete and absolute):
            raise InvalidInput(
                f"{shown} is named pkcs11:token=NAME;object=LABEL?module-path=/FILE, with &pin-source=file:/FILE or "
                f"the PIN in {PIN}; no attribute twice, no other ones, and both paths absolute."
            )
        self.token, self.label, self.module = attributes["token"], attributes["object"], attributes["module-path"]
        self.pin_source = attributes.get("pin-source", "").removeprefix("file:")
        self.name = f"pkcs11:token={quote(self.token, safe='')};object={quote(self.label, safe='')}"

    def pin(self) -> str:
        if not self.pin_source:
            pin = os.environ.get(PIN, "")
            if not pin:
                raise InvalidInput(f"Key {self.name}: set {PIN}, or name the PIN's file by pin-source=file:FILE.")
            return pin
        name = f"The PIN file of key {self.name}"
        try:
            return read_private_file(Path(self.pin_source), name).decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise InvalidInput(f"{name} does not hold text.") from None

    def library(self) -> Any:
        try:
            about = os.stat(self.module)
        except (OSError, ValueError):
            raise InvalidInput(f"Key {self.name}: the library in module-path is missing; install it.") from None
        if about.st_uid != 0 or about.st_mode & 0o022:
            raise InvalidInput(
                f"Key {self.name}: the library in module-path must belong to root and be writable by nobody else; "
                "have the machine's administrator install it."
            )
        return pkcs11.lib(self.module)


@contextmanager
def _session(place: _Place) -> Iterator[Any]:
    """Open a session that is logged in; whatever the token raises becomes our error."""
    try:
        with (
            _one_at_a_time,
            place.library().get_token(token_label=place.token).open(user_pin=place.pin()) as session,
        ):
            yield session
    except pkcs11.NoSuchToken:
        raise InvalidInput(f"Key {place.name}: there is no such token; put it in, or look at its label.") from None
    except pkcs11.MultipleTokensReturned:
        raise InvalidInput(f"Key {place.name}: more than one token bears this label; give it one of its own.") from None
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        raise InvalidInput(f"Key {place.name}: the PIN is wrong; a token locks itself after a few of these.") from None
    except (pkcs11.PinLocked, pkcs11.PinExpired):
        raise InvalidInput(f"Key {place.name}: the PIN is locked or has expired; have it set anew.") from None
    except pkcs11.PKCS11Error as error:
        raise StepFailed(
            f"Key {place.name}: the token failed ({type(error).__name__}); look at module-path and at the token."
        ) from None


def _find(session: Any, place: _Place, kind: Any, key_type: Any) -> Any:
    """Find the one key of this kind that bears the label; get_key would leave its search open where there are two."""
    keys = list(
        session.get_objects({Attribute.CLASS: kind, Attribute.KEY_TYPE: key_type, Attribute.LABEL: place.label})
    )
    if not keys:
        raise InvalidInput(f"Key {place.name}: there is no such key of this kind on the token.")
    if len(keys) > 1:
        raise InvalidInput(f"Key {place.name}: more than one key bears this label; give it one of its own.")
    return keys[0]


def open_signer(uri: str) -> RemoteSigner:
    """Open an ECDSA key on P-256; private and public key bear the same label."""
    place = _Place(uri)
    with _session(place) as session:
        public = _find(session, place, ObjectClass.PUBLIC_KEY, KeyType.EC)
        curve, point = bytes(public[Attribute.EC_PARAMS]), bytes(public[Attribute.EC_POINT])
    if curve != P256 or not point.startswith(P256_POINT):
        raise wrong_kind(place.name, "sign by ECDSA on P-256")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[2:])
    except ValueError:
        raise StepFailed(f"Key {place.name}: the token's public key is not a point on P-256.") from None

    def sign(data: bytes) -> bytes:
        with _session(place) as session:
            private = _find(session, place, ObjectClass.PRIVATE_KEY, KeyType.EC)
            pair = bytes(private.sign(hashlib.sha256(data).digest(), mechanism=Mechanism.ECDSA))
        r, s = (int.from_bytes(half) for half in (pair[:COORDINATE_BYTES], pair[COORDINATE_BYTES:]))
        return encode_dss_signature(r, s)

    return RemoteSigner(place.name, public_pem(key), sign)


def open_wrapper(uri: str) -> RemoteWrapper:
    """Open an AES-256 key. The context is the additional authenticated data."""
    place = _Place(uri)
    with _session(place) as session:
        if _find(session, place, ObjectClass.SECRET_KEY, KeyType.AES).key_length != 256:
            raise wrong_kind(place.name, "wrap keys (AES-256)")

    @contextmanager
    def key(nonce: bytes, context: Mapping[str, str]) -> Iterator[tuple[Any, dict[str, Any]]]:
        with _session(place) as session:
            wrapping = _find(session, place, ObjectClass.SECRET_KEY, KeyType.AES)
            bound = GCMParams(nonce, canonical_json(dict(context)))
            yield wrapping, {"mechanism": Mechanism.AES_GCM, "mechanism_param": bound}

    def encrypt(value: bytes, context: Mapping[str, str]) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        with key(nonce, context) as (wrapping, how):
            return b64(nonce + bytes(wrapping.encrypt(value, **how)))

    def decrypt(wrapped: str, context: Mapping[str, str]) -> bytes:
        sealed = wrapped_bytes(wrapped, place.name)
        if len(sealed) != WRAPPED_BYTES:
            raise does_not_open(place.name)
        with key(sealed[:NONCE_BYTES], context) as (wrapping, how):
            try:
                return bytes(wrapping.decrypt(sealed[NONCE_BYTES:], **how))
            except NOT_AUTHENTIC:
                raise does_not_open(place.name) from None

    return RemoteWrapper(place.name, encrypt, decrypt)
