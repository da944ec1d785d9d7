"""The scrubbing function in processes of their own, each with its own detector."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from sdk.processes.pool import AHEAD, Pool, serve
from sdk.scrub.batch import Batch, ScrubbedBatch, Scrubber, ScrubSetup
from sdk.scrub.find.detector import Detector

BatchRunner = Callable[[ScrubSetup, Iterable[Batch], Detector | None], Iterator[ScrubbedBatch]]


def in_this_process(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
    """Scrub in this process, with its detector."""
    yield from map(Scrubber(setup, detector), todo)


def in_processes(workers: int) -> BatchRunner:
    """Scrub in as many processes; batches come out in the order in which they go in."""

    def run(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
        waiting: deque[Future[ScrubbedBatch]] = deque()
        remedy = "Run the same command again, with fewer workers; it goes on from where it was."
        with Pool(__name__, workers, setup, "A scrubbing process", remedy, "one worker shows where.") as pool:
            pool.wait()
            for batch in todo:
                waiting.append(pool.submit(batch))
                if len(waiting) > workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    return run


if __name__ == "__main__":
    serve(Scrubber)
