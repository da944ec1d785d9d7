"""The scrubbing function as an actor of Ray Data, beyond one machine.

What travels to the actors are places in files, not rows: each actor reads its rows itself, so all machines need the
files under the same paths. What comes back is scrubbed. The keys travel within the cluster, so it has to be as trusted
as this machine; its own authentication is up to whoever runs it.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow
import ray
import ray.data

from sdk import processes
from sdk.data import Row, RowSource
from sdk.errors import StepFailed
from sdk.processes.pool import ONE_THREAD
from sdk.scrub.batch import Batch, ScrubbedBatch, Scrubber, ScrubSetup
from sdk.scrub.find.detector import Detector
from sdk.scrub.parallel import BatchRunner

TOGETHER = 8  # batches in a block, which is what Ray schedules
_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray sends some to its makers where nobody forbids it


class Actor:
    """Scrubs batches in a process of Ray. What an error says may quote rows, so only its type comes out."""

    def __init__(self, setup: ScrubSetup) -> None:
        self._scrubber = Scrubber(setup)
        self._source: RowSource | None = None
        self._rows: Iterator[Row] = iter(())
        self._next = 0

    def __call__(self, asked: Any) -> Any:
        return pyarrow.table({"answer": [self._answer(pickle.loads(data.as_py())) for data in asked["batch"]]})  # noqa: S301

    def _answer(self, batch: tuple[Batch, int]) -> bytes:
        try:
            return pickle.dumps(self._scrubber(self._read(*batch)))
        except Exception as error:  # noqa: BLE001
            return pickle.dumps(type(error).__name__)

    def _read(self, batch: Batch, count: int) -> Batch:
        if batch.place is None:
            return batch
        source, first = batch.place
        if source != self._source or first < self._next:
            self._source, self._rows, self._next = source, source.rows_from(first), first
        rows = tuple(islice(self._rows, first - self._next, first - self._next + count))
        self._next = first + count
        return replace(batch, rows=rows)


def on_ray_actors(workers: int) -> BatchRunner:
    """Scrub on the cluster that RAY_ADDRESS names, else on one that is started here; batches come out in order."""

    def run(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
        items = [{"batch": pickle.dumps(_place(batch))} for batch in todo]
        if not items:
            return
        with _cluster():
            data = ray.data.from_items(items, override_num_blocks=-(-len(items) // TOGETHER)).map_batches(
                Actor,
                fn_constructor_args=[setup],
                batch_size=1,
                batch_format="pyarrow",
                concurrency=workers,
                num_cpus=1,
            )
            for row in data.iter_rows():
                done = pickle.loads(row["answer"])  # noqa: S301 - of an actor of ours
                if isinstance(done, str):
                    raise StepFailed(f"An actor ended with {done}; `--engine local` shows where.")
                yield done

    return run


def _place(batch: Batch) -> tuple[Batch, int]:
    return (batch if batch.place is None else replace(batch, rows=())), len(batch.rows)


@contextmanager
def _cluster() -> Iterator[None]:
    os.environ.update(_NO_REPORTS)
    began = not ray.is_initialized()
    if began:
        with processes.surroundings_of_children([name for name in os.environ if name.startswith("RAY_")]):
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {**ONE_THREAD, **_NO_REPORTS}},
            )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    try:
        yield
    finally:
        if began:
            ray.shutdown()
