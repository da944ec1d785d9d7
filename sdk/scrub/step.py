"""The scrubbing step: every text of every row through the detector; counts and offsets out, text never.

1. Each file is read once and checked: all faults of all rows are told before anything else is done.
2. It is read again in batches, which are scrubbed here or in other processes and written in the order of the rows.
3. What is written stands aside until the last row is done; a journal lets the same call go on after an interruption.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sdk.crypto import Secret
from sdk.data import ChosenRows, Held, QuestionHashes, Row, RowSource, each_row, open_rows, refuse_overlap
from sdk.data.canaries import PREFIX, is_canary
from sdk.domain.keep_list import NOTHING_KEPT, KeepList
from sdk.errors import InvalidInput, StepFailed, by_cause
from sdk.files.regular_files import RECOGNIZERS_BYTES, TABLE_BYTES, FileBytes, read_regular
from sdk.files.store import file_ref, write_atomic
from sdk.policy import ScrubRules
from sdk.records import MEASURED, Columns, FileRef, OnProgress, Quarantined, Recall, Scrubbed, canonical_json, sha256
from sdk.scrub.batch import Batch, ScrubSetup, batches, make_detector, unsealed
from sdk.scrub.find.detector import Detector
from sdk.scrub.find.name_columns import name_columns, safe_paths
from sdk.scrub.parallel import BatchRunner, in_this_process
from sdk.scrub.prefilter.matching import switched_on
from sdk.scrub.replace.actions import Actions
from sdk.scrub.replace.token_table import write_token_table
from sdk.scrub.report import report
from sdk.scrub.selection import Selection, Selector
from sdk.scrub.staging import Staging
from sdk.scrub.tally import Tally
from sdk.wording import counted

CHECKPOINT_SECONDS = 5.0  # of work that an interruption may cost
LEDGER = "ledger.jsonl"
CANARIES = "canaries"  # in place of a split's name
_TABLE_LINES = "vault.lines"  # sealed; the sealed table is made of them


class _Part(NamedTuple):
    """A file to go through; write: no: its rows count for the recall alone."""

    split: str
    source: RowSource
    write: bool


def scrub(
    sources: Mapping[str, Path],
    recognizers: Path | FileBytes,
    rules: ScrubRules,
    detect: bool,
    token_key: bytes,
    key_id: str,
    out: Path,
    on_progress: OnProgress,
    measured: Sequence[Path | RowSource] = (),
    table_key: Secret | None = None,
    run: BatchRunner = in_this_process,
    canaries: Sequence[Row] = (),
    columns: Mapping[str, Columns] | None = None,
    select: Selector | None = None,
    keep: KeepList = NOTHING_KEPT,
) -> Scrubbed:
    """Remove personal data from the rows of each source (split -> file) as the policy's rules say.

    Writes `out`/<split>.jsonl, `out`/ledger.jsonl and the report, or nothing: where a row cannot be scanned, StepFailed
    names all such rows, unless the policy quarantines them; where nothing is left of a message, InvalidInput does.
    `measured` are files or rows with planted spans that count for the recall only; `detect=False` copies the rows.
    `table_key` seals `out`/vault.enc, where the policy lets some kinds be reversed. `run`: where batches are scrubbed;
    the files are the same wherever. `canaries` go the way of the training rows and behind them, and are in no count of
    theirs. `columns`: split -> what its file's own columns stand for. `select` chooses among documents where the rows
    are running text, and gives the evaluation its rows where `sources` has none for it. `keep`: what the domain's own
    list keeps. After an interruption the same
    call takes over what was done.
    """
    hashes = QuestionHashes()
    opened = {}
    for split, path in sources.items():
        own = (columns or {}).get(split)
        opened[split] = each_row(path, hashes.add, own) if split == "train" else open_rows(path, own)
    selection = select(opened["train"], opened.get("eval")) if select else None
    if selection:
        opened |= selection.rows
    if "eval" in opened:
        _require_one_kind(opened["eval"])
    parts = [_Part(split, source, True) for split, source in opened.items()]
    parts += [_Part("train", selection.mixed, True)] if selection and selection.mixed else []
    parts += [_Part(MEASURED, open_rows(one) if isinstance(one, Path) else one, False) for one in measured]
    if {"train", "eval"} <= set(sources):
        refuse_overlap(opened["train"], opened["eval"], hashes)
    secret = table_key.expose() if table_key else None
    # The switch is read here and travels with the setup: a worker's or an actor's environment may be another one.
    if not isinstance(recognizers, FileBytes):
        recognizers = FileBytes(recognizers, read_regular(recognizers, RECOGNIZERS_BYTES))
    setup = ScrubSetup(recognizers, rules, detect, token_key, key_id, secret, {}, switched_on(), keep)
    detector = None
    if detect:
        detector = _checked_detector(setup, parts)
        setup = replace(setup, columns=name_columns(detector, rules, [part.source for part in parts]))
    names = (*(f"{split}.jsonl" for split in opened), LEDGER, _TABLE_LINES)
    staging = Staging(out, names, _request(setup, parts, canaries))
    try:
        tally, planted, seconds = _scrub_batches(setup, detector, parts, canaries, staging, on_progress, run)
        _refuse(tally, planted, rules, opened, staging)
        if detect and rules.reversible and table_key is not None:
            with staging.read(_TABLE_LINES) as lines:
                write_token_table(out, unsealed(lines.lines(TABLE_BYTES), table_key, _TABLE_LINES), table_key)
        refs = staging.finish([name for name in names if name != _TABLE_LINES])
    finally:
        staging.close()
    record = _record(opened, tally, planted, refs, seconds, selection)
    if detector is not None:
        record = record.model_copy(update={"name_columns": safe_paths(detector, setup.columns)})
    for name, data in report(record, tally.statistics, rules).items():
        write_atomic(out / name, data)
    return record


def _require_one_kind(source: RowSource) -> None:
    """Raise InvalidInput where evaluation rows are of two kinds, which no one metric measures."""
    if 0 < source.texts < source.count and not isinstance(source, ChosenRows):
        questions = counted(source.count - source.texts, "question")
        raise InvalidInput(
            f"{source.path} holds {counted(source.texts, 'text')} and {questions} with answers; evaluate one kind."
        )


def _checked_detector(setup: ScrubSetup, parts: Sequence[_Part]) -> Detector:
    """Make the detector. InvalidInput where rules, recognizers and languages do not fit each other."""
    Actions(setup.rules, setup.token_key, setup.key_id)
    if setup.rules.reversible and setup.table_key is None:
        raise InvalidInput("scrub.reversible needs the project's secret to seal its table.")
    detector = make_detector(setup)
    unseen = [name for name, kinds in setup.rules.identifiers.items() if not detector.kinds & set(kinds)]
    if setup.detect and unseen:
        raise InvalidInput(
            f"{setup.recognizers.path} finds nothing of what scrub.identifiers names; add to it.", unseen
        )
    foreign: Counter[str] = Counter()
    for part in parts:
        foreign.update({code: n for code, n in part.source.languages.items() if code not in detector.languages})
    if foreign:
        faults = [f"{counted(count, 'row')} of language {language}" for language, count in sorted(foreign.items())]
        raise InvalidInput(
            f"{setup.recognizers.path} does not support every language of the rows; add it there.", faults
        )
    return detector


def _request(setup: ScrubSetup, parts: Sequence[_Part], canaries: Sequence[Row]) -> str:
    """Return a digest of all that the written bytes follow from. It is keyed, because a key is part of that."""
    request = {
        "sources": [(part.split, part.source.sha256, _chosen_numbers(part.source)) for part in parts],
        "recognizers": sha256(setup.recognizers.data),
        "rules": setup.rules.model_dump(mode="json"),
        "detect": setup.detect,
        "keep": setup.keep.model_dump(mode="json"),
        "canaries": [row.model_dump(mode="json") for row in canaries],
        "key_id": setup.key_id,
        "code": _code_digest(),
    }
    return hmac.new(setup.token_key or b"none", canonical_json(request), hashlib.sha256).hexdigest()


def _chosen_numbers(source: RowSource) -> list[int] | None:
    return list(source.numbers) if isinstance(source, ChosenRows) else None


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Return the digest of this step's own files, weights among them."""
    folder = Path(__file__).resolve().parent
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return hashlib.sha256(canonical_json([file_ref(path, folder).model_dump() for path in paths])).hexdigest()


