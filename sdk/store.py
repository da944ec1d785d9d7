"""Files: written aside and renamed, read back against their digests; the data folders that ship with the package."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sdk.errors import InvalidInput, OutOfOrder, StepFailed, Tampered
from sdk.records import FileRef, Record, canonical_json, sha256

R = TypeVar("R", bound=Record)
EMBEDDED = "embedded"
RINGS = "ring"  # folder of a project's key rings
POLICIES = "policies"  # and of every policy that was in force
SECRET_CONTEXT = {"of": "the project's secret"}  # what its wrapping is bound to
ASIDE = ".aside"  # a file of this suffix is one that was being written when its process ended
SPOOL = (
    "spool.jsonl"  # figures of a training run: one JSON object a line, with step, time and numbers by MLflow's names
)
# What was seen while training ran, in MLflow's sections. Shown, not claimed: no record has it.
LIVE_SECTIONS = ("live/", "system/")


def shipped(kind: str) -> Path:
    """The folder `policies` or `domains`: inside an installed wheel, else at the root of the checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def embedded_base() -> Path:
    """The folder of the base model that ships with the package."""
    return Path(__file__).resolve().parent / "base"


def state_folder() -> Path:
    """What this machine remembers of projects, outside of them: SDK_STATE_HOME, else as XDG's base directories say."""
    own = os.environ.get("SDK_STATE_HOME")
    if own:
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "domain-adaptation-sdk"


def log_origin(root: str) -> str:
    """The name of a project's audit log in its checkpoints (C2SP tlog-checkpoint)."""
    return f"domain-adaptation-sdk/{root[:16]}"


def held_checkpoint(root: str) -> Path:
    """The copy of the newest checkpoint that this machine has seen of a project, by its root; its folder is made."""
    folder = state_folder() / "heads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepFailed(
            f"{folder} cannot be made ({error.strerror}); set SDK_STATE_HOME to a folder that can be written to."
        ) from error
    return folder / f"{root}.checkpoint"


def _pin(folder: Path) -> Path:
    return state_folder() / "projects" / sha256(str(folder.resolve()).encode())


def pin_root(folder: Path, root: str) -> None:
    """Remember which project lies in this folder, so that another one put in its place is noticed."""
    write_atomic(_pin(folder), root.encode())


def pinned_root(folder: Path) -> str | None:
    try:
        return _pin(folder).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StepFailed(
            f"{_pin(folder)} cannot be read ({type(error).__name__}); mend it, or set SDK_STATE_HOME to a folder for "
            "what this machine remembers of projects."
        ) from error


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """After it returns the file holds the data, also after a power cut; before, it held what it held."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise StepFailed(
            f"{path} cannot be written: {error.strerror}. Free space or mend permissions, then repeat."
        ) from error


def file_ref(path: Path, root: Path) -> FileRef:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRef(path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=digest)


def folder_refs(folder: Path) -> tuple[FileRef, ...]:
    """Every file below the folder in the order of its path; links are refused."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    links = [f"{path.relative_to(folder)} is a link" for path in paths if path.is_symlink()]
    if links:
        raise InvalidInput(f"{folder} holds links; replace them by files.", links)
    return tuple(file_ref(path, folder) for path in paths if path.suffix != ASIDE)


def refs_digest(refs: tuple[FileRef, ...]) -> str:
    return sha256(canonical_json([ref.model_dump(mode="json") for ref in refs]))


def check_ref(root: Path, ref: FileRef) -> Path:
    """The file's path; Tampered names it when it is missing or its bytes are others."""
    path = root / ref.path
    if path.is_symlink() or not path.is_file():
        raise Tampered(f"{path} is missing.")
    if file_ref(path, root) != ref:
        raise Tampered(f"{path} has been altered: its SHA-256 is not the recorded one.")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; a second one is told so at once. The lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutOfOrder(f"Another process is working on {path.parent}; wait until it ends.") from None
        yield


class Records:
    """The folder of records; a record's file name is its digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, record: Record) -> str:
        write_atomic(self.folder / f"{record.digest}.json", record.to_bytes())
        return record.digest

    def get(self, kind: type[R], digest: str) -> R:
        path = self.folder / f"{digest}.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise Tampered(f"{path} is missing.") from None
        if sha256(data) != digest:
            raise Tampered(f"{path} has been altered: its SHA-256 is not its name.")
        try:
            fields = json.loads(data)
            found = fields.pop("kind")
            if found != kind.__name__.lower():
                raise Tampered(f"{path} is a record of {found}, not of {kind.__name__.lower()}.")
            return kind.model_validate_json(canonical_json(fields))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"{path} was written by another version of this package ({type(error).__name__})."
            ) from None
