"""The questions that a comparison of methods holds out of the training rows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sdk.data import Row, normalized, question
from sdk.data.canaries import is_canary
from sdk.errors import InvalidInput
from sdk.intervals import SEED


def hold_questions(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """Return rows to train on and rows to ask, by a lot that is always the same; what is asked is nowhere trained on.

    Canaries are trained on, as in a training for good.
    """
    free = [place for place, row in enumerate(rows) if not is_canary(row.id)]
    held = {*random.Random(SEED).sample(free, min(count, len(free) - 1))}  # noqa: S311 - no secret
    asked = {normalized(question(rows[place])) for place in held}
    taught = [row for place, row in enumerate(rows) if place not in held and normalized(question(row)) not in asked]
    if not taught:
        raise InvalidInput("Nothing is left to train on once questions are held out: all rows ask the same.")
    return taught, [rows[place] for place in sorted(held)]
