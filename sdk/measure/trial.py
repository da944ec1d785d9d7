"""The process of a pilot or a comparison: trains a candidate and asks it, one candidate after the other."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

from sdk.crypto import Secret
from sdk.data import Row, read_rows, rows_of
from sdk.data.base_folder import Base, base_from_json
from sdk.data.canaries import is_canary
from sdk.data.general import general_rows
from sdk.data.lengths import TEXT_LENGTH
from sdk.data.measures import Measures
from sdk.errors import StepFailed
from sdk.evaluate import QUESTIONS_AT_ONCE, ask, mean_losses
from sdk.intervals import SEED
from sdk.measure.held_questions import hold_questions
from sdk.measure.trials import TrialResult
from sdk.model import Chat, cut_texts, encode_rows, keep_base_open, learned
from sdk.model.adapter import attach_adapter
from sdk.model.load import load_base
from sdk.packing import one_row_at_a_time
from sdk.processes.isolated import answer
from sdk.records import Forgetting, MethodRun, OnProgress, Scoring, TrainSettings
from sdk.seal import read_adapter
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train
from sdk.train.batching import micro_batches
from sdk.train.engine import use_row_attention
from sdk.train.validation import hold_out


class _Trials:
    """Trials of several candidates on one base, whose files are opened and hashed once."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._base: Base | None = None

    def run(self, request: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
        """Train a candidate and ask it: the evaluation's questions, or some that are held out of the rows."""
        settings = TrainSettings.model_validate(request["settings"])
        if self._base is None:
            self._base = base_from_json(request["base"])
            self._opened.enter_context(keep_base_open(self._base))
        if request["evaluation"] is None:
            return _compared(self._base, settings, request, on_progress).model_dump(mode="json")
        return self._piloted(self._base, settings, request, on_progress)

    def _piloted(
        self, base: Base, settings: TrainSettings, request: dict[str, Any], on_progress: OnProgress
    ) -> dict[str, Any]:
        prompt = request["prompt"]
        data, out = rows_of(request["data"]), Path(request["out"])
        run = train(Job(data, base, prompt, settings, out, ONLY_THE_LAST_CHECKPOINT, _secret(request)), on_progress)
        gc.collect()  # the trained model, before another is loaded
        model, tokenizer = load_base(base, settings)
        adapted = attach_adapter(model, *read_adapter(out))
        chat = Chat(tokenizer)
        texts = read_rows(data).rows
        rows = encode_rows(chat, texts, prompt, settings.max_length, learned(settings))
        trained, held = hold_out(rows, settings, {place for place, row in enumerate(texts) if is_canary(row.id)})
        losses = mean_losses(adapted, held, tokenizer.pad_token_id)
        _require_finite(losses)
        questions = read_rows(rows_of(request["evaluation"])).rows
        scores = _scores(adapted, chat, questions, request, on_progress)
        result = TrialResult(
            steps=run.steps,
            tokens=_trained_tokens([len(row.input_ids) for row in trained], settings, model),
            losses=tuple(losses),
            scores=scores,
            questions=len(questions),
            seconds=run.seconds,
            memory_gib=run.memory_measured_gib,
        )
        return result.model_dump(mode="json")


def _scores(
    model: Any, chat: Chat, questions: Sequence[Row], request: dict[str, Any], on_progress: OnProgress
) -> tuple[float, ...]:
    """Return the score of each question that is asked, in an order by lot that is always the same.

    So many of them as the request says, else as many as are answered in its seconds, and one batch at least.
    """
    drawn = random.Random(SEED).sample(questions, len(questions))[: request["questions"]]  # noqa: S311 - no secret
    prompt, metric = request["prompt"], request["metric"]
    measures = Measures([metric], Scoring.model_validate(request["scoring"]))
    longest = getattr(model.config, "max_position_embeddings", 1_000_000)
    began, scores = time.monotonic(), []
    for start in range(0, len(drawn), QUESTIONS_AT_ONCE):
        if start and request["questions"] is None and time.monotonic() - began >= request["seconds"]:
            break
        batch = drawn[start : start + QUESTIONS_AT_ONCE]
        encoded = encode_rows(chat, batch, prompt, longest)
        answered, _ = ask(model, chat, batch, encoded, prompt, request["max_new_tokens"], _quiet)
        on_progress("ask", start + len(batch), len(drawn), {})
        scores += measures.measure(answered)[metric].scores()
    return tuple(scores)


def _compared(base: Base, settings: TrainSettings, request: dict[str, Any], on_progress: OnProgress) -> MethodRun:
    """Train on all rows but those that are asked, and ask; both are the same for every method and seed."""
    began = time.monotonic()
    prompt, out = request["prompt"], Path(request["out"])
    taught, questions = hold_questions(read_rows(rows_of(request["data"])).rows, request["questions"])
    meter = _PowerMeter(on_progress)
    job = Job(tuple(taught), base, prompt, settings, out, ONLY_THE_LAST_CHECKPOINT, _secret(request))
    run = train(job, meter)
    gc.collect()  # the trained model, before another is loaded
    model, tokenizer = load_base(base, settings)
    chat = Chat(tokenizer)
    room = getattr(model.config, "max_position_embeddings", 1_000_000)
    general = general_rows({row.language for row in questions})
    before = _perplexities(model, chat, general, prompt, room)
    config, weights = read_adapter(out)
    adapted = attach_adapter(model, config, weights)
    encoded = encode_rows(chat, questions, prompt, room)
    answered, speed = ask(adapted, chat, questions, encoded, prompt, request["max_new_tokens"], on_progress)
    losses = tuple(each.nll / each.tokens for each in answered)
    _require_finite(losses)
    metric = request["metric"]
    after = _perplexities(adapted, chat, general, prompt, room)
    rows = encode_rows(chat, taught, prompt, settings.max_length, learned(settings))
    lengths = [len(row.input_ids) for row in rows]
    return MethodRun(
        seed=settings.seed,
        steps=run.steps,
        tokens=_trained_tokens(lengths, settings, model),
        epoch_seconds=sum(lengths) / run.tokens_per_second,
        seconds=run.seconds,
        whole_seconds=time.monotonic() - began,
        memory_gib=run.memory_measured_gib,
        tokens_per_second=run.tokens_per_second,
        generated_per_second=speed,
        trainable_parameters=run.trainable_parameters,
        adapter_bytes=len(weights),
        energy_wh=meter.mean_w and meter.mean_w * run.seconds / 3600,
        forgetting={
            kind: Forgetting(items=items, base=value, adapted=after[kind][1]) for kind, (items, value) in before.items()
        },
        scores=losses
        if metric == "perplexity"
        else tuple(Measures([metric], Scoring.model_validate(request["scoring"])).measure(answered)[metric].scores()),
        losses=losses,
    )


def _perplexities(
    model: Any, chat: Chat, general: Sequence[Row], prompt: str, room: int
) -> dict[str, tuple[int, float]]:
    """Return of general texts, and of general answers, how many there are and their perplexity."""
    length = min(TEXT_LENGTH, room)
    found = {}
    for kind, rows in (
        ("texts", [row for row in general if row.is_text]),
        ("answers", [row for row in general if not row.is_text]),
    ):
        pieces, _ = cut_texts(rows, encode_rows(chat, rows, prompt, length), length)
        counts = [sum(piece.in_loss) for piece in pieces]
        losses = mean_losses(model, pieces, chat.tokenizer.pad_token_id)
        mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        _require_finite([mean])
        found[kind] = (len(rows), math.exp(min(mean, 700.0)))
    return found


class _PowerMeter:
    """Passes progress on and keeps what the GPU drew meanwhile."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._watts: list[float] = []

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if "gpu_power_w" in figures:
            self._watts.append(figures["gpu_power_w"])
        self._on_progress(what, done, total, figures)

    @property
    def mean_w(self) -> float | None:
        return fmean(self._watts) if self._watts else None


def _trained_tokens(lengths: Sequence[int], settings: TrainSettings, model: Any) -> int:
    running = settings if use_row_attention(model) else one_row_at_a_time(settings)
    return sum(lengths[row] for batch in micro_batches(lengths, running) for row in batch)


def _secret(request: dict[str, Any]) -> Secret | None:
    return Secret(bytes.fromhex(request["secret"])) if request["secret"] else None


def _require_finite(losses: Sequence[float]) -> None:
    if not all(map(math.isfinite, losses)):
        raise StepFailed("The loss on held-out rows is not a finite number: the weights overflow in this precision.")


def _quiet(*progress: object) -> None:
    """Tell nothing of a single batch."""


if __name__ == "__main__":
    with ExitStack() as stack:
        answer(_Trials(stack).run)
