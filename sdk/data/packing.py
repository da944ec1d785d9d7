"""What rows of known lengths make of a forward pass: its tokens on average and at most."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from sdk.records import Lengths, Needs, TrainSettings

_SIMULATED_ROWS = 4_000
_OPEN = 32  # micro-batches that training fills side by side


class Filling(NamedTuple):
    """One forward pass on one GPU."""

    tokens: float  # on average
    largest: int  # tokens of the largest one
    rows: float  # on average
    row: float  # tokens of a row as attention sees it: the mean weighted by length


def filling(settings: TrainSettings, needs: Needs) -> Filling:
    """By the lengths of the user's rows; without them every row has max_length tokens."""
    batch, length, lengths = settings.per_device_train_batch_size, settings.max_length, needs.lengths
    if lengths is None:
        return Filling(batch * length, batch * length, batch, length)
    mean = lengths.total / lengths.rows
    largest = max(1, largest_micro_batch(lengths, batch, length, settings.packing))
    told = lengths.model_dump_json()  # a record that holds a dict cannot be hashed
    tokens = batch * length * _packed(told, batch, length) if settings.packing else batch * mean
    tokens = min(tokens, largest)
    return Filling(tokens, largest, tokens / mean, _weighted(told))


@cache
def _packed(told: str, batch: int, length: int) -> float:
    return packing_efficiency(Lengths.model_validate_json(told), batch, length)


@cache
def _weighted(told: str) -> float:
    """Mean of the squares over the mean, from the percentiles."""
    lengths = Lengths.model_validate_json(told)
    at = _quantile(lengths)
    sample = [at((place + 0.5) / 64) for place in range(64)]
    return sum(length * length for length in sample) / sum(sample)


def largest_micro_batch(lengths: Lengths, batch: int, max_length: int, packing: bool, epochs: float = math.inf) -> int:
    """Tokens of the largest forward pass: of the longest rows, or with packing the most that can come together.

    batch: per_device_train_batch_size. Rows above max_length count as max_length: training refuses them.
    """
    room = batch * max_length
    in_all = lengths.total * (math.ceil(epochs) if math.isfinite(epochs) else math.inf)
    if packing:
        return int(min(room, in_all))
    epochs_in_one, others = divmod(batch, lengths.rows)
    longest = lengths.longest[:others]
    tokens = sum(min(length, max_length) for length in longest)
    tokens += (others - len(longest)) * min(lengths.longest[-1], max_length)
    return int(min(room, in_all, epochs_in_one * lengths.total + tokens))


def packing_efficiency(lengths: Lengths, batch: int, max_length: int) -> float:
    """The share of batch x max_length tokens that rows fill on average, in a run of many steps.

    Rows drawn from the distribution are packed as training packs them: best fit, longest first, over as many as fill
    32 micro-batches, of which the emptiest waits for more rows. Of the distribution no more than Lengths is known.
    """
    room, draw = batch * max_length, random.Random(0)  # noqa: S311 - a simulation, keeps no secret
    at = _quantile(lengths)
    rows_in_one = room * lengths.rows / lengths.total
    bins = max(2, min(_OPEN, int(_SIMULATED_ROWS / rows_in_one)))
    rows = math.ceil(bins * rows_in_one)
    kept: list[int] = []
    for _ in range(max(1, int(_SIMULATED_ROWS / rows))):
        filled = sorted(_best_fit(sorted((min(at(draw.random()), room) for _ in range(rows)), reverse=True), room))
        kept += filled[1:] or filled
    return sum(kept) / (len(kept) * room)


def _quantile(lengths: Lengths) -> Callable[[float], int]:
    """The length that a share of the rows exceeds.

    Between known percentiles lengths lie on straight lines, below the lowest on a power curve that gives the right
    total.
    """
    known = [(0.0, lengths.longest[0])]
    known += [(1 - share / 100, length) for share, length in sorted(lengths.percentiles.items(), reverse=True)]
    area = sum((right - left) * (high + low) / 2 for (left, high), (right, low) in pairwise(known))
    rest, lowest = 1 - known[-1][0], known[-1][1]
    mean = min(lowest, max(1.1, (lengths.total / lengths.rows - area) / rest))
    power = (lowest - 1) / (mean - 1) - 1 if lowest > 1 else 0.0

    def at(share: float) -> int:
        place = int(share * lengths.rows)
        if place < len(lengths.longest):
            return lengths.longest[place]
        for (left, high), (right, low) in pairwise(known):
            if share <= right:
                return round(high + (low - high) * (share - left) / (right - left))
        return round(1 + (lowest - 1) * math.pow((1 - share) / rest, power))

    return at


def _best_fit(lengths: Iterable[int], room: int) -> list[int]:
    """Tokens in each micro-batch; each row goes where the least room stays."""
    free: list[int] = []
    for length in lengths:
        place = bisect_left(free, length)
        left = free.pop(place) if place < len(free) else room
        insort(free, left - length)
    return [room - left for left in free]
