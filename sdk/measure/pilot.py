"""Train each candidate a little on the user's own rows and ask it the questions: what advice can only expect.

Each candidate runs in a process of its own, so its memory is its own and its end is not that of the others.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from sdk.advise import predict
from sdk.crypto import Secret
from sdk.data import RowsFile, read_rows
from sdk.data.base_folder import base_from_json
from sdk.data.canaries import is_canary
from sdk.errors import Remedy, SDKError, StepFailed
from sdk.evaluate import RESAMPLES, SEED, ask, bootstrap, mean_losses
from sdk.measure.trials import TrialSetup, one_sentence
from sdk.model import Chat, attach_adapter, cut_texts, encode_rows, learned, load_base
from sdk.records import (
    Advice,
    Calibration,
    Frozen,
    Interval,
    Method,
    Needs,
    OnProgress,
    Pilot,
    Piloted,
    TrainSettings,
)
from sdk.regular_files import PROGRESS_BYTES, read_regular
from sdk.seal import read_adapter
from sdk.store import write_atomic
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train
from sdk.train.batching import micro_batches, one_row_at_a_time
from sdk.train.engine import use_row_attention
from sdk.train.isolated import answer, run_isolated
from sdk.train.job import rows_of, rows_request
from sdk.train.validation import hold_out

HELD_OUT = 0.1
LEAST_STEPS = 20  # fewer tell methods apart by their first steps only


class Questions(NamedTuple):
    """What each candidate is asked: scrubbed rows in a file, the score that counts, and how long answers may be."""

    data: RowsFile | Path
    metric: Literal["exact_match", "f1"]
    max_new_tokens: int


class TrialResult(Frozen):
    """What one candidate came to: a loss for each held-out row, a score for each question, none of their text."""

    steps: int
    tokens: int
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    seconds: float
    memory_gib: float


def plan(
    setup: TrialSetup,
    candidates: Sequence[TrainSettings],
    minutes: float,
    steps: int | None,
    calibration: Calibration | None,
) -> tuple[TrainSettings, ...]:
    """Give the candidates as many optimizer steps, with the same rows in each of them and the same rows held out.

    steps: None: as many as the slowest makes in `minutes`, at least LEAST_STEPS, at most those of a whole training.
    """
    comparable = _comparable(candidates)
    if steps is None:
        expected = [predict(setup.shape, each, setup.hardware, setup.needs, calibration).speed for each in comparable]
        known = [speed for speed in expected if speed]
        slowest = max((speed.step_seconds for speed in known), default=math.inf)
        whole = min(
            (speed.steps for speed in known if speed.steps), default=_steps_of_a_whole_run(comparable[0], setup.needs)
        )
        steps = min(max(LEAST_STEPS, int(minutes * 60 / slowest)), whole)
    return tuple(each.model_copy(update={"max_steps": steps}) for each in comparable)


def _comparable(candidates: Sequence[TrainSettings]) -> list[TrainSettings]:
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


def _steps_of_a_whole_run(settings: TrainSettings, needs: Needs) -> int:
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
        "max_new_tokens": questions.max_new_tokens,
        "secret": secret.expose().hex() if secret else None,
    }
    done: list[tuple[TrainSettings, TrialResult]] = []
    failed: dict[str, str] = {}
    for number, settings in enumerate(planned):
        try:
            setup.allow(settings.method)
            done.append((settings, _try_candidate(setup, settings, request, out / str(number))))
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
        candidates=tuple(_piloted(settings, tried, lora) for settings, tried in done),
        left_out={**left_out, **failed},
    )


def _try_candidate(setup: TrialSetup, settings: TrainSettings, request: Mapping[str, Any], folder: Path) -> TrialResult:
    figures = folder.with_suffix(".json")
    if figures.exists():
        return TrialResult.model_validate_json(read_regular(figures, PROGRESS_BYTES, Remedy.PROJECT))

    def tell(what: str, done: int, total: int | None, shown: Mapping[str, float]) -> None:
        setup.on_progress(f"{what} ({settings.method})", done, total, shown)

    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    own = {**request, "settings": settings.model_dump(mode="json"), "out": str(folder.resolve())}
    try:
        tried = TrialResult.model_validate(run_isolated(__name__, own, tell))
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


def _train_and_ask(request: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    settings = TrainSettings.model_validate(request["settings"])
    base, prompt = base_from_json(request["base"]), request["prompt"]
    data, out = rows_of(request["data"]), Path(request["out"])
    secret = Secret(bytes.fromhex(request["secret"])) if request["secret"] else None
    job = Job(data, base, prompt, settings, out, ONLY_THE_LAST_CHECKPOINT, secret)
    run = train(job, on_progress)
    gc.collect()  # the trained model, before another is loaded
    model, tokenizer = load_base(base, settings.method)
    adapted = attach_adapter(model, *read_adapter(out))
    chat = Chat(tokenizer)
    texts = read_rows(data).rows
    encoded_rows = encode_rows(chat, texts, prompt, settings.max_length, learned(settings))
    rows, places = cut_texts(texts, encoded_rows, settings.max_length)
    trained, held = hold_out(rows, settings, {place for place, row in enumerate(texts) if is_canary(row.id)}, places)
    losses = mean_losses(adapted, held, tokenizer.pad_token_id)
    if not all(map(math.isfinite, losses)):
        raise StepFailed("The loss on held-out rows is not a finite number: the weights overflow in this precision.")
    questions = read_rows(rows_of(request["evaluation"])).rows
    encoded = encode_rows(chat, questions, prompt, getattr(model.config, "max_position_embeddings", 1_000_000))
    answered, _ = ask(adapted, chat, questions, encoded, prompt, request["max_new_tokens"], on_progress)
    lengths = [len(row.input_ids) for row in trained]
    running = settings if use_row_attention(model) else one_row_at_a_time(settings)
    result = TrialResult(
        steps=run.steps,
        tokens=sum(lengths[row] for batch in micro_batches(lengths, running) for row in batch),
        losses=tuple(losses),
        scores=tuple(float(item.exact if request["metric"] == "exact_match" else item.f1) for item in answered),
        seconds=run.seconds,
        memory_gib=run.memory_measured_gib,
    )
    return result.model_dump(mode="json")


if __name__ == "__main__":
    answer(_train_and_ask)
