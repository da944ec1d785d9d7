"""Who wraps data keys. A wrapped key opens only with the same key and the same context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sdk.crypto.secret import Secret
from sdk.records import canonical_json


class Wrapper(Protocol):
    """A wrapping key that somebody holds: this process, a key service or a token."""

    @property
    def key_id(self) -> str:
        """Which key this is, by its holder's name for it; never secret."""

    def wrap(self, secret: Secret, context: Mapping[str, str]) -> str:
        """Wrap a key; StepFailed if the key's holder does not make it."""

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> Secret:
        """Unwrap a key. Tampered if it was wrapped by another key or for another context; StepFailed: no answer."""


class LocalWrapper:
    """AES key wrap under a key that is derived from a secret for one context."""

    __slots__ = ("_secret", "key_id")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self.key_id = secret.key_id

    def _key(self, context: Mapping[str, str]) -> Secret:
        return self._secret.derive("wrap " + canonical_json(dict(context)).decode())

    def wrap(self, secret: Secret, context: Mapping[str, str]) -> str:
        return self._key(context).wrap(secret)

    def unwrap(self, wrapped: str, context: Mapping[str, str]) -> Secret:
        return self._key(context).unwrap(wrapped)
