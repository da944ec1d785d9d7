"""What a leak check can see: how its control is trained, and whether a run is long enough to be checked by one.

Arithmetic on records and settings; nothing here loads torch, so that both are known before anything is trained.
"""

from __future__ import annotations

import math

from sdk.records import PROMPTS, Run, TrainSettings

# A control that stays below these was hardly learned; chance is 1.4 bits and .5.
CONTROL_BITS = 3.0
CONTROL_AUC = 0.8
CONTROLS = 16  # canaries of the control
CONTROL_PASSES = 20.0  # at least; a control shows what the measurement can see
_CONTROL_BATCH = 8  # rows in a step at most, so that few canaries make steps enough
_CONTROL_LENGTH = 1024
# A value that a model saw once in plain is not found, one that it saw twice or more is: docs/leaks.md has the figures.
_LEAST_PASSES = 2.0


def passes(run: Run, rows: int) -> float | None:
    """Return how often the run saw each of its rows. None if packed rows were counted by steps."""
    return _passes(run.settings, run.steps, rows)


def _passes(settings: TrainSettings, steps: int, rows: int) -> float | None:
    if settings.max_steps < 0 and not settings.early_stopping_patience:
        return settings.num_train_epochs
    return None if settings.packing else steps * _rows_in_a_step(settings) / rows


def _rows_in_a_step(settings: TrainSettings) -> int:
    return settings.per_device_train_batch_size * settings.gradient_accumulation_steps * settings.gpus


def why_little_is_found(settings: TrainSettings, steps: int, rows: int, train: str = "sdk train") -> tuple[str, ...]:
    """Return why a leak check of a training would find little, with what mends it; empty where nothing is known.

    steps: of the training; rows: that it is drawn from, canaries among them; train: the command that trains for longer.
    """
    seen, notes = _passes(settings, steps, rows), []
    if seen is not None and seen < _LEAST_PASSES:
        needed = math.ceil(_LEAST_PASSES * rows / _rows_in_a_step(settings))
        more = f"--max-steps {needed}" if settings.max_steps > 0 else f"--num-train-epochs {_LEAST_PASSES:g}"
        notes.append(
            f"the leak check will find little: this training sees each row {seen:.2g} times, and only what was seen "
            f"twice or more is found, even in plain. `{train} {more}` mends it."
        )
    if settings.peft_type in PROMPTS:
        notes.append(
            f"the leak check is likely to end without a result (exit code 5): a control of {settings.peft_type} was "
            f"not caught in any trial. `{train.partition(' --')[0]} --peft-type lora` mends it."
        )
    return tuple(notes)


def control_settings(settings: TrainSettings, canaries: int, passes: float | None) -> TrainSettings:
    """Adapt the run's settings to one device and few rows, each of which is seen as often as by the run or more."""
    size = min(settings.per_device_train_batch_size, _CONTROL_BATCH, canaries)
    together = min(_rows_in_a_step(settings), _CONTROL_BATCH)
    return settings.model_copy(
        update={
            "gpus": 1,
            "shard_base": False,
            "packing": False,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": max(1, together // size),
            "max_steps": -1,
            "num_train_epochs": max(CONTROL_PASSES, passes or 0.0),
            "max_length": max(settings.max_length, _CONTROL_LENGTH),
            "validation_split": 0.0,
            "eval_steps": None,
            "load_best_model_at_end": False,
            "early_stopping_patience": None,
        }
    )
