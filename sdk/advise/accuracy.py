"""What a base of fewer bits costs in accuracy against 16-bit LoRA, by published and measured comparisons.

evidence.json holds the comparisons, each with its source. They are weighed by how much they resemble the case at hand.
No publication knows the user's task: the interval is that of the mean over tasks, and a single task can lie outside.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sdk.advise.layers import parameters
from sdk.files.regular_files import read_shipped
from sdk.records import Accuracy, Comparison, ExpectedAccuracy, Method, ModelShape, Needs, Pilot
from sdk.wording import counted

EVIDENCE = Path(__file__).with_name("evidence.json")

ALLOWED_LOSS: dict[Accuracy, float | None] = {
    "highest": 0.0,  # nothing is given away
    "high": 0.01,  # LoftQ's repository gives standard deviations of .8 to 2.2 % of the score between seeds
    "balanced": 0.03,  # what the founding document's QLoRA-4bit, its cost-efficient choice, loses: 1.9 to 3.7 %
    "economy": None,  # whatever is lost
}
ROUNDING = 0.002  # the last digit of published scores

WEIGHT_BY_TASK = {
    "knowledge": 1.0,
    "reasoning": 1.0,
    "classification": 1.0,
    "cross-entropy": 0.25,  # a share of a loss is no share of a score; it tells the direction
    "perplexity": 0.1,  # nor is a share of its exponential, which grows faster
}
WEIGHT_BY_KIN: dict[tuple[Method, Method], float] = {
    ("lora-fp8", "qlora-8bit"): 0.5,  # both keep a byte a weight with a scale for each output
    ("qlora-8bit", "lora-fp8"): 0.5,
}
UNKNOWN_SIZE = 0.4  # weight where a source does not name its model: about that of a base ten times as large
UNKNOWN_RANK = 0.8  # weight where a source does not name its rank: that of twice the rank
SIZE_RATIO = 6.0  # a base this many times as large is one standard deviation away
RANK_HALVINGS = 4.0  # a rank this many halvings or doublings away counts half

SPREAD = 0.025  # standard deviation of the file's scores around their method's mean
SPREAD_ROWS = 2.0  # comparisons that SPREAD counts as, so that two rows which agree by chance do not prove it
NORMAL_975 = 1.96

HIGH_RANK, FULL_RANK = 32, 64  # the founding document's ranks at 24 and 48 GB, which bring QLoRA to LoRA's level
USUAL_RANK = 16
WON_BACK = (
    0.5  # of the loss, at FULL_RANK: the founding document says all, LoftQ's rows at that rank still lose 3 to 7 %
)

EVIDENCE_SHOWN = 6


class SourcedComparison(NamedTuple):
    """One line of the file; billions: parameters of its base, None where the source does not say, like rank."""

    evidence: Comparison
    billions: float | None
    task: str
    rank: int | None


@cache
def comparisons() -> tuple[SourcedComparison, ...]:
    found = []
    for row in json.loads(read_shipped(EVIDENCE)):
        billions, task, rank = row.pop("billions"), row.pop("task"), row.pop("rank")
        lost = row["value"] - row["lora"] if row.pop("lower_is_better") else row["lora"] - row["value"]
        found.append(SourcedComparison(Comparison(loss=lost / row["lora"], **row), billions, task, rank))
    return tuple(found)


def allowed_loss(needs: Needs) -> float | None:
    """Return the fraction of 16-bit LoRA's score that may be lost; None: any, also where no accuracy was asked for."""
    if needs.max_loss is not None:
        return needs.max_loss
    return None if needs.accuracy is None else ALLOWED_LOSS[needs.accuracy]


def contradictions(needs: Needs) -> list[str]:
    """Return which two needs cannot both be meant, and what to do about it."""
    if needs.use_dora and needs.peft_type not in (None, "lora"):
        return [f"use_dora is an option of peft_type lora, not of {needs.peft_type}; leave one of them out"]
    if needs.accuracy is None or needs.max_loss is None:
        return []
    level = ALLOWED_LOSS[needs.accuracy]
    if level == needs.max_loss:
        return []
    means = "allows any loss" if level is None else f"allows a loss of {level:.1%}"
    return [f"accuracy {needs.accuracy} {means}, max_loss {needs.max_loss:.1%}; give one of them"]


def expected_accuracy(
    shape: ModelShape, method: Method, lora_r: int, needs: Needs, pilot: Pilot | None = None
) -> ExpectedAccuracy:
    """Estimate what the method loses on this base, with a 95 % interval, and whether that meets the need.

    By publications the need is met where the expected loss is allowed and the interval's upper end is at most twice
    that; it is not met where the expected loss is not allowed; in between nobody can say (None). A pilot of the method
    on the user's own rows overrules them: met where its whole interval is allowed, not met where none of it is.
    """
    allowed = allowed_loss(needs)
    if method == "lora":
        why = "16-bit LoRA is what the others are measured against."
        return ExpectedAccuracy(method=method, loss=0.0, low=0.0, high=0.0, meets_need=True, why=why)
    tried = None if pilot is None else _piloted(pilot, method, lora_r, allowed)
    return tried or _published(shape, method, lora_r, allowed)


