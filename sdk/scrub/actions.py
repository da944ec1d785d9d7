"""What stands in a text in place of personal data: placeholder, keyed token, mask or nothing."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sdk.policy import Action

CARDS = frozenset({"CREDIT_CARD", "CN_BANK_CARD"})
TOKEN_DIGITS = 12


@dataclass(frozen=True)
class Span:
    """[start, end) in characters; score is Presidio's confidence."""

    start: int
    end: int
    entity_type: str
    score: float


def merged(spans: Iterable[Span]) -> list[Span]:
    """Disjoint spans in order: overlapping ones become their union, of the kind that is surest, then longest."""
    result: list[Span] = []
    best: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.entity_type)):
        if result and span.start < result[-1].end:
            best[-1] = max(best[-1], span, key=lambda s: (s.score, s.end - s.start, s.entity_type))
            end = max(result[-1].end, span.end)
            result[-1] = Span(result[-1].start, end, best[-1].entity_type, best[-1].score)
        else:
            result.append(span)
            best.append(span)
    return result


def token(value: str, entity_type: str, key: bytes) -> str:
    """The same for every spelling of a value: NFKC, case folded, without white space and hyphens. HMAC-SHA-256."""
    folded = unicodedata.normalize("NFKC", value).casefold()
    bare = "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Pd")
    digest = hmac.new(key, f"{entity_type}\0{bare}".encode(), hashlib.sha256).hexdigest()
    return f"<{entity_type}_{digest[:TOKEN_DIGITS]}>"


def mask(value: str, entity_type: str) -> str:
    """Letters and digits become `*`; of cards at most the first six and last four stay (PCI DSS 4.0.1, 3.4.1)."""
    places = [i for i, c in enumerate(value) if c.isalnum()]
    first, last = _kept(len(places), entity_type)
    hidden = set(places[first : len(places) - last])
    return "".join("*" if i in hidden else c for i, c in enumerate(value))


def _kept(length: int, entity_type: str) -> tuple[int, int]:
    if entity_type in CARDS:
        return (6, 4) if length >= 16 else (0, 4) if length >= 12 else (0, 0)
    return (0, 4) if length >= 12 else (0, 2) if length >= 8 else (0, 0)


def replaced(text: str, spans: Iterable[Span], action_of: Callable[[str], Action], key: bytes) -> str:
    """The text with each of the disjoint, ordered spans replaced."""
    parts: list[str] = []
    position = 0
    for span in spans:
        parts.append(text[position : span.start])
        position = span.end
        value = text[span.start : span.end]
        match action_of(span.entity_type):
            case "placeholder":
                parts.append(f"<{span.entity_type}>")
            case "token":
                parts.append(token(value, span.entity_type, key))
            case "mask":
                parts.append(mask(value, span.entity_type))
            case "delete":
                _close_gap(parts, text[position : position + 1])
                if not any(parts) or parts[-1].endswith("\n"):
                    position += text[position : position + 1] == " "
    parts.append(text[position:])
    return "".join(parts)


def _close_gap(parts: list[str], following: str) -> None:
    """Drop the space in front of a deleted value where none is needed any more."""
    if parts[-1].endswith(" ") and (not following or not following.isalnum()):
        parts[-1] = parts[-1][:-1]
