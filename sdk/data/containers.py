"""Bytes to columns: JSONL, JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet

from sdk.data.layouts import KNOWN, LAYOUTS, METADATA, find_layout, shown
from sdk.data.rows import Faults, Raw, Twice


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Twice(fields)


def _json_value(text: str) -> Any:
    """The document; ValueError says what is wrong without its text."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"not valid JSON at {place} ({error.msg}); is it cut off?") from None
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON (nested too deeply or a number too long)") from None


def _lines(data: bytes, faults: Faults) -> list[tuple[int, str]]:
    """Numbered lines; those that are not UTF-8 go to `faults`."""
    lines = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            lines.append((number, line.decode()))
        except UnicodeDecodeError as error:
            faults.append(f"line {number}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
    return lines


def _read_jsonl(data: bytes) -> tuple[list[Raw], Faults]:
    faults: Faults = []
    raws = []
    for number, line in _lines(data, faults):
        if not line.strip():
            continue
        try:
            value = _json_value(line)
        except ValueError as error:
            faults.append(f"line {number}: {str(error).replace('line 1 ', '')}")
            continue
        if isinstance(value, dict):
            raws.append(Raw(f"line {number}", value))
        else:
            faults.append(f"line {number}: must be a JSON object, one row on one line")
    return raws, faults


def _read_json(data: bytes) -> tuple[list[Raw], Faults]:
    faults: Faults = []
    text = "\n".join(line for _, line in _lines(data, faults))
    if faults:
        return [], faults
    try:
        value = _json_value(text)
    except ValueError as error:
        return [], [f"{error}; if there is one object on each line, name the file .jsonl"]
    if isinstance(value, dict) and not isinstance(value, Twice) and set(value) == {"data"}:
        value = value["data"]
    if not isinstance(value, list):
        return [], ['the top level must be a list of objects, or {"data": [...]} with nothing beside it']
    faults += [f"row {n}: must be an object" for n, item in enumerate(value, 1) if not isinstance(item, dict)]
    return [Raw(f"row {n}", item) for n, item in enumerate(value, 1) if isinstance(item, dict)], faults


def _header_faults(columns: list[str], where: str) -> Faults:
    faults: Faults = []
    if not any(set(names) & set(columns) for names in LAYOUTS.values()):
        return [f"{where}: none of the columns that hold text; is the header missing? Known are {KNOWN}"]
    find_layout(columns, faults)
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    faults += [f"column {shown(name)} stands there twice; keep one" for name in repeated]
    return [f"{where}: {fault}" for fault in faults]


def _read_csv(data: bytes) -> tuple[list[Raw], Faults]:
    faults: Faults = []
    text = "\n".join(line for _, line in _lines(data, faults))
    if faults:
        return [], faults
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    raws: list[Raw] = []
    begin = 1
    try:
        for cells in reader:
            where, begin = f"line {begin}", reader.line_num + 1
            if header is None:
                header = cells
                faults = _header_faults(header, where)
                if faults:
                    return [], faults
            elif cells and len(cells) != len(header):
                faults.append(f"{where}: {len(cells)} cells, the header has {len(header)}; quote every comma")
            elif cells:
                raws.append(Raw(where, _csv_fields(dict(zip(header, cells, strict=True)), where, faults)))
    except csv.Error as error:
        faults.append(f"line {begin}: not valid CSV ({error}); a quotation mark that is never closed?")
    return raws, faults


def _csv_fields(cells: dict[str, str], where: str, faults: Faults) -> dict[str, Any]:
    fields: dict[str, Any] = {k: v for k, v in cells.items() if v.strip() or k not in METADATA}
    for column in ("spans", "messages", "conversations"):
        if fields.get(column, "").strip():
            try:
                fields[column] = _json_value(fields[column])
            except ValueError:
                faults.append(f"{where}: {column} must be a list written as JSON")
                fields[column] = []
    return fields


def _read_parquet(data: bytes) -> tuple[list[Raw], Faults]:
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError):
        return [], ["not a whole Parquet file; write it again"]
    faults = _header_faults(table.column_names, "header")
    if faults:
        return [], faults
    raws = []
    for number in range(table.num_rows):
        fields = {}
        for name in table.column_names:
            try:
                fields[name] = table[name][number].as_py()
            except UnicodeDecodeError:
                faults.append(f"row {number + 1}: {name} is not UTF-8; write it as UTF-8")
        raws.append(Raw(f"row {number + 1}", fields))
    return raws, faults


CONTAINERS: dict[str, Callable[[bytes], tuple[list[Raw], Faults]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
