"""The one way to read a file: a regular one, no link, no larger than its kind may be, and once.

Whoever can write to a folder can put a link to another file there, a pipe that never answers, a device, or a sparse
file larger than the memory; and can swap a file between two readings. So each file is opened here without following
a link and without waiting, its kind and size are asked of the descriptor, and the caller gets the bytes, from which it
takes both the digest and the meaning. What is wrong is Tampered where the caller gives a remedy, as for a project's own
files, and InvalidInput for what a user brings.

Folders on the way may be links: mounts and homes are, and what is read is compared with a digest or signature anyway.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered

KIB, MIB = 1 << 10, 1 << 20
# The most that a file of each kind may hold. What is real stays below a tenth of it, unless the line says otherwise.
KEY_BYTES = 64 * KIB  # an encrypted key file has 500 bytes; so have a trust file and a token of a key service
NOTE_BYTES = MIB  # a checkpoint with its signature: 300 bytes
YAML_BYTES = 64 * KIB  # a policy, a domain, cases: those that ship have 4 KiB, and PyYAML reads 60 KB a second
RECOGNIZERS_BYTES = 256 * KIB  # those that ship have 69 KiB; PyYAML takes four seconds for the whole of it
POLICY_BYTES = MIB  # a policy as canonical JSON, which is read at 100 MB a second
ENVELOPE_BYTES = 16 * MIB  # a signed file: a key ring has some hundred bytes a member
CONFIG_BYTES = 16 * MIB  # a base's or an adapter's JSON settings; the largest, a list of shards, has some MB
TEMPLATE_BYTES = MIB  # a chat template; the longest that is published has 20 KB
RECORD_BYTES = 64 * MIB  # a record: a run's has 60 bytes for each step that it keeps a loss of
SHIPPED_BYTES = 64 * MIB  # a file of this package: the tagger's weights have 8 MB
FIGURES_BYTES = 256 * MIB  # the spool of a run: some hundred bytes a step
PROGRESS_BYTES = 64 * MIB  # what a child leaves for its parent
TABLE_BYTES = 512 * MIB  # a sealed table of tokens, or marks of a review; some hundred bytes for each value
ROWS_BYTES = 256 * MIB  # rows in JSON or CSV, which are held in memory whole, up to twenty times their size
ROW_BYTES = 16 * MIB  # one row, or one line: a hundred times what the longest context takes
LOG_PART_BYTES = 128 * MIB  # a segment of the log, which ends with the commit that brings it to 64 MiB
ADAPTER_BYTES = 64 << 30  # an adapter's weights, one file of a checkpoint; they are held in memory
_CHUNK = MIB


class FileBytes(NamedTuple):
    """A file as it was read, once."""

    path: Path  # by which errors name it; it is not read again
    data: bytes


def open_regular(path: Path, remedy: Remedy | None = None, name: str | None = None) -> io.FileIO:
    """Open a regular file for reading, unbuffered; its kind is asked of the descriptor, so nothing can be put between.

    name: what errors call it; None: its path. Raises Tampered or, without a remedy, InvalidInput for a link, for
    anything that is no file and for none; StepFailed where a project's file is there and cannot be read.
    """
    name = str(path) if name is None else name
    try:
        # O_NONBLOCK: a named pipe would else wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        _cannot_open(name, error, remedy)
    except ValueError:
        raise InvalidInput(f"{ascii(name)[1:-1]} cannot be read: it has a zero byte in its path.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(name, remedy)
    return io.FileIO(descriptor)


def open_folder(path: Path) -> int:
    """Open a folder, whose files are then opened by their names in it. Returns its descriptor; raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_inside(folder: int, name: str) -> int:
    """Open what has this name in an open folder, without following a link or waiting for a pipe; raises OSError.

    Returns its descriptor; the caller asks of it what kind it is.
    """
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)


def _not_regular(name: str, remedy: Remedy | None) -> InvalidInput | Tampered:
    if remedy is None:
        return InvalidInput(f"{name} cannot be read: it is not a regular file.")
    return Tampered(f"{name} is not a regular file.", remedy=remedy)


def _cannot_open(name: str, error: OSError, remedy: Remedy | None) -> NoReturn:
    if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device without its driver
        raise _not_regular(name, remedy) from None
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        why, in_place = "it does not exist.", "."
    elif error.errno in (errno.ELOOP, errno.EMLINK):  # Linux and macOS; FreeBSD
        why, in_place = "it is a link; put the file itself there.", ": a link lies in its place, no ordinary file."
    else:
        _cannot_read(name, error, remedy)
    if remedy is None:
        raise InvalidInput(f"{name} cannot be read: {why}") from None
    raise Tampered(f"{name} is missing{in_place}", remedy=remedy) from None


def _cannot_read(name: str | Path, error: OSError, remedy: Remedy | None) -> NoReturn:
    text = f"{name} cannot be read: {error.strerror}."
    if remedy is None:
        raise InvalidInput(text) from None
    raise StepFailed(text) from error


def _fault(
    what: str, remedy: Remedy | None, expected: str | None = None, found: int | None = None
) -> InvalidInput | Tampered:
    if remedy is None:
        return InvalidInput(what)
    return Tampered(what, remedy=remedy, expected=expected, found=None if found is None else f"{found} bytes")


def size_of(file: io.FileIO) -> int:
    """Return the size of an open file, in bytes."""
    return os.fstat(file.fileno()).st_size


def require_size(file: io.FileIO, path: Path, size: int | None, remedy: Remedy | None = None) -> None:
    """Raise a fault unless the open file is as large as was recorded, before anything of it is read. None: any is."""
    if size is not None and size_of(file) != size:
        what = f"{path} has been altered: its size is not the recorded one."
        raise _fault(what, remedy, f"{size} bytes", size_of(file))


