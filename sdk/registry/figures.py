"""A training run's spooled figures, on their way to MLflow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from sdk.errors import InvalidInput
from sdk.files.regular_files import FIGURES_BYTES, open_regular, read_opened
from sdk.files.store import LIVE_SECTIONS
from sdk.registry.connection import FAILURES
from sdk.registry.runs import BATCH


class Sender:
    """Sends what a spool holds and an MLflow run lacks.

    Of a step that was trained again after an interruption the first value stays: MLflow takes none back.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._offset = self._inode = 0
        self._waiting: dict[tuple[str, int], Metric] = {}
        self._sent: dict[str, set[int]] | None = None

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Send what MLflow lacks. Raises what MLflow does; called again, it goes on."""
        self._read()
        if self._sent is None:
            self._sent = _stored(client, run_id)
        waiting = [metric for metric in self._waiting.values() if metric.step not in self._sent.get(metric.key, ())]
        for start in range(0, len(waiting), BATCH["metrics"]):
            batch = waiting[start : start + BATCH["metrics"]]
            try:
                client.log_batch(run_id, metrics=batch)
            except FAILURES:
                self._sent = None  # it may have arrived
                raise
            for metric in batch:
                self._sent.setdefault(metric.key, set()).add(metric.step)
        self._waiting.clear()

    def _read(self) -> None:
        """Take in the whole lines that are new; all of them where the file was cut or replaced."""
        try:
            with open_regular(self._spool) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                file.seek(self._offset)
                lines = read_opened(file, self._spool, FIGURES_BYTES).splitlines(keepends=True)
        except InvalidInput:  # not there yet
            return
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._offset += len(line)
            for metric in _metrics(line):
                self._waiting[metric.key, metric.step] = metric


def _metrics(line: bytes) -> Iterator[Metric]:
    """Read the numbers under the names of the live sections; nothing else ever leaves the spool."""
    try:
        values = json.loads(line)
        step, when = int(values["step"]), int(values["time"])
    except (ValueError, KeyError, TypeError):
        return
    for name, value in values.items():
        if name.startswith(LIVE_SECTIONS) and isinstance(value, int | float) and math.isfinite(value):
            yield Metric(name, float(value), when, step)


def _stored(client: MlflowClient, run_id: str) -> dict[str, set[int]]:
    names = [name for name in client.get_run(run_id).data.metrics if name.startswith(LIVE_SECTIONS)]
    return {name: {metric.step for metric in client.get_metric_history(run_id, name)} for name in names}
