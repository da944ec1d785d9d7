"""Checkpoints that are whole or not there: written aside, listed with their SHA-256, flushed, renamed.

FOLDER/000000120/checkpoint.json    the run's key, the step, the SHA-256 of each file; encrypted: data key and HMAC too
FOLDER/000000120/NAME               a file's bytes; encrypted: AES-256-GCM in chunks, each under a key of its own

With a secret nothing but ciphertext ever touches the disk, and a file opens only under its own name, at its own step
and in its own run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.crypto import NONCE_BYTES, TAG_BYTES, Secret
from sdk.errors import Remedy, StepFailed, Tampered
from sdk.files.durable import create_file, fsync_folder, write_all
from sdk.files.regular_files import ADAPTER_BYTES, CONFIG_BYTES, read_regular
from sdk.records import canonical_json, sha256

_LIST = "checkpoint.json"
_ASIDE = ".tmp"
_KEPT = 2
_CHUNK = 2**26  # bytes that are encrypted at once; more than one call of AES-GCM takes is never in memory twice


@dataclass(frozen=True)
class TrainingCheckpoint:
    """One that was whole: the bytes that were checked are the bytes that are used."""

    step: int
    files: Mapping[str, bytes]


class Checkpoints:
    """The folder of one run's checkpoints; those with another key belong to another run and are never resumed."""

    def __init__(self, folder: Path, key: str, secret: Secret | None = None) -> None:
        self.folder = folder
        self.damaged: list[str] = []  # what newest() skipped, and why
        self._key = key
        self._secret = secret
        self._whole: list[int] = []  # steps, oldest first

    def write(self, step: int, files: Mapping[str, bytes]) -> None:
        """Write a checkpoint. Once this returns it is on disk; until then it is not there.

        Raises StepFailed where the disk is full or fails; the checkpoints before it stay.
        """
        if step in self._whole:
            return
        aside = self.folder / f"{step:09d}{_ASIDE}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                fsync_folder(self.folder.parent)
            aside.mkdir()
            self._fill(aside, step, files)
            shutil.rmtree(self._path(step), ignore_errors=True)  # not a whole one
            aside.rename(self._path(step))
            fsync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            before = f"from step {self._whole[-1]}" if self._whole else "from its start"
            raise StepFailed(
                f"The checkpoint of step {step} cannot be written: {error.strerror}. Free some space or mend the disk "
                f"and run the same command again: training goes on {before}."
            ) from error
        self._whole = [*self._whole, step][-_KEPT:]
        self._remove_all_but(self._whole)

    def newest(self) -> TrainingCheckpoint | None:
        """Return the newest checkpoint that is whole and of this run; None where training starts from the beginning."""
        self.damaged = []
        for step in self._steps():
            try:
                files = self._read(step)
            except (OSError, ValueError, KeyError, TypeError, Tampered, StepFailed) as error:
                why = error.strerror if isinstance(error, OSError) else "its bytes are not those that were written"
                self.damaged.append(f"The checkpoint of step {step} is damaged ({why}) and was skipped.")
                continue
            if files is not None:
                self._whole = [step]
                return TrainingCheckpoint(step, files)
        return None

    def keep_newest(self) -> None:
        """Remove all but the last one written."""
        self._whole = self._whole[-1:]
        self._remove_all_but(self._whole)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:09d}"

    def _steps(self) -> list[int]:
        """List the steps that have a checkpoint, newest first."""
        steps = [int(path.name) for path in self.folder.glob("*") if path.is_dir() and path.name.isdecimal()]
        return sorted(steps, reverse=True)

    def _remove_all_but(self, steps: list[int]) -> None:
        kept = {self._path(step) for step in steps}
        for path in self.folder.iterdir():
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _fill(self, aside: Path, step: int, files: Mapping[str, bytes]) -> None:
        data_key = Secret.random() if self._secret else None
        listed: dict[str, Any] = {"key": self._key, "step": step}
        listed["files"] = {
            name: _write(aside / name, self._sealed(data_key, step, name, data) if data_key else [data])
            for name, data in sorted(files.items())
        }
        if self._secret and data_key:
            listed["data_key"] = self._secret.derive("wrap").wrap(data_key)
            listed["hmac"] = self._hmac(listed)
        _write(aside / _LIST, [canonical_json(listed)])
        fsync_folder(aside)

    def _read(self, step: int) -> dict[str, bytes] | None:
        """Read every file of a whole checkpoint. None if it is another run's."""
        folder = self._path(step)
        listed = json.loads(read_regular(folder / _LIST, CONFIG_BYTES, Remedy.PROJECT))
        if listed["key"] != self._key:
            return None
        hmac = listed.pop("hmac", None)
        if hmac != (self._hmac(listed) if self._secret else None) or listed["step"] != step:
            raise ValueError
        if {path.name for path in folder.iterdir()} != {_LIST, *listed["files"]}:
            raise ValueError
        data_key = self._secret.derive("wrap").unwrap(listed["data_key"]) if self._secret else None
        files = {}
        for name, digest in listed["files"].items():
            data = read_regular(folder / name, ADAPTER_BYTES, Remedy.PROJECT)
            if sha256(data) != digest:
                raise ValueError
            files[name] = self._opened(data_key, step, name, data) if data_key else data
        return files

    def _hmac(self, listed: Mapping[str, Any]) -> str:
        assert self._secret is not None
        return self._secret.derive("list").hmac(canonical_json(listed)).hex()

    def _sealed(self, data_key: Secret, step: int, name: str, data: bytes) -> Iterator[bytes]:
        count = max(1, -(-len(data) // _CHUNK))
        for number in range(count):
            piece = data[number * _CHUNK : (number + 1) * _CHUNK]
            yield _chunk_key(data_key, name, number).encrypt(piece, self._context(step, name, number, count))

    def _opened(self, data_key: Secret, step: int, name: str, data: bytes) -> bytes:
        size = _CHUNK + NONCE_BYTES + TAG_BYTES
        count = -(-len(data) // size)
        return b"".join(
            _chunk_key(data_key, name, number).decrypt(
                data[number * size : (number + 1) * size], self._context(step, name, number, count), name
            )
            for number in range(count)
        )

    def _context(self, step: int, name: str, number: int, count: int) -> bytes:
        return canonical_json({"run": self._key, "step": step, "file": name, "chunk": number, "chunks": count})


def _chunk_key(data_key: Secret, name: str, number: int) -> Secret:
    return data_key.derive(f"checkpoint {name} {number}")


def _write(path: Path, pieces: Iterator[bytes] | list[bytes]) -> str:
    """Write and flush the pieces to the disk, and return their SHA-256."""
    digest = hashlib.sha256()
    with create_file(path) as file:
        for piece in pieces:
            digest.update(piece)
            write_all(file, piece)
        os.fsync(file.fileno())
    return digest.hexdigest()
