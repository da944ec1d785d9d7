"""The process of a pilot: trains a candidate for a little, then asks it, one candidate after the other."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sdk.crypto import Secret
from sdk.data import Row, read_rows, rows_of
from sdk.data.base_folder import Base, base_from_json
from sdk.data.canaries import is_canary
from sdk.data.measures import Measures
from sdk.errors import StepFailed
from sdk.evaluate import QUESTIONS_AT_ONCE, ask, mean_losses
from sdk.intervals import SEED
from sdk.isolated import answer
from sdk.measure.trials import TrialResult
from sdk.model import Chat, encode_rows, keep_base_open, learned
from sdk.model.adapter import attach_adapter
from sdk.model.load import load_base
from sdk.packing import one_row_at_a_time
from sdk.records import OnProgress, Scoring, TrainSettings
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
        """Train a candidate and ask it."""
        settings = TrainSettings.model_validate(request["settings"])
        if self._base is None:
            self._base = base_from_json(request["base"])
            self._opened.enter_context(keep_base_open(self._base))
        base, prompt = self._base, request["prompt"]
        data, out = rows_of(request["data"]), Path(request["out"])
        secret = Secret(bytes.fromhex(request["secret"])) if request["secret"] else None
        run = train(Job(data, base, prompt, settings, out, ONLY_THE_LAST_CHECKPOINT, secret), on_progress)
        gc.collect()  # the trained model, before another is loaded
        model, tokenizer = load_base(base, settings)
        adapted = attach_adapter(model, *read_adapter(out))
        chat = Chat(tokenizer)
        texts = read_rows(data).rows
        rows = encode_rows(chat, texts, prompt, settings.max_length, learned(settings))
        trained, held = hold_out(rows, settings, {place for place, row in enumerate(texts) if is_canary(row.id)})
        losses = mean_losses(adapted, held, tokenizer.pad_token_id)
        if not all(map(math.isfinite, losses)):
            raise StepFailed(
                "The loss on held-out rows is not a finite number: the weights overflow in this precision."
            )
        questions = read_rows(rows_of(request["evaluation"])).rows
        scores = _scores(adapted, chat, questions, request, on_progress)
        lengths = [len(row.input_ids) for row in trained]
        running = settings if use_row_attention(model) else one_row_at_a_time(settings)
        result = TrialResult(
            steps=run.steps,
            tokens=sum(lengths[row] for batch in micro_batches(lengths, running) for row in batch),
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


def _quiet(*progress: object) -> None:
    """Tell nothing of a single batch."""


if __name__ == "__main__":
    with ExitStack() as stack:
        answer(_Trials(stack).run)
