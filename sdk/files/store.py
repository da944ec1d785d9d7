"""Files: written aside and renamed, read back against their digests; the data folders that ship with the package."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sdk.errors import InvalidInput, OutOfOrder, Remedy, StepFailed, Tampered
from sdk.files.durable import create_anew, create_file, fsync_folder, lock_file, write_all
from sdk.files.regular_files import (
    KEY_BYTES,
    RECORD_BYTES,
    ROW_BYTES,
    HashedFile,
    digest_regular,
    open_regular,
    read_if_there,
    read_regular,
    require_size,
    size_of,
)
from sdk.records import FileRef, Record, canonical_json, sha256

R = TypeVar("R", bound=Record)
EMBEDDED = "embedded"
CHAT_TEMPLATE = "chat_template.jinja"  # file of a base and of a package
RINGS = "ring"  # folder of a project's key rings
POLICIES = "policies"  # and of every policy that was in force
DECLARATIONS = "documents.yaml"  # what persons declare for documents
SECRET_CONTEXT = {"of": "the project's secret"}  # what its wrapping is bound to
ASIDE = ".aside"  # a file of this suffix is one that was being written when its process ended
PACKAGE = "package"  # folder of a sealed package, in what sealing leaves and in a release
PROVENANCE = "provenance.dsse.json"  # of the package; it lies beside that folder
# Figures of a training run: one JSON object a line, with step, time and numbers by MLflow's names.
SPOOL = "spool.jsonl"
# What was seen while training ran, in MLflow's sections. Shown, not claimed: no record has it.
LIVE_SECTIONS = ("live/", "system/")
_COPIED = 1 << 20  # bytes at a time


def shipped(kind: str) -> Path:
    """Return the folder `policies` or `domains`: inside an installed wheel, else at the root of the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def embedded_base() -> Path:
    """Return the folder of the base model that ships with the package."""
    return Path(__file__).resolve().parents[1] / "base"


def state_folder() -> Path:
    """Return where this machine keeps what it remembers of projects, outside of them.

    That is SDK_STATE_HOME, else a folder of ours as XDG's base directories say.
    """
    own = os.environ.get("SDK_STATE_HOME")
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "domain-adaptation-sdk"


def log_origin(root: str) -> str:
    """Return the name of a project's audit log in its checkpoints (C2SP tlog-checkpoint)."""
    return f"domain-adaptation-sdk/{root[:16]}"


def held_checkpoint(root: str) -> Path:
    """Return the path of the newest checkpoint that this machine has seen of a project, by its root.

    Makes its folder.
    """
    folder = state_folder() / "heads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepFailed(
            f"{folder} cannot be made ({error.strerror}); set SDK_STATE_HOME to a folder that can be written to."
        ) from error
    return folder / f"{root}.checkpoint"


def as_named(folder: Path) -> Path:
    """Return the absolute path of a folder by the links that the user came through, as the shell knows them in PWD."""
    if ".." in folder.parts:  # which leads up from where a link leads to, and not from where it lies
        return folder.resolve() if folder.name == ".." else folder.parent.resolve() / folder.name
    here, shell = os.getcwd(), os.environ.get("PWD", "")
    return Path(shell if os.path.isabs(shell) and os.path.realpath(shell) == here else here, folder)


def _pins(folder: Path) -> list[Path]:
    """Return where the root is kept of the project in a folder: by the path as it is named, and as it is resolved.

    The first notices a link on the way that leads elsewhere now, the second a folder that was put in another's place.
    """
    paths = dict.fromkeys((as_named(folder), folder.resolve()))
    return [state_folder() / "projects" / sha256(str(path).encode()) for path in paths]


def pin_root(folder: Path, root: str) -> None:
    """Remember which project lies in this folder, so that a project put in its place is noticed."""
    for pin in _pins(folder):
        if _read_pin(pin) != root:
            write_atomic(pin, root.encode())


def pinned_root(folder: Path) -> str | None:
    """Return the root of the project that lay in this folder before; None if this machine has not seen it.

    Raises Tampered where the path as it is named and the folder that it leads to were those of two projects.
    """
    roots = {root for root in map(_read_pin, _pins(folder)) if root is not None}
    if len(roots) > 1:
        raise Tampered(
            f"{folder} leads to another project than before: its path and its folder were those of two.",
            remedy=Remedy.PROJECT,
            expected=_read_pin(_pins(folder)[0]),
            found=_read_pin(_pins(folder)[-1]),
        )
    return roots.pop() if roots else None


def _read_pin(pin: Path) -> str | None:
    try:
        note = read_if_there(pin, KEY_BYTES)
        return None if note is None else note.decode("ascii")
    except (InvalidInput, UnicodeDecodeError) as error:
        raise StepFailed(
            f"{pin} cannot be read ({type(error).__name__}); mend it, or set SDK_STATE_HOME to a folder for "
            "what this machine remembers of projects."
        ) from error


def require_no_link(folder: Path) -> None:
    """Raise InvalidInput where a project's folder is named by a link, which may lead elsewhere tomorrow.

    Links above it are followed: many machines have some, and the pin by the path as it is named notices their change.
    """
    if folder.is_symlink() or as_named(folder).is_symlink():
        raise InvalidInput(f"{folder} is a link; name the project's folder itself: {folder.resolve()}")


