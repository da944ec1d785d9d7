"""The scrubbing step by its effects: the files it writes, the record, and what it refuses."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow.json
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from sdk.crypto import Secret
from sdk.data import conversation, read_rows
from sdk.domain.keep_list import KeepList
from sdk.errors import InvalidInput, MissingExtra, StepFailed
from sdk.files.store import check_ref, shipped
from sdk.policy import Action, ScrubRules
from sdk.project.scrub_requests import batch_runner
from sdk.records import Finding, Scrubbed
from sdk.scrub import reveal, step
from sdk.scrub.batch import Batch, ScrubbedBatch, ScrubSetup
from sdk.scrub.fields import known_kind
from sdk.scrub.find import presidio_analyzer  # without torch, in the processes that import this file
from sdk.scrub.find.detector import Detector
from sdk.scrub.parallel import in_processes, in_this_process
from sdk.scrub.prefilter.strategies import WholeText
from sdk.scrub.spans import Span, merged
from sdk.scrub.step import scrub
from tests.warm import real_starts, run_code

KEY = bytes(range(32))
TABLE_KEY = Secret(bytes(range(1, 33)))
FINANCE = shipped("domains") / "finance"


def rules(
    default: Action = "placeholder",
    threshold: float = 0.4,
    fields: Mapping[str, str] | None = None,
    reversible: tuple[str, ...] = (),
    **actions: Action,
) -> ScrubRules:
    return ScrubRules(
        required=True,
        recognizer="none",
        score_threshold=threshold,
        min_recall=0.9,
        default_action=default,
        actions=actions,
        token_scope="project",
        reversible=reversible,
        fields=dict(fields or {}),
        on_failure="refuse",
        row_seconds=10,
        quasi_identifiers=(),
        min_k=1,
        max_miss_rate=None,
        identifiers={},
    )


class Progress:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int | None, Mapping[str, float]]] = []

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        self.calls.append((what, done, total, figures))


def rows_file(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(row_id: str, *contents: str, language: str = "en") -> dict[str, Any]:
    roles = ["system", "user", "assistant"] if len(contents) % 2 else ["user", "assistant"] * (len(contents) // 2)
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return {"id": row_id, "language": language, "messages": messages}


def run(tmp_path: Path, train: Path, policy: ScrubRules, out: str = "out", **changes: Any) -> Scrubbed:
    arguments: dict[str, Any] = {
        "sources": {"train": train},
        "recognizers": FINANCE / "recognizers.yaml",
        "rules": policy,
        "detect": True,
        "token_key": KEY,
        "key_id": "1a2b3c4d",
        "out": tmp_path / out,
        "on_progress": Progress(),
    }
    return scrub(**(arguments | changes))


def texts(path: Path) -> list[list[str]]:
    return [[message["content"] for message in json.loads(line)["messages"]] for line in path.read_text().splitlines()]


# -- the domains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["finance", "medical"])
@pytest.mark.parametrize("default", ["placeholder", "mask"])
def test_planted_values_are_in_no_file_that_the_step_writes(
    tmp_path: Path, domain: str, default: Action, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shipped("domains") / domain
    sources = {split: folder / f"{split}.jsonl" for split in ("train", "eval")}
    values = set()
    for path in sources.values():
        for row in read_rows(path).rows:
            for span in row.spans:
                value = row.messages[span.message].content[span.start : span.end]
                # a value of few digits may stand elsewhere by chance; a short one's last characters are masked too
                if len(value) > 5 or span.entity_type == "PERSON":
                    values.add(value)
    with caplog.at_level(logging.DEBUG):
        policy = rules(default, 0.3).model_copy(update={"recognizer": "embedded"})
        record = run(tmp_path, folder, policy, sources=sources, recognizers=folder / "recognizers.yaml")
    assert record.recall_planted.planted > 300
    assert record.recall_planted.found >= 0.98 * record.recall_planted.planted
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()] + [caplog.text, str(record)]
    assert len(written) == 7
    left = [value for value in values for text in written if value in text]
    assert len(left) <= 0.02 * len(values)
    assert not any(value in text for value in values for text in written[-2:])
    for name in ("ledger.jsonl", "report.html", "report.json"):
        text = (tmp_path / "out" / name).read_text()
        assert not any(value in text for value in values)


def test_the_record_counts_what_was_done_and_names_its_files(tmp_path: Path) -> None:
    sources = {split: FINANCE / f"{split}.jsonl" for split in ("train", "eval")}
    progress = Progress()
    policy = rules(CVV="delete", CREDIT_CARD="mask", PERSON="token")
    record = run(tmp_path, FINANCE, policy, sources=sources, on_progress=progress)
    for ref in (*record.data.values(), record.ledger):
        check_ref(tmp_path / "out", ref)
    findings = [Finding.model_validate_json(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert sum(record.counts.values()) == sum(record.actions.values()) == len(findings)
    assert record.actions["mask"] == record.counts["CREDIT_CARD"]
    assert record.treatments["removed"] == record.counts["CVV"]
    assert sum(record.treatments.values()) == record.findings == len(findings)
    planted = {split: sum(len(row.spans) for row in read_rows(path).rows) for split, path in sources.items()}
    assert record.planted_in == planted
    assert "training rows themselves" in record.recall_scope()
    assert sum(r.planted for r in record.recall_by_kind.values()) == record.recall_planted.planted
    before = {row.id: row for path in sources.values() for row in read_rows(path).rows}
    after = {row.id: row for split in sources for row in read_rows(tmp_path / f"out/{split}.jsonl").rows}
    assert [*after] == [*before]
    assert all(row.spans == () and row.language == before[row.id].language for row in after.values())
    changed = {row_id for row_id, row in after.items() if row.messages != before[row_id].messages}
    assert changed == {finding.row for finding in findings}
    assert len(changed) == record.rows_changed
    assert record.unplanted_findings <= 0.01 * len(before)
    what, done, total, figures = progress.calls[-1]
    assert (what, done, total, figures["found"]) == ("scrub", len(before), len(before), float(len(findings)))
    assert figures["mb_per_s"] > 0
    assert sum(sum(counts.values()) for counts in record.recognizers.values()) == len(findings)


def test_a_row_of_which_the_policy_keeps_all_is_not_changed(tmp_path: Path) -> None:
    rows = [chat("a", "Ask bob@example.com now", "yes"), chat("b", "Card 4111111111111111 of ann@example.com?", "yes")]
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", *rows), rules(EMAIL_ADDRESS="keep"))
    assert (record.findings, record.kept, record.rows_changed) == (3, 2, 1)


def test_findings_point_at_the_value_in_the_source(tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl",
        chat("a", "Act for bob@example.com.", "手机１３８１２３４５６７８?", "card 4111111111111111"),
    )
    run(tmp_path, source, rules())
    row = read_rows(source).rows[0]
    found = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert [(f["message"], row.messages[f["message"]].content[f["start"] : f["end"]]) for f in found] == [
        (0, "bob@example.com"),
        (1, "１３８１２３４５６７８"),
        (2, "4111111111111111"),
    ]
    assert texts(tmp_path / "out/train.jsonl") == [
        ["Act for <EMAIL_ADDRESS_1>.", "手机<PHONE_NUMBER_1>?", "card <CREDIT_CARD_1>"]
    ]


def test_without_detectors_the_rows_are_copied_and_nothing_counts(tmp_path: Path) -> None:
    record = run(tmp_path, FINANCE / "train.jsonl", rules(), detect=False)
    rows = read_rows(FINANCE / "train.jsonl").rows
    assert texts(tmp_path / "out/train.jsonl") == [[m.content for m in row.messages] for row in rows]
    assert (record.counts, record.actions, record.rows_changed, record.recall_planted.found) == ({}, {}, 0, 0)
    assert record.recall_planted.planted == sum(len(row.spans) for row in rows)


def test_a_measured_file_counts_for_the_recall_and_is_not_written(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "What is ROE?", "return on equity"))
    record = run(tmp_path, source, rules(), measured=[FINANCE / "eval.jsonl"])
    assert record.recall_planted.planted > 0
    assert record.planted_in == {"measured": record.recall_planted.planted}
    assert "not on the training rows" in record.recall_scope()
    assert record.rows == {"train": 1}
    assert record.counts == {}
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("end", "found"),
    [(len("Ask bob@example.com"), 1), (len("Ask bob@example.com "), 1), (len("Ask bob@example.com n"), 0)],
)
def test_a_planted_span_counts_only_when_all_of_it_is_gone(tmp_path: Path, end: int, found: int) -> None:
    row = chat("a", "Ask bob@example.com now", "yes") | {
        "spans": [{"message": 0, "start": 4, "end": end, "entity_type": "EMAIL_ADDRESS"}]
    }
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", row), rules())
    assert (record.recall_planted.planted, record.recall_planted.found) == (1, found)


def test_the_threshold_of_the_policy_decides_what_counts(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "Patient Thandiwe Mokoena, card 4111111111111111", "ok"))
    record = run(tmp_path, source, rules(threshold=0.9))
    assert record.counts == {"CREDIT_CARD": 1}


# -- actions ----------------------------------------------------------------------------------------------------------


def test_tokens_are_the_same_over_files_and_runs_and_differ_by_key_and_kind(tmp_path: Path) -> None:
    one = rows_file(tmp_path / "one.jsonl", chat("a", "Customer bob@example.com, phone (212) 555-0143", "ok"))
    two = rows_file(tmp_path / "two.jsonl", chat("b", "BOB@example.com here. Is bob@EXAMPLE.com in?", "ok"))
    run(tmp_path, one, rules("token"), sources={"train": one, "eval": two})
    run(tmp_path, two, rules("token"), out="again")
    run(tmp_path, two, rules("token"), out="other", token_key=KEY[::-1])
    first = texts(tmp_path / "out/train.jsonl")[0][0].removeprefix("Customer ").partition(",")[0]
    assert first.startswith("<EMAIL_ADDRESS_k1a2b3c4d_")
    assert texts(tmp_path / "out/train.jsonl")[0][0].startswith(f"Customer {first}, phone <PHONE_NUMBER_")
    assert texts(tmp_path / "out/eval.jsonl")[0][0] == f"{first} here. Is {first} in?"
    assert (tmp_path / "again/train.jsonl").read_bytes() == (tmp_path / "out/eval.jsonl").read_bytes()
    assert first not in (tmp_path / "other/train.jsonl").read_text()


def test_overlapping_spans_become_one_of_the_surest_kind() -> None:
    spans = [Span(5, 9, "B", 0.6), Span(0, 6, "A", 0.5), Span(8, 12, "C", 0.6), Span(12, 14, "D", 0.1)]
    assert merged(spans) == merged(spans[::-1]) == [Span(0, 12, "C", 0.6), Span(12, 14, "D", 0.1)]


# -- what it refuses --------------------------------------------------------------------------------------------------


class RaisingRecognizer(presidio_analyzer.PatternRecognizer):
    """Fails on a text that says so, with the text in its message, as careless detectors do."""

    def __init__(self, supported_language: str = "en", name: str | None = None) -> None:
        super().__init__("BADGE", name=name, supported_language=supported_language, deny_list=["x"])

    def analyze(self, text: str, *args: Any, **kwargs: Any) -> list[Any]:
        if "fail" in text:
            raise KeyError(text)
        return []


def recognizers(tmp_path: Path, entry: str) -> Path:
    path = tmp_path / "recognizers.yaml"
    path.write_text(f"supported_languages: [en]\nrecognizers:\n  - {entry}\n")
    return path


def test_a_failing_detector_stops_the_run_and_names_every_row_but_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl",
        chat("r1", "Customer Anna Keller", "fine"),
        chat("r2", "fail for Anna Keller", "ok"),
        chat("r3", "be quick", "fail too, Anna Keller"),
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(StepFailed) as caught:
        run(tmp_path, source, rules(), recognizers=recognizers(tmp_path, "{name: RaisingRecognizer, type: predefined}"))
    assert caught.value.faults == ("row r2: KeyError", "row r3: KeyError")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + "".join(capfd.readouterr())
    assert "Keller" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_a_row_has_the_time_that_the_policy_gives_it(
    tmp_path: Path, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    entry = "{name: Slow, supported_entity: S, patterns: [{name: p, regex: '^(a|a|aa)+$', score: 1}]}"
    source = rows_file(tmp_path / "rows.jsonl", chat("good", "a", "b"), chat("slow", "a" * 40 + "b", "b"))
    policy = rules().model_copy(update={"row_seconds": seconds})
    given = recognizers(tmp_path, entry)
    began, worked = time.monotonic(), time.process_time()
    with pytest.raises(StepFailed) as caught:
        run(tmp_path, source, policy, recognizers=given)
    assert caught.value.faults == ("row slow: DetectorTimedOut",)
    assert caplog.text == ""
    assert time.monotonic() - began > seconds
    assert time.process_time() - worked < seconds + 10


def test_a_message_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl", chat("a", "4111111111111111", "ok"), chat("b", "who?", "bob@example.com")
    )
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, rules("delete"))
    assert caught.value.faults == ("row a, message 1", "row b, message 2")
    assert not (tmp_path / "out").exists()
    assert texts_of(tmp_path, source) == [["<CREDIT_CARD_1>", "ok"], ["who?", "<EMAIL_ADDRESS_1>"]]


def texts_of(tmp_path: Path, source: Path) -> list[list[str]]:
    run(tmp_path, source, rules())
    return texts(tmp_path / "out/train.jsonl")


def test_rows_of_a_language_without_recognizers_are_refused(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "客户张伟问", "好", language="zh"))
    entry = "{name: Badges, supported_entity: B, deny_list: [x]}"
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, rules(), recognizers=recognizers(tmp_path, entry))
    assert caught.value.faults == ("1 row of language zh",)


def test_an_identifier_of_the_policy_that_nothing_finds_is_refused(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "badge x", "ok"))
    entry = "{name: Badges, supported_entity: BADGE, deny_list: [x]}"
    policy = rules().model_copy(update={"identifiers": {"A badges": ("BADGE", "PASS"), "B faxes": ("PHONE_NUMBER",)}})
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, policy, recognizers=recognizers(tmp_path, entry))
    assert caught.value.faults == ("B faxes",)


@pytest.mark.parametrize("policy", [rules("token"), rules(PERSON="token")])
def test_tokens_need_a_key(tmp_path: Path, policy: ScrubRules) -> None:
    with pytest.raises(InvalidInput, match="key for tokens"):
        run(tmp_path, FINANCE / "eval.jsonl", policy, token_key=b"")
    assert run(tmp_path, FINANCE / "eval.jsonl", rules(), token_key=b"").rows_changed > 0


def test_presidios_logger_is_as_it_was(tmp_path: Path) -> None:
    logger = logging.getLogger("presidio-analyzer")
    before = (logger.handlers, logger.propagate, logger.level)
    run(tmp_path, FINANCE / "eval.jsonl", rules())
    assert (logger.handlers, logger.propagate, logger.level) == before


# -- streaming, workers, resuming -------------------------------------------------------------------------------------


def many(path: Path, count: int, **extra: Any) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = chat(
                f"r{number}", f"Question {number}: is card 4111111111111111 mine?", f"Ask bob{number}@example.com"
            )
            file.write(json.dumps(row | extra) + "\n")
    return path


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("report")}


MEMORY = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {path!r})
import tests.test_scrub as t
from sdk.scrub import reveal, step
from sdk.scrub.step import scrub
from sdk.scrub.find.detector import Detector
from sdk.scrub.fields import known_kind
from sdk.scrub.parallel import in_processes
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = Path({folder!r})
def go(name):
    scrub(sources={{"train": folder / name}}, recognizers=t.FINANCE / "recognizers.yaml", rules=t.rules(), detect=False,
          token_key=t.KEY, key_id="k", out=folder / ("out-" + name), on_progress=t.Progress())
go("small" + {suffix!r})
before = peak()
go("large" + {suffix!r})
print((peak() - before) // 1024)
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    for name, rows in (("small", 500), ("large", 30_000)):
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            for number in range(rows):
                file.write(json.dumps(chat(f"r{number}", f"{number} asks", f"{number} answers " * 100)) + "\n")
        if suffix == ".parquet":
            table = pyarrow.json.read_json(path)
            pyarrow.parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=1000)
    assert (tmp_path / "large.jsonl").stat().st_size > 40e6
    code = MEMORY.format(path=str(Path(__file__).parents[1]), folder=str(tmp_path), suffix=suffix)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 25  # MiB
    assert (tmp_path / f"out-large{suffix}" / "train.jsonl").stat().st_size > 40e6


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    sources = {"train": many(tmp_path / "rows.jsonl", 1500), "eval": FINANCE / "eval.jsonl"}
    one = run(tmp_path, FINANCE, rules("token"), sources=sources, out="one")
    two = run(tmp_path, FINANCE, rules("token"), sources=sources, out="two", run=in_processes(2))
    assert written(tmp_path / "one") == written(tmp_path / "two")
    assert one.model_copy(update={"seconds": 0.0}) == two.model_copy(update={"seconds": 0.0})


def test_without_the_prefilter_every_worker_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def noting(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
        seen.append(setup.prefilter)
        assert detector is not None
        for language in detector._languages.values():
            assert (set(language.prefilter.assigned) == {WholeText}) is not setup.prefilter
        yield from in_this_process(setup, todo, detector)

    rows = [
        chat(f"r{n}", f"mail bob{n}@example.com, card 4111 1111 1111 1111", f"SSN 536-22-87{n:02}") for n in range(9)
    ]
    train = rows_file(tmp_path / "train.jsonl", *rows)
    on = run(tmp_path, train, rules(), out="on", run=noting)
    monkeypatch.setenv("SDK_PREFILTER", "off")
    off = run(tmp_path, train, rules(), out="off", run=noting)
    assert seen == [True, False]
    assert (on.data, on.ledger, on.counts) == (off.data, off.ledger, off.counts)
    assert on.counts["EMAIL_ADDRESS"] == 9


def test_a_process_that_dies_is_told_and_what_was_done_stays(tmp_path: Path) -> None:
    source = many(tmp_path / "rows.jsonl", 3000)
    calls = []

    def kill(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        calls.append(done)
        if len(calls) == 2:
            for child in psutil.Process().children():
                if "sdk.scrub.parallel" in child.cmdline():
                    child.kill()

    with real_starts(), pytest.raises(StepFailed, match="ended from outside"):
        run(tmp_path, source, rules(), on_progress=kill, run=in_processes(2))
    assert not (tmp_path / "out/train.jsonl").exists()
    assert run(tmp_path, source, rules()).rows == {"train": 3000}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {path!r})
import tests.test_scrub as t
from sdk.scrub import step
step.CHECKPOINT_SECONDS = 0
step._code_digest = lambda: "code"
def progress(what, done, total, figures):
    if done > 1400:
        os.kill(os.getpid(), signal.SIGKILL)
t.run(Path({folder!r}), Path({folder!r}) / "rows.jsonl", t.rules(reversible=("EMAIL_ADDRESS",), EMAIL_ADDRESS="token"),
      on_progress=progress, table_key=t.TABLE_KEY)
"""


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_code_digest", lambda: "code")  # somebody may be editing
    source = many(tmp_path / "rows.jsonl", 2000)
    policy = rules(reversible=("EMAIL_ADDRESS",), EMAIL_ADDRESS="token")
    code = KILLED.format(path=str(Path(__file__).parents[1]), folder=str(tmp_path))
    done = run_code(code)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "journal.json.aside", "ledger.jsonl.aside", "train.jsonl.aside", "vault.lines.aside"
    ]  # fmt: skip
    left = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"example.com" not in left
    assert b"4111111111111111" not in left
    with (tmp_path / "out/train.jsonl.aside").open("ab") as file:
        file.write(b'{"half a li')  # what was on its way when the process ended
    progress = Progress()
    resumed = run(tmp_path, source, policy, table_key=TABLE_KEY, on_progress=progress)
    assert progress.calls[0][1] > 1280
    fresh = run(tmp_path, source, policy, table_key=TABLE_KEY, out="fresh")
    ours, theirs = written(tmp_path / "out"), written(tmp_path / "fresh")
    assert ours.pop("vault.enc") != theirs.pop("vault.enc")
    assert ours == theirs
    assert resumed.model_copy(update={"seconds": 0.0}) == fresh.model_copy(update={"seconds": 0.0})
    token = json.loads((tmp_path / "out/train.jsonl").read_text().splitlines()[0])["messages"][1]["content"].split()[-1]
    for folder in ("out", "fresh"):
        assert reveal([tmp_path / folder / "vault.enc"], token, TABLE_KEY) == "bob0@example.com"


