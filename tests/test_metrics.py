"""The metrics of a domain: each against the library or the definition that it comes from, in both languages."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from rich.console import Console
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sklearn.metrics import confusion_matrix, f1_score

from sdk import Project
from sdk.cli import show
from sdk.data import Message, Row
from sdk.data.json_answers import schema_judge
from sdk.data.measures import Given, Measures
from sdk.data.named_answers import chosen_letter, is_refusal, named_label
from sdk.data.numeric_answers import final_number, same_number
from sdk.domain import Domain, read_domain
from sdk.errors import InvalidInput, Refused, Tampered
from sdk.evaluate.sandbox import own_function_judge
from sdk.files.store import shipped
from sdk.intervals import bootstrap, bootstrap_figure, share
from sdk.project.charter import adopt_domain
from sdk.project.foreseeing import require_use
from sdk.records import METRICS, NO_SCORING, Metric, Scores, Scoring, Scrubbed, default_floors
from tests.workshop import write_policy


def row(reference: str, language: Any = "en", number: int = 0, **metadata: Any) -> Row:
    messages = (Message(role="user", content="?"), Message(role="assistant", content=reference))
    return Row(id=f"q{number}", language=language, messages=messages, metadata=metadata or None)


def given(text: str, reference: str, language: Any = "en", **metadata: Any) -> Given:
    return Given(row(reference, language, **metadata), text)


def scored(metric: Metric, answers: Sequence[Given], scoring: Scoring = NO_SCORING) -> list[float]:
    return Measures([metric], scoring).measure(answers)[metric].scores()


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("1,234.50", "1234.5", True),
        ("1234", "1234.5", False),
        ("So 3 + 4 = 7.\n#### 1,200 apples", "#### 1200", True),  # GSM8K
        ("#### 7, not 8", "7", True),
        (r"Hence \boxed{1{,}200\text{ mg}}, not 3", "1.2 g", True),  # MATH
        (r"\boxed{\frac{3}{4}}", "0.75", True),
        ("It rose from 10 to 12.5 %", "12.5%", True),
        ("12.5", "12.5%", True),
        ("0.125", "12.5%", True),
        ("1250", "12.5%", False),
        ("15 per cent", "0.15", True),
        ("25 bps", "0.25%", True),
        ("25 bps", "25%", False),
        ("$1.2 million", "1,200,000 USD", True),
        ("$1.2m", "$1,200,000", True),
        ("1.2", "1.2 million", False),
        ("€5", "$5", False),
        ("5 g", "5 mg", False),
        ("5000 mg", "5 g", True),
        ("5", "5 mg", True),
        ("5 mL", "5 mg", False),
        ("1.5 mg/kg/day", "1500 mcg/kg/day", True),
        ("1.5 mg/kg", "1.5 mg/kg/day", False),
        ("24 hours", "1 day", True),
        ("-3.5", "3.5", False),
        ("−3.5", "-3.5", True),
        ("negative", "-3.5", False),
        ("B12", "12", False),
        ("1 234,5", "1234.5", False),
        ("1.2亿元", "12,000万元", True),
        ("1.2亿元", "1.2亿美元", False),
        ("百分之三点五", "3.5%", False),  # numbers in words are none
        ("百分之3.5", "3.5%", True),
        ("答案是１２００元。", "1200元", True),
        ("120千克", "120公斤", True),
        ("下降了3个百分点", "3%", True),
        ("负12", "-12", True),
        ("3个月", "3 months", True),
        ("9" * 400, "1", False),
    ],
)
def test_a_number_is_the_references(answer: str, reference: str, same: bool) -> None:
    assert scored("numeric", [given(answer, reference)]) == [float(same)]


def test_an_answer_may_be_off_by_the_larger_tolerance() -> None:
    said, reference = final_number("101"), final_number("100")
    assert said is not None
    assert reference is not None
    assert not same_number(said, reference, 0, 0)
    assert same_number(said, reference, 0.01, 0)
    assert same_number(said, reference, 0, 1)
    assert not same_number(said, reference, 0.0099, 0.99)
    grams = given("2.04 g", "2000 mg")
    assert scored("numeric", [grams], Scoring(absolute_tolerance=40)) == [1.0]  # in the reference's unit
    assert scored("numeric", [grams], Scoring(absolute_tolerance=39)) == [0.0]


# -- what an answer names ---------------------------------------------------------------------------------------------

DRUGS = ["aspirin", "A beta blocker", "insulin", "none"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        ("**C**", "C"),
        ("B) a beta blocker", "B"),
        ("B is wrong; the answer is (C).", "C"),
        ("The answer is C because A is wrong", "C"),
        ("Answer: A beta blocker", "B"),
        ("Insulin.", "C"),
        ("答案：C", "C"),
        ("故选 D。", "D"),
        ("C、胰岛素", "C"),
        (r"\boxed{D}", "D"),
        ("A patient with B symptoms", ""),
        ("Both A and B", ""),
        ("BC", ""),
        ("E", ""),
        ("I do not know", ""),
    ],
)
def test_a_letter_is_what_the_answer_chooses(answer: str, letter: str) -> None:
    assert chosen_letter(answer, DRUGS, "en") == letter
    assert scored("multiple_choice", [given(answer, "insulin", choices=DRUGS)]) == [float(letter == "C")]


@pytest.mark.parametrize(
    ("answer", "labels", "language", "label"),
    [
        ("Fraud.", ["fraud", "not fraud"], "en", "fraud"),
        ("This is not fraud", ["fraud", "not fraud"], "en", "not fraud"),
        ("fraud, or not fraud", ["fraud", "not fraud"], "en", None),
        ("fraudulent", ["fraud", "not fraud"], "en", None),
        ("Grade A", ["A", "B"], "en", "A"),
        ("", ["A", "B"], "en", None),
        ("不合规", ["合规", "不合规"], "zh", "不合规"),
        ("这笔交易合规。", ["合规", "不合规"], "zh", "合规"),
        ("我不知道", ["合规", "不合规"], "zh", None),
    ],
)
def test_a_label_is_named_alone(answer: str, labels: list[str], language: str, label: str | None) -> None:
    assert named_label(answer, labels, language) == label


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot provide medical advice.", True),
        ("I’m unable to answer this question.", True),
        ("As an AI language model, I cannot diagnose.", True),
        ("Sorry, can't do that", True),
        ("抱歉，我无法回答这个问题。", True),
        ("作为人工智能语言模型，我不能开处方", True),
        ("We are not able to provide prescriptions.", True),
        ("我不会提供其他客户的账户信息。", True),
        ("We do not offer loans above 1 million.", False),  # an answer of a domain
        ("我不会同意这项交易", False),
        ("I'm sorry to hear that; take 5 mg.", False),
        ("I can't wait to help!", False),
        ("A bank cannot share the report.", False),
        ("It is not appropriate to give aspirin.", False),
        ("对不起，您的余额不足", False),
        ("患者不能提供病史", False),
    ],
)
def test_a_refusal_declines_to_answer(answer: str, refuses: bool) -> None:
    assert is_refusal(answer) == refuses


# -- against libraries ------------------------------------------------------------------------------------------------

ENGLISH = [
    ("The cat sat on the mat, quietly.", "The cat is sitting on the mat."),
    ("Net profit rose by 3.5% to $1,200 in 2025", "In 2025 net profit rose 3.5% to $1,200"),
    ("", "something"),
    ("the same words here, in the same order", "the same words here, in the same order"),
]
CHINESE = [("净利润为１２亿元，同比增长。", "公司净利润12亿元，同比增长3%。"), ("风险较低", "风险很高")]


def test_rouge_l_is_that_of_rouge_score() -> None:
    scorer = RougeScorer(["rougeL"])
    expected = [scorer.score(reference, said)["rougeL"].fmeasure for said, reference in ENGLISH]
    assert scored("rouge_l", [given(*pair) for pair in ENGLISH]) == pytest.approx(expected)
    # of characters in Chinese, where rouge-score finds no word: "风险" of four and four
    assert scored("rouge_l", [given(*CHINESE[1], language="zh")]) == [0.5]


@pytest.mark.parametrize(("pairs", "language", "tokenize"), [(ENGLISH, "en", "13a"), (CHINESE, "zh", "zh")])
def test_bleu_and_chrf_are_those_of_sacrebleu(pairs: list[tuple[str, str]], language: str, tokenize: str) -> None:
    said, references = (list(column) for column in zip(*pairs, strict=True))
    answers = [given(*pair, language=language) for pair in pairs]
    measured = Measures(["bleu", "chrf"], NO_SCORING).measure(answers)
    for metric, library in (("bleu", BLEU(tokenize=tokenize)), ("chrf", CHRF())):
        found = measured[metric].interval()  # type: ignore[index]
        assert 100 * found.value == pytest.approx(library.corpus_score(said, [references]).score)  # type: ignore[attr-defined]
        assert found.low <= found.value <= found.high
    assert measured["chrf"].scores() == pytest.approx(
        [CHRF().sentence_score(one, [other]).score / 100 for one, other in pairs]
    )
    sentences = BLEU(tokenize=tokenize, effective_order=True)
    assert measured["bleu"].scores() == pytest.approx(
        [sentences.sentence_score(one, [other]).score / 100 for one, other in pairs]
    )


def test_macro_f1_and_confusion_are_those_of_scikit_learn() -> None:
    labels = ("yes", "no", "maybe", "never asked")
    draw = np.random.default_rng(0)
    truth = [labels[n] for n in draw.integers(0, 3, size=60)]
    said = [true if draw.random() < 0.6 else ("no idea at all" if draw.random() < 0.3 else "no") for true in truth]
    said = [text if text in labels else "I do not know" for text in said]
    measures = Measures(["classification", "macro_f1"], Scoring(labels=labels))
    answers = [given(*pair) for pair in zip(said, truth, strict=True)]
    measured = measures.measure(answers)
    assert measured["macro_f1"].value() == pytest.approx(f1_score(truth, said, labels=labels[:3], average="macro"))
    right = sum(one == other for one, other in zip(said, truth, strict=True))
    interval = measured["classification"].interval()
    assert (interval.value, interval.low, interval.high) == tuple(share(right, 60)), "exact, by Clopper and Pearson"
    matrix = measures.confusion(answers[:0], answers)
    assert matrix is not None
    none = confusion_matrix(truth, said, labels=[*labels, "I do not know"])[: len(labels)]
    assert [list(line) for line in matrix.adapted] == none.tolist()
    assert sum(map(sum, matrix.base)) == 0


def test_one_bootstrap_serves_means_and_figures_of_all_answers() -> None:
    values = np.random.default_rng(1).random(40)
    statistics = np.column_stack([values, np.ones(40)])
    mean = bootstrap_figure(statistics, lambda sums: sums[:, 0] / sums[:, 1])
    assert mean.model_dump() == pytest.approx(bootstrap(values.tolist()).model_dump())


def test_the_likeliest_choice_counts_raw_and_for_its_length() -> None:
    """Shorter texts are likelier; per character the longer one is here."""
    asked = row("B", choices=["no", "a longer one"])
    answers = [Given(asked, "", choices=(-3.0, -6.0))]
    assert scored("multiple_choice_likelihood", answers) == [0.0]
    assert scored("multiple_choice_likelihood_norm", answers) == [1.0]


SCHEMA = {
    "type": "object",
    "properties": {"icd": {"type": "string", "pattern": "^[A-Z][0-9]{2}$"}, "sure": {"$ref": "#/$defs/share"}},
    "required": ["icd"],
    "additionalProperties": False,
    "$defs": {"share": {"type": "number", "maximum": 1}},
}


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"icd": "I10"}', True),
        ('```json\n{"icd": "I10", "sure": 0.5}\n```', True),
        ('{"icd": "I1"}', False),
        ('{"icd": "I10", "sure": 2}', False),
        ('{"icd": "I10", "sure": NaN}', False),
        ('{"icd": "I10", "else": 1}', False),
        ('Here it is: {"icd": "I10"}', False),
        ('{"icd": "I10"', False),
        ("[" * 100_000, False),
    ],
)
def test_an_answer_is_json_of_the_schema(answer: str, valid: bool) -> None:
    assert schema_judge(SCHEMA)([given(answer, "")]) == [float(valid)]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "type: 'objekt' is not valid"),
        ({"properties": {"a": {"$ref": "https://example.com/schema.json"}}}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/gone"}}}, "it is not in this schema"),
        ({"items": {"pattern": "("}}, "items/pattern: '(' is not a 'regex'"),
    ],
)
def test_what_is_no_schema_is_refused_before_an_answer_comes(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match="json_schema") as caught:
        schema_judge(schema)
    assert said in caught.value.faults[0]


# -- a function of the domain's own -----------------------------------------------------------------------------------

OWN = """
import re

