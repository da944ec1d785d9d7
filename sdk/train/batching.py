"""Which rows go through the model together, and when: drawn once for the whole run, so no sampler has a state."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.packing import OPEN_MICRO_BATCHES, best_fit
from sdk.records import TrainSettings

Numbers = NDArray[np.int32]


class Batches(Sequence[list[int]]):
    """The numbers of the rows in each micro-batch, in two arrays: rows one behind the other, and where each has ended.

    A whole run has as many as millions of rows have in all their epochs, so they are no lists.
    """

    def __init__(self, rows: Numbers, ends: NDArray[np.int64]) -> None:
        self.rows, self.ends = rows, ends

    @classmethod
    def of(cls, batches: Iterable[Sequence[int]]) -> Batches:
        rows, ends = array("i"), array("q")
        for batch in batches:
            rows.extend(batch)
            ends.append(len(rows))
        return cls(np.array(rows, np.int32), np.array(ends, np.int64))

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), self.ends])[:-1]

    def sums(self, values: ArrayLike) -> NDArray[np.int64]:
        """Sum up a value of each row, by its number, in each micro-batch."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.add.reduceat(np.asarray(values, np.int64)[self.rows], self.starts)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> list[int]: ...

    @overload
    def __getitem__(self, place: slice) -> Batches: ...

    def __getitem__(self, place: int | slice) -> list[int] | Batches:
        if isinstance(place, int):
            own: list[int] = self.rows[self.starts[place] : self.ends[place]].tolist()
            return own
        first, last, _ = slice(place.start, place.stop).indices(len(self))
        begin = int(self.ends[first - 1]) if first else 0
        end = int(self.ends[last - 1]) if last > first else begin
        return Batches(self.rows[begin:end], self.ends[first : max(first, last)] - begin)

    def __iter__(self) -> Iterator[list[int]]:
        begin = 0
        for end in self.ends.tolist():
            yield self.rows[begin:end].tolist()
            begin = end

    def __add__(self, others: Batches) -> Batches:
        ends = np.concatenate([self.ends, others.ends + len(self.rows)])
        return Batches(np.concatenate([self.rows, others.rows]), ends)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Batches):
            return np.array_equal(self.rows, other.rows) and np.array_equal(self.ends, other.ends)
        return [*self] == other

    __hash__ = None  # type: ignore[assignment]


def micro_batches(lengths: Sequence[int] | NDArray[Any], settings: TrainSettings) -> Batches:
    """Draw the row numbers of each forward pass of the whole run, epoch after epoch.

    lengths: tokens of each row. With packing a micro-batch holds as many rows as fit into per_device_train_batch_size x
    max_length tokens, else per_device_train_batch_size rows. The first one is as large as any can be (the longest rows;
    with packing the fullest of the first), so that a lack of memory shows at once and not after hours. What is drawn
    for max_steps=3 is the beginning of what is drawn for 6.
    """
    draw = random.Random(settings.seed)  # noqa: S311 - decides an order, keeps no secret
    size, count = settings.per_device_train_batch_size, None
    rows = _epochs(np.asarray(lengths), size * settings.gradient_accumulation_steps * settings.gpus, draw)
    if settings.max_steps > 0:
        count = settings.max_steps * settings.gradient_accumulation_steps * settings.gpus
    else:
        rows = islice(rows, max(1, round(len(lengths) * settings.num_train_epochs)))
    if not settings.packing:
        return _by_number(rows if count is None else islice(rows, count * size), size)
    # An array's numbers are Python's own, which are faster one by one than NumPy's.
    packed = _packed(rows, array("q", np.asarray(lengths).tolist()), size * settings.max_length, draw)
    return Batches.of(islice(packed, count))


def continued(before: Batches, batches: Batches, together: int) -> Batches:
    """Return all of an earlier run's micro-batches, then those that `batches` has more of.

    together: micro-batches in one optimizer step. Where the earlier run's last step had fewer, its room stays taken.
    """
    return before + before[: -len(before) % together] + batches[len(before) :]


def _epochs(lengths: NDArray[Any], first: int, draw: random.Random) -> Iterator[int]:
    """Yield all rows again and again, shuffled in each epoch; the `first` longest rows come first of all."""
    longest = np.argsort(-lengths, kind="stable")[:first]
    epoch = array("q", np.delete(np.arange(len(lengths)), longest).tolist())
    draw.shuffle(epoch)
    yield from longest.tolist()
    yield from epoch
    while True:
        epoch = array("q", range(len(lengths)))
        draw.shuffle(epoch)
        yield from epoch


def _by_number(rows: Iterator[int], size: int) -> Batches:
    numbers = np.fromiter(rows, np.int32)
    ends = np.arange(size, len(numbers) + size, size, dtype=np.int64)
    return Batches(numbers, np.minimum(ends, len(numbers)))


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
