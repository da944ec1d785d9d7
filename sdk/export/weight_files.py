"""Weights in safetensors files, written one tensor at a time, so that no more than one is held."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from sdk.data.base_folder import INDEX
from sdk.data.tensor_headers import ITEM_BYTES
from sdk.errors import StepFailed
from sdk.files.durable import create_file, write_all
from sdk.records import canonical_json

FILE_BYTES = 5 * 10**9  # of a file, where a tensor is not larger; as transformers and the hub have it
SINGLE_FILE = "model.safetensors"
Entry = tuple[str, str, Sequence[int]]  # a tensor's name, its type as safetensors names it, its shape


def write_weights(folder: Path, entries: Sequence[Entry], tensor_of: Callable[[str], torch.Tensor]) -> None:
    """Write these tensors, with an index where there are several files. StepFailed: the disk does not take them."""
    files = _divided(entries)
    names = [SINGLE_FILE] if len(files) == 1 else [_shard_name(place, len(files)) for place in range(len(files))]
    for name, held in zip(names, files, strict=True):
        _write_file(folder / name, held, tensor_of)
    if len(files) > 1:
        places = {entry[0]: name for name, held in zip(names, files, strict=True) for entry in held}
        index = {"metadata": {"total_size": sum(map(_size, entries))}, "weight_map": places}
        write_new(folder / INDEX, canonical_json(index))


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there. StepFailed where the disk does not take it."""
    try:
        with create_file(path) as file:
            write_all(file, data)
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StepFailed:
    return StepFailed(
        f"{path.name} cannot be written: {error.strerror}. Free space or name another folder; then repeat."
    )


def _shard_name(place: int, count: int) -> str:
    return f"model-{place + 1:05}-of-{count:05}.safetensors"


def _size(entry: Entry) -> int:
    return math.prod(entry[2]) * ITEM_BYTES[entry[1]]


def _divided(entries: Sequence[Entry]) -> list[list[Entry]]:
    files: list[list[Entry]] = [[]]
    held = 0
    for entry in entries:
        if files[-1] and held + _size(entry) > FILE_BYTES:
            files.append([])
            held = 0
        files[-1].append(entry)
        held += _size(entry)
    return files


def _header(entries: Sequence[Entry]) -> bytes:
    header: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        name, kind, shape = entry
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + _size(entry)]}
        end += _size(entry)
    data = json.dumps(header, separators=(",", ":")).encode()
    data += b" " * (-len(data) % 8)
    return len(data).to_bytes(8, "little") + data


def _write_file(path: Path, entries: Sequence[Entry], tensor_of: Callable[[str], torch.Tensor]) -> None:
    try:
        with create_file(path) as file:
            write_all(file, _header(entries))
            for entry in entries:
                tensor = tensor_of(entry[0]).contiguous()
                if tensor.numel():
                    write_all(file, tensor.view(-1).view(torch.uint8).numpy().data)
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error