def _scrub_batches(
    setup: ScrubSetup,
    detector: Detector | None,
    parts: Sequence[_Part],
    canaries: Sequence[Row],
    staging: Staging,
    on_progress: OnProgress,
    run: BatchRunner,
) -> tuple[Tally, Tally, float]:
    """Scrub what is left to do. Return what was seen in all, what in the canaries, and the seconds that it took."""
    state = staging.begin()
    tally = Tally() if state is None else Tally.from_json(state["tally"])
    planted = Tally()  # one batch and the last, so never begun in an earlier call
    done, before = (0, 0.0) if state is None else (state["rows"], state["seconds"])
    total = sum(part.source.count for part in parts) + len(canaries)
    began = saved = time.monotonic()
    size_before = tally.size
    for scrubbed in run(setup, _batches_of(parts, canaries, done), detector):
        if scrubbed.split == CANARIES:
            staging.append("train.jsonl", scrubbed.lines)
            planted.add(scrubbed.tally)
            continue
        for name, data in (
            (f"{scrubbed.split}.jsonl", scrubbed.lines),
            (LEDGER, scrubbed.ledger),
            (_TABLE_LINES, scrubbed.sealed_tokens),
        ):
            if data:
                staging.append(name, data)
        tally.add(scrubbed.tally)
        done += scrubbed.rows
        now = time.monotonic()
        speed = (tally.size - size_before) / 1e6 / max(now - began, 1e-9)
        on_progress("scrub", done, total, {"found": float(tally.found), "mb_per_s": speed})
        if now - saved >= CHECKPOINT_SECONDS:
            staging.checkpoint({"rows": done, "seconds": before + now - began, "tally": tally.as_json()})
            saved = now
    return tally, planted, before + time.monotonic() - began


