"""What a scrubbing has seen so far: counts and ids, never text. Tallies of parts are added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdk.scrub.statistics import RowStatistics


@dataclass
class Tally:
    statistics: RowStatistics = field(default_factory=RowStatistics)
    rows: Counter[str] = field(default_factory=Counter)  # split -> rows that were written
    planted: Counter[str] = field(default_factory=Counter)  # kind -> spans
    planted_in: Counter[str] = field(default_factory=Counter)  # split, or `measured` -> spans
    removed: Counter[str] = field(default_factory=Counter)  # kind -> of these, removed entirely
    found: int = 0
    unplanted: int = 0  # findings that touch no planted span, in files that have some
    changed: int = 0  # rows
    size: int = 0  # of the texts that were scanned, bytes
    failed: list[tuple[str, str, str]] = field(default_factory=list)  # split, row, type of the error
    emptied: list[str] = field(default_factory=list)  # messages of which nothing is left
    without_patient: list[str] = field(default_factory=list)  # faults

    def count_planted(self, split: str, kinds: Iterable[str]) -> None:
        """Count the planted spans of a row by their kinds."""
        before = self.planted.total()
        self.planted.update(kinds)
        self.planted_in[split] += self.planted.total() - before

    def add(self, other: Tally) -> None:
        self.statistics.add(other.statistics)
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name in (*_NUMBERS, *_LISTS):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def counts(self) -> dict[str, int]:
        """Return kind -> findings."""
        return {kind: counts.total() for kind, counts in sorted(self.statistics.actions.items())}

    @property
    def actions(self) -> dict[str, int]:
        """Return action -> findings."""
        total: Counter[str] = Counter()
        for counts in self.statistics.actions.values():
            total.update(counts)
        return dict(sorted(total.items()))

    @property
    def recognizers(self) -> dict[str, dict[str, int]]:
        return {kind: dict(sorted(counts.items())) for kind, counts in sorted(self.statistics.recognizers.items())}

    def as_json(self) -> dict[str, Any]:
        return {
            "statistics": self.statistics.as_json(),
            **{name: dict(getattr(self, name)) for name in _COUNTERS},
            **{name: getattr(self, name) for name in (*_NUMBERS, *_LISTS)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tally:
        tally = cls(statistics=RowStatistics.from_json(value["statistics"]))
        for name in _COUNTERS:
            setattr(tally, name, Counter(value[name]))
        for name in (*_NUMBERS, *_LISTS):
            setattr(tally, name, value[name])
        tally.failed = [(split, row, error) for split, row, error in value["failed"]]
        return tally


_COUNTERS = ("rows", "planted", "planted_in", "removed")
_NUMBERS = ("found", "unplanted", "changed", "size")
_LISTS = ("failed", "emptied", "without_patient")
