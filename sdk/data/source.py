"""A file of rows that is read as often as it is needed, a row at a time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from sdk.data.columns import suggest
from sdk.data.containers import BOM, CONTAINERS
from sdk.data.layouts import Builder, named
from sdk.data.rows import Container, Layout, Raw, Row, Table
from sdk.data.rows_files import DOCUMENTS, KINDS, Portion, RowsFile, joined_digest, portions
from sdk.errors import InvalidInput, Remedy, Tampered, by_cause
from sdk.files.regular_files import HashedFile, digest_regular
from sdk.records import Columns, SourceFile, canonical_json
from sdk.wording import counted


class Opened(NamedTuple):
    """One of the files of a source, checked."""

    portion: Portion
    layout: Layout
    sha256: str
    before: int  # rows in the files before it, those that are not taken among them
    taken: int  # rows that count

    @property
    def container(self) -> Container:
        return _kind(self.portion)

    def rows_from(self, first: int) -> Iterator[Row]:
        """Read the taken rows from this one on. InvalidInput where the file has changed since it was checked."""
        portion, whole = self.portion, self.portion.share == 1
        builder = Builder(self.layout, self.before + (first if whole else 0), portion.arrangement)
        with HashedFile(portion.path) as file:
            for raw in CONTAINERS[self.container](file, first if whole else 0, portion.arrangement):
                if not whole and isinstance(raw, Raw):
                    if not portion.takes(builder.number):
                        builder.pass_over()
                        continue
                    if first:
                        first -= 1
                        builder.pass_over()
                        continue
                row = builder.build(raw)[1] if isinstance(raw, Raw) else None
                if row is None:
                    raise self._changed()
                yield row
            if file.sha256 != self.sha256:
                raise self._changed()

    def _changed(self) -> InvalidInput:
        return InvalidInput(f"{self.portion.path} was changed while it was read; run again when nobody writes to it.")


@dataclass(frozen=True)
class RowSource:
    """Files whose rows have all been checked. Its memory is that of a few rows and of sixteen bytes for each."""

    path: Path
    container: Container  # of the first file, as is the layout
    layout: Layout
    count: int
    sha256: str
    languages: dict[str, int]
    labelled: bool  # some row has spans
    duplicates: int  # rows whose messages and metadata are those of an earlier one
    texts: int = 0  # rows that are running text
    files: tuple[Opened, ...] = ()

    @property
    def rows(self) -> Iterator[Row]:
        """Read all rows anew. InvalidInput where a file has changed since it was checked."""
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Row]:
        """Read the rows from this one on, which counts from 0. What is read to its end is what was checked."""
        for file in self.files:
            if first < file.taken or file is self.files[-1]:
                yield from file.rows_from(first)
            first = max(0, first - file.taken)

    @property
    def formats(self) -> str:
        """Say which layouts lie in which containers."""
        return ", ".join(dict.fromkeys(f"{file.layout} in {file.container.upper()}" for file in self.files))

    @property
    def asked(self) -> tuple[SourceFile, ...]:
        """What was taken of which file, where it was not all of one by its own names."""
        if len(self.files) == 1 and self.files[0].portion.columns is None and self.files[0].portion.share == 1:
            return ()
        return tuple(
            SourceFile(sha256=file.sha256, rows=file.taken, share=file.portion.share, columns=file.portion.columns)
            for file in self.files
        )


@dataclass(frozen=True)
class Held(RowSource):
    """Rows that are in memory and in no file in the clear."""

    held: tuple[Row, ...] = ()

    @property
    def rows(self) -> Iterator[Row]:
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Row]:
        return iter(self.held[first:])


@dataclass(frozen=True)
class ChosenRows(RowSource):
    """Some of a source's rows, by their numbers from 0.

    ids: what theirs begin with, before their number from 1, where they join rows with ids of their own.
    """

    numbers: array[int] = field(default_factory=lambda: array("q"))
    ids: str = ""

    @property
    def rows(self) -> Iterator[Row]:
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Row]:
        """Read the chosen rows from this one on, and over the others: what is read to its end is what was checked."""
        wanted = iter(self.numbers[first:])
        number = next(wanted, None)
        begin = sum(file.taken for file in self.files) if number is None else number
        for place, row in enumerate(RowSource.rows_from(self, begin), begin):
            if place == number:
                joined = {"id": f"{self.ids}{place + 1}", "spans": ()}  # whose recall is that of their own file
                yield row.model_copy(update=joined) if self.ids else row
                number = next(wanted, None)


def choose_rows(source: RowSource, numbers: Sequence[int], ids: str = "") -> ChosenRows:
    values = {each.name: getattr(source, each.name) for each in fields(RowSource)}
    values |= {"count": len(numbers), "duplicates": 0, "labelled": source.labelled and not ids}
    return ChosenRows(**values, numbers=array("q", numbers), ids=ids)


def open_rows(path: Path, columns: Columns | None = None) -> RowSource:
    """Check a file of rows in one of LAYOUTS, a text, or those of a folder or a data.yaml, row by row.

    columns: what the file's own columns stand for. A missing id becomes "row-<n>", a missing language is told from the
    script. InvalidInput lists every fault of every row.
    """
    return _open(path, columns, None)


def holds_texts(path: Path, columns: Columns | None = None) -> bool:
    """Tell by the first row of each file whether any is running text. What is wrong with rows is told elsewhere."""
    for portion in portions(path, columns):
        if portion.kind in DOCUMENTS:
            return True
        with HashedFile(portion.path) as file:
            first = next(CONTAINERS[_kind(portion)](file, 0, portion.arrangement), None)
        row = Builder(None, 0, portion.arrangement).build(first)[1] if isinstance(first, Raw) else None
        if row is not None and row.is_text:
            return True
    return False


def read_rows(file: Path | RowsFile, columns: Columns | None = None) -> Table:
    """Check rows as open_rows() does, and return all of them, in memory. Tampered: they are not the recorded ones."""
    rows: list[Row] = []
    source = each_row(file, rows.append, columns)
    return Table.model_construct(
        container=source.container, layout=source.layout, rows=tuple(rows), sha256=source.sha256
    )


def each_row(file: Path | RowsFile, take: Callable[[Row], None], columns: Columns | None = None) -> RowSource:
    """Check rows as open_rows() does, and hand over each as it is read; none behind a fault.

    What was taken counts only once this returns. Tampered: they are not the recorded ones.
    """
    asked = file if isinstance(file, RowsFile) else RowsFile(file, "", columns)
    source = _open(asked.path, asked.columns, take)
    require_recorded(asked, source.sha256)
    return source


def each_written_row(file: RowsFile, take: Callable[[Row], None]) -> None:
    """Hand over each row of a file that this package wrote. Tampered: it is not the recorded one.

    Its digest says that its rows are those that were checked and written, so they are not checked again.
    """
    require_recorded(file, digest_regular(file.path)[1])
    with HashedFile(file.path) as opened:
        for line in opened.lines():
            try:
                row = Row.model_validate_json(line)
            except ValidationError:  # which repeats the row's text
                raise _altered(file, "lines that this package does not write") from None
            take(row)
        require_recorded(file, opened.sha256)


def require_recorded(file: RowsFile, found: str) -> None:
    """Raise Tampered unless the rows' digest is the recorded one, where one was recorded."""
    if file.sha256 not in ("", found):
        raise _altered(file, found)


