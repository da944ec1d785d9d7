"""The rows that training would begin with, once through the engine: what they take in memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from sdk.data import read_rows, rows_of
from sdk.data.base_folder import Base, base_from_json
from sdk.model import Chat, Encoded, Learned, cut_texts, encode_rows, keep_base_open, learned
from sdk.packing import one_row_at_a_time
from sdk.processes.isolated import answer
from sdk.records import PROMPTS, OnProgress, PassMeasurement, TrainSettings
from sdk.train.batching import Batches, micro_batches
from sdk.train.checkpoints import Checkpoints
from sdk.train.engine import use_row_attention
from sdk.train.engine.graphs import launch_bound
from sdk.train.failures import failures, memory_of_steps
from sdk.train.methods import check_settings
from sdk.train.peak_memory import PeakMemory
from sdk.train.session import Session
from sdk.train.trainer import Collator
from sdk.train.training_run import load, make_trainer

# Gradients wait for a second pass where rows are accumulated; a third would take nothing more.
_PASSES = 2


def measure_step(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    settings: TrainSettings,
    steps: int = 2,
) -> PassMeasurement:
    """Measure the micro-batch that training on `rows` would begin with, again and again; the last step is timed.

    model: as training_run.load() gives it, and of no use afterwards. On a CPU the peak is that since this call.
    """
    by_rows = settings.peft_type not in PROMPTS and use_row_attention(model)
    running = settings if by_rows else one_row_at_a_time(settings)
    batch = [rows[row] for row in micro_batches([len(row.input_ids) for row in rows], running)[0]]
    passes = min(_PASSES, running.gradient_accumulation_steps)
    if passes == 1 and torch.cuda.is_available() and launch_bound(model, running):
        steps += 1  # in the second pass the layers are recorded, which is not to be timed
    alone = {"max_steps": steps, "gradient_accumulation_steps": passes, "gpus": 1}
    clock = _Clock()
    with PeakMemory() as memory, TemporaryDirectory() as folder:
        session = Session(Path(folder), Checkpoints(Path(folder), ""), None, memory, time.monotonic())
        trainer = make_trainer(
            model,
            tokenizer,
            running.model_copy(update=alone),
            Batches.of([range(len(batch))] * (passes * steps)),
            steps,
            Collator(batch, by_rows),
            session,
            [clock],
        )
        with memory_of_steps(divisible=True):
            trainer.train()
    tokens = sum(len(row.input_ids) for row in batch)
    return PassMeasurement(
        gib=memory.gib,
        seconds=clock.seconds / passes,
        lengths=tuple(len(row.input_ids) for row in batch),
        learned=sum(sum(row.in_loss) for row in batch) / tokens,
    )


class _Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Seconds of the last optimizer step."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began = _now()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.seconds = _now() - self._began


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class _Passes:
    """Passes of several candidates over the same rows, which are tokenized once."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._base: Base | None = None
        self._rows: dict[tuple[int, Learned], list[Encoded]] = {}

    def measure(self, request: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
        """Measure two optimizer steps of a candidate on the largest micro-batch of the rows, on one GPU.

        Raises InvalidInput as training does, MemoryRanOut where a step does not fit, StepFailed where the base does
        not.
        """
        settings = TrainSettings.model_validate(request["settings"])
        check_settings(settings)
        if self._base is None:
            self._base = base_from_json(request["base"])
            self._opened.enter_context(keep_base_open(self._base))
        with failures(settings), PeakMemory() as memory:
            set_seed(settings.seed)
            model, tokenizer, _ = load(self._base, settings)
            rows = self._encoded(request, settings, Chat(tokenizer))
            loaded = memory.gib  # on a GPU measure_step() begins anew
            measured = measure_step(model, tokenizer, rows, settings)
        return measured.model_copy(update={"gib": max(loaded, memory.gib)}).model_dump(mode="json")

    def _encoded(self, request: dict[str, Any], settings: TrainSettings, chat: Chat) -> list[Encoded]:
        key = (settings.max_length, learned(settings))
        if key not in self._rows:
            texts = read_rows(rows_of(request["data"])).rows
            encoded = encode_rows(chat, texts, request["prompt"], *key)
            self._rows[key], _ = cut_texts(texts, encoded, settings.max_length)
        return self._rows[key]


if __name__ == "__main__":
    with ExitStack() as stack:
        answer(_Passes(stack).measure)
