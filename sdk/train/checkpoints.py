"""Checkpoints that are whole or not there: written aside, listed with their SHA-256, flushed, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sdk.records import canonical_json
from sdk.store import fsync_folder, write_atomic

_LIST = "checkpoint.json"
_ASIDE = ".tmp"
_KEPT = 2


class Checkpoints:
    """The folder of one run's checkpoints; those with another key belong to another run and are never resumed."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def write(self, step: int, fill: Callable[[Path], None]) -> None:
        """Let `fill` write a checkpoint's files. Once this returns it is on disk; until then it is not there."""
        aside = self.folder / f"{step:09d}{_ASIDE}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            fill(aside)
            write_atomic(aside / _LIST, canonical_json({"key": self.key, "files": _digests(aside, flush=True)}))
            fsync_folder(aside)
            target = self.folder / f"{step:09d}"
            if target.exists():
                shutil.rmtree(target)
            aside.rename(target)
            fsync_folder(self.folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for old in self._all()[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole and of this run; None where training starts from the beginning."""
        return next((folder for folder in self._all() if self._whole(folder)), None)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        found = [path for path in self.folder.glob("*") if path.is_dir() and path.name.isdigit()]
        return sorted(found, key=lambda path: int(path.name), reverse=True)

    def _whole(self, folder: Path) -> bool:
        try:
            listed = json.loads((folder / _LIST).read_bytes())
            return bool(listed == {"key": self.key, "files": _digests(folder)})
        except (OSError, ValueError):
            return False


def _digests(folder: Path, flush: bool = False) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.name == _LIST:
            continue
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            if flush:
                os.fsync(file.fileno())
    return digests