def _altered(file: RowsFile, found: str) -> Tampered:
    return Tampered(
        f"{file.path} has been altered: its SHA-256 is not the recorded one.",
        remedy=Remedy.PROJECT,
        expected=file.sha256,
        found=found,
    )


def first_rows(file: Path | RowsFile, count: int) -> tuple[Row, ...]:
    """Return the first rows of a file, to be shown. Where one has a fault, raise what read_rows() raises.

    Those behind them are not parsed. Tampered: they are not the recorded ones.
    """
    asked = file if isinstance(file, RowsFile) else RowsFile(file, "")
    taken = portions(asked.path, asked.columns)
    require_recorded(asked, joined_digest(taken, [digest_regular(portion.path)[1] for portion in taken]))
    rows: list[Row] = []
    passed = 0
    for portion in taken:
        builder = Builder(None, passed, portion.arrangement)
        with HashedFile(portion.path) as opened:
            for raw in CONTAINERS[_kind(portion)](opened, 0, portion.arrangement):
                if isinstance(raw, Raw) and not portion.takes(builder.number):
                    builder.pass_over()
                    continue
                row = builder.build(raw)[1] if isinstance(raw, Raw) else None
                if row is None:
                    return read_rows(asked).rows[:count]
                rows.append(row)
                if len(rows) == count:
                    return tuple(rows)
        passed = builder.number
    return tuple(rows)


class _Fault(NamedTuple):
    row: int
    text: str


def _kind(portion: Portion) -> Container:
    if portion.kind is None:
        raise InvalidInput(f"{portion.path}: this kind of file cannot be read; {_instead(portion.path)}.")
    return portion.kind


def _open(path: Path, columns: Columns | None, take: Callable[[Row], None] | None) -> RowSource:
    taken = portions(path, columns)
    check = _Check(path, take, several=len(taken) > 1)
    for portion in taken:
        _kind(portion)
        with HashedFile(portion.path) as file:
            check.read(file, portion)
    try:
        return check.source(taken)
    except InvalidInput:
        for portion in taken:
            if _is_blank(portion.path):
                raise InvalidInput(f"{portion.path} is empty; it needs at least one row.") from None
        raise


def _instead(path: Path) -> str:
    """Return what to do with what is no file of rows."""
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip"):
        return "unpack it first"
    return f"use one of {', '.join(KINDS)}"


def _is_blank(path: Path) -> bool:
    """Tell whether there is nothing but white space."""
    with HashedFile(path) as file:
        return not any(line.removeprefix(BOM).strip() for line in file.lines())


