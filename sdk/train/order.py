"""In which order rows are trained: drawn once for the whole run, so that resuming needs no sampler's state."""

from __future__ import annotations

import random
from collections.abc import Sequence

# Batches whose rows are sorted by length together: more saves padding, fewer mixes better.
_WINDOW_BATCHES = 16


def training_order(lengths: Sequence[int], total: int, batch_size: int, seed: int) -> list[int]:
    """`total` row numbers, epoch after epoch, in batches of rows of similar length.

    lengths: tokens of each row. The longest row stands in the first batch, so that a lack of memory shows at once and
    not after hours.
    """
    draw = random.Random(seed)  # noqa: S311 - decides an order, keeps no secret
    rows: list[int] = []
    while len(rows) < total:
        epoch = list(range(len(lengths)))
        draw.shuffle(epoch)
        rows += epoch
    order: list[int] = []
    window = batch_size * _WINDOW_BATCHES
    for start in range(0, total, window):
        near = sorted(rows[start : min(start + window, total)], key=lambda row: lengths[row])
        batches = [near[place : place + batch_size] for place in range(0, len(near), batch_size)]
        # A batch that is not full may only stand at the very end; the others would no longer line up.
        rest = batches.pop() if len(batches[-1]) < batch_size else []
        draw.shuffle(batches)
        order += [row for batch in batches for row in batch] + rest
    longest = max(range(total), key=lambda place: lengths[order[place]])
    start = longest // batch_size * batch_size
    for place in range(min(batch_size, total - start)):
        order[place], order[start + place] = order[start + place], order[place]
    return order
