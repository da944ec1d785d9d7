"""One of the processes that train an adapter together: torchrun ... -m sdk.train.worker OUT/launch"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.distributed import DistError

from sdk.files.durable import append_to, write_all
from sdk.files.store import write_atomic
from sdk.hardened import forbid_dumps
from sdk.processes import isolated
from sdk.processes.isolated import PARENT, Fault, ProgressLine, end_with_parents
from sdk.train import process_group
from sdk.train.job import Job
from sdk.train.launch import ERROR, PROGRESS, RESULT
from sdk.train.training_run import train_here


def main(folder: Path, message: bytes) -> None:
    """Do this process's share of the job; the first process leaves the Run, and lines that tell its progress.

    message: the Job as JSON; empty where another process has it.
    """
    process_group.join()
    job = Job.from_bytes(process_group.broadcast(message))
    with append_to(folder / PROGRESS) as lines:

        def tell(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
            if process_group.is_main():
                line = ProgressLine(what=what, done=done, total=total, figures=dict(figures)).model_dump_json()
                write_all(lines, line.encode() + b"\n")

        run = train_here(job, tell)
    if run is not None:
        write_atomic(folder / RESULT, run.model_dump_json().encode())
    process_group.leave()


def fault_of(error: BaseException) -> Fault:
    """Return the error as the process that started us will raise it."""
    fault = isolated.fault_of(error)
    # gloo has no type of its own for a peer that is gone.
    lost = fault.why == "bug" and (isinstance(error, DistError) or "gloo" in str(error))
    return fault.model_copy(update={"why": "lost"}) if lost else fault


def read_job_of_parent() -> bytes:
    """Read the job from standard input; nothing where torchrun was started by hand, on another host."""
    return os.pread(0, os.fstat(0).st_size, 0) if PARENT in os.environ else b""


def _leave_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    path = Path(sys.argv[1]) / ERROR.format(os.environ["RANK"])
    write_atomic(path, fault_of(error).model_dump_json().encode())
    sys.__excepthook__(kind, error, trace)
    # Waiting for the others, as the process group does at exit, would never end.
    os._exit(1)


if __name__ == "__main__":
    forbid_dumps()  # torchrun has started it, not we
    sys.excepthook = _leave_error
    end_with_parents()
    main(Path(sys.argv[1]), read_job_of_parent())
