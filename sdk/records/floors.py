"""Least scores: as they are written in domain.yaml, and what a model's scores are held against."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sdk.records.base_types import Frozen
from sdk.records.metrics import METRICS, Metric

FLOOR_RULE = "a score from 0 to 1 such as 0.55, or one above another: base+0.05, majority+0.02"
BASE_FLOOR_RULE = "a score from 0 to 1 such as 0.4, or one above the base's: base+0.05"
CEILING_RULE = "the most that a perplexity may be, such as 12.5, or so much below the base's: base+0.5"
SHARE_CEILING_RULE = "the most that a share may be, such as 0.05, or so much below the base's: base+0.02"
ALL = "all"
SLICES = "slices"  # each of them
_WRITTEN = re.compile(r"(?:(base|majority)(?:\s*\+\s*)?)?(\d*\.?\d+)?")


class Floor(Frozen):
    """A least score: `least`, or at least that much above another score on the same questions.

    Of a perplexity and of refusals, which should be few, the most: `least`, or at least that much below the base's.
    """

    over: Literal["", "base", "majority"] = Field(
        default="", description="base: the base model's score; majority: that of the most frequent answer; empty: zero"
    )
    least: float = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.over}+{self.least:g}" if self.over else f"{self.least:g}"


def _read(value: Any) -> Any:
    """Read a floor as it is written: 0.55, base+0.05, majority. ValueError says how one is written."""
    if isinstance(value, Floor | dict):
        return value
    text = "" if isinstance(value, bool) else str(value).strip()
    written = _WRITTEN.fullmatch(text)
    if not text or written is None or (written[1] and text.endswith("+")):
        raise ValueError(f"must be {FLOOR_RULE}")
    return {"over": written[1] or "", "least": float(written[2] or 0)}


def _read_all(value: Any) -> Any:
    """Read the floors of one language: one, or a list of them."""
    return tuple(map(_read, value if isinstance(value, list | tuple) else (value,)))


Floors = dict[str, Annotated[tuple[Floor, ...], BeforeValidator(_read_all), Field(min_length=1)]]
MAJORITY: Mapping[str, tuple[Floor, ...]] = {ALL: (Floor(over="majority", least=0),)}  # for questions of one's own
BASE: Mapping[str, tuple[Floor, ...]] = {ALL: (Floor(over="base", least=0),)}  # where one answer has no score


def default_floors(metric: Metric) -> dict[str, tuple[Floor, ...]]:
    """Return the floors of questions, or texts, for which nobody set some."""
    return dict(MAJORITY if METRICS[metric].of_one_answer else BASE)


def floor_rule(metric: Metric, of_slices: bool = False) -> str:
    """Say what a floor of this metric may be."""
    if METRICS[metric].lower_is_better:
        return CEILING_RULE if metric == "perplexity" else SHARE_CEILING_RULE
    return FLOOR_RULE if METRICS[metric].of_one_answer and not of_slices else BASE_FLOOR_RULE


class AskedFloors(Frozen):
    """The floors that scores were held against, and where they come from."""

    floors: Floors = Field(description="'all', 'slices' or a language -> its floors")
    origin: str

    def __str__(self) -> str:
        return f"{floors_text(self.floors)} ({self.origin})"


def as_written(floors: Mapping[str, Sequence[Floor]]) -> dict[str, Any]:
    """Return floors as they stand in domain.yaml."""
    written = {name: [str(floor) if floor.over else floor.least for floor in each] for name, each in floors.items()}
    return {name: each if len(each) > 1 else each[0] for name, each in written.items()}


def floors_text(floors: Mapping[str, Sequence[Floor]]) -> str:
    """Write floors on one line: `all 0.6, majority+0.02; zh 0.5`."""
    return "; ".join(f"{name} {', '.join(map(str, each))}" for name, each in sorted(floors.items())) or "none"
