"""Ways in which writing the log fails, each as a name and a context manager that makes just this fail.

    for name, fault in FAULTS:
        with fault(project.state().audit), pytest.raises(StepFailed):
            project.train()

Only calls on this log's own files and holders fail, so that what a fault stops is the record and nothing else. `after`
lets that many events through first: 1 is the outcome of an action whose intent was recorded.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from sdk.audit import Audit
from sdk.crypto import LogKey
from sdk.errors import StepFailed


class Fault(Protocol):
    def __call__(self, audit: Audit, after: int = 0) -> AbstractContextManager[None]: ...


Matches = Callable[[Audit, Path], bool]


def _path(given: Any) -> Path:
    """Of a path, or of an open descriptor or file."""
    given = given.fileno() if hasattr(given, "fileno") else given
    return Path(os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else given).absolute()


@contextmanager
def _counted(audit: Audit, after: int) -> Iterator[Callable[[], bool]]:
    """Whether so many events of this log have been let through."""
    append, passed = Audit.append, 0

    def counted(self: Audit, *arguments: Any, **more: Any) -> Any:
        nonlocal passed
        passed += self.folder == audit.folder
        return append(self, *arguments, **more)

    with patch.object(Audit, "append", counted):
        yield lambda: passed > after


def _fault(owner: Any, call: str, matches: Matches, fail: Callable[..., Any]) -> Fault:
    """`owner.call` becomes `fail(original, *arguments)` for the log's files that match."""

    @contextmanager
    def inject(audit: Audit, after: int = 0) -> Iterator[None]:
        original = getattr(owner, call)

        def replaced(subject: Any, *arguments: Any, **more: Any) -> Any:
            if armed() and matches(audit, _path(subject)):
                return fail(original, subject, *arguments, **more)
            return original(subject, *arguments, **more)

        with _counted(audit, after) as armed, patch.object(owner, call, replaced):
            yield

    return inject


def _raises(code: int) -> Callable[..., Any]:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def _half(write: Callable[..., int], descriptor: int, data: bytes, offset: int) -> int:
    return write(descriptor, data[: len(data) // 2], offset)


@contextmanager
def _unsigned(audit: Audit, after: int = 0) -> Iterator[None]:
    original = LogKey.sign

    def sign(key: LogKey, data: bytes) -> bytes:
        if armed() and data.startswith(audit.origin.encode()):
            raise StepFailed("The key service does not answer.")
        return original(key, data)

    with _counted(audit, after) as armed, patch.object(LogKey, "sign", sign):
        yield


def _is_segment(audit: Audit, path: Path) -> bool:
    return path.parent == audit.folder.absolute() and path.suffix == ".jsonl"


def _is(name: str) -> Matches:
    return lambda audit, path: path == audit.folder.absolute() / name


def _is_folder(audit: Audit, path: Path) -> bool:
    return path == audit.folder.absolute()


def _is_holder(audit: Audit, path: Path) -> bool:
    return path in [holder.absolute().with_name(holder.name + ".aside") for holder in audit.holders]


FAULTS: list[tuple[str, Fault]] = [
    ("the lock cannot be opened", _fault(os, "open", _is("lock"), _raises(errno.EACCES))),
    ("the lock is not granted", _fault(fcntl, "flock", _is("lock"), _raises(errno.ENOLCK))),
    ("the checkpoint cannot be read", _fault(os, "open", _is("checkpoint"), _raises(errno.EIO))),
    ("the key does not sign", _unsigned),
    ("a holder cannot be opened", _fault(os, "open", _is_holder, _raises(errno.EROFS))),
    ("the segment cannot be opened", _fault(os, "open", _is_segment, _raises(errno.EMFILE))),
    ("the disk is full", _fault(os, "pwrite", _is_segment, _raises(errno.ENOSPC))),
    ("the write stops short", _fault(os, "pwrite", _is_segment, _half)),
    ("the lines cannot be synced", _fault(os, "fdatasync", _is_segment, _raises(errno.EIO))),
    ("the checkpoint cannot be synced", _fault(os, "fsync", _is("checkpoint.aside"), _raises(errno.EIO))),
    ("the checkpoint cannot take its place", _fault(Path, "rename", _is("checkpoint.aside"), _raises(errno.EIO))),
    ("the folder cannot be synced", _fault(os, "fsync", _is_folder, _raises(errno.EIO))),
    ("a holder does not take the checkpoint", _fault(os, "write", _is_holder, _raises(errno.ENOSPC))),
]
# After these the line stands in the log although the caller was told that it does not count as done.
TOO_LATE = {"the folder cannot be synced", "a holder does not take the checkpoint"}
