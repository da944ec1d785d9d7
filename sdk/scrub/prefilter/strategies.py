"""Strategies: each finds, by one cheap search of a text, the places where some patterns may match.

The strategies for words stand in word_search.py; which strategy a pattern gets, in matching.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from sdk.scrub.prefilter.literals import LONGEST_LITERAL, Required, trie
from sdk.scrub.prefilter.pattern_sizes import DIGITS
from sdk.scrub.prefilter.pattern_tree import BEYOND, FIRST_HAN, HAN, LAST_HAN
from sdk.scrub.prefilter.requirements import ALNUM, ENCODED, Requirements
from sdk.scrub.prefilter.shape_index import LEAD, SHAPE, SHAPE_HERE, STRANGER, ShapeIndex
from sdk.scrub.prefilter.text_shapes import NOTHING, shape_of

CLOSE, NEAR = 3, 18  # characters before the first digit of a match, at most: a very good hint, and a good one
LONG_RUN = 6  # letters and digits with which a match begins: rarer in prose than a digit some way off
LONGEST_RUN = 24  # letters and digits of such a run whose shape is looked at
LONG_ENCODED = 30  # the same of visible characters, as in keys
SHORT_TEXT = 1_000  # characters; in less, windows around digits do not pay
BEFORE_MARK, MARKS = 4, ".:-"  # letters and digits at most before one of the marks
DENSE = 0.5  # of a text that lies in windows, above which the whole is searched
_ENCODED = re.compile(rf"[{''.join(map(re.escape, sorted(ENCODED)))}]{{{LONG_ENCODED}}}")
_ENCODED_BEGINS = re.compile(rf"(?<![0-9A-Za-z])(?={_ENCODED.pattern})")
GAP = 12  # characters between two runs of digits that are looked at as one, since what is near one is near both
_DIGITS = re.compile(f"[0-9](?:[^0-9]{{0,{GAP}}}[0-9])*")
FEW = 4  # literals that are looked for one by one before anything else is done

Patterns = Mapping[int, Requirements]  # by the patterns' numbers
# (start, numbers of patterns, rest): the patterns may match at start; rest: there and at any place behind it.
Place = tuple[int, Sequence[int], bool]
Window = tuple[int, int]


class PreparedText:
    """A text with all that strategies look at. It must be folded, so that `lower` has its length (find/views.py)."""

    __slots__ = ("digits", "lower", "shape", "text")

    def __init__(self, text: str, shapes: Mapping[int, str]) -> None:
        self.text = text
        self.lower = text.lower()
        self.shape = NOTHING * LEAD + text.translate(shapes) + NOTHING
        self.digits: list[Window] = [match.span() for match in _DIGITS.finditer(text)]  # runs of them


class Strategy(Protocol):
    """Made once with all of its patterns, then asked for each text."""

    strangers: frozenset[str] = frozenset()  # characters beyond ASCII that it has to see in a shape, as STRANGER

    def __init__(self, patterns: Patterns) -> None: ...

    @staticmethod
    def prefers(requirements: Requirements) -> bool:
        """Tell whether this is the best strategy for the pattern, whatever others could do."""
        return False

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        """Tell whether the strategy finds every place at which a pattern with these requirements can match."""
        ...

    def places(self, text: PreparedText) -> Iterable[Place]:
        """Yield where the patterns may match; for each pattern in ascending order."""
        ...


class WholeText(Strategy):
    """Needs nothing of a pattern, and searches every text from end to end."""

    def __init__(self, patterns: Patterns) -> None:
        self._place: Place = (0, tuple(patterns), True)

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return True

    def places(self, text: PreparedText) -> Iterable[Place]:
        return (self._place,)


class NearDigits(Strategy):
    """Needs a digit near the beginning of a match. Tries patterns before digits, where the text's shape fits theirs."""

    def __init__(self, patterns: Patterns) -> None:
        self._index = ShapeIndex(patterns)
        self._starts, self._before_digit, self.strangers = _starts_of_shapes(patterns)

    @staticmethod
    def prefers(requirements: Requirements) -> bool:
        return _digit_at_most(requirements, CLOSE)

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return _digit_at_most(requirements, NEAR)

    def places(self, text: PreparedText) -> Iterable[Place]:
        if not text.digits:
            return ()
        windows = around(text.digits, self._before_digit, 0)
        dense = sum(end - start for start, end in windows) > DENSE * len(text.shape)
        starts = self._starts.finditer(text.shape) if dense else self._inside(windows, text.shape)
        return self._index.fitting(starts, text.text, text.shape)

    def _inside(self, windows: Sequence[Window], shape: str) -> Iterator[re.Match[str]]:
        for first, last in windows:
            for match in self._starts.finditer(shape, first + LEAD - 1):  # with the character before the first one
                if match.end() - LEAD >= last:
                    break
                yield match