def _batches_of(parts: Sequence[_Part], canaries: Sequence[Row], done: int) -> Iterator[Batch]:
    for part in parts:
        if done >= part.source.count:
            done -= part.source.count
            continue
        source = part.source
        rows = source.rows_from(done)
        place = None if isinstance(source, Held) else (source, done)
        if canaries:
            rows = _without_canary_ids(source, rows)
        yield from batches(rows, part.split, part.write, source.labelled, place)
        done = 0
    yield from batches(canaries, CANARIES, write=True, labelled=True)


def _without_canary_ids(source: RowSource, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if is_canary(row.id):
            raise InvalidInput(f"{source.path}: ids that begin with {PREFIX} are those of planted rows; rename them.")
        yield row


def _refuse(
    tally: Tally, planted: Tally, rules: ScrubRules, sources: Mapping[str, RowSource], staging: Staging
) -> None:
    """Raise where the policy or an error forbids the result; then nothing of it stays on disk."""
    error: Exception | None = None
    if planted.failed:
        error = StepFailed(
            "Planted rows could not be scanned, so nothing was written; mend what failed.",
            by_cause([f"row {row}: {name}" for _, row, name in planted.failed]),
        )
    if tally.failed and rules.on_failure == "refuse":
        error = StepFailed(
            f"{counted(len(tally.failed), 'row')} could not be scanned, so nothing was written; mend what failed, "
            "remove the rows, or let the policy quarantine them (scrub.on_failure).",
            by_cause([f"row {row}: {name}" for _, row, name in tally.failed]),
        )
    elif tally.without_patient:
        error = InvalidInput("scrub.token_scope is patient, so every row must name its patient.", tally.without_patient)
    elif unknown := sorted(set(rules.quasi_identifiers) - tally.statistics.known):
        error = InvalidInput(
            "No row has a field that the policy declares in scrub.quasi_identifiers; mend the policy or the rows.",
            [f"metadata field {name}" for name in unknown],
        )
    elif tally.emptied:
        error = InvalidInput(
            f"{counted(len(tally.emptied), 'message')} would be left empty, being nothing but personal data; "
            "remove the rows, or choose another action than delete.",
            tally.emptied,
        )
    elif empty := [split for split in sources if not tally.rows[split]]:
        error = StepFailed(
            "No row is left.",
            [f"{split}: {counted(sources[split].count, 'row')} in all could not be scanned" for split in empty],
        )
    if error is not None:
        staging.discard()
        raise error


def _record(
    sources: Mapping[str, RowSource],
    tally: Tally,
    planted: Tally,
    refs: Mapping[str, FileRef],
    seconds: float,
    selection: Selection | None,
) -> Scrubbed:
    return Scrubbed(
        rows={split: tally.rows[split] for split in sources},
        data={split: refs[f"{split}.jsonl"] for split in sources},
        ledger=refs[LEDGER],
        counts=tally.counts,
        actions=tally.actions,
        recall_planted=Recall(planted=tally.planted.total(), found=tally.removed.total()),
        planted_in={split: count for split, count in sorted(tally.planted_in.items()) if count},
        recall_by_kind={
            kind: Recall(planted=count, found=tally.removed[kind]) for kind, count in sorted(tally.planted.items())
        },
        unplanted_findings=tally.unplanted,
        rows_changed=tally.changed,
        formats={split: source.formats for split, source in sources.items()},
        sources={split: source.asked for split, source in sources.items() if source.asked},
        recognizers=tally.recognizers,
        duplicates=sum(source.duplicates for source in sources.values()),
        quarantined=tuple(Quarantined(split=split, row=row, error=error) for split, row, error in tally.failed),
        smallest_group=tally.statistics.smallest_group,
        canaries=planted.rows[CANARIES],
        canary_spans=Recall(planted=planted.planted.total(), found=planted.removed.total()),
        seconds=round(seconds, 3),
        texts=selection.texts if selection else None,
    )
