"""The file of a run's figures: one JSON object a line, written before anything is sent anywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from sdk.files.durable import append_to
from sdk.files.regular_files import FIGURES_BYTES, read_if_there
from sdk.files.store import write_atomic


class MetricsLog:
    """Lines of `step`, `time` (milliseconds since 1970) and figures; names and numbers only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, step: int) -> None:
        """Keep the lines up to the step that training goes on from; what came later is trained again."""
        lines = (read_if_there(self._path, FIGURES_BYTES) or b"").splitlines(keepends=True)
        write_atomic(self._path, b"".join(line for line in lines if _step(line) <= step))

    def append(self, step: int, figures: Mapping[str, float]) -> None:
        # One write, so that a kill leaves a whole line or none. Not flushed to disk: a checkpoint does that.
        line = json.dumps({"step": step, "time": int(time.time() * 1000), **figures}, allow_nan=False) + "\n"
        with append_to(self._path) as file:
            file.write(line.encode())


def _step(line: bytes) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
