"""A base's tensors, read from its open files one at a time, as transformers asks for them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from sdk.data.base_folder import BaseFolder, WeightsFile
from sdk.errors import InvalidInput
from sdk.model.base_model import shards

_HEADER_BYTES = 100_000_000  # safetensors' own limit
_TYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class StoredTensor:
    """A tensor that is read when it is indexed, as safetensors' slices are; each time into memory of its own.

    Of its own, not mapped: whoever writes into the file afterwards changes nothing in the model.
    """

    def __init__(self, file: WeightsFile, start: int, kind: str, shape: list[int]) -> None:
        self._file, self._start, self._kind, self._shape = file, start, kind, shape

    def get_dtype(self) -> str:
        return self._kind

    def get_shape(self) -> list[int]:
        return list(self._shape)

    def __getitem__(self, index: Any) -> torch.Tensor:
        size = math.prod(self._shape) * _TYPES[self._kind].itemsize
        data = torch.empty(size, dtype=torch.uint8)
        if size:
            self._file.read_into(self._start, data.numpy().data)
        tensor: torch.Tensor = data.view(_TYPES[self._kind]).view(self._shape)[index]
        return tensor


def base_tensors(opened: BaseFolder) -> dict[str, StoredTensor]:
    """Return the tensors of a checked base by their names. Raises InvalidInput where a file is no safetensors file."""
    tensors: dict[str, StoredTensor] = {}
    for name in shards(opened):
        try:
            tensors |= _tensors_of(opened.weights[name])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise InvalidInput(f"{opened.path}: its weights are damaged ({name}); fetch them again.") from error
    return tensors


def _tensors_of(file: WeightsFile) -> dict[str, StoredTensor]:
    """Read a file's header: its length in 8 bytes, then JSON of name -> dtype, shape and place behind the header."""
    if file.size < 8:
        raise ValueError("too short")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > min(_HEADER_BYTES, file.size - 8):
        raise ValueError("header too long")
    header, first = json.loads(file.read(8, length)), 8 + length
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (begin, after) = entry["shape"], entry["data_offsets"]
        whole = [begin, after, *shape]
        if not all(type(number) is int and number >= 0 for number in whole) or begin != end:
            raise ValueError(name)
        if after - begin != math.prod(shape) * _TYPES[entry["dtype"]].itemsize:
            raise ValueError(name)
        tensors[name], end = StoredTensor(file, first + begin, entry["dtype"], shape), after
    if first + end != file.size:  # cut off, or something is hidden behind the last tensor
        raise ValueError("size")
    return tensors
