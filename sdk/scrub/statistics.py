"""What the report shows of the rows beside the record: counts, shapes and sizes, never text.

Those of parts of the data are added up; the sum does not depend on how the rows were divided or in which order.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sdk.records import KEEP, canonical_json, sha256
from sdk.scrub.spans import Span
from sdk.scrub.utility import ScrubbedMessage, answers_left, count_words

MOST_SHAPES = 3  # of a kind
LONGEST_SHAPE = 32  # characters
LONGEST_FORM = 8  # of a shape whose repetitions are left out; that bounds how many there can be
BETWEEN = "\0"  # a kind and a form
MOST_FORMS = 20  # that the report shows
KEPT = frozenset(" -./:@+()',_#&%")
GROUP_DIGITS = 32  # of a group's digest; two groups share one with a probability below 2**-64 up to 2**32 groups
ALL = "all"  # the one group of rows where no quasi-identifiers are declared
HAN_SHAPE = "汉"

Counts = dict[str, Counter[str]]


def shape(value: str) -> str:
    """Mask a value: digits become 0, letters A and a, Chinese characters 汉, all but common separators a dot."""
    shown = value[:LONGEST_SHAPE].translate(_MASKING)
    return shown + "…" if len(value) > LONGEST_SHAPE else shown


def form(value: str) -> str:
    """Return a value's shape with neither repetitions nor an end: Aa Aa for a name, A for an abbreviation."""
    shown = shape(value)
    kept = "".join(c for i, c in enumerate(shown) if not i or c != shown[i - 1])
    return kept[:LONGEST_FORM]


