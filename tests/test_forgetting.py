"""What a model has forgotten: the tests that tell it hold their level, and a policy refuses what is not shown."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from sdk.errors import Refused
from sdk.non_inferiority import ERROR, POWER, held_against, paired_change, questions_needed, right_or_wrong
from sdk.policy import require
from sdk.project.sealing import retention_facts
from sdk.records import DECIDING, BenchmarkResult, Interval, MetricScores, Overlap, QuestionScores
from tests.test_policy import turned

P_VALUES = cache(right_or_wrong)


def outcomes(lost: int, gained: int, both: int, neither: int = 0) -> tuple[list[float], list[float]]:
    """Scores of base and adapted model with so many questions of each kind."""
    base = [1.0] * lost + [0.0] * gained + [1.0] * both + [0.0] * neither
    return base, [0.0] * lost + [1.0] * gained + [1.0] * both + [0.0] * neither


def result(lost: int, gained: int, both: int, metric: str = "acc") -> BenchmarkResult:
    base, adapted = outcomes(lost, gained, both)
    some = Interval(value=0.5, low=0.4, high=0.6)
    return BenchmarkResult(
        sha256="0" * 64,
        version="1",
        num_fewshot=0,
        metrics=("other", metric),
        scores={metric: {"all": MetricScores(questions=len(base), base=some, adapted=some)}},
        outcomes=tuple(
            QuestionScores(question=str(place), base=(1.0, one), adapted=(0.0, other))
            for place, (one, other) in enumerate(zip(base, adapted, strict=True))
        ),
        overlap=Overlap(questions=len(base), near_duplicates=()),
    )


# -- right or wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "gained", "kept", "worse"),
    [(3, 10, 0.04614, 0.98877), (10, 3, 0.98877, 0.04614), (0, 0, 1.0, 1.0), (0, 5, 0.03125, 1.0)],
)
def test_a_bound_of_zero_is_mcnemars_exact_test(lost: int, gained: int, kept: float, worse: float) -> None:
    """P(X >= gained) of a fair coin, thrown as often as the two differ, whatever the number of questions."""
    for of in (40, 4000):
        assert right_or_wrong(lost, gained, of, 0) == pytest.approx((kept, worse), abs=1e-5)


@pytest.mark.parametrize(("gain", "margin"), [(0.02, 0.05), (0.2, 0.05), (0.1, 0.1)])
def test_at_the_bound_either_error_is_made_at_most_once_in_twenty(gain: float, margin: float) -> None:
    """Exactly: over all that 30 questions can come to, where the share of right answers fell by the margin."""
    of = 30
    factorials = np.cumsum(np.log(np.maximum(np.arange(of + 1), 1)))
    loss, kept, worse = gain + margin, 0.0, 0.0
    for lost in range(of + 1):
        for gained in range(of + 1 - lost):
            same = of - lost - gained
            ways = factorials[of] - factorials[lost] - factorials[gained] - factorials[same]
            chance = np.exp(ways + lost * np.log(loss) + gained * np.log(gain) + same * np.log(1 - loss - gain))
            if chance > 1e-7:
                p_kept, p_lost = P_VALUES(lost, gained, of, margin)
                kept, worse = kept + chance * (p_kept <= ERROR), worse + chance * (p_lost <= ERROR)
    assert max(kept, worse) <= ERROR + 1e-5
    assert max(kept, worse) > ERROR / 5  # it is no test that never tells anything


def test_identical_answers_need_so_many_that_a_loss_would_have_been_seen() -> None:
    few, many = (paired_change(*outcomes(0, 0, n), -0.02) for n in (100, 223))
    assert few.outcome == "cannot be told"
    assert many.outcome == "kept"
    assert few.needed in range(190, 224)


def test_thousands_of_questions_are_judged() -> None:
    kept = paired_change(*outcomes(900, 800, 8000, 4342), -0.02)
    lost = paired_change(*outcomes(1500, 800, 8000, 3742), -0.02)
    told = [kept.outcome, paired_change(*outcomes(1100, 800, 8000, 4142), -0.02).outcome, lost.outcome]
    assert told == ["kept", "cannot be told", "lost"]
    assert (kept.method, kept.lost, kept.gained, kept.questions, kept.needed) == ("exact", 900, 800, 14042, None)


@pytest.mark.parametrize(
    ("loss", "gain", "margin"),
    [(0.06, 0.05, 0.05), (0.1, 0.3, 0.0), (0.02, 0.0, 0.05), (0.15, 0.05, 0.02)],
)
def test_with_so_many_questions_it_is_told_in_about_four_of_five_cases(loss: float, gain: float, margin: float) -> None:
    needed = questions_needed(loss, gain, margin)
    assert needed is not None
    side = 0 if gain - loss + margin > 0 else 1
    drawn = np.random.default_rng(7).multinomial(needed, [loss, gain, 1 - loss - gain], size=150)
    told = [P_VALUES(int(lost), int(gained), needed, margin)[side] <= ERROR for lost, gained, _ in drawn]
    assert POWER - 0.1 <= np.mean(told) <= 0.97


def test_at_the_bound_itself_no_number_of_questions_tells() -> None:
    change = paired_change(*outcomes(12, 10, 78), -0.02)
    assert (change.outcome, change.needed) == ("cannot be told", None)
    assert "no number would" in change.text()


# -- scores -----------------------------------------------------------------------------------------------------------

DRAWN = {  # changes from base to adapted whose mean is -0.05
    "even": lambda draw, n: -0.05 + 0.3 * (draw.beta(2, 2, n) - 0.5),
    "rare": lambda draw, n: np.where(draw.random(n) < 0.1, -0.5, 0.0),
    "mostly none": lambda draw, n: draw.normal(0, 0.2, n) * (draw.random(n) < 0.3) - 0.05,
}


@pytest.mark.parametrize("shape", DRAWN)
def test_of_scores_either_error_is_made_about_once_in_twenty(shape: str) -> None:
    draw, cases = np.random.default_rng(3), 300
    told = []
    for _ in range(cases):
        change = DRAWN[shape](draw, 120)
        told.append(paired_change(np.full(120, 0.9).tolist(), (0.9 + change).tolist(), -0.05))
    assert {each.method for each in told} == {"bootstrap"}
    for outcome in ("kept", "lost"):
        assert np.mean([each.outcome == outcome for each in told]) <= ERROR + 2.5 * (ERROR * (1 - ERROR) / cases) ** 0.5


def test_scores_are_kept_lost_or_too_few_to_tell() -> None:
    draw = np.random.default_rng(1)
    base = draw.uniform(0.3, 0.7, 300)
    change = draw.normal(0, 0.1, 300)

    def told(shift: float, of: int = 300) -> tuple[str, int | None]:
        found = paired_change(base[:of].tolist(), (base + change + shift)[:of].tolist(), -0.05)
        return found.outcome, found.needed

    assert told(0.0) == ("kept", None)
    assert told(-0.1) == ("lost", None)
    assert told(0.0, 20) == ("cannot be told", 59)  # of fewer, a twentieth could be lost whole and not be seen
    outcome, needed = told(-0.045)
    assert outcome == "cannot be told"
    assert needed is not None
    assert needed > 300


# -- the policy -------------------------------------------------------------------------------------------------------


def test_each_benchmark_is_held_against_its_bound_by_the_metric_that_decides() -> None:
    results = {"truthfulqa": result(5, 5, 400, metric="mc2"), "mmlu": result(0, 0, 5)}
    changes = held_against({"truthfulqa": -0.05, "gsm8k": 0.0}, results)
    assert changes["gsm8k"] is None
    kept = changes["truthfulqa"]
    assert kept is not None
    assert (kept.outcome, kept.lost, kept.gained) == ("kept", 5, 5)
    assert "mmlu" not in changes
    assert DECIDING["truthfulqa"] == "mc2"


def test_a_release_is_refused_where_it_is_not_shown_to_be_kept() -> None:
    bounds = {"mmlu": -0.02, "pubmedqa": -0.02, "cmmlu": -0.02, "gsm8k": -0.02, "safety": -0.05}
    policy = turned("evaluate.forgetting", bounds)
    results = {"mmlu": result(1, 2, 400), "pubmedqa": result(90, 10, 300), "cmmlu": result(1, 1, 10)}
    with pytest.raises(Refused, match="refuses register") as caught:
        require(policy, retention_facts(policy, results))
    (said,) = caught.value.faults
    assert "mmlu: kept" not in said.replace("cmmlu", "")
    assert "pubmedqa: lost: 0.975 → 0.775 on 400 questions" in said
    assert "cmmlu: cannot be told with 12 questions" in said
    assert "gsm8k: not measured; run `sdk benchmark gsm8k=gsm8k.jsonl`" in said
    assert "safety: not measured; run `sdk benchmark safety`" in said
    require(policy, retention_facts(turned("evaluate.forgetting", {"mmlu": -0.02}), results))
    require(turned("evaluate.forgetting", {}), retention_facts(turned("evaluate.forgetting", {}), {}))
