"""Which rows go through the model together, and when: drawn once for the whole run, so no sampler has a state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from sdk.packing import OPEN_MICRO_BATCHES, best_fit
from sdk.records import TrainSettings


def micro_batches(lengths: Sequence[int], settings: TrainSettings) -> list[list[int]]:
    """Draw the row numbers of each forward pass of the whole run, epoch after epoch.

    lengths: tokens of each row. With packing a micro-batch holds as many rows as fit into per_device_train_batch_size x
    max_length tokens, else per_device_train_batch_size rows. The first one is as large as any can be (the longest rows;
    with packing the fullest of the first), so that a lack of memory shows at once and not after hours. What is drawn
    for max_steps=3 is the beginning of what is drawn for 6.
    """
    draw = random.Random(settings.seed)  # noqa: S311 - decides an order, keeps no secret
    size, count = settings.per_device_train_batch_size, None
    rows = _epochs(lengths, size * settings.gradient_accumulation_steps * settings.gpus, draw)
    if settings.max_steps > 0:
        count = settings.max_steps * settings.gradient_accumulation_steps * settings.gpus
    else:
        rows = islice(rows, max(1, round(len(lengths) * settings.num_train_epochs)))
    batches = _packed(rows, lengths, size * settings.max_length, draw) if settings.packing else _by_number(rows, size)
    return list(islice(batches, count))


def continued(before: list[list[int]], batches: list[list[int]], together: int) -> list[list[int]]:
    """Return all of an earlier run's micro-batches, then those that `batches` has more of.

    together: micro-batches in one optimizer step. Where the earlier run's last step had fewer, its room stays taken.
    """
    return before + before[: -len(before) % together] + batches[len(before) :]


def _epochs(lengths: Sequence[int], first: int, draw: random.Random) -> Iterator[int]:
    """Yield all rows again and again, shuffled in each epoch; the `first` longest rows come first of all."""
    longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])[:first]
    epoch = [row for row in range(len(lengths)) if row not in longest]
    draw.shuffle(epoch)
    yield from longest
    yield from epoch
    while True:
        epoch = list(range(len(lengths)))
        draw.shuffle(epoch)
        yield from epoch


def _by_number(rows: Iterator[int], size: int) -> Iterator[list[int]]:
    while batch := list(islice(rows, size)):
        yield batch


def _packed(rows: Iterator[int], lengths: Sequence[int], room: int, draw: random.Random) -> Iterator[list[int]]:
    """Yield micro-batches packed by best fit, longest row first, over as many rows as fill OPEN_MICRO_BATCHES.

    The emptiest of them is not yielded but waits for the next rows, until there are none.
    """
    waiting: list[int] = []
    begun = ended = False
    while not ended:
        tokens = sum(lengths[row] for row in waiting)
        ended = True
        for row in rows:
            waiting.append(row)
            tokens += lengths[row]
            if tokens >= OPEN_MICRO_BATCHES * room:
                ended = False
                break
        waiting.sort(key=lambda row: -lengths[row])
        bins = [[waiting[place] for place in places] for places in best_fit([lengths[row] for row in waiting], room)]
        bins.sort(key=lambda batch: sum(lengths[row] for row in batch))
        if not ended:
            waiting = bins.pop(0)
        if not begun and bins:  # the fullest comes first, so that a lack of memory shows at once
            begun = True
            yield bins.pop()
        draw.shuffle(bins)
        yield from bins
