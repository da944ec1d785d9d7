"""When a checkpoint is saved besides by the clock: at the end, and at SIGTERM, after which the same command goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdk.errors import StepFailed
from sdk.train.resumable import Resumable
from sdk.train.training_state import Rng

_SAVE, _STOP = 1, 2


class _Saving(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Saves at the run's end; after SIGTERM saves and raises at the next place where that is exact.

    An accumulation that is not whole is discarded and done again later. While the validation loss is taken nothing is
    saved: its result belongs to its step, so the run goes on from the checkpoint before. Several processes stop
    together, after a step.
    """

    def __init__(self, trainer: Resumable) -> None:
        self.asked = False
        self._trainer = trainer
        self._ending = False
        self._rng = Rng.now()

    def ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process

    def error(self) -> StepFailed:
        state = self._trainer.state
        return StepFailed(
            f"Training was stopped by SIGTERM at step {state.global_step} of {state.max_steps}. Run the same command "
            "again: it goes on from there."
        )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._rng = Rng.now()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.asked and args.world_size == 1:
            if state.global_step:
                self._trainer.save(self._rng)
            raise self.error()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        save = control.should_save or state.global_step >= state.max_steps
        wish = self._trainer.agreed(_STOP if self.asked else _SAVE * save)
        control.should_save = wish > 0
        self._ending = wish == _STOP

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_save |= control.should_training_stop

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._ending:
            raise self.error()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.asked:
            raise StepFailed(
                f"Training was stopped by SIGTERM while the validation loss of step {state.global_step} was taken. Run "
                "the same command again: it goes on from the last checkpoint."
            )


@contextmanager
def saving(trainer: Resumable) -> Iterator[None]:
    """Save the last step, and on SIGTERM save and raise StepFailed; a second one does what it does elsewhere.

    Only a process's main thread can be told of signals; in another one nothing changes.
    """
    saves = _Saving(trainer)
    trainer.add_callback(saves)
    listens = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, saves.ask) if listens else None
    try:
        yield
    finally:
        if listens:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        trainer.remove_callback(saves)
    if saves.asked:
        raise saves.error()
