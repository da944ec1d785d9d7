"""What the shipped recognizers' patterns require, as it was read off them beforehand; that takes more than a second.

shipped.json is written by tools/shipped_patterns.py, with the release of `regex` whose parser read them. With another
release nothing of it is used. A pattern that is not in it is read when it is needed.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from sdk.domain.compiled_patterns import of_this_release

FILE = Path(__file__).with_name("shipped.json")


@functools.lru_cache(maxsize=1)
def shipped_requirements() -> dict[tuple[str, int], dict[str, Any]]:
    """Return what is known of (pattern, flags), as Requirements.from_json takes it."""
    return {(pattern, flags): values for pattern, flags, values in of_this_release(FILE)}
