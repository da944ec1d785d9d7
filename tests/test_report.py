"""The report is one file that needs nothing from outside, says what the records say, and nothing that could run."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sdk.policy import Demand
from sdk.records import Advice, Confusion, Interval, Leaks, MajorityScore, Metric, Metrics, Outcome, Scores
from sdk.registry import Adaptation
from sdk.registry.entry import values
from sdk.registry.model_report import render
from sdk.registry.plots import draw
from tests.registry_records import adaptation, run
from tests.test_records import LEAKAGE

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img"}
EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether the tags are balanced."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    return adaptation(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def plots(made: Adaptation) -> dict[str, bytes]:
    return draw(made)


def test_nothing_from_outside(made: Adaptation, plots: dict[str, bytes]) -> None:
    data = render(made, plots)
    page = Page(data)
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form", "a", "base", "video"} == set()
    attributes = [(name, value or "") for _, attrs in page.tags for name, value in attrs.items()]
    assert [name for name, _ in attributes if name.startswith("on") or name == "href"] == []
    sources = [value for name, value in attributes if name == "src"]
    assert [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in sources] == [
        plots[name] for name in ("scores", "loss", "personal_data", "memory")
    ]
    assert not re.search(rb"https?:|url\(|@import", data)
    assert len(data) < 1_000_000


def test_what_it_says(made: Adaptation, plots: dict[str, bytes]) -> None:
    text = Page(render(made, plots)).text
    expected = [
        "0.01 → 0.75",
        "0.700 (0.620 to 0.770)",
        "222 of 225",
        "CN_RESIDENT_ID",
        "qlora-4bit",
        "0.58 GiB",
        "4-bit fits <5 GiB & leaves room",
        "8-bit was left out: more memory than 4-bit.",
        made.package.package,
        made.run.digest,
        made.scrubbed.data["train"].sha256,
        "finance@1",
        "fin-zh-0110",
        "83 gained, 0 lost",
    ]
    assert [piece for piece in expected if piece not in text] == []


def test_it_says_what_the_policy_asks_and_what_it_does_not_show(made: Adaptation, plots: dict[str, bytes]) -> None:
    kept = made.scrubbed.model_copy(
        update={"actions": {"placeholder": 191, "keep": 31}, "planted_in": {"measured": 225}}
    )
    demands = tuple(
        Demand(rule=f"leaks.max_{name}", meaning=f"the {name}", asks="0.7", found=f"{name}: 0.9", met=met)
        for name, met in (("auc", False), ("tpr", True))
    )
    asked = replace(made, scrubbed=kept, sealed="2026-11-26T09:00:00+00:00", demands=demands)
    text = " ".join(Page(render(asked, plots)).text.split())
    for expected in (
        "sealed on 2026-11-26 by Trainer | <T>",
        "1 of 2 are met",
        "the auc leaks.max_auc 0.7 auc: 0.9 no the tpr leaks.max_tpr 0.7 tpr: 0.9 yes",
        "222 findings of personal data: 191 replaced by placeholders, 31 kept by policy; 171 rows changed",
        "31 findings still stand in the rows",
        "not on the training rows",
        "No rows were held out",
        "sdk explain",
        'load_release("models:/claims@champion")',
        "here from 5.64 to 0.50 in 60 steps",
        "Over all 112 questions 0.01 became 0.75; the intervals lie apart, so the gain is no chance.",
        "Measured was 5% below the prediction.",
    ):
        assert expected in text, expected
    assert "removed" not in text


def test_an_exposure_says_what_it_is_out_of(made: Adaptation) -> None:
    leaks = Leaks(
        adapted=LEAKAGE.model_copy(update={"candidates": 64}),
        control=LEAKAGE,
        passes=3,
        control_passes=3,
        control_steps=5,
        seconds=1,
    )
    checked = replace(made, leaks=leaks)
    text = Page(render(checked, draw(checked))).text
    assert "highest exposure, bits of 6.0" in text
    assert "at most 6.0 bits: log2 of the 64 values" in text


def test_every_question_is_a_row(made: Adaptation, plots: dict[str, bytes]) -> None:
    outcome = Outcome(row="only-1", language="zh", base_exact=True, adapted_exact=False, base_f1=1, adapted_f1=0.25)
    one = replace(made, scores=made.scores.model_copy(update={"outcomes": (outcome,)}))
    text = Page(render(one, plots)).text.split()
    assert " ".join(text[text.index("only-1") :]) == "only-1 zh yes no 1.00 0.25"
    assert render(made, plots).count(b"<code>fin-") == len(made.scores.outcomes)


def test_a_reason_is_not_shown_for_another_value(made: Adaptation, plots: dict[str, bytes]) -> None:
    settings = made.run.settings.model_copy(update={"lora_r": 64})
    by_hand = replace(made, run=made.run.model_copy(update={"settings": settings}))
    text = Page(render(by_hand, plots)).text
    assert "the domain's starting rank" not in text
    assert "set by hand" in text


def test_everything_is_escaped(made: Adaptation) -> None:
    evil = replace(
        made,
        project=EVIL,
        domain=EVIL,
        policy=EVIL,
        advice=Advice.model_validate({**dict(made.advice), "reasons": {"method": EVIL}, "notes": (EVIL,)}),
        run=made.run.model_copy(update={"base": EVIL, "versions": {EVIL: EVIL}}),
        scrubbed=made.scrubbed.model_copy(update={"counts": {EVIL: 3}, "actions": {EVIL: 3}}),
        package=made.package.model_copy(update={"signed_by": EVIL}),
        scores=made.scores.model_copy(
            update={
                "base": {"all": made.scores.base["all"], EVIL: made.scores.base["en"]},
                "adapted": {"all": made.scores.adapted["all"], EVIL: made.scores.adapted["en"]},
                "outcomes": (made.scores.outcomes[0].model_copy(update={"row": EVIL, "language": EVIL}),),
            }
        ),
    )
    data = render(evil, draw(evil))
    assert b"<script" not in data
    assert Page(data).text.count(EVIL) >= 10


def test_same_records_same_bytes(made: Adaptation, plots: dict[str, bytes]) -> None:
    assert draw(made) == plots
    assert all(image.startswith(PNG) for image in plots.values())
    other = replace(made, run=run(steps=30))
    assert {name for name, image in draw(other).items() if image != plots[name]} == {"loss"}


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {}, "recall_by_kind": {}, "actions": {}},
        {"counts": {f"KIND_NUMBER_{n}": n for n in range(45)}},
    ],
)
def test_no_kinds_and_many(made: Adaptation, change: dict[str, object], tmp_path: Path) -> None:
    other = replace(made, scrubbed=made.scrubbed.model_copy(update=change))
    data = render(other, draw(other))
    assert Page(data).open == []
    assert (b"KIND_NUMBER_44" in data) == bool(change["counts"])


def by_label(scores: Scores) -> Scores:
    """Scores of a domain of labels, whose macro F1 decides."""
    interval = Interval(value=0.5, low=0.4, high=0.6)
    further: dict[Metric, Interval] = {"classification": interval, "macro_f1": interval}

    def more(found: dict[str, Metrics]) -> dict[str, Metrics]:
        return {name: one.model_copy(update={"further": further}) for name, one in found.items()}

    outcomes = tuple(
        one.model_copy(
            update={
                "base_scores": {"classification": 0.0, "macro_f1": 0.0},
                "adapted_scores": {"classification": float(n % 2), "macro_f1": float(n % 2)},
            }
        )
        for n, one in enumerate(scores.outcomes)
    )
    confusion = Confusion(labels=("yes", EVIL), base=((0, 3, 53), (0, 0, 56)), adapted=((40, 9, 7), (2, 54, 0)))
    constant = MajorityScore(exact_match=0.1, f1=0.1, further={"classification": 0.5, "macro_f1": 1 / 3})
    changes = {"metric": "macro_f1", "outcomes": outcomes, "confusion": confusion}
    languages = dict.fromkeys(scores.adapted, constant)
    return scores.model_copy(
        update={**changes, "base": more(scores.base), "adapted": more(scores.adapted), "majority": languages}
    )


def test_a_domains_other_metrics_and_labels_are_shown(made: Adaptation) -> None:
    other = replace(made, scores=by_label(made.scores))
    data = render(other, draw(other))
    text = " ".join(Page(data).text.split())
    assert "macro F1, base → adapted; the majority answer 0.33" in text
    assert "language model questions exact match token F1 right label macro F1 perplexity" in text
    assert "Macro F1 decides." in text
    assert "yes 40 9 7" in text
    assert EVIL.encode() not in data
    assert "56 gained, 0 lost by the adaptation (macro F1)" in text
    told = values(other)
    assert told["adapted/macro_f1.all"] == 0.5
    assert told["adapted/macro_f1_low.zh"] == 0.4
    assert told["majority/macro_f1.en"] == pytest.approx(1 / 3)
