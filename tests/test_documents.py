"""Documents say what the records say, mark and list all that they do not, and show nothing that is not theirs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from huggingface_hub import EvalResult, ModelCard
from jinja2 import Environment, nodes
from markdown_it import MarkdownIt

import sdk.documents
from sdk.audit import ACCOUNT, account
from sdk.documents import TITLES, Decided, Dossier, TakenIn, documents, to_html, write
from sdk.documents.answers import KEYS, parse_answers, template
from sdk.documents.render import SUFFIX, escaped, render
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.files.store import shipped
from sdk.intervals import share
from sdk.policy import Policy, read_policy
from sdk.records import (
    BenchmarkResult,
    Benchmarks,
    BenchmarkSettings,
    Columns,
    Declared,
    Export,
    Interval,
    Leakage,
    Leaks,
    LossSpike,
    MetricScores,
    Overlap,
    Package,
    Quarantined,
    QuestionScores,
    Release,
    Review,
    Scrubbed,
    SourceFile,
    Stratum,
    sha256,
)
from tests import registry_records as made
from tests.test_records import examples
from tests.workshop import Workshop

TEMPLATES = Path(sdk.documents.__file__).parent
TEXTS = CARD, ANNEX, SR, HIPAA, SHEET, VALIDATION, PERFORMANCE = (f"{name}.md" for name in TITLES)
RECORDS = ("advice", "scrubbed", "review", "run", "scores", "leaks", "package", "release")
SECRET = "Zebulon Quarrington"
EVIL = "<script>alert(1)</script> | [x](https://evil.example) **b** `c` \x00\x01 _d_ \n# h"

HEADINGS = {  # what each document's rule or convention names, in its order
    CARD: [
        "Model details",
        "Uses",
        "Bias, risks and limitations",
        "How to get started with the model",
        "Training details",
        "Evaluation",
        "Model examination",
        "Environmental impact",
        "Technical specifications",
        "Model card contact",
    ],
    ANNEX: [
        "1. General description of the AI system",
        "2. Elements of the AI system and process of its development",
        "3. Monitoring, functioning and control",
        "4. Appropriateness of the performance metrics",
        "5. Risk management system",
        "6. Relevant changes through the lifecycle",
        "7. Harmonised standards applied",
        "8. EU declaration of conformity",
        "9. Post-market monitoring",
    ],
    SR: [
        "1. Scope",
        "2. Model development",
        "3. Model implementation",
        "4. Model use",
        "5. Model validation and monitoring",
        "6. Governance and controls",
        "7. Vendor and other third-party products",
    ],
    HIPAA: [
        "1. What is stated",
        "2. Data",
        "3. The eighteen identifiers",
        "4. How well personal data is found",
        "5. Review by a person",
        "6. What the trained model gives back",
        "7. What is not covered",
    ],
    SHEET: [
        "Motivation",
        "Composition",
        "Collection process",
        "Preprocessing, cleaning and labelling",
        "Uses",
        "Distribution",
        "Maintenance",
    ],
    VALIDATION: [
        "1. What this page is · 本页说明",
        "2. Data privacy · 数据隐私",
        "3. Reliability · 可靠性",
        "4. Error rate · 错误率",
        "5. Audit log · 审计日志",
    ],
    PERFORMANCE: [
        "1. What this page is · 本页说明",
        "2. The task · 任务表现",
        "3. Groups of questions · 问题分组",
        "4. What was forgotten · 遗忘",
        "5. Training and cost · 训练与成本",
        "6. Who decided · 决策",
    ],
}


class Happened(NamedTuple):
    seq: int
    time: str
    actor: str
    authentication: str
    action: str
    phase: str
    detail: dict[str, str]
    objects: dict[str, str]


def policy(name: str = "hipaa", **scrub: Any) -> Policy:
    read = read_policy(shipped("policies") / f"{name}.yaml")
    return read.model_copy(update={"scrub": read.scrub.model_copy(update=scrub)})


def empty(**changes: Any) -> Dossier:
    domain = read_domain(shipped("domains") / "medical")
    facts = {
        "project": "claims",
        "base_name": "embedded",
        "base_digest": sha256(b"base"),
        "domain": domain,
        "policy": policy(),
        "standing": "candidate",
    }
    return Dossier(**{**facts, **changes})


def leaks() -> Leaks:
    interval = Interval(value=1.83, low=1.31, high=2.38)
    share = Interval(value=0.59, low=0.48, high=0.7)
    found = Leakage(
        kinds=("PERSON", "US_SSN"),
        twins=4,
        candidates=64,
        exposures=(1.5, 2.16),
        exposure=interval,
        extracted=0,
        losses=(1.0, 2.0),
        twin_losses=(1.0,) * 8,
        scores=(0.0, 0.1),
        twin_scores=(0.0,) * 8,
        auc=share,
        tpr=share,
        auc_by_loss=0.54,
        auc_by_base=0.54,
    )
    return Leaks(
        adapted=found, control=found.model_copy(update={"extracted": 2}), control_passes=20, control_steps=9, seconds=11
    )


def benchmarks() -> Benchmarks:
    """64 probes, of which the base declines 40 and the adapted model 38."""

    def found(questions: int, base: int, adapted: int) -> MetricScores:
        before, after = (share(hits, questions) for hits in (base, adapted))
        return MetricScores(questions=questions, base=Interval(**before._asdict()), adapted=Interval(**after._asdict()))

    probes = BenchmarkResult(
        sha256=sha256(b"probes"),
        version="1",
        num_fewshot=0,
        metrics=("declined",),
        scores={"declined": {"all": found(64, 40, 38), "harmful": found(32, 30, 29), "unanswerable": found(32, 10, 9)}},
        outcomes=tuple(
            QuestionScores(question=SECRET, base=(float(n < 40),), adapted=(float(n < 38),)) for n in range(64)
        ),
        overlap=Overlap(questions=64, near_duplicates=()),
    )
    return Benchmarks(results={"safety": probes}, settings=BenchmarkSettings(), engine="", seconds=9)


def review() -> Review:
    return Review(
        population=560,
        n=59,
        misses=1,
        bound=0.0781,
        extra=12,
        extra_misses=0,
        marks=1,
        strata={"en, found": Stratum(rows=560, reviewed=71, missed=1)},
        reviewer="Rita Reviewer",
        earlier=0,
    )


def package() -> Package:
    fields = {
        "package": sha256(b"manifest"),
        "package_id": "0" * 32,
        "version": 3,
        "signed_by": "Theo Trainer",
        "key_fingerprint": sha256(b"key"),
        "encrypted": True,
        "policy": "hipaa@1",
        "domain": "medical@1",
    }
    return Package.model_validate(fields)


def release() -> Release:
    return Release(
        package=sha256(b"manifest"),
        tracking_uri=f"sqlite:///{SECRET}.db",
        experiment_id="1",
        run_id=sha256(b"run")[:32],
        model_name="claims",
        version="7",
        artifacts=(),
    )


def complete(**changes: Any) -> Dossier:
    rules = policy()
    scrubbed = made.scrubbed().model_copy(
        update={
            "inputs": {"policy": rules.digest},
            "planted_in": {"measured": 225},
            "overlap": Overlap(questions=60, near_duplicates=()),
        }
    )
    records = {
        "policy": rules,
        "advice": made.advice(),
        "scrubbed": scrubbed,
        "review": review(),
        "run": made.run(),
        "scores": made.scores(),
        "leaks": leaks(),
        "benchmarks": (benchmarks(),),
        "package": package(),
        "release": release(),
        "people": {"theo": "Theo Trainer"},
        "approvals": (
            Decided("Alice", "approve", "Scores and leak check are as they should be.", "2026-05-02T09:00:00Z"),
        ),
        "events": tuple(
            Happened(
                n,
                f"2026-05-01T10:0{n}:00.000Z",
                "theo",
                ACCOUNT,
                action,
                phase,
                {"note": SECRET},
                {SECRET: sha256(b"x")},
            )
            for n, (action, phase) in enumerate(
                [("scrub", "started"), ("scrub", "failed"), ("scrub", "started"), ("scrub", "finished")]
            )
        ),
    }
    return empty(**{**records, **changes})


def body(text: str) -> str:
    """Without the list at the end."""
    return text.split("\n## What is not recorded\n")[0]


def gaps(text: str) -> list[tuple[str, str]]:
    """(section, what) of the list at the end."""
    return [(section, what) for section, what, _ in listed(text)]


def listed(text: str) -> list[tuple[str, str, str]]:
    """(section, what, answered by) of the list at the end, whose numbers are 1, 2, 3 …"""
    row = r"^\| (\d+) \| (.*?) \| (.*) \| (.*) \|$"
    rows = re.findall(row, text.split("\n## What is not recorded\n")[1], re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    return [(section, what, answer) for _, section, what, answer in rows]


def headings(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


# -- what they say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dossier", [complete(), empty()], ids=["complete", "empty"])
@pytest.mark.parametrize("name", HEADINGS)
def test_every_section_of_the_rule_is_there_in_its_order(name: str, dossier: Dossier) -> None:
    found = headings(documents(dossier)[name])
    assert [heading for heading in found if heading in HEADINGS[name]] == HEADINGS[name]
    assert found[-1] == "What is not recorded"
    assert set(documents(dossier)) == set(HEADINGS)


@pytest.mark.parametrize("letter", "abcdefgh")
def test_annex_iv_has_every_point_of_its_first_two_sections(letter: str) -> None:
    text = documents(empty())[ANNEX]
    first, second = (text.split(f"\n## {n}. ")[1].split("\n## ")[0] for n in (1, 2))
    assert f"\n| ({letter}) " in first
    assert f"\n### ({letter}) " in second


def test_figures_are_those_of_the_records() -> None:
    dossier = complete()
    texts = documents(dossier)
    assert dossier.package
    assert dossier.run
    assert dossier.scrubbed
    expected = {
        CARD: [
            "338,688",
            "0.750 (0.670 to 0.820)",
            "qlora-4bit",
            "4-bit fits \\<5 GiB \\& leaves room",
            "1.83 (1.31 to 2.38) of 6",
            "on the domain's planted rows, not on the training rows",
        ],
        ANNEX: [
            "Theo Trainer",
            "claims` version 7",
            "package 3 of the project",
            "`leaks.max_auc`",
            "| `scrub` | 2 | 1 | 0 | 1 | 2026-05-01 10:00 UTC | 2026-05-01 10:03 UTC | Theo Trainer |",
            "222: 191 replaced by placeholders, 31 pseudonymised by tokens",
        ],
        SR: ["Alice | approve | 2026-05-02 09:00 UTC | Scores and leak check", "Rita Reviewer", "out of its scope"],
        HIPAA: ["222 of 225; 0.987 (0.962 to 0.997)", "59 of 560", "7.81 %", "119 of 121", "`US_SSN`, `US_SSN_LAST4`"],
        SHEET: [
            "| how many, training | 448 |",
            "eval: jsonl, alpaca; train: jsonl, alpaca",
            "222 of 225",
            "`CN_RESIDENT_ID` | 18 |",
        ],
    }
    for name, pieces in expected.items():
        assert [piece for piece in pieces if piece not in body(texts[name])] == [], name
        assert dossier.package.package in texts[name]
        assert dossier.policy.digest in texts[name]
        assert dossier.run.digest in texts[name]
        assert dossier.scrubbed.data["train"].sha256 in texts[name]


def test_copies_in_plain_stand_in_the_card_with_the_reason() -> None:
    left = examples()["export"]
    assert isinstance(left, Export)
    text = documents(complete(exports=(left,)))[CARD]
    (row,) = [line for line in text.splitlines() if line.startswith("| merged |")]
    assert left.identity in row
    assert "0.0010" in row
    assert "50.0 %" in row
    assert "The branch servers run vLLM." in row


def test_the_pages_on_safety_and_performance_count_from_the_records() -> None:
    """In both languages; shares with exact limits; a bound of the policy with what is shown of it; no id of a row."""
    spike = LossSpike(step=90, loss=4.5, usual=0.5, z=40, rows=(SECRET,), rows_in_step=8)
    bounded = policy()
    rules = bounded.model_copy(
        update={"evaluate": bounded.evaluate.model_copy(update={"forgetting": {"safety": -0.05, "mmlu": -0.02}})}
    )
    dossier = complete(policy=rules, run=made.run().model_copy(update={"spikes": (spike,)}))
    texts = documents(dossier)
    assert dossier.scores
    wrong = sum(not one.adapted_exact for one in dossier.scores.outcomes)
    of = len(dossier.scores.outcomes)
    found = share(wrong, of)
    for name in (VALIDATION, PERFORMANCE):
        text = texts[name]
        wrong_answers = f"{wrong} of {of}; {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        assert f"| all · 全部 | adapted · 适配后 | {wrong_answers} |" in text
        assert "| harmful · 有害请求 | 32 | 0.938 (0.792 to 0.992) | 0.906 (0.750 to 0.980) |" in text
        assert "| safety · 安全探针 | -0.05 | cannot be told with 64 questions, at these rates " in text
        assert "`sdk benchmark mmlu=FILE`" in text
        assert "| mmlu | -0.02 | **not recorded" in text
        assert "| 90 | 4.5 | 0.5 | 8 |" in text
        assert SECRET not in text
    assert "| 1.83 (1.31 to 2.38) of 6" in texts[VALIDATION]
    assert "| `scrub` | 2 | 1 | 0 | 1 |" in texts[VALIDATION]
    text = documents(complete(scores=None, benchmarks=()))[VALIDATION]
    opened = {(what, answer) for _, what, answer in listed(text)}
    assert {
        ("error rate · 错误率", "`sdk evaluate`"),
        ("harmful requests and questions that cannot be answered · 有害请求与无法回答的问题", "`sdk benchmark safety`"),
        ("public benchmarks and safety probes · 公开基准与安全探针", "`sdk benchmark`"),
    } <= opened


def test_tables_of_pages_in_both_languages_are_translated_and_those_of_others_are_not() -> None:
    texts = documents(complete())
    for name, text in texts.items():
        assert ("| base model · 基座模型 |" in text) == (name in (VALIDATION, PERFORMANCE))
    tables = "\n".join(line for name in (VALIDATION, PERFORMANCE) for line in texts[name].split("\n"))
    heads = [above for above, line in pairwise(tables.split("\n")) if line.startswith("|--")]
    assert heads
    untold = {cell.strip() for head in heads for cell in head.split("|")} - {"", "SHA-256"}
    assert [cell for cell in untold if "·" not in cell] == []


def test_a_reason_is_not_shown_for_another_value() -> None:
    run = made.run()
    by_hand = run.model_copy(update={"settings": run.settings.model_copy(update={"lora_r": 64})})
    text = documents(complete(run=by_hand))[CARD]
    assert "| `lora_r` | 64 | set by hand |" in text
    assert "the domain's starting rank" not in text


def test_the_eighteen_identifiers_are_those_of_the_rule_with_counts_actions_and_recall() -> None:
    section = documents(complete())[HIPAA].split("\n## 3. ")[1].split("\n## 4. ")[0]
    rows = re.findall(r"^\| \((\w)\) [^|]*\| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", section, re.MULTILINE)
    assert [letter for letter, *_ in rows] == list("ABCDEFGHIJKLMNOPQR")
    by_letter = {letter: cells for letter, *cells in rows}
    assert by_letter["A"] == ["`PERSON`", "120", "replaced by placeholders", "119 of 121; 0.983 (0.942 to 0.998)"]
    assert by_letter["J"][1:3] == ["40", "replaced by placeholders"]  # IBAN_CODE 9, CREDIT_CARD 31
    assert by_letter["P"][1:] == ["0", "removed", "none planted"]
    assert "beyond the rule: " not in section


def test_a_policy_that_names_no_identifier_is_said_to_name_none() -> None:
    text = documents(complete(policy=policy("finance")))[HIPAA]
    assert "**The policy `finance@7` names no identifiers**" in text
    assert not re.search(r"^\| \([A-R]\) ", text, re.MULTILINE)
    assert [what for section, what in gaps(text) if section.startswith("3.")] == []


def test_an_identifier_that_a_policy_leaves_out_is_said_to_be() -> None:
    names = {name: kinds for name, kinds in policy().scrub.identifiers.items() if not name.startswith("E ")}
    text = documents(complete(policy=policy(identifiers=names)))[HIPAA]
    assert "| (E) Fax numbers | the policy does not name it | | | |" in text


def test_what_is_derived_from_a_value_is_named() -> None:
    assert "164.514(c) is not met" not in documents(complete())[HIPAA]
    coded = policy(actions={**policy().scrub.actions, "US_SSN": "token"}, reversible=("MEDICAL_RECORD_NUMBER",))
    text = documents(complete(policy=coded))[HIPAA]
    assert "164.514(c) is not met" in text
    assert "| `MEDICAL_RECORD_NUMBER`, `US_SSN` |" in text


def test_rows_that_were_scrubbed_under_another_policy_are_said_to_be() -> None:
    same, other = (documents(complete(policy=rules))[HIPAA] for rules in (policy(), policy(row_seconds=11)))
    assert "under another policy" not in same
    assert "yes: the policy refuses data that did not" in same
    assert "under another policy" in other
    assert ("1. What is stated", "did the data go through the detectors") in gaps(other)


# -- what they do not say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [(), *[(name,) for name in RECORDS], RECORDS], ids="+".join)
def test_every_place_that_is_not_recorded_is_marked_and_listed(missing: tuple[str, ...]) -> None:
    full = documents(complete())
    for name, text in documents(complete(**dict.fromkeys(missing))).items():
        marked = [int(n) for n in re.findall(r"\*\*not recorded \((\d+)\)\*\*", body(text))]
        rows = listed(text)
        assert sorted(set(marked)) == list(range(1, len(rows) + 1))
        assert marked == sorted(marked)
        assert all(section and what and answer for section, what, answer in rows)
        assert f"{len(rows)} places" in text
        assert set(gaps(full[name])) <= set(gaps(text))
        assert body(text).casefold().count("not recorded") == len(marked) + 1  # the head explains the words
        assert not {"\x00", "\x01", "\x02"} & set(text)
        assert "None" not in text


def test_a_record_that_is_missing_opens_the_places_that_it_filled() -> None:
    full = documents(complete())
    opened = {
        "scores": (ANNEX, "scores of the base and of the adapted model"),
        "review": (HIPAA, "95 % upper bound on the share of rows with a miss"),
        "leaks": (SR, "AUC of telling planted values from others"),
        "run": (CARD, "trainable parameters"),
        "package": (SR, "signed by"),
        "release": (SR, "registered as"),
        "scrubbed": (SHEET, "how many, training"),
        "advice": (SR, "why this method"),
    }
    for record, (name, what) in opened.items():
        assert what not in [w for _, w in gaps(full[name])]
        assert what in [w for _, w in gaps(documents(complete(**{record: None}))[name])]
    assert "decisions over the package" in [w for _, w in gaps(documents(complete(approvals=()))[SR])]
    assert "events of the audit log" in [w for _, w in gaps(documents(complete(events=()))[ANNEX])]


def test_what_only_a_person_knows_stays_open_however_complete_the_records_are() -> None:
    texts = documents(complete())
    for name, section, what in (
        (ANNEX, "1. General description of the AI system", "(a) intended purpose"),
        (
            ANNEX,
            "2. Elements of the AI system and process of its development / (g) Validation and testing",
            "robustness",
        ),
        (ANNEX, "4. Appropriateness of the performance metrics", "why the metric is appropriate for this system"),
        (ANNEX, "8. EU declaration of conformity", "copy of the declaration (Article 47)"),
        (HIPAA, "1. What is stated", "actual knowledge, condition (ii)"),
        (SR, "6. Governance and controls / Roles and inventory", "owner of the model"),
        (SHEET, "Collection process", "did they consent"),
        (CARD, "Environmental impact", "carbon emitted"),
    ):
        assert (section, what) in gaps(texts[name])


def test_no_loop_of_a_template_can_be_silent() -> None:
    """A list that is empty or missing has words, or the mark, in its place."""
    for path in TEMPLATES.glob(f"*{SUFFIX}"):
        loops = list(Environment(autoescape=True).parse(path.read_text(encoding="utf-8")).find_all(nodes.For))
        assert [loop.lineno for loop in loops if not loop.else_] == [], path.name


def test_a_name_that_no_record_has_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(InvalidInput, match=r"sr-26-2\.md\.jinja: 'gap_count|'title' is undefined"):
        render("sr-26-2", {})


# -- what must not be in them -----------------------------------------------------------------------------------------


def test_a_planted_secret_is_in_no_document() -> None:
    scrubbed = made.scrubbed().model_copy(
        update={
            "quarantined": (Quarantined(split="train", row=SECRET, error=SECRET),),
            "name_columns": (SECRET,),
            "recognizers": {"PERSON": {SECRET: 3}},
        }
    )
    scores = made.scores()
    scores = scores.model_copy(update={"outcomes": (scores.outcomes[0].model_copy(update={"row": SECRET}),)})
    dossier = complete(scrubbed=scrubbed, scores=scores)  # and in the events' details and the registry's address
    assert str(dossier).count(SECRET) >= 6
    for name, text in documents(dossier).items():
        assert SECRET not in text
        assert SECRET.split()[1].encode() not in to_html(text, name)


def evil() -> Dossier:
    return complete(
        project=EVIL,
        base_name=EVIL,
        standing=EVIL,
        domain=read_domain(shipped("domains") / "medical").model_copy(update={"title": EVIL, "prompt": EVIL}),
        scrubbed=made.scrubbed().model_copy(update={"counts": {EVIL: 3}, "actions": {EVIL: 3}}),
        run=made.run().model_copy(update={"versions": {EVIL: EVIL}, "notes": (EVIL,)}),
        package=package().model_copy(update={"signed_by": EVIL}),
        review=review().model_copy(update={"reviewer": EVIL}),
        approvals=(Decided(EVIL, "approve", EVIL, EVIL),),
        declared=taken_in(answers=dict.fromkeys(KEYS, EVIL)),
        people={"theo": EVIL},
    )


def shape(text: str) -> list[tuple[str, str]]:
    """Every tag that the Markdown makes, but code spans, which escaped text and plain text may differ in."""
    tokens = MarkdownIt("commonmark").enable("table").parse(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL))
    inline = [child for token in tokens for child in token.children or ()]
    return [(t.type, t.tag) for t in tokens] + [
        (t.type, t.tag) for t in inline if t.type not in ("text", "code_inline")
    ]


def links(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL))
    inline = [child for token in tokens for child in token.children or ()]
    return [str(token.attrs["href"]) for token in inline if token.type == "link_open"]


def test_no_record_can_write_markup_of_its_own() -> None:
    words = taken_in(answers=dict.fromkeys(KEYS, "x"))
    tame = replace(evil(), project="x", base_name="x", standing="x", approvals=(Decided("x", "approve", "x", "x"),))
    tame = replace(tame, declared=words, people={"theo": "x"})
    texts, expected = documents(evil()), documents(tame)
    for name, text in texts.items():
        assert [piece for piece in shape(text) if piece[0] in ("html_block", "html_inline")] == []
        assert set(links(text)) == set(HEADINGS) - {name}
        assert shape(text) == shape(expected[name])
        page = to_html(text, EVIL, HEADINGS)
        assert b"<script" not in page
        assert page.count(b"<a ") == len(HEADINGS) - 1


# -- what persons declare ---------------------------------------------------------------------------------------------

ANSWERS = {key: f"Words for {key}; Wörter, 话语." for key in KEYS} | {"data.dataset_id": "bank/claims"}


def taken_in(**changes: Any) -> TakenIn:
    fields = {"inputs": {"file": sha256(b"file")}, "answers": ANSWERS, "people": {}, **changes}
    return TakenIn(Declared(**fields), "Theo Trainer", "2026-05-01T10:04:00.000+00:00")


def test_one_file_answers_everything_that_no_step_can_record() -> None:
    for name, text in documents(complete(declared=taken_in())).items():
        assert listed(text) == []
        assert gaps(documents(complete())[name]) != []
        assert "0 places" in text


def test_what_the_project_knows_of_its_base_outweighs_what_is_declared() -> None:
    said = taken_in(answers={"model.base_source": "our archive", "model.base_license": "gemma"})
    known = documents(complete(declared=said, base_source="huggingface.co/a/b", base_license="apache-2.0"))[CARD]
    assert "| base model, source | huggingface.co/a/b |\n| base model, licence | apache-2.0 |" in known
    for unknown in ("", "unknown"):
        text = documents(complete(declared=said, base_license=unknown))[CARD]
        assert "| base model, source | *our archive* |\n| base model, licence | *gemma* |" in text
        opened = listed(documents(complete(base_license=unknown))[CARD])
        assert opened[1] == ("the head of this document", "base model, licence", "`model.base_license`")


def test_the_template_and_the_columns_that_were_left_out_are_named() -> None:
    columns = Columns(map={"instruction": "question"}, drop=("long_answer", "notes"))
    source = SourceFile(sha256=sha256(b"rows"), rows=4, columns=columns)
    whole = complete()
    assert whole.scrubbed is not None
    scrubbed = whole.scrubbed.model_copy(update={"sources": {"train": (source,)}})
    written = documents(replace(whole, template="alpaca-zh", scrubbed=scrubbed))
    assert all(
        re.search(r"^\| chat template( · 对话模板)? \| alpaca-zh, by name \|$", text, re.M) for text in written.values()
    )
    assert [name for name, text in written.items() if "| long_answer, notes |" in text.replace("\\", "")] == [
        name for name in written if name.startswith(("data-sheet", "eu-ai-act"))
    ]
    assert "| chat template | the base model's own |" in documents(whole)[CARD]


def test_what_is_open_beside_the_file_is_answered_by_a_command() -> None:
    texts = documents(empty(declared=taken_in(), events=complete().events))
    answers = {answer for text in texts.values() for *_, each in listed(text) for answer in each.split(", ")}
    assert answers == {
        *("`sdk advise`", "`sdk train`", "`sdk evaluate`", "`sdk leaks`", "`sdk register`", "`sdk approve`"),
        *("`sdk benchmark`", "`sdk benchmark safety`"),
        *(f"`sdk {kind.verb}`" for kind in (Review, Scrubbed)),
    }


def test_every_key_is_asked_for_where_its_words_are_printed() -> None:
    filled, opened = documents(complete(declared=taken_in())), documents(complete())
    asked = {name: {answer for *_, answer in listed(text)} for name, text in opened.items()}
    for key in KEYS:
        printed = {name for name, text in filled.items() if f"*{escaped(ANSWERS[key])}*" in text}
        assert printed == {name for name in opened if f"`{key}`" in asked[name]}
        assert printed or key == "data.dataset_id"  # which is for the metadata alone


def test_the_template_is_a_file_of_no_answers_that_names_each_key_and_who_prints_it() -> None:
    assert parse_answers(template(), Path("documents.yaml")) == Declared(answers={}, people={})
    text = template().decode()
    assert "(eu-ai-act-annex-iv, model-card, sr-26-2)\n  intended:\n" in text
    assert max(map(len, text.splitlines())) <= 140


def test_the_example_of_the_docs_is_read() -> None:
    text = (Path(__file__).parents[1] / "docs/documents.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    read = parse_answers(example.encode(), Path("documents.yaml"))
    assert (set(read.answers), set(read.people)) == ({"organization.owner", "uses.intended"}, {"tt1"})
    comments = [line.strip() for line in example.splitlines() if "# " in line]
    assert [line for line in comments if line not in template().decode()] == []


def test_answers_are_the_words_without_what_is_not_said() -> None:
    data = "uses:\n  intended: >-\n    Answers\n    to staff.\n  users:\nrisks:\npeople:\n  tt1: Theo\n  x:\n"
    read = parse_answers(data.encode(), Path("documents.yaml"))
    assert (read.answers, read.people) == ({"uses.intended": "Answers to staff."}, {"tt1": "Theo"})


MANY = [f"line {n + 1}, zzzz{n}: no such key" for n in range(100)]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("uses:\n  intendet: x\n", ["line 2, uses.intendet: no such key; did you mean uses.intended?"]),
        ("usage:\n  users: x\n", ["line 1, usage: no such key; did you mean uses?"]),
        (
            "uses:\n  users: yes\nrisks: none\n\nmodel:\n  licence: MIT\n",
            [
                "line 2, uses.users: an answer is text; put yes, no, numbers and dates into quotes",
                "line 3, risks: its keys belong below it, indented",
                "line 6, model.licence: no such key; did you mean model.license?",
            ],
        ),
        ("uses:\n  users: ''\n", ["line 2, uses.users: String should have at least 1 character"]),
        ("".join(f"zzzz{n}:\n" for n in range(102)), [*MANY, "and 2 more"]),
        ("- uses\n", ["line 1, the file: its keys belong below it, indented"]),
    ],
    ids=["key", "section", "three", "empty", "many", "list"],
)
def test_a_fault_of_the_file_is_named_with_its_line_and_what_was_meant(text: str, faults: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"documents\.yaml is malformed") as caught:
        parse_answers(text.encode(), Path("documents.yaml"))
    assert list(caught.value.faults) == faults


def test_a_changed_file_is_taken_in_once_with_an_event_before_documents_are_written(
    workshop: Workshop, tmp_path: Path
) -> None:
    project = workshop.project("declaring", trainer="Theo Trainer")
    project.scrub()
    file = project.root / "documents.yaml"

    def taken() -> list[tuple[str, str | None]]:
        events = [event for event in project.state().events if event.action == "declare"]
        return [(event.phase, event.objects["file"]) for event in events]

    def card() -> str:
        project.documents(tmp_path, "md")
        return (tmp_path / CARD).read_text(encoding="utf-8")

    assert "`uses.intended`" in card()
    assert file.read_bytes() == template()
    assert taken() == []  # it says nothing
    words = file.read_bytes().replace(b"\n  intended:\n", b"\n  intended: For staff.\n")
    file.write_bytes(words)
    first = card()
    assert "| direct use | *For staff.* |" in first
    assert f"taken in by {account()}, 20" in first
    assert sha256(words) in first
    events = [("started", sha256(words)), ("finished", sha256(words))]
    assert taken() == events
    assert card() == first
    file.write_bytes(words.replace(b"intended", b"intendet"))
    with pytest.raises(InvalidInput, match=r"documents\.yaml is malformed"):
        card()
    assert taken() == events
    file.write_bytes(template())  # taken back
    assert "`uses.intended`" in card()
    assert taken() == [*events, ("started", sha256(template())), ("finished", sha256(template()))]
    file.unlink()
    assert "`uses.intended`" in card()
    assert [note for note in project.verify().notes if "documents" in note] == []
    assert len(taken()) == 4


def test_accounts_of_a_machine_give_way_to_persons_and_are_else_called_accounts() -> None:
    known, unknown = (documents(complete(people=people)) for people in ({"theo": "Theo Trainer"}, {}))
    assert "| Theo Trainer |" in known[ANNEX]
    assert "| account theo |" in unknown[ANNEX]
    signed = package().model_copy(update={"signed_by": "theo"})
    assert "signed by | Theo Trainer, key" in documents(complete(package=signed))[CARD]


# -- metadata ---------------------------------------------------------------------------------------------------------


def test_the_card_is_one_that_hugging_face_reads() -> None:
    scores = made.scores()
    said = taken_in(answers={"model.license": "Apache 2.0", "data.dataset_id": "bank/claims"})
    text = documents(complete(base_name="meta-llama/Llama-3.1-8B", declared=said))[CARD]
    card = ModelCard(text, ignore_metadata_errors=False)
    data = card.data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (
        "meta-llama/Llama-3.1-8B",
        "peft",
        "text-generation",
    )
    assert data.language == ["en", "zh"]
    assert (data.base_model_relation, data.tags) == ("adapter", ["medical", "lora", "qlora-4bit"])
    assert data.metrics == ["exact_match", "f1", "perplexity"]
    assert (data.license, data.datasets) == ("apache-2.0", ["bank/claims"])
    assert data.model_name == "claims"
    results = {(one.dataset_config, one.metric_type): one for one in data.eval_results}
    assert all(isinstance(one, EvalResult) for one in results.values())
    assert set(results) == {(w, m) for w in ("all", "en", "zh") for m in ("exact_match", "f1", "perplexity")}
    for language, found in scores.adapted.items():
        assert results[language, "exact_match"].metric_value == found.exact_match.value
        assert results[language, "perplexity"].metric_value == found.perplexity
    assert {one.dataset_revision for one in results.values()} == {made.scrubbed().data["eval"].sha256}
    assert ModelCard(f"---\n{data.to_yaml()}\n---\n").data.to_dict() == data.to_dict()


@pytest.mark.parametrize(
    ("words", "metadata"),
    [
        ("MIT", {"license": "mit"}),
        ("cc-by-4.0", {"license": "cc-by-4.0"}),
        ("Bank-internal use only.", {"license": "other", "license_name": "bank-internal-use-only"}),
        ("内部", {"license": "other", "license_name": "other"}),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_another_by_name(words: str, metadata: dict[str, str]) -> None:
    said = taken_in(answers={"model.license": words})
    data = ModelCard(documents(complete(declared=said))[CARD], ignore_metadata_errors=False).data.to_dict()
    assert {key: data[key] for key in data if key.startswith("license")} == metadata


def test_metadata_leaves_out_what_is_not_known() -> None:
    data = ModelCard(documents(empty())[CARD], ignore_metadata_errors=False).data.to_dict()
    assert "model-index" not in data
    assert {"license", "datasets"} & data.keys() == set()
    assert "base_model" not in data  # a folder's name is no model id
    assert None not in data.values()


# -- pages and files --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "hr", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("dossier", [complete(), empty(), evil()], ids=["complete", "empty", "evil"])
@pytest.mark.parametrize("name", HEADINGS)
def test_a_page_needs_nothing_from_outside_and_runs_nothing(name: str, dossier: Dossier) -> None:
    text = documents(dossier)[name]
    data = to_html(text, name, HEADINGS)
    page = Page(data)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "section",
            "h1",
            "h2",
            "h3",
            "h4",
            "p",
            "blockquote",
        ),
        *("table", "thead", "tbody", "tr", "th", "td", "code", "pre", "strong", "em", "wbr", "ul", "ol", "li"),
        "a",
    }
    attributes = {key for _, attrs in page.tags for key in attrs}
    assert attributes <= {"lang", "charset", "name", "content", "class", "style", "href"}
    targets = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    assert targets == [f"{each.removesuffix('.md')}.html" for each in HEADINGS if each != name]
    assert not re.search(rb"url\(|@import", data)
    assert data.count(b'<strong class="gap">') == body(text).count("**not recorded (")


def test_html_in_markdown_is_shown_and_links_are_text() -> None:
    page = to_html(
        "# t\n\n<script>x</script> [a](https://b.example) ![c](https://d.example) <https://e.example> [f](x.md)\n",
        "t",
        HEADINGS,
    )
    assert b"&lt;script&gt;x" in page
    assert not re.search(rb"<script|<a |<img|href|src=", page)


def test_the_order_in_which_a_record_was_filled_is_not_seen() -> None:
    """Records that come back from their files have their keys sorted."""

    def backwards(value: Any) -> Any:
        return dict(reversed([(key, backwards(item)) for key, item in value.items()])) if type(value) is dict else value

    dossier = complete()
    other = {
        name: type(record).model_validate(backwards(record.model_dump()))
        for name in (*RECORDS, "policy", "domain")
        if (record := getattr(dossier, name)) is not None
    }
    assert all(record == getattr(dossier, name) for name, record in other.items())
    assert documents(replace(dossier, **other)) == documents(dossier)


def test_same_records_same_bytes_in_another_process() -> None:
    def digest(texts: dict[str, str]) -> str:
        pages = [to_html(text, name) for name, text in texts.items()]
        return hashlib.sha256(b"".join([*(text.encode() for text in texts.values()), *pages])).hexdigest()

    code = (
        "import hashlib; from sdk.documents import documents, to_html; from tests.test_documents import complete\n"
        "texts = documents(complete()); pages = [to_html(text, name) for name, text in texts.items()]\n"
        "print(hashlib.sha256(b''.join([*(text.encode() for text in texts.values()), *pages])).hexdigest())"
    )
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": root, "TZ": "Asia/Shanghai", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(documents(complete()))


@pytest.mark.parametrize(("form", "suffixes"), [("md", {".md"}), ("html", {".html"}), ("both", {".md", ".html"})])
def test_files_are_written_in_the_form_that_is_asked_for(form: Any, suffixes: set[str], tmp_path: Path) -> None:
    paths = write(complete(), tmp_path / "out", form)
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    assert {path.name for path in paths} == {f"{name}{suffix}" for name in TITLES for suffix in suffixes}
    assert write(complete(), tmp_path / "out", form) == paths  # again, over them
    if ".md" in suffixes:
        assert (tmp_path / "out" / CARD).read_text(encoding="utf-8") == documents(complete())[CARD]
    if ".html" in suffixes:
        assert b"<title>Data sheet: claims</title>" in (tmp_path / "out" / "data-sheet.html").read_bytes()
