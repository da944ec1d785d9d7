"""The header of a safetensors file, read strictly: what tensors it holds, without loading one.

Format: https://github.com/huggingface/safetensors#format. Eight bytes little-endian say how long the header is; the
header is a JSON object of name -> dtype, shape, data_offsets, and `__metadata__` of text. Stricter than the library:
the tensors lie in one row without a gap or an overlap, from the end of the header to the end of the file.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

from pydantic import Field

from sdk.errors import InvalidInput
from sdk.records import Frozen

MAX_HEADER_BYTES = 100_000_000  # the library's limit
MAX_DIMENSION = 2**53 - 1  # an integer of RFC 8785
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip


class Tensor(Frozen):
    name: str
    dtype: str = Field(description="as safetensors names it")
    shape: tuple[int, ...]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_DIMENSION


def _tensor(name: str, entry: Any) -> tuple[int, int, Tensor]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end], **rest} if (
            not rest and dtype in _BITS and all(map(_is_count, [*shape, start, end]))
        ):
            if end - start != math.prod(shape) * _BITS[dtype] // 8:
                raise ValueError(f"tensor {name!r} has another size than its shape")
            return start, end, Tensor(name=name, dtype=dtype, shape=tuple(shape))
    raise ValueError(f"tensor {name!r} is not described by a known dtype, a shape and offsets")


def _parse(header: bytes, data_bytes: int) -> tuple[Tensor, ...]:
    fields = json.loads(header.decode(), object_pairs_hook=_no_duplicates)
    if not isinstance(fields, dict):
        raise ValueError("the header is no object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not text")
    tensors = sorted((_tensor(name, entry) for name, entry in fields.items()), key=lambda each: each[:2])
    place = 0
    for start, end, tensor in tensors:
        if start != place:
            raise ValueError(f"there is a gap or an overlap before tensor {tensor.name!r}")
        place = end
    if place != data_bytes:
        raise ValueError("its tensors do not fill the file")
    return tuple(tensor for _, _, tensor in tensors)


def read_tensors(file: BinaryIO, size: int, name: str) -> tuple[Tensor, ...]:
    """Read the tensors of a file of `size` bytes that is read from its start; InvalidInput says what is malformed."""
    length = int.from_bytes(file.read(8), "little")
    try:
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError("its header is longer than the file or the limit")
        return _parse(file.read(length), size - 8 - length)
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "its header is not JSON"
        raise InvalidInput(f"{name} is not a safetensors file: {reason}. Train again.") from None
