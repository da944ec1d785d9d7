"""The scrubbing step by its effects: the files it writes, the record, and what it refuses."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import presidio_analyzer.pattern_recognizer
import pytest
from presidio_analyzer import PatternRecognizer

from sdk.data import read_rows
from sdk.errors import InvalidInput, StepFailed
from sdk.policy import Action, ScrubRules
from sdk.records import Finding, Scrubbed
from sdk.scrub import scrub
from sdk.scrub.actions import Span, mask, merged, replaced, token
from sdk.store import check_ref, shipped

KEY = bytes(range(32))
FINANCE = shipped("domains") / "finance"


def rules(default: Action = "placeholder", threshold: float = 0.4, **actions: Action) -> ScrubRules:
    return ScrubRules(required=True, score_threshold=threshold, min_recall=0.9, default_action=default, actions=actions)


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
        "out": tmp_path / out,
        "on_progress": Progress(),
    }
    return scrub(**(arguments | changes))


def texts(path: Path) -> list[list[str]]:
    return [[message["content"] for message in json.loads(line)["messages"]] for line in path.read_text().splitlines()]


# -- the domains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["finance", "medical"])
@pytest.mark.parametrize("default", ["placeholder", "token", "mask", "delete"])
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
        record = run(tmp_path, folder, rules(default), sources=sources, recognizers=folder / "recognizers.yaml")
    assert record.recall_planted.planted > 300
    assert record.recall_planted.found >= 0.98 * record.recall_planted.planted
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()] + [caplog.text, str(record)]
    assert len(written) == 5
    left = [value for value in values for text in written if value in text]
    assert len(left) <= 0.02 * len(values)
    assert not any(value in text for value in values for text in written[-2:])
    ledger = next(path for path in (tmp_path / "out").iterdir() if path.name == "ledger.jsonl").read_text()
    assert not any(value in ledger for value in values)


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
    assert record.actions["delete"] == record.counts["CVV"]
    assert sum(r.planted for r in record.recall_by_kind.values()) == record.recall_planted.planted
    before = {row.id: row for path in sources.values() for row in read_rows(path).rows}
    after = {row.id: row for split in sources for row in read_rows(tmp_path / f"out/{split}.jsonl").rows}
    assert [*after] == [*before]
    assert all(row.spans == () and row.language == before[row.id].language for row in after.values())
    changed = {row_id for row_id, row in after.items() if row.messages != before[row_id].messages}
    assert changed == {finding.row for finding in findings}
    assert len(changed) == record.rows_changed
    assert record.unplanted_findings <= 0.01 * len(before)
    assert progress.calls[-1] == ("scrub", len(before), len(before), {"found": float(len(findings))})


def test_findings_point_at_the_value_in_the_source(tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl",
        chat("a", "Act for Mr. Kofi Mensah.", "手机１３８１２３４５６７８?", "card 4111111111111111"),
    )
    run(tmp_path, source, rules())
    row = read_rows(source).rows[0]
    found = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert [(f["message"], row.messages[f["message"]].content[f["start"] : f["end"]]) for f in found] == [
        (0, "Kofi Mensah"),
        (1, "１３８１２３４５６７８"),
        (2, "4111111111111111"),
    ]
    assert texts(tmp_path / "out/train.jsonl") == [
        ["Act for Mr. <PERSON>.", "手机<PHONE_NUMBER>?", "card <CREDIT_CARD>"]
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
    assert record.rows == {"train": 1}
    assert record.counts == {}
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("end", "found"),
    [(len("Ask Mr. Kofi Mensah"), 1), (len("Ask Mr. Kofi Mensah "), 1), (len("Ask Mr. Kofi Mensah n"), 0)],
)
def test_a_planted_span_counts_only_when_all_of_it_is_gone(tmp_path: Path, end: int, found: int) -> None:
    row = chat("a", "Ask Mr. Kofi Mensah now", "yes") | {
        "spans": [{"message": 0, "start": 8, "end": end, "entity_type": "PERSON"}]
    }
    record = run(tmp_path, rows_file(tmp_path / "rows.jsonl", row), rules())
    assert (record.recall_planted.planted, record.recall_planted.found) == (1, found)


def test_the_threshold_of_the_policy_decides_what_counts(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "Patient Thandiwe Mokoena, card 4111111111111111", "ok"))
    record = run(tmp_path, source, rules(threshold=0.9))
    assert record.counts == {"CREDIT_CARD": 1}


# -- actions ----------------------------------------------------------------------------------------------------------


def test_tokens_are_the_same_over_files_and_runs_and_differ_by_key_and_kind(tmp_path: Path) -> None:
    one = rows_file(tmp_path / "one.jsonl", chat("a", "Customer Anna Keller, phone (212) 555-0143", "ok"))
    two = rows_file(tmp_path / "two.jsonl", chat("b", "ANNA KELLER here. Is Mr. Anna  Keller in?", "ok"))
    run(tmp_path, one, rules("token"), sources={"train": one, "eval": two})
    run(tmp_path, two, rules("token"), out="again")
    run(tmp_path, two, rules("token"), out="other", token_key=KEY[::-1])
    first = token("Anna Keller", "PERSON", KEY)
    assert texts(tmp_path / "out/train.jsonl")[0][0].startswith(f"Customer {first}, phone <PHONE_NUMBER_")
    assert texts(tmp_path / "out/eval.jsonl")[0][0] == f"{first} here. Is Mr. {first} in?"
    assert (tmp_path / "again/train.jsonl").read_bytes() == (tmp_path / "out/eval.jsonl").read_bytes()
    assert first not in (tmp_path / "other/train.jsonl").read_text()
    assert token("Anna Keller", "USER", KEY)[-13:] != first[-13:]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("CREDIT_CARD", "4111 1111 1111 1234", "4111 11** **** 1234"),
        ("CREDIT_CARD", "378282246310005", "***********0005"),
        ("CN_BANK_CARD", "6222021234567890128", "622202*********0128"),
        ("IBAN_CODE", "GB29 NWBK 6016 1331 9268 19", "**** **** **** **** **68 19"),
        ("US_SSN", "536-22-8726", "***-**-**26"),
        ("CVV", "123", "***"),
        ("PERSON", "张伟", "**"),
        ("CREDIT_CARD", "41111111111", "***********"),
    ],
)
def test_masks_show_little(kind: str, value: str, shown: str) -> None:
    assert mask(value, kind) == shown


@pytest.mark.parametrize(
    ("text", "value", "left"),
    [
        ("card 4111, CVV 123, asks", "123", "card 4111, CVV, asks"),
        ("CVV 123 asks", "123", "CVV asks"),
        ("123 asks", "123", "asks"),
        ("it is 123", "123", "it is"),
        ("安全码123问", "123", "安全码问"),
        ("a\n123 b", "123", "a\nb"),
        ("(123)", "123", "()"),
    ],
)
def test_delete_leaves_no_double_space(text: str, value: str, left: str) -> None:
    start = text.index(value)
    assert replaced(text, [Span(start, start + len(value), "CVV", 1.0)], lambda kind: "delete", KEY) == left


def test_overlapping_spans_become_one_of_the_surest_kind() -> None:
    spans = [Span(5, 9, "B", 0.6), Span(0, 6, "A", 0.5), Span(8, 12, "C", 0.6), Span(12, 14, "D", 0.1)]
    assert merged(spans) == merged(spans[::-1]) == [Span(0, 12, "C", 0.6), Span(12, 14, "D", 0.1)]


# -- what it refuses --------------------------------------------------------------------------------------------------


class RaisingRecognizer(PatternRecognizer):
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


def test_a_pattern_that_times_out_fails_its_row_although_presidio_only_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presidio_analyzer.pattern_recognizer, "REGEX_TIMEOUT_SECONDS", 0.05)
    entry = "{name: Slow, supported_entity: S, patterns: [{name: p, regex: '^(a|a|aa)+$', score: 1}]}"
    source = rows_file(tmp_path / "rows.jsonl", chat("good", "a", "b"), chat("slow", "a" * 40 + "b", "b"))
    with pytest.raises(StepFailed) as caught:
        run(tmp_path, source, rules(), recognizers=recognizers(tmp_path, entry))
    assert caught.value.faults == ("row slow: DetectorFailed",)
    assert caplog.text == ""


def test_a_message_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    source = rows_file(
        tmp_path / "rows.jsonl", chat("a", "4111111111111111", "ok"), chat("b", "who?", "bob@example.com")
    )
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, rules("delete"))
    assert caught.value.faults == ("row a, message 1", "row b, message 2")
    assert not (tmp_path / "out").exists()
    assert texts_of(tmp_path, source) == [["<CREDIT_CARD>", "ok"], ["who?", "<EMAIL_ADDRESS>"]]


def texts_of(tmp_path: Path, source: Path) -> list[list[str]]:
    run(tmp_path, source, rules())
    return texts(tmp_path / "out/train.jsonl")


def test_rows_of_a_language_without_recognizers_are_refused(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", chat("a", "客户张伟问", "好", language="zh"))
    entry = "{name: Badges, supported_entity: B, deny_list: [x]}"
    with pytest.raises(InvalidInput) as caught:
        run(tmp_path, source, rules(), recognizers=recognizers(tmp_path, entry))
    assert caught.value.faults == ("1 rows of language zh",)


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
