"""Bytes to columns: JSONL line by line, Parquet by batches of rows; JSON and CSV are read whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

import pyarrow
import pyarrow.parquet

from sdk.data.arrow_values import as_json
from sdk.data.columns import KNOWN, LAYOUTS, METADATA, Arrangement, find_layout, shown, suggest
from sdk.data.plain_text import html_text
from sdk.data.rows import Container, Faults, Raw, Twice, json_value
from sdk.data.rows_files import DOCUMENTS, KINDS
from sdk.errors import InvalidInput
from sdk.files.regular_files import MIB, ROW_BYTES, ROWS_BYTES, HashedFile
from sdk.wording import counted

BOM = b"\xef\xbb\xbf"
BATCH = 256  # rows of a Parquet file in memory at once
MEAN_ROW_BYTES = MIB  # of a Parquet file, uncompressed: its batches are held in memory, and packed zeros take no room
# Columns of a CSV file that are written as JSON.
_AS_JSON = {"spans": "a list", "messages": "a list", "conversations": "a list", "metadata": "an object"}
_INDEXES = ("__index_level_0__", "Unnamed: 0", "")  # what pandas calls the numbers of its rows
_DELIMITERS = (",", ";", "\t")  # as spreadsheets write them, by the country that they are set to
Piece = Raw | str  # a row's columns, or what is wrong at this place


def _lines(data: bytes, faults: Faults) -> list[str]:
    """Return the lines; those that are not UTF-8 go to `faults`."""
    lines = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            if number == 1 and (other := _other_format(data)):
                faults.append(other)
                return []
            faults.append(_not_utf8(number, error))
    return lines


def _not_utf8(number: int, error: UnicodeDecodeError) -> str:
    return f"line {number}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"


def _other_format(data: bytes) -> str:
    """Say what a file is that is no text, by its first bytes; empty where that does not show."""
    return next((f"it is {what}" for begin, what in _OTHER_FORMATS.items() if data.startswith(begin)), "")


_OTHER_FORMATS = {
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file; name it .parquet",
    b"ARROW1": "an Arrow file; write it as .parquet",
}


def _text(file: HashedFile, faults: Faults) -> str:
    return "\n".join(_lines(file.whole(ROWS_BYTES).removeprefix(BOM), faults))


def _read_jsonl(file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]:
    for number, data in enumerate(file.lines(), 1):
        if skip and (data.removeprefix(BOM) if number == 1 else data).strip():
            skip -= 1
            continue
        try:
            line = (data.removeprefix(BOM) if number == 1 else data).removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            if number == 1 and (other := _other_format(data)):
                yield other
                return
            yield _not_utf8(number, error)
            continue
        if not line.strip():
            continue
        try:
            value = json_value(line)
        except ValueError as error:
            if number == 1 and line.strip() in ("{", "["):
                yield _SEVERAL_LINES[line.strip()]
                return
            yield f"line {number}: {str(error).replace('line 1 ', '')}"
            continue
        if isinstance(value, dict):
            yield Raw(f"line {number}", value)
        else:
            yield f"line {number}: must be a JSON object, one row on one line"


_SEVERAL_LINES = {
    "[": "it is one list over several lines; name the file .json",
    "{": "an object stands over several lines; write each on one line (jq -c . FILE), or all in a list in a .json file",
}


def _read_json(file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]:
    yield from islice(_all_json(file), skip, None)


def _all_json(file: HashedFile) -> Iterator[Piece]:
    faults: Faults = []
    text = _text(file, faults)
    if faults:
        yield from faults
        return
    try:
        value = json_value(text)
    except ValueError as error:
        yield f"{error}; if there is one object on each line, name the file .jsonl"
        return
    if isinstance(value, dict) and not isinstance(value, Twice) and set(value) == {"data"}:
        value = value["data"]
    if isinstance(value, dict) and not isinstance(value, Twice) and value and set(map(type, value.values())) == {dict}:
        # As PubMedQA and others have it: each row under its id.
        value = [{"id": key, **item} for key, item in value.items()]
    if not isinstance(value, list):
        yield (
            'the top level must be a list of objects, {"data": [...]} with nothing beside it, or an object that has '
            "each row under its id"
        )
        return
    for number, item in enumerate(value, 1):
        yield Raw(f"row {number}", item) if isinstance(item, dict) else f"row {number}: must be an object"


def _header_faults(columns: list[str], where: str, own: Arrangement | None) -> Faults:
    faults: Faults = []
    if own:
        own.layout(own.renamed(columns, faults), faults)
    elif not any(set(names) & set(columns) for names in LAYOUTS.values()):
        if not suggest(columns):
            return [f"{where}: none of the columns that hold text; is the header missing? Known are {KNOWN}"]
        find_layout(columns, faults)
    else:
        find_layout(columns, faults)
    if faults and not own and (options := suggest(columns)):
        faults[-1] += f"; for these columns, say: {options}"
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    faults += [f"column {shown(name)} stands there twice; keep one" for name in repeated]
    return [f"{where}: {fault}" for fault in faults]


def _read_csv(file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]:
    yield from islice(_all_csv(file, own), skip, None)


def _all_csv(file: HashedFile, own: Arrangement | None) -> Iterator[Piece]:
    faults: Faults = []
    text = _text(file, faults)
    if faults:
        yield from faults
        return
    csv.field_size_limit(ROWS_BYTES)  # a cell may hold a whole document; its own limit is 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, own), strict=True)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            where, begin = f"line {begin}", reader.line_num + 1
            if header is None:
                header = cells
                wrong = _header_faults([name for name in header if name not in _INDEXES], where, own)
                yield from wrong
                if wrong:
                    return
            elif cells and len(cells) != len(header):
                yield f"{where}: {counted(len(cells), 'cell')}, the header has {len(header)}; quote every comma"
            elif cells:
                yield from _csv_row(dict(zip(header, cells, strict=True)), where)
    except csv.Error as error:
        yield f"line {begin}: not valid CSV ({error}); a quotation mark that is never closed?"


def _delimiter(text: str, own: Arrangement | None) -> str:
    """Return what separates the header's cells: the one with which most of them are columns that are known."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    columns = {*METADATA, *(name for names in LAYOUTS.values() for name in names)}

    def known(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip().strip('"') for cell in first.split(delimiter)]
        return len(columns & {*cells}) + len(own.named(cells) if own else ()), len(cells) if suggest(cells) else 0

    return max(_DELIMITERS, key=known)


