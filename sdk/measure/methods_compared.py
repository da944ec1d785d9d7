"""Train methods on the same rows for as many tokens, with several seeds, and ask each the same held-out questions.

Seeds go one after the other, all methods with each, so that whatever the time allows is a whole comparison. What a run
came to is kept as soon as it ends: after an interruption, only the one that was under way begins anew.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sdk.advise import predict
from sdk.advise.candidates import Search
from sdk.advise.layers import parameters
from sdk.advise.recipe import LORA_R, usual_rank
from sdk.crypto import Secret
from sdk.data import RowsFile, rows_request
from sdk.data.base_folder import base_name
from sdk.errors import InvalidInput, SDKError, StepFailed
from sdk.lookup import key, nearest
from sdk.measure.judging import Judged, Need, judge, reference_of
from sdk.measure.pilot import ASKING, LEAST_STEPS, TRIAL, comparable, steps_of_a_whole_run, try_candidate
from sdk.measure.trials import TrialSetup, one_sentence
from sdk.processes.isolated import Isolated
from sdk.records import (
    NO_SCORING,
    Calibration,
    ComparedMethod,
    Enough,
    Method,
    MethodComparison,
    MethodResult,
    MethodRun,
    Metric,
    Scoring,
    TrainSettings,
)
from sdk.wording import counted

COMPARED: tuple[ComparedMethod, ...] = get_args(ComparedMethod)
HIGH_RANKS = 4  # times the usual rank: 64 where that is 16, as the founding document has it for 48 GB
QUESTION_SHARE, QUESTIONS_AT_MOST = 0.2, 200  # of the training rows; enough to tell some 5 points apart
LEAST_ROWS = 10
START_SECONDS = 5.0  # of a run: loading the base twice, for training and for asking
_SPELLED: dict[str, ComparedMethod] = {
    **{key(name): name for name in COMPARED},
    "qlora": "qlora-4bit",
    "fp8": "lora-fp8",
    "highrankqlora": "qlora-4bit-high-rank",
    "highrankqlora4bit": "qlora-4bit-high-rank",
    "qlorahighrank": "qlora-4bit-high-rank",
}


class ComparisonPlan(NamedTuple):
    """What is trained: a method's settings with the first seed; the others differ in it alone."""

    candidates: dict[ComparedMethod, TrainSettings]
    left_out: dict[str, str]
    seeds: tuple[int, ...]
    questions: int
    seconds: float  # that all of it may take


class HeldQuestions(NamedTuple):
    """The scrubbed rows, and how the questions that are held out of them are scored."""

    data: RowsFile | Path
    metric: Metric
    max_new_tokens: int
    scoring: Scoring = NO_SCORING


def read_methods(names: Sequence[str] | None) -> tuple[ComparedMethod, ...]:
    """Return the methods by the names that people give them; all where none is named. Raises InvalidInput."""
    if not names:
        return COMPARED
    unknown = [name for name in names if key(name) not in _SPELLED]
    if unknown:
        near = (nearest(name, COMPARED) or COMPARED for name in unknown)
        raise InvalidInput(
            "These methods cannot be compared.",
            [f"{name[:64]!r}; take {' or '.join(found[:3])}" for name, found in zip(unknown, near, strict=True)],
        )
    found = tuple(dict.fromkeys(_SPELLED[key(name)] for name in names))
    if len(found) < 2:
        raise InvalidInput("A comparison needs two methods at least; name another, or none for all of them.")
    return found


