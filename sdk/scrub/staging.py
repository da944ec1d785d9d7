"""Files that grow while a scrubbing runs, and how far it was when its process ended.

Each file is written aside. A journal names, for a state of the work, how long each was and what its bytes were; what
was written after it is cut off when the same work goes on. No file holds anything that the finished ones do not, but
the lines of the sealed table, which are sealed here too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from sdk.errors import StepFailed
from sdk.files.durable import create_anew, fsync_folder, open_own, write_all
from sdk.files.regular_files import RECORD_BYTES, HashedFile, read_if_there
from sdk.files.store import ASIDE, write_atomic
from sdk.records import FileRef, canonical_json

JOURNAL = f"journal.json{ASIDE}"
_CHUNK = 1 << 20  # bytes


@dataclass
class _StagedFile:
    path: Path
    file: FileIO
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def append(self, data: bytes) -> None:
        write_all(self.file, data)
        self.digest.update(data)
        self.size += len(data)


class Staging:
    """The files of one scrubbing while they grow."""

    def __init__(self, folder: Path, names: tuple[str, ...], request: str) -> None:
        """Grow the files `names` in `folder`; `request` tells one work from another, whose journal stays alone."""
        self._folder, self._names, self._request = folder, names, request
        self._files: dict[str, _StagedFile] = {}

    def begin(self) -> Any:
        """Return the state that the journal was written with; None where the work begins anew."""
        state = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            journal = self._journal()
            if journal is not None and all(self._reopen(name, journal["files"][name]) for name in self._names):
                state = journal["state"]
            else:
                self._close()
                (self._folder / JOURNAL).unlink(missing_ok=True)
                for name in self._names:
                    path = self._aside(name)
                    self._files[name] = _StagedFile(path, create_anew(path))
        except OSError as error:
            raise self._failed(error) from error
        return state

    def append(self, name: str, data: bytes) -> None:
        try:
            self._files[name].append(data)
        except OSError as error:
            raise self._failed(error) from error

    def checkpoint(self, state: Any) -> None:
        """Write the journal: after an interruption the work goes on from here."""
        self._sync()
        files = {name: {"size": one.size, "sha256": one.digest.hexdigest()} for name, one in self._files.items()}
        write_atomic(self._folder / JOURNAL, canonical_json({"request": self._request, "files": files, "state": state}))

    def finish(self, kept: Sequence[str]) -> dict[str, FileRef]:
        """Give the files in `kept` their names, remove the others."""
        self._sync()
        self._close()
        try:
            for name, one in self._files.items():
                if name in kept:
                    one.path.rename(self._folder / name)
                else:
                    one.path.unlink()
            (self._folder / JOURNAL).unlink(missing_ok=True)
            fsync_folder(self._folder)
        except OSError as error:
            raise self._failed(error) from error
        return {
            name: FileRef(path=name, size=one.size, sha256=one.digest.hexdigest())
            for name, one in self._files.items()
            if name in kept
        }

    def read(self, name: str) -> HashedFile:
        """Open what has been appended to the file, from its beginning."""
        return HashedFile(self._files[name].path)

    def discard(self) -> None:
        """Remove all files, as if the work had never begun."""
        self._close()
        for path in [self._folder / JOURNAL, *map(self._aside, self._names)]:
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def close(self) -> None:
        """Leave everything as it is, to go on from later."""
        self._close()

    def _aside(self, name: str) -> Path:
        return self._folder / f"{name}{ASIDE}"

    def _journal(self) -> dict[str, Any] | None:
        try:
            journal = json.loads(read_if_there(self._folder / JOURNAL, RECORD_BYTES) or b"")
        except ValueError:
            return None
        sound = isinstance(journal, dict) and journal.get("request") == self._request
        return journal if sound and set(journal.get("files", ())) == set(self._names) else None

    def _reopen(self, name: str, was: Mapping[str, Any]) -> bool:
        """Tell whether the file still begins as the journal says; if so, it is cut there."""
        path, digest, left = self._aside(name), hashlib.sha256(), was["size"]
        if not path.is_file():
            return False
        file = open_own(path, os.O_RDWR)
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        self._files[name] = _StagedFile(path, file, was["size"], digest)
        if left or digest.hexdigest() != was["sha256"]:
            return False
        file.seek(was["size"])
        file.truncate()
        return True

    def _sync(self) -> None:
        try:
            for one in self._files.values():
                os.fsync(one.file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _close(self) -> None:
        for one in self._files.values():
            one.file.close()

    def _failed(self, error: OSError) -> StepFailed:
        return StepFailed(
            f"{self._folder} cannot be written: {error.strerror}. Free space or mend permissions, then repeat; it goes "
            "on from where it was."
        )
