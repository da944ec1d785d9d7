"""Which patterns fit the shape of a text at a place; remembered by shape, as the same shapes come again and again."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sdk.scrub.prefilter.requirements import Requirements
from sdk.scrub.prefilter.text_shapes import EXACT

LEAD = 2  # characters that stand before a text in its shape, so that a place has one before it and one before that
KEY = 20  # characters of a shape that are told apart
LETTERS = 3  # small letters at the end of a shape that are told exactly
MOST_SHAPES = 50_000  # remembered, then all are forgotten
STRANGER = "\ue001"  # in a shape, a character beyond ASCII with which some match begins
# Group 1: what is told apart of a shape; 2: the small letters in it that are told exactly.
SHAPE = rf"(.{{1,3}}[^a]{{0,{KEY}}}(a{{0,{LETTERS}}}).?)"
SHAPE_HERE = re.compile(SHAPE, re.DOTALL)


@dataclass
class _Fitting:
    """The patterns that fit a shape; exact: those that do with these small letters at its end."""

    numbers: tuple[int, ...]
    exact: dict[str, tuple[int, ...]] = field(default_factory=dict)


class ShapeIndex:
    def __init__(self, patterns: Mapping[int, Requirements]) -> None:
        self._patterns = patterns
        self._numbers = tuple(patterns)
        self._known: dict[str, _Fitting] = {}

    def fitting(
        self, starts: Iterable[re.Match[str] | None], text: str, shape: str
    ) -> Iterator[tuple[int, tuple[int, ...], bool]]:
        """Yield each start at which some pattern fits. starts: matches of SHAPE in the text's shape."""
        known = self._known
        for match in starts:
            assert match
            begin, end = match.span(1)
            place = begin - LEAD
            key = text[place] + shape[place:end]
            fitting = known.get(key)
            if fitting is None:
                fitting = known[key] = _Fitting(self._fitting(key[0], key[1:], self._numbers))
                if len(known) > MOST_SHAPES:
                    known.clear()
            if not fitting.numbers:
                continue
            first, last = match.span(2)
            if first == last:
                yield place, fitting.numbers, False
                continue
            letters = text[first - LEAD : last - LEAD]
            exact = fitting.exact.get(letters)
            if exact is None:
                behind = end - last
                told = key[1 : len(key) - behind - len(letters)] + _exactly(letters) + key[len(key) - behind :]
                exact = fitting.exact[letters] = self._fitting(key[0], told, fitting.numbers)
            if exact:
                yield place, exact, False

    def _fitting(self, character: str, shape: str, numbers: Sequence[int]) -> tuple[int, ...]:
        """Return those that can begin with the character. shape: from LEAD characters before it on."""
        shape = shape.replace(STRANGER, "u")
        return tuple(number for number in numbers if can_begin(self._patterns[number], character, shape, LEAD))


def can_begin(requirements: Requirements, character: str, shape: str, at: int) -> bool:
    """Tell whether a match can begin with the character, which stands in the shape at this place."""
    possible = character in requirements.first if character.isascii() else bool(requirements.first_beyond)
    return bool(possible and requirements.relaxed and requirements.relaxed.match(shape, at, partial=True))


@functools.lru_cache(maxsize=10_000)
def _exactly(letters: str) -> str:
    return "".join(EXACT[c] for c in letters)
