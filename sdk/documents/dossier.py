"""What documents are written from: the records of one model and the few facts of its project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sdk.domain import Domain
from sdk.policy import Policy
from sdk.records import (
    Advice,
    BenchmarkResult,
    Benchmarks,
    Declared,
    Export,
    Leaks,
    Package,
    Record,
    Release,
    Review,
    Run,
    Scores,
    Scrubbed,
    StepRecord,
)


class Happened(Protocol):
    """The part of an event of the audit log that documents may show; never its objects or details."""

    @property
    def seq(self) -> int: ...
    @property
    def time(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def authentication(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def phase(self) -> str: ...


RECORDS: dict[str, type[StepRecord]] = {  # name in the templates -> its kind
    "advice": Advice,
    "scrubbed": Scrubbed,
    "review": Review,
    "run": Run,
    "scores": Scores,
    "leaks": Leaks,
    "package": Package,
    "release": Release,
}


class TakenIn(NamedTuple):
    """What persons declared, and the event that took it in."""

    record: Declared
    by: str
    time: str  # UTC, ISO 8601


class Decided(NamedTuple):
    """A decision over the package."""

    name: str  # who decided
    decision: str  # review, approve, reject or withdraw
    reason: str
    time: str  # UTC, ISO 8601


@dataclass(frozen=True)
class Dossier:
    """The records belong together: each was made from the ones before it. None: there is none yet."""

    project: str
    base_name: str  # what the charter calls the base model; never a path
    base_digest: str  # SHA-256, hex
    domain: Domain
    policy: Policy
    standing: str  # of the package, as a registry shows it: candidate, approved, champion, rejected
    advice: Advice | None = None
    scrubbed: Scrubbed | None = None
    review: Review | None = None
    run: Run | None = None
    scores: Scores | None = None
    leaks: Leaks | None = None
    benchmarks: tuple[Benchmarks, ...] = ()  # of the run, oldest first
    package: Package | None = None
    release: Release | None = None
    approvals: tuple[Decided, ...] = ()
    exports: tuple[Export, ...] = ()  # of the release, oldest first
    events: Sequence[Happened] = ()  # oldest first
    base_source: str = ""  # empty, as the licence: of a project that a version before 0.2.0 made
    base_license: str = ""
    template: str = ""  # name of the chat template that stands in for the base's own; empty: that one
    declared: TakenIn | None = None
    people: Mapping[str, str] = field(default_factory=dict)  # account of a machine -> the person whose it is

    def person(self, name: str) -> str:
        """Name the person behind an account of a machine, where that is known."""
        return self.people.get(name, name)

    @property
    def benchmark_results(self) -> dict[str, BenchmarkResult]:
        """Benchmark -> its newest result."""
        return {name: result for each in self.benchmarks for name, result in each.results.items()}

    @property
    def records(self) -> dict[str, Record | None]:
        """Name in the templates -> record, in the order in which they are made."""
        return {name: getattr(self, name) for name in RECORDS}