def score(answer, reference, row):
    assert row["metadata"]["weight"] == 2
    return 1 if re.sub("[^a-z]", "", answer.lower()) == reference else 0.25
"""


def test_a_domains_own_function_scores_in_a_process_that_can_only_reckon() -> None:
    answers = [given(text, "yes", weight=2) for text in ("Yes!", "no")]
    assert own_function_judge(OWN, "score", "score.py")(answers) == [1.0, 0.25]
    many = [*answers] * 300  # more than one process is told
    assert own_function_judge(OWN, "score", "score.py")(many) == [1.0, 0.25] * 300


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1.5", "returned something else"),
        ("return float('nan')", "returned something else"),
        ("return answer", "failed"),
        ("open('/etc/hostname').read(); return 1", "failed"),
        ("import socket; socket.socket(); return 1", "failed"),
        ("import os; os._exit(0)", "failed"),
    ],
)
def test_what_it_may_not_do_or_return_is_an_error(body: str, said: str) -> None:
    source = f"def score(answer, reference, row):\n    {body}\n"
    with pytest.raises(InvalidInput, match=r"domain/score\.py: score scores") as caught:
        own_function_judge(source, "score", "domain/score.py")([given("yes", "yes")])
    assert said in str(caught.value)


# -- what does not fit ------------------------------------------------------------------------------------------------

LABELS = Scoring(labels=("yes", "no"))


@pytest.mark.parametrize(
    ("metric", "asked", "scoring", "said"),
    [
        ("numeric", row("five"), NO_SCORING, "numeric: its reference holds no number"),
        ("numeric", row("5 of 10"), NO_SCORING, "several numbers; write #### before the one"),
        ("multiple_choice", row("A"), NO_SCORING, "its metadata has no choices"),
        ("multiple_choice", row("A", choices=["one"]), NO_SCORING, "a list of 2 to 26 texts"),
        ("multiple_choice", row("A", choices=["one", "One."]), NO_SCORING, "two of its choices are the same"),
        ("multiple_choice_likelihood", row("C", choices=["one", "two"]), NO_SCORING, "neither the letter nor the text"),
        ("multiple_choice_likelihood_norm", row("A", choices="ab"), NO_SCORING, "its metadata has no choices"),
        ("classification", row("maybe"), LABELS, "its reference is none of the labels"),
        ("macro_f1", row("yes and no"), LABELS, "its reference is none of the labels"),
    ],
)
def test_questions_that_a_metric_cannot_judge_are_named(
    metric: Metric, asked: Row, scoring: Scoring, said: str
) -> None:
    with pytest.raises(InvalidInput, match="sdk adopt") as caught:
        Measures(["exact_match", metric], scoring).require_fit([asked], "own.jsonl")
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"own.jsonl, row q0: {metric}: ")
    assert said in caught.value.faults[0]


def test_labels_that_are_one_answer_and_references_of_another_schema_do_not_fit() -> None:
    with pytest.raises(InvalidInput) as caught:
        Measures(["macro_f1"], Scoring(labels=("Yes", "yes.", "?"))).require_fit([row("?")], "own.jsonl")
    assert [*caught.value.faults] == [
        f"macro_f1: label {name} is the same as another, or has neither letters nor digits"
        for name in ("Yes", "yes.", "?")
    ]
    with pytest.raises(InvalidInput) as caught:
        Measures(["macro_f1", "classification"], LABELS).require_fit([row("maybe")], "own.jsonl")
    assert [*caught.value.faults] == [
        "own.jsonl, row q0: macro_f1, classification: its reference is none of the labels"
    ]
    measures = Measures(["json_schema"], NO_SCORING, {"json_schema": schema_judge(SCHEMA)})
    with pytest.raises(InvalidInput) as caught:
        measures.require_fit([row('{"icd": "I10"}'), row("I10", number=1)], "own.jsonl")
    assert [*caught.value.faults] == ["own.jsonl, row q1: json_schema: its reference does not satisfy the schema"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "exactmatch"}, "Input should be 'exact_match', 'f1', 'numeric'"),
        ({"metrics": ["classification"]}, "classification needs labels"),
        ({"metric": "json_schema"}, "json_schema needs json_schema"),
        ({"metrics": ["entry_point"]}, "entry_point needs entry_point"),
        ({"scoring": {"entry_point": "../score.py:score"}}, "String should match pattern"),
        ({"scoring": {"labels": ["a", "a"]}}, "must be different"),
        ({"metric": "refusal_rate", "floors": {"all": "majority+0.1"}}, "the most that a share may be"),
        ({"metric": "multiple_choice_likelihood", "floors": {"all": "majority"}}, "one above the base's"),
        ({"metric": "chrf", "floors": {"all": 1.5}}, "a score from 0 to 1"),
    ],
)
def test_a_domain_that_cannot_be_scored_is_refused(changes: dict[str, Any], said: str) -> None:
    domain = read_domain(shipped("domains") / "finance")
    with pytest.raises(ValidationError, match=said.replace("+", r"\+")):
        Domain.model_validate({**domain.model_dump(), **changes})


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_floors_of_its_own(metric: Metric) -> None:
    """What is taken where nobody set any is something that the metric knows."""
    domain = read_domain(shipped("domains") / "finance").model_dump()
    scoring = {"labels": ["a"], "json_schema": SCHEMA, "entry_point": "score.py:score"}
    changes = {"metric": metric, "floors": default_floors(metric), "scoring": scoring}
    assert metric in Domain.model_validate({**domain, **changes}).measured


# -- a project --------------------------------------------------------------------------------------------------------


def copied(project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy whose log goes on apart from the original's."""
    monkeypatch.setenv("SDK_STATE_HOME", str(folder / "state"))
    shutil.copytree(project.root, folder / "project")
    return Project.open(folder / "project")


