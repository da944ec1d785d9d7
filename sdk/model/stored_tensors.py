"""A base's tensors, read from its open files one at a time, as transformers asks for them.

Weights that are stored as 8-bit floats or MXFP4 come out in bfloat16, multiplied by the scales that lie beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from sdk.data.base_folder import BaseFolder, WeightsFile
from sdk.data.tensor_headers import TensorEntry, read_header
from sdk.errors import InvalidInput
from sdk.model.base_model import read_json, shards
from sdk.stored_formats import stored_format

_TYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
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
_SCALES = ("_scale_inv", "_scale")  # of the weight whose name they follow; both multiply it
_BLOCKS, _BLOCK_SCALES = "_blocks", "_scales"  # of MXFP4, whose weight has the name before them
# Scales of activations and of cached keys and values, which 16-bit arithmetic does not need.
_NOT_OF_WEIGHTS = ("input_scale", "activation_scale", "k_scale", "v_scale", "q_scale", "output_scale")


class StoredTensor:
    """A tensor that is read when it is indexed, as safetensors' slices are; each time into memory of its own.

    Of its own, not mapped: whoever writes into the file afterwards changes nothing in the model.
    """

    def __init__(self, file: WeightsFile, entry: TensorEntry) -> None:
        self._file, self._entry = file, entry

    def get_dtype(self) -> str:
        return self._entry.kind

    def get_shape(self) -> list[int]:
        return list(self._entry.shape)

    def __getitem__(self, index: Any) -> torch.Tensor:
        kind, shape, start = self._entry
        size = math.prod(shape) * _TYPES[kind].itemsize
        data = torch.empty(size, dtype=torch.uint8)
        if size:
            self._file.read_into(start, data.numpy().data)
        tensor: torch.Tensor = data.view(_TYPES[kind]).view(shape)[index]
        return tensor


class DequantizedTensor:
    """A weight that is stored as 8-bit floats with scales: of all of it, of each row, or of blocks.

    In bfloat16 on every machine, so that every machine has the same weights.
    """

    def __init__(self, weight: StoredTensor, scales: StoredTensor) -> None:
        self._weight, self._scales = weight, scales

    def get_dtype(self) -> str:
        return "BF16"

    def get_shape(self) -> list[int]:
        return self._weight.get_shape()

    def __getitem__(self, index: Any) -> torch.Tensor:
        weight = self._weight[...].float()
        scaled = weight.mul_(_spread(_as_float(self._scales[...]), weight.shape))
        tensor: torch.Tensor = scaled.to(torch.bfloat16)[index]
        return tensor


class Mxfp4Tensor:
    """A weight that is stored as MXFP4: two of its numbers in a byte, and one scale for 32 of them."""

    def __init__(self, blocks: StoredTensor, scales: StoredTensor) -> None:
        self._blocks, self._scales = blocks, scales

    def get_dtype(self) -> str:
        return "BF16"

    def get_shape(self) -> list[int]:
        *outer, rows, groups, width = self._blocks.get_shape()
        return [*outer, groups * width * 2, rows]  # transformers keeps an expert's weight transposed

    def __getitem__(self, index: Any) -> torch.Tensor:
        tensor: torch.Tensor = convert_moe_packed_tensors(self._blocks[...], self._scales[...])[index]
        return tensor


BaseTensor = StoredTensor | DequantizedTensor | Mxfp4Tensor


def base_tensors(opened: BaseFolder) -> dict[str, BaseTensor]:
    """Return the tensors of a checked base by their names, without the scales of those that are quantized.

    Raises InvalidInput where a quantized tensor has no scales.
    """
    stored = {
        name: StoredTensor(opened.weights[shard], entry)
        for shard in shards(opened)
        for name, entry in read_header(opened.weights[shard]).items()
    }
    if stored_format(read_json(opened, "config.json", [])) is None:
        return dict(stored)
    return _dequantized(opened, stored)


def _dequantized(opened: BaseFolder, stored: Mapping[str, StoredTensor]) -> dict[str, BaseTensor]:
    tensors: dict[str, BaseTensor] = {}
    used, faults = set(), []
    for name, tensor in stored.items():
        if name.endswith(_BLOCKS) and tensor.get_dtype() == "U8":
            weight = name.removesuffix(_BLOCKS)
            scales = weight + _BLOCK_SCALES
            if scales in stored:
                tensors[weight] = Mxfp4Tensor(tensor, stored[scales])
        elif tensor.get_dtype() in ("F8_E4M3", "F8_E5M2"):
            scales = next((name + ending for ending in _SCALES if name + ending in stored), "")
            if scales:
                tensors[name] = DequantizedTensor(tensor, stored[scales])
        else:
            tensors[name] = tensor
            continue
        if scales not in stored:
            faults.append(f"{name} has no scales beside it")
        used.add(scales)
    if faults:
        raise InvalidInput(f"{opened.path}: its weights are quantized, and not whole; fetch them again.", faults)
    return {name: tensor for name, tensor in tensors.items() if name not in used and not name.endswith(_NOT_OF_WEIGHTS)}


def _as_float(scales: torch.Tensor) -> torch.Tensor:
    """Return scales as numbers. A byte is an exponent, as in float8_e8m0fnu: 2 to the power of the byte less 127."""
    return scales.view(torch.float8_e8m0fnu).float() if scales.dtype == torch.uint8 else scales.float()


def _spread(scales: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return scales that multiply a weight of this shape: those of a block stand at each of its places.

    A block's side is the smallest power of two that covers the weight with as many blocks as there are scales: 128 in
    all published ones; the last block of a row or column may be cut off.
    """
    if scales.dim() == 1 and len(shape) == 2 and len(scales) == shape[0] > 1:
        scales = scales[:, None]
    if scales.dim() < len(shape):
        return scales if scales.numel() == 1 else scales.reshape(*scales.shape, *[1] * (len(shape) - scales.dim()))
    for place, wanted in enumerate(shape):
        count = scales.shape[place]
        if count in (1, wanted):
            continue
        side = 1 << max(0, math.ceil(math.log2(wanted / count)))
        if -(-wanted // side) != count:
            raise ValueError(f"{count} scales for {wanted} rows or columns")
        scales = scales.repeat_interleave(side, place).narrow(place, 0, wanted)
    return scales
