"""The header of a safetensors file: which tensors it holds, of which type and shape, and where. Reads no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from sdk.data.base_folder import WeightsFile

_HEADER_BYTES = 100_000_000  # safetensors' own limit
ITEM_BYTES: Mapping[str, int] = {
    **{"F64": 8, "I64": 8, "U64": 8},
    **{"F32": 4, "I32": 4, "U32": 4},
    **{"F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1},
}


class TensorEntry(NamedTuple):
    """A tensor's place in a file of weights. start: in bytes from the file's beginning."""

    kind: str
    shape: list[int]
    start: int


def read_header(file: WeightsFile) -> dict[str, TensorEntry]:
    """Read a file's header: its length in 8 bytes, then JSON of name -> dtype, shape and place behind the header.

    Raises ValueError where it is none, or where anything but these tensors lies in the file.
    """
    try:
        return _entries(file)
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"no header of safetensors ({type(error).__name__})") from error


def _entries(file: WeightsFile) -> dict[str, TensorEntry]:
    if file.size < 8:
        raise ValueError("too short")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > min(_HEADER_BYTES, file.size - 8):
        raise ValueError("header too long")
    header, first = json.loads(file.read(8, length)), 8 + length
    header.pop("__metadata__", None)
    entries, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (begin, after) = entry["shape"], entry["data_offsets"]
        whole = [begin, after, *shape]
        if not all(type(number) is int and number >= 0 for number in whole) or begin != end:
            raise ValueError(name)
        if after - begin != math.prod(shape) * ITEM_BYTES[entry["dtype"]]:
            raise ValueError(name)
        entries[name], end = TensorEntry(entry["dtype"], shape, first + begin), after
    if first + end != file.size:  # cut off, or something is hidden behind the last tensor
        raise ValueError("size")
    return entries
