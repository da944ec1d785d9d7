"""train(): the training step in this process, or in one for each GPU, until it fits into memory."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from uuid import uuid4

import torch
from pydantic import Field

from sdk.crypto import Secret
from sdk.data import Row
from sdk.errors import InvalidInput, SDKError, StepFailed
from sdk.hardware import cpu_cores
from sdk.records import Frozen, Hardware, OnProgress, Run, TrainSettings
from sdk.train.adapter_init import Adapter
from sdk.train.failures import MemoryRanOut
from sdk.train.job import Job
from sdk.train.session import Earlier
from sdk.train.shard import check_settings
from sdk.train.training_run import train_here

RESULT, PROGRESS, ERROR, PARENT = "run.json", "progress.jsonl", "error-{}.json", "SDK_PARENT_PROCESS"
_ERRORS: dict[str, type[SDKError]] = {kind.__name__: kind for kind in (MemoryRanOut, InvalidInput, StepFailed)}
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 10


class ProgressLine(Frozen):
    """One line of PROGRESS, which the first process writes."""

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


def train(  # noqa: PLR0913 - all that a run is made of
    data: Path | tuple[Row, ...],
    base: str,
    prompt: str,
    settings: TrainSettings,
    memory_predicted_gib: float,
    hardware: Hardware,
    out: Path,
    on_progress: OnProgress,
    checkpoint_seconds: float = 15.0,
    secret: Secret | None = None,
    earlier: Earlier | None = None,
    adapter: Adapter | None = None,
    nodes: int = 1,
    rendezvous: str = "",
    tokens_per_second_predicted: float | None = None,
) -> Run:
    """Train an adapter on scrubbed rows and leave it in out/adapter, as PEFT writes one.

    The same call after an interruption goes on from the newest whole checkpoint in out/checkpoints, where the last one
    stays. With earlier it goes on from the last checkpoint of that finished run instead of from the base alone; a
    schedule of learning rates that depends on the number of steps is the one of the new number from there on. The
    figures of each step are appended to out/spool.jsonl while it runs. Where memory runs out, micro-batches are halved
    and accumulated instead, from the newest checkpoint on; the Run's notes say so.
    data: a file, or rows in memory, which then are written nowhere.
    prompt: system message of rows that have none; memory_predicted_gib and tokens_per_second_predicted are stored
    beside what is measured.
    checkpoint_seconds: least time between two checkpoints, more where writing one takes long; 0: one after every step.
    secret: what encrypts checkpoints; None leaves them in plain.
    adapter: a finished one on the same base that this one begins with; None: PEFT's first weights.
    nodes, rendezvous: hosts that share settings.gpus evenly, and HOST:PORT of this one, which the others can reach.
    Raises InvalidInput with every row that cannot be trained and where there is nothing to go on from, StepFailed where
    memory, disk or the numbers give out and after SIGTERM.
    """
    _check(settings, nodes, rendezvous)
    job = Job(
        data=data.resolve() if isinstance(data, Path) else data,
        base=base,
        prompt=prompt,
        settings=settings,
        memory_predicted_gib=memory_predicted_gib,
        hardware=hardware,
        out=out.resolve(),
        checkpoint_seconds=checkpoint_seconds,
        secret=secret,
        earlier=earlier,
        adapter=adapter,
        tokens_per_second_predicted=tokens_per_second_predicted,
    )
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


def node_command(folder: Path, gpus: int, nodes: int, rendezvous: str, name: str) -> list[str]:
    """What each host runs; torchrun starts its processes, gives them ranks and ends all when one ends."""
    where = (
        ["--rdzv-endpoint", rendezvous, "--rdzv-backend", "c10d", "--rdzv-id", name] if nodes > 1 else ["--standalone"]
    )
    shape = ["--nnodes", str(nodes), "--nproc-per-node", str(gpus // nodes), "--max-restarts", "0"]
    worker = ["-m", "sdk.train.worker", str(folder)]
    return [sys.executable, "-m", "torch.distributed.run", *shape, *where, *worker]


def _launch(job: Job, nodes: int, rendezvous: str, on_progress: OnProgress) -> Run:
    """Run the job in settings.gpus processes; what the first one tells and leaves."""
    folder = job.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = node_command(folder, job.settings.gpus, nodes, rendezvous, uuid4().hex[:8])
    if nodes > 1:
        on_progress(f"waiting for {nodes - 1} hosts to run: {' '.join(['python', *command[1:]])}", 0, None, {})
    try:
        with (folder / "log").open("wb") as log, _started(command, job, nodes, log) as agent:
            said = _follow(agent, folder / PROGRESS, on_progress)
        if said == 0 and (folder / RESULT).exists():
            return Run.model_validate_json((folder / RESULT).read_bytes())
        raise _reason(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(command: list[str], job: Job, nodes: int, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun, which SIGTERM reaches through us, and which does not outlive the block."""
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {
        "OMP_NUM_THREADS": str(max(1, cpu_cores() // (job.settings.gpus // nodes))),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        PARENT: str(os.getpid()),
    }
    with os.fdopen(os.memfd_create("job"), "wb") as told:
        told.write(job.to_bytes())
        told.flush()
        # Its processes inherit standard input. In a session of its own: Ctrl-C is ours to handle.
        agent = subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, stdin=told, stdout=log, stderr=log, start_new_session=True
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
        if agent.poll() is None:
            agent.kill()  # its processes notice that it is gone
            agent.wait()


def _follow(agent: subprocess.Popen[bytes], path: Path, on_progress: OnProgress) -> int:
    """Tell what the first process tells until all have ended; the exit code."""
    read = 0
    while True:
        ended = agent.poll()
        if path.exists():
            with path.open("rb") as file:
                file.seek(read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            read += len(whole)
            for line in whole.splitlines():
                told = ProgressLine.model_validate_json(line)
                on_progress(told.what, told.done, told.total, told.figures)
        if ended is not None:
            return ended
        time.sleep(_LOOK_SECONDS)


def error_of(fault: Fault) -> SDKError | RuntimeError:
    """The error as it was raised in the other process; a bug with its traceback as its text."""
    if fault.why != "error":
        return RuntimeError(fault.message)
    return _ERRORS.get(fault.kind, StepFailed)(fault.message, fault.faults)


def _reason(folder: Path) -> SDKError | RuntimeError:
    """The error that made the others end: one that was raised on purpose, else a bug, else a process that vanished."""
    found = [Fault.model_validate_json(path.read_bytes()) for path in sorted(folder.glob(ERROR.format("*")))]
    for why in ("error", "bug"):
        for fault in found:
            if fault.why == why:
                return error_of(fault)
    if not found and not (folder / PROGRESS).exists():
        log = (folder / "log").read_text(errors="replace")[-2000:]
        return RuntimeError(f"The training processes did not start:\n{log}")
    return StepFailed(
        "A training process was ended from outside (killed, or the host's memory is too small). Run the same command "
        "again: training goes on from its last checkpoint."
    )
