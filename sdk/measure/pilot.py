"""Train each candidate a little on the user's own rows and ask it questions: what advice can only expect.

One process tries one candidate after the other; where it is ended from outside, a new one goes on with the next. All
are asked the same questions: as many, drawn by lot, as the first answers in a quarter of its time.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from sdk.advise import predict
from sdk.crypto import Secret
from sdk.data import RowsFile, rows_request
from sdk.errors import Remedy, SDKError, StepFailed
from sdk.files.regular_files import PROGRESS_BYTES, read_regular
from sdk.files.store import write_atomic
from sdk.intervals import RESAMPLES, SEED, bootstrap
from sdk.measure.trials import HELD_OUT, TrialResult, TrialSetup, one_sentence
from sdk.processes.isolated import Isolated
from sdk.records import (
    NO_SCORING,
    Advice,
    Calibration,
    Frozen,
    Interval,
    Method,
    Metric,
    Needs,
    Pilot,
    Piloted,
    Scoring,
    TrainSettings,
)

TRIAL = "sdk.measure.trial"  # the module that trains and asks
ASKING = 0.25  # of the minutes; the rest is for training
LEAST_STEPS = 20  # fewer tell methods apart by their first steps only
F = TypeVar("F", bound=Frozen)


class Questions(NamedTuple):
    """What each candidate is asked: scrubbed rows in a file, the score that counts, and how long answers may be.

    seconds: time for the answers of the first candidate.
    """

    data: RowsFile | Path
    metric: Metric
    max_new_tokens: int
    seconds: float
    scoring: Scoring = NO_SCORING


def plan(
    setup: TrialSetup,
    candidates: Sequence[TrainSettings],
    minutes: float,
    steps: int | None,
    calibration: Calibration | None,
) -> tuple[TrainSettings, ...]:
    """Give the candidates as many optimizer steps, with the same rows in each of them and the same rows held out.

    steps: None: as many as leave the slowest time to answer in `minutes`, at least LEAST_STEPS, at most those of a
    whole training.
    """
    alike = comparable(candidates)
    if steps is None:
        expected = [predict(setup.shape, each, setup.hardware, setup.needs, calibration).speed for each in alike]
        known = [speed for speed in expected if speed]
        slowest = max((speed.step_seconds for speed in known), default=math.inf)
        whole = min(
            (speed.steps for speed in known if speed.steps), default=steps_of_a_whole_run(alike[0], setup.needs)
        )
        steps = min(max(LEAST_STEPS, int((1 - ASKING) * minutes * 60 / slowest)), whole)
    return tuple(each.model_copy(update={"max_steps": steps}) for each in alike)


def comparable(candidates: Sequence[TrainSettings]) -> list[TrainSettings]:
    """Give all candidates the micro-batches of the one that takes the smallest, which all have the memory for."""
    least = min(candidates, key=lambda each: (each.per_device_train_batch_size, each.packing))
    gpus = math.lcm(*(each.gpus for each in candidates))
    together = -(-least.gradient_accumulation_steps * least.gpus // gpus) * gpus
    common = {
        **{name: getattr(least, name) for name in ("per_device_train_batch_size", "packing", "max_length", "seed")},
        "validation_split": least.validation_split or HELD_OUT,
        "eval_steps": None,
        "load_best_model_at_end": False,
        "early_stopping_patience": None,
    }
    return [
        each.model_copy(update={**common, "gradient_accumulation_steps": together // each.gpus}) for each in candidates
    ]


def steps_of_a_whole_run(settings: TrainSettings, needs: Needs) -> int:
    together = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * settings.gpus
    return max(1, math.ceil((needs.rows or 1) * settings.num_train_epochs / together))


def not_tried(candidates: Sequence[TrainSettings], advice: Advice) -> dict[str, str]:
    """Return the methods that are no candidate, with the advice's reason."""
    reasons = {other.method: other.reason for other in advice.alternatives if not other.fits}
    unable = "It does not fit here, or this hardware cannot run it."
    tried = {settings.method for settings in candidates}
    return {method: reasons.get(method, unable) for method in get_args(Method) if method not in tried}


