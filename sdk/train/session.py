"""What one call adds to a training run: where it starts, what it takes, what the user should know."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from sdk.errors import InvalidInput
from sdk.files.regular_files import FIGURES_BYTES, read_if_there
from sdk.files.store import SPOOL, write_atomic
from sdk.records import TrainSettings
from sdk.train.checkpoints import Checkpoints, TrainingCheckpoint
from sdk.train.peak_memory import PeakMemory
from sdk.train.training_state import Position

POSITION = "position.json"
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")


@dataclass(frozen=True)
class Earlier:
    """A finished run to go on from: the folder of its files and its settings."""

    folder: Path
    settings: TrainSettings


def find_start(checkpoints: Checkpoints, earlier: Checkpoints | None) -> TrainingCheckpoint | None:
    """Return the run's own newest checkpoint, else the earlier run's last one.

    Raises InvalidInput where there is an earlier run, but nothing of it to go on from.
    """
    start = checkpoints.newest()
    if start is None and earlier is not None:
        start = earlier.newest()
        if start is None:
            raise InvalidInput(
                f"{earlier.folder} holds no whole checkpoint of the run to go on from; train without resume.",
                earlier.damaged,
            )
    return start


class Session:
    """One call of train(), from its beginning on."""

    def __init__(
        self, out: Path, checkpoints: Checkpoints, start: TrainingCheckpoint | None, memory: PeakMemory, began: float
    ) -> None:
        self.checkpoints = checkpoints
        self.start = start
        self.notes: list[str] = list(checkpoints.damaged)
        self._began = began
        self._training = 0.0  # when it began in this call; 0: not yet
        self._memory = memory
        self._metrics = out / SPOOL
        self._made_with = _made_with()
        self._before = Position.model_validate_json(start.files[POSITION]) if start else None
        if self._before is not None:
            self._compare(self._before.made_with)

    @property
    def step(self) -> int:
        return self.start.step if self.start else 0

    def begin_training(self) -> None:
        self._training = time.monotonic()

    def position(self, step: int, micro_batches: int) -> Position:
        """Return what the run has taken up to now, the calls before this one included."""
        now, before = time.monotonic(), self._before
        return Position(
            step=step,
            micro_batches=micro_batches,
            seconds=now - self._began + (before.seconds if before else 0.0),
            training_seconds=now - (self._training or now) + (before.training_seconds if before else 0.0),
            memory_gib=max(self._memory.gib, before.memory_gib if before else 0.0),
            notes=tuple(dict.fromkeys([*(before.notes if before else ()), *self.notes])),
            made_with=self._made_with,
        )

    def metrics(self) -> dict[str, bytes]:
        """Return the file of the figures up to now, as a checkpoint keeps it."""
        figures = read_if_there(self._metrics, FIGURES_BYTES)
        return {} if figures is None else {SPOOL: figures}

    def restore_metrics(self) -> None:
        if self.start and SPOOL in self.start.files:
            write_atomic(self._metrics, self.start.files[SPOOL])

    def _compare(self, made_with: dict[str, str]) -> None:
        others = [
            f"{name} {now} instead of {made_with.get(name, 'none')}"
            for name, now in self._made_with.items()
            if made_with.get(name) != now
        ]
        if others:
            self.notes.append(
                f"Went on from step {self.step} with {', '.join(others)}: the adapter may differ in its last bits from "
                "that of an uninterrupted run."
            )


def _made_with() -> dict[str, str]:
    """Return what must stay the same for a run to go on as if it had never stopped, bit by bit."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": str(torch.get_num_threads()),
    }