@pytest.mark.parametrize("change", ["key", "rules", "rows", "damage"])
def test_other_work_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    source = many(tmp_path / "rows.jsonl", 700)
    monkeypatch.setattr(step, "CHECKPOINT_SECONDS", 0)

    def stop(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, source, rules("token"), on_progress=stop)
    assert (tmp_path / "out/journal.json.aside").is_file()
    progress, changes, policy = Progress(), {}, rules("token")
    if change == "key":
        changes = {"token_key": KEY[::-1]}
    elif change == "rules":
        policy = rules("mask")
    elif change == "rows":
        many(source, 701)
    else:
        path = tmp_path / "out/train.jsonl.aside"
        path.write_bytes(path.read_bytes().replace(b"Question 1:", b"Question 7:"))
    run(tmp_path, source, policy, on_progress=progress, **changes)
    assert progress.calls[0][1] == 256
    run(tmp_path, source, policy, out="fresh", **changes)
    assert written(tmp_path / "out") == written(tmp_path / "fresh")


def test_a_text_that_comes_again_is_not_scanned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[str] = []
    find_many = Detector.find_many

    def counting(self: Detector, texts: Sequence[tuple[str, str]]) -> Any:
        scanned.extend(text for text, _ in texts)
        return find_many(self, texts)

    monkeypatch.setattr(Detector, "find_many", counting)
    same = [chat(f"r{n}", "Is 4111111111111111 mine?", "yes") for n in range(600)]
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", *same, chat("x", "Is it mine?", "yes")), rules())
    assert sorted(scanned) == ["Is 4111111111111111 mine?", "Is it mine?", "yes"]
    assert record.duplicates == 599
    assert record.counts == {"CREDIT_CARD": 600}
    assert record.rows == {"train": 601}


