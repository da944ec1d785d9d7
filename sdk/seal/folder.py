"""The files of a package as they lie on a disk: which may be there, and each read once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import Remedy, Tampered
from sdk.files.regular_files import digest_regular, read_regular
from sdk.records import FileRef, sha256
from sdk.seal.manifest import BEHAVIOUR, BOM, CONFIG, MANIFEST, SEALED_WEIGHTS, SIGNATURE, TOKENIZER, WEIGHTS

ALWAYS = (CONFIG, BOM, MANIFEST, SIGNATURE)
POSSIBLE = frozenset({*ALWAYS, *TOKENIZER, BEHAVIOUR, WEIGHTS, SEALED_WEIGHTS})
# What is parsed, from the very bytes that were hashed, and how large it may be; only model.sig is parsed unverified.
KEPT_BYTES = {SIGNATURE: 1 << 16, CONFIG: 1 << 20, BEHAVIOUR: 1 << 22, BOM: 1 << 22, MANIFEST: 1 << 24}
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Contents:
    refs: Mapping[str, FileRef]
    data: Mapping[str, bytes]  # of KEPT_BYTES


def _fold(name: str) -> str:
    """Fold case and compatibility characters, as file systems and readers may."""
    return unicodedata.normalize("NFKC", name).casefold()


_FOLDED = {_fold(name): name for name in POSSIBLE}


def _fault(entry: os.DirEntry[str]) -> str | None:
    """Say why an entry is no file of a package; None: it is one. Its name is shown in ASCII."""
    name = ascii(entry.name)[1:-1]
    if entry.is_symlink():
        return f"{name} is a link."
    if entry.name not in POSSIBLE:
        twin = _FOLDED.get(_fold(entry.name))
        return f"{name} looks like {twin} and is another name." if twin else f"{name} is no file of a package."
    return None if entry.is_file(follow_symlinks=False) else f"{name} is not a regular file."


def list_files(folder: Path) -> list[str]:
    """List the package's files by name; Tampered for links, folders, special files, other names and missing ones."""
    try:
        if folder.is_symlink():
            raise Tampered(f"{folder} is a link; a package is a folder.", remedy=Remedy.COPY)
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise Tampered(f"{folder} is not a package: {error.strerror}.", remedy=Remedy.COPY) from None
    names = [entry.name for entry in entries]
    faults = [fault for entry in entries if (fault := _fault(entry))]
    faults += [f"{name} is missing." for name in ALWAYS if name not in names]
    weights = [name for name in names if name in (WEIGHTS, SEALED_WEIGHTS)]
    if len(weights) != 1:
        faults.append(
            f"{' and '.join(weights)} are both there." if weights else f"{WEIGHTS}, sealed or not, is missing."
        )
    if faults:
        raise Tampered(f"{folder} does not hold the files of a package.", faults, remedy=Remedy.COPY)
    return names


def read_file(folder: Path, name: str) -> tuple[FileRef, bytes | None]:
    """Measure a file, which is read once: its size and SHA-256, and its bytes if it is one of KEPT_BYTES."""
    path, limit = folder / name, KEPT_BYTES.get(name)
    if limit is None:
        size, digest = digest_regular(path, Remedy.COPY)
        return FileRef(path=name, size=size, sha256=digest), None
    data = read_regular(path, limit, Remedy.COPY)
    return FileRef(path=name, size=len(data), sha256=sha256(data)), data


def _is_large(path: Path) -> bool:
    try:
        return path.lstat().st_size > CHUNK_BYTES
    except OSError:
        return False  # read_file says what is wrong


def read_files(folder: Path, names: Iterable[str]) -> Contents:
    """Read every file once; large ones side by side on all cores, as hashlib lets other threads run."""
    listed = sorted(names)
    large = [name for name in listed if _is_large(folder / name)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        started = {name: pool.submit(read_file, folder, name) for name in large}
        read = {name: read_file(folder, name) for name in listed if name not in started}
        read |= {name: future.result() for name, future in started.items()}
    return Contents(
        refs={name: ref for name, (ref, _) in read.items()},
        data={name: data for name, (_, data) in read.items() if data is not None},
    )
