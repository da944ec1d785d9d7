"""Times and shares as people write them on a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

from sdk.errors import InvalidInput

Value = TypeVar("Value")

HOURS = {"d": 24.0, "h": 1.0, "m": 1 / 60, "min": 1 / 60}
NUMBER = r"\d+(?:\.\d+)?"
PIECE = re.compile(rf"({NUMBER})\s*(d|h|min|m)")
CLOCK = re.compile(r"(\d+):([0-5]\d)\s*h")
SHARE = re.compile(rf"({NUMBER})\s*(%?)")


def hours(text: str) -> float:
    """Read hours: 8h, 90m, 2d, 1d 12h, 1:30h."""
    written = text.strip().lower()
    clock = CLOCK.fullmatch(written)
    if clock:
        value = int(clock[1]) + int(clock[2]) / 60
    elif re.fullmatch(rf"(?:{PIECE.pattern}\s*)+", written):
        value = sum(float(number) * HOURS[unit] for number, unit in PIECE.findall(written))
    else:
        raise InvalidInput(f"{text[:40]!r} is no time; write 8h, 90m, 2d or 1:30h.")
    if not 0 < value < math.inf:
        raise InvalidInput(f"{text[:40]!r} is no time that training could take; write more than 0, such as 8h.")
    return value


def share(text: str) -> float:
    """Read a share from 0 to 1: 1%, 0.01. A bare number of 1 or more could mean either, so it is refused."""
    parts = SHARE.fullmatch(text.strip())
    value = float(parts[1]) / (100 if parts[2] else 1) if parts else math.nan
    if parts and not parts[2] and value >= 1:
        raise InvalidInput(f"{text[:40]!r} could be per cent or a share; write 1% or 0.01.")
    if not 0 <= value <= 1:
        raise InvalidInput(f"{text[:40]!r} is no share; write per cent from 0% to 100%, or a number such as 0.01.")
    return value


def read(option: str, text: str | None, reader: Callable[[str], Value], faults: list[str]) -> Value | None:
    """Read what was written after an option; None where it was not given. Adds to faults what is wrong with it."""
    if text is None:
        return None
    try:
        return reader(text)
    except InvalidInput as error:
        faults.append(f"{option}: {error.message}")
        return None