class _Masking(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = shown = _masked(chr(code))
        return shown


_MASKING = _Masking()


def _masked(character: str) -> str:
    kind = unicodedata.category(character)
    if kind[0] == "N":
        return "0"
    if kind[0] == "L":
        if unicodedata.name(character, "").startswith("CJK"):
            return HAN_SHAPE
        return "A" if kind in ("Lu", "Lt") else "a"
    if kind[0] in "MC":
        return ""
    return " " if kind[0] == "Z" else character if character in KEPT else "·"


@lru_cache(maxsize=4096)
def size_class(number: int) -> str:
    """Return the class of a number: 0, 1, 2-3, 4-7, 8-15 and so on."""
    bits = number.bit_length()
    low, high = (1 << bits) >> 1, (1 << bits) - 1
    return str(low) if low >= high else f"{low}-{high}"


@dataclass
class RowStatistics:
    actions: Counts = field(default_factory=dict)  # kind -> action -> findings
    recognizers: Counts = field(default_factory=dict)  # kind -> recognizer -> findings
    shapes: dict[str, list[str]] = field(default_factory=dict)  # kind -> a few, chosen by their digests
    before: Counter[str] = field(default_factory=Counter)  # class of a message's characters -> messages
    after: Counter[str] = field(default_factory=Counter)
    per_row: Counter[str] = field(default_factory=Counter)  # class of a row's findings -> rows
    languages: Counter[str] = field(default_factory=Counter)  # rows
    groups: Counter[str] = field(default_factory=Counter)  # digest of the quasi-identifiers -> rows
    words: Counter[str] = field(default_factory=Counter)  # kind, or all -> words of messages
    rows_by_kind: Counter[str] = field(default_factory=Counter)  # kind -> rows in which some of it was changed
    forms: Counter[str] = field(default_factory=Counter)  # kind and form of a value that was changed -> findings
    answers: Counter[str] = field(default_factory=Counter)  # what utility.py counts
    known: set[str] = field(default_factory=set)  # quasi-identifiers that some row has

    def count_finding(self, kind: str, action: str, recognizer: str, value: str) -> None:
        """Count one finding; of the value its shape alone is kept, and that only if it differs."""
        self.actions.setdefault(kind, Counter())[action] += 1
        self.recognizers.setdefault(kind, Counter())[recognizer or "unknown"] += 1
        shown = shape(value)
        if shown != value and shown.strip():
            self._keep_shapes(kind, [shown])

    def count_message(self, before: str, after: str, spans: Sequence[Span], actions: Mapping[str, str]) -> None:
        """Count one message as it was and as it is; `actions`: kind -> what happened to it."""
        self.before[size_class(len(before))] += 1
        self.after[size_class(len(after))] += 1
        self.words[ALL] += count_words(before)
        for span in spans:
            kind, value = span.entity_type, before[span.start : span.end]
            self.count_finding(kind, actions[kind], span.recognizer, value)
            if actions[kind] != KEEP:
                self.words[kind] += count_words(value)
                shown = form(value)
                if shown != value and shown.strip():
                    self.forms[f"{kind}{BETWEEN}{shown}"] += 1

    def count_cost(self, kinds: Iterable[str], messages: Sequence[ScrubbedMessage]) -> None:
        """Count one row by the kinds of which something was changed in it, and by what its answer still has."""
        self.rows_by_kind.update(set(kinds))
        self.answers.update(answers_left(messages))

    def count_row(
        self, language: str, findings: int, metadata: Mapping[str, Any], quasi_identifiers: Sequence[str]
    ) -> None:
        """Count one row that was written, with its metadata as they were written."""
        self.languages[language] += 1
        self.per_row[size_class(findings)] += 1
        if not quasi_identifiers:
            self.groups[ALL] += 1
            return
        values = {name: looked_up(metadata, name) for name in quasi_identifiers}
        self.known |= {name for name, value in values.items() if value is not None}
        texts = {name: None if value is None else str(value) for name, value in values.items()}
        self.groups[sha256(canonical_json(texts))[:GROUP_DIGITS]] += 1

    @property
    def smallest_group(self) -> int:
        """Return k: rows in the smallest group with the same quasi-identifiers; all rows where none are declared."""
        return min(self.groups.values(), default=0)

    def rows_below(self, k: int) -> int:
        return sum(rows for rows in self.groups.values() if rows < k)

    def add(self, other: RowStatistics) -> None:
        for mine, theirs in ((self.actions, other.actions), (self.recognizers, other.recognizers)):
            for kind, counts in theirs.items():
                mine.setdefault(kind, Counter()).update(counts)
        for kind, shapes in other.shapes.items():
            self._keep_shapes(kind, shapes)
        for name in _FLAT:
            getattr(self, name).update(getattr(other, name))
        self.known |= other.known

    def _keep_shapes(self, kind: str, shapes: Iterable[str]) -> None:
        mine = self.shapes.setdefault(kind, [])
        for shown in shapes:
            if shown not in mine and (len(mine) < MOST_SHAPES or _rank(shown) < _rank(mine[-1])):
                mine.append(shown)
                mine.sort(key=_rank)
                del mine[MOST_SHAPES:]

    def as_json(self) -> dict[str, Any]:
        return {
            **{name: {kind: dict(counts) for kind, counts in getattr(self, name).items()} for name in _NESTED},
            **{name: dict(getattr(self, name)) for name in _FLAT},
            "shapes": self.shapes,
            "known": sorted(self.known),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RowStatistics:
        statistics = cls(shapes=dict(value["shapes"]), known=set(value["known"]))
        for name in _NESTED:
            setattr(statistics, name, {kind: Counter(counts) for kind, counts in value[name].items()})
        for name in _FLAT:
            setattr(statistics, name, Counter(value[name]))
        return statistics


@lru_cache(maxsize=65536)
def _rank(shown: str) -> str:
    return sha256(shown.encode())


_NESTED = ("actions", "recognizers")
_FLAT = ("before", "after", "per_row", "languages", "groups", "words", "rows_by_kind", "forms", "answers")


def looked_up(metadata: Mapping[str, Any], name: str) -> Any:
    """Return the value at a field or its dotted path, from `metadata` or below it; None where there is none."""
    name = name.removeprefix("metadata.")
    if name in metadata:
        return metadata[name]
    value: Any = metadata
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
