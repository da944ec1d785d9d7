"""What an adapter adds to each weight: its matrices, with the scale that its own configuration gives them.

LoRA, rank-stabilized LoRA, DoRA and AdaLoRA; PiSSA leaves the training as plain LoRA. Learned prompts change no weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch

from sdk.errors import InvalidInput
from sdk.records import canonical_json

_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>A|B|E|magnitude_vector)(\.weight)?")
_MERGED_KINDS = ("LORA", "ADALORA")
_ADALORA_EPSILON = 1e-5  # beside the rank, by which PEFT divides


@dataclass(frozen=True)
class Change:
    """What an adapter does to the weight of one linear layer: adds B A, already scaled; DoRA sets its norms."""

    a: torch.Tensor  # (rank, inputs)
    b: torch.Tensor  # (outputs, rank)
    magnitude: torch.Tensor | None  # of each output

    def applied_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the layer's weight with the adapter, float32. weight: float32, (outputs, inputs); it is changed."""
        weight.addmm_(self.b, self.a)
        if self.magnitude is not None:
            weight.mul_((self.magnitude / torch.linalg.norm(weight, dim=1))[:, None])
        return weight


def changes_of(config: Mapping[str, Any], weights: bytes | bytearray) -> dict[str, Change]:
    """Return the name of each adapted layer with its change.

    config: content of adapter_config.json; weights: bytes of adapter_model.safetensors. Raises InvalidInput where the
    adapter cannot be added to weights, or holds more than what is.
    """
    kind = str(config["peft_type"])
    if kind not in _MERGED_KINDS:
        raise InvalidInput(f"An adapter of {kind} is a learned prompt and changes no weight; export it as peft.")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    strange = []
    for name, value in safetensors.torch.load(bytes(weights)).items():
        match = _NAME.fullmatch(name)
        if match is None:
            strange.append(f"{name} is no matrix of a low-rank adapter")
        else:
            parts.setdefault(match["module"], {})[match["part"]] = value.float()
    needed = {"A", "B", "E"} if kind == "ADALORA" else {"A", "B"}
    if config.get("use_dora"):
        needed |= {"magnitude_vector"}
    strange += [f"{module} has {sorted(found)}" for module, found in parts.items() if found.keys() != needed]
    if strange or not parts:
        raise InvalidInput("The adapter holds something else than matrices to add; export it as peft.", strange)
    return {module: _change(config, found) for module, found in parts.items()}


def _change(config: Mapping[str, Any], parts: Mapping[str, torch.Tensor]) -> Change:
    alpha = config["lora_alpha"]
    a, b = parts["A"], parts["B"]
    if config["peft_type"] == "ADALORA":
        a = a * parts["E"]
        scale = alpha / (config["init_r"] + _ADALORA_EPSILON)
    else:
        scale = alpha / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    return Change(a, b * scale, parts.get("magnitude_vector"))


def as_plain_lora(config: Mapping[str, Any], weights: bytes | bytearray) -> tuple[bytes, bytes]:
    """Return configuration and weights of the same adapter as LoRA of scale one, for readers that lose other scales.

    llama.cpp's converter knows alpha and rank, and neither rank-stabilized nor AdaLoRA's scales. Raises InvalidInput
    for DoRA, which is more than a sum.
    """
    if config.get("use_dora"):
        raise InvalidInput("llama.cpp cannot serve DoRA as an adapter; export it merged, as gguf.")
    changes = changes_of(config, weights)
    rank = max(change.a.shape[0] for change in changes.values())
    fields = {
        "base_model_name_or_path": config["base_model_name_or_path"],
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": config["target_modules"],
        "task_type": "CAUSAL_LM",
    }
    tensors = {}
    for module, change in changes.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = change.a.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = change.b.contiguous()
    return canonical_json(fields), safetensors.torch.save(tensors, {"format": "pt"})
