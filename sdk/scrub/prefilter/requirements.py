"""What a text must have for a pattern to match, read off the pattern: the gate's knowledge. It never says too much.

The `regex` package's own parser reads the pattern, so that nothing is misread. Where a construct is not understood,
`needs` knows nothing and the pattern runs on everything.

A shape is a text in which every ASCII digit is `0`, capital `A`, small letter `a`, and all that is not ASCII `u`;
`Requirements.relaxed` is a pattern over shapes that matches wherever the pattern itself could match. A small letter of
a shape may also be told exactly (EXACT).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex
from regex import _regex_core

core: Any = _regex_core  # not public: where another release of it differs, `needs` knows nothing
MOST_LITERALS, LONGEST_LITERAL = 300, 16
MANY, TELLING = 20, 2  # literals; characters of one that is worth looking for as it is
SMALL_CLASS, MOST_HAN = 4, 48  # characters that a class may have to be spelled out, with ASCII and without
ASCII = tuple(map(chr, range(128)))
ALL_ASCII, DIGITS = frozenset(ASCII), frozenset("0123456789")
ALNUM = frozenset(c for c in ASCII if c.isalnum())
LETTERS = frozenset(c for c in ASCII if c.isalpha())
SOLID = ALNUM | frozenset("+/<_")
LONG_WORD = 8
MOST_SHARE = 0.6  # of a prose text in which a match can begin, above which looking for the literals does not pay
IGNORECASE = int(regex.IGNORECASE)
EXACT = {c: chr(0xE000 + ord(c)) for c in "abcdefghijklmnopqrstuvwxyz"}  # small letters told exactly
NOTHING = "\ue000"  # stands in a shape for no character at all, as before the text
WORD = f"0aA_{EXACT['a']}-{EXACT['z']}"  # the word characters among the shapes; `u` may be one or not
BEYOND, HAN = "\U0010ffff", "\U0010fffe"  # stand for all that is not ASCII; `strangers`: but Han, and for Han
FIRST_HAN, LAST_HAN = 0x3400, 0x9FFF  # those that are common
ANY = frozenset({c.lower() for c in ASCII} | {"\U0010ffff", "\U0010fffe"})
CLASSES = (core.Character, core.Range, core.Property, core.SetBase)


class _ShapeTable(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = "u"
        return "u"


SHAPES = _ShapeTable({ord(c): "0" if c.isdigit() else "A" if c.isupper() else "a" if c.islower() else c for c in ASCII})


NOT_HAN = {core.lookup_property(None, name, True).value for name in ("WHITE_SPACE", "LATIN", "LU", "LL", "ND")}
WHITE_SPACE = core.lookup_property(None, "WHITE_SPACE", True).value  # what \s is


class NotUnderstood(Exception):
    """The pattern has a construct about which nothing is derived."""


UNREADABLE = (
    NotUnderstood, core._UnscopedFlagSet, AttributeError, TypeError, ValueError, RecursionError, regex.error
)  # fmt: skip


@dataclass(frozen=True)
class Required:
    """One of these lower-case literals stands at most `within` characters after the beginning of a match."""

    literals: frozenset[str]
    within: int
    between: frozenset[str] | None = None  # what can stand there, in lower case, as in `strangers`; None: any


@dataclass(frozen=True)
class Requirements:
    """All None or empty: nothing is known."""

    prefixes: frozenset[str] = frozenset()  # lower case; every match begins with one of them; none: unknown
    digit_within: int | None = None  # a digit stands at most so many characters after the beginning
    run: int = 0  # ASCII letters and digits with which every match begins
    solid: int = 0  # the same of letters, digits and `+/<_`
    first: tuple[frozenset[str], bool] = (frozenset(ASCII), True)  # ASCII characters it can begin with; others too?
    strangers: frozenset[str] = frozenset((BEYOND, HAN))  # those others
    reach: int | None = None  # characters from a match's beginning to the last one it can look at
    keeps: bool = True  # has \K, so that a match does not tell where its attempt began
    may_be_empty: bool = True
    beginnings: tuple[tuple[frozenset[str], frozenset[str]], ...] = ()  # shapes; what cannot stand before one of them
    shape: str | None = None  # the text of `relaxed`
    read: tuple[_Reader, Sequence[Any]] | None = field(default=None, repr=False, compare=False)

    @functools.cached_property
    def relaxed(self) -> regex.Pattern[str] | None:
        return None if self.shape is None else regex.compile(self.shape)

    @functools.cached_property
    def required(self) -> Required | None:
        """The rarest."""
        found = self._later(lambda reader, items: reader.required(items), None)
        return found if found and _share(found) < MOST_SHARE else None

    @functools.cached_property
    def ways(self) -> float:
        """Bound of the ways through the pattern that an attempt to match can try."""
        return float(self._later(lambda reader, items: reader.ways(items, frozenset()), math.inf))

    def _later(self, ask: Callable[[_Reader, Sequence[Any]], Any], unknown: Any) -> Any:
        try:
            return ask(*self.read) if self.read else unknown
        except UNREADABLE:
            return unknown


@functools.lru_cache(maxsize=4096)
def needs(pattern: str, flags: int) -> Requirements:
    try:
        items, groups = _parse(pattern, flags)
        reader = _Reader(groups)
        reach = sum(map(reader.reach, items))
        kept = max((i + 1 for i, item in enumerate(items) if isinstance(item, core.Keep)), default=0)
        digit = reader.digit_within(items)
        return Requirements(
            prefixes=reader.prefixes(items),
            digit_within=None if math.isinf(digit) else int(digit),
            run=reader.run(items),
            solid=reader.solid(items),
            first=reader.first(items),
            strangers=reader.strangers(items),
            reach=None if math.isinf(reach) else int(reach) + 1,
            keeps=any(isinstance(node, core.Keep) for node in _walk(items)),
            may_be_empty=reader.shortest(items[kept:]) == 0,
            beginnings=tuple(reader.beginnings(items)[0]),
            shape=reader.relaxed(_without_end(items)),
            read=(reader, items),
        )
    except UNREADABLE:
        return Requirements()  # another version of the parser is also something that is not understood


def _parse(pattern: str, flags: int) -> tuple[list[Any], dict[Any, Any]]:
    source = core.Source(pattern)
    info = core.Info(flags, source.char_type, {})
    info.guess_encoding = core.UNICODE
    source.ignore_space = bool(info.flags & core.VERBOSE)
    parsed = core._parse_pattern(source, info)
    if not source.at_end() or info.flags & (core.REVERSE | core.FULLCASE | core.LOCALE | core.ASCII | core.WORD):
        raise NotUnderstood
    names = {number: name for name, number in info.group_index.items()}
    groups: dict[Any, Any] = {}
    for node in _walk([parsed]):
        if isinstance(node, core.Group):
            for name in {node.group, names.get(node.group)}:
                groups[name] = None if name in groups else node
                groups[str(name)] = groups[name]
    return _flat([parsed]), groups


def _children(node: Any) -> list[Any]:
    if isinstance(node, core.Sequence):
        return list(node.items)
    if isinstance(node, core.StringSet):
        raise NotUnderstood
    if isinstance(node, core.Branch):
        return list(node.branches)
    if isinstance(node, core.Group | core.Atomic | core.GreedyRepeat | core.LookAround):
        return [node.subpattern]
    if isinstance(node, (core.ZeroWidthBase, core.RefGroup, core.Any, core.String, *CLASSES)):
        return []
    raise NotUnderstood


def _walk(nodes: Iterable[Any]) -> Iterator[Any]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += _children(node)


def _without_end(items: list[Any]) -> list[Any]:
    """Without what can be missing behind all else: it tells nothing of where a match begins."""
    last = len(items)
    while last and isinstance(items[last - 1], core.GreedyRepeat) and not items[last - 1].min_count:
        last -= 1
    return items[:last]


def _flat(nodes: Iterable[Any]) -> list[Any]:
    """Sequences and groups opened, and of repeats the first and the last that must be there."""
    flat: list[Any] = []
    for node in nodes:
        if isinstance(node, core.Sequence):
            flat += _flat(node.items)
        elif isinstance(node, core.Group | core.Atomic):
            flat += _flat([node.subpattern])
        elif isinstance(node, core.String):
            flat += [core.Character(code, case_flags=node.case_flags) for code in node.characters]
        elif isinstance(node, core.GreedyRepeat) and node.min_count >= 1:
            flat += _unrolled(node)
        else:
            flat.append(node)
    return flat


def _unrolled(node: Any) -> list[Any]:
    """x{m,n} as x x{m-2,n-2} x, or as x{0,n-1} x."""
    once = _flat([node.subpattern])
    taken = min(node.min_count, 2)
    most = None if node.max_count is None else node.max_count - taken
    rest = [] if most == 0 else [core.GreedyRepeat(node.subpattern, node.min_count - taken, most)]
    return [*once, *rest, *once] if taken == 2 else [*rest, *once]


def _both_cases(node: Any) -> bool:
    return bool(int(node.case_flags) & IGNORECASE)


@functools.lru_cache(maxsize=8192)
def _set_of(node: Any) -> tuple[frozenset[str], frozenset[str], bool]:
    """ASCII characters that the class may match, those that it surely matches, and whether it may match others."""
    if isinstance(node, core.Any):
        return frozenset(ASCII), frozenset(), True
    may, surely = set(), set()
    single = isinstance(node, core.Character) and node.positive
    for c in {chr(node.value).lower(), chr(node.value).upper()} & ALL_ASCII if single else ASCII:
        forms = {c.lower(), c.upper()} if _both_cases(node) else {c}
        hits = [bool(node.matches(ord(form))) for form in forms]
        if any(hits):
            may.add(c)
        if all(hits):
            surely.add(c)
    return frozenset(may), frozenset(surely), _beyond_ascii(node)


def _beyond_ascii(node: Any) -> bool:
    if isinstance(node, core.Character):
        return not node.positive or node.value >= 128
    if isinstance(node, core.Range):
        return not node.positive or node.upper >= 128
    if isinstance(node, core.SetUnion):
        return not node.positive or any(map(_beyond_ascii, node.items))
    return True


@functools.lru_cache(maxsize=8192)
def _members(node: Any) -> frozenset[str]:
    """All that the class matches, in lower case; empty where that is much, or a letter with cases beyond ASCII."""
    beyond: set[str] = set()
    for item in node.items if isinstance(node, core.SetUnion) and node.positive else [node]:
        if isinstance(item, core.Character) and item.positive:
            beyond.add(chr(item.value))
        elif isinstance(item, core.Range) and item.positive and item.upper - item.lower < 2 * MOST_HAN:
            beyond.update(map(chr, range(item.lower, item.upper + 1)))
        elif isinstance(item, core.Property) and item.positive and item.value == WHITE_SPACE:
            beyond.update(c for c in map(chr, range(128, 0x3001)) if item.matches(ord(c)))
        elif not isinstance(item, CLASSES) or _beyond_ascii(item):
            return frozenset()
    beyond = {c for c in beyond if not c.isascii()}
    if any(c.lower() != c.upper() for c in beyond):
        return frozenset()
    return frozenset(beyond | {c.lower() for c in _set_of(node)[0]})


@functools.lru_cache(maxsize=8192)
def _strangers(node: Any) -> frozenset[str]:
    """Characters beyond ASCII that the class may match: each of them, or BEYOND for those but Han, and HAN for Han."""
    if isinstance(node, core.Any):
        return frozenset((BEYOND, HAN))
    if not _beyond_ascii(node):
        return frozenset()
    exact = frozenset(c for c in _members(node) if not c.isascii())
    return exact or frozenset((BEYOND, HAN) if _may_be_han(node) else (BEYOND,))


def _may_be_han(node: Any) -> bool:
    items = node.items if isinstance(node, core.SetUnion) and node.positive else [node]
    for item in items:
        if isinstance(item, core.Character) and item.positive:
            han = FIRST_HAN <= item.value <= LAST_HAN
        elif isinstance(item, core.Range) and item.positive:
            han = item.lower <= LAST_HAN and item.upper >= FIRST_HAN
        else:
            han = not (isinstance(item, core.Property) and item.positive and item.value in NOT_HAN)
        if han:
            return True
    return False


def _is_class(node: Any) -> bool:
    return isinstance(node, (core.Any, *CLASSES))


def _shape_class(characters: Iterable[str], beyond: bool) -> str:
    shapes = {SHAPES[ord(c)] for c in characters} | ({"u"} if beyond else set())
    return _class_of(shapes | {EXACT[c] for c in characters if c in EXACT}) or "(?!)"


@functools.lru_cache(maxsize=4096)
def _class_of_shapes(shapes: frozenset[str]) -> str:
    letters = set(EXACT.values())
    if letters <= shapes:
        return f"[{''.join(map(regex.escape, sorted(shapes - letters)))}{EXACT['a']}-{EXACT['z']}]"
    return f"[{''.join(map(regex.escape, sorted(shapes)))}]" if shapes else ""


def _class_of(shapes: Iterable[str]) -> str:
    return _class_of_shapes(frozenset(shapes))


class _Reader:
    def __init__(self, groups: dict[Any, Any]) -> None:
        self.groups = groups
        self._known: dict[int, tuple[Any, set[tuple[str, bool]]]] = {}

    def _group(self, node: Any) -> Any:
        found = self.groups.get(node.group) or self.groups.get(str(node.group))
        if found is None:
            raise NotUnderstood
        return found.subpattern

    def longest(self, node: Any) -> float:
        """Characters that the node can consume at most."""
        if _is_class(node):
            return 1
        if isinstance(node, core.String):
            return len(node.characters)
        if isinstance(node, core.ZeroWidthBase | core.LookAround):
            return 0
        if isinstance(node, core.RefGroup):
            return self.longest(self._group(node))
        if isinstance(node, core.GreedyRepeat):
            each = self.longest(node.subpattern)
            return 0 if not each else math.inf if node.max_count is None else each * node.max_count
        lengths = [self.longest(child) for child in _children(node)]
        return max(lengths, default=0) if isinstance(node, core.Branch) else sum(lengths)

    def reach(self, node: Any) -> float:
        """Like `longest`, with what looking ahead can see."""
        ahead = sum(
            self.longest(n.subpattern) for n in _walk([node]) if isinstance(n, core.LookAround) and not n.behind
        )
        return self.longest(node) + ahead

    def shortest(self, nodes: Sequence[Any]) -> int:
        total = 0
        for node in _flat(nodes):
            if _is_class(node):
                total += 1
            elif isinstance(node, core.Branch):
                total += min(self.shortest([branch]) for branch in node.branches)
            elif isinstance(node, core.GreedyRepeat):
                total += node.min_count * self.shortest([node.subpattern])
        return total

    def prefixes(self, items: Sequence[Any]) -> frozenset[str]:
        """Lower-case literals with one of which every match begins; empty where one of them would be empty."""
        found = {text for text, _ in self._spelled(items)}
        for length in range(LONGEST_LITERAL, 1, -2):
            cut = {text[:length] for text in found}
            shortest = {a for a in cut if not any(a[:n] in cut for n in range(len(a)))}
            if len(shortest) <= MOST_LITERALS:
                return frozenset() if "" in shortest else frozenset(shortest)
        return frozenset()

    def _spelled(self, items: Sequence[Any]) -> set[tuple[str, bool]]:
        """(literal, all that was matched so far?) for every way through the items, cut where it grows too long."""
        ways: set[tuple[str, bool]] = {("", True)}
        for item in items:
            whole = {text for text, open_ in ways if open_}
            if not whole:
                break
            further = self._spelled_node(item)
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

    def _spelled_node(self, node: Any) -> set[tuple[str, bool]]:
        if id(node) not in self._known:
            self._known[id(node)] = node, self._spell(node)  # the node stays, and with it its id
        return self._known[id(node)][1]

    def _spell(self, node: Any) -> set[tuple[str, bool]]:
        if _is_class(node):
            members = _members(node)
            small = members and len(members) <= (SMALL_CLASS if any(c.isascii() for c in members) else MOST_HAN)
            return {(c, True) for c in members} if small else {("", False)}
        if isinstance(node, core.ZeroWidthBase | core.LookAround):
            return {("", True)}
        if isinstance(node, core.Branch):
            return set().union(*(self._spelled(_flat([branch])) for branch in node.branches))
        if isinstance(node, core.GreedyRepeat):
            once = self._spelled(_flat([node.subpattern]))
            if node.min_count == 0:
                return {("", True)} | (once if node.max_count == 1 else {(text, False) for text, _ in once})
            return {(text, False) for text, _ in once}
        return {("", False)}

    def required(self, items: Sequence[Any]) -> Required | None:
        """The rarest set of literals, estimated for prose, of which one must stand near the beginning of a match."""
        found = []
        digit = self.digit_within(items)
        if not math.isinf(digit):
            found.append(Required(DIGITS, int(digit)))
        before = 0.0
        between: frozenset[str] = frozenset()
        for i, item in enumerate(items):
            if math.isinf(before):
                break
            ahead = isinstance(item, core.LookAround) and item.positive and not item.behind
            literals = self.prefixes(_flat([item.subpattern]) if ahead else items[i:])
            if literals and not any(literal.isspace() for literal in literals):
                found.append(Required(literals, int(before), between))
            if isinstance(item, core.Branch):
                each = [one for one in (self.required(_flat([branch])) for branch in item.branches) if one]
                if len(each) == len(item.branches):
                    within = int(before) + max(one.within for one in each)
                    inside = [ANY if one.between is None else one.between for one in each]
                    found.append(Required(_all(one.literals for one in each), within, between | _all(inside)))
            before += self.longest(item)
            between |= self.consumed(item)
        return min(found, key=_share, default=None)

    def consumed(self, node: Any) -> frozenset[str]:
        """Characters that a match of the node can consist of, in lower case."""
        if _is_class(node):
            return frozenset(c.lower() for c in _set_of(node)[0]) | _strangers(node)
        if isinstance(node, core.ZeroWidthBase | core.LookAround):
            return frozenset()
        if isinstance(node, core.RefGroup):
            return self.consumed(self._group(node))
        return _all(map(self.consumed, _flat([node]) if isinstance(node, core.String) else _children(node)))

    def digit_within(self, items: Sequence[Any]) -> float:
        """Characters between the beginning and a digit that every match has; infinite: it may have none."""
        within = math.inf
        for item in reversed(items):
            if isinstance(item, core.GreedyRepeat) and not item.min_count:
                taken = min(self.digit_within(_flat([item.subpattern])), self.longest(item) + within)
                within = max(taken, within)
            else:
                within = min(self._digit_within(item), self.longest(item) + within)
        return within

    def _digit_within(self, node: Any) -> float:
        if _is_class(node):
            may, _, beyond = _set_of(node)
            return 0 if may and may <= DIGITS and not beyond else math.inf
        if isinstance(node, core.LookAround):
            return self.digit_within(_flat([node.subpattern])) if node.positive and not node.behind else math.inf
        if isinstance(node, core.Branch):
            return max(self.digit_within(_flat([branch])) for branch in node.branches)
        if isinstance(node, core.GreedyRepeat):
            return self.digit_within(_flat([node.subpattern]))
        return math.inf

    def run(self, items: Sequence[Any]) -> int:
        """So many characters at least with which every match begins are ASCII letters and digits."""
        return self._run(items, ALNUM)

    def solid(self, items: Sequence[Any]) -> int:
        """The same of letters, digits and what else stands in encoded data."""
        return self._run(items, SOLID)

    def _run(self, items: Sequence[Any], of: frozenset[str]) -> int:
        total = 0
        for item in items:
            node, count, more = item, 1, False
            if isinstance(item, core.GreedyRepeat):
                node, count, more = item.subpattern, item.min_count, item.max_count != item.min_count
            if isinstance(item, core.ZeroWidthBase | core.LookAround):
                continue
            if not _is_class(node) or not _set_of(node)[0] <= of or _set_of(node)[2]:
                break
            total += count
            if more and count == 0:
                break
        return total

    def first(self, items: Sequence[Any]) -> tuple[frozenset[str], bool]:
        """ASCII characters with which a match can begin, and whether it can with others."""
        may, beyond, _ = self._first(items)
        return frozenset(may), beyond

    def strangers(self, items: Sequence[Any]) -> frozenset[str]:
        """Characters beyond ASCII with which a match can begin; BEYOND and HAN where they are many."""
        return self._strangers(items)[0]

    def _strangers(self, items: Sequence[Any]) -> tuple[frozenset[str], bool]:
        found: frozenset[str] = frozenset()
        for node in _flat(items):
            if _is_class(node):
                return found | _strangers(node), False
            if isinstance(node, core.ZeroWidthBase | core.LookAround):
                continue
            if isinstance(node, core.RefGroup):
                return frozenset((BEYOND, HAN)), True
            parts = [self._strangers([child]) for child in _children(node)]
            found |= _all(part[0] for part in parts)
            if not (any(part[1] for part in parts) or (isinstance(node, core.GreedyRepeat) and not node.min_count)):
                return found, False
        return found, True

    def beginnings(self, items: Sequence[Any]) -> tuple[list[tuple[frozenset[str], frozenset[str]]], bool]:
        """Shapes with which a match can begin, with those that cannot stand before; whether the items can be empty."""
        found: list[tuple[frozenset[str], frozenset[str]]] = []
        blocked: frozenset[str] = frozenset()
        for node in _flat(items):
            if _is_class(node):
                may, _, beyond = _set_of(node)
                found.append((frozenset(SHAPES[ord(c)] for c in may) | ({"u"} if beyond else set()), blocked))
                return found, False
            if isinstance(node, core.LookAround):
                blocked |= self._blocked(node.subpattern) if node.behind and not node.positive else frozenset()
                continue
            if isinstance(node, core.ZeroWidthBase):
                continue
            if isinstance(node, core.RefGroup):
                found.append((frozenset(map(SHAPES.__getitem__, map(ord, ASCII))) | {"u"}, blocked))
                continue
            parts = [self.beginnings([child]) for child in _children(node)]
            found += [(shapes, before | blocked) for part, _ in parts for shapes, before in part]
            if not (any(part[1] for part in parts) or (isinstance(node, core.GreedyRepeat) and not node.min_count)):
                return found, False
        return found, True

    def _blocked(self, node: Any) -> frozenset[str]:
        """Shapes of single characters that the node surely matches."""
        if _is_class(node):
            surely = _set_of(node)[1]
            return frozenset(s for s in map(SHAPES.__getitem__, map(ord, surely)) if _all_of(s) <= surely)
        if isinstance(node, core.Branch | core.Group) or (isinstance(node, core.Sequence) and len(node.items) == 1):
            return _all(map(self._blocked, _children(node)))
        return frozenset()

    def _first(self, items: Sequence[Any]) -> tuple[set[str], bool, bool]:
        may: set[str] = set()
        beyond = False
        for node in _flat(items):
            if _is_class(node):
                here, _, others = _set_of(node)
                return may | here, beyond or others, False
            if isinstance(node, core.ZeroWidthBase | core.LookAround):
                continue
            if isinstance(node, core.RefGroup):
                return set(ASCII), True, True
            parts = [self._first([child]) for child in _children(node)]
            may.update(*(part[0] for part in parts))
            beyond = beyond or any(part[1] for part in parts)
            empty = any(part[2] for part in parts) or (isinstance(node, core.GreedyRepeat) and not node.min_count)
            if not empty:
                return may, beyond, False
        return may, beyond, True

    def relaxed(self, items: Sequence[Any]) -> str:
        return "".join(map(self._relaxed, items))

    def _relaxed(self, node: Any) -> str:
        if _is_class(node):
            may, _, beyond = _set_of(node)
            return _shape_class(may, beyond)
        if isinstance(node, core.String):
            return "".join(map(self._relaxed, _flat([node])))
        if isinstance(node, core.RefGroup):
            return f"(?:{self._relaxed(self._group(node))})"
        if isinstance(node, core.GreedyRepeat):
            most = "" if node.max_count is None else node.max_count
            return f"(?:{self._relaxed(node.subpattern)}){{{node.min_count},{most}}}"
        if isinstance(node, core.LookAround):
            return self._relaxed_look(node)
        if isinstance(node, core.Boundary):
            return f"(?!(?<=[{WORD}])[{WORD}])" if node.positive else ""
        if isinstance(node, core.ZeroWidthBase):
            return ""
        return f"(?:{('|' if isinstance(node, core.Branch) else '').join(map(self._relaxed, _children(node)))})"

    def _relaxed_look(self, node: Any) -> str:
        if node.positive:
            return "" if node.behind else f"(?={self._relaxed(node.subpattern)})"
        sure = self._sure(node.subpattern)
        return f"(?{'<' if node.behind else ''}!{sure})" if sure else ""

    def _sure(self, node: Any) -> str:
        """A pattern over shapes that matches only where the node surely does; empty: none is known."""
        if _is_class(node):
            _, surely, _ = _set_of(node)
            shapes = {s for s in map(SHAPES.get, map(ord, surely)) if s and _all_of(s) <= surely}
            return _class_of(shapes | {EXACT[c] for c in surely if c in EXACT})
        if isinstance(node, core.Sequence):
            parts = [self._sure(item) for item in node.items]
            return "".join(parts) if all(parts) else ""
        if isinstance(node, core.Branch):
            return "|".join(filter(None, (self._sure(branch) for branch in node.branches)))
        if isinstance(node, core.Group):
            inside = self._sure(node.subpattern)
            return f"(?:{inside})" if inside else ""
        return ""

    # -- ways: a choice that the next character decides is none

    def ways(self, items: Sequence[Any], follow: frozenset[str]) -> float:
        """follow: characters that can come behind the items."""
        total = 1.0
        behind: Any = None
        for item in reversed(items):
            if not (behind is not None and self._ends_word(behind) and self._is_word(item)):
                total *= self._ways(item, follow)
            behind = item
            starts, empty = self._starts([item])
            follow = starts | follow if empty else starts
        return total

    def _ways(self, node: Any, follow: frozenset[str]) -> float:
        if isinstance(node, core.Branch):
            each = [self.ways(_opened(branch), follow) for branch in node.branches]
            starts = [self._starts([branch]) for branch in node.branches]
            firsts = [first | follow if empty else first for first, empty in starts]
            return min(max(_summed(each, firsts)), self._chain(node))
        if isinstance(node, core.GreedyRepeat):
            again, empty = self._starts([node.subpattern])
            if isinstance(node, core.PossessiveRepeat):
                follow = frozenset()  # nothing is given back to what comes behind
            once = self.ways(_opened(node.subpattern), again | follow)
            fixed = bool(node.max_count == node.min_count or (not empty and not _overlap(again, follow)))
            if once == 1 and fixed:
                return 1
            if node.max_count is None:
                return math.inf
            return float(once**node.max_count * (1 if fixed else node.max_count - node.min_count + 1))
        if isinstance(node, core.LookAround):
            return self.ways(_opened(node.subpattern), frozenset())
        if isinstance(node, core.Group):
            return self.ways(_opened(node.subpattern), follow)
        if isinstance(node, core.Atomic):
            return self.ways(_opened(node.subpattern), frozenset())
        if isinstance(node, core.Sequence):
            return self.ways(_opened(node), follow)
        return 1

    def _ends_word(self, node: Any) -> bool:
        """No letter can follow."""
        if isinstance(node, core.LookAround) and not node.positive and not node.behind:
            inside = _opened(node.subpattern)
            return len(inside) == 1 and _is_class(inside[0]) and _set_of(inside[0])[1] >= LETTERS
        return isinstance(node, core.Boundary) and bool(node.positive)

    def _is_word(self, node: Any) -> bool:
        """A choice of words of letters: where no letter may follow, one of them at most fits."""
        spelled = self._spelled_node(node) if isinstance(node, core.Branch) else set()
        return bool(spelled) and all(open_ and set(text) <= LETTERS and text for text, open_ in spelled)

    def _chain(self, node: Any) -> float:
        """Of a choice between literals: how many can stand at one place, being beginnings of one another."""
        spelled = self._spelled_node(node)
        if not all(open_ for _, open_ in spelled):
            return math.inf
        texts = {text for text, _ in spelled}
        return max(sum(text.startswith(other) for other in texts) for text in texts)

    def _starts(self, items: Sequence[Any]) -> tuple[frozenset[str], bool]:
        """Characters with which the items can begin, `u` for all beyond ASCII, and whether they can be empty."""
        found: frozenset[str] = frozenset()
        for node in items:
            if _is_class(node):
                may, _, beyond = _set_of(node)
                exact = _members(node)
                lower = {c.lower() for c in may}
                return found | (exact or frozenset(lower | ({BEYOND} if beyond else set()))), False
            if isinstance(node, core.ZeroWidthBase | core.LookAround):
                continue
            if isinstance(node, core.RefGroup):
                found |= {c.lower() for c in ASCII} | {BEYOND}
                continue
            if isinstance(node, core.Branch):
                parts = [self._starts([branch]) for branch in node.branches]
            elif isinstance(node, core.Sequence | core.String):
                parts = [self._starts(_opened(node))]
            else:
                parts = [self._starts([node.subpattern])]
            found = found.union(*(first for first, _ in parts))
            if not any(empty for _, empty in parts) and not (
                isinstance(node, core.GreedyRepeat) and not node.min_count
            ):
                return found, False
        return found, True


def _opened(node: Any) -> list[Any]:
    if isinstance(node, core.String):
        return _flat([node])
    return [inner for item in node.items for inner in _opened(item)] if isinstance(node, core.Sequence) else [node]


def _summed(each: Sequence[float], firsts: Sequence[frozenset[str]]) -> list[float]:
    """The ways of those that can begin alike together."""
    groups: list[tuple[frozenset[str], float]] = []
    for ways, first in zip(each, firsts, strict=True):
        alike = [group for group in groups if _overlap(group[0], first)]
        groups = [group for group in groups if group not in alike]
        groups.append((first.union(*(group[0] for group in alike)), ways + sum(group[1] for group in alike)))
    return [ways for _, ways in groups]


def _overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    if one & other:
        return True
    wild_one, wild_other = BEYOND in one, BEYOND in other
    return (wild_one and any(not c.isascii() for c in other)) or (wild_other and any(not c.isascii() for c in one))


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


@functools.lru_cache(maxsize=256)
def _all_of(shape: str) -> frozenset[str]:
    return frozenset(c for c in ASCII if SHAPES[ord(c)] == shape)


# Share of the characters of English prose, roughly.
_COMMON = {" ": 0.17, ".": 0.012, ",": 0.012, "-": 0.004, "'": 0.005, '"': 0.005, "/": 0.001, ":": 0.002, "\n": 0.01}
_INSIDE = regex.compile(r"[.:@/][0-9a-z]")  # a sentence's marks have a space behind them


def _share(required: Required) -> float:
    """Of a text that lies before one of the literals and near it."""
    one_word = required.between is not None and " " not in required.between
    return sum(map(_frequency, required.literals)) * (min(required.within, LONG_WORD if one_word else 1_000) + 1)


def _frequency(literal: str) -> float:
    if _INSIDE.match(literal):
        return 5e-6
    each = [_COMMON.get(c, 0.04 if c.isascii() and c.isalpha() else 0.001 if c.isalnum() else 2e-4) for c in literal]
    return math.prod(each) * 4.0 ** (len(literal) - 1)  # letters attract each other
