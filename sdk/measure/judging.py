"""What a need asks of a method, and whether what was measured settles it: enough, not enough, or cannot be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InvalidInput
from sdk.intervals import ERROR, bootstrap, crossed
from sdk.records import Accuracy, Enough, Interval

Scores = Mapping[str, NDArray[np.float64]]  # method -> scores[seed, question]
_WITHIN = re.compile(r"within ([0-9]*\.?[0-9]+) points?(?: of the best)?")
_AT_LEAST = re.compile(r"at least ([0-9]*\.?[0-9]+)")
FORMS = ("within 1 point of the best", "at least 0.6")


class Need(NamedTuple):
    """What is asked of a method: to lose at most `points` hundredths against the best, at most `share` of 16-bit LoRA's
    score, or to reach `least`. One of them is set.
    """

    text: str
    points: float | None = None
    share: float | None = None
    least: float | None = None


class Judged(NamedTuple):
    score: Interval
    lost: Interval | None
    verdict: Enough
    why: str


def read_need(text: str, metric: str) -> Need:
    """Read a need in words. Raises InvalidInput with the forms that there are."""
    said = " ".join(text.lower().split())
    if within := _WITHIN.fullmatch(said):
        return Need(said, points=float(within[1]))
    if (least := _AT_LEAST.fullmatch(said)) and metric != "perplexity":
        return Need(said, least=float(least[1]))
    raise InvalidInput(f"The need {text[:64]!r} cannot be read; write it like one of these:", FORMS)


def need_of_domain(accuracy: Accuracy, allowed: float | None) -> Need:
    """Return what a domain's `accuracy` asks for. allowed: share of 16-bit LoRA's score that may be lost."""
    if allowed is None:
        return Need(f"accuracy {accuracy} of the domain: whatever is lost", share=1.0)
    return Need(f"accuracy {accuracy} of the domain: at most {allowed:.0%} of 16-bit LoRA's score lost", share=allowed)


def reference_of(need: Need, scores: Scores, metric: str) -> str:
    """Return what the others are held against: LoRA where the need names it and it ran, else the best mean."""
    if need.share is not None and "lora" in scores:
        return "lora"
    sign = -1 if metric == "perplexity" else 1
    return max(scores, key=lambda name: sign * float(scores[name].mean()))


def judge(need: Need, scores: Scores, metric: str) -> dict[str, Judged]:
    """Judge every method. Differences are paired by question and seed, and hold together (Bonferroni)."""
    reference = reference_of(need, scores, metric)
    confidence = 1 - ERROR / max(1, len(scores) - 1)
    return {
        name: _judge_one(need, own, None if name == reference else scores[reference], metric, confidence)
        for name, own in scores.items()
    }


def _judge_one(
    need: Need, own: NDArray[np.float64], reference: NDArray[np.float64] | None, metric: str, confidence: float
) -> Judged:
    score = _clipped(crossed(own) or bootstrap(own.mean(axis=0).tolist()), metric)
    sign = -1 if metric == "perplexity" else 1
    lost = None if reference is None else crossed(sign * (reference - own), confidence)
    if need.least is not None:
        found: Enough = (
            "enough" if score.low >= need.least else "not enough" if score.high < need.least else "cannot be told"
        )
        return Judged(score, lost, found, f"{score} beside {need.least:g}")
    if metric != "perplexity" and not (own if reference is None else reference).any():
        return Judged(score, None, "cannot be told", "what it is held against answered nothing right")
    if reference is None:
        return Judged(score, None, "enough", "the others are held against it")
    allowed = need.points / 100 if need.points is not None else (need.share or 0.0) * abs(float(reference.mean()))
    if need.share == 1.0:
        return Judged(score, lost, "enough", "any loss is allowed")
    if lost is None:
        return Judged(score, None, "cannot be told", "with one seed, nothing is known of what another would change")
    found = "enough" if lost.high <= allowed else "not enough" if lost.low > allowed else "cannot be told"
    how = f"{100 * lost.value:+.2f} points lost ({100 * lost.low:+.2f} to {100 * lost.high:+.2f})"
    return Judged(score, lost, found, f"{how}, {100 * allowed:.2f} allowed")


def _clipped(score: Interval, metric: str) -> Interval:
    """Cut an interval to what a share can be, which Student's t does not know."""
    if metric == "perplexity":
        return score
    return Interval(value=score.value, low=max(0.0, score.low), high=min(1.0, score.high))
