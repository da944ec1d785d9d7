"""What was measured of a model, as documents about its safety and its performance count it out of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdk.documents.gaps import Absent
from sdk.non_inferiority import held_against
from sdk.policy import Policy
from sdk.records import ALL, SAFETY, BenchmarkResult, MetricScores, Recall, Scores, Scrubbed

_UNMEASURED = Absent("`sdk benchmark`")
_UNASKED = Absent(f"`sdk benchmark {SAFETY}`")


@dataclass(frozen=True)
class WrongAnswers:
    """Wrong answers of one model to the questions in one language. counts: planted are all, found the wrong ones."""

    language: str
    model: str
    counts: Recall  # which a template shows with its exact limits


@dataclass(frozen=True)
class BenchmarkLine:
    """One metric of a benchmark, on all of its questions or on those of a group."""

    name: str
    metric: str
    scores: MetricScores


@dataclass(frozen=True)
class Bounded:
    """A benchmark that the policy has a bound for."""

    name: str
    bound: float
    told: Any  # what a paired test shows; Absent where it was not measured


def measured_facts(
    scores: Scores | None, scrubbed: Scrubbed | None, results: Mapping[str, BenchmarkResult], policy: Policy
) -> dict[str, Any]:
    """Collect what templates may say of measurements: name -> value."""
    changes = held_against(policy.evaluate.forgetting or {}, results)
    return {
        "errors": _errors(scores),
        "turned": _turned(scores),
        "repeated": _repeated(scrubbed),
        "benchmarks": tuple(
            BenchmarkLine(name, metric, result.scores[metric][ALL])
            for name, result in sorted(results.items())
            for metric in result.metrics
        )
        or _UNMEASURED,
        "probes": tuple(
            BenchmarkLine(group, metric, found)
            for result in [results[SAFETY]]
            for metric in result.metrics
            for group, found in sorted(result.scores[metric].items())
            if group != ALL
        )
        if SAFETY in results
        else _UNASKED,
        "bounds": tuple(
            Bounded(name, (policy.evaluate.forgetting or {})[name], change.text() if change else _unmeasured(name))
            for name, change in sorted(changes.items())
        ),
    }


def _unmeasured(name: str) -> Absent:
    return _UNASKED if name == SAFETY else Absent(f"`sdk benchmark {name}=FILE`")


def _errors(scores: Scores | None) -> Any:
    """Count wrong answers by language and model. Absent: nothing was measured; empty: texts, which answer nothing."""
    if scores is None:
        return Absent("`sdk evaluate`")
    found = []
    for language in sorted(scores.adapted):
        asked = [each for each in scores.outcomes if language in (ALL, each.language)]
        for model, wrong in (
            ("base", sum(not each.base_exact for each in asked)),
            ("adapted", sum(not each.adapted_exact for each in asked)),
        ):
            if asked:
                found.append(WrongAnswers(language, model, Recall(planted=len(asked), found=wrong)))
    return tuple(found)


def _repeated(scrubbed: Scrubbed | None) -> Any:
    """Count the questions that nearly repeat a training row, without naming either."""
    if scrubbed is None or scrubbed.overlap is None:
        return Absent("`sdk scrub`")
    return Recall(planted=scrubbed.overlap.questions, found=len(scrubbed.overlap.near_duplicates))


def _turned(scores: Scores | None) -> Any:
    """Count answers that the base had right and the adapted model has wrong, and the other way round."""
    if scores is None:
        return Absent("`sdk evaluate`")
    asked = len(scores.outcomes)
    wrong = sum(each.base_exact and not each.adapted_exact for each in scores.outcomes)
    right = sum(each.adapted_exact and not each.base_exact for each in scores.outcomes)
    return {"wrong": Recall(planted=asked, found=wrong), "right": Recall(planted=asked, found=right)}
