"""Micro-batches in smaller parts and over several processes; each optimizer step keeps its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdk.records import TrainSettings
from sdk.train.batching import Batches


class SplitBatches(NamedTuple):
    batches: Batches
    settings: TrainSettings
    further: bool
    notes: tuple[str, ...]


def split_batches(
    batches: Batches, lengths: Sequence[int] | NDArray[Any], settings: TrainSettings, halvings: int
) -> SplitBatches:
    """Halve micro-batches so often, with the settings for them: their effective batch is the one given.

    The number of batches becomes a multiple of settings.gpus: number m is for process m % gpus. Where rows are too few
    for that, the row with number len(lengths) stands in: Collator's filler. further: whether the largest micro-batch
    would become smaller once more.
    """
    empty = len(lengths)
    sizes = np.append(np.asarray(lengths, np.int64), 0)
    for _ in range(halvings):
        batches = _halved(batches, sizes, empty)
    parts = 2**halvings
    running = settings.model_copy(
        update={
            "per_device_train_batch_size": max(1, settings.per_device_train_batch_size // parts),
            "gradient_accumulation_steps": settings.gradient_accumulation_steps * parts,
        }
    )
    note = (
        f"Memory ran out, so micro-batches have 1/{parts} of the size asked for and gradient_accumulation_steps is "
        f"{running.gradient_accumulation_steps}; the effective batch is the one asked for."
    )
    further = bool(_halved(batches, sizes, empty).sums(sizes).max() < batches.sums(sizes).max())
    evened = batches + Batches.of([[empty]] * (-len(batches) % settings.gpus))
    return SplitBatches(evened, running, further, (note,) if halvings else ())


def _halved(batches: Batches, sizes: NDArray[np.int64], empty: int) -> Batches:
    """Cut each into two of about as many tokens, the first of at least one row; a row alone is followed by the empty
    one.
    """
    starts, ends = batches.starts, batches.ends
    before = np.concatenate([[0], np.cumsum(sizes[batches.rows])])  # tokens before each row
    twice_the_middle = before[starts] + before[ends]
    least, most = starts + 1, np.maximum(starts + 1, ends - 1)
    behind = np.searchsorted(2 * before, twice_the_middle)  # the first place that has half of the tokens before it
    low, high = np.clip(behind - 1, least, most), np.clip(behind, least, most)
    cuts = np.where(
        np.abs(2 * before[low] - twice_the_middle) <= np.abs(2 * before[high] - twice_the_middle), low, high
    )
    alone = cuts == ends
    rows = np.insert(batches.rows, ends[alone], empty)
    added = np.cumsum(alone)  # empty rows up to each micro-batch's end
    halves = np.stack([cuts + added - alone, ends + added], axis=1)
    return Batches(rows.astype(np.int32), halves.reshape(-1))
