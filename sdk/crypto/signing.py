"""Who signs, and what a signature is.

ECDSA on P-256 with SHA-256 (FIPS 186-5; DER signatures) for packages, rings and decisions, Ed25519 (RFC 8032; 64 bytes)
for the log. A signer is handed the whole message, never a digest. An ECDSA signature is not unique: whoever has one can
make another valid one of it for the same message, so nothing is ever named by the bytes of its signature.
"""

from __future__ import annotations

from typing import Literal, Protocol

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.hardened import forbid_dumps
from sdk.records import sha256

Algorithm = Literal["ecdsa-p256", "ed25519"]
Public = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
# what reading a key's bytes raises; an InternalError is OpenSSL's, on an Ed25519 key of a wrong length
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, InternalError)
Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Signer(Protocol):
    """A private key that somebody holds: this process, a key service or a token."""

    @property
    def algorithm(self) -> Algorithm: ...

    @property
    def public_pem(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's SubjectPublicKeyInfo, hex (`fingerprint`)."""

    def sign(self, data: bytes) -> bytes:
        """Sign the whole message; StepFailed if the key's holder does not make one."""


def load_public(public_pem: str) -> Public:
    """Read a public key; InvalidInput unless it is a P-256 or an Ed25519 key in PEM format."""
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except UNREADABLE:
        raise InvalidInput("A public key is not in PEM format (-----BEGIN PUBLIC KEY-----).") from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    ):
        return key
    raise InvalidInput("A public key is neither on the curve P-256 nor an Ed25519 key; make one with `sdk keys new`.")


def public_pem(key: Public) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(public_pem: str) -> str:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280), hex; InvalidInput for a key of another kind."""
    return sha256(
        load_public(public_pem).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def algorithm(public_pem: str) -> Algorithm:
    return "ed25519" if isinstance(load_public(public_pem), ed25519.Ed25519PublicKey) else "ecdsa-p256"


def verify(public_pem: str, data: bytes, signature: bytes, name: str) -> None:
    """Raises Tampered that names `name` unless the signature is the key's over the data."""
    key = load_public(public_pem)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Tampered(
            f"The signature of {name} does not match.",
            remedy=Remedy.COPY,
            expected=f"a signature by the key {fingerprint(public_pem)}",
        ) from None


class _LocalKey:
    """A private key in this process that shows only its fingerprint."""

    __slots__ = ("_key", "fingerprint", "public_pem")

    def __init__(self, key: Private) -> None:
        forbid_dumps()
        self._key = key
        self.public_pem = public_pem(key.public_key())
        self.fingerprint = fingerprint(self.public_pem)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint[:16]})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"a {type(self).__name__} is never pickled")

    def private_pem(self) -> bytes:
        """Return PKCS #8, as a key file holds it."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class SigningKey(_LocalKey):
    """An ECDSA P-256 private key."""

    __slots__ = ()
    _key: ec.EllipticCurvePrivateKey
    algorithm: Algorithm = "ecdsa-p256"

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        super().__init__(key)

    @classmethod
    def random(cls) -> SigningKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


class LogKey(_LocalKey):
    """An Ed25519 private key."""

    __slots__ = ()
    _key: ed25519.Ed25519PrivateKey
    algorithm: Algorithm = "ed25519"

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        super().__init__(key)

    @classmethod
    def random(cls) -> LogKey:
        return cls(ed25519.Ed25519PrivateKey.generate())

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)
