"""Where plain weights go: a folder of their own beside the target, which takes its place at the end or is wiped.

A process that is killed cannot wipe. So before anything is written this machine notes, outside of the project, where it
will be; whoever works on the project next wipes what lies there.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sdk.errors import InvalidInput, StepFailed
from sdk.files.durable import fsync_folder, open_own, write_all
from sdk.files.regular_files import KEY_BYTES, read_if_there
from sdk.files.store import as_named, state_folder, write_atomic

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.exporting")
_ZEROS = bytes(1 << 20)


def require_free(target: Path, project: Path) -> None:
    """Raise InvalidInput unless the target is new, or a folder that holds nothing, outside of the project."""
    if target.is_symlink():
        raise InvalidInput(f"{target} is a link; name the folder itself.")
    if os.path.lexists(target):
        if not target.is_dir():
            raise InvalidInput(f"{target} is no folder; name a new one.")
        held = sorted(os.listdir(target))
        if held:
            raise InvalidInput(f"{target} is not empty; name a new folder.", [f"it holds {name}" for name in held])
    parent = as_named(target).parent
    if not parent.is_dir():
        raise InvalidInput(f"{parent} is no folder; make it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InvalidInput(f"{parent} cannot be written to by this user.")
    if project.resolve() in (parent.resolve(), *parent.resolve().parents):
        raise InvalidInput(f"{target} lies in the project, where no plain weights are kept; name a folder elsewhere.")


def note_of(root: str) -> Path:
    """Return the path of this machine's note of an export that is being written. root: the project's."""
    return state_folder() / "exporting" / root


class StagedFolder:
    """A folder that becomes the target when it is told to."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self._target, self._published = folder, target, False

    @property
    def is_published(self) -> bool:
        return self._published

    def publish(self) -> None:
        """Put the folder in the target's place. StepFailed where something lies there by now."""
        try:
            self.folder.rename(self._target)  # over nothing, or over a folder that is empty
            fsync_folder(self._target.parent)
        except OSError as error:
            raise StepFailed(
                f"{self._target} cannot be put in place: {error.strerror}. Name another folder; then repeat."
            ) from error
        self._published = True


@contextmanager
def staging(target: Path, note: Path) -> Iterator[StagedFolder]:
    """Give out an empty folder beside the target, which only this user can enter. It is wiped unless it is published.

    note: the file that says where it is, until then.
    """
    target = as_named(target)
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.exporting"
    write_atomic(note, os.fsencode(folder))
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StepFailed(f"{folder} cannot be made: {error.strerror}.") from error
        stage = StagedFolder(folder, target)
        try:
            yield stage
        finally:
            if not stage.is_published:
                wipe_folder(folder)
    finally:
        note.unlink(missing_ok=True)


def wipe_left(note: Path) -> Path | None:
    """Wipe what an export left that was cut off, and return where; None: nothing."""
    data = read_if_there(note, KEY_BYTES)
    if data is None:
        return None
    folder = Path(os.fsdecode(data))
    left = None
    if _ASIDE.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
        wipe_folder(folder)
        left = folder
    note.unlink(missing_ok=True)
    return left


def wipe_folder(folder: Path) -> None:
    """Overwrite every file in a folder with zeros and remove the folder. StepFailed where something stays.

    A file system that writes elsewhere, or a disk that moves its blocks, may keep the old ones all the same.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with suppress(OSError):
                _overwrite(path)
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        raise StepFailed(f"{folder} holds plain weights and cannot be removed; remove it yourself.")


def _overwrite(path: Path) -> None:
    with open_own(path, os.O_RDWR) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            write_all(file, memoryview(_ZEROS)[: min(left, len(_ZEROS))])
            left -= len(_ZEROS)
        os.fsync(file.fileno())