def pilot(
    setup: TrialSetup,
    planned: Sequence[TrainSettings],
    left_out: Mapping[str, str],
    data: RowsFile | Path,
    questions: Questions,
    secret: Secret | None,
    out: Path,
) -> Pilot:
    """Train each planned candidate on the scrubbed rows in `data` and ask it the questions.

    secret: what encrypts its checkpoint while it runs. `out` is empty afterwards; after an interruption it holds the
    figures of candidates that had finished, which the same call then takes from there.
    Raises StepFailed where no candidate could be tried.
    """
    request = {
        "data": rows_request(data),
        "evaluation": rows_request(questions.data),
        "base": setup.base,
        "prompt": setup.prompt,
        "metric": questions.metric,
        "scoring": questions.scoring.model_dump(mode="json"),
        "max_new_tokens": questions.max_new_tokens,
        "secret": secret.expose().hex() if secret else None,
    }
    done: list[tuple[TrainSettings, TrialResult]] = []
    failed: dict[str, str] = {}
    with Isolated(TRIAL) as process:
        for number, settings in enumerate(planned):
            asked = len(done[0][1].scores) if done else None
            own = {**request, "questions": asked, "seconds": questions.seconds}
            try:
                setup.allow(settings.method)
                done.append((settings, try_candidate(setup, settings, own, out / str(number), process, TrialResult)))
            except SDKError as error:
                failed[settings.method] = one_sentence(error)
    if not done:
        raise StepFailed("No candidate could be tried.", [f"{method}: {why}" for method, why in failed.items()])
    shutil.rmtree(out)
    lora = next((tried.scores for settings, tried in done if settings.method == "lora"), None)
    return Pilot(
        hardware=setup.hardware,
        metric=questions.metric,
        questions=len(done[0][1].scores),
        questions_in_all=done[0][1].questions,
        candidates=tuple(_piloted(settings, tried, lora) for settings, tried in done),
        left_out={**left_out, **failed},
    )


def try_candidate(
    setup: TrialSetup,
    settings: TrainSettings,
    request: Mapping[str, Any],
    folder: Path,
    process: Isolated,
    kind: type[F],
    called: str = "",
) -> F:
    """Return what the process finds of a candidate, or what it found before an interruption.

    folder: for its adapter, which goes; its figures stay beside it. called: in the progress; empty: by its method.
    """
    figures = folder.with_name(f"{folder.name}.json")
    if figures.exists():
        return kind.model_validate_json(read_regular(figures, PROGRESS_BYTES, Remedy.PROJECT))

    def tell(what: str, done: int, total: int | None, shown: Mapping[str, float]) -> None:
        setup.on_progress(f"{what} ({called or settings.method})", done, total, shown)

    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    own = {**request, "settings": settings.model_dump(mode="json"), "out": str(folder.resolve())}
    try:
        tried = kind.model_validate(process.ask(own, tell))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # no weights stay, however it ended
    write_atomic(figures, tried.model_dump_json().encode())
    return tried


def _piloted(settings: TrainSettings, tried: TrialResult, lora: Sequence[float] | None) -> Piloted:
    return Piloted(
        settings=settings,
        steps=tried.steps,
        tokens=tried.tokens,
        eval_loss=bootstrap(tried.losses),
        score=bootstrap(tried.scores),
        loss_against_lora=lost(tried.scores, lora) if lora else None,
        seconds=tried.seconds,
        memory_gib=tried.memory_gib,
    )


def lost(scores: Sequence[float], lora: Sequence[float]) -> Interval | None:
    """Return the share of LoRA's mean score that is lost, with its 95 % interval.

    Each resample draws the same questions for both. None where LoRA scores nothing.
    """
    own, other = np.asarray(scores), np.asarray(lora)
    if not other.mean():
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(other), size=(RESAMPLES, len(other)))
    whole = other[drawn].mean(axis=1)
    shares = 1 - own[drawn].mean(axis=1)[whole > 0] / whole[whole > 0]
    value = float(1 - own.mean() / other.mean())
    low, high = (float(end) for end in np.percentile(shares, [2.5, 97.5]))
    return Interval(value=value, low=min(low, value), high=max(high, value))