def write_atomic(path: Path, data: bytes) -> None:
    """Write the file so that it holds either what it held or all of the data, also after a power cut."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with create_anew(aside) as file:
            write_all(file, data)
            os.fsync(file.fileno())
        aside.rename(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise StepFailed(
            f"{path} cannot be written: {error.strerror}. Free space or mend permissions, then repeat."
        ) from error


def file_ref(path: Path, root: Path) -> FileRef:
    """Measure a file: its path below the root, its size and its SHA-256. InvalidInput: it is a link or no file."""
    size, digest = digest_regular(path)
    return FileRef(path=path.relative_to(root).as_posix(), size=size, sha256=digest)


def bytes_ref(path: str, data: bytes) -> FileRef:
    """Describe a file by the bytes that were read of it or will be written to it."""
    return FileRef(path=path, size=len(data), sha256=sha256(data))


def copy_file(source: Path, target: Path, remedy: Remedy | None = None, size: int | None = None) -> None:
    """Copy a regular file of any size to a new name; a link or a file of another size is not copied.

    Raises as open_regular does; StepFailed where it cannot be written.
    """
    with open_regular(source, remedy) as read:
        require_size(read, source, size, remedy)
        left = size_of(read)  # what is appended meanwhile is not copied
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with create_file(target) as written:
                while left and (part := read.read(min(left, _COPIED))):
                    write_all(written, part)
                    left -= len(part)
        except OSError as error:
            raise StepFailed(f"{source} cannot be copied to {target}: {error.strerror}.") from error


def folder_refs(folder: Path) -> tuple[FileRef, ...]:
    """Measure every file below the folder, in the order of the paths. InvalidInput: there are links."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    links = [f"{path.relative_to(folder)} is a link" for path in paths if path.is_symlink()]
    if links:
        raise InvalidInput(f"{folder} holds links; replace them by files.", links)
    return tuple(file_ref(path, folder) for path in paths if path.suffix != ASIDE)


def refs_digest(refs: tuple[FileRef, ...]) -> str:
    return sha256(canonical_json([ref.model_dump(mode="json") for ref in refs]))


def check_ref(root: Path, ref: FileRef, remedy: Remedy = Remedy.PROJECT) -> Path:
    """Return the path of a file that is as it was recorded; Tampered names it when it is missing or altered.

    For files that are only compared, or that their reader compares again; what is to be read is read by read_ref.
    """
    path = _require_there(root, ref, remedy)
    _require_digest(path, ref.sha256, digest_regular(path, remedy, ref.size)[1], remedy)
    return path


def read_ref(root: Path, ref: FileRef, limit: int, remedy: Remedy = Remedy.PROJECT) -> bytes:
    """Read a file as it was recorded: the bytes that are returned are those that were compared. Else Tampered."""
    path = _require_there(root, ref, remedy)
    data = read_regular(path, limit, remedy)
    _require_digest(path, ref.sha256, sha256(data), remedy)
    return data


def recorded_lines(root: Path, ref: FileRef) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a recorded file, with their numbers. Tampered at the end where it is not the recorded one."""
    with HashedFile(root / ref.path, Remedy.PROJECT) as file:
        require_size(file.raw, file.path, ref.size, Remedy.PROJECT)
        yield from enumerate(line for line in file.lines(ROW_BYTES) if line.strip())
        file.require(ref.sha256)


def _require_there(root: Path, ref: FileRef, remedy: Remedy) -> Path:
    """Say of a file that is gone which one it was. What goes after this look is the reader's to tell."""
    path = root / ref.path
    if not os.path.lexists(path):
        raise Tampered(f"{path} is missing.", remedy=remedy, expected=f"a file of SHA-256 {ref.sha256}")
    return path


def _require_digest(path: Path, expected: str, found: str, remedy: Remedy) -> None:
    if found != expected:
        raise Tampered(
            f"{path} has been altered: its SHA-256 is not the recorded one.",
            remedy=remedy,
            expected=expected,
            found=found,
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that one process has at a time; a second one is told so at once. It ends with its process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock_file(path)
    except OSError as error:
        raise StepFailed(
            f"{path} cannot be locked: {error.strerror}. Where this user cannot write, `sdk verify`, "
            "`sdk load`, `sdk history` and `sdk ui` work, and `sdk documents --out FOLDER`."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutOfOrder(f"Another process is working on {path.parent}; wait until it ends.") from None
        yield


def read_named(folder: Path, digest: str, limit: int) -> bytes:
    """Read DIGEST.json of a project's folder, once. Tampered: it is missing, larger than `limit` bytes, or altered."""
    path = folder / f"{digest}.json"
    data = read_regular(path, limit, Remedy.PROJECT)
    if sha256(data) != digest:
        raise Tampered(
            f"{path} has been altered: its SHA-256 is not its name.",
            remedy=Remedy.PROJECT,
            expected=digest,
            found=sha256(data),
        )
    return data


class Records:
    """The folder of records; a record's file name is its digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, record: Record) -> str:
        """Store a record; return its digest."""
        write_atomic(self.folder / f"{record.digest}.json", record.to_bytes())
        return record.digest

    def get(self, kind: type[R], digest: str) -> R:
        """Read a record. Tampered: it is missing, altered or of another kind; InvalidInput: another version's."""
        path = self.folder / f"{digest}.json"
        data = read_named(self.folder, digest, RECORD_BYTES)
        try:
            fields = json.loads(data)
            stored = fields.pop("kind")
            if stored != kind.__name__.lower():
                raise Tampered(
                    f"{path} is a record of {stored}, not of {kind.__name__.lower()}.", remedy=Remedy.PROJECT
                )
            return kind.model_validate_json(canonical_json(fields))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"{path} was written by another version of this package ({type(error).__name__})."
            ) from None
