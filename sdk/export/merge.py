"""A base with an adapter added to its weights, as a folder that transformers loads without this package.

Each weight is read, added to in float32, cast once, and written, before the next is
read: what is held is one weight in float32 and what it takes to make it, whatever the model's size.

An adapter of a QLoRA run was trained on weights that had been quantized and multiplied out again. Added to those it is
the model that was measured and approved (`trained-base`); added to the weights as they are stored (`original`) it is
another one, mostly close to it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - before bitsandbytes is imported

# isort: split
import torch
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from transformers.pytorch_utils import Conv1D

from sdk.data.base_folder import INDEX, BaseFolder
from sdk.errors import InvalidInput
from sdk.export.matrices import Change
from sdk.export.weight_files import Entry, write_new, write_weights
from sdk.model.base_model import read_json
from sdk.model.dense_weights import dense
from sdk.model.load import compute_dtype, skeleton_of
from sdk.model.stored_tensors import base_tensors
from sdk.records import MergeBase, OnProgress, Quantization, canonical_json

_PLAIN = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class MergedWeights:
    """A base's weights as they are written: as stored, or made anew of what is stored when they are asked for."""

    def __init__(
        self,
        opened: BaseFolder,
        quantization: Quantization,
        changes: Mapping[str, Change],
        onto: MergeBase,
        cast: str = "stored",
    ) -> None:
        """Take an adapter's changes of layers, by their names; none: the base itself.

        cast: what all weights are cast to, as safetensors names the type; `stored`: each to the type that it is stored
        in; `exact`: to 32 bits where it is changed. Raises InvalidInput where a layer that is to be changed is not one
        weight of the base's files.
        """
        self._cast = cast
        self._skeleton = skeleton_of(opened, quantization)
        self._quantization = quantization
        self.stored = base_tensors(opened)
        names = {module: self._stored_name(module) for module, _ in self._skeleton.named_modules() if module}
        self._changes: dict[str, Change] = {}
        self._layers: dict[str, torch.nn.Module] = {}  # stored name -> its quantized layer
        self._transposed: set[str] = set()
        faults = []
        tied = _tied_modules(self._skeleton)
        for module, change in changes.items():
            name = names.get(module)
            if module in tied:
                faults.append(f"{module} shares its weight with another layer, which would change with it")
            elif name is None or not self._fits(self._skeleton.get_submodule(module), name, change):
                faults.append(f"{module} is not one weight of the base's files")
            else:
                self._changes[name] = change
        for module, layer in self._skeleton.named_modules():
            name = names.get(module)
            if isinstance(layer, Conv1D) and name is not None:
                self._transposed.add(name)
            if onto == "trained-base" and isinstance(layer, Linear4bit | Linear8bitLt):
                if name is None:
                    faults.append(f"{module} was quantized, and is not one weight of the base's files")
                else:
                    self._layers[name] = layer
        if faults:
            raise InvalidInput("The adapter cannot be merged into this base; export it as peft.", faults)

    def _stored_name(self, module: str) -> str | None:
        prefix = f"{self._skeleton.base_model_prefix}."
        for name in (f"{module}.weight", f"{module.removeprefix(prefix)}.weight", f"{prefix}{module}.weight"):
            if name in self.stored:
                return name
        return None

    def _fits(self, layer: torch.nn.Module, name: str, change: Change) -> bool:
        shape = self.stored[name].get_shape()
        wanted = [change.b.shape[0], change.a.shape[1]]
        return shape == (wanted[::-1] if isinstance(layer, Conv1D) else wanted)

    def dtype(self, name: str) -> str:
        """Return the type that a weight is written in, as safetensors names it."""
        stored = self.stored[name].get_dtype()
        if stored not in _PLAIN or self._cast == "stored":
            return stored
        if self._cast == "exact":
            return "F32" if name in self._changes or name in self._layers else stored
        return self._cast

    @torch.no_grad()
    def tensor(self, name: str) -> torch.Tensor:
        """Return a weight as it is to be written."""
        stored: torch.Tensor = self.stored[name][...]
        change, layer = self._changes.get(name), self._layers.get(name)
        if change is None and layer is None:
            return self._as_written(name, stored)
        weight = stored.t() if name in self._transposed else stored
        # Quantized as training did it: from the type that this machine computes in.
        weight = weight.float() if layer is None else self._multiplied_out(weight.to(compute_dtype()), layer)
        if change is not None:
            weight = change.applied_to(weight)
        if name in self._transposed:
            weight = weight.t()
        return self._as_written(name, weight).contiguous()

    def _as_written(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        written = weight.to(_PLAIN.get(self.dtype(name), weight.dtype))
        if written.dtype == torch.float16 and not bool(torch.isfinite(written).all()):
            raise InvalidInput(f"{name} has values beyond the range of f16; name bf16 or f32 as dtype.")
        return written

    def _multiplied_out(self, weight: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        """Return a weight, float32, after it was quantized as in training."""
        made: Linear4bit | Linear8bitLt
        if isinstance(layer, Linear4bit):
            made = Linear4bit(1, 1, bias=False)
            parameter: Any = Params4bit(
                weight,
                requires_grad=False,
                quant_type=self._quantization.bnb_4bit_quant_type,
                compress_statistics=self._quantization.bnb_4bit_use_double_quant,
            )
        else:
            made = Linear8bitLt(1, 1, bias=False, has_fp16_weights=False)
            parameter = Int8Params(weight, requires_grad=False)
        made.weight = parameter.to("cpu")
        return dense(made, torch.float32)


def _tied_modules(model: torch.nn.Module) -> set[str]:
    """Return the names of layers whose weight is another layer's as well."""
    text = model.config.get_text_config()  # type: ignore[union-attr, operator]
    if not getattr(text, "tie_word_embeddings", False):
        return set()
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[operator]
    return {name for name, module in model.named_modules() if any(module is end for end in ends)}


def write_merged(opened: BaseFolder, merged: MergedWeights, folder: Path, on_progress: OnProgress) -> str:
    """Write weights, configuration, tokenizer and chat template to the folder; return the weights' types.

    Raises InvalidInput where a weight does not fit its type, Tampered where the base has changed since it was opened,
    StepFailed where the disk does not take them.
    """
    done = 0

    def tensor_of(name: str) -> torch.Tensor:
        nonlocal done
        on_progress("merge", done, len(merged.stored), {})
        done += 1
        return merged.tensor(name)

    entries = [(name, merged.dtype(name), each.get_shape()) for name, each in merged.stored.items()]
    write_weights(folder, entries, tensor_of)
    opened.require_unchanged()
    for name, data in opened.small_with_template().items():
        if name not in ("config.json", INDEX):
            write_new(folder / name, data)
    write_new(folder / "config.json", _config(opened, entries))
    on_progress("merge", len(merged.stored), len(merged.stored), {})
    return "+".join(sorted({kind for _, kind, _ in entries if kind in _PLAIN})).lower()


def _config(opened: BaseFolder, entries: Sequence[Entry]) -> bytes:
    """Return config.json with the type that most weights have now, and without what would have them multiplied out."""
    fields = dict(read_json(opened, "config.json", []))
    sizes: Counter[str] = Counter()
    for _, kind, shape in entries:
        sizes[kind] += math.prod(shape)
    dtype = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}.get(sizes.most_common(1)[0][0])
    stored = fields.get("dtype", fields.get("torch_dtype"))
    if "quantization_config" not in fields and dtype in (None, stored):
        return opened.small["config.json"]
    fields.pop("quantization_config", None)
    fields.pop("torch_dtype", None)
    return canonical_json({**fields, "dtype": dtype or stored})
