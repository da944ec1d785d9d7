"""A regular expression as a tree of nodes, read by the `regex` package's own parser so that nothing is misread.

That parser is not public. No other file knows it: where a release of it differs, `parse` raises an error of UNREADABLE,
nothing is derived from the pattern, and it runs on every text from end to end.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import regex
from regex import _regex_core

core: Any = _regex_core
ASCII = tuple(map(chr, range(128)))
ALL_ASCII = frozenset(ASCII)
# Two characters that stand in a set for all beyond ASCII: HAN for the common Chinese ones, BEYOND for the others.
BEYOND, HAN = "\U0010ffff", "\U0010fffe"
FIRST_HAN, LAST_HAN = 0x3400, 0x9FFF
MOST_MEMBERS = 96  # characters of a range that are listed one by one
_IGNORECASE = int(regex.IGNORECASE)
_NOT_HAN = {core.lookup_property(None, name, True).value for name in ("WHITE_SPACE", "LATIN", "LU", "LL", "ND")}
_WHITE_SPACE = core.lookup_property(None, "WHITE_SPACE", True).value  # what \s is
_CLASSES = (core.Character, core.Range, core.Property, core.SetBase)


class NotUnderstood(Exception):
    """The pattern has a construct about which nothing is derived."""


UNREADABLE = (
    NotUnderstood, core._UnscopedFlagSet, AttributeError, TypeError, ValueError, RecursionError, regex.error
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CharacterClass:
    """One character: a literal one, a range, a set, a property such as \\s, or the dot."""

    may: frozenset[str]  # ASCII characters that it can match
    surely: frozenset[str]  # ASCII characters that it matches in either case
    beyond: frozenset[str]  # characters beyond ASCII that it can match: each of them, or BEYOND and perhaps HAN
    members: frozenset[str]  # all that it can match, in lower case; empty: too many, or letters with cases beyond ASCII
    dot: bool = False


@dataclass(frozen=True, eq=False)
class Series:
    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Alternation:
    branches: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Group:
    item: Node


@dataclass(frozen=True, eq=False)
class Atomic:
    item: Node


@dataclass(frozen=True, eq=False)
class Repeat:
    item: Node
    least: int
    most: int | None  # None: without end
    possessive: bool = False


@dataclass(frozen=True, eq=False)
class Look:
    """A look-around."""

    item: Node
    behind: bool
    positive: bool


@dataclass(frozen=True, eq=False)
class Assertion:
    """What consumes nothing and looks at its neighbours at most: \\b, ^, $, \\K and the like."""

    word_boundary: bool = False  # \b
    keep: bool = False  # \K


@dataclass(eq=False)
class BackReference:
    group: Group | None = None  # set when the whole pattern has been read

    @property
    def item(self) -> Node:
        if self.group is None:  # a name that two groups have, or none
            raise NotUnderstood
        return self.group.item


Node = CharacterClass | Series | Alternation | Group | Atomic | Repeat | Look | Assertion | BackReference


def parse(pattern: str, flags: int) -> list[Node]:
    """Return the pattern as a flat series. Raise one of UNREADABLE where it has what is not understood."""
    source = core.Source(pattern)
    info = core.Info(flags, source.char_type, {})
    info.guess_encoding = core.UNICODE
    source.ignore_space = bool(info.flags & core.VERBOSE)
    parsed = core._parse_pattern(source, info)
    if not source.at_end() or info.flags & (core.REVERSE | core.FULLCASE | core.LOCALE | core.ASCII | core.WORD):
        raise NotUnderstood
    return flat([_Translation(info.group_index).of_pattern(parsed)])


class _Translation:
    """From the parser's nodes to ours."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._names = {number: name for name, number in numbers.items()}
        self._groups: dict[Any, Group | None] = {}
        self._references: list[tuple[BackReference, Any]] = []

    def of_pattern(self, parsed: Any) -> Node:
        node = self._node(parsed)
        for reference, key in self._references:  # a reference may stand before its group
            reference.group = self._groups.get(key) or self._groups.get(str(key))
        return node

    def _node(self, node: Any) -> Node:
        if isinstance(node, (core.Any, *_CLASSES)):
            return _character_class(node)
        if isinstance(node, core.Sequence):
            return Series(tuple(map(self._node, node.items)))
        if isinstance(node, core.String):
            return Series(
                tuple(_character_class(core.Character(c, case_flags=node.case_flags)) for c in node.characters)
            )
        if isinstance(node, core.Branch) and not isinstance(node, core.StringSet):
            return Alternation(tuple(map(self._node, node.branches)))
        if isinstance(node, core.Group):
            return self._group(node)
        if isinstance(node, core.Atomic):
            return Atomic(self._node(node.subpattern))
        if isinstance(node, core.GreedyRepeat):  # a lazy one is of a class below it
            possessive = isinstance(node, core.PossessiveRepeat)
            return Repeat(self._node(node.subpattern), node.min_count, node.max_count, possessive)
        if isinstance(node, core.LookAround):
            return Look(self._node(node.subpattern), bool(node.behind), bool(node.positive))
        if isinstance(node, core.RefGroup):
            reference = BackReference()
            self._references.append((reference, node.group))
            return reference
        if isinstance(node, core.ZeroWidthBase):
            boundary = isinstance(node, core.Boundary) and bool(node.positive)
            return Assertion(word_boundary=boundary, keep=isinstance(node, core.Keep))
        raise NotUnderstood

    def _group(self, node: Any) -> Group:
        group = Group(self._node(node.subpattern))
        for key in {node.group, self._names.get(node.group)}:
            self._groups[key] = None if key in self._groups else group
            self._groups[str(key)] = self._groups[key]
        return group


