"""Packing rows into micro-batches: the algorithm that training uses, and what advice expects of it.

Both stand here, because advice whose packing differs from training's is wrong without a sign of it. Not in sdk.data,
whose readers bring Arrow and NumPy: `sdk advise` answers without either.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from sdk.records import Lengths, Needs, TrainSettings

# Micro-batches that are packed side by side: more leave fewer gaps, fewer mix rows better.
OPEN_MICRO_BATCHES = 32
_SIMULATED_ROWS = 4_000


class MicroBatch(NamedTuple):
    """What one forward pass on one GPU is expected to hold."""

    tokens: float  # on average
    largest: int  # tokens of the largest one
    rows: float  # on average
    row: float  # tokens of a row as attention sees it: the mean weighted by length


def expected_micro_batch(settings: TrainSettings, needs: Needs) -> MicroBatch:
    """Return what a forward pass holds by the lengths of the user's rows.

    Without known lengths every row counts as max_length tokens.
    """
    batch, length, lengths = settings.per_device_train_batch_size, settings.max_length, needs.lengths
    if lengths is None:
        return MicroBatch(batch * length, batch * length, batch, length)
    mean = lengths.total / lengths.rows
    largest = max(1, largest_micro_batch(lengths, batch, length, settings.packing))
    key = lengths.model_dump_json()  # a record that holds a dict cannot be hashed
    tokens = batch * length * _cached_efficiency(key, batch, length) if settings.packing else batch * mean
    tokens = min(tokens, largest)
    return MicroBatch(tokens, largest, tokens / mean, _length_weighted_mean(key))


def one_row_at_a_time(settings: TrainSettings) -> TrainSettings:
    """Return settings of the same effective batch for models and adapters that cannot keep rows apart in one pass."""
    return settings.model_copy(
        update={
            "packing": False,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": settings.gradient_accumulation_steps * settings.per_device_train_batch_size,
        }
    )


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Pack rows in the order given into bins of `room` tokens: each goes where the least room stays, else a new bin.

    lengths: tokens of each row. Returns the rows' places in each bin, bins in the order in which they were begun.
    """
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, number of the bin), ascending; of equal rooms the older bin is taken
    for place, length in enumerate(lengths):
        fitting = bisect_left(free, (length, 0))
        if fitting == len(free):
            bins.append([])
            left, number = room, len(bins) - 1
        else:
            left, number = free.pop(fitting)
        bins[number].append(place)
        insort(free, (left - length, number))
    return bins


@cache
def _cached_efficiency(lengths: str, batch: int, max_length: int) -> float:
    """Call packing_efficiency() with lengths given as JSON, which can be a cache's key."""
    return packing_efficiency(Lengths.model_validate_json(lengths), batch, max_length)


@cache
def _length_weighted_mean(lengths: str) -> float:
    """Return the sum of squared lengths over the sum of lengths, from the percentiles; lengths: as JSON."""
    at = _quantile(Lengths.model_validate_json(lengths))
    sample = [at((place + 0.5) / 64) for place in range(64)]
    return sum(length * length for length in sample) / sum(sample)


def largest_micro_batch(lengths: Lengths, batch: int, max_length: int, packing: bool, epochs: float = math.inf) -> int:
    """Return the tokens of the largest forward pass: of the longest rows, or with packing the most that fit together.

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
    """Return the fraction of batch x max_length tokens that rows fill on average, in a run of many steps.

    Rows drawn from the distribution are packed as training packs them: best fit, longest first, over as many as fill
    OPEN_MICRO_BATCHES, of which the emptiest waits for more rows. Of the distribution no more than Lengths is known.
    """
    room, draw = batch * max_length, random.Random(0)  # noqa: S311 - a simulation, keeps no secret
    at = _quantile(lengths)
    rows_in_one = room * lengths.rows / lengths.total
    bins = max(2, min(OPEN_MICRO_BATCHES, int(_SIMULATED_ROWS / rows_in_one)))
    rows = math.ceil(bins * rows_in_one)
    fills: list[int] = []  # tokens in each micro-batch
    for _ in range(max(1, int(_SIMULATED_ROWS / rows))):
        drawn = sorted((min(at(draw.random()), room) for _ in range(rows)), reverse=True)
        packed = sorted(sum(drawn[place] for place in places) for places in best_fit(drawn, room))
        fills += packed[1:] or packed
    return sum(fills) / (len(fills) * room)


def _quantile(lengths: Lengths) -> Callable[[float], int]:
    """Return the function from a fraction of the rows to the length that this fraction exceeds.

    Between known percentiles lengths lie on straight lines, below the lowest on a power curve that gives the right
    total.
    """
    known = [(0.0, lengths.longest[0])]  # (fraction of rows that are longer, length), longest first
    known += [(1 - share / 100, length) for share, length in sorted(lengths.percentiles.items(), reverse=True)]
    area = sum((right - left) * (high + low) / 2 for (left, high), (right, low) in pairwise(known))
    # The rows below the lowest percentile: 1 + (lowest - 1) * x^power over x in (0, 1] has the mean that is left for
    # them, and that determines the power.
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