def plan_comparison(
    setup: TrialSetup,
    methods: Sequence[ComparedMethod],
    budget: float,
    seeds: int,
    steps: int | None,
    calibration: Calibration | None,
) -> ComparisonPlan:
    """Share `budget` minutes among the runs: as many steps as they leave each, and fewer seeds where these are few.

    steps: of the optimizer, instead; else at most those of a whole training. Raises InvalidInput where not even one
    seed fits, StepFailed where fewer than two methods can run here.
    """
    candidates, left_out = _settings(setup, methods, calibration)
    if len(candidates) < 2:
        raise StepFailed(
            "Fewer than two of these methods can run here, so there is nothing to compare.",
            [f"{name}: {why}" for name, why in left_out.items()],
        )
    rows = setup.needs.rows or 1
    if rows < LEAST_ROWS:
        raise InvalidInput(f"There are {rows} rows; a comparison holds questions out of them and needs {LEAST_ROWS}.")
    questions = min(QUESTIONS_AT_MOST, math.ceil(rows * QUESTION_SHARE))
    taught = setup.needs.model_copy(update={"rows": max(1, rows - questions)})
    alike = [each.model_copy(update={"validation_split": 0.0}) for each in comparable([*candidates.values()])]
    step_seconds = sum(_step_seconds(setup, each, calibration) for each in alike)
    whole = min(steps_of_a_whole_run(each, taught) for each in alike)

    def seconds(count: int) -> float:
        """Return what all methods are expected to take with one seed."""
        return len(alike) * START_SECONDS + count * step_seconds / (1 - ASKING)

    given = budget * 60
    if steps is None:
        room = (given / seeds - len(alike) * START_SECONDS) * (1 - ASKING) / step_seconds if step_seconds else whole
        steps = min(max(LEAST_STEPS, int(room)), whole)
    fitting = min(seeds, int(given / seconds(steps)))
    if fitting < 1:
        raise InvalidInput(
            f"{budget:g} minutes are too few for one seed of {counted(len(alike), 'method')}: {steps} steps of each "
            f"are expected to take {math.ceil(seconds(steps) / 6) / 10:g} minutes. Give a higher budget, or name fewer "
            "methods."
        )
    first = alike[0].seed
    return ComparisonPlan(
        {name: each.model_copy(update={"max_steps": steps}) for name, each in zip(candidates, alike, strict=True)},
        left_out,
        tuple(range(first, first + fitting)),
        questions,
        given,
    )


def _step_seconds(setup: TrialSetup, settings: TrainSettings, calibration: Calibration | None) -> float:
    """Return what a step is expected to take; 0 where nothing is known of this machine's speed."""
    speed = predict(setup.shape, settings, setup.hardware, setup.needs, calibration).speed
    return speed.step_seconds if speed else 0.0


def _settings(
    setup: TrialSetup, methods: Sequence[ComparedMethod], calibration: Calibration | None
) -> tuple[dict[ComparedMethod, TrainSettings], dict[str, str]]:
    """Return the settings that advice would give each method, and why others are left out."""
    usual = setup.needs.lora_r or usual_rank(setup.shape)
    found: dict[ComparedMethod, TrainSettings] = {}
    left_out: dict[str, str] = {}
    for name in methods:
        method: Method = "lora" if name == "dora" else "qlora-4bit" if name == "qlora-4bit-high-rank" else name
        needs, rank = setup.needs.model_copy(update={"peft_type": None, "use_dora": name == "dora" or None}), usual
        if name == "qlora-4bit-high-rank":
            needs, rank = needs.model_copy(update={"lora_r": None, "lora_alpha": None}), max(LORA_R, usual) * HIGH_RANKS
        search = Search(setup.shape, setup.hardware, needs, calibration)
        if method not in search.methods():
            left_out[name] = f"{setup.hardware.accelerator} cannot run {method} on this base."
            continue
        best = search.best(method, [rank])
        if not best.fits:
            left_out[name] = f"It does not fit: {best.prediction.memory.total:.2f} of {best.room:.2f} GiB at least."
            continue
        try:
            setup.allow(method)
        except SDKError as error:
            left_out[name] = one_sentence(error)
            continue
        found[name] = best.settings
    return found, left_out


def run_all(
    setup: TrialSetup, plan: ComparisonPlan, asked: HeldQuestions, secret: Secret | None, out: Path
) -> tuple[dict[ComparedMethod, list[MethodRun]], dict[str, str]]:
    """Return the runs of each method, as many seeds of each, and why methods are left out.

    `out` keeps the figures of what has finished, which the same call takes from there. No seed is begun that is
    expected to end after the time that there is, but for the first.
    """
    request = {
        "data": rows_request(asked.data),
        "evaluation": None,
        "base": setup.base,
        "prompt": setup.prompt,
        "metric": asked.metric,
        "scoring": asked.scoring.model_dump(mode="json"),
        "max_new_tokens": asked.max_new_tokens,
        "questions": plan.questions,
        "secret": secret.expose().hex() if secret else None,
    }
    failed: dict[str, str] = {}
    rounds: list[dict[ComparedMethod, MethodRun]] = []
    in_all = len(plan.candidates) * len(plan.seeds)
    with Isolated(TRIAL) as process:
        for seed in plan.seeds:
            spent = sum(run.whole_seconds for done in rounds for run in done.values())
            if rounds and spent * (1 + 1 / len(rounds)) > plan.seconds:
                break
            done: dict[ComparedMethod, MethodRun] = {}
            for number, (name, settings) in enumerate(plan.candidates.items()):
                if name in failed:
                    continue
                place = len(rounds) * len(plan.candidates) + number + 1
                called = f"{name}, seed {seed}, run {place} of {in_all}"
                own = settings.model_copy(update={"seed": seed})
                try:
                    done[name] = try_candidate(setup, own, request, out / f"{name}-{seed}", process, MethodRun, called)
                except SDKError as error:
                    failed[name] = one_sentence(error)
            rounds.append(done)
    whole = [name for name in plan.candidates if name not in failed]
    return {name: [done[name] for done in rounds] for name in whole}, failed


