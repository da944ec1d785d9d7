"""What the settings ask for around the loss: AdaLoRA's allocator, noise, validation."""

from __future__ import annotations

import numpy as np

from sdk.model.token_rows import TokenRows
from sdk.records import TrainSettings
from sdk.train.noise import Noise
from sdk.train.ranks import Ranks
from sdk.train.trainer import Collator, Trainer
from sdk.train.validation import Validation


def add_callbacks(
    trainer: Trainer, settings: TrainSettings, held: TokenRows, by_rows: bool, steps_per_epoch: int
) -> Validation | None:
    """Add to the trainer what the settings ask for. held: rows that are held out.

    Returns what measures the loss on held rows; None without any.
    """
    if settings.neftune_noise_alpha is not None:
        Noise(trainer.model, settings.neftune_noise_alpha)
    settled = 0
    if settings.peft_type == "adalora":
        ranks = Ranks(trainer.model)
        trainer.add_callback(ranks)
        trainer.carried.append(ranks)
        settled = ranks.settled
    if not len(held):
        return None
    longest_first = np.argsort(-held.lengths, kind="stable").tolist()
    size = settings.per_device_train_batch_size
    batches = [longest_first[start : start + size] for start in range(0, len(held), size)]
    every = settings.eval_steps or steps_per_epoch
    validation = Validation(trainer, Collator(held, by_rows), batches, settings, every, settled)
    trainer.add_callback(validation)
    trainer.carried.append(validation)
    return validation
