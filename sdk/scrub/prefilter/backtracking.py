"""How many ways through a pattern an attempt to match can try, at most: the bound of its time.

A choice that the next character decides is no choice, so most patterns have one way. A pattern with few ways ends so
soon that no clock has to watch it, which saves more time than most attempts take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sdk.scrub.prefilter.literals import Spelling
from sdk.scrub.prefilter.pattern_tree import (
    ASCII,
    BEYOND,
    Alternation,
    Assertion,
    Atomic,
    BackReference,
    CharacterClass,
    Group,
    Look,
    Node,
    Repeat,
    Series,
    children,
)

_LETTERS = frozenset(c for c in ASCII if c.isalpha())
_LOWER_ASCII = frozenset(c.lower() for c in ASCII)


def ways(items: Sequence[Node], follow: frozenset[str], spelling: Spelling) -> float:
    """Return the bound for a series. follow: characters that can come behind it."""
    total = 1.0
    behind: Node | None = None
    for item in reversed(items):
        if not (behind is not None and _ends_word(behind) and _is_word(item, spelling)):
            total *= _ways(item, follow, spelling)
        behind = item
        starts, empty = _starts([item])
        follow = starts | follow if empty else starts
    return total


def _ways(node: Node, follow: frozenset[str], spelling: Spelling) -> float:
    if isinstance(node, Alternation):
        each = [ways(_opened(branch), follow, spelling) for branch in node.branches]
        starts = [_starts([branch]) for branch in node.branches]
        firsts = [first | follow if empty else first for first, empty in starts]
        return min(max(_together(each, firsts)), _nested_literals(node, spelling))
    if isinstance(node, Repeat):
        again, empty = _starts([node.item])
        if node.possessive:
            follow = frozenset()  # nothing is given back to what comes behind
        once = ways(_opened(node.item), again | follow, spelling)
        fixed = node.most == node.least or (not empty and not _overlap(again, follow))
        if once == 1 and fixed:
            return 1
        if node.most is None:
            return math.inf
        return float(once**node.most * (1 if fixed else node.most - node.least + 1))
    if isinstance(node, Look | Atomic):
        return ways(_opened(node.item), frozenset(), spelling)
    if isinstance(node, Group):
        return ways(_opened(node.item), follow, spelling)
    return ways(_opened(node), follow, spelling) if isinstance(node, Series) else 1


def _ends_word(node: Node) -> bool:
    """Tell whether no letter can follow."""
    if isinstance(node, Look) and not node.positive and not node.behind:
        inside = _opened(node.item)
        return len(inside) == 1 and isinstance(inside[0], CharacterClass) and inside[0].surely >= _LETTERS
    return isinstance(node, Assertion) and node.word_boundary


def _is_word(node: Node, spelling: Spelling) -> bool:
    """Tell whether it is a choice of words of letters: where no letter may follow, one of them at most fits."""
    spelled = spelling.spelled_node(node) if isinstance(node, Alternation) else set()
    return bool(spelled) and all(open_ and set(text) <= _LETTERS and text for text, open_ in spelled)


def _nested_literals(node: Alternation, spelling: Spelling) -> float:
    """Return how many literals of a choice can stand at one place, being beginnings of one another."""
    spelled = spelling.spelled_node(node)
    if not all(open_ for _, open_ in spelled):
        return math.inf
    texts = {text for text, _ in spelled}
    return max(sum(text.startswith(other) for other in texts) for text in texts)


def _starts(items: Sequence[Node]) -> tuple[frozenset[str], bool]:
    """Return the characters with which the items can begin, BEYOND for many, and whether they can be empty."""
    found: frozenset[str] = frozenset()
    for node in items:
        if isinstance(node, CharacterClass):
            many = frozenset(c.lower() for c in node.may) | (frozenset((BEYOND,)) if node.beyond else frozenset())
            return found | (node.members or many), False
        if isinstance(node, Assertion | Look):
            continue
        if isinstance(node, BackReference):
            found |= _LOWER_ASCII | {BEYOND}
            continue
        parts = [_starts(part) for part in ([_opened(node)] if isinstance(node, Series) else _each(children(node)))]
        found = found.union(*(first for first, _ in parts))
        if not any(empty for _, empty in parts) and not (isinstance(node, Repeat) and not node.least):
            return found, False
    return found, True


def _opened(node: Node) -> list[Node]:
    return [inner for item in node.items for inner in _opened(item)] if isinstance(node, Series) else [node]


def _each(nodes: Iterable[Node]) -> list[list[Node]]:
    return [[node] for node in nodes]


def _together(each: Sequence[float], firsts: Sequence[frozenset[str]]) -> list[float]:
    """Add up the ways of branches that can begin alike; the others exclude each other."""
    groups: list[tuple[frozenset[str], float]] = []
    for number, first in zip(each, firsts, strict=True):
        alike = [group for group in groups if _overlap(group[0], first)]
        groups = [group for group in groups if group not in alike]
        groups.append((first.union(*(group[0] for group in alike)), number + sum(group[1] for group in alike)))
    return [number for _, number in groups]


def _overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    if one & other:
        return True
    wild_one, wild_other = BEYOND in one, BEYOND in other
    return (wild_one and any(not c.isascii() for c in other)) or (wild_other and any(not c.isascii() for c in one))
