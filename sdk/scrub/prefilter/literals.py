"""Literals that a match must have: those with which it begins, and rare ones near its beginning."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sdk.scrub.prefilter.pattern_sizes import DIGITS, consumed, digit_within, longest
from sdk.scrub.prefilter.pattern_tree import (
    BEYOND,
    HAN,
    Alternation,
    Assertion,
    CharacterClass,
    Look,
    Node,
    Repeat,
    children,
    flat,
    union,
)

MOST_LITERALS, LONGEST_LITERAL = 300, 16
MANY, TELLING = 20, 2  # literals; characters of one that is worth looking for as it is
SMALL_CLASS, MOST_HAN = 4, 48  # characters that a class may have to be spelled out, with ASCII and without
LONG_WORD = 8
MOST_SHARE = 0.6  # of a prose text in which a match can begin, above which looking for the literals does not pay
_ANY = frozenset({chr(code).lower() for code in range(128)} | {BEYOND, HAN})

Way = tuple[str, bool]  # a literal; whether it is all that has been matched so far, so that more can follow it


@dataclass(frozen=True)
class Required:
    """One of these lower-case literals stands at most `within` characters after the beginning of a match."""

    literals: frozenset[str]
    within: int
    between: frozenset[str] | None = None  # characters that can stand before it, lower case, BEYOND and HAN; None: any

    def as_json(self) -> list[Any]:
        return [sorted(self.literals), self.within, None if self.between is None else "".join(sorted(self.between))]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Required:
        literals, within, between = values
        return cls(frozenset(literals), within, None if between is None else frozenset(between))


class Spelling:
    """Spells out one pattern's nodes; what was spelled is remembered, since the same nodes are asked for often."""

    def __init__(self) -> None:
        self._known: dict[Node, set[Way]] = {}

    def prefixes(self, items: Sequence[Node]) -> frozenset[str]:
        """Return lower-case literals with one of which every match begins; empty where one of them would be empty."""
        texts = {text for text, _ in self.spelled(items)}
        for length in range(LONGEST_LITERAL, 1, -2):
            cut = {text[:length] for text in texts}
            shortest = {text for text in cut if not any(text[:n] in cut for n in range(len(text)))}
            if len(shortest) <= MOST_LITERALS:
                return frozenset() if "" in shortest else frozenset(shortest)
        return frozenset()

    def spelled(self, items: Sequence[Node]) -> set[Way]:
        """Return the beginnings of every way through the items, cut where they grow too long or too many."""
        ways: set[Way] = {("", True)}
        for item in items:
            whole = {text for text, open_ in ways if open_}
            if not whole:
                break
            further = self.spelled_node(item)
            if len(whole) > MANY and ("", True) in further:  # what may be missing tells little
                ways = {(text, open_ and len(text) < TELLING) for text, open_ in ways}
                whole = {text for text, open_ in ways if open_}
            for length in (LONGEST_LITERAL, 8, 4, 2):
                if len(whole) * len(further) <= MOST_LITERALS:
                    break
                ways = {(text, open_ and len(text) < length) for text, open_ in ways}
                whole = {text for text, open_ in ways if open_}
            for length in (8, 4, 2, 1):
                if len(whole) * len(further) <= MOST_LITERALS:
                    break
                further = {(text[:length], open_ and len(text) <= length) for text, open_ in further}
            else:
                return {(text, False) for text, _ in ways}
            ways = {way for way in ways if not way[1]} | {
                ((text + more)[:LONGEST_LITERAL], open_ and len(text + more) <= LONGEST_LITERAL)
                for text, (more, open_) in itertools.product(whole, further)
            }
        return ways

    def spelled_node(self, node: Node) -> set[Way]:
        if node not in self._known:
            self._known[node] = self._spelled_anew(node)
        return self._known[node]

    def _spelled_anew(self, node: Node) -> set[Way]:
        if isinstance(node, CharacterClass):
            most = SMALL_CLASS if any(c.isascii() for c in node.members) else MOST_HAN
            return {(c, True) for c in node.members} if 0 < len(node.members) <= most else {("", False)}
        if isinstance(node, Assertion | Look):
            return {("", True)}
        if isinstance(node, Alternation):
            return set().union(*(self.spelled(flat([branch])) for branch in node.branches))
        if isinstance(node, Repeat):
            once = self.spelled(flat([node.item]))
            if node.least == 0:
                return {("", True)} | (once if node.most == 1 else {(text, False) for text, _ in once})
            return {(text, False) for text, _ in once}
        return {("", False)}

    def required(self, items: Sequence[Node]) -> Required | None:
        """Return the rarest set of literals, by an estimate for prose, of which one must stand near the beginning."""
        best = self._rarest(items)
        return best if best and _share(best) < MOST_SHARE else None

    def _rarest(self, items: Sequence[Node]) -> Required | None:
        candidates: list[Required] = []
        digit = digit_within(items)
        if not math.isinf(digit):
            candidates.append(Required(DIGITS, int(digit)))
        before = 0.0  # characters, at most, and which ones, that can stand before the item
        between: frozenset[str] = frozenset()
        for i, item in enumerate(items):
            if math.isinf(before):
                break
            ahead = isinstance(item, Look) and item.positive and not item.behind
            literals = self.prefixes(flat(children(item)) if ahead else items[i:])
            if literals and not any(literal.isspace() for literal in literals):
                candidates.append(Required(literals, int(before), between))
            if isinstance(item, Alternation):
                each = [one for one in (self._rarest(flat([branch])) for branch in item.branches) if one]
                if len(each) == len(item.branches):
                    candidates.append(_any_branch(each, int(before), between))
            before += longest(item)
            between |= consumed(item)
        return min(candidates, key=_share, default=None)


def _any_branch(each: Sequence[Required], before: int, between: frozenset[str]) -> Required:
    """Unite the branches of a choice: one of them is taken, so one literal of all of them is there."""
    inside = union(_ANY if one.between is None else one.between for one in each)
    within = before + max(one.within for one in each)
    return Required(union(one.literals for one in each), within, between | inside)


# -- how common a literal is in prose

# Share of the characters of English prose, roughly.
_COMMON = {" ": 0.17, ".": 0.012, ",": 0.012, "-": 0.004, "'": 0.005, '"': 0.005, "/": 0.001, ":": 0.002, "\n": 0.01}
_INSIDE = re.compile(r"[.:@/][0-9a-z]")  # a sentence's marks have a space behind them


def _share(required: Required) -> float:
    """Estimate the share of a text that lies near one of the literals, where a match could begin."""
    one_word = required.between is not None and " " not in required.between
    return sum(map(_frequency, required.literals)) * (min(required.within, LONG_WORD if one_word else 1_000) + 1)


def _frequency(literal: str) -> float:
    if _INSIDE.match(literal):
        return 5e-6
    each = [_COMMON.get(c, 0.04 if c.isascii() and c.isalpha() else 0.001 if c.isalnum() else 2e-4) for c in literal]
    return math.prod(each) * 4.0 ** (len(literal) - 1)  # letters attract each other


def trie(words: Iterable[str]) -> str:
    """Return a pattern of `re` for the longest of the words that stands somewhere."""
    words = sorted(words)
    branches: list[str] = []
    for first, group in itertools.groupby(words, key=lambda word: word[:1]):
        if first:
            branches.append(re.escape(first) + trie(word[1:] for word in group))
    if not branches:
        return ""
    optional = "?" if "" in words else ""
    if len(branches) == 1 and not optional:
        return branches[0]
    return f"(?:{'|'.join(branches)}){optional}"
