"""How long matches are, how far ahead they look, which characters they begin with, and how near a digit is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdk.scrub.prefilter.pattern_tree import (
    ALL_ASCII,
    BEYOND,
    HAN,
    Alternation,
    Assertion,
    BackReference,
    CharacterClass,
    Look,
    Node,
    Repeat,
    children,
    flat,
    union,
    walk,
)

DIGITS = frozenset("0123456789")


def longest(node: Node) -> float:
    """Return the number of characters that the node can consume at most."""
    if isinstance(node, CharacterClass):
        return 1
    if isinstance(node, Assertion | Look):
        return 0
    if isinstance(node, BackReference):
        return longest(node.item)
    if isinstance(node, Repeat):
        each = longest(node.item)
        return 0 if not each else math.inf if node.most is None else each * node.most
    lengths = [longest(child) for child in children(node)]
    return max(lengths, default=0) if isinstance(node, Alternation) else sum(lengths)


def reach(node: Node) -> float:
    """Return the same with what looking ahead can see."""
    looks = (inner for inner in walk([node]) if isinstance(inner, Look) and not inner.behind)
    return longest(node) + sum(longest(look.item) for look in looks)


def shortest(nodes: Sequence[Node]) -> int:
    """Return the number of characters that the nodes consume at least."""
    total = 0
    for node in flat(nodes):
        if isinstance(node, CharacterClass):
            total += 1
        elif isinstance(node, Alternation):
            total += min(shortest([branch]) for branch in node.branches)
        elif isinstance(node, Repeat):
            total += node.least * shortest([node.item])
    return total


def consumed(node: Node) -> frozenset[str]:
    """Return the characters that a match of the node can consist of, in lower case."""
    if isinstance(node, CharacterClass):
        return frozenset(c.lower() for c in node.may) | node.beyond
    if isinstance(node, Assertion | Look):
        return frozenset()
    return consumed(node.item) if isinstance(node, BackReference) else union(map(consumed, children(node)))


def digit_within(items: Sequence[Node]) -> float:
    """Return the characters between the beginning and a digit that every match has; infinite: it may have none."""
    within = math.inf
    for item in reversed(items):
        if isinstance(item, Repeat) and not item.least:  # whether it is there or not
            within = max(min(digit_within(flat([item.item])), longest(item) + within), within)
        else:
            within = min(_digit_within(item), longest(item) + within)
    return within


def _digit_within(node: Node) -> float:
    if isinstance(node, CharacterClass):
        return 0 if node.may and node.may <= DIGITS and not node.beyond else math.inf
    if isinstance(node, Look):
        return digit_within(flat([node.item])) if node.positive and not node.behind else math.inf
    if isinstance(node, Alternation):
        return max(digit_within(flat([branch])) for branch in node.branches)
    return digit_within(flat([node.item])) if isinstance(node, Repeat) else math.inf


def leading_run(items: Sequence[Node], characters: frozenset[str]) -> int:
    """Return how many of these characters every match begins with, at least."""
    total = 0
    for item in items:
        if isinstance(item, Assertion | Look):
            continue
        node, least, most = (item.item, item.least, item.most) if isinstance(item, Repeat) else (item, 1, 1)
        if not isinstance(node, CharacterClass) or not node.may <= characters or node.beyond:
            break
        total += least
        if least == 0 and most != 0:
            break
    return total


def first_characters(items: Sequence[Node]) -> tuple[frozenset[str], frozenset[str], bool]:
    """Return the ASCII characters and those beyond with which the items can begin, and whether they can be empty."""
    may: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()
    for node in flat(items):
        if isinstance(node, CharacterClass):
            return may | node.may, beyond | node.beyond, False
        if isinstance(node, Assertion | Look):
            continue
        if isinstance(node, BackReference):
            return ALL_ASCII, frozenset((BEYOND, HAN)), True
        parts = [first_characters([child]) for child in children(node)]
        may |= union(part[0] for part in parts)
        beyond |= union(part[1] for part in parts)
        if not (any(part[2] for part in parts) or (isinstance(node, Repeat) and not node.least)):
            return may, beyond, False
    return may, beyond, True
