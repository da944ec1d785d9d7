"""Work in a process of its own: its memory is measured without ours, and what ends it does not end us.

It takes one request after the other, so that what they share, libraries above all, is imported and read once. It reads
them from standard input and answers in lines on standard output, so nothing of them is in a file, on a command line or
in the environment.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from pydantic import Field

from sdk import processes
from sdk.errors import InvalidInput, SDKError, StepFailed
from sdk.records import Frozen, OnProgress, canonical_json

PARENT = "SDK_PARENT_PROCESS"  # variable with the number of a process with which a child of a child ends
_LOOK_SECONDS = 0.5
_ERRORS: dict[str, type[SDKError]] = {kind.__name__: kind for kind in (InvalidInput, StepFailed)}


class ProgressLine(Frozen):
    """What a process has done so far."""

    what: str
    done: int
    total: int | None
    figures: dict[str, float]


class Fault(Frozen):
    """Why a process ended; `lost`: only because another one had."""

    kind: str
    message: str
    faults: tuple[str, ...] = ()
    why: Literal["error", "bug", "lost"] = Field(default="error")


class Line(Frozen):
    """One of the three; the last line to a request is its fault or its result."""

    progress: ProgressLine | None = None
    fault: Fault | None = None
    result: Any = None


def fault_of(error: BaseException) -> Fault:
    """Return the error as the process that started us will raise it."""
    if isinstance(error, SDKError):
        return Fault(kind=type(error).__name__, message=error.message, faults=error.faults)
    return Fault(kind=type(error).__name__, message="".join(traceback.format_exception(error)), why="bug")


class Isolated:
    """A module that calls `answer`, in a process of its own. A context manager, which ends it.

    After an error that nobody foresaw, or where the process has ended, the next request gets a new one.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: processes.Child | None = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def ask(self, request: Mapping[str, Any], on_progress: OnProgress) -> Any:
        """Return what the module's function returns for the request; both are JSON.

        Raises its SDKError; StepFailed where it ended otherwise, without the text of that, which may quote rows.
        """
        process = self._process = self._process or processes.start(self._module, stdout=processes.PIPE)
        assert process.stdin
        assert process.stdout
        last = Line()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(canonical_json(request) + b"\n")
                process.stdin.flush()
            for text in process.stdout:
                last = Line.model_validate_json(text)
                if last.progress is None:
                    break
                on_progress(last.progress.what, last.progress.done, last.progress.total, last.progress.figures)
        except BaseException:
            self._end()
            raise
        if last.progress is not None or last == Line():  # it has closed its output
            self._raise_end(self._end(patience_seconds=10))
        if last.fault is None:
            return last.result
        if last.fault.why == "error":
            raise _ERRORS.get(last.fault.kind, StepFailed)(last.fault.message, last.fault.faults)
        self._end()
        raise StepFailed(
            f"It ended with {last.fault.kind}, which no check foresaw; `sdk train` with these settings shows where."
        ) from RuntimeError(last.fault.message)

    def _raise_end(self, status: int) -> None:
        if status > 0:
            raise RuntimeError(f"python -m {self._module} ended with {status} and said nothing.")
        raise StepFailed(
            "Its process was ended from outside (killed, or the machine's memory is too small); free memory and try "
            "again."
        )

    def _end(self, patience_seconds: float = 0.0) -> int:
        """End the process, if there is one, and return its status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        status = processes.end(process, patience_seconds)
        for stream in (process.stdin, process.stdout):
            assert stream
            with suppress(BrokenPipeError):
                stream.close()
        return status


def answer(work: Callable[[dict[str, Any], OnProgress], Any]) -> None:
    """Be such a process: call work(request, on_progress) for each request and write its result, or its error."""
    end_with_parents()
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as lines:
        os.dup2(2, 1)  # libraries print

        def tell(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
            say(Line(progress=ProgressLine(what=what, done=done, total=total, figures=dict(figures))))

        def say(line: Line) -> None:
            lines.write(line.model_dump_json() + "\n")

        for text in sys.stdin.buffer:
            try:
                result = work(json.loads(text), tell)
            except SDKError as error:
                say(Line(fault=fault_of(error)))
            except Exception as error:
                say(Line(fault=fault_of(error)))
                raise
            else:
                say(Line(result=result))


def end_with_parents() -> None:
    """End this process once the one that started it, or the one that started that, has gone."""
    started_by = os.getppid()
    command = int(os.environ.get(PARENT, started_by))

    def look() -> None:
        while os.getppid() == started_by and _lives(command):
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