def read_opened(file: io.FileIO, path: Path, limit: int, remedy: Remedy | None = None) -> bytes:
    """Read an open file from where it stands to its end. More than `limit` bytes are a fault, before they are read."""
    too_large = f"{path} has more than {limit} bytes, which no such file needs."
    if size_of(file) > limit:
        raise _fault(too_large, remedy, f"at most {limit} bytes", size_of(file))
    # A read makes room for all that it asks for, so it asks for little more than the file has. The file may grow while
    # it is read, and files of /proc say that they are empty.
    parts, left, at_once = [], limit + 1, min(size_of(file) + 1, _CHUNK)
    try:
        while left and (part := file.read(min(left, max(at_once, KIB)))):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        _cannot_read(path, error, remedy)
    if not left:
        raise _fault(too_large, remedy, f"at most {limit} bytes", size_of(file))
    return b"".join(parts)


def read_regular(path: Path, limit: int, remedy: Remedy | None = None) -> bytes:
    """Read a regular file once and whole. Raises as open_regular does, and for more than `limit` bytes."""
    with open_regular(path, remedy) as file:
        return read_opened(file, path, limit, remedy)


def read_span(path: Path, begin: int, end: int, remedy: Remedy | None = None) -> bytes:
    """Read the bytes of a regular file from `begin` to `end`; fewer where it ends before. The caller bounds them."""
    parts, left = [], end - begin
    with open_regular(path, remedy) as file:
        try:
            file.seek(begin)
            while left > 0 and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            _cannot_read(path, error, remedy)
    return b"".join(parts)


def read_if_there(path: Path, limit: int, remedy: Remedy | None = None) -> bytes | None:
    """Read a regular file as read_regular does. None if there is nothing of this name; a link to nothing is a link."""
    if not os.path.lexists(path):
        return None
    return read_regular(path, limit, remedy)


def read_text(path: Path, limit: int, remedy: Remedy | None = None) -> str:
    """Read a regular file in UTF-8."""
    return decoded(read_regular(path, limit, remedy), path, remedy)


def read_shipped(path: Path) -> bytes:
    """Read a file of this package. Some installers link a package's files from a cache, so links are followed here."""
    return read_regular(linked(path), SHIPPED_BYTES)


def linked(path: Path) -> Path:
    """Return what a path leads to, for the few files that may be links, as in a hub's cache. It need not exist."""
    return Path(os.path.realpath(path))  # Path.resolve raises on links in a circle


def decoded(data: bytes, path: Path, remedy: Remedy | None = None) -> str:
    """Return the file's bytes as text. A fault, which names the place, where they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _fault(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8.", remedy) from None


def digest_regular(path: Path, remedy: Remedy | None = None, size: int | None = None) -> tuple[int, str]:
    """Measure a regular file of any size: its bytes and their SHA-256. Nothing of it is held.

    size: what it must have; another one is a fault before anything is read, so that nobody waits for a sparse file.
    """
    digest, count = hashlib.sha256(), 0
    with open_regular(path, remedy) as file:
        require_size(file, path, size, remedy)
        view = memoryview(bytearray(min(_CHUNK, size_of(file) + 1)))
        try:
            while read := file.readinto(view):
                digest.update(view[:read])
                count += read
        except OSError as error:
            _cannot_read(path, error, remedy)
    return count, digest.hexdigest()


class HashedFile:
    """A regular file of any size that is hashed while it is read, so that its digest is that of what was read.

    A context manager. Raises as open_regular does.
    """

    def __init__(self, path: Path, remedy: Remedy | None = None) -> None:
        self.path, self._remedy = path, remedy
        self.raw = open_regular(path, remedy)
        self._digest = hashlib.sha256()

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.raw.close()

    def lines(self, limit: int = ROW_BYTES) -> Iterator[bytes]:
        """Read line by line to the end, each with its line end. A line of more than `limit` bytes is a fault."""
        rest, number = b"", 1
        while chunk := self._chunk():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._bound(line, limit, number)
                yield line + b"\n"
                number += 1
            self._bound(rest, limit, number)
        if rest:
            yield rest

    def whole(self, limit: int) -> bytes:
        """Read all of it. More than `limit` bytes are a fault."""
        data = read_opened(self.raw, self.path, limit, self._remedy)
        self._digest.update(data)
        return data

    def through(self) -> str:
        """Read it to its end and go back to its beginning, for a reader that jumps about in it. Return its SHA-256."""
        self.raw.seek(0)
        self._digest = hashlib.sha256()
        while self._chunk():
            pass
        self.raw.seek(0)
        return self.sha256

    @property
    def sha256(self) -> str:
        """Digest of what was read so far."""
        return self._digest.hexdigest()

    @property
    def state(self) -> tuple[int, int, int]:
        """What a write to the file changes, and nobody but the machine's root can set back: size and times."""
        status = os.fstat(self.raw.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def require(self, expected: str) -> None:
        """Raise a fault unless what was read has this SHA-256."""
        if self.sha256 != expected:
            what = f"{self.path} has been altered: its SHA-256 is not the recorded one."
            if self._remedy is None:
                raise InvalidInput(what)
            raise Tampered(what, remedy=self._remedy, expected=expected, found=self.sha256)

    def _chunk(self) -> bytes:
        try:
            chunk = self.raw.read(_CHUNK) or b""
        except OSError as error:
            _cannot_read(self.path, error, self._remedy)
        self._digest.update(chunk)
        return chunk

    def _bound(self, line: bytes, limit: int, number: int) -> None:
        if len(line) > limit:
            raise _fault(f"{self.path} line {number} has more than {limit} bytes.", self._remedy)