class _Check:
    """What is found out of all rows while they are read for the first time."""

    def __init__(self, path: Path, take: Callable[[Row], None] | None, several: bool) -> None:
        """Read the files that `path` stands for. take: what rows are handed to until there is a fault."""
        self._path, self._take, self._several = path, take, several
        self._files: list[Opened] = []
        self._faults: list[_Fault] = []
        self._ids, self._contents = array("q"), array("q")  # hashes
        self._languages: Counter[str] = Counter()
        self._labelled = False
        self._texts = 0
        self._remedy: str | None = None
        self._passed = 0

    def read(self, file: HashedFile, portion: Portion) -> None:
        """Read all rows of one more file."""
        builder = Builder(None, self._passed, portion.arrangement)
        before, taken = self._passed, len(self._ids)
        said = self._said(portion)
        for raw in CONTAINERS[_kind(portion)](file, 0, portion.arrangement):
            if not isinstance(raw, Raw):
                self._faults.append(_Fault(len(self._ids), said + raw))
                continue
            if not portion.takes(builder.number):
                builder.pass_over()
                continue
            row_id, row, found = builder.build(raw)
            self._faults += [_Fault(len(self._ids), said + fault) for fault in found]
            if found and portion.columns is None and not self._remedy:
                self._remedy = suggest(raw.fields)
            self._ids.append(hash(row_id))
            if row is None:
                continue
            self._contents.append(_content_hash(row))
            self._languages[row.language] += 1
            self._labelled |= bool(row.spans)
            self._texts += row.is_text
            if self._take is not None and not self._faults:
                self._take(row)
        self._passed = builder.number
        count = len(self._ids) - taken
        if builder.layout is not None:
            self._files.append(Opened(portion, builder.layout, file.sha256, before, count))
        elif not self._faults:
            share = f" in the share of {portion.share} that is taken of it" if portion.share < 1 else ""
            self._faults.append(_Fault(-1, f"{portion.path} holds no rows{share}; it needs at least one"))

    def _said(self, portion: Portion) -> str:
        """Return what names the file in an error, where there are several."""
        inside = portion.path.is_relative_to(self._path)
        name = portion.path.relative_to(self._path) if inside else portion.path.name
        return f"{name} " if self._several else ""

    def source(self, taken: tuple[Portion, ...]) -> RowSource:
        """Return what was read. InvalidInput lists everything that is wrong with it."""
        faults = sorted([*self._faults, *self._given_twice()], key=lambda fault: fault.row)
        if [fault.row for fault in faults] == [-1]:
            raise InvalidInput(f"{faults[0].text}.")
        if faults:
            mend = f"mend {'it' if len(faults) == 1 else 'them all'} and run again"
            remedy = f"{mend}; for these columns, say: {self._remedy}" if self._remedy else f"{mend}."
            raise InvalidInput(
                f"{self._path}: {counted(len(faults), 'fault')}; {remedy}", by_cause([fault.text for fault in faults])
            )
        unique = len(np.unique(np.frombuffer(self._contents, np.int64)))
        return RowSource(
            path=self._path,
            container=self._files[0].container,
            layout=self._files[0].layout,
            count=len(self._ids),
            sha256=joined_digest(taken, [file.sha256 for file in self._files]),
            languages=dict(sorted(self._languages.items())),
            labelled=self._labelled,
            duplicates=len(self._contents) - unique,
            texts=self._texts,
            files=tuple(self._files),
        )

    def _given_twice(self) -> list[_Fault]:
        """List ids that stand twice. Hashes of eight bytes a row tell whether one may; if so, files are read again."""
        values, counts = np.unique(np.frombuffer(self._ids, np.int64), return_counts=True)
        suspects = set(values[counts > 1].tolist())
        faults: list[_Fault] = []
        seen: dict[str, str] = {}
        number = 0
        for opened in self._files if suspects else ():
            portion = opened.portion
            said = self._said(portion)
            builder = Builder(None, opened.before, portion.arrangement)
            with HashedFile(portion.path) as file:
                for raw in CONTAINERS[opened.container](file, 0, portion.arrangement):
                    if not isinstance(raw, Raw):
                        continue
                    if not portion.takes(builder.number):
                        builder.pass_over()
                        continue
                    number += 1
                    row_id = builder.build(raw)[0]
                    if hash(row_id) not in suspects:
                        continue
                    if row_id in seen:
                        where = said + named(raw, row_id, builder.number)
                        how = ", or leave theirs out in all files but one (drop: [id])" if self._several else ""
                        twice = f"{where}: the same id as {seen[row_id]}; give each row an id of its own{how}"
                        faults.append(_Fault(number - 1, twice))
                    seen.setdefault(row_id, said + raw.where)
                file.require(opened.sha256)
        return faults


def _content_hash(row: Row) -> int:
    if row.metadata is None and all(message.tool_calls is None for message in row.messages):
        return hash(tuple((message.role, message.content, message.name) for message in row.messages))
    return hash(canonical_json(row.model_dump(include={"messages", "metadata", "topic"})))
