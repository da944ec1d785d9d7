"""How far off predictions were on measured runs; measured.json is made by tests/benchmarks/memory.py."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from sdk.records import Hardware, Reliability, TrainSettings
from sdk.regular_files import read_shipped

MEASURED = Path(__file__).with_name("measured.json")


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