def _csv_row(cells: dict[str, str], where: str) -> Iterator[Piece]:
    fields: dict[str, Any] = {
        name: cell for name, cell in cells.items() if name not in _INDEXES and (cell.strip() or name not in METADATA)
    }
    if re.fullmatch(r"\d+\.0", fields.get("id", "")):
        fields["id"] = fields["id"].removesuffix(".0")  # pandas' way to write a whole number where some are missing
    for column, kind in _AS_JSON.items():
        if fields.get(column, "").strip():
            try:
                fields[column] = json_value(fields[column])
            except ValueError:
                yield f"{where}: {column} must be {kind} written as JSON"
                fields[column] = [] if kind == "a list" else {}
    yield Raw(where, fields)


def _read_parquet(file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]:
    """Read a file that is jumped about in: it is hashed before and after, and nobody may have written to it between."""
    state = file.state
    try:
        table = pyarrow.parquet.ParquetFile(file.raw)
    except (pyarrow.ArrowException, OSError):
        yield "not a whole Parquet file; write it again"
        return
    names = [name for name in table.schema_arrow.names if name not in _INDEXES]
    wrong = _header_faults(names, "header", own)
    taken = [name for name in names if not (own and own.dropped(name))]  # what is dropped is not read: it may be images
    wrong = wrong or _group_faults(table.metadata, set(taken))
    if wrong:
        yield from wrong
        return
    digest = file.through()
    yield from _parquet_rows(table, skip, taken)
    if file.through() != digest or file.state != state:
        raise InvalidInput(f"{file.path} was changed while it was read; run again when nobody writes to it.")


def _parquet_rows(table: Any, skip: int, columns: list[str]) -> Iterator[Piece]:
    groups, number = list(range(table.num_row_groups)), 0
    while groups and number + table.metadata.row_group(groups[0]).num_rows <= skip:
        number += table.metadata.row_group(groups.pop(0)).num_rows
    try:
        for batch in table.iter_batches(batch_size=BATCH, row_groups=groups, columns=columns, use_threads=False):
            for row in range(batch.num_rows):
                number += 1
                if number <= skip:
                    continue
                yield from _parquet_row(batch, row, f"row {number}")
    except (pyarrow.ArrowException, OSError):
        yield f"not a whole Parquet file: row {number + 1} cannot be read; write it again"


def _group_faults(metadata: Any, columns: set[str]) -> Faults:
    """List the groups of rows whose columns hold, uncompressed, more for each row than one can need."""
    faults = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        parts = [group.column(index) for index in range(group.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if _top(part.path_in_schema, columns))
        if size > MEAN_ROW_BYTES * max(1, group.num_rows):
            faults.append(
                f"row group {number + 1}: {size} bytes in {group.num_rows} rows; no row needs {MEAN_ROW_BYTES}"
            )
    return faults


def _top(path: str, columns: set[str]) -> bool:
    """Tell whether a path of Parquet, whose names may have dots in them, lies in one of the columns."""
    parts = path.split(".")
    return any(".".join(parts[:count]) in columns for count in range(1, len(parts) + 1))


def _parquet_row(batch: Any, row: int, where: str) -> Iterator[Piece]:
    fields = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in _INDEXES:
            continue
        try:
            value = column[row].as_py(maps_as_pydicts="strict")
            nested = isinstance(value, dict | list) or name in METADATA
            fields[name] = as_json(value, drop_nulls=name not in METADATA) if nested else value
        except UnicodeDecodeError:
            yield f"{where}: {shown(name)} is not UTF-8; write it as UTF-8"
        except TypeError as error:
            yield f"{where}: {shown(name)} holds {error}, which JSON has no text for; write it as text or leave it out"
        except (ValueError, KeyError, OverflowError, pyarrow.ArrowException):
            yield f"{where}: {shown(name)} holds a value that no calendar or map has; write it as text or leave it out"
    yield Raw(where, fields)


def _read_text(file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]:
    data = file.whole(ROW_BYTES)
    if own:
        yield "a text has no columns; leave --map, --form and --drop out, or list it apart in a data.yaml"
        return
    if b"\0" in data:
        yield f"no text: byte {data.index(0) + 1} is zero, as in programs and pictures; take the file away"
        return
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        yield f"not UTF-8 at byte {error.start + 1}; save the file as UTF-8"
        return
    if KINDS[file.path.suffix.lower()] == "html":
        try:
            text = html_text(text)
        except ValueError as error:
            yield f"{error}; take the file away"
            return
    if not text.strip():
        yield "it holds no text; take the file away"
    elif not skip:
        yield Raw("the text", {"text": text})


class ContainerReader(Protocol):
    """skip: rows of a sound file that are passed over. Those of JSONL and Parquet hold a part of the file in memory.

    own: what the file's own columns stand for.
    """

    def __call__(self, file: HashedFile, skip: int = 0, own: Arrangement | None = None) -> Iterator[Piece]: ...


CONTAINERS: dict[Container, ContainerReader] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
    **dict.fromkeys(DOCUMENTS, _read_text),
}
