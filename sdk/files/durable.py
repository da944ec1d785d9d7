"""The one way to open a file for writing, and what makes it survive a power cut besides its own fsync.

Nothing here follows a link or waits for a pipe's reader: who can write to a folder can put either in a file's place.
All functions raise OSError, for the caller to say what could not be written.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from pathlib import Path

_NO_LINK = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def fsync_folder(folder: Path) -> None:
    """Make the folder's names durable: a new or renamed file is found after a power cut only once this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: Path, mode: int = 0o666) -> io.FileIO:
    """Create a file that was not there. FileExistsError where anything is, a link to nowhere among it."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, mode), "r+")


def create_nameless(folder: Path) -> io.FileIO:
    """Create a file in the folder that has no name any more: it is gone when the last who has it open ends, however."""
    path = folder / f"{secrets.token_hex(8)}.aside"
    file = create_file(path, 0o600)
    path.unlink()  # while it is empty
    return file


def create_anew(path: Path) -> io.FileIO:
    """Create a file in the place of one that an interruption left; a link there goes, and what it names stays."""
    try:
        return create_file(path)
    except FileExistsError:
        path.unlink()
        return create_file(path)


def open_own(path: Path, flags: int) -> io.FileIO:
    """Open a regular file to lock it, append to it or go on in it; makes it where O_CREAT is among the flags."""
    descriptor = os.open(path, flags | _NO_LINK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return io.FileIO(descriptor, {os.O_RDONLY: "r", os.O_WRONLY: "w"}.get(flags & os.O_ACCMODE, "r+"))


def append_to(path: Path) -> io.FileIO:
    """Open a regular file so that every write goes to its end, whoever else writes."""
    return open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def lock_file(path: Path) -> io.FileIO:
    """Open the file that a lock is held on."""
    return open_own(path, os.O_RDWR | os.O_CREAT)


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write all of the data: a raw file takes part of it where a disk fills up, before it complains."""
    view, done = memoryview(data), 0
    while done < len(view):
        done += file.write(view[done:]) or 0
