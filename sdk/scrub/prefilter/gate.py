"""Finds what every one of many patterns finds, in a fraction of the time: a pattern runs only where it can match.

Where that is follows from the pattern itself (needs.py) and is always too much, never too little, so the matches are
those of `finditer` over the whole text, one for one:

1. A pattern whose matches begin with a word ("account") is tried at each occurrence of one of its words.
2. One that has a digit near its beginning is tried near digits, where the shape of the text fits its own.
3. One that needs a rare character or ending ("@", ".com") near its beginning searches in front of each of those.
4. Any other runs on everything.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import regex

from sdk.scrub.prefilter.requirements import (
    ALNUM,
    BEYOND,
    DIGITS,
    EXACT,
    FIRST_HAN,
    HAN,
    LAST_HAN,
    LONGEST_LITERAL,
    NOTHING,
    SHAPES,
    SOLID,
    Requirements,
    needs,
)

# Characters between a match's beginning and its first digit up to which shapes are looked at: first, and at last.
CLOSE, NEAR = 3, 18
FAR = 150  # characters between a word and a digit, above which looking near digits does not pay
SHORT = 1_000  # characters of a text in which windows around digits do not pay
JOINED, MARKS = 4, ".:-"  # letters and digits before a mark
SHORT_RUN, LONG_RUN = 6, 30  # letters and digits, visible characters with which a match begins: rare in prose
KEY = 20  # characters of a shape that are told apart
MOST_SHAPES = 50_000  # remembered
MOST_WAYS = 10_000_000  # through a pattern: with no more it ends so soon that no clock need watch it
SHARE = 0.5  # of a text that lies in windows, above which the whole is searched
LETTERS = 3  # small letters at the end of a shape that are told exactly
STRANGER = "\ue001"  # in a shape, a character beyond ASCII with which a match can begin
AROUND = 2  # characters behind a word whose shape is looked at
# Group 1: what is told apart of a shape; 2: the small letters in it that are told exactly.
_SHAPE = rf"(.{{1,3}}[^a]{{0,{KEY}}}(a{{0,{LETTERS}}}).?)"
_SHAPE_HERE = re.compile(_SHAPE, re.DOTALL)
_RUN = re.compile(rf"[^0aA](?=([0aA]{{{SHORT_RUN},24}}.?)())", re.DOTALL)
_MARK = re.compile(f"[{MARKS}]")
_SOLID = re.compile(rf"[{''.join(map(re.escape, sorted(SOLID)))}]{{{LONG_RUN}}}")
_SOLID_BEGINS = re.compile(rf"(?<![0-9A-Za-z])(?={_SOLID.pattern})")
_DIGITS = re.compile("[0-9]+")


class PatternTimedOut(RuntimeError):
    """One pattern alone, or all of them together, took longer than the text may take."""

    def __init__(self, form: int) -> None:
        super().__init__()
        self.form = form


class Match(NamedTuple):
    form: int  # place of its pattern among those of the gate
    start: int
    end: int


@dataclass
class _Run:
    """What one text has yielded so far; a form's next match begins at or after `after[form]`."""

    text: str
    deadline: float
    after: list[int]
    found: list[Match] = field(default_factory=list)

    def left(self, form: int) -> float:
        """Seconds."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise PatternTimedOut(form)
        return left


class Gate:
    def __init__(self, patterns: Sequence[tuple[str, int]]) -> None:
        """patterns: regular expressions of the `regex` package with their flags."""
        self.patterns = patterns
        self.needs = [needs(pattern, flags) for pattern, flags in patterns]
        self._ready: dict[int, tuple[Callable[..., regex.Match[str] | None], bool]] = {}
        words, searched = [], []
        self.by_shape: list[int] = []
        self.by_run: list[int] = []
        self.joined: list[int] = []
        self.solid: list[int] = []
        self.ungated: list[int] = []
        for form, need in enumerate(self.needs):
            if need.may_be_empty or need.shape is None:
                self.ungated.append(form)
            elif _near_digit(need, CLOSE):
                self.by_shape.append(form)
            elif need.solid >= LONG_RUN and not _begins_inside(need, mixed=True):
                self.solid.append(form)
            elif need.prefixes and all(map(_telling, need.prefixes)):
                words.append(form)
            elif need.run >= SHORT_RUN and not _begins_inside(need, mixed=True):
                self.by_run.append(form)
            elif _near_digit(need, NEAR):
                self.by_shape.append(form)
            elif _joined(need) and not _begins_inside(need, mixed=True):
                self.joined.append(form)
            elif need.required:
                searched.append(form)
            else:
                self.ungated.append(form)
        self.by_word = words
        self.searched = {form: _any_of(self.needs[form]) for form in searched}
        self._beyond_ascii = {
            form
            for form in searched
            for required in [self.needs[form].required]
            if required and not any(literal.isascii() for literal in required.literals)
        }
        near_digits = [form for form in words if (self.needs[form].digit_within or FAR) < FAR]
        self._words_near_digits = _Words({form: self.needs[form] for form in near_digits})
        self._words = _Words({form: self.needs[form] for form in words if form not in near_digits})
        self._strangers: set[str] = set()
        self._starts = self._starts_of_shapes()
        self._shapes = type(SHAPES)(SHAPES)
        self._shapes.update((ord(c), STRANGER) for c in self._strangers)
        self._by_digit: dict[str, _Fitting] = {}
        self._by_run: dict[str, _Fitting] = {}
        self._by_joined: dict[str, _Fitting] = {}
        self._candidates = {form: _candidates(self.needs[form]) for form in searched}

    def matches(self, text: str, deadline: float) -> list[Match]:
        """Those of each pattern in their order; text: folded, so that `lower` keeps its length; deadline: monotonic.

        PatternTimedOut where the deadline passes.
        """
        run = _Run(text, deadline, [0] * len(self.patterns))
        lower = text.lower()
        padded = NOTHING * 2 + text.translate(self._shapes)
        digits = [match.span() for match in _DIGITS.finditer(text)]
        if digits:
            starts = self._near_digits(padded, digits)
            self._try_all(run, self._fitting_at(starts, self._by_digit, self.by_shape, text, padded))
            within = self._words_near_digits.within
            windows = _merged((start - within, end) for start, end in digits)
            self._try_all(run, self._words_near_digits.occurrences(lower, padded, windows))
        if self.by_run:
            self._try_all(run, self._fitting_at(_RUN.finditer(padded), self._by_run, self.by_run, text, padded))
        if self.joined:
            marked = (_SHAPE_HERE.match(padded, place) for place in _joined_at(padded))
            self._try_all(run, self._fitting_at(marked, self._by_joined, self.joined, text, padded))
        if self.solid and any(len(word) >= LONG_RUN and _SOLID.search(word) for word in text.split()):
            self._try_all(run, ((match.start(), self.solid) for match in _SOLID_BEGINS.finditer(text)))
        self._try_all(run, self._words.occurrences(lower, padded, [(0, len(lower))]))
        ascii_only, short = text.isascii(), len(text) < SHORT
        for form, literals in self.searched.items():
            if (ascii_only and form in self._beyond_ascii) or (short and not literals.search(lower)):
                continue
            self._search(run, form, lower, literals, digits)
        for form in self.ungated:
            self._scan(run, form, 0)
        return run.found

    def all_matches(self, text: str, deadline: float) -> list[Match]:
        """What `matches` finds, without the gate."""
        run = _Run(text, deadline, [0] * len(self.patterns))
        for form in range(len(self.patterns)):
            self._scan(run, form, 0)
        return run.found

    def _scan(self, run: _Run, form: int, start: int) -> None:
        try:
            for match in self._compiled(form).finditer(run.text, start, timeout=run.left(form)):
                if match.end() > match.start():
                    run.found.append(Match(form, *match.span()))
        except TimeoutError:
            raise PatternTimedOut(form) from None

    def _try_all(self, run: _Run, places: Iterable[tuple[int, Sequence[int]]]) -> None:
        text, after, now, deadline = run.text, run.after, time.monotonic, run.deadline
        known, ready = self._ready, self._made_ready
        for place, forms in places:
            if now() > deadline:
                raise PatternTimedOut(forms[0])
            for form in forms:
                if place < after[form]:
                    continue
                match, tame = known[form] if form in known else ready(form)
                if tame:
                    hit = match(text, place)
                else:
                    try:
                        hit = match(text, place, timeout=run.left(form))
                    except TimeoutError:
                        raise PatternTimedOut(form) from None
                if hit:
                    start, end = hit.span()
                    after[form] = end
                    run.found.append(Match(form, start, end))

    def _compiled(self, form: int) -> regex.Pattern[str]:
        return regex.compile(*self.patterns[form])

    def _made_ready(self, form: int) -> tuple[Callable[..., regex.Match[str] | None], bool]:
        """What matches it, and whether that ends so soon that no clock need watch it."""
        need = self.needs[form]
        tame = need.reach is not None and need.ways <= MOST_WAYS
        self._ready[form] = self._compiled(form).match, tame
        return self._ready[form]

    # -- shapes

    def _starts_of_shapes(self) -> re.Pattern[str]:
        """The character before one with which a match can begin that has a digit near its beginning."""
        within = {False: 0, True: 0}
        others: set[str] = set()
        for form in self.by_shape:
            strangers = self.needs[form].strangers
            many = strangers & {BEYOND, HAN}
            self._strangers |= strangers - many
            shapes = {SHAPES[ord(c)] for c in self.needs[form].first[0]}
            shapes |= ({"u", STRANGER} if many else set()) | ({STRANGER} if strangers else set())
            others |= shapes - {"0", "a", "A"}
            if shapes != {"0"}:
                letter = bool(shapes & {"a", "A"})
                within[letter] = max(within[letter], self.needs[form].digit_within or 0)
                within[False] = max(within[False], within[letter])
        self._before_digit = within[False] + 1
        ways = ["[^0](?=0)"]
        if within[True]:
            ways.append(rf"[^aA](?=[aA][^0]{{0,{within[True] - 1}}}0)")
        if others:
            ways.append(rf".(?=[{''.join(map(re.escape, sorted(others)))}][^0]{{0,{max(within[False], 1) - 1}}}0)")
        return re.compile(rf"(?:{'|'.join(ways)})(?={_SHAPE})", re.DOTALL)

    def _near_digits(self, padded: str, digits: Sequence[tuple[int, int]]) -> Iterator[re.Match[str]]:
        windows = _merged((start - self._before_digit, end) for start, end in digits)
        if sum(end - start for start, end in windows) > SHARE * len(padded):
            return self._starts.finditer(padded)
        return self._inside(windows, padded)

    def _inside(self, windows: Sequence[tuple[int, int]], padded: str) -> Iterator[re.Match[str]]:
        for first, last in windows:
            for match in self._starts.finditer(padded, first + 1):  # with the character before the first one
                if match.end() - 2 >= last:
                    break
                yield match

    def _fitting_at(
        self,
        starts: Iterable[re.Match[str] | None],
        known: dict[str, _Fitting],
        forms: Sequence[int],
        text: str,
        padded: str,
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """padded: the text's shape, two characters longer in front; starts: matches of _SHAPE in it."""
        for match in starts:
            assert match
            place = match.start(1) - 2
            key = text[place] + padded[place : place + 2] + match[1]
            fitting = known.get(key)
            if fitting is None:
                fitting = known[key] = _Fitting(self._fitting(key[0], key[1:], forms))
                if len(known) > MOST_SHAPES:
                    known.clear()
            if not fitting.forms:
                continue
            first, last = match.span(2)
            if first == last:
                yield place, fitting.forms
                continue
            letters = text[first - 2 : last - 2]
            exact = fitting.exact.get(letters)
            if exact is None:
                behind = match.end(1) - last
                shape = key[1 : len(key) - behind - len(letters)] + _exactly(letters) + key[len(key) - behind :]
                exact = fitting.exact[letters] = self._fitting(key[0], shape, fitting.forms)
            if exact:
                yield place, exact

    def _fitting(self, character: str, shape: str, forms: Sequence[int]) -> tuple[int, ...]:
        """Those that can begin with the character; shape: from two characters before it on."""
        shape, fitting = shape.replace(STRANGER, "u"), []
        for form in forms:
            need = self.needs[form]
            first, beyond = need.first
            if (
                (character in first if character.isascii() else beyond)
                and need.relaxed
                and need.relaxed.match(shape, 2, partial=True)
            ):
                fitting.append(form)
        return tuple(fitting)

    # -- literals

    def _search(
        self, run: _Run, form: int, lower: str, literals: re.Pattern[str], digits: list[tuple[int, int]]
    ) -> None:
        windows = self._windows(self.needs[form], lower, literals, digits)
        if not windows:
            return
        if sum(end - start for start, end in windows) > SHARE * len(lower):
            return self._scan(run, form, windows[0][0])
        starts, alone = self._candidates[form], (form,)
        places = ((match.start(), alone) for window in windows for match in starts.finditer(run.text, *window))
        self._try_all(run, places)

    def _windows(
        self, need: Requirements, lower: str, literals: re.Pattern[str], digits: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Where a match can begin. digits: the runs of digits of the text."""
        assert need.required
        within = need.required.within
        if need.digit_within is None or len(lower) < SHORT:
            return _merged(_window(need, lower, m.start(), m.end()) for m in literals.finditer(lower))
        if need.required.literals <= DIGITS:
            return _merged((start - need.digit_within, end) for start, end in digits)
        behind = within + LONGEST_LITERAL
        return _merged(
            _window(need, lower, m.start(), m.end())
            for start, end in _merged((start - need.digit_within, end + behind) for start, end in digits)
            for m in literals.finditer(lower, start, end)
        )


def _window(need: Requirements, lower: str, start: int, end: int) -> tuple[int, int]:
    """Where a match can begin that has a literal at [start, end)."""
    assert need.required
    first, between = max(start - need.required.within, 0), need.required.between
    if between is None:
        return first, end
    place = start
    while place > first and (
        lower[place - 1] in between or (not lower[place - 1].isascii() and _kind(lower[place - 1]) in between)
    ):
        place -= 1
    return place, end


def _kind(character: str) -> str:
    """What stands for it among characters beyond ASCII."""
    return HAN if FIRST_HAN <= ord(character) <= LAST_HAN else BEYOND


def _candidates(need: Requirements) -> re.Pattern[str]:
    """Characters with which a match can begin, where it can."""
    many = {
        HAN: f"{chr(FIRST_HAN)}-{chr(LAST_HAN)}",
        BEYOND: f"\x80-{chr(FIRST_HAN - 1)}{chr(LAST_HAN + 1)}-\U0010ffff",
    }
    first = "".join(map(re.escape, sorted(need.first[0]))) + "".join(many.get(c, c) for c in sorted(need.strangers))
    runs = {"0": "0-9", "a": "a-z", "A": "A-Z"}
    never = frozenset.intersection(*(before for _, before in need.beginnings))
    before = "".join(runs.get(shape, re.escape(shape)) for shape in sorted(never))
    return re.compile(f"(?<![{before}])[{first}]" if before else f"[{first}]")


@functools.lru_cache(maxsize=10_000)
def _exactly(letters: str) -> str:
    return "".join(EXACT[c] for c in letters)


@functools.lru_cache(maxsize=16)
def gate_of(patterns: tuple[tuple[str, int], ...]) -> Gate:
    """One for all languages that have the same patterns."""
    return Gate(patterns)


def _begins_inside(need: Requirements, mixed: bool = False) -> bool:
    """A match can begin in the middle of a run of digits or of letters; mixed: of both."""
    return any(
        here in shapes and not set(run) <= before
        for run in (["0aA"] if mixed else ["0", "aA"])
        for here in run
        for shapes, before in need.beginnings
    )


def _word_begins_inside(need: Requirements, word: str) -> bool:
    """A match that begins with this word can stand behind a letter."""
    assert need.relaxed
    cases = [("a", "A") if c.isascii() and c.isalpha() else (SHAPES[ord(c)],) for c in word[:4]]
    keys = ("".join((before, *shape)) for before in "aA" for shape in itertools.product(*cases))
    return any(need.relaxed.match(key, 1, partial=True) for key in keys)


def _near_digit(need: Requirements, within: int) -> bool:
    return need.digit_within is not None and need.digit_within <= within and not _begins_inside(need)


def _joined(need: Requirements) -> bool:
    """Letters or digits and then, soon, a mark: as in 00:1B or 2001:db8."""
    required = need.required
    return (
        required is not None
        and required.within <= JOINED
        and required.literals <= set(MARKS)
        and required.between is not None
        and required.between <= ALNUM
        and need.first[0] <= ALNUM
        and not need.first[1]
    )


def _joined_at(padded: str) -> Iterator[int]:
    """Where up to JOINED letters and digits stand before a mark."""
    for match in _MARK.finditer(padded):
        end = start = match.start()
        while start > end - JOINED and padded[start - 1] in "0aA":
            start -= 1
        if start < end and padded[start - 1] not in "0aA":
            yield start


def _telling(literal: str) -> bool:
    return not literal.isascii() or (len(literal) > 1 and any(map(str.isalpha, literal)))


def _any_of(need: Requirements) -> re.Pattern[str]:
    assert need.required
    return re.compile(_trie(need.required.literals))


def _merged(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """windows: in the order of their ends."""
    merged: list[tuple[int, int]] = []
    for start, end in windows:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((max(start, 0), end))
    return merged


@dataclass
class _Fitting:
    """The forms that fit a shape; exact: those that do with these small letters at its end."""

    forms: tuple[int, ...]
    exact: dict[str, tuple[int, ...]] = field(default_factory=dict)


class _Words:
    """Where the words stand with which matches begin."""

    def __init__(self, forms: dict[int, Requirements]) -> None:
        self._needs = forms
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}
        self.within = max((need.digit_within or 0 for need in forms.values()), default=0)
        words = {word for need in forms.values() for word in need.prefixes}
        self._forms = {
            word: tuple(form for form, need in forms.items() if any(map(word.startswith, need.prefixes)))
            for word in words
        }
        inside = {form for form, need in forms.items() if _begins_inside(need)}
        anywhere = {
            word[0]
            for form, need in forms.items()
            for word in need.prefixes
            if not (word[0].isascii() and word[0].isalpha()) or (form in inside and _word_begins_inside(need, word))
        }
        # Each pass consumes one character alone, so that no word hides another that begins inside it.
        alone = _trie(word for word in words if word[0] not in anywhere)
        self._alone = re.compile(f"[^a-z](?=({alone}))") if alone else None
        self._ascii = _by_first_character(word for word in words if word[0] in anywhere and word[0].isascii())
        self._beyond = _by_first_character(word for word in words if not word[0].isascii())

    def occurrences(
        self, lower: str, padded: str, windows: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """In order. padded: the shape, two characters longer in front."""
        passes = []
        if self._alone:
            passes.append(self._after_no_letter(self._alone, lower, windows))
        if self._ascii:
            passes.append(self._everywhere(self._ascii, lower, windows))
        if self._beyond and not lower.isascii():
            passes.append(self._everywhere(self._beyond, lower, windows))
        known = self._known
        for place, word in passes[0] if len(passes) == 1 else heapq.merge(*passes):
            key = word, padded[place + 1 : place + len(word) + 2 + AROUND]
            fitting = known.get(key)
            if fitting is None:
                fitting = known[key] = self._fitting(*key)
                if len(known) > MOST_SHAPES:
                    known.clear()
            if fitting:
                yield place, fitting

    def _fitting(self, word: str, shape: str) -> tuple[int, ...]:
        """The forms that can begin with the word; shape: from the character before it on."""
        told = (EXACT[c] if s == "a" else s for c, s in zip(word, shape[1:], strict=False))
        exact = (shape[0] + "".join(told) + shape[1 + len(word) :]).replace(STRANGER, "u")
        first = word[0].upper() if shape[1] == "A" else word[0]
        fitting = []
        for form in self._forms[word]:
            need = self._needs[form]
            begins = first in need.first[0] if first.isascii() else need.first[1]
            if begins and need.relaxed and need.relaxed.match(exact, 1, partial=True):
                fitting.append(form)
        return tuple(fitting)

    def _after_no_letter(
        self, pattern: re.Pattern[str], lower: str, windows: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, str]]:
        spaced = " " + lower
        for start, end in windows:
            for match in pattern.finditer(spaced, start, end + LONGEST_LITERAL + 1):
                if match.start() <= end:
                    yield match.start(), match[1]

    def _everywhere(
        self, pattern: re.Pattern[str], lower: str, windows: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, str]]:
        for start, end in windows:
            for match in pattern.finditer(lower, start, end + LONGEST_LITERAL):
                if match.start() <= end:
                    yield match.start(), match[0] + match[match.lastindex or 1]


def _by_first_character(words: Iterable[str]) -> re.Pattern[str] | None:
    """One branch a first character: then `re` skips quickly to the next of them."""
    groups = itertools.groupby(sorted(words), key=lambda word: word[0])
    branches = [f"{re.escape(first)}(?=({_trie(word[1:] for word in group)}))" for first, group in groups]
    return re.compile("|".join(branches)) if branches else None


def _trie(words: Iterable[str]) -> str:
    """A pattern for the longest of the words that stands somewhere."""
    words, branches = sorted(words), []
    for first, group in itertools.groupby(words, key=lambda word: word[:1]):
        if first:
            rest = [word[1:] for word in group]
            branches.append(str(re.escape(first)) + _trie(rest))
    if not branches:
        return ""
    optional = "?" if "" in words else ""
    if len(branches) == 1 and not optional:
        return str(branches[0])
    return f"(?:{'|'.join(branches)}){optional}"