def _digit_at_most(requirements: Requirements, within: int) -> bool:
    digit = requirements.digit_within
    return digit is not None and digit <= within and not begins_inside_run(requirements)


def _starts_of_shapes(patterns: Patterns) -> tuple[re.Pattern[str], int, frozenset[str]]:
    """Return what finds, in a shape, the character before one with which a match can begin that has a digit near it.

    Also the characters before a digit that matter, and the characters beyond ASCII that are told apart. How far the
    digit may be depends on what the match begins with: a digit itself, a letter, or anything else.
    """
    within, within_letter = 0, 0
    others: set[str] = set()
    strangers: set[str] = set()
    for requirements in patterns.values():
        many = requirements.first_beyond & {BEYOND, HAN}
        strangers |= requirements.first_beyond - many
        shapes = set(map(shape_of, requirements.first))
        shapes |= ({"u", STRANGER} if many else set()) | ({STRANGER} if requirements.first_beyond else set())
        others |= shapes - {"0", "a", "A"}
        if shapes != {"0"}:
            within = max(within, requirements.digit_within or 0)
            if shapes & {"a", "A"}:
                within_letter = max(within_letter, requirements.digit_within or 0)
    ways = ["[^0](?=0)"]
    if within_letter:
        ways.append(rf"[^aA](?=[aA][^0]{{0,{within_letter - 1}}}0)")
    if others:
        ways.append(rf".(?=[{''.join(map(re.escape, sorted(others)))}][^0]{{0,{max(within, 1) - 1}}}0)")
    return re.compile(rf"(?:{'|'.join(ways)})(?={SHAPE})", re.DOTALL), within + 1, frozenset(strangers)


class EncodedRuns(Strategy):
    """Needs a match that begins with a long run of letters, digits and `+/<_`. Tries patterns where such runs begin."""

    def __init__(self, patterns: Patterns) -> None:
        self._numbers = tuple(patterns)

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return requirements.encoded_run >= LONG_ENCODED and not begins_inside_run(requirements, mixed=True)

    def places(self, text: PreparedText) -> Iterable[Place]:
        if not any(len(word) >= LONG_ENCODED and _ENCODED.search(word) for word in text.text.split()):
            return ()
        return ((match.start(), self._numbers, False) for match in _ENCODED_BEGINS.finditer(text.text))


class LongRuns(Strategy):
    """Needs a match that begins with a run of letters and digits. Tries patterns where such runs begin, by shape."""

    def __init__(self, patterns: Patterns) -> None:
        self._index = ShapeIndex(patterns)
        least = min(requirements.alnum_run for requirements in patterns.values())
        self._run = re.compile(rf"[^0aA](?=([0aA]{{{min(least, LONGEST_RUN)},{LONGEST_RUN}}}.?)())", re.DOTALL)

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return requirements.alnum_run >= LONG_RUN and not begins_inside_run(requirements, mixed=True)

    def places(self, text: PreparedText) -> Iterable[Place]:
        return self._index.fitting(self._run.finditer(text.shape), text.text, text.shape)


class BeforeMarks(Strategy):
    """Needs a match that begins with up to four letters or digits and a mark, as 00:1B or 2001:db8 do.

    Tries patterns where such a group begins, by shape.
    """

    def __init__(self, patterns: Patterns) -> None:
        self._index = ShapeIndex(patterns)
        required = [requirements.required for requirements in patterns.values()]
        between = frozenset[str]().union(*(one.between or () for one in required if one))
        marks = frozenset[str]().union(*(one.literals for one in required if one))
        inside = f"[{''.join(map(re.escape, sorted(between)))}]"
        # A mark first, since these are rare; the group that is filled tells how many stand before it.
        before = (f"(?<=(?<![0-9a-z]){inside}{{{count}}}.)()" for count in range(1, BEFORE_MARK + 1))
        self._marks = re.compile(f"[{''.join(map(re.escape, sorted(marks)))}](?:{'|'.join(before)})")

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        required = requirements.required
        return (
            required is not None
            and required.within <= BEFORE_MARK
            and required.literals <= set(MARKS)
            and required.between is not None
            and required.between <= ALNUM
            and requirements.first <= ALNUM
            and not requirements.first_beyond
            and not begins_inside_run(requirements, mixed=True)
        )

    def places(self, text: PreparedText) -> Iterable[Place]:
        shape = text.shape
        marks = self._marks.finditer(text.lower)
        starts = (SHAPE_HERE.match(shape, mark.start() + LEAD - (mark.lastindex or 0)) for mark in marks)
        return self._index.fitting(starts, text.text, shape)