def _piloted(pilot: Pilot, method: Method, lora_r: int, allowed: float | None) -> ExpectedAccuracy | None:
    """Judge by the pilot's run of the method with the nearest rank. None if it was not compared with 16-bit LoRA."""
    runs = [
        (run, run.loss_against_lora)
        for run in pilot.candidates
        if run.settings.method == method and run.loss_against_lora is not None
    ]
    if not runs:
        return None
    run, lost = min(runs, key=lambda pair: abs(math.log2(pair[0].settings.lora_r / lora_r)))
    meets = True if allowed is None or lost.high <= allowed else False if lost.low > allowed else None
    source = f"the pilot on your own rows ({counted(pilot.questions, 'question')}, rank {run.settings.lora_r})"
    scores = [other.score.value for other in pilot.candidates if other.settings.method == "lora"]
    evidence = [
        Comparison(
            method=method,
            model="your base",
            what=pilot.metric,
            lora=lora,
            value=run.score.value,
            loss=lost.value,
            source=source,
            kind="pilot",
        )
        for lora in scores[:1]
    ]
    return ExpectedAccuracy(
        method=method,
        loss=lost.value,
        low=lost.low,
        high=lost.high,
        meets_need=meets,
        why=f"{_sentence(lost.value, lost.low, lost.high, allowed)}, by {source}.",
        evidence=tuple(evidence),
    )


def _published(shape: ModelShape, method: Method, lora_r: int, allowed: float | None) -> ExpectedAccuracy:
    weighed = sorted(_weighed(shape, method, lora_r), key=lambda pair: -pair[0])
    mean, low, high = _interval(weighed)
    if method != "qlora-4bit":  # 8 bits round a weight several times more finely than NF4, so they cannot do worse
        _, coarse_low, coarse_high = _interval(_weighed(shape, "qlora-4bit", lora_r))
        low, high = min(mean, max(low, coarse_low)), max(mean, min(high, coarse_high))
    won = _won_back(method, lora_r) * max(mean, 0.0)
    loss, low, high = mean - won, low - won, high - won
    evidence = tuple(row.evidence for _, row in weighed[:EVIDENCE_SHOWN])
    sources = list(dict.fromkeys(row.source.split(",")[0] for row in evidence))
    number = counted(len(weighed), "comparison")
    why = f"{_sentence(loss, low, high, allowed)}, by {number}, above all from {_listed(sources)}"
    if won:
        why += f"; rank {lora_r} is taken to win back {won / mean:.0%} of the loss"
    return ExpectedAccuracy(
        method=method,
        loss=loss,
        low=low,
        high=high,
        meets_need=_meets(loss, high, allowed),
        why=f"{why}.",
        evidence=evidence,
    )


def _interval(weighed: list[tuple[float, SourcedComparison]]) -> tuple[float, float, float]:
    """Return the mean loss with its 95 % interval; few comparisons, or unlike ones, widen it."""
    alike = sum(weight for weight, _ in weighed)  # counts comparisons that are as like this case as can be
    mean = sum(weight * row.evidence.loss for weight, row in weighed) / alike
    squares = sum(weight * (row.evidence.loss - mean) ** 2 for weight, row in weighed)
    spread = math.sqrt((squares + SPREAD_ROWS * SPREAD**2) / (alike + SPREAD_ROWS))
    half = _student(alike + SPREAD_ROWS) * spread / math.sqrt(alike)
    return mean, mean - half, mean + half


def _meets(loss: float, high: float, allowed: float | None) -> bool | None:
    if allowed is None:
        return True
    if loss > allowed:
        return False
    return True if high <= 2 * allowed + ROUNDING else None


def _weighed(shape: ModelShape, method: Method, lora_r: int) -> list[tuple[float, SourcedComparison]]:
    billions = parameters(shape) / 1e9
    found = []
    for row in comparisons():
        kin = 1.0 if row.evidence.method == method else WEIGHT_BY_KIN.get((method, row.evidence.method), 0.0)
        if kin:
            weight = kin * WEIGHT_BY_TASK[row.task] * _like_size(row.billions, billions) * _like_rank(row.rank, lora_r)
            found.append((weight, row))
    return [(weight / math.sqrt(_rows_alike(found, row.evidence.source)), row) for weight, row in found]


def _rows_alike(weighed: list[tuple[float, SourcedComparison]], source: str) -> float:
    """Return the effective number of a source's rows: they share data, recipe and mistakes, so n count as root n."""
    weights = [weight for weight, row in weighed if row.evidence.source == source]
    return sum(weights) ** 2 / sum(weight**2 for weight in weights)


def _like_size(theirs: float | None, ours: float) -> float:
    return UNKNOWN_SIZE if theirs is None else math.exp(-0.5 * (math.log(theirs / ours) / math.log(SIZE_RATIO)) ** 2)


def _like_rank(theirs: int | None, ours: int) -> float:
    return UNKNOWN_RANK if theirs is None else 1 / (1 + abs(math.log2(theirs / ours)) / RANK_HALVINGS)


def _won_back(method: Method, lora_r: int) -> float:
    """Return the fraction of the loss that a rank above the usual one makes up for."""
    if method != "qlora-4bit" or lora_r < HIGH_RANK:
        return 0.0
    return WON_BACK * min(1.0, math.log2(lora_r / USUAL_RANK) / math.log2(FULL_RANK / USUAL_RANK))


def _student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t: the first terms of its expansion, Abramowitz and Stegun 26.7.5."""
    z = NORMAL_975
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _sentence(loss: float, low: float, high: float, allowed: float | None) -> str:
    need = "any loss is allowed" if allowed is None else f"{allowed:.1%} may be lost"
    return f"{loss:.1%} of 16-bit LoRA's score is lost ({low:.1%} to {high:.1%}) where {need}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
