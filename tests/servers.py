"""Real servers, for tests."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sdk.processes import python_command
from tests import warm
from tests.waiting import wait_until

# `mlflow server …` in one process that has imported MLflow already: it starts uvicorn in another one, and both import
# all of it anew.
MLFLOW_SERVER = """
import os, sys
from unittest import mock
import uvicorn.main
import mlflow.server
from mlflow.cli import cli

def here(command, extra_env, **options):
    os.environ.update(extra_env)
    uvicorn.main.main(command[command.index("uvicorn") + 1 :])

with mock.patch.object(mlflow.server, "_exec_cmd", here):
    cli(sys.argv[1:])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], folder: Path, ready: Callable[[], object], env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A process until `ready` raises no OSError any more, and then until the end of the block."""
    log = folder / f"{Path(command[0]).name}-{secrets.token_hex(3)}.log"
    is_ours = command[1] == "-c" or command[1:4] == python_command("")[1:4]
    start: Any = warm.Popen if is_ours else subprocess.Popen
    with log.open("w") as out:
        process = start(
            command,
            cwd=folder,
            stdout=out.fileno(),
            stderr=out.fileno(),
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        try:
            wait_until(lambda: _answers(ready), lambda: process.poll() is None)
            yield
        except AssertionError as error:
            error.add_note(log.read_text())
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(30)


def _answers(ready: Callable[[], object]) -> bool:
    try:
        ready()
    except OSError:
        return False
    return True


def serving(command: list[str], port: int, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    address = f"http://127.0.0.1:{port}"
    with running(command, folder, lambda: urllib.request.urlopen(f"{address}/health", timeout=5).close(), env):
        yield address


def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Its address; database and artifacts stay in `folder`, so that it can be started again."""
    backend, artifacts = f"sqlite:///{folder}/far.db", (folder / "artifacts").as_uri()
    yield from serving(server_command(backend, artifacts, port), port, folder)


def server_command(backend: str, artifacts: str, port: int) -> list[str]:
    command = [sys.executable, "-c", MLFLOW_SERVER, "server", "--backend-store-uri", backend, "--serve-artifacts"]
    command += ["--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return command
