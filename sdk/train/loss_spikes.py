"""Steps whose loss leapt above those before it, and the rows that were learned in them.

A step is held against the 16 before it, by their median and their median absolute deviation: it is a spike where its
loss lies more than six robust standard deviations above the median (Iglewicz and Hoaglin's modified z-score). A
deviation is taken as a twentieth of the median at least, so that a level loss has none, and a leap counts from a tenth
of the first loss on, since one that is learned almost by heart doubles without meaning anything. All of it is
arithmetic on the figures that the run kept, once it has ended; rows are looked up only where there was a spike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sdk.data import Row
from sdk.records import LossPoint, LossSpike
from sdk.train.batching import Batches
from sdk.train.job import Job

WINDOW = 16  # steps
LEAST_Z = 6.0
LEAST_RISE = 0.1  # of the first loss
MOST_SPIKES, MOST_ROWS = 10, 64  # that a record names
_NORMAL = 1.4826  # standard deviations of a normal distribution in its median absolute deviation
_LEAST_SHARE = 0.05  # of the median, that a deviation is


def find_spikes(points: Sequence[LossPoint]) -> list[LossSpike] | None:
    """Return the highest spikes, in the order of the steps, without their rows; None: there are too few steps."""
    losses = np.array([point.loss for point in points])
    if len(losses) <= WINDOW:
        return None
    before = np.lib.stride_tricks.sliding_window_view(losses, WINDOW)[:-1]
    median = np.median(before, axis=1)
    deviation = _NORMAL * np.median(np.abs(before - median[:, None]), axis=1)
    scale = np.maximum(deviation, _LEAST_SHARE * np.abs(median)) + 1e-12
    risen = losses[WINDOW:] - median
    scores = np.where(risen >= LEAST_RISE * losses[0], risen / scale, 0.0)
    highest = np.argsort(-scores, kind="stable")[:MOST_SPIKES]
    return [
        LossSpike(
            step=points[place + WINDOW].step,
            loss=points[place + WINDOW].loss,
            usual=float(median[place]),
            z=float(scores[place]),
        )
        for place in sorted(highest.tolist())
        if scores[place] > LEAST_Z
    ]


def with_rows(
    spikes: Sequence[LossSpike] | None, job: Job, batches: Batches, together: int, places: ArrayLike
) -> tuple[LossSpike, ...] | None:
    """Name the rows of each spike. together: micro-batches in a step; places: of the row that a piece is of."""
    if not spikes:
        return None if spikes is None else ()
    learned = {
        spike.step: _places(batches[(spike.step - 1) * together : spike.step * together], places) for spike in spikes
    }
    wanted = {place for each in learned.values() for place in each[:MOST_ROWS]}
    ids: dict[int, str] = {}
    count = 0

    def take(row: Row) -> None:
        nonlocal count
        if count in wanted:
            ids[count] = row.id
        count += 1

    job.each_row(take)
    return tuple(
        spike.model_copy(
            update={
                "rows": tuple(ids[place] for place in learned[spike.step][:MOST_ROWS]),
                "rows_in_step": len(learned[spike.step]),
            }
        )
        for spike in spikes
    )


def _places(batches: Batches, places: ArrayLike) -> list[int]:
    """Return the places of the rows in these micro-batches, each once; the filler, which is behind all, is none."""
    known, numbers = np.asarray(places), batches.rows
    return list(dict.fromkeys(known[numbers[numbers < len(known)]].tolist()))
