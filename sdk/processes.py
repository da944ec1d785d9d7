"""Child processes: the one place where sdk starts a program, and the one way in which it ends one.

Every child is this Python running a module. One of ours is told its job on standard input: command lines can be read
by every user of the machine, and files and environments outlive their purpose.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

Child = subprocess.Popen[bytes]
Stream = int | IO[bytes]
PIPE: Stream = subprocess.PIPE
NOTHING: Stream = subprocess.DEVNULL

_SOURCES = str(Path(__file__).resolve().parents[1])  # the folder that holds this package


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module; -P: the folder it is run from is no place to import from."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(variables: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a child's environment: this process's, in which the child finds the modules that this process finds.

    variables: what is set in any case; defaults: what is set where this process has no such variable.
    """
    paths = [path for path in sys.path if path]
    if _SOURCES not in paths:  # this package was found in the working folder, where a child does not look
        paths.insert(0, _SOURCES)
    # PYTHONSAFEPATH is -P for what the child starts in turn, as torchrun its workers.
    ours = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    return {**(defaults or {}), **os.environ, **ours, **variables}


def start(
    module: str,
    *arguments: str,
    stdin: Stream = PIPE,
    stdout: Stream = NOTHING,
    stderr: Stream = NOTHING,
    variables: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> Child:
    """Start a module of ours in the background.

    It is in a session of its own, so Ctrl-C reaches this process only, which then decides how the child ends. Its
    output is dropped unless asked for: what a library prints may quote rows or credentials.
    variables, defaults: of its environment.
    """
    return subprocess.Popen(  # noqa: S603 - our own command
        python_command(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(variables or {}, defaults),
        start_new_session=True,
    )


def run_in_front(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a command in this terminal, where Ctrl-C reaches it, and return its exit status once it has ended."""
    return subprocess.run(command, env=environment(variables), check=False).returncode  # noqa: S603 - our own command


def end(child: Child, patience_seconds: float = 0.0) -> int:
    """Wait so long for the child to end by itself, then kill it. Returns its exit status, negative for a signal.

    Killed, not asked: a child holds nothing that has to be put away, and one that hangs does not answer.
    """
    try:
        return child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