def compare(
    setup: TrialSetup,
    plan: ComparisonPlan,
    asked: HeldQuestions,
    need: Need,
    calibration: Calibration | None,
    secret: Secret | None,
    out: Path,
) -> MethodComparison:
    """Run what was planned and judge it by the need; `out` is empty afterwards.

    Raises StepFailed where fewer than two methods came through.
    """
    runs, failed = run_all(setup, plan, asked, secret, out)
    if len(runs) < 2:
        raise StepFailed("Fewer than two methods came through.", [f"{name}: {why}" for name, why in failed.items()])
    shutil.rmtree(out)
    return comparison(setup, plan, asked.metric, need, runs, failed, calibration)


def comparison(
    setup: TrialSetup,
    plan: ComparisonPlan,
    metric: str,
    need: Need,
    runs: Mapping[ComparedMethod, Sequence[MethodRun]],
    failed: Mapping[str, str],
    calibration: Calibration | None,
) -> MethodComparison:
    scores: dict[str, NDArray[np.float64]] = {
        name: np.array([run.scores for run in each]) for name, each in runs.items()
    }
    judged = judge(need, scores, metric)
    results = tuple(
        _result(setup, name, plan.candidates[name], each, judged[name], calibration) for name, each in runs.items()
    )
    done = len(results[0].runs)
    notes = [] if done == len(plan.seeds) else [f"The time was enough for {done} of {len(plan.seeds)} seeds."]
    if metric != "perplexity" and not any(scores[name].any() for name in scores):
        notes.append("No method answered a question right: train for longer (a higher budget), or with another metric.")
    if results[0].settings.max_steps < LEAST_STEPS:
        notes.append(f"Fewer than {LEAST_STEPS} steps tell methods apart by their first steps only.")
    if len({run.tokens for each in results for run in each.runs if run.seed == plan.seeds[0]}) > 1:
        notes.append("Not all methods were trained on as many tokens.")
    return MethodComparison(
        hardware=setup.hardware,
        base_name=base_name(setup.base),
        metric=metric,
        questions=scores[results[0].method].shape[1],
        seeds=plan.seeds[:done],
        need=need.text,
        reference=next(each.method for each in results if each.method == reference_of(need, scores, metric)),
        methods=results,
        left_out={**plan.left_out, **failed},
        verdict=in_words(results),
        notes=tuple(notes),
    )


def _result(
    setup: TrialSetup,
    name: ComparedMethod,
    settings: TrainSettings,
    runs: Sequence[MethodRun],
    judged: Judged,
    calibration: Calibration | None,
) -> MethodResult:
    predicted = predict(setup.shape, settings, setup.hardware, setup.needs, calibration)
    trained = runs[0].trainable_parameters
    return MethodResult(
        method=name,
        settings=settings,
        trainable_share=trained / (trained + parameters(setup.shape)),
        memory_predicted_gib=predicted.memory.total,
        tokens_per_second_predicted=predicted.speed.tokens_per_second.expected if predicted.speed else None,
        runs=tuple(runs),
        score=judged.score,
        lost=judged.lost,
        verdict=judged.verdict,
        why=judged.why,
    )


def in_words(results: Sequence[MethodResult]) -> str:
    """Say which methods are enough, and which of them takes least."""
    by: dict[Enough, list[MethodResult]] = {
        verdict: [one for one in results if one.verdict == verdict] for verdict in get_args(Enough)
    }
    enough = by["enough"]
    told = [f"Enough: {_listed(enough) or 'none that is shown to be'}"]
    if len(enough) > 1:
        leanest = min(enough, key=lambda one: one.memory_gib)
        fastest = min(enough, key=_epoch_seconds)
        told[0] += (
            f"; {leanest.method} takes the least memory of these, {leanest.memory_gib:.3g} GiB, and {fastest.method} "
            f"the least time, {_epoch_seconds(fastest):.3g} s an epoch"
        )
    if by["not enough"]:
        told.append(f"Not enough: {_listed(by['not enough'])}")
    if by["cannot be told"]:
        told.append(f"It cannot be told with these questions and seeds: {_listed(by['cannot be told'])}")
    return " ".join(f"{sentence}." for sentence in told)


def _epoch_seconds(result: MethodResult) -> float:
    return result.mean(lambda run: run.epoch_seconds)


def _listed(results: Sequence[MethodResult]) -> str:
    return ", ".join(result.method for result in results)