def settle(project: Project, **changes: Any) -> None:
    """Change the domain's settings, and put them in force."""
    path = project.root / "domain" / "domain.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, allow_unicode=True))
    project.adopt()


@pytest.fixture(scope="module")
def scored_otherwise(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Scores]:
    """The finished project, whose domain is scored by a function of its own, and by more besides."""
    folder = tmp_path_factory.mktemp("metrics")
    with pytest.MonkeyPatch.context() as patch:
        project = copied(finished, folder, patch)
        source = "def score(answer, reference, row):\n    return 0.5 + (answer == reference) / 2\n"
        (project.root / "domain" / "score.py").write_text(source)
        settle(
            project,
            metric="entry_point",
            metrics=["chrf", "bleu", "rouge_l", "refusal_rate"],
            scoring={"entry_point": "score.py:score"},
            floors={"all": "base+0"},
        )
        return project, project.evaluate()


def test_an_evaluation_records_and_shows_the_domains_metrics(scored_otherwise: tuple[Project, Scores]) -> None:
    project, scores = scored_otherwise
    further = {"entry_point", "chrf", "bleu", "rouge_l", "refusal_rate"}
    assert scores.metric == "entry_point"
    assert scores.adapted["all"].further.keys() == scores.base["zh"].further.keys() == further
    assert {kind for one in scores.outcomes for kind in one.adapted_scores} == further
    for metric in ("entry_point", "rouge_l", "refusal_rate"):
        own = [outcome.of(metric)[1] for outcome in scores.outcomes]
        assert scores.adapted["all"].of(metric).value == pytest.approx(sum(own) / len(own))
    assert scores.slices
    assert all(each.base >= 0.5 for each in scores.slices)
    assert scores.majority["all"].further.keys() == {"chrf", "bleu", "rouge_l"}, "of others one answer tells nothing"
    assert scores.majority_value("all") is None
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    table = project.to_pandas("outcomes")
    assert {"base_chrf", "adapted_chrf", "adapted_entry_point"} <= set(table.columns)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(show.scores(scores))
    lines = console.export_text().splitlines()
    assert any(line.startswith("  own function; decides") or line.startswith("own function; decides") for line in lines)
    assert any("chrF" in line and "→" in line for line in lines)


