"""The loss on rows that are held out, while training runs: early stopping, and the adapter that was best."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from numpy.typing import NDArray
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdk.errors import InvalidInput, StepFailed
from sdk.model.adapter import ADAPTER_NAME
from sdk.records import TrainSettings, ValidationPoint
from sdk.train.training_state import set_trained_parameters, trained_parameters
from sdk.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.train.trainer import Collator, Trainer

_BEST = "best/"
T = TypeVar("T")


def hold_out(
    rows: Sequence[T],
    settings: TrainSettings,
    never: Collection[int] = (),
    places: Sequence[int] | None = None,
) -> tuple[list[T], list[T]]:
    """Split rows into (rows to train on, rows that are held out), as held_out() says, each in the order given."""
    held = held_out(np.arange(len(rows)) if places is None else np.asarray(places), settings, never)
    pairs = [*zip(held.tolist(), rows, strict=True)]
    return [row for out, row in pairs if not out], [row for out, row in pairs if out]


def held_out(places: NDArray[Any], settings: TrainSettings, never: Collection[int] = ()) -> NDArray[np.bool_]:
    """Tell by the seed which rows are held out.

    places: of the row that each is of, in order, where some are pieces of one: a text is held out whole. never: places
    of rows that are trained on in any case: canaries, whose loss says nothing of the user's rows.
    Raises InvalidInput where none is left to train on.
    """
    if not settings.validation_split:
        return np.zeros(len(places), np.bool_)
    free = np.setdiff1d(places, [*never])
    count = max(1, round(len(free) * settings.validation_split))
    if count >= len(free):
        raise InvalidInput(
            f"validation_split {settings.validation_split} of {counted(len(free), 'row')} leaves none to train on; "
            "lower it or add rows."
        )
    # A draw of its own, so that the order of training is that of the remaining rows alone.
    draw = random.Random(f"validation {settings.seed}")  # noqa: S311 - decides a split, keeps no secret
    return np.isin(places, free[draw.sample(range(len(free)), count)])


class Validation(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Measures the loss every `every` steps and after the last; draws no random number and leaves the weights alone.

    batches: numbers of the collator's rows in each forward pass. after: measurements before this step are shown, but
    none of them is the best.
    """

    name = "validation"

    def __init__(
        self,
        trainer: Trainer,
        collator: Collator,
        batches: Sequence[Sequence[int]],
        settings: TrainSettings,
        every: int,
        after: int = 0,
    ) -> None:
        self.points: list[ValidationPoint] = []
        self.best_step: int | None = None
        self._best: dict[str, torch.Tensor] = {}
        self._trainer = trainer
        self._collator = collator
        self._batches = batches
        self._every = every
        self._after = after
        self._keep = settings.load_best_model_at_end
        self._patience = settings.early_stopping_patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = state.global_step
        if step % self._every and step < state.max_steps:
            return
        loss = self.loss()
        if not math.isfinite(loss):
            raise StepFailed(
                f"Training stopped at step {step} of {state.max_steps}: the validation loss is no longer a finite "
                "number. Try a third of the learning rate or a longer warm-up."
            )
        self.points.append(ValidationPoint(step=step, loss=loss))
        if step < self._after:
            return
        counted = [point for point in self.points if point.step >= self._after]
        best = min(counted, key=lambda point: point.loss).step
        if best == step:
            self.best_step = step
            if self._keep:
                self._best = {
                    name: value.to("cpu", copy=True) for name, value in trained_parameters(self._trainer.model).items()
                }
        elif self._patience is not None and sum(point.step > best for point in counted) >= self._patience:
            control.should_training_stop = True

    def restore_best(self) -> None:
        """Give the model the adapter of the lowest loss, where it was to be kept."""
        if self._best:
            set_trained_parameters(self._trainer.model, self._best)

    @torch.no_grad()
    def loss(self) -> float:
        """Return the held-out rows' mean negative log-likelihood, without dropout, noise or penalties."""
        total, tokens = 0.0, 0
        processes = self._trainer.accelerator.num_processes  # each measures all rows; compute_loss divides by them
        with _calm(self._trainer.model), self._trainer.compute_loss_context_manager():
            for batch in self._batches:
                inputs = self._trainer._prepare_inputs(self._collator([{"input_ids": list(batch)}]))
                total += float(
                    self._trainer.compute_loss(self._trainer.model_wrapped, inputs, num_items_in_batch=processes)
                )
                tokens += len(inputs["targets"])
        return total / tokens

    def tensors(self) -> dict[str, torch.Tensor]:
        measured = {
            "steps": torch.tensor([point.step for point in self.points]),
            "losses": torch.tensor([point.loss for point in self.points], dtype=torch.float64),
            "best_step": torch.tensor(self.best_step or 0),
        }
        return measured | {f"{_BEST}{name}": value for name, value in self._best.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        pairs = zip(tensors["steps"].tolist(), tensors["losses"].tolist(), strict=True)
        self.points = [ValidationPoint(step=step, loss=loss) for step, loss in pairs]
        self.best_step = int(tensors["best_step"]) or None
        self._best = {name.removeprefix(_BEST): value for name, value in tensors.items() if name.startswith(_BEST)}


@contextmanager
def _calm(model: PeftModel) -> Iterator[None]:
    """Set evaluation mode for all but bitsandbytes' layers, which repack their weights in it and cannot train again."""
    training = [module for module in model.modules() if module.training]
    config = model.peft_config[ADAPTER_NAME]
    penalty = getattr(config, "orth_reg_weight", None)
    model.eval()
    for module in training:
        if isinstance(module, Linear4bit | Linear8bitLt):
            module.training = True
    if penalty is not None:
        config.orth_reg_weight = 0.0
    try:
        yield
    finally:
        for module in training:
            module.training = True
        if penalty is not None:
            config.orth_reg_weight = penalty
