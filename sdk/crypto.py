"""Keys named by URI that hide themselves; signatures, encryption, key derivation.

A key URI is `file:PATH` (mode 0600) or `env:NAME`; relative paths are taken from the folder that is handed in.
Signatures are ECDSA P-256 with SHA-256 (FIPS 186-5), encryption is AES-256-GCM (SP 800-38D), data keys are wrapped by
AES key wrap (RFC 3394), keys for one purpose are derived with HKDF-SHA-256 (RFC 5869).
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sdk.errors import InvalidInput, Tampered
from sdk.records import sha256

NONCE_BYTES = 12
TAG_BYTES = 16
MAX_MESSAGE_BYTES = 2**31 - 1 - NONCE_BYTES - TAG_BYTES  # one call of OpenSSL's GCM


class Secret:
    """32 secret bytes that show only their key id."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != 32:
            raise InvalidInput("A secret key has 32 bytes (64 lower-case hex digits); make one with `sdk keys new`.")
        self._value = value

    def __repr__(self) -> str:
        return f"Secret({self.key_id})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never pickled")

    @classmethod
    def random(cls) -> Secret:
        return cls(secrets.token_bytes(32))

    @property
    def key_id(self) -> str:
        """Tells keys apart and reveals nothing of them."""
        return sha256(self.derive("key id")._value)[:16]

    def derive(self, purpose: str) -> Secret:
        return Secret(
            HKDF(hashes.SHA256(), 32, salt=None, info=b"domain-adaptation-sdk " + purpose.encode()).derive(self._value)
        )

    def expose(self) -> bytes:
        """The bytes themselves, for a library call on the same line."""
        return self._value

    def hmac(self, data: bytes) -> bytes:
        mac = hmac.HMAC(self._value, hashes.SHA256())
        mac.update(data)
        return mac.finalize()

    def wrap(self, data_key: Secret) -> str:
        return base64.b64encode(aes_key_wrap(self._value, data_key._value)).decode()

    def unwrap(self, wrapped: str) -> Secret:
        try:
            return Secret(aes_key_unwrap(self._value, _from_base64(wrapped)))
        except (InvalidUnwrap, ValueError):
            raise Tampered("The wrapped data key does not open with this project's key.") from None

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """nonce || ciphertext || tag; `context` must be given again to decrypt. Use a key for one message only."""
        if len(plaintext) > MAX_MESSAGE_BYTES:
            raise InvalidInput(
                f"A file of {len(plaintext)} bytes is too large to seal; the limit is {MAX_MESSAGE_BYTES}."
            )
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._value).encrypt(nonce, plaintext, context)

    def decrypt(self, sealed: bytes, context: bytes, name: str) -> bytes:
        try:
            return AESGCM(self._value).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise Tampered(
                f"{name} does not decrypt: its bytes, its place or its key are not those that were sealed."
            ) from None

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """As often as wanted: a data key of its own, which this one wraps, a line end, what the data key encrypts."""
        key = Secret.random()
        return f"{self.wrap(key)}\n".encode() + key.encrypt(plaintext, context)

    def unseal(self, sealed: bytes, context: bytes, name: str) -> bytes:
        wrapped, _, rest = sealed.partition(b"\n")
        try:
            key = self.unwrap(wrapped.decode("ascii"))
        except UnicodeDecodeError:
            raise Tampered(f"{name} has been altered.") from None
        return key.decrypt(rest, context, name)


class SigningKey:
    """An ECDSA P-256 private key that shows only its fingerprint."""

    __slots__ = ("_key", "fingerprint", "public_pem")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_pem = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        self.fingerprint = fingerprint(self.public_pem)

    def __repr__(self) -> str:
        return f"SigningKey({self.fingerprint[:16]})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a SigningKey is never pickled")

    @classmethod
    def random(cls) -> SigningKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def sign(self, data: bytes) -> str:
        return base64.b64encode(self._key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    def private_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def _public_key(public_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput("A public key is not in PEM format (-----BEGIN PUBLIC KEY-----).") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise InvalidInput("A public key is not on the curve P-256; make one with `sdk keys new`.")
    return key


def fingerprint(public_pem: str) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280), hex."""
    return sha256(
        _public_key(public_pem).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _from_base64(text: str) -> bytes:
    """Only the one canonical form (RFC 4648, 3.5), so that no character of a signature can be changed unnoticed."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 is not canonical")
    return data


def verify(public_pem: str, data: bytes, signature: str, name: str) -> None:
    """Raises Tampered that names `name` unless the signature is the key's over the data."""
    try:
        _public_key(public_pem).verify(_from_base64(signature), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Tampered(f"The signature of {name} does not match.") from None


def _read(uri: str, folder: Path) -> bytes:
    scheme, _, rest = uri.partition(":")
    if scheme == "env" and rest:
        value = os.environ.get(rest)
        if value is None:
            raise InvalidInput(f"Key {uri}: the environment variable {rest} is not set.")
        return value.encode()
    if scheme != "file" or not rest:
        raise InvalidInput("A key is named file:PATH or env:NAME.")
    path = folder / rest
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise InvalidInput(f"Key {uri} can be read by others (mode {mode:04o}); run `chmod 600` on it.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"Key {uri} cannot be read: {error.strerror}.") from None


def open_signing_key(uri: str, folder: Path = Path()) -> SigningKey:
    """The private key at the URI: PKCS #8 PEM, exactly as `sdk keys new` writes it."""
    data = _read(uri, folder)
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Tampered(f"Key {uri} is not a private key in PEM format.") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise InvalidInput(f"Key {uri} is not on the curve P-256; make one with `sdk keys new`.")
    key = SigningKey(private)
    # the right key in other bytes has been touched; an environment variable may lose its last line end
    if key.private_pem().strip() != data.strip() or (uri.startswith("file:") and key.private_pem() != data):
        raise Tampered(f"Key {uri} has been altered since it was written.")
    return key


def open_secret(uri: str, folder: Path = Path()) -> Secret:
    """The 32 bytes at the URI, written as 64 lower-case hex digits."""
    text = _read(uri, folder)
    pattern = rb"[0-9a-f]{64}\n" if uri.startswith("file:") else rb"[0-9a-f]{64}\n?"
    if not re.fullmatch(pattern, text):
        raise Tampered(f"Key {uri} is not 64 lower-case hex digits and a line end.")
    return Secret(bytes.fromhex(text.decode().strip()))


def save_key(key: SigningKey | Secret, path: Path) -> None:
    """Write a new key file, mode 0600; a file that exists is never overwritten."""
    data = key.private_pem() if isinstance(key, SigningKey) else key.expose().hex().encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidInput(f"{path} exists; keys are never overwritten. Name another file.") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
