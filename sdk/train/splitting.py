"""Micro-batches in smaller parts and over several processes; each optimizer step keeps its rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from sdk.model import Encoded
from sdk.records import TrainSettings

Batches = list[list[int]]


class SplitBatches(NamedTuple):
    batches: Batches
    settings: TrainSettings
    further: bool
    notes: tuple[str, ...]


def split_batches(batches: Batches, lengths: Sequence[int], settings: TrainSettings, halvings: int) -> SplitBatches:
    """Halve micro-batches so often, with the settings for them: their effective batch is the one given.

    The number of batches becomes a multiple of settings.gpus: number m is for process m % gpus. Where rows are too few
    for that, the row with number len(lengths) stands in, which must be filler_row()'s. further: whether the largest
    micro-batch would become smaller once more.
    """
    empty = len(lengths)
    sizes = [*lengths, 0]
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
    further = _largest(_halved(batches, sizes, empty), sizes) < _largest(batches, sizes)
    evened = batches + [[empty]] * (-len(batches) % settings.gpus)
    return SplitBatches(evened, running, further, (note,) if halvings else ())


def filler_row(rows: Sequence[Encoded]) -> Encoded:
    """Return a row that nothing is learned from: it adds nothing to the loss and costs little."""
    shortest = min(rows, key=lambda row: len(row.input_ids))
    return Encoded(input_ids=shortest.input_ids, in_loss=[False] * len(shortest.input_ids))


def _halved(batches: Batches, sizes: Sequence[int], empty: int) -> Batches:
    """Cut each into two of about as many tokens; a row alone is followed by the empty one."""
    parts = []
    for batch in batches:
        place = _middle([sizes[row] for row in batch])
        parts += [batch[:place], batch[place:] or [empty]]
    return parts


def _largest(batches: Batches, sizes: Sequence[int]) -> int:
    return max(sum(sizes[row] for row in batch) for batch in batches)


def _middle(sizes: Sequence[int]) -> int:
    """Return where to cut so that both sides hold about as many tokens, and at least one row stands before the cut."""
    before = list(accumulate(sizes))
    return min(range(1, max(2, len(sizes))), key=lambda place: abs(2 * before[place - 1] - before[-1]))
