"""Strategies for patterns whose matches begin with a word, such as "account" or 病历号: they look for the words."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from sdk.domain.compiled_patterns import compiled
from sdk.scrub.prefilter.literals import LONGEST_LITERAL, trie
from sdk.scrub.prefilter.requirements import Requirements
from sdk.scrub.prefilter.shape_index import LEAD, MOST_SHAPES, STRANGER, can_begin
from sdk.scrub.prefilter.strategies import Patterns, Place, PreparedText, Strategy, Window, around, begins_inside_run
from sdk.scrub.prefilter.text_shapes import EXACT, shape_of

FAR = 150  # characters between a word and a digit, above which looking near digits does not pay
AROUND = 3  # characters behind a word whose shape is looked at


class Words(Strategy):
    """Needs a match that begins with one of some words. Tries patterns where these stand, and what follows fits."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._known: dict[tuple[str, str, str], tuple[int, ...]] = {}
        words = {word for requirements in patterns.values() for word in requirements.prefixes}
        begins = [(number, tuple(requirements.prefixes)) for number, requirements in patterns.items()]
        self._numbers = {
            word: tuple(number for number, prefixes in begins if word.startswith(prefixes)) for word in words
        }
        anywhere = {
            word[0]
            for requirements in patterns.values()
            for word in requirements.prefixes
            if not (word[0].isascii() and word[0].isalpha()) or _can_follow_letter(requirements, word)
        }
        # Three passes over a text. Each consumes a single character, so that no word hides another that begins in it.
        alone = trie(word for word in words if word[0] not in anywhere)
        self._after_no_letter = re.compile(f"[^a-z](?=({alone}))") if alone else None
        self._ascii = _by_first_character(word for word in words if word[0] in anywhere and word[0].isascii())
        self._beyond_ascii = _by_first_character(word for word in words if not word[0].isascii())

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return bool(requirements.prefixes) and all(map(_is_rare, requirements.prefixes))

    def places(self, text: PreparedText) -> Iterable[Place]:
        return self._inside([(0, len(text.lower))], text)

    def _inside(self, windows: Sequence[Window], text: PreparedText) -> Iterator[Place]:
        passes: list[list[tuple[int, str]]] = []
        if self._after_no_letter:
            passes.append(_occurrences_after_no_letter(self._after_no_letter, text.lower, windows))
        if self._ascii:
            passes.append(_occurrences(self._ascii, text.lower, windows))
        if self._beyond_ascii and not text.lower.isascii():
            passes.append(_occurrences(self._beyond_ascii, text.lower, windows))
        known, shape, lower = self._known, text.shape, text.lower
        for start, word in passes[0] if len(passes) == 1 else sorted(itertools.chain(*passes)):
            end = start + len(word) + AROUND
            key = word, lower[start:end], shape[start + LEAD - 1 : end + LEAD]
            fitting = known.get(key)
            if fitting is None:
                fitting = known[key] = self._fitting(*key)
                if len(known) > MOST_SHAPES:
                    known.clear()
            if fitting:
                yield start, fitting, False

    def _fitting(self, word: str, lower: str, shape: str) -> tuple[int, ...]:
        """Return the patterns that can begin with the word. lower: it and what follows; shape: from before it on."""
        told = (EXACT[c] if s == "a" else s for c, s in zip(lower, shape[1:], strict=False))
        exact = (shape[0] + "".join(told) + shape[1 + len(lower) :]).replace(STRANGER, "u")
        first = word[0].upper() if shape[1] == "A" else word[0]
        return tuple(number for number in self._numbers[word] if can_begin(self._patterns[number], first, exact, 1))


class WordsNearDigits(Words):
    """Needs a digit behind the word as well. Looks for the words only near the text's digits."""

    def __init__(self, patterns: Patterns) -> None:
        super().__init__(patterns)
        self._within = max(requirements.digit_within or 0 for requirements in patterns.values())

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return Words.serves(requirements) and (requirements.digit_within or FAR) < FAR

    def places(self, text: PreparedText) -> Iterable[Place]:
        if not text.digits:
            return ()
        return self._inside(around(text.digits, self._within, 0), text)


def _is_rare(literal: str) -> bool:
    return not literal.isascii() or (len(literal) > 1 and any(map(str.isalpha, literal)))


def _can_follow_letter(requirements: Requirements, word: str) -> bool:
    """Tell whether a match that begins with this word can stand behind a letter."""
    if not begins_inside_run(requirements):
        return False
    assert requirements.shape
    return _fits_behind_letter(
        requirements.shape, tuple(("a", "A") if c.isascii() and c.isalpha() else (shape_of(c),) for c in word[:4])
    )


@functools.lru_cache(maxsize=4096)
def _fits_behind_letter(relaxed: str, cases: tuple[tuple[str, ...], ...]) -> bool:
    """Tell whether the pattern over shapes matches one of the cases behind a letter; most words share theirs."""
    shapes = ("".join((before, *shape)) for before in "aA" for shape in itertools.product(*cases))
    return any(compiled(relaxed, 0).match(shape, 1, partial=True) for shape in shapes)


def _occurrences_after_no_letter(
    pattern: re.Pattern[str], lower: str, windows: Sequence[Window]
) -> list[tuple[int, str]]:
    spaced = " " + lower
    return [
        (place, match[1])
        for start, end in windows
        for match in pattern.finditer(spaced, start, end + LONGEST_LITERAL + 1)
        if (place := match.start()) <= end
    ]


def _occurrences(pattern: re.Pattern[str], lower: str, windows: Sequence[Window]) -> list[tuple[int, str]]:
    return [
        (place, match[0] + match[match.lastindex or 1])
        for start, end in windows
        for match in pattern.finditer(lower, start, end + LONGEST_LITERAL)
        if (place := match.start()) <= end
    ]


def _by_first_character(words: Iterable[str]) -> re.Pattern[str] | None:
    """Compile one branch a first character: then `re` skips quickly to the next of them."""
    groups = itertools.groupby(sorted(words), key=lambda word: word[0])
    branches = [f"{re.escape(first)}(?=({trie(word[1:] for word in group)}))" for first, group in groups]
    return re.compile("|".join(branches)) if branches else None