def children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Series):
        return node.items
    if isinstance(node, Alternation):
        return node.branches
    if isinstance(node, Group | Atomic | Repeat | Look):
        return (node.item,)
    return ()


def walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the nodes and all below them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += children(node)


def flat(nodes: Iterable[Node]) -> list[Node]:
    """Open series and groups, and unroll of each repeat the first and the last round that must be there."""
    result: list[Node] = []
    for node in nodes:
        if isinstance(node, Series):
            result += flat(node.items)
        elif isinstance(node, Group | Atomic):
            result += flat([node.item])
        elif isinstance(node, Repeat) and node.least >= 1:
            result += _unrolled(node)
        else:
            result.append(node)
    return result


def _unrolled(node: Repeat) -> list[Node]:
    """Write x{m,n} as x x{m-2,n-2} x, or as x{0,n-1} x where m is 1."""
    once = flat([node.item])
    taken = min(node.least, 2)
    most = None if node.most is None else node.most - taken
    rest: list[Node] = [] if most == 0 else [Repeat(node.item, node.least - taken, most)]
    return [*once, *rest, *once] if taken == 2 else [*rest, *once]


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


# -- classes of characters


@functools.lru_cache(maxsize=8192)
def _character_class(node: Any) -> CharacterClass:
    if isinstance(node, core.Any):
        return CharacterClass(ALL_ASCII, frozenset(), frozenset((BEYOND, HAN)), frozenset(), dot=True)
    may, surely = set(), set()
    single = isinstance(node, core.Character) and node.positive
    for c in {chr(node.value).lower(), chr(node.value).upper()} & ALL_ASCII if single else ASCII:
        forms = {c.lower(), c.upper()} if int(node.case_flags) & _IGNORECASE else {c}
        hits = [bool(node.matches(ord(form))) for form in forms]
        if any(hits):
            may.add(c)
        if all(hits):
            surely.add(c)
    members = _members(node, may)
    beyond: frozenset[str] = frozenset()
    if _beyond_ascii(node):
        exact = frozenset(c for c in members if not c.isascii())
        beyond = exact or frozenset((BEYOND, HAN) if _may_be_han(node) else (BEYOND,))
    return CharacterClass(frozenset(may), frozenset(surely), beyond, members)


def _parts(node: Any) -> list[Any]:
    return list(node.items) if isinstance(node, core.SetUnion) and node.positive else [node]


def _beyond_ascii(node: Any) -> bool:
    """Tell whether the class can match a character beyond ASCII; True where that is not known."""
    if isinstance(node, core.Character):
        return not node.positive or node.value >= 128
    if isinstance(node, core.Range):
        return not node.positive or node.upper >= 128
    if isinstance(node, core.SetUnion):
        return not node.positive or any(map(_beyond_ascii, node.items))
    return True


def _members(node: Any, may: Iterable[str]) -> frozenset[str]:
    beyond: set[str] = set()
    for item in _parts(node):
        if isinstance(item, core.Character) and item.positive:
            beyond.add(chr(item.value))
        elif isinstance(item, core.Range) and item.positive and item.upper - item.lower < MOST_MEMBERS:
            beyond.update(map(chr, range(item.lower, item.upper + 1)))
        elif isinstance(item, core.Property) and item.positive and item.value == _WHITE_SPACE:
            beyond.update(c for c in map(chr, range(128, 0x3001)) if item.matches(ord(c)))
        elif not isinstance(item, _CLASSES) or _beyond_ascii(item):
            return frozenset()
    beyond = {c for c in beyond if not c.isascii()}
    if any(c.lower() != c.upper() for c in beyond):
        return frozenset()
    return frozenset(beyond | {c.lower() for c in may})


def _may_be_han(node: Any) -> bool:
    for item in _parts(node):
        if isinstance(item, core.Character) and item.positive:
            han = FIRST_HAN <= item.value <= LAST_HAN
        elif isinstance(item, core.Range) and item.positive:
            han = item.lower <= LAST_HAN and item.upper >= FIRST_HAN
        else:
            han = not (isinstance(item, core.Property) and item.positive and item.value in _NOT_HAN)
        if han:
            return True
    return False
