"""What a text must have for a pattern to match, read off the pattern.

It is always too much and never too little: a text that lacks it has no match. Where a construct of the pattern is not
understood, nothing is known, and the pattern runs on everything.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import regex

from sdk.domain.compiled_patterns import compiled
from sdk.scrub.prefilter import text_shapes
from sdk.scrub.prefilter.backtracking import ways
from sdk.scrub.prefilter.literals import Required, Spelling
from sdk.scrub.prefilter.pattern_sizes import (
    digit_within,
    first_characters,
    leading_run,
    reach,
    shortest,
)
from sdk.scrub.prefilter.pattern_tree import (
    ALL_ASCII,
    BEYOND,
    HAN,
    UNREADABLE,
    Assertion,
    Node,
    Repeat,
    parse,
)
from sdk.scrub.prefilter.shipped import shipped_requirements

ALNUM = frozenset(c for c in ALL_ASCII if c.isalnum())
ENCODED = ALNUM | frozenset("+/<_")  # what stands in encoded data: Base64, keys, machine-readable zones


@dataclass(frozen=True)
class Requirements:
    """What is known of one pattern; the defaults: nothing."""

    prefixes: frozenset[str] = frozenset()  # lower case; every match begins with one of them; none: unknown
    digit_within: int | None = None  # a digit stands at most so many characters after the beginning
    alnum_run: int = 0  # ASCII letters and digits with which every match begins
    encoded_run: int = 0  # characters of ENCODED with which it does
    first: frozenset[str] = ALL_ASCII  # ASCII characters with which a match can begin
    first_beyond: frozenset[str] = frozenset((BEYOND, HAN))  # those beyond ASCII: each of them, or BEYOND and HAN
    reach: int | None = None  # characters from a match's beginning to the last one it can look at
    may_be_empty: bool = True
    beginnings: tuple[text_shapes.Beginning, ...] = ()
    shape: str | None = None  # the source of `relaxed`
    _tree: tuple[Spelling, tuple[Node, ...]] | None = field(default=None, repr=False, compare=False)

    @functools.cached_property
    def relaxed(self) -> regex.Pattern[str] | None:
        """Return a pattern over shapes that matches wherever the pattern itself could; see text_shapes.py."""
        return None if self.shape is None else compiled(self.shape, 0)

    @functools.cached_property
    def required(self) -> Required | None:
        """Return the rarest literals of which one must stand near the beginning of a match."""
        try:
            return self._tree[0].required(self._tree[1]) if self._tree else None
        except UNREADABLE:
            return None

    @functools.cached_property
    def ways(self) -> float:
        """Bound of the ways through the pattern that an attempt to match can try."""
        try:
            return ways(self._tree[1], frozenset(), self._tree[0]) if self._tree else math.inf
        except UNREADABLE:
            return math.inf

    def as_json(self) -> dict[str, Any]:
        """Return all that is known, the rest of what can be derived included."""
        required = self.required
        return {
            "prefixes": sorted(self.prefixes),
            "digit_within": self.digit_within,
            "alnum_run": self.alnum_run,
            "encoded_run": self.encoded_run,
            "first": _joined(self.first),
            "first_beyond": _joined(self.first_beyond),
            "reach": self.reach,
            "may_be_empty": self.may_be_empty,
            "beginnings": [[_joined(shapes), _joined(before)] for shapes, before in self.beginnings],
            "shape": self.shape,
            "required": None if required is None else required.as_json(),
            "ways": None if math.isinf(self.ways) else self.ways,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Requirements:
        simple = ("digit_within", "alnum_run", "encoded_run", "reach", "may_be_empty", "shape")
        made = cls(
            prefixes=frozenset(values["prefixes"]),
            first=frozenset(values["first"]),
            first_beyond=frozenset(values["first_beyond"]),
            beginnings=tuple((frozenset(shapes), frozenset(before)) for shapes, before in values["beginnings"]),
            **{name: values[name] for name in simple},
        )
        required, ways = values["required"], values["ways"]
        # There they are looked for before they are derived.
        vars(made).update(
            required=None if required is None else Required.from_json(required),
            ways=math.inf if ways is None else ways,
        )
        return made


def _joined(characters: Iterable[str]) -> str:
    return "".join(sorted(characters))


@functools.lru_cache(maxsize=4096)
def requirements_of(pattern: str, flags: int) -> Requirements:
    """Return what a pattern of the `regex` package requires with these flags. It never raises."""
    known = shipped_requirements().get((pattern, flags))
    return read_requirements(pattern, flags) if known is None else Requirements.from_json(known)


def read_requirements(pattern: str, flags: int) -> Requirements:
    """Read them off the pattern."""
    try:
        items = parse(pattern, flags)
        spelling = Spelling()
        span = sum(map(reach, items))
        kept = max((i + 1 for i, item in enumerate(items) if isinstance(item, Assertion) and item.keep), default=0)
        digit = digit_within(items)
        first, beyond, _ = first_characters(items)
        return Requirements(
            prefixes=spelling.prefixes(items),
            digit_within=None if math.isinf(digit) else int(digit),
            alnum_run=leading_run(items, ALNUM),
            encoded_run=leading_run(items, ENCODED),
            first=first,
            first_beyond=beyond,
            reach=None if math.isinf(span) else int(span) + 1,
            may_be_empty=shortest(items[kept:]) == 0,  # of the match that is told, from behind the last \K
            beginnings=tuple(text_shapes.beginnings(items)[0]),
            shape=text_shapes.relaxed(_without_optional_end(items)),
            _tree=(spelling, tuple(items)),
        )
    except UNREADABLE:  # another version of the parser is also something that is not understood
        return Requirements()


def _without_optional_end(items: list[Node]) -> list[Node]:
    """Leave out what can be missing behind all else: it tells nothing of where a match begins."""
    last = len(items)
    while last and isinstance(end := items[last - 1], Repeat) and not end.least:
        last -= 1
    return items[:last]
