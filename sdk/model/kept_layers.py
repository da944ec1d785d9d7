"""Which linear layers of a quantized base stay in 16 bits."""

from __future__ import annotations

import re

import torch

from sdk.errors import InvalidInput
from sdk.records import Quantization

MLP = re.compile(r".*\.\w*(mlp|moe|feed_forward|expert)\w*\.")  # the name of a layer inside an MLP


def linear_layers_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return all linear layers but the head, by their names."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def kept_layers(model: torch.nn.Module, quantization: Quantization) -> list[str]:
    """Return the names of the linear layers that keep_16bit means: the MLPs', all others (attention), or by their name.

    Raises InvalidInput with each name that no layer has, and where none would be quantized.
    """
    layers = linear_layers_of(model)
    kept, faults = [], []
    for wanted in quantization.kept:
        found = [name for name in layers if _is_meant(name, wanted)]
        if not found:
            faults.append(f"{wanted!r} is no linear layer of this model")
        kept += found
    if faults:
        own = sorted({name.rpartition(".")[2] for name in layers})
        raise InvalidInput(f"keep_16bit: use attention, mlp or some of {', '.join(own)}.", faults)
    if layers and len(set(kept)) == len(layers):
        raise InvalidInput("keep_16bit leaves no layer to quantize; use method lora.")
    return list(dict.fromkeys(kept))


def _is_meant(name: str, wanted: str) -> bool:
    if wanted in ("attention", "mlp"):
        return bool(MLP.match(name)) == (wanted == "mlp")
    return name.rpartition(".")[2] == wanted
