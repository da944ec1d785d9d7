"""How far off predictions were on measured runs.

measured.json, by method, is made by tests/benchmarks/memory.py, and measured_architectures.json, by architecture, by
tests/benchmarks/architectures.py.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sdk.advise.kept import is_counted
from sdk.files.regular_files import read_shipped
from sdk.records import Hardware, ModelShape, Reliability, TrainSettings

MEASURED = Path(__file__).with_name("measured.json")
ARCHITECTURES_MEASURED = Path(__file__).with_name("measured_architectures.json")


class ArchitectureErrors(NamedTuple):
    """The farthest that predictions were off on runs, as shares of the memory measured beside the weights."""

    measured: bool  # on runs of this architecture; else on those of others that were predicted in the same way
    too_low: float
    too_high: float
    speed: float  # factor, either way


@cache
def _measured() -> dict[str, dict[str, Reliability]]:
    """Read how far off predictions were: memory and speed -> method -> reliability."""
    read = json.loads(read_shipped(MEASURED))
    return {
        what: {method: Reliability.model_validate(value) for method, value in by_method.items()}
        for what, by_method in read.items()
    }


def reliability(settings: TrainSettings, hardware: Hardware) -> tuple[Reliability, ...]:
    """Return how far off memory and speed were on runs of the method with the same engine on a GPU; none for a CPU."""
    if not hardware.gpu_count:
        return ()
    found = (by_method.get(settings.method) for by_method in _measured().values())
    return tuple(value for value in found if value is not None)


def architecture_errors(shape: ModelShape) -> ArchitectureErrors:
    """Return how far off predictions for this architecture are, or are to be expected."""
    read = _by_architecture()
    found = read["measured"].get(shape.model_type)
    if found is not None:
        return ArchitectureErrors(True, found["rest_too_low"], found["rest_too_high"], found["speed"])
    states = shape.num_linear_attention_layers > 0
    other = read["others"]["states" if states else "counted" if is_counted(shape) else "usual"]
    return ArchitectureErrors(False, other["rest_too_low"], other["rest_too_high"], other["speed"])


@cache
def _by_architecture() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(read_shipped(ARCHITECTURES_MEASURED))
    return read
