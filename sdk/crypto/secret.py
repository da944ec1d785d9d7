"""32 secret bytes: what is encrypted, wrapped and derived with them.

Encryption is AES-256-GCM (SP 800-38D), data keys are wrapped by AES key wrap (RFC 3394), keys for one purpose are
derived with HKDF-SHA-256 (RFC 5869).
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sdk.crypto.encoding import b64, from_b64
from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.hardened import forbid_dumps
from sdk.records import sha256

SECRET_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_MESSAGE_BYTES = 2**31 - 1 - NONCE_BYTES - TAG_BYTES  # one call of OpenSSL's GCM


class Secret:
    """32 secret bytes that show only their key id."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != SECRET_BYTES:
            raise InvalidInput("A secret key has 32 bytes (64 lower-case hex digits); make one with `sdk keys new`.")
        forbid_dumps()
        self._value = value

    def __repr__(self) -> str:
        return f"Secret({self.key_id})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never pickled")

    @classmethod
    def random(cls) -> Secret:
        return cls(secrets.token_bytes(SECRET_BYTES))

    @property
    def key_id(self) -> str:
        """A name that tells keys apart and reveals nothing of them: 16 hex digits."""
        return sha256(self.derive("key id")._value)[:16]

    def derive(self, purpose: str) -> Secret:
        """Derive the key for one purpose. Keys of different purposes say nothing of each other or of this one."""
        return Secret(
            HKDF(hashes.SHA256(), SECRET_BYTES, salt=None, info=b"domain-adaptation-sdk " + purpose.encode()).derive(
                self._value
            )
        )

    def expose(self) -> bytes:
        """Return the bytes themselves, for a library call on the same line."""
        return self._value

    def hmac(self, data: bytes) -> bytes:
        mac = hmac.HMAC(self._value, hashes.SHA256())
        mac.update(data)
        return mac.finalize()

    def wrap(self, data_key: Secret) -> str:
        return b64(aes_key_wrap(self._value, data_key._value))

    def unwrap(self, wrapped: str) -> Secret:
        """Return the key that `wrap` was given; Tampered unless the text is what it returned under this key."""
        try:
            value = aes_key_unwrap(self._value, from_b64(wrapped))
        except (InvalidUnwrap, ValueError):
            value = b""
        if len(value) != SECRET_BYTES:
            raise Tampered("The wrapped data key does not open with this project's key.", remedy=Remedy.KEY)
        return Secret(value)

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag, one after the other; `context` must be given again to decrypt.

        Use a key for one message only: a nonce that came twice under one key would void what GCM authenticates
        (SP 800-38D, 8).
        """
        if len(plaintext) > MAX_MESSAGE_BYTES:
            raise InvalidInput(
                f"A file of {len(plaintext)} bytes is too large to seal; the limit is {MAX_MESSAGE_BYTES}."
            )
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._value).encrypt(nonce, plaintext, context)

    def decrypt(self, sealed: bytes, context: bytes, name: str) -> bytes:
        """Return the plaintext; Tampered, naming `name`, unless `encrypt` wrote it with this key and context."""
        try:
            return AESGCM(self._value).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise Tampered(
                f"{name} does not decrypt: its bytes, its place or its key are not those that were sealed.",
                remedy=Remedy.PROJECT,
            ) from None

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt any number of messages: each under a data key of its own.

        Returns the data key as this one wraps it, a line end, and what the data key encrypts.
        """
        key = Secret.random()
        return f"{self.wrap(key)}\n".encode() + key.encrypt(plaintext, context)

    def unseal(self, sealed: bytes, context: bytes, name: str) -> bytes:
        """Return what `seal` was given; Tampered names `name`."""
        wrapped, _, rest = sealed.partition(b"\n")
        try:
            key = self.unwrap(wrapped.decode("ascii"))
        except UnicodeDecodeError:
            raise Tampered(
                f"{name} has been altered: it does not begin with a wrapped key.", remedy=Remedy.PROJECT
            ) from None
        return key.decrypt(rest, context, name)
