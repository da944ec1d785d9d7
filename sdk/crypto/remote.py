"""What keys that never leave their holder have in common: nothing that a holder answers is believed unchecked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sdk.crypto.encoding import from_b64
from sdk.crypto.secret import SECRET_BYTES, Secret
from sdk.crypto.signing import algorithm, fingerprint, load_public, public_pem, verify
from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered


class RemoteSigner:
    """A signer whose `make` asks the key's holder; a signature is verified before anybody else sees it."""

    __slots__ = ("_make", "algorithm", "fingerprint", "public_pem", "uri")

    def __init__(self, uri: str, pem: str, make: Callable[[bytes], bytes]) -> None:
        try:
            self.public_pem = public_pem(load_public(pem))  # in our spelling, whatever the holder's is
        except InvalidInput:
            raise wrong_kind(uri, "sign by ECDSA on P-256 or by Ed25519") from None
        self.fingerprint = fingerprint(self.public_pem)
        self.algorithm = algorithm(self.public_pem)
        self.uri = uri
        self._make = make

    def __repr__(self) -> str:
        return f"RemoteSigner({self.uri}, {self.fingerprint[:16]})"

    def sign(self, data: bytes) -> bytes:
        signature = self._make(data)
        try:
            verify(self.public_pem, data, signature, "the data")
        except Tampered:
            raise StepFailed(
                f"Key {self.uri} answered with a signature that its own public key does not verify, thrown away. "
                "Look whether the key was replaced, and open it anew."
            ) from None
        return signature


class RemoteWrapper:
    """A wrapper whose `encrypt` and `decrypt` ask the key's holder."""

    __slots__ = ("_decrypt", "_encrypt", "key_id")

    def __init__(
        self,
        key_id: str,
        encrypt: Callable[[bytes, Mapping[str, str]], str],
        decrypt: Callable[[str, Mapping[str, str]], bytes],
    ) -> None:
        self.key_id = key_id
        self._encrypt = encrypt
        self._decrypt = decrypt

    def __repr__(self) -> str:
        return f"RemoteWrapper({self.key_id})"

    def wrap(self, secret: Secret, context: Mapping[str, str]) -> str:
        return self._encrypt(secret.expose(), context)

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> Secret:
        value = self._decrypt(wrapped, context)
        if len(value) != SECRET_BYTES:
            raise does_not_open(self.key_id)
        return Secret(value)


def does_not_open(key: str) -> Tampered:
    """Make the error for a wrapped key that is not this key's, or not for this context."""
    return Tampered(
        f"The wrapped data key does not open with key {key}: "
        "it was altered, belongs to another package or another key.",
        remedy=Remedy.KEY,
    )


def wrong_kind(uri: str, purpose: str) -> InvalidInput:
    return InvalidInput(f"Key {uri} is not of a kind that can {purpose}; name another key.")


def wrapped_bytes(wrapped: str, key: str) -> bytes:
    """Decode a wrapped key from base64; Tampered if the text is anything else."""
    try:
        return from_b64(wrapped)
    except ValueError:
        raise does_not_open(key) from None