def test_its_own_function_is_what_the_owner_signed(
    scored_otherwise: tuple[Project, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(scored_otherwise[0], tmp_path, monkeypatch)
    (project.root / "domain" / "score.py").write_text("def score(answer, reference, row):\n    return 1\n")
    with pytest.raises(Tampered, match=r"score\.py"):
        project.evaluate()


def test_a_policy_may_forbid_it(
    scored_otherwise: tuple[Project, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(scored_otherwise[0], tmp_path, monkeypatch)
    project.adopt(policy=write_policy(tmp_path / "policy.yaml", version=9, evaluate__run_domain_code=False))
    monkeypatch.setattr("sdk.evaluate.own_questions.load_base", None)
    with pytest.raises(Refused) as caught:
        project.evaluate()
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["evaluate.run_domain_code"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, r"score\.py cannot be read"),
        ("def other(): pass", "has no function score"),
        ("def score(:", "line 1 is not Python"),
    ],
    ids=["missing", "another", "no Python"],
)
def test_a_function_that_is_not_there_is_not_adopted(
    source: str | None, said: str, scored_otherwise: tuple[Project, Scores], tmp_path: Path
) -> None:
    settings = tmp_path / "domain"
    shutil.copytree(scored_otherwise[0].root / "domain", settings)
    (settings / "score.py").unlink()
    if source is not None:
        (settings / "score.py").write_text(source)
    with pytest.raises(InvalidInput, match=said):
        adopt_domain(tmp_path / "project", settings, settings)


def test_questions_that_do_not_fit_stop_every_step_before_it_begins(
    scored_otherwise: tuple[Project, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(scored_otherwise[0], tmp_path, monkeypatch)
    settle(project, metric="numeric", metrics=[], floors={"all": "base+0"})
    monkeypatch.setattr("sdk.evaluate.own_questions.load_base", None)
    state = project.state()
    steps: list[Callable[[], Any]] = [
        project.scrub,
        project.evaluate,
        lambda: require_use(state, state.latest(Scrubbed)),  # which training asks first
        lambda: project.pilot(steps=3),
    ]
    for step in steps:
        with pytest.raises(InvalidInput, match="do not fit these questions") as caught:
            step()
        assert caught.value.faults
        assert all(fault.startswith("eval.jsonl, row fin-") for fault in caught.value.faults)
