"""The report of a scrubbing says what the rows and the record say, and never a value."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from sdk import Project
from sdk.cli import show
from sdk.data import Row, read_rows
from sdk.errors import InvalidInput, Refused
from sdk.files.store import shipped
from sdk.policy import Action, AfterScrub, ScrubRules, read_policy, require
from sdk.records import FileRef, Finding, Quarantined, Recall, Scrubbed
from sdk.records.scrubbing import TREATMENTS
from sdk.scrub import REPORTS
from sdk.scrub.find.detector import Detector
from sdk.scrub.report import report
from sdk.scrub.spans import Span
from sdk.scrub.statistics import RowStatistics, form, shape, size_class
from sdk.scrub.step import scrub
from tests.workshop import Workshop, write_policy

POLICY = read_policy(shipped("policies") / "hipaa.yaml")
EVIL = "<script>alert(1)</script>\"'&"
SHAPE = re.compile("[0Aa汉·…]+")


class Page(HTMLParser):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def rules(**changes: Any) -> ScrubRules:
    return ScrubRules.model_validate({**POLICY.scrub.model_dump(), "score_threshold": 0.4, **changes})


def record(**changes: Any) -> Scrubbed:
    ledger = FileRef(path="ledger.jsonl", size=1, sha256="0" * 64)
    given: dict[str, Any] = {
        "rows": {"train": 3},
        "data": {},
        "ledger": ledger,
        "counts": {},
        "actions": {},
        "recall_planted": Recall(planted=0, found=0),
        "recall_by_kind": {},
        "unplanted_findings": 0,
        "rows_changed": 0,
        "formats": {"train": "messages in JSONL"},
        "seconds": 0,
        **changes,
    }
    return Scrubbed(**given)


def scrubbed(out: Path, sources: dict[str, Path], policy: ScrubRules, domain: str = "finance") -> Scrubbed:
    return scrub(
        sources=sources,
        recognizers=shipped("domains") / domain / "recognizers.yaml",
        rules=policy,
        detect=True,
        token_key=bytes(range(32)),
        key_id="0123456789abcdef",
        out=out,
        on_progress=lambda *told: None,
    )


# -- shapes and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Kofi Mensah", "Aaaa Aaaaaa"),
        ("536-90-4399", "000-00-0000"),
        ("王小明", "汉汉汉"),
        ("１３８", "000"),
        ("Zoë O'Neil", "Aaa A'Aaaa"),
        ("bob@mail.example", "aaa@aaaa.aaaaaaa"),
        ("a_b<c>|d", "a_a·a··a"),
        ("12\u200b34\t5", "00000"),
        ("x" * 40, "a" * 32 + "…"),
        ("Ⅷ①", "00"),
        ("Ивáн", "Aaaa"),
        ("ひと", "aa"),
        ("٣٤", "00"),
        ("", ""),
    ],
)
def test_shapes(value: str, shown: str) -> None:
    assert shape(value) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (1000, "512-1023")]
)
def test_size_classes(number: int, shown: str) -> None:
    assert size_class(number) == shown


def test_a_value_that_is_its_own_shape_is_not_shown() -> None:
    statistics = RowStatistics()
    statistics.count_finding("PIN", "delete", "r", "0000")
    statistics.count_finding("PASSWORD", "delete", "r", "\u200b")
    assert not any(statistics.shapes.values())
    assert statistics.actions["PIN"]["delete"] == 1


def test_a_sum_of_portraits_depends_on_no_order_and_no_division() -> None:
    random.seed(1)
    findings = [(random.choice("AB"), "x" * random.randint(1, 9) + "-" * random.randint(0, 3)) for _ in range(200)]

    def statistics(parts: list[list[tuple[str, str]]]) -> RowStatistics:
        total = RowStatistics()
        for part in parts:
            one = RowStatistics()
            for kind, value in part:
                span = Span(0, len(value), kind, 1.0, "r")
                one.count_message(value, value[:2], [span], {kind: "mask"})
                one.count_row("en", len(value), {"zip": len(value)}, ["zip"])
            total.add(RowStatistics.from_json(json.loads(json.dumps(one.as_json()))))
        return total

    whole = statistics([findings])
    shuffled = random.sample(findings, len(findings))
    assert statistics([shuffled[i::7] for i in range(7)]) == whole
    assert statistics([[each] for each in findings]) == whole
    assert all(len(shapes) == 3 for shapes in whole.shapes.values())


# -- of shipped rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["finance", "medical"])
def test_no_value_stands_in_the_report_or_the_ledger(tmp_path: Path, domain: str) -> None:
    """By literal search for each planted one, and by our own detector, which finds nothing but shapes and labels."""
    folder = shipped("domains") / domain
    sources = {split: folder / f"{split}.jsonl" for split in ("train", "eval")}
    values: set[str] = set()
    for path in sources.values():
        for row in read_rows(path).rows:
            values |= {row.messages[s.message].content[s.start : s.end] for s in row.spans}
    made = scrubbed(tmp_path, sources, rules(), domain)
    files = {name: (tmp_path / name).read_bytes() for name in (*REPORTS, "ledger.jsonl")}
    page = Page(files["report.html"])
    texts = {**{name: data.decode() for name, data in files.items()}, "report.html": page.text}
    longer = {value for value in values if len(value) > 5 or not value.isdigit()}
    assert len(longer) > 100
    assert [value for value in longer for text in texts.values() if value in text] == []

    known = {*labels(made), *Finding.model_fields}
    detector = Detector(folder / "recognizers.yaml", 0.4)
    for name, text in texts.items():
        pieces = text.splitlines() if name == "ledger.jsonl" else [text]
        for piece in random.Random(1).sample(pieces, min(60, len(pieces))):
            found = [piece[s.start : s.end] for language in ("en", "zh") for s in detector.find(piece, language)]
            words = {word for value in found for word in re.findall(r"[^\W_]+", value)}
            assert {word for word in words - known if not is_no_value(word)} == set(), name


def labels(made: Scrubbed) -> set[str]:
    """Words of a report on the same kinds and recognizers, which has seen other values."""
    statistics = RowStatistics()
    for kind, by in made.recognizers.items():
        for recognizer in by:
            statistics.count_finding(kind, "placeholder", recognizer, "x")
    files = report(made, statistics, rules())
    return set(re.findall(r"[^\W_]+", Page(files["report.html"]).text + files["report.json"].decode()))


def is_no_value(word: str) -> bool:
    """Shapes, counts, row ids of the shipped domains."""
    return bool(SHAPE.fullmatch(word) or re.fullmatch(r"\d{1,4}|[a-z]+|[0-9a-f]{64}", word))


def test_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    folder = shipped("domains") / "finance"
    sources = {split: folder / f"{split}.jsonl" for split in ("train", "eval")}
    made = scrubbed(tmp_path, sources, rules(actions={"CREDIT_CARD": "mask"}))
    told = json.loads((tmp_path / "report.json").read_bytes())
    ledger = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    by_action = Counter((each["entity_type"], each["action"]) for each in ledger)
    assert {(k, a): n for k, by in told["by_kind_and_action"].items() for a, n in by.items()} == by_action
    by_recognizer = Counter((each["entity_type"], each["recognizer"]) for each in ledger)
    assert {(k, r): n for k, by in told["by_kind_and_recognizer"].items() for r, n in by.items()} == by_recognizer
    assert told["findings"] == len(ledger) == sum(made.counts.values())
    assert told["recall"]["all"]["planted"] == made.recall_planted.planted
    recall = told["recall"]["all"]
    assert 0 <= recall["low"] <= recall["recall"] <= recall["high"] <= 1
    histograms = told["histograms"]
    before = [row for path in sources.values() for row in read_rows(path).rows]
    after = [row for split in sources for row in read_rows(tmp_path / f"{split}.jsonl").rows]
    assert histograms["message_characters_before"] == lengths(before)
    assert histograms["message_characters_after"] == lengths(after)
    per_row = Counter(each["row"] for each in ledger)
    assert histograms["findings_per_row"] == sized(Counter(size_class(per_row[row.id]) for row in before))
    assert told["k_anonymity"]["k"] is None  # no quasi-identifiers, no groups
    page = Page((tmp_path / "report.html").read_bytes())
    assert page.open == []
    assert f"{made.recall_planted.planted:,} planted spans" in page.text


def lengths(rows: list[Row]) -> dict[str, int]:
    return sized(Counter(size_class(len(message.content)) for row in rows for message in row.messages))


def sized(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: int(item[0].split("-")[0])))


def test_the_cost_is_told_in_rows_words_and_answers_by_forms_of_values(tmp_path: Path) -> None:
    turns = [
        ("Who is Ottoline Brackenbury?", "Ottoline Brackenbury banks here."),
        ("What yields a bond?", "Interest and nothing else."),
    ]
    rows = [
        {
            "id": f"r{i}",
            "language": "en",
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
        }
        for i, (q, a) in enumerate(turns)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scrubbed(tmp_path / "out", {"train": source}, rules())
    cost = json.loads((tmp_path / "out/report.json").read_bytes())["cost"]
    assert (cost["words"], cost["words_taken"]) == (16, 4)
    assert cost["by_kind"] == {"PERSON": {"rows": 1, "words": 4}}
    assert cost["answers"] == {"answers": 2, "whole": 1, "derivable": 1, "terms": 3, "terms_left": 1}
    assert cost["taken_most_often"] == [{"kind": "PERSON", "form": "Aa Aa", "findings": 2}]
    page = Page((tmp_path / "out/report.html").read_bytes()).text
    assert "1 of 2 are whole" in page
    assert "Brackenbury" not in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [("Ann Lee", "Aa Aa"), ("OSA", "A"), ("synovitis", "a"), ("12-345", "0-0"), ("aA0aA0aA0aA0", "aA0aA0aA")],
)
def test_forms_have_neither_repetitions_nor_an_end(value: str, shown: str) -> None:
    assert form(value) == shown


# -- the page ---------------------------------------------------------------------------------------------------------


def test_nothing_from_outside_and_nothing_that_runs() -> None:
    statistics = RowStatistics()
    statistics.count_message("call 138", "call", [Span(5, 8, EVIL, 1.0, EVIL)], {EVIL: "mask"})
    statistics.count_row("en", 1, {"zip": EVIL}, ["zip"])
    quarantined = (Quarantined(split="train", row=EVIL, error="Timeout"),)
    recall = {EVIL: Recall(planted=2, found=1)}
    made = record(
        counts={EVIL: 1}, quarantined=quarantined, duplicates=2, recall_by_kind=recall, name_columns=(EVIL,),
        recall_planted=Recall(planted=2, found=1),
    )  # fmt: skip
    files = report(made, statistics, rules(quasi_identifiers=("zip",), min_k=2))
    page = Page(files["report.html"])
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form", "a", "base", "img"} == set()
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in page.tags for name in attrs)
    text = files["report.html"].decode()
    assert "<script" not in text
    assert "http" not in text
    assert "url(" not in text
    assert page.text.count("not kept") == 1
    assert "2 repeat another exactly" in page.text
    assert "0.013 – 0.987" in page.text  # 1 of 2
    assert json.loads(files["report.json"])["quarantined"] == [{"split": "train", "row": EVIL, "error": "Timeout"}]


def test_the_same_rows_give_the_same_bytes() -> None:
    assert report(record(), RowStatistics(), rules()) == report(record(), RowStatistics(), rules())


# -- k-anonymity ------------------------------------------------------------------------------------------------------


def with_metadata(path: Path, values: list[dict[str, Any]], asked: str = "What") -> Path:
    lines = [
        {
            "id": f"r{place}",
            "language": "en",
            "messages": [{"role": "user", "content": f"{asked} is {place}?"}, {"role": "assistant", "content": "So."}],
            "metadata": metadata,
        }
        for place, metadata in enumerate(values)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_k_is_the_smallest_group_of_rows_with_the_same_quasi_identifiers(tmp_path: Path) -> None:
    values = [{"ward": "a", "at": {"floor": 1}}] * 4 + [{"ward": "a", "at": {"floor": 2}}] * 2 + [{"ward": "b"}]
    source = with_metadata(tmp_path / "rows.jsonl", values)
    policy = rules(quasi_identifiers=("ward", "at.floor"), min_k=3, fields={"metadata.*": "keep"})
    made = scrubbed(tmp_path / "out", {"train": source}, policy)
    told = json.loads((tmp_path / "out/report.json").read_bytes())["k_anonymity"]
    assert made.smallest_group == told["k"] == 1
    assert (told["groups"], told["rows_below_min_k"]) == (3, 3)


def test_without_quasi_identifiers_there_is_no_k(tmp_path: Path) -> None:
    made = record(smallest_group=720)
    assert made.k_anonymity(()) == "no groups declared"
    assert made.k_anonymity(("ward",)) == "720"
    written = report(made, RowStatistics(), rules())
    assert json.loads(written["report.json"])["k_anonymity"]["k"] is None
    assert "no groups declared" in Page(written["report.html"]).text
    assert "720" not in Page(written["report.html"]).text


def test_what_the_policy_keeps_is_not_called_removed() -> None:
    actions = {"keep": 48, "placeholder": 400, "token": 80, "delete": 7}
    made = record(counts={"TITLE": 48, "PERSON": 487}, actions=actions)
    assert (made.findings, made.kept) == (535, 48)
    assert made.treatments_text() == (
        "7 removed, 400 replaced by placeholders, 80 pseudonymised by tokens, 48 kept by policy"
    )
    assert record().treatments_text() == "none found"
    page = Page(report(made, RowStatistics(), rules())["report.html"]).text
    assert made.treatments_text() in page
    console = Console(width=120, file=StringIO())
    with console.capture() as shown:
        console.print(show.scrubbed(made))
    assert f"535 findings: {made.treatments_text()}" in shown.get()
    assert made.recall_scope() in shown.get()


def test_every_action_of_a_policy_has_its_words() -> None:
    assert TREATMENTS.keys() == set(get_args(Action))


def test_the_recall_says_on_which_rows_it_was_measured() -> None:
    recall = {"recall_planted": Recall(planted=5, found=4)}
    assert "does not say" in record(**recall).recall_scope()  # of an earlier version
    assert "not on the training rows" in record(**recall, planted_in={"measured": 3, "eval": 2}).recall_scope()
    own = record(**recall, planted_in={"train": 2, "measured": 3})
    assert "training rows themselves" in own.recall_scope()
    assert own.recall_scope() in Page(report(own, RowStatistics(), rules())["report.html"]).text
    assert record().recall_scope().startswith("Not measured")


def test_a_share_is_told_only_where_every_kind_that_was_found_was_planted() -> None:
    planted = Recall(planted=5, found=5)
    measured = {"recall_planted": planted, "recall_by_kind": {"US_SSN": planted}}
    assert record(**measured, counts={"US_SSN": 9}).recall_text() == "5 of 5 planted values of 1 kind found (100.0%)"
    some = record(**measured, counts={"US_SSN": 9, "PERSON": 2}).recall_text()
    assert some == "5 of 5 planted values of 1 kind found; not measured: PERSON"
    assert record().recall_text() == "nothing planted"


def test_a_field_that_no_row_has_is_told(tmp_path: Path) -> None:
    source = with_metadata(tmp_path / "rows.jsonl", [{"ward": "a"}])
    with pytest.raises(InvalidInput, match="quasi_identifiers") as caught:
        scrubbed(tmp_path / "out", {"train": source}, rules(quasi_identifiers=("ward", "zipp")))
    assert caught.value.faults == ("metadata field zipp",)
    assert not (tmp_path / "out").exists()


def test_a_project_refuses_groups_below_the_policys_k(workshop: Workshop, tmp_path: Path) -> None:
    changes = {"scrub__quasi_identifiers": ["ward"], "scrub__min_k": 3}
    policy = write_policy(tmp_path / "policy.yaml", "unsafe-lab", **changes)
    project = workshop.project("groups", policy=policy)
    small = with_metadata(tmp_path / "small.jsonl", [{"ward": "Elm"}] * 3 + [{"ward": "Oak"}] * 2)
    own = with_metadata(tmp_path / "own.jsonl", [{"ward": "Elm"}, {"ward": "Oak"}], "Where")
    lone = with_metadata(tmp_path / "lone.jsonl", [{"ward": "Ash"}], "Where")
    whole = with_metadata(tmp_path / "whole.jsonl", [{"ward": "Elm"}] * 2 + [{"ward": "Oak"}] * 2)
    for detect in (True, False):
        with pytest.raises(Refused, match=r"scrub\.min_k: .* has 1, 3 are needed"):
            project.scrub(small, lone, detect=detect)
        assert not list(project.root.glob("artifacts/scrub/*/*.jsonl"))
    made = project.scrub(whole, own)
    assert made.smallest_group >= 3


def test_keys_that_are_personal_data_are_not_named_as_columns(tmp_path: Path) -> None:
    names = ["Kofi Mensah", "Mary Poole", "John Smith", "Anna Kowalska", "Peter Miller", "Laura Diaz"]
    values = [{"Maria Gonzalez": {"relatives": name}, "owner": name} for name in names]
    source = with_metadata(tmp_path / "rows.jsonl", values)
    made = scrubbed(tmp_path / "out", {"train": source}, rules())
    told = str(made) + "".join((tmp_path / "out" / name).read_text() for name in (*REPORTS, "ledger.jsonl"))
    assert "Gonzalez" not in told
    assert not any(name in told for name in names)


@pytest.mark.parametrize(("k", "refused"), [(4, True), (5, False)])
def test_too_small_a_group_is_refused(k: int, refused: bool) -> None:
    policy = POLICY.model_copy(update={"scrub": rules(min_k=5)})
    moment = AfterScrub(scrubbed=True, recall=1.0, k=k)
    if not refused:
        return require(policy, moment)
    with pytest.raises(Refused, match=r"scrub\.min_k"):
        require(policy, moment)


# -- in MLflow --------------------------------------------------------------------------------------------------------


def test_the_report_goes_into_mlflow(finished: Project) -> None:
    from sdk.records import Release

    release = finished.state().latest(Release)
    paths = {ref.path: ref for ref in release.artifacts}
    made = finished.state().latest(Scrubbed)
    for ref in made.files:
        if ref.path in REPORTS:
            assert paths[f"scrub/{ref.path}"].sha256 == ref.sha256
    assert {"scrub/report.html", "scrub/report.json"} <= paths.keys()
