"""What is watched while training runs: progress, numbers that are none, the time for a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdk.errors import StepFailed
from sdk.records import OnProgress
from sdk.train.memory import PeakMemory

# At most one part in SAVE_SHARE of the time goes into checkpoints.
_SAVE_SHARE = 20


class Watch(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Shows each step, stops at a loss or gradient that is no number, and asks for checkpoints by the clock."""

    def __init__(
        self, tokens: Sequence[int], memory: PeakMemory, on_progress: OnProgress, every_seconds: float
    ) -> None:
        self._tokens = tokens
        self._memory = memory
        self._on_progress = on_progress
        self._every = every_seconds
        self._saved = self._began = time.monotonic()
        self._asked = self._began
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = self._began = time.monotonic()
        self._first = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._asked = time.monotonic()
        if self._asked - self._saved >= self._every and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = time.monotonic()
        if self._every:
            self._every = max(self._every, _SAVE_SHARE * (self._saved - self._asked))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        figures = logs or {}
        if "loss" not in figures:
            return
        step, loss, gradient = state.global_step, figures["loss"], figures.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise StepFailed(
                f"Training stopped at step {step} of {state.max_steps}: the {what} is no longer a finite number "
                f"(learning rate {figures['learning_rate']:.3g}). Try a third of the learning rate or a longer "
                "warm-up; where the base is quantized, 16-bit weights."
            )
        seconds = time.monotonic() - self._began
        done = step - self._first
        self._on_progress(
            "train",
            step,
            state.max_steps,
            {
                "loss": loss,
                "tokens_per_second": sum(self._tokens[self._first : step]) / seconds,
                "memory_gib": self._memory.gib,
                "seconds_left": seconds / done * (state.max_steps - step),
            },
        )
