"""Scores of some of the questions: how they are grouped, scored and judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from sdk.data import Message, Row
from sdk.data.measures import Measured, ratio
from sdk.data.slices import LEAST_QUESTIONS, group_questions, score_slices
from sdk.domain import Domain
from sdk.errors import InvalidInput
from sdk.files.store import shipped
from sdk.project.measure_requests import score_facts
from sdk.records import AskedFloors, Interval, Metric, Metrics, Outcome, Scores, floors_text
from tests.fixed_state import FixedState


def row(number: int, language: str = "en", topic: str | None = None, **metadata: Any) -> Row:
    asked = Message(role="user", content="x" * (10 + number))
    return Row(
        id=f"q{number}",
        language=language,
        messages=(asked, Message(role="assistant", content="yes")),
        topic=topic,
        metadata=metadata or None,
    )


def measured(values: Sequence[float], metric: Metric = "exact_match") -> Measured:
    return Measured(metric, np.array([(float(value), 1.0) for value in values]), ratio)


def scores(adapted: list[bool], metric: str = "exact_match") -> Scores:
    certain = Interval(value=0.5, low=0.4, high=0.6)
    metrics = {"all": Metrics(questions=len(adapted), exact_match=certain, f1=certain, perplexity=2.0)}
    outcomes = [
        Outcome(row=f"q{n}", language="en", base_exact=False, adapted_exact=one, base_f1=0.5, adapted_f1=0.5 + one / 4)
        for n, one in enumerate(adapted)
    ]
    return Scores(
        inputs={},
        metric=metric,
        base=metrics,
        adapted=metrics,
        outcomes=tuple(outcomes),
        tokens_per_second=1,
        seconds=1,
    )


def test_questions_are_grouped_by_language_topic_length_and_declared_fields() -> None:
    rows = [row(n, "en" if n < 18 else "zh", "risk" if n % 2 else None, ward=n % 2) for n in range(30)]
    groups = group_questions(rows, ["topic", "length", "ward"])
    sizes = {key: len(places) for key, places in groups.items()}
    assert sizes == {
        ("language", "en"): 18,
        ("language", "zh"): 12,
        ("topic", "risk"): 15,
        ("topic", "not given"): 15,
        ("length", "under 20 characters"): 10,
        ("length", "20 to 29 characters"): 10,
        ("length", "30 characters or more"): 10,
        ("ward", "0"): 15,
        ("ward", "1"): 15,
    }
    assert groups["language", "zh"] == list(range(18, 30))
    assert group_questions(rows[: LEAST_QUESTIONS - 1], ["topic", "length"]) == {}
    # all together are no group, and a topic that is a text of its own groups nothing
    alike = [row(n, topic=f"{'long ' * 20}{n}") for n in range(20)]
    assert {by for by, _ in group_questions(alike, ["topic"])} == set()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [({}, "no question has the metadata field ward"), ({"ward": ["a"]}, "ward does not group")],
)
def test_a_field_that_does_not_group_is_named(metadata: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match="slices") as caught:
        group_questions([row(n, **metadata) for n in range(20)], ["ward"])
    assert said in caught.value.faults[0]
    distinct = [row(n, ward=n) for n in range(51)]
    with pytest.raises(InvalidInput) as caught:
        group_questions(distinct, ["ward"])
    assert "more than 50 values" in caught.value.faults[0]


def test_the_lowest_slice_comes_first_and_is_what_a_policy_judges(tmp_path: Path) -> None:
    rows = [row(n, topic="risk" if n < 20 else "loans") for n in range(40)]
    groups = group_questions(rows, ["topic"])
    right = [n >= 15 for n in range(40)]
    found = score_slices(groups, measured([False] * 40), measured(right))
    assert [(each.value, each.questions, each.adapted.value) for each in found] == [
        ("risk", 20, 0.25),
        ("loans", 20, 1.0),
    ]
    assert found[0].change.value == 0.25
    assert found[0].base == 0
    assert found[0].adapted.low < 0.25 < found[0].adapted.high
    by_f1 = score_slices(groups, measured([0.5] * 40, "f1"), measured([0.5 + one / 4 for one in right], "f1"))
    assert by_f1[0].adapted.value == 0.5 + 0.25 / 4
    refused = score_slices(groups, measured(right, "refusal_rate"), measured(right, "refusal_rate"))
    assert [each.value for each in refused] == ["loans", "risk"], "of what should be low the highest is the worst"
    judged = scores([True] * 40).model_copy(update={"slices": found})

    def below(*floors: str) -> str:
        asked = AskedFloors(floors={"slices": list(floors)}, origin="")
        return score_facts(FixedState(tmp_path), judged.model_copy(update={"asked": asked})).below_floor

    assert below("0.3", "base+0.3") == (
        "topic risk 0.250 < 0.300 (0.3, floors.slices), topic risk 0.250 < 0.300 (base+0.3, floors.slices) in "
        "domain/domain.yaml"
    )
    assert below("0.25", "base+0.25") == ""


def test_a_domain_may_set_a_floor_for_every_slice_but_none_that_is_not_known_of_it() -> None:
    document = yaml.safe_load((shipped("domains") / "finance" / "domain.yaml").read_text())
    domain = Domain.model_validate(document | {"slices": ["ward"], "floors": {"slices": "base+0.1"}})
    assert floors_text(domain.floors) == "slices base+0.1"
    with pytest.raises(ValidationError, match="of slices must be"):
        Domain.model_validate(document | {"floors": {"slices": "majority"}})
