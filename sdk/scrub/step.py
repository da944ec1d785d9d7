"""The scrubbing step: every message of every row through the detector; counts and offsets out, text never."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sdk.data import Message, Planted, Row, Table, read_rows, refuse_overlap, write_rows
from sdk.errors import InvalidInput, StepFailed
from sdk.policy import Action, ScrubRules
from sdk.records import FileRef, Finding, OnProgress, Recall, Scrubbed, canonical_json
from sdk.scrub.actions import Span, replaced
from sdk.scrub.engine import DETECTOR_ERRORS, Detector
from sdk.store import file_ref, write_atomic

TOKEN_KEY_BYTES = 16  # the least that keeps a token from being guessed back to its value
PROGRESS_EVERY = 25  # rows


@dataclass
class _Tally:
    """What one run has seen so far."""

    findings: list[Finding] = field(default_factory=list)
    planted: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    unplanted: int = 0
    changed: int = 0
    failed: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)


def scrub(
    sources: Mapping[str, Path],
    recognizers: Path,
    rules: ScrubRules,
    detect: bool,
    token_key: bytes,
    out: Path,
    on_progress: OnProgress,
    measured: Sequence[Path] = (),
) -> Scrubbed:
    """Remove personal data from the rows of each source (split -> file) as the policy's rules say.

    Writes `out`/<split>.jsonl and `out`/ledger.jsonl, or nothing: where a detector fails on a row, StepFailed names all
    such rows; where nothing is left of a message, InvalidInput does. `measured` are files with planted spans that count
    for the recall only; `detect=False` copies the rows as they are.
    """
    started = time.monotonic()
    tables = {split: read_rows(path) for split, path in sources.items()}
    extra = [read_rows(path) for path in measured]
    if {"train", "eval"} <= set(tables):
        refuse_overlap(tables["train"], tables["eval"])
    tally = _Tally()
    if detect:
        detector = _detector(recognizers, rules, token_key, [*tables.values(), *extra])
        scrubber = _Scrubber(detector, rules, token_key, tally, on_progress, _row_count([*tables.values(), *extra]))
        rows = {split: scrubber.table(table) for split, table in tables.items()}
        for table in extra:
            scrubber.table(table, measure_only=True)
        _refuse(tally)
    else:
        rows = {split: list(table.rows) for split, table in tables.items()}
        tally.planted.update(
            s.entity_type for table in [*tables.values(), *extra] for row in table.rows for s in row.spans
        )
    formats = {split: f"{table.layout} in {table.container.upper()}" for split, table in tables.items()}
    return _write(rows, formats, tally, out, time.monotonic() - started)


def _row_count(tables: Sequence[Table]) -> int:
    return sum(len(table.rows) for table in tables)


def _detector(recognizers: Path, rules: ScrubRules, token_key: bytes, tables: Sequence[Table]) -> Detector:
    if "token" in (rules.default_action, *rules.actions.values()) and len(token_key) < TOKEN_KEY_BYTES:
        raise InvalidInput(f"The key for tokens has {len(token_key)} bytes, {TOKEN_KEY_BYTES} are needed.")
    detector = Detector(recognizers, rules.score_threshold)
    foreign = Counter(row.language for table in tables for row in table.rows if row.language not in detector.languages)
    if foreign:
        faults = [f"{count} rows of language {language}" for language, count in sorted(foreign.items())]
        raise InvalidInput(f"{recognizers} does not support every language of the rows; add it there.", faults)
    return detector


class _Scrubber:
    def __init__(
        self, detector: Detector, rules: ScrubRules, key: bytes, tally: _Tally, on_progress: OnProgress, total: int
    ) -> None:
        self.detector, self.rules, self.key = detector, rules, key
        self.tally, self.on_progress, self.total = tally, on_progress, total
        self.done = self.found = 0

    def table(self, table: Table, measure_only: bool = False) -> list[Row]:
        labelled = any(row.spans for row in table.rows)
        rows = []
        for row in table.rows:
            try:
                found = [self.detector.find(message.content, row.language) for message in row.messages]
            except DETECTOR_ERRORS as error:
                self.tally.failed.append(f"row {row.id}: {type(error).__name__}")
            else:
                self._measure(row, found, labelled)
                if not measure_only:
                    rows.append(self._scrubbed(row, found))
            self.done += 1
            if self.done % PROGRESS_EVERY == 0 or self.done == self.total:
                self.on_progress("scrub", self.done, self.total, {"found": float(self.found)})
        return rows

    def _measure(self, row: Row, found: Sequence[Sequence[Span]], labelled: bool) -> None:
        self.found += sum(map(len, found))
        for planted in row.spans:
            self.tally.planted[planted.entity_type] += 1
            self.tally.removed[planted.entity_type] += _covered(row, planted, found[planted.message])
        if labelled:
            self.tally.unplanted += sum(
                not any(p.message == i and p.start < span.end and span.start < p.end for p in row.spans)
                for i, spans in enumerate(found)
                for span in spans
            )

    def _action(self, kind: str) -> Action:
        return self.rules.actions.get(kind, self.rules.default_action)

    def _scrubbed(self, row: Row, found: Sequence[Sequence[Span]]) -> Row:
        messages = []
        for index, (message, spans) in enumerate(zip(row.messages, found, strict=True)):
            text = replaced(message.content, spans, self._action, self.key)
            if message.content.strip() and not text.strip():
                self.tally.emptied.append(f"row {row.id}, message {index + 1}")
            messages.append(Message(role=message.role, content=text))
            self.tally.findings += [
                Finding(
                    row=row.id,
                    message=index,
                    start=span.start,
                    end=span.end,
                    entity_type=span.entity_type,
                    action=self._action(span.entity_type),
                )
                for span in spans
            ]
        self.tally.changed += any(found)
        return row.model_copy(update={"messages": tuple(messages), "spans": ()})


def _covered(row: Row, planted: Planted, spans: Sequence[Span]) -> bool:
    """Every character of the planted value, apart from white space, lies in some span."""
    text = row.messages[planted.message].content
    inside = {i for span in spans for i in range(max(span.start, planted.start), min(span.end, planted.end))}
    return all(i in inside or text[i].isspace() for i in range(planted.start, planted.end))


def _refuse(tally: _Tally) -> None:
    if tally.failed:
        raise StepFailed(
            f"A detector failed on {len(tally.failed)} rows, so nothing was written; mend it or remove the rows.",
            tally.failed,
        )
    if tally.emptied:
        raise InvalidInput(
            f"{len(tally.emptied)} messages are nothing but personal data, and nothing would be left of them; "
            "remove their rows, or choose another action than delete.",
            tally.emptied,
        )


def _write(
    rows: Mapping[str, Sequence[Row]], formats: dict[str, str], tally: _Tally, out: Path, seconds: float
) -> Scrubbed:
    out.mkdir(parents=True, exist_ok=True)
    data = {}
    for split, scrubbed in rows.items():
        size, digest = write_rows(out / f"{split}.jsonl", scrubbed)
        data[split] = FileRef(path=f"{split}.jsonl", size=size, sha256=digest)
    ledger = out / "ledger.jsonl"
    write_atomic(ledger, b"".join(canonical_json(f.model_dump(mode="json")) + b"\n" for f in tally.findings))
    return Scrubbed(
        rows={split: len(scrubbed) for split, scrubbed in rows.items()},
        data=data,
        ledger=file_ref(ledger, out),
        counts=dict(sorted(Counter(f.entity_type for f in tally.findings).items())),
        actions=dict(sorted(Counter(f.action for f in tally.findings).items())),
        recall_planted=Recall(planted=tally.planted.total(), found=tally.removed.total()),
        recall_by_kind={
            kind: Recall(planted=count, found=tally.removed[kind]) for kind, count in sorted(tally.planted.items())
        },
        unplanted_findings=tally.unplanted,
        rows_changed=tally.changed,
        formats=formats,
        seconds=round(seconds, 3),
    )
