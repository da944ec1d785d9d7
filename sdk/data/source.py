"""A file of rows that is read as often as it is needed, a row at a time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdk.data.containers import BOM, CONTAINERS
from sdk.data.layouts import Builder, named
from sdk.data.rows import Container, Layout, Raw, Row, Table
from sdk.errors import InvalidInput, Remedy, Tampered, by_cause
from sdk.records import canonical_json
from sdk.regular_files import HashedFile
from sdk.wording import counted


class RowsFile(NamedTuple):
    """A file of rows, and the digest that its bytes must have when it is read."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class RowSource:
    """A file whose rows have all been checked. Its memory is that of a few rows and of sixteen bytes for each."""

    path: Path
    container: Container
    layout: Layout
    count: int
    sha256: str
    languages: dict[str, int]
    labelled: bool  # some row has spans
    duplicates: int  # rows whose messages and metadata are those of an earlier one

    @property
    def rows(self) -> Iterator[Row]:
        """Read all rows anew. InvalidInput where the file has changed since it was checked."""
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Row]:
        """Read the rows from this one on, which counts from 0. What is read to its end is what was checked."""
        build = Builder(self.layout, first).build
        with HashedFile(self.path) as file:
            for raw in CONTAINERS[self.path.suffix.lower()](file, first):
                row = build(raw)[1] if isinstance(raw, Raw) else None
                if row is None:
                    raise self._changed()
                yield row
            if file.sha256 != self.sha256:
                raise self._changed()

    def _changed(self) -> InvalidInput:
        return InvalidInput(f"{self.path} was changed while it was read; run again when nobody writes to it.")


@dataclass(frozen=True)
class Held(RowSource):
    """Rows that are in memory and in no file in the clear."""

    held: tuple[Row, ...] = ()

    @property
    def rows(self) -> Iterator[Row]:
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Row]:
        return iter(self.held[first:])


def open_rows(path: Path) -> RowSource:
    """Check a .jsonl, .json, .csv or .parquet file in one of LAYOUTS, row by row.

    A missing id becomes "row-<n>", a missing language is told from the script. InvalidInput lists every fault of
    every row.
    """
    return _open(path, None)


def read_rows(file: Path | RowsFile) -> Table:
    """Check a file as open_rows() does, and return all rows, in memory. Tampered: it is not the recorded one."""
    path, recorded = file if isinstance(file, RowsFile) else (file, None)
    rows: list[Row] = []
    source = _open(path, rows)
    if recorded not in (None, source.sha256):
        raise Tampered(
            f"{path} has been altered: its SHA-256 is not the recorded one.",
            remedy=Remedy.PROJECT,
            expected=recorded,
            found=source.sha256,
        )
    return Table.model_construct(
        container=source.container, layout=source.layout, rows=tuple(rows), sha256=source.sha256
    )


class _Fault(NamedTuple):
    row: int
    text: str


def _open(path: Path, kept: list[Row] | None) -> RowSource:
    if path.suffix.lower() not in CONTAINERS:
        raise InvalidInput(f"{path}: this kind of file cannot be read; {_instead(path)}.")
    with HashedFile(path) as file:
        try:
            return _checked(file, kept)
        except InvalidInput:
            if _is_blank(path):
                raise InvalidInput(f"{path} is empty; it needs at least one row.") from None
            raise


def _instead(path: Path) -> str:
    """Return what to do with what is no file of rows."""
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip"):
        return "unpack it first"
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        part = "" if (path / "state.json").is_file() else '["train"]'
        return f"it is a folder of datasets; write it with load_from_disk(...){part}.to_parquet('rows.parquet')"
    if path.is_dir():
        return "it is a folder; name the file of rows in it"
    return f"use one of {', '.join(CONTAINERS)}"


def _is_blank(path: Path) -> bool:
    """Tell whether there is nothing but white space."""
    with HashedFile(path) as file:
        return not any(line.removeprefix(BOM).strip() for line in file.lines())


def _checked(file: HashedFile, kept: list[Row] | None) -> RowSource:
    path = file.path
    suffix = path.suffix.lower()
    builder = Builder()
    faults: list[_Fault] = []
    ids, contents = array("q"), array("q")  # hashes
    languages: Counter[str] = Counter()
    labelled = False
    for raw in CONTAINERS[suffix](file):
        if not isinstance(raw, Raw):
            faults.append(_Fault(len(ids), raw))
            continue
        row_id, row, found = builder.build(raw)
        faults += [_Fault(len(ids), fault) for fault in found]
        ids.append(hash(row_id))
        if row is None:
            continue
        contents.append(_content_hash(row))
        languages[row.language] += 1
        labelled |= bool(row.spans)
        if kept is not None:
            kept.append(row)
    faults = sorted([*faults, *_given_twice(path, file.sha256, ids)], key=lambda fault: fault.row)
    if faults:
        raise InvalidInput(
            f"{path}: {counted(len(faults), 'fault')}; mend {'it' if len(faults) == 1 else 'them all'} and run again.",
            by_cause([fault.text for fault in faults]),
        )
    if builder.layout is None:
        raise InvalidInput(f"{path} holds no rows; it needs at least one.")
    return RowSource(
        path=path,
        container=suffix.removeprefix("."),  # type: ignore[arg-type] # CONTAINERS has no other
        layout=builder.layout,
        count=len(ids),
        sha256=file.sha256,
        languages=dict(sorted(languages.items())),
        labelled=labelled,
        duplicates=len(contents) - len(np.unique(np.frombuffer(contents, np.int64))),
    )


def _content_hash(row: Row) -> int:
    if row.metadata is None and all(message.tool_calls is None for message in row.messages):
        return hash(tuple((message.role, message.content, message.name) for message in row.messages))
    return hash(canonical_json(row.model_dump(include={"messages", "metadata", "topic"})))


def _given_twice(path: Path, digest: str, ids: array[int]) -> list[_Fault]:
    """List ids that stand twice. Hashes of eight bytes a row tell whether one may; if so, the file is read again."""
    values, counts = np.unique(np.frombuffer(ids, np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return []
    builder, faults, number = Builder(), [], 0
    seen: dict[str, str] = {}
    with HashedFile(path) as file:
        for raw in CONTAINERS[path.suffix.lower()](file):
            if not isinstance(raw, Raw):
                continue
            number += 1
            row_id = builder.build(raw)[0]
            if hash(row_id) not in suspects:
                continue
            if row_id in seen:
                where = named(raw, row_id, number)
                twice = f"{where}: the same id as {seen[row_id]}; give each row an id of its own"
                faults.append(_Fault(number - 1, twice))
            seen.setdefault(row_id, raw.where)
        file.require(digest)
    return faults
