"""Tags of a file's blocks: whoever reads a block again knows whether it is the one that was read before.

A tag is AES-256-GMAC under a key that never leaves this process, so nobody else can make a block that has the tag of
another one. It costs a tenth of a SHA-256, which is computed once, over the whole file, in the same pass.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK_BYTES = 1 << 20


class BlockTags:
    """The tags of one file's blocks of BLOCK_BYTES, of which the last may be shorter."""

    def __init__(self) -> None:
        self._cipher = AESGCM(os.urandom(32))
        self._tags: list[bytes] = []

    def append(self, block: memoryview) -> None:
        """Tag the next block."""
        self._tags.append(self._tag(len(self._tags), block))

    def holds(self, number: int, block: memoryview) -> bool:
        """Say whether this is the block that was tagged under its number, counted from 0."""
        return hmac.compare_digest(self._tags[number], self._tag(number, block))

    def _tag(self, number: int, block: memoryview) -> bytes:
        # The number is the nonce: it repeats only for the same place of the same file, and no tag is ever shown.
        return self._cipher.encrypt(number.to_bytes(12, "big"), b"", block)
