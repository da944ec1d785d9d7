"""The rows that training would begin with, once through the engine: what they take in memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import Field
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from sdk.data import RowsFile, read_rows
from sdk.data.base_folder import Base, base_from_json
from sdk.model import Chat, Encoded, cut_texts, encode_rows, learned
from sdk.records import PROMPTS, Frozen, OnProgress, TrainSettings
from sdk.train.batching import micro_batches, one_row_at_a_time
from sdk.train.checkpoints import Checkpoints
from sdk.train.engine import use_row_attention
from sdk.train.failures import failures, memory_of_steps
from sdk.train.isolated import answer, run_isolated
from sdk.train.job import rows_of, rows_request
from sdk.train.methods import check_settings
from sdk.train.peak_memory import PeakMemory
from sdk.train.session import Session
from sdk.train.trainer import Collator
from sdk.train.training_run import load, make_trainer

# Gradients wait for a second pass where rows are accumulated; a third would take nothing more.
_PASSES = 2


class PassMeasurement(Frozen):
    gib: float = Field(description="peak, as PeakMemory measures it")
    seconds: float = Field(description="of one forward and backward pass, with its share of the optimizer's step")
    lengths: tuple[int, ...] = Field(description="tokens of each row in the pass")
    learned: float = Field(description="share of the tokens that the loss is taken on")


def measure(
    data: RowsFile | Path, base: Base, prompt: str, settings: TrainSettings, on_progress: OnProgress
) -> PassMeasurement:
    """Measure two optimizer steps on the largest micro-batch of the rows in `data`, in a process of its own on one GPU.

    Raises InvalidInput as training does, MemoryRanOut where a step does not fit, StepFailed where the base does not.
    """
    request = {
        "data": rows_request(data),
        "base": base,
        "prompt": prompt,
        "settings": settings.model_dump(mode="json"),
    }
    return PassMeasurement.model_validate(run_isolated(__name__, request, on_progress))


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
    alone = {"max_steps": steps, "gradient_accumulation_steps": passes, "gpus": 1}
    clock = _Clock()
    with PeakMemory() as memory, TemporaryDirectory() as folder:
        session = Session(Path(folder), Checkpoints(Path(folder), ""), None, memory, time.monotonic())
        trainer = make_trainer(
            model,
            tokenizer,
            running.model_copy(update=alone),
            [list(range(len(batch)))] * (passes * steps),
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


def _measure_here(request: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    settings = TrainSettings.model_validate(request["settings"])
    check_settings(settings)
    with failures(settings), PeakMemory() as memory:
        set_seed(settings.seed)
        model, tokenizer, _ = load(base_from_json(request["base"]), settings)
        texts = read_rows(rows_of(request["data"])).rows
        encoded = encode_rows(Chat(tokenizer), texts, request["prompt"], settings.max_length, learned(settings))
        rows, _ = cut_texts(texts, encoded, settings.max_length)
        loaded = memory.gib  # on a GPU measure_step() begins anew
        measured = measure_step(model, tokenizer, rows, settings)
    return measured.model_copy(update={"gib": max(loaded, memory.gib)}).model_dump(mode="json")


if __name__ == "__main__":
    answer(_measure_here)