class Literals(Strategy):
    """Needs a rare literal near the beginning of a match, such as `@` or `.com`. Tries patterns in front of each."""

    def __init__(self, patterns: Patterns) -> None:
        self._windows = {number: _LiteralWindows(requirements) for number, requirements in patterns.items()}

    @staticmethod
    def serves(requirements: Requirements) -> bool:
        return requirements.required is not None

    def places(self, text: PreparedText) -> Iterator[Place]:
        ascii_only, short = text.text.isascii(), len(text.text) < SHORT_TEXT
        for number, literals in self._windows.items():
            if (ascii_only and literals.beyond_ascii) or (short and not literals.finder.search(text.lower)):
                continue
            windows = literals.of(text)
            if not windows:
                continue
            alone = (number,)
            if sum(end - start for start, end in windows) > DENSE * len(text.lower):
                yield windows[0][0], alone, True
                continue
            for start, end in windows:
                for match in literals.candidates.finditer(text.text, start, end):
                    yield match.start(), alone, False


class _LiteralWindows:
    """Where in a text a match of one pattern can begin, as its rarest literals tell."""

    def __init__(self, requirements: Requirements) -> None:
        assert requirements.required
        self._required: Required = requirements.required
        self._digit_within = requirements.digit_within
        self.finder = re.compile(trie(self._required.literals))
        self._few = self._required.literals if len(self._required.literals) <= FEW else ()
        self.beyond_ascii = not any(literal.isascii() for literal in self._required.literals)
        self.candidates = _candidates(requirements)

    def of(self, text: PreparedText) -> list[Window]:
        lower, within, digit = text.lower, self._required.within, self._digit_within
        if self._few and not any(literal in lower for literal in self._few):
            return []
        if digit is None or len(lower) < SHORT_TEXT:
            return merged(self._before(lower, m.start(), m.end()) for m in self.finder.finditer(lower))
        if self._required.literals <= DIGITS:
            return around(text.digits, digit, 0)
        # The match has a digit, too, so literals far from every digit need not be looked at.
        behind = within + LONGEST_LITERAL
        return merged(
            self._before(lower, m.start(), m.end())
            for start, end in around(text.digits, digit, behind)
            for m in self.finder.finditer(lower, start, end)
        )

    def _before(self, lower: str, start: int, end: int) -> Window:
        """Return where a match can begin that has a literal at [start, end)."""
        first, between = max(start - self._required.within, 0), self._required.between
        if between is None:
            return first, end
        place = start
        while place > first and (
            lower[place - 1] in between or (not lower[place - 1].isascii() and _script(lower[place - 1]) in between)
        ):
            place -= 1
        return place, end


def _script(character: str) -> str:
    """Return what stands for it in a set of characters beyond ASCII."""
    return HAN if FIRST_HAN <= ord(character) <= LAST_HAN else BEYOND


def _candidates(requirements: Requirements) -> re.Pattern[str]:
    """Return what finds the characters with which a match can begin, where it can."""
    many = {
        HAN: f"{chr(FIRST_HAN)}-{chr(LAST_HAN)}",
        BEYOND: f"\x80-{chr(FIRST_HAN - 1)}{chr(LAST_HAN + 1)}-\U0010ffff",
    }
    first = "".join(map(re.escape, sorted(requirements.first)))
    first += "".join(many.get(c, c) for c in sorted(requirements.first_beyond))
    runs = {"0": "0-9", "a": "a-z", "A": "A-Z"}
    never = frozenset.intersection(*(before for _, before in requirements.beginnings))
    before = "".join(runs.get(shape, re.escape(shape)) for shape in sorted(never))
    return re.compile(f"(?<![{before}])[{first}]" if before else f"[{first}]")


# -- what several strategies ask


def begins_inside_run(requirements: Requirements, mixed: bool = False) -> bool:
    """Tell whether a match can begin in the middle of a run of digits or of letters; mixed: of both.

    Where none can, only the beginnings of such runs have to be looked at.
    """
    return any(
        shape in shapes and not set(run) <= before
        for run in (["0aA"] if mixed else ["0", "aA"])
        for shape in run
        for shapes, before in requirements.beginnings
    )


def around(runs: Sequence[Window], before: int, behind: int) -> list[Window]:
    """Return the runs with so many characters before and behind each, those that then overlap as one."""
    result: list[Window] = []
    first = last = -1
    for start, end in runs:
        if start - before <= last:
            last = end + behind
            continue
        if last >= 0:
            result.append((first, last))
        first, last = max(start - before, 0), end + behind
    if last >= 0:
        result.append((first, last))
    return result


def merged(windows: Iterable[Window]) -> list[Window]:
    """Unite windows that overlap. They come in the order of their ends."""
    result: list[Window] = []
    for start, end in windows:
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], end)
        else:
            result.append((max(start, 0), end))
    return result
