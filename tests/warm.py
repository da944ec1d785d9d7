"""Processes that have imported everything already, since importing takes longer than what most tests let them do.

They are forked by one server, which multiprocessing starts when the first is asked for (`context`). Where the SDK
starts a module of its own, `python -P -m sdk.hardened sdk.…`, it gets such a process too while `warm_starts`
holds: the module runs anew, as __main__, with its own standard streams, environment and session. Only its imports are
done already. Tests of a start as such hold `real_starts`.

`run_code` and `Popen` are for code that a test runs in a process of its own, as `python -c` would.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest import mock

from sdk.hardened import main as run_hardened
from sdk.processes import python_command

MODULES = (
    "sdk.registry.sender",
    "sdk.measure.trial",
    "sdk.train.one_pass",
    "sdk.data.template_child",
    "sdk.scrub.parallel",
    "sdk.model.row_encoder",
)
SERVER = "SDK_TESTS_FORK_SERVER"
_real = False


@cache
def context() -> ForkServerContext:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.preloaded"])
    if SERVER in os.environ:
        _join(os.environ[SERVER])
    return made


def serve() -> None:
    """Start the fork server for this process and those that it starts: one for all of them."""
    context()
    multiprocessing.forkserver.ensure_running()
    os.environ[SERVER] = _server()._forkserver_address


def _join(address: str) -> None:
    """Have this process, and what is forked from it, ask the server of another one."""
    server = _server()
    server._forkserver_address = address
    server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # its owner's end is what keeps it alive
    server.ensure_running = lambda: None


def _server() -> Any:
    return multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]


class _Descriptor:
    """A file descriptor that a new process gets as its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (DupFd(self.number),)


def _detach(sent: Any) -> int:
    return int(sent.detach())


def _run(
    command: Sequence[str],
    streams: Sequence[Any],
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    session: bool,
) -> None:
    """In the new process: what `python -c code …` or `python -m sdk.hardened module` does there."""
    if cwd is not None:
        os.chdir(cwd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    tempfile.tempdir = None  # it was asked for before, in another environment
    if session:
        os.setsid()
    if command[1] == "-c":
        sys.argv[:] = command[2:]
        exec(compile(command[2], "<string>", "exec"), {"__name__": "__main__"})
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the module was imported before it runs as __main__
        run_hardened(command[4], list(command[5:]))


class Popen:
    """As much of subprocess.Popen as the SDK uses of a module's process, and tests of one for `python -c`."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        close_fds: bool = True,
        start_new_session: bool = False,
    ) -> None:
        self.args = args
        theirs, ours = zip(*(_stream(number, kind) for number, kind in enumerate((stdin, stdout, stderr))), strict=True)
        given = [_Descriptor(number) for number in theirs]
        more = (list(args), given, cwd, env, start_new_session)
        self._process = context().Process(target=_run, args=more, daemon=True)
        self._process.start()
        for number in theirs:
            os.close(number)
        self.stdin, self.stdout, self.stderr = (
            end if end is None else os.fdopen(end, "rb" if number else "wb") for number, end in enumerate(ours)
        )
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _stream(number: int, kind: int | None) -> tuple[int, int | None]:
    """The new process's descriptor, and this one's end where it is a pipe."""
    if kind == subprocess.PIPE:
        reads, writes = os.pipe()
        return (writes, reads) if number else (reads, writes)
    if kind == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    return os.dup(number if kind is None else kind), None


def run_code(code: str, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Return what `subprocess.run([sys.executable, "-c", code, …])` would, its output captured."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = Popen(command, stdin=subprocess.DEVNULL, stdout=out.fileno(), stderr=errors.fileno(), env=env)
        process.wait()
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.wait(), out.read(), errors.read())


class _Starter(subprocess.Popen[Any]):
    """subprocess.Popen, but for what is started warm."""

    def __new__(cls, args: Any, *more: Any, **options: Any) -> Any:
        command = list(args) if isinstance(args, list | tuple) else []
        if not _real and command in (python_command(name) for name in MODULES):
            return Popen(args, *more, **options)
        return super().__new__(cls)


@contextmanager
def warm_starts() -> Iterator[None]:
    with mock.patch("subprocess.Popen", _Starter):
        yield


@contextmanager
def real_starts() -> Iterator[None]:
    global _real
    before, _real = _real, True
    try:
        yield
    finally:
        _real = before