# -- rows that cannot be scanned --------------------------------------------------------------------------------------


def test_rows_that_cannot_be_scanned_are_left_out_where_the_policy_says_so(tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl",
        chat("r1", "Customer Anna Keller", "fine"),
        chat("r2", "fail for Anna Keller", "ok"),
        {**chat("r3", "be quick", "ok"), "metadata": {"note": "fail too"}},
    )
    policy = rules().model_copy(update={"on_failure": "quarantine"})
    given = {"recognizers": recognizers(tmp_path, "{name: RaisingRecognizer, type: predefined}")}
    record = run(tmp_path, source, policy, **given)
    assert [(q.split, q.row, q.error) for q in record.quarantined] == [
        ("train", "r2", "KeyError"),
        ("train", "r3", "KeyError"),
    ]
    assert record.rows == {"train": 1}
    assert [json.loads(line)["id"] for line in (tmp_path / "out/train.jsonl").read_text().splitlines()] == ["r1"]
    everything = "".join(path.read_text() for path in (tmp_path / "out").iterdir()) + str(record)
    assert "fail" not in everything
    only = rows_file(tmp_path / "only.jsonl", chat("r2", "fail", "ok"))
    with pytest.raises(StepFailed, match="No row is left"):
        run(tmp_path, only, policy, out="none", **given)
    assert not (tmp_path / "none").exists()


