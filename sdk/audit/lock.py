"""One writer at a time, over processes and threads; readers look while nobody writes."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdk.errors import StepFailed
from sdk.files.durable import open_own

LOCK = "lock"
LOCK_SECONDS = 60.0  # a commit takes milliseconds: who holds the lock for longer has stopped
PAUSE_SECONDS = 0.0005


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the log as its only writer; makes the folder if need be.

    StepFailed after LOCK_SECONDS; OSError when there can be no lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
        yield


@contextmanager
def read_lock(folder: Path) -> Iterator[None]:
    """Hold the log beside other readers, while nobody writes.

    A copy of a log that nobody writes needs no lock, and has none when only segments and checkpoint were copied.
    """
    if os.path.lexists(folder / LOCK):
        with _held(folder / LOCK, os.O_RDONLY, fcntl.LOCK_SH):
            yield
    else:
        yield


@contextmanager
def _held(path: Path, flags: int, operation: int) -> Iterator[None]:
    with open_own(path, flags) as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try(file.fileno(), operation):
            if time.monotonic() > deadline:
                raise StepFailed(f"{path} is held by another process; end it (`fuser {path}` names it), then repeat.")
            time.sleep(PAUSE_SECONDS)
        yield


def _try(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
