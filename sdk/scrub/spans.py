"""Where personal data stand in a text."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Span:
    """[start, end) in characters; score is Presidio's confidence."""

    start: int
    end: int
    entity_type: str
    score: float
    recognizer: str = ""


NAME_KINDS = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP", "TITLE"})


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return disjoint spans in order: overlapping ones become their union, of the kind that is surest, then longest.

    A name yields to a form: what is left of it beside a number or an address stays a name of its own if it is a word.
    """
    ordered = sorted(spans, key=lambda s: (s.start, -s.end, s.entity_type))
    forms = _united(s for s in ordered if s.entity_type not in NAME_KINDS)
    names = _united(s for s in ordered if s.entity_type in NAME_KINDS)
    if not forms or not names:
        return forms or names
    return sorted([*forms, *(rest for name in names for rest in _beside(name, forms))], key=lambda s: s.start)


def _united(ordered: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    best: list[Span] = []
    for span in ordered:
        if result and span.start < result[-1].end:
            best[-1] = max(best[-1], span, key=lambda s: (s.score, s.end - s.start, s.entity_type))
            end = max(result[-1].end, span.end)
            result[-1] = replace(best[-1], start=result[-1].start, end=end)
        else:
            result.append(span)
            best.append(span)
    return result


def _beside(name: Span, forms: Sequence[Span]) -> list[Span]:
    """Return what no form covers of a name, less pieces of one or two characters."""
    pieces, start = [], name.start
    for form in forms[bisect(forms, name.start, key=lambda s: s.end) :]:
        if form.start >= name.end:
            break
        pieces.append((start, form.start))
        start = max(start, form.end)
    if not pieces:
        return [name]
    pieces.append((start, name.end))
    return [replace(name, start=a, end=b) for a, b in pieces if b - a > 2]