# -- structured rows --------------------------------------------------------------------------------------------------

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {
        "name": "look_up",
        "arguments": '{"customer": {"phone": 2125550143, "note": "card 4111111111111111"}, "limit": 3}',
    },
}
STRUCTURED = {
    "id": "s1",
    "language": "en",
    "topic": "about bob@example.com",
    "patient": "P-77-Keller",
    "messages": [
        {"role": "user", "name": "Keller", "content": "Who is bob@example.com?"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "name": "look_up", "content": '{"owner_ssn": "536-22-8726"}'},
        {"role": "assistant", "content": "A customer."},
    ],
    "metadata": {
        "branch": "536-22-8726",
        "customer": {
            "firstName": "Xyzzy",
            "dob": "1970-01-02",
            "age": 41,
            "emails": ["a@example.com", "b@example.com"],
        },
        "beneficiary": {"age": 93, "active": True, "none": None},
        "account": 4111111111111111,
        "amount": 1500,
        "bob@example.com": {"score": 0.5},
        "tags": ["retail", "mail c@example.com"],
    },
}


def test_every_leaf_of_a_structured_row_is_treated(tmp_path: Path) -> None:
    policy = rules(fields={"metadata.branch": "keep", "*.limit": "PERSON"})
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", STRUCTURED), policy)
    row = json.loads((tmp_path / "out/train.jsonl").read_text())
    assert row["metadata"] == {
        "branch": "536-22-8726",
        "customer": {
            "firstName": "<PERSON_3>",
            "dob": "<DATE_OF_BIRTH_1>",
            "age": 41,
            "emails": ["<EMAIL_ADDRESS_2>", "<EMAIL_ADDRESS_3>"],
        },
        "beneficiary": {"age": "<AGE_OVER_89_1>", "active": True, "none": None},
        "account": "<CREDIT_CARD_1>",
        "amount": 1500,
        "<EMAIL_ADDRESS_1>": {"score": 0.5},
        "tags": ["retail", "mail <EMAIL_ADDRESS_4>"],
    }
    call = row["messages"][1]["tool_calls"][0]
    assert (call["id"], call["type"], call["function"]["name"]) == ("call_1", "function", "look_up")
    assert json.loads(call["function"]["arguments"]) == {
        "customer": {"phone": "<PHONE_NUMBER_1>", "note": "card <CREDIT_CARD_1>"}, "limit": "<PERSON_2>"
    }  # fmt: skip
    assert row["messages"][0] == {"role": "user", "name": "<PERSON_1>", "content": "Who is <EMAIL_ADDRESS_1>?"}
    assert row["messages"][2]["content"] == '{"owner_ssn": "<US_SSN_1>"}'
    assert row["topic"] == "about <EMAIL_ADDRESS_1>"
    assert "patient" not in row
    findings = [Finding.model_validate_json(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert sum(record.counts.values()) == len(findings)
    places = {(f.message, f.field): f for f in findings}
    assert places[1, "tool_calls.0.function.arguments.customer.phone"].recognizer == "field name"
    assert places[1, "tool_calls.0.function.arguments.limit"].recognizer == "field rule"
    assert places[None, "metadata.*"].entity_type == "EMAIL_ADDRESS"
    assert (places[None, "metadata.tags.1"].start, places[None, "metadata.tags.1"].end) == (5, 18)
    everything = "".join(path.read_text() for path in (tmp_path / "out").iterdir()) + str(record)
    for value in ("Keller", "Xyzzy", "2125550143", "4111111111111111", "example.com", "1970"):
        assert value not in everything
    again = read_rows(tmp_path / "out/train.jsonl").rows[0]
    assert conversation(again, "")[1]["tool_calls"][0]["function"]["arguments"]["limit"] == "<PERSON_2>"


@pytest.mark.parametrize("arguments", [{"z": 1, "a": "x"}, '{"z":1,  "a": "x"}', "{}", {}])
def test_arguments_keep_their_form(tmp_path: Path, arguments: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    row = {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    run(tmp_path, rows_file(tmp_path / "rows.jsonl", row), rules())
    written_row = json.loads((tmp_path / "out/train.jsonl").read_text())
    assert written_row["messages"][1]["tool_calls"] == [call]


def test_a_rule_of_the_policy_outweighs_the_name_and_a_kind_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    row = {**chat("a", "Hello?", "yes"), "metadata": {"product": {"name": "Gold"}, "Code": "x-1", "phone": "none"}}
    source = rows_file(tmp_path / "rows.jsonl", row)
    run(tmp_path, source, rules(fields={"metadata.product": "keep", "metadata.code": "VIN", "*.phone": "keep"}))
    assert json.loads((tmp_path / "out/train.jsonl").read_text())["metadata"] == {
        "product": {"name": "Gold"}, "Code": "<VIN_1>", "phone": "none"
    }  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, rules(fields={"metadata.code": "VINN", "a": "person"}), out="other")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["scrub.fields.metadata.code", "scrub.fields.a"]


def test_keys_that_become_the_same_lose_nothing(tmp_path: Path) -> None:
    row = {**chat("a", "Hello?", "yes"), "metadata": {"a@example.com": 1, "b@example.com": 2}}
    run(tmp_path, rows_file(tmp_path / "rows.jsonl", row), rules("delete"))
    assert json.loads((tmp_path / "out/train.jsonl").read_text())["metadata"] == {"*": 1, "* (2)": 2}


def test_a_column_of_names_is_names_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Mr. Kofi Mensah", "Mrs. Anna Keller", "Mr. Otto Brandt", "Dr. Ida Holm", "Zyx"]
    others = ["gold", "silver", "bronze", "iron", "tin"]

    def finds_titles(self: Detector, texts: Sequence[tuple[str, str]]) -> list[list[Span]]:
        return [[Span(0, len(text), "PERSON", 1.0)] if text[:2] in ("Mr", "Dr") else [] for text, _ in texts]

    monkeypatch.setattr(Detector, "find_many", finds_titles)
    rows = [
        {**chat(f"r{n}", "Hello?", "yes"), "metadata": {"advisor": name, "level": other, "team": [name, "Zyx"]}}
        for n, (name, other) in enumerate(zip(names, others, strict=True))
    ]
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", *rows), rules())
    after = [json.loads(line)["metadata"] for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert [(m["advisor"], m["level"], m["team"]) for m in after] == [
        ("<PERSON_1>", other, ["<PERSON_1>", "<PERSON_2>"] if n < 4 else ["<PERSON_1>", "<PERSON_1>"])
        for n, other in enumerate(others)
    ]
    assert record.name_columns == ("metadata.advisor", "metadata.team.*")


def test_a_patient_ties_the_rows_that_are_about_the_same_one(tmp_path: Path) -> None:
    def row(row_id: str, patient: Any) -> dict[str, Any]:
        return {**chat(row_id, "Mail bob@example.com?", "yes"), "patient": patient}

    policy = rules("token").model_copy(update={"token_scope": "patient"})
    source = rows_file(tmp_path / "rows.jsonl", row("a", 7), row("b", "7"), row("c", 8))
    run(tmp_path, source, policy)
    one, two, three = (text[0] for text in texts(tmp_path / "out/train.jsonl"))
    assert one == two != three
    source = rows_file(tmp_path / "some.jsonl", row("a", 7), row("b", None), chat("c", "Hello?", "yes"))
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, policy, out="none")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["row b", "row c"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("firstName", "PERSON"), ("customer_name", "PERSON"), ("product_name", None), ("phone1", "PHONE_NUMBER"),
        ("HOME-PHONE", "PHONE_NUMBER"), ("patientSSN", "US_SSN"), ("address_line_2", "STREET_ADDRESS"),
        ("患者姓名", "PERSON"), ("codice_fiscale", "NATIONAL_ID"), ("nino", "NATIONAL_ID"),
        ("手机号", "PHONE_NUMBER"), ("身份证号码", "CN_RESIDENT_ID"), ("ip_address", "IP_ADDRESS"), ("branch", None),
        ("filename", None), ("shipping", None), ("page", None), ("0", None), ("", None), ("dob", "DATE_OF_BIRTH"),
    ],
)  # fmt: skip
def test_names_of_fields(name: str, kind: str | None) -> None:
    assert known_kind(name) == kind


# -- Ray --------------------------------------------------------------------------------------------------------------


def test_actors_on_ray_write_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from sdk.scrub.on_ray import on_ray_actors

    sources = {"train": many(tmp_path / "rows.jsonl", 1500), "eval": FINANCE / "eval.jsonl"}
    one = run(
        tmp_path,
        FINANCE,
        rules("token"),
        sources=sources,
        out="one",
        canaries=read_rows(FINANCE / "eval.jsonl").rows[:9],
    )
    two = run(
        tmp_path,
        FINANCE,
        rules("token"),
        sources=sources,
        out="two",
        run=on_ray_actors(2),
        canaries=read_rows(FINANCE / "eval.jsonl").rows[:9],
    )
    assert written(tmp_path / "one") == written(tmp_path / "two")
    assert one.model_copy(update={"seconds": 0.0}) == two.model_copy(update={"seconds": 0.0})


def test_an_id_that_is_personal_data_becomes_the_number_of_its_row(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("bob@example.com", "Is it?", "ok"))
    record = run(tmp_path, source, rules())
    assert json.loads((tmp_path / "out/train.jsonl").read_text())["id"] == "<ID_1>"
    ledger = json.loads((tmp_path / "out/ledger.jsonl").read_text())
    assert (ledger["row"], ledger["field"], ledger["entity_type"]) == ("<ID_1>", "id", "EMAIL_ADDRESS")
    assert (record.rows_changed, record.counts) == (1, {"EMAIL_ADDRESS": 1})
    run(tmp_path, source, rules(fields={"id": "keep"}), out="kept")
    assert json.loads((tmp_path / "kept/train.jsonl").read_text())["id"] == "bob@example.com"
    own = rows_file(tmp_path / "own.jsonl", chat("a-9", "Is it?", "ok"))
    run(tmp_path, own, rules(fields={"id": "US_SSN"}), out="whole")
    assert json.loads((tmp_path / "whole/train.jsonl").read_text())["id"] == "<ID_1>"
    failing = {"recognizers": recognizers(tmp_path, "{name: RaisingRecognizer, type: predefined}")}
    with pytest.raises(StepFailed) as caught:
        run(tmp_path, rows_file(tmp_path / "fail.jsonl", chat("fail at 536-22-8726", "fail", "ok")), rules(), **failing)
    assert caught.value.faults == ("row <ID_1>: KeyError",)


def test_keys_of_the_source_are_not_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finds(self: Detector, texts: Sequence[tuple[str, str]]) -> list[list[Span]]:
        return [[Span(0, len(text), "PERSON", 1.0)] if "Mr" in text else [] for text, _ in texts]

    monkeypatch.setattr(Detector, "find_many", finds)
    rows = [
        {
            **chat(f"r{n}", "Hello?", "yes"),
            "metadata": {"Mr Kofi": {"advisor": f"Mr {n}"}, "of 7 Elm": {"by": f"Mr {n}"}},
        }
        for n in range(5)
    ]
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", *rows), rules())
    assert record.name_columns == ("metadata.*.advisor", "metadata.*.by")
    assert {json.loads(line)["field"] for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()} == {
        "metadata.*", "metadata.*.advisor", "metadata.*.by"
    }  # fmt: skip


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "sdk.scrub.on_ray", raising=False)
    with pytest.raises(MissingExtra, match=r"\[ray\]"):
        batch_runner(2, "ray")
    with pytest.raises(InvalidInput, match="at least one worker"):
        batch_runner(0, "local")


# -- what the texts of a row tell of each other, and what a domain keeps -----------------------------------------------


def named(tmp_path: Path, source: Path, **changes: Any) -> tuple[Scrubbed, list[list[str]]]:
    made = run(tmp_path, source, rules().model_copy(update={"recognizer": "embedded"}), **changes)
    return made, texts(tmp_path / "out" / "train.jsonl")


def test_a_person_of_one_message_is_one_in_all_and_an_abbreviation_is_none(tmp_path: Path) -> None:
    row = chat(
        "r1",
        "Dr. Ottoline Brackenbury saw a case of lupus nephritis activity (LNA).",
        "brackenbury, Brackenbury: LNA improved.",
    )
    _, written = named(tmp_path, rows_file(tmp_path / "rows.jsonl", row))
    assert "Brackenbury" not in written[0][1]
    assert "LNA improved" in written[0][1]


def test_numbers_of_placeholders_that_stand_in_a_row_are_not_given_again(tmp_path: Path) -> None:
    row = chat(
        "r1", "<PERSON_1> called Odette Marchbanks.", "It was <PERSON_3>; Odette Marchbanks and Silas Okonkwo agreed."
    )
    _, written = named(tmp_path, rows_file(tmp_path / "rows.jsonl", row))
    assert written[0] == ["<PERSON_1> called <PERSON_2>.", "It was <PERSON_3>; <PERSON_2> and <PERSON_4> agreed."]


def test_what_a_domain_keeps_stays_unless_a_title_or_a_check_digit_says_that_it_is_personal(tmp_path: Path) -> None:
    keep = KeepList(terms=("Ottoline Brackenbury", "4111 1111 1111 1111"), patterns=(r"Tidewater \w+",))
    row = chat(
        "r1",
        "We offer the Ottoline Brackenbury plan of Tidewater Mutual.",
        "Card 4111 1111 1111 1111. Ask Dr. Ottoline Brackenbury.",
    )
    source = rows_file(tmp_path / "rows.jsonl", row)
    _, written = named(tmp_path, source, keep=keep)
    assert written[0][0] == "We offer the Ottoline Brackenbury plan of Tidewater Mutual."
    assert "4111" not in written[0][1]
    assert "Brackenbury" not in written[0][1]
    _, without = named(tmp_path, source)
    assert "Brackenbury" not in without[0][0]


@pytest.mark.parametrize(
    "entries",
    [{"patterns": [".*"]}, {"patterns": ["("]}, {"patterns": [r"\w+ ?\w*"]}, {"terms": [" "]}, {"terms": ["x" * 201]}],
)
def test_a_list_that_would_keep_everything_or_nothing_is_refused(entries: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        KeepList.model_validate(entries)


def test_a_pattern_that_runs_away_keeps_nothing() -> None:
    keep = KeepList(patterns=(r"(a+)+b",))
    assert not keep.holds("a" * 40)
    assert keep.holds("aab")
