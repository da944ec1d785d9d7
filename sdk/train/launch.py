"""train(): the training step in this process, or in one for each GPU, until it fits into memory."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO
from uuid import uuid4

import torch

from sdk import processes
from sdk.data.base_folder import Base, PinnedBase
from sdk.errors import InvalidInput, SDKError, StepFailed
from sdk.files.durable import create_file
from sdk.files.regular_files import PROGRESS_BYTES, RECORD_BYTES, read_regular, read_span
from sdk.hardware import cpu_cores
from sdk.processes.isolated import PARENT, Fault, ProgressLine
from sdk.records import OnProgress, Run, TrainSettings
from sdk.train.failures import MemoryRanOut
from sdk.train.job import Job
from sdk.train.shard import check_settings
from sdk.train.training_run import train_here
from sdk.wording import counted

RESULT, PROGRESS, ERROR = "run.json", "progress.jsonl", "error-{}.json"
_ERRORS: dict[str, type[SDKError]] = {kind.__name__: kind for kind in (MemoryRanOut, InvalidInput, StepFailed)}
_TORCHRUN = "torch.distributed.run"
_LOOK_SECONDS = 0.1


def train(job: Job, on_progress: OnProgress, nodes: int = 1, rendezvous: str = "") -> Run:
    """Train an adapter on scrubbed rows and leave it in job.out/adapter, as PEFT writes one.

    The same call after an interruption goes on from the newest whole checkpoint in job.out/checkpoints, where the last
    one stays. With job.earlier it goes on from the last checkpoint of that finished run instead of from the base alone;
    a schedule of learning rates that depends on the number of steps is the one of the new number from there on. The
    figures of each step are appended to job.out/spool.jsonl while it runs. Where memory runs out, micro-batches are
    halved and accumulated instead, from the newest checkpoint on; the Run's notes say so.
    nodes, rendezvous: hosts that share settings.gpus evenly, and HOST:PORT of this one, which the others can reach.
    Returns the Run without its predictions and hardware, which training does not know: whoever has them adds them.
    Raises InvalidInput with every row that cannot be trained and where there is nothing to go on from, StepFailed where
    memory, disk or the numbers give out and after SIGTERM.
    """
    settings = job.settings
    _check(settings, nodes, rendezvous)
    job = _with_whole_paths(job)
    while True:
        try:
            run = train_here(job, on_progress) if settings.gpus == 1 else _launch(job, nodes, rendezvous, on_progress)
        except MemoryRanOut as error:
            if nodes > 1:
                raise StepFailed(
                    "Memory ran out; halve per_device_train_batch_size and double gradient_accumulation_steps, then "
                    "start all hosts again."
                ) from error
        else:
            assert run is not None
            return run
        # Here, where the error and with it the model of the attempt are gone.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        job = replace(job, halvings=job.halvings + 1)
        on_progress(f"memory ran out: micro-batches of 1/{2**job.halvings}", 0, None, {})


def _with_whole_path(base: Base) -> Base:
    if isinstance(base, PinnedBase):
        return base._replace(place=str(_with_whole_path(base.place)))
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def _with_whole_paths(job: Job) -> Job:
    """Return the job with absolute paths, since the processes that do it work in another folder."""
    return replace(
        job,
        data=job.data.resolve() if isinstance(job.data, Path) else job.data,
        out=job.out.resolve(),
        base=_with_whole_path(job.base),
        earlier=job.earlier and replace(job.earlier, folder=job.earlier.folder.resolve()),
    )


def _check(settings: TrainSettings, nodes: int, rendezvous: str) -> None:
    faults = []
    if settings.gpus % nodes:
        faults.append(f"gpus: {settings.gpus} cannot be shared evenly by {nodes} hosts")
    if nodes > 1 and not rendezvous.rpartition(":")[2].isdigit():
        faults.append("rendezvous: HOST:PORT of the first host is needed")
    here = torch.cuda.device_count()
    if settings.gpus > 1 and torch.cuda.is_available() and settings.gpus // nodes > here:
        faults.append(f"gpus: {settings.gpus // nodes} on this host are asked for, {here} can be seen")
    if settings.shard_base and settings.gpus == 1:
        faults.append("shard_base: there is one process only; set gpus")
    if settings.shard_base:
        check_settings(settings)
    if faults:
        raise InvalidInput("Training cannot be spread over processes like this.", faults)


def torchrun_arguments(folder: Path, gpus: int, nodes: int, rendezvous: str, name: str) -> list[str]:
    """Return torchrun's arguments, the same on each host: it starts the processes and ends all when one ends.

    name: of the meeting at HOST:PORT, so that another run's processes do not join it.
    """
    where = (
        ["--rdzv-endpoint", rendezvous, "--rdzv-backend", "c10d", "--rdzv-id", name] if nodes > 1 else ["--standalone"]
    )
    counts = ["--nnodes", str(nodes), "--nproc-per-node", str(gpus // nodes), "--max-restarts", "0"]
    return [*counts, *where, "-m", "sdk.train.worker", str(folder)]


def _launch(job: Job, nodes: int, rendezvous: str, on_progress: OnProgress) -> Run:
    """Run the job in settings.gpus processes, tell the first one's progress and return the Run that it leaves."""
    folder = job.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = torchrun_arguments(folder, job.settings.gpus, nodes, rendezvous, uuid4().hex[:8])
    if nodes > 1:
        _, *others = processes.python_command(_TORCHRUN, *arguments)
        on_progress(f"waiting for {counted(nodes - 1, 'host')} to run: {' '.join(['python', *others])}", 0, None, {})
    try:
        with create_file(folder / "log") as log, _torchrun(arguments, job, nodes, log) as agent:
            status = _follow(agent, folder / PROGRESS, on_progress)
        if status == 0 and (folder / RESULT).exists():
            return Run.model_validate_json(read_regular(folder / RESULT, RECORD_BYTES))
        raise _reason(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _torchrun(arguments: Sequence[str], job: Job, nodes: int, log: IO[bytes]) -> Iterator[processes.Child]:
    """Run torchrun, which does not outlive the block; SIGTERM to this process is passed on to it."""
    threads = max(1, cpu_cores() // (job.settings.gpus // nodes))
    # torchrun's processes inherit standard input: a file in memory, which each of them can read from its beginning.
    with os.fdopen(os.memfd_create("job"), "wb") as message:
        message.write(job.to_bytes())
        message.flush()
        agent = processes.start(
            _TORCHRUN,
            *arguments,
            stdin=message,
            stdout=log,
            stderr=log,
            variables={PARENT: str(os.getpid())},
            defaults={"OMP_NUM_THREADS": str(threads)},
        )

    def pass_on(number: int, frame: FrameType | None) -> None:
        agent.send_signal(signal.SIGTERM)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, pass_on) if main else None
    try:
        yield agent
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        processes.end(agent)  # its processes notice that it is gone


def _follow(agent: processes.Child, path: Path, on_progress: OnProgress) -> int:
    """Pass the first process's progress on until all have ended, and return torchrun's exit status."""
    read = 0
    while True:
        status = agent.poll()  # before the file is read, so that nothing written before the end is missed
        if path.exists():
            new = read_span(path, read, read + PROGRESS_BYTES)
            whole = new[: new.rfind(b"\n") + 1]
            read += len(whole)
            for line in whole.splitlines():
                progress = ProgressLine.model_validate_json(line)
                on_progress(progress.what, progress.done, progress.total, progress.figures)
        if status is not None:
            return status
        time.sleep(_LOOK_SECONDS)


def error_of(fault: Fault) -> SDKError | RuntimeError:
    """Return the error as it was raised in the other process; a bug with its traceback as its text."""
    if fault.why != "error":
        return RuntimeError(fault.message)
    return _ERRORS.get(fault.kind, StepFailed)(fault.message, fault.faults)


def _reason(folder: Path) -> SDKError | RuntimeError:
    """Return the error that ended the others: one raised on purpose, else a bug, else that a process vanished."""
    faults = [
        Fault.model_validate_json(read_regular(path, PROGRESS_BYTES)) for path in sorted(folder.glob(ERROR.format("*")))
    ]
    for why in ("error", "bug"):
        for fault in faults:
            if fault.why == why:
                return error_of(fault)
    if not faults and not (folder / PROGRESS).exists():
        size = (folder / "log").stat().st_size
        log = read_span(folder / "log", max(0, size - 2000), size).decode(errors="replace")
        return RuntimeError(f"The training processes did not start:\n{log}")
    return StepFailed(
        "A training process was ended from outside (killed, or the host's memory is too small). Run the same command "
        "again: training goes on from its last checkpoint."
    )
