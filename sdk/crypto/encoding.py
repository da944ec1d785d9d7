"""Base64 in its one canonical form (RFC 4648, 3.5), so that no character of it can be changed unnoticed."""

from __future__ import annotations

import base64


def b64(data: bytes) -> str:
    """Encode in base64 with padding, the standard alphabet, no line ends."""
    return base64.b64encode(data).decode()


def from_b64(text: str) -> bytes:
    """Decode; ValueError for every text that `b64` does not write."""
    data = base64.b64decode(text, validate=True)
    if b64(data) != text:
        raise ValueError("base64 is not canonical")
    return data
