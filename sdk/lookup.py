"""Names as people spell them: one key for all common spellings, and the nearest where none fits."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from sdk.errors import InvalidInput

NEAREST = 5


def key(name: str, noise: Collection[str] = (), also: str = r"(?!)") -> str:
    """Return the key of a name, in which upper case and punctuation do not count.

    noise: words that do not count either; also: a pattern of further ones.
    """
    words = re.findall(r"[a-z0-9.]+", name.casefold())
    kept = [word for word in words if word not in noise and not re.fullmatch(also, word)]
    return re.sub(r"[^a-z0-9]", "", "".join(kept))


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names that are spelled most like a name, the nearest first; none where none is like it."""
    folded = {entry.casefold(): entry for entry in known}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=NEAREST, cutoff=0.3)]


def unknown(what: str, name: str, known: Sequence[str], otherwise: str) -> InvalidInput:
    """Return the error for a name that is not known. otherwise: what to do where none of the known ones is meant."""
    near = nearest(name, known)
    message = f"No {what} called {name[:100]!r} is in the catalogue; {otherwise}, or take one of the nearest names:"
    return InvalidInput(message, near or known[:NEAREST])
