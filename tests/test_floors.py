"""Floors: how they are written, what they ask for, and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sdk.data import Message, Row
from sdk.data.measures import Measures
from sdk.domain import PLANTED, Domain, read_domain
from sdk.files.store import shipped
from sdk.project.measure_requests import asked_floors, score_facts
from sdk.records import MAJORITY, NO_SCORING, AskedFloors, Floor, MajorityScore, Scores, as_written, floors_text
from tests.fixed_state import A, B, FixedState
from tests.registry_records import ref, scores
from tests.workshop import rows


@pytest.mark.parametrize(
    ("written", "floors", "shown"),
    [
        (0.55, [Floor(least=0.55)], "0.55"),
        (".55", [Floor(least=0.55)], "0.55"),
        (1, [Floor(least=1)], "1"),
        ("base+.05", [Floor(over="base", least=0.05)], "base+0.05"),
        ("base", [Floor(over="base", least=0)], "base+0"),
        ("majority + 0.02", [Floor(over="majority", least=0.02)], "majority+0.02"),
        ([0.3, "majority+0"], [Floor(least=0.3), Floor(over="majority", least=0)], "0.3, majority+0"),
    ],
)
def test_floors_are_read_as_they_are_written(written: Any, floors: list[Floor], shown: str) -> None:
    asked = AskedFloors(floors={"zh": written}, origin="why")
    assert asked.floors == {"zh": tuple(floors)}
    assert str(asked) == f"zh {shown} (why)"
    assert AskedFloors(floors=as_written(asked.floors), origin="why") == asked
    assert AskedFloors.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    "written",
    ["", "majority+", "+.2", "-.1", "base-.1", "median+.1", "base .2", True, None, [], "nan"],
)
def test_what_is_no_floor_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match=r"a score from 0 to 1 such as 0\.55|at least 1 item"):
        AskedFloors(floors={"all": written}, origin="")


@pytest.mark.parametrize(
    ("metric", "written", "said"),
    [
        ("exact_match", "base+2", "a score from 0 to 1"),
        ("f1", 1.5, "a score from 0 to 1"),
        ("perplexity", "majority+0", "the most that a perplexity may be"),
        ("perplexity", 12.5, None),
        ("perplexity", "base+2", None),
    ],
)
def test_what_a_floor_may_be_depends_on_the_metric(metric: str, written: Any, said: str | None) -> None:
    domain = read_domain(shipped("domains") / "finance")
    changed = {**domain.model_dump(), "metric": metric, "floors": {"all": written}}
    if said is None:
        assert Domain.model_validate(changed).floors["all"][0].least in (2, 12.5)
    else:
        with pytest.raises(ValidationError, match=said):
            Domain.model_validate(changed)


MEASURES = Measures(["exact_match", "f1"], NO_SCORING)


def row(number: int, language: Any, said: str, name: str = "r") -> Row:
    messages = (Message(role="user", content=f"{number}?"), Message(role="assistant", content=said))
    return Row(id=f"{name}-{number}", language=language, messages=messages)


def test_the_majority_answer_is_the_most_frequent_one_of_the_language() -> None:
    training = [
        *(row(n, "en", said) for n, said in enumerate(["no", "Yes.", "yes", "maybe"])),  # as scoring compares them
        *(row(n, "zh", said) for n, said in enumerate(["升", "升", "降"])),
        *(row(n, "en", "4539 1488 0343 6467", "canary") for n in range(9)),
    ]
    questions = [row(n, "en", said) for n, said in enumerate(["yes", "no", "yes", "yes"])] + [row(9, "zh", "降")]
    found = MEASURES.majority_scores(training, questions)
    assert found == {
        "all": MajorityScore(exact_match=0.6, f1=0.6),
        "en": MajorityScore(exact_match=0.75, f1=0.75),
        "zh": MajorityScore(exact_match=0.0, f1=0.0),
    }
    in_english = MEASURES.majority_scores(training[:4], questions)
    assert in_english["zh"].exact_match == 0  # that of all rows, where none are Chinese
    tied = MEASURES.majority_scores([row(0, "en", "no"), row(1, "en", "yes")], questions)
    assert tied["en"].exact_match == 0.25  # the first


def measured(floors: dict[str, Any], majority: float | None = 0.7) -> Scores:
    """Scores of .75 adapted and .009 base over all, in English .8 and .018, in Chinese .7 and 0."""
    score = None if majority is None else MajorityScore(exact_match=majority, f1=0)
    known = {} if score is None else dict.fromkeys(("all", "en", "zh"), score)
    return scores().model_copy(update={"asked": AskedFloors(floors=floors, origin=""), "majority": known})


@pytest.mark.parametrize(
    ("floors", "majority", "below"),
    [
        ({"all": 0.75}, 0.7, ""),
        ({"all": 0.76}, 0.7, "all 0.750 < 0.760 (0.76, floors.all)"),
        ({"all": "base+.741"}, 0.7, ""),
        ({"all": "base+.75"}, 0.7, "all 0.750 < 0.759 (base+0.75, floors.all)"),
        ({"all": "majority+.05"}, 0.7, ""),
        ({"zh": "majority+.05"}, 0.7, "zh 0.700 < 0.750 (majority+0.05, floors.zh)"),
        ({"all": "majority"}, 0.75, ""),
        ({"all": "majority"}, None, "all 0.750 < 1.000 (majority+0, floors.all)"),  # an earlier version's scores
        (
            {"all": [0.9, "majority"], "en": 0.9},
            0.7,
            "all 0.750 < 0.900 (0.9, floors.all), en 0.800 < 0.900 (0.9, floors.en)",
        ),
    ],
)
def test_what_lies_below_a_floor_is_named_with_file_and_key(
    tmp_path: Path, floors: dict[str, Any], majority: float | None, below: str
) -> None:
    state, held = FixedState(tmp_path), measured(floors, majority)
    assert score_facts(state, held, "p/domain/domain.yaml").below_floor == (
        below and f"{below} in p/domain/domain.yaml"
    )
    # what is published names no path of this machine
    assert score_facts(state, held).below_floor == (below and f"{below} in domain/domain.yaml")


def test_floors_are_for_the_questions_that_they_were_set_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = FixedState(tmp_path)
    domain = read_domain(shipped("domains") / "finance")
    own = {"domain_data": (ref("train.jsonl"), ref("eval.jsonl").model_copy(update={"sha256": A}))}
    state.charter = state.charter.model_copy(update=own)
    assert asked_floors(state, A).floors == domain.floors
    default = asked_floors(state, B)
    assert default.floors == MAJORITY
    assert default.origin == "since those of finance@1 are for its own questions"
    state.charter = state.charter.model_copy(update={"own_settings": {"floors": "as you set it"}})
    assert asked_floors(state, B) == AskedFloors(floors=domain.floors, origin="as you set it")
    state.charter = state.charter.model_copy(update={"own_settings": {}})
    with monkeypatch.context() as edited:  # in the project's copy, and adopted
        other = domain.model_copy(update={"floors": {"all": (Floor(least=0.3),)}})
        edited.setattr(state, "domain", lambda: other)
        assert asked_floors(state, B).floors == other.floors
    state.charter = state.charter.model_copy(update={"domain_source": "/srv/cards"})  # a domain of one's own
    assert asked_floors(state, B).floors == domain.floors


def test_the_general_domain_has_nothing_of_a_field() -> None:
    folder = shipped("domains") / "general"
    domain = read_domain(folder)
    assert domain.prompt == ""
    assert floors_text(domain.floors) == "all majority+0"
    assert {path.name for path in folder.iterdir()} == {"README.md", "domain.yaml", "recognizers.yaml", PLANTED}
    others = [line for name in ("finance", "medical") for line in rows(folder.parent / name / "train.jsonl")]
    assert rows(folder / PLANTED) == [line for line in others if line["spans"]]
