"""Arrow's values as JSON has them: what a column of Parquet can hold and a row of JSON cannot."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from typing import Any


def as_json(value: Any, drop_nulls: bool) -> Any:
    """Return the value with dates and times in ISO 8601, durations in seconds, and decimals as numbers or digits.

    drop_nulls: leave out the keys of objects that are null. All structs of a column have the same keys, so Arrow fills
    in those that a row did not have; a tool call would else be trained with every argument of every other call.
    Raises TypeError for what no text of JSON stands for, such as bytes.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {key: as_json(item, drop_nulls) for key, item in value.items() if item is not None or not drop_nulls}
    if isinstance(value, list):
        return [as_json(item, drop_nulls) for item in value]
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        whole = value.is_finite() and value == value.to_integral_value() and value.copy_abs() < 1 << 53
        return int(value) if whole else str(value)  # a float would round it
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(type(value).__name__)


def whole_number(value: Any) -> Any:
    """Return 1 for 1.0: pandas writes whole numbers so where some are missing. Anything else is returned as it is."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value
