"""Processes that do the same work on one thing after the other, told and answering on pipes.

Nothing of what they do is in a file, on a command line or in the environment, and no module of the caller's is imported
a second time.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any

from sdk import processes
from sdk.errors import InvalidInput, StepFailed

AHEAD = 2  # things that wait for each process, so that none is idle
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Pool:
    """So many processes of a module that calls serve(). A context manager, which ends them.

    name: of such a process, in errors; mend: what to do where one is ended from outside; look: how to see where one
    ended with an error that nobody foresaw.
    """

    def __init__(self, module: str, count: int, setup: Any, name: str, mend: str, look: str) -> None:
        self.count = count
        self._name, self._mend, self._look = name, mend, look
        self._idle: SimpleQueue[processes.Child] = SimpleQueue()
        self._children = [processes.start(module, stdout=processes.PIPE, defaults=ONE_THREAD) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count)
        self._starting = [self._threads.submit(self._start, child, setup) for child in self._children]

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            _end(child)

    def wait(self) -> None:
        """Wait until all have made what they work with. Raises what that raised."""
        for starting in self._starting:
            starting.result()

    def submit(self, value: Any) -> Future[Any]:
        """Have one of them work on a value. The result raises InvalidInput as they do, StepFailed for all else."""
        return self._threads.submit(self._with_idle, value)

    def _start(self, child: processes.Child, setup: Any) -> None:
        try:
            self._ask(child, setup)
        finally:
            self._idle.put(child)  # also one that has ended, so that nobody waits for it

    def _with_idle(self, value: Any) -> Any:
        child = self._idle.get()
        try:
            return self._ask(child, value)
        finally:
            self._idle.put(child)

    def _ask(self, child: processes.Child, value: Any) -> Any:
        assert child.stdin
        assert child.stdout
        try:
            pickle.dump(value, child.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            child.stdin.flush()
            kind, answer = pickle.load(child.stdout)  # noqa: S301 - of a process of ours
        except (EOFError, BrokenPipeError, pickle.UnpicklingError, ValueError):
            raise StepFailed(
                f"{self._name} was ended from outside (killed, or the machine's memory is too small). {self._mend}"
            ) from None
        if kind == "malformed":
            raise InvalidInput(*answer)
        if kind == "failed":
            raise StepFailed(f"{self._name} ended with {answer}, which no check foresaw; {self._look}")
        return answer


def _end(child: processes.Child) -> None:
    assert child.stdin
    assert child.stdout
    child.stdout.close()
    with suppress(BrokenPipeError):  # what it had not read yet
        child.stdin.close()
    processes.end(child)


def serve(make: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Be such a process: make the work of the setup, then do it on each value until there are no more."""
    with os.fdopen(os.dup(0), "rb") as asked, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # libraries print
        _work(make, asked, answers)


def _work(make: Callable[[Any], Callable[[Any], Any]], asked: IO[bytes], answers: IO[bytes]) -> None:
    def say(*answer: Any) -> None:
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()

    try:
        work = make(pickle.load(asked))  # noqa: S301 - of the process that started this one
        say("done", None)
        while True:
            try:
                value = pickle.load(asked)  # noqa: S301
            except EOFError:
                return
            say("done", work(value))
    except InvalidInput as error:
        say("malformed", (error.message, error.faults))
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - its text may quote rows, so only its type goes on
        say("failed", type(error).__name__)
