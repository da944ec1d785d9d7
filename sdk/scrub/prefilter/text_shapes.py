"""Shapes: a text with its characters replaced by a few classes, and patterns over shapes.

In a shape every ASCII digit is `0`, every capital `A`, every small letter `a`, and all that is not ASCII `u`; any other
character stays. Many texts share a shape, so whether a pattern can match at a shape is found out once and remembered.
`relaxed` turns a pattern into one over shapes that matches wherever the pattern itself could: too often, never too
rarely. Where it pays, a small letter of a shape is told exactly, by a character of its own (EXACT).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import regex

from sdk.scrub.prefilter.pattern_tree import (
    ASCII,
    Alternation,
    Assertion,
    BackReference,
    CharacterClass,
    Group,
    Look,
    Node,
    Repeat,
    Series,
    children,
    flat,
    union,
)

EXACT = {c: chr(0xE000 + ord(c)) for c in "abcdefghijklmnopqrstuvwxyz"}
NOTHING = "\ue000"  # stands in a shape for no character at all, as before the text
WORD = f"0aA_{EXACT['a']}-{EXACT['z']}"  # the word characters among the shapes; `u` may be one or not
Beginning = tuple[frozenset[str], frozenset[str]]  # shapes of a first character; shapes that cannot stand before it


class ShapeTable(dict[int, str]):
    """For str.translate."""

    def __missing__(self, code: int) -> str:
        self[code] = "u"
        return "u"


SHAPES = ShapeTable({ord(c): "0" if c.isdigit() else "A" if c.isupper() else "a" if c.islower() else c for c in ASCII})


def shape_of(character: str) -> str:
    return SHAPES[ord(character)]


def shapes_of(node: CharacterClass) -> frozenset[str]:
    return frozenset(map(shape_of, node.may)) | ({"u"} if node.beyond else frozenset())


@functools.lru_cache(maxsize=256)
def _all_of(shape: str) -> frozenset[str]:
    """Return the ASCII characters that have the shape."""
    return frozenset(c for c in ASCII if shape_of(c) == shape)


def _sure_shapes(node: CharacterClass) -> frozenset[str]:
    """Return the shapes of which the class matches every character."""
    return frozenset(shape for shape in map(shape_of, node.surely) if _all_of(shape) <= node.surely)


@functools.lru_cache(maxsize=4096)
def _set_pattern(shapes: frozenset[str]) -> str:
    letters = set(EXACT.values())
    if letters <= shapes:
        return f"[{''.join(map(regex.escape, sorted(shapes - letters)))}{EXACT['a']}-{EXACT['z']}]"
    return f"[{''.join(map(regex.escape, sorted(shapes)))}]" if shapes else ""


def _exact(characters: Iterable[str]) -> frozenset[str]:
    return frozenset(EXACT[c] for c in characters if c in EXACT)


# -- what can begin a match


def beginnings(items: Sequence[Node]) -> tuple[list[Beginning], bool]:
    """Return the shapes with which the items can begin, and whether the items can match nothing."""
    found: list[Beginning] = []
    blocked: frozenset[str] = frozenset()
    for node in flat(items):
        if isinstance(node, CharacterClass):
            return [*found, (shapes_of(node), blocked)], False
        if isinstance(node, Look):
            blocked |= _blocked(node.item) if node.behind and not node.positive else frozenset()
            continue
        if isinstance(node, Assertion):
            continue
        if isinstance(node, BackReference):  # as if it could be anything or nothing
            found.append((frozenset(map(shape_of, ASCII)) | {"u"}, blocked))
            continue
        parts = [beginnings([child]) for child in children(node)]
        found += [(shapes, before | blocked) for part, _ in parts for shapes, before in part]
        if not (any(empty for _, empty in parts) or (isinstance(node, Repeat) and not node.least)):
            return found, False
    return found, True


def _blocked(node: Node) -> frozenset[str]:
    """Return the shapes of single characters that the node surely matches."""
    if isinstance(node, CharacterClass):
        return _sure_shapes(node)
    if isinstance(node, Alternation | Group) or (isinstance(node, Series) and len(node.items) == 1):
        return union(map(_blocked, children(node)))
    return frozenset()


# -- patterns over shapes


def relaxed(items: Iterable[Node]) -> str:
    return "".join(map(_relaxed, items))


def _relaxed(node: Node) -> str:
    if isinstance(node, CharacterClass):
        return _set_pattern(shapes_of(node) | _exact(node.may)) or "(?!)"
    if isinstance(node, BackReference):
        return f"(?:{_relaxed(node.item)})"
    if isinstance(node, Repeat):
        most = "" if node.most is None else node.most
        return f"(?:{_relaxed(node.item)}){{{node.least},{most}}}"
    if isinstance(node, Look):
        return _relaxed_look(node)
    if isinstance(node, Assertion):
        return f"(?!(?<=[{WORD}])[{WORD}])" if node.word_boundary else ""
    return f"(?:{('|' if isinstance(node, Alternation) else '').join(map(_relaxed, children(node)))})"


def _relaxed_look(node: Look) -> str:
    """Relax a look-around. A negative one may refuse only what the pattern itself surely would."""
    if node.positive:
        return "" if node.behind else f"(?={_relaxed(node.item)})"
    sure = _sure(node.item)
    return f"(?{'<' if node.behind else ''}!{sure})" if sure else ""


def _sure(node: Node) -> str:
    """Return a pattern over shapes that matches only where the node surely does; empty: none is known."""
    if isinstance(node, CharacterClass):
        return _set_pattern(_sure_shapes(node) | _exact(node.surely))
    if isinstance(node, Series):
        parts = [_sure(item) for item in node.items]
        return "".join(parts) if all(parts) else ""
    if isinstance(node, Alternation):
        return "|".join(filter(None, (_sure(branch) for branch in node.branches)))
    if isinstance(node, Group):
        inside = _sure(node.item)
        return f"(?:{inside})" if inside else ""
    return ""
