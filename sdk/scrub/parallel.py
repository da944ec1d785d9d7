"""The scrubbing function in processes of their own, each with its own detector.

A process is told what to do and answers on pipes, so that nothing of it is in a file, on a command line or in the
environment, and so that no module of the caller's is imported a second time.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any

from sdk import processes
from sdk.errors import InvalidInput, StepFailed
from sdk.scrub.batch import Batch, ScrubbedBatch, Scrubber, ScrubSetup
from sdk.scrub.find.detector import Detector

AHEAD = 2  # batches that wait for each process, so that none is idle
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

BatchRunner = Callable[[ScrubSetup, Iterable[Batch], Detector | None], Iterator[ScrubbedBatch]]


def in_this_process(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
    """Scrub in this process, with its detector."""
    yield from map(Scrubber(setup, detector), todo)


def in_processes(workers: int) -> BatchRunner:
    """Scrub in as many processes; batches come out in the order in which they go in."""

    def run(setup: ScrubSetup, todo: Iterable[Batch], detector: Detector | None) -> Iterator[ScrubbedBatch]:
        idle: SimpleQueue[processes.Child] = SimpleQueue()
        children = [processes.start(__name__, stdout=processes.PIPE, defaults=ONE_THREAD) for _ in range(workers)]
        threads = ThreadPoolExecutor(workers)
        waiting: deque[Future[ScrubbedBatch]] = deque()
        try:
            for made in [threads.submit(_ask, process, setup) for process in children]:
                made.result()
            for process in children:
                idle.put(process)
            for batch in todo:
                waiting.append(threads.submit(_with_idle, idle, batch))
                if len(waiting) > workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for process in children:
                process.kill()
            threads.shutdown(cancel_futures=True)
            for process in children:
                _end(process)

    return run


def _end(process: processes.Child) -> None:
    assert process.stdin
    assert process.stdout
    process.stdout.close()
    with suppress(BrokenPipeError):  # what it had not read yet
        process.stdin.close()
    processes.end(process)


def _with_idle(idle: SimpleQueue[processes.Child], batch: Batch) -> ScrubbedBatch:
    process = idle.get()
    try:
        done: ScrubbedBatch = _ask(process, batch)
        return done
    finally:
        idle.put(process)


def _ask(process: processes.Child, value: Any) -> Any:
    assert process.stdin
    assert process.stdout
    try:
        pickle.dump(value, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        kind, answer = pickle.load(process.stdout)  # noqa: S301 - of a process of ours
    except (EOFError, BrokenPipeError, pickle.UnpicklingError, ValueError):
        raise StepFailed(
            "A scrubbing process was ended from outside (killed, or the machine's memory is too small). Run the same "
            "command again, with fewer workers; it goes on from where it was."
        ) from None
    if kind == "malformed":
        raise InvalidInput(*answer)
    if kind == "failed":
        raise StepFailed(f"A scrubbing process ended with {answer}, which no check foresaw; one worker shows where.")
    return answer


def _work(asked: IO[bytes], answers: IO[bytes]) -> None:
    def say(*answer: Any) -> None:
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    try:
        scrubber = Scrubber(pickle.load(asked))  # noqa: S301 - of the process that started this one
        say("done", None)
        while True:
            try:
                batch = pickle.load(asked)  # noqa: S301
            except EOFError:
                return
            say("done", scrubber(batch))
    except InvalidInput as error:
        say("malformed", (error.message, error.faults))
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - its text may quote rows, so only its type goes on
        say("failed", type(error).__name__)


if __name__ == "__main__":
    with os.fdopen(os.dup(0), "rb") as told, os.fdopen(os.dup(1), "wb") as tells:
        os.dup2(2, 1)  # libraries print
        _work(told, tells)
