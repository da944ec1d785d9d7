"""Find what every one of many patterns finds, in a fraction of the time: a pattern runs only where it can match.

1. Of each pattern is read, once, what it requires of a text (requirements.py).
2. The first strategy that can serve these requirements takes the pattern (strategies.py, word_search.py).
3. In each text every strategy names the places where its patterns may match, and there they are tried.

What is required is always too much and never too little, so the matches are those of `finditer` over the whole text,
one for one. docs/prefilter.md follows one pattern through all of it.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import regex

from sdk.domain.compiled_patterns import compiled
from sdk.errors import InvalidInput
from sdk.scrub.prefilter.requirements import Requirements, requirements_of
from sdk.scrub.prefilter.shape_index import STRANGER
from sdk.scrub.prefilter.strategies import (
    BeforeMarks,
    EncodedRuns,
    Literals,
    LongRuns,
    NearDigits,
    PreparedText,
    Strategy,
    WholeText,
)
from sdk.scrub.prefilter.text_shapes import SHAPES, ShapeTable
from sdk.scrub.prefilter.word_search import Words, WordsNearDigits

# In this order they are asked whether they serve a pattern: the rarer their places are in prose, the earlier.
STRATEGIES: tuple[type[Strategy], ...] = (
    EncodedRuns,
    WordsNearDigits,
    Words,
    LongRuns,
    NearDigits,
    BeforeMarks,
    Literals,
    WholeText,
)
NO_STRATEGIES: tuple[type[Strategy], ...] = (WholeText,)
SWITCH = "SDK_PREFILTER"  # in the environment
MOST_WAYS = 10_000_000  # through a pattern: with no more it ends so soon that no clock need watch it

_Try = Callable[..., regex.Match[str] | None]


class PatternTimedOut(RuntimeError):
    """One pattern alone, or all of them together, took longer than the text may take."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Match(NamedTuple):
    number: int  # of its pattern among those of the prefilter
    start: int
    end: int


def switched_on() -> bool:
    """Tell whether texts are searched with the strategies. InvalidInput where the switch says neither on nor off."""
    value = os.environ.get(SWITCH, "on")
    if value not in ("on", "off"):
        raise InvalidInput(f"{SWITCH} is {value!r}; it is on, which is also the default, or off.")
    return value == "on"


class Prefilter:
    def __init__(self, patterns: Sequence[tuple[str, int]], strategies: Sequence[type[Strategy]] = STRATEGIES) -> None:
        """Take patterns of the `regex` package with their flags, and strategies, of which the last serves all."""
        self.patterns = patterns
        self._requirements = [requirements_of(pattern, flags) for pattern, flags in patterns]
        self.assigned: dict[type[Strategy], dict[int, Requirements]] = {}
        for number, requirements in enumerate(self._requirements):
            self.assigned.setdefault(_chosen(requirements, strategies), {})[number] = requirements
        self._strategies = [strategy(its) for strategy, its in self.assigned.items()]
        self._shapes = ShapeTable(SHAPES)
        self._shapes.update((ord(c), STRANGER) for strategy in self._strategies for c in strategy.strangers)
        self._known: dict[int, tuple[_Try, bool]] = {}

    def matches(self, text: str, deadline: float) -> list[Match]:
        """Find the matches of each pattern, in their order.

        text: folded, so that `lower` keeps its length; deadline: of time.monotonic(). PatternTimedOut where it passes.
        """
        prepared = PreparedText(text, self._shapes)
        found: list[Match] = []
        after = [0] * len(self.patterns)  # a pattern's next match begins there or later
        now, known = time.monotonic, self._known
        for strategy in self._strategies:
            for start, numbers, rest in strategy.places(prepared):
                if now() > deadline:
                    raise PatternTimedOut(numbers[0])
                if rest:
                    for number in numbers:
                        found += self._search(number, text, start, deadline)
                    continue
                for number in numbers:
                    if start < after[number]:
                        continue
                    match, tame = known[number] if number in known else self._compile(number)
                    try:
                        hit = match(text, start) if tame else match(text, start, timeout=_left(number, deadline))
                    except TimeoutError:
                        raise PatternTimedOut(number) from None
                    if hit:
                        begin, end = hit.span()
                        after[number] = end
                        found.append(Match(number, begin, end))
        return found

    def _search(self, number: int, text: str, start: int, deadline: float) -> list[Match]:
        pattern = compiled(*self.patterns[number])
        try:
            matches = pattern.finditer(text, start, timeout=_left(number, deadline))
            return [Match(number, *match.span()) for match in matches if match.end() > match.start()]
        except TimeoutError:
            raise PatternTimedOut(number) from None

    def _compile(self, number: int) -> tuple[_Try, bool]:
        """Return what tries a pattern at a place, and whether that ends so soon that no clock need watch it."""
        requirements = self._requirements[number]
        tame = requirements.reach is not None and requirements.ways <= MOST_WAYS
        self._known[number] = compiled(*self.patterns[number]).match, tame
        return self._known[number]


def _left(number: int, deadline: float) -> float:
    """Return the seconds that are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise PatternTimedOut(number)
    return left


def _chosen(requirements: Requirements, strategies: Sequence[type[Strategy]]) -> type[Strategy]:
    if requirements.may_be_empty or requirements.shape is None:  # it can match anywhere, or nothing is known
        return WholeText
    preferred = next((strategy for strategy in strategies if strategy.prefers(requirements)), None)
    return preferred or next(strategy for strategy in strategies if strategy.serves(requirements))


@functools.lru_cache(maxsize=16)
def prefilter_of(patterns: tuple[tuple[str, int], ...], strategies: tuple[type[Strategy], ...]) -> Prefilter:
    """Return one prefilter for all languages that have the same patterns."""
    return Prefilter(patterns, strategies)
