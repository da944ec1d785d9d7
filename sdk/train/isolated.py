"""Work in a process of its own: its memory is measured without ours, and what ends it does not end us.

It reads its request from standard input and answers in lines on standard output, so nothing of it is in a file, on a
command line or in the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sdk import processes
from sdk.errors import StepFailed
from sdk.records import Frozen, OnProgress, canonical_json
from sdk.train.launch import Fault, ProgressLine, error_of
from sdk.train.worker import end_with_parents, fault_of


class Line(Frozen):
    """One of the three; the last line of a process is its fault or its result."""

    progress: ProgressLine | None = None
    fault: Fault | None = None
    result: Any = None


def run_isolated(module: str, request: Mapping[str, Any], on_progress: OnProgress) -> Any:
    """Run a module that calls `answer`, and return what its function returns for the request; both are JSON.

    Raises its SDKError; StepFailed where it ended otherwise, without the text of that, which may quote rows.
    """
    process = processes.start(module, stdout=processes.PIPE)
    assert process.stdin
    assert process.stdout
    last = Line()
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(canonical_json(request))
        for text in process.stdout:
            last = Line.model_validate_json(text)
            if last.progress:
                on_progress(last.progress.what, last.progress.done, last.progress.total, last.progress.figures)
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        status = process.wait()
    if last.fault:
        error = error_of(last.fault)
        if isinstance(error, RuntimeError):
            raise StepFailed(
                f"It ended with {last.fault.kind}, which no check foresaw; `sdk train` with these settings shows where."
            ) from error
        raise error
    if status > 0:
        raise RuntimeError(f"python -m {module} ended with {status} and said nothing.")
    if status:
        raise StepFailed(
            "Its process was ended from outside (killed, or the machine's memory is too small); free memory and try "
            "again."
        )
    return last.result


def answer(work: Callable[[dict[str, Any], OnProgress], Any]) -> None:
    """Be such a process: call work(request, on_progress) once and write its result, or its error, as the last line."""
    end_with_parents()
    request = json.load(sys.stdin.buffer)
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as lines:
        os.dup2(2, 1)  # libraries print

        def tell(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
            say(Line(progress=ProgressLine(what=what, done=done, total=total, figures=dict(figures))))

        def say(line: Line) -> None:
            lines.write(line.model_dump_json() + "\n")

        try:
            say(Line(result=work(request, tell)))
        except Exception as error:
            say(Line(fault=fault_of(error)))
            raise
