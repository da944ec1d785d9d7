"""The readings of a text: in plain characters, and again without what is invisible or only spaces digits out."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

import regex

from sdk.scrub.spans import Span

# What joins or breaks words without being seen, and what turns a digit into a pictogram.
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}\u034f\u115f\u1160\u17b4\u17b5\u20e3\u3164]+")
_APART = regex.compile(r"(?<![0-9A-Za-z])[0-9](?:[ ][0-9]){7,}(?![0-9A-Za-z]| [0-9]{2})")  # 1 3 8 1 2 3 …
# The regex package matches these to an ASCII letter where case is ignored, and the prefilter counts in ASCII letters.
_LETTERS = {"\u0130": "I", "\u0131": "i", "\u017f": "s", "\u212a": "K"}


class _Folding(dict[int, str]):
    """Full-width forms, odd spaces and dashes, foreign digits -> ASCII, one character for one: offsets hold."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = _LETTERS.get(character) or unicodedata.normalize("NFKC", character)
        if unicodedata.decimal(character, None) is not None:
            folded = str(unicodedata.decimal(character))
        elif unicodedata.category(character) == "Pd" or character == "−":
            folded = "-"
        elif unicodedata.category(character) in ("Zs", "Cf"):
            folded = " "
        self[code] = folded if len(folded) == 1 else character
        return self[code]


_FOLDING = _Folding()


def fold(text: str) -> str:
    """Return the text in plain characters: as long as before, with its ASCII unchanged."""
    return text if text.isascii() else text.translate(_FOLDING)


@dataclass(frozen=True)
class View:
    """text: what is searched; places: where each of its characters stands in the original, None: at its own place."""

    text: str
    places: tuple[int, ...] | None = None
    only: tuple[tuple[int, int], ...] = ()  # of the original: where finds count; empty: everywhere

    def original(self, span: Span) -> Span | None:
        """Return the span in the original text; None where finds of this view do not count."""
        if self.places is None:
            return span
        if not 0 <= span.start < span.end <= len(self.places):
            return span  # no place in the text; whoever counts on it will say so
        moved = replace(span, start=self.places[span.start], end=self.places[span.end - 1] + 1)
        if self.only and not any(moved.start < end and start < moved.end for start, end in self.only):
            return None
        return moved


def views(text: str) -> Iterator[View]:
    """Yield the text as it stands, and the further readings that it gives cause for."""
    folded = fold(text)
    yield View(folded)
    if not text.isascii() and _INVISIBLE.search(text):
        yield _without(folded, [match.span() for match in _INVISIBLE.finditer(text)], ())
    runs = [match.span() for match in _APART.finditer(folded)]
    if runs:
        yield _without(folded, [(i, i + 1) for start, end in runs for i in range(start + 1, end, 2)], tuple(runs))


def _without(text: str, gaps: list[tuple[int, int]], only: tuple[tuple[int, int], ...]) -> View:
    hidden = {i for start, end in gaps for i in range(start, end)}
    places = tuple(i for i in range(len(text)) if i not in hidden)
    return View("".join(text[i] for i in places), places, only)
