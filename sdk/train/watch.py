"""What is watched while training runs: figures of each step, numbers that are none, the time for a checkpoint."""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdk.errors import StepFailed
from sdk.records import OnProgress
from sdk.train.metrics_log import MetricsLog
from sdk.train.peak_memory import PeakMemory
from sdk.train.utilization import MachineReader, ModelFlops, model_flops, peak_flops

# At most one part in SAVE_SHARE of the time goes into checkpoints.
_SAVE_SHARE = 20
# Speed is that of the last steps, over at least this time where training has run so long.
_WINDOW_SECONDS = 10.0
_MACHINE_SECONDS = 1.0
_SHOWN = ("loss", "learning_rate", "grad_norm")  # of what the Trainer logs


class Watch(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Shows and logs each step, stops at a loss or gradient that is no number, asks for checkpoints by the clock.

    The Trainer reads the loss of each step, and so waits for the GPU; nothing here waits for it a second time. What the
    driver is asked, it is asked by a thread.
    """

    def __init__(
        self,
        tokens: NDArray[np.int64],
        pairs: NDArray[np.int64],
        memory: PeakMemory,
        on_progress: OnProgress,
        every_seconds: float,
        metrics: Path,
    ) -> None:
        """Take each step's `tokens` and `pairs`: the rows' lengths in all processes summed, and their squares."""
        self._speed = _Speed(tokens, pairs)
        self._memory = memory
        self._reader = _BackgroundReader()
        self._on_progress = on_progress
        self._every = every_seconds
        self._log = MetricsLog(metrics)
        self._saved = self._asked = time.monotonic()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        self._saved = time.monotonic()
        self._speed.begin(state.global_step, model_flops(model) if model else None, peak_flops(args.world_size))
        if state.is_world_process_zero:
            self._log.begin(state.global_step)

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
        figures, step = logs or {}, state.global_step
        if "loss" not in figures:
            return
        _check_finite(figures, step, state.max_steps)
        if not state.is_world_process_zero:
            return
        self._speed.step(step)
        now = {name: value for name, value in figures.items() if name in _SHOWN}
        now |= {**self._speed.figures(), "memory_gib": self._memory.gib}
        machine = self._reader.news()
        self._log.append(
            step,
            {
                **{f"live/{name}": value for name, value in now.items()},
                **{f"system/{name}": value for name, value in machine.items()},
            },
        )
        left = self._speed.seconds_a_step * (state.max_steps - step)
        self._on_progress("train", step, state.max_steps, {**now, **self._reader.last, "seconds_left": left})


def _check_finite(figures: dict[str, float], step: int, steps: int) -> None:
    loss, gradient = figures["loss"], figures.get("grad_norm", 0.0)
    if not (math.isfinite(loss) and math.isfinite(gradient)):
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise StepFailed(
            f"Training stopped at step {step} of {steps}: the {what} is no longer a finite number "
            f"(learning rate {figures['learning_rate']:.3g}). Try a third of the learning rate or a longer "
            "warm-up; where the base is quantized, 16-bit weights."
        )


class _Speed:
    """Tokens a second and share of the hardware's limit over the last steps."""

    def __init__(self, tokens: NDArray[np.int64], pairs: NDArray[np.int64]) -> None:
        self._tokens, self._pairs = tokens, pairs
        self._flops: ModelFlops | None = None
        self._peak: float | None = None
        self._ends: deque[tuple[int, float]] = deque()

    def begin(self, step: int, flops: ModelFlops | None, peak: float | None) -> None:
        self._flops, self._peak = flops, peak
        self._ends = deque([(step, time.monotonic())])

    def step(self, step: int) -> None:
        now = time.monotonic()
        self._ends.append((step, now))
        while len(self._ends) > 2 and now - self._ends[1][1] >= _WINDOW_SECONDS:
            self._ends.popleft()

    def _window(self) -> tuple[slice, float]:
        (first, began), (last, ended) = self._ends[0], self._ends[-1]
        return slice(first, last), max(ended - began, 1e-9)

    @property
    def seconds_a_step(self) -> float:
        steps, seconds = self._window()
        return float(seconds / (steps.stop - steps.start))

    def figures(self) -> dict[str, float]:
        steps, seconds = self._window()
        tokens = int(self._tokens[steps].sum())
        figures = {"tokens_per_second": tokens / seconds}
        if self._flops and self._peak:
            figures["mfu"] = self._flops.of(tokens, int(self._pairs[steps].sum())) / seconds / self._peak
        return figures


class _BackgroundReader:
    """The newest reading of the machine, taken by a thread that ends with this object."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self._read: MachineReader | None = None
        self._thread = ThreadPoolExecutor(1)
        self._asked = -math.inf
        self._reading: Future[dict[str, float]] | None = None

    def news(self) -> dict[str, float]:
        """Return what has been read since the last call; ask again where that is a second ago."""
        news: dict[str, float] = {}
        if self._reading and self._reading.done():
            self.last = news = self._reading.result()
            self._reading = None
        if self._reading is None and time.monotonic() - self._asked >= _MACHINE_SECONDS:
            self._asked = time.monotonic()
            self._read = self._read or MachineReader()
            self._reading = self._thread.submit(self._read.read)
        return news
