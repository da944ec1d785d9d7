"""A step whose loss leaps is recorded, with the rows that were learned in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdk.data import Row
from sdk.records import LossPoint, LossSpike
from sdk.train import Job
from sdk.train.batching import Batches
from sdk.train.loss_spikes import MOST_ROWS, MOST_SPIKES, WINDOW, find_spikes, with_rows
from tests.tiny import settings


def points(losses: Any) -> list[LossPoint]:
    return [LossPoint(step=step, loss=loss, learning_rate=0.1) for step, loss in enumerate(losses, 1)]


def falling(steps: int, noise: float = 0.05) -> Any:
    return 2 * np.exp(-np.arange(steps) / 40) + 0.5 + noise * np.random.default_rng(1).standard_normal(steps)


def test_a_leap_is_found_and_noise_and_a_level_are_none() -> None:
    losses = falling(200)
    assert find_spikes(points(losses)) == []
    assert find_spikes(points([0.5] * 50)) == find_spikes(points([0.0] * 50)) == []
    assert find_spikes(points([0.5] * 50 + [0.6])) == []  # a fifth of a level loss is no leap
    assert find_spikes(points([5.0, *[0.01] * 50, 0.4])) == []  # nor is what is little beside the beginning
    losses[99] += 1.0
    (found,) = find_spikes(points(losses))
    assert (found.step, found.loss) == (100, losses[99])
    assert found.usual == pytest.approx(float(np.median(losses[83:99])))
    assert found.z > 6


def test_the_first_steps_have_nothing_to_be_held_against() -> None:
    early = [1.0] * WINDOW
    early[3] = 9.0
    assert find_spikes(points(early)) is find_spikes(points(early[:1])) is find_spikes([]) is None
    assert [each.step for each in find_spikes(points([1.0] * WINDOW + [9.0])) or ()] == [WINDOW + 1]


def test_the_highest_are_kept_in_the_order_of_the_steps() -> None:
    losses = np.ones(40 * 20)
    leaps = 3.0 + np.arange(20) % 13
    losses[39::40] += leaps
    found = find_spikes(points(losses))
    assert len(found) == MOST_SPIKES
    assert [each.step for each in found] == sorted(each.step for each in found)
    assert {each.loss for each in found} == {1 + leap for leap in sorted(leaps)[-MOST_SPIKES:]}


def test_rows_are_those_of_the_step_each_once_and_the_filler_is_none(tmp_path: Path) -> None:
    """Two micro-batches a step; rows 2 and 3 are pieces of one text; number 5 stands behind all rows."""
    rows = tuple(Row(id=f"row-{n}", language="en", messages=_said(f"{n}?")) for n in range(4))
    job = Job(rows, str(tmp_path), "", settings(), tmp_path)
    batches = Batches.of([[0], [1], [3, 2], [4, 5], [1, 1], [0]])
    spikes = [LossSpike(step=step, loss=9, usual=1, z=9) for step in (2, 3)]
    named = with_rows(spikes, job, batches, 2, [0, 1, 2, 2, 3])
    assert [(each.step, each.rows, each.rows_in_step) for each in named] == [
        (2, ("row-2", "row-3"), 2),
        (3, ("row-1", "row-0"), 2),
    ]
    assert named[0].brief() == "step 2: 9.000, usually 1.000; rows row-2, row-3"
    many = with_rows(spikes[:1], job, Batches.of([[0]] * 2 + [list(range(4)) * 99]), 2, [0, 1, 2, 3])
    assert many[0].rows_in_step == 4 <= MOST_ROWS


def _said(question: str, answer: str = "yes yes yes yes") -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
