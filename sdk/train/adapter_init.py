"""How an adapter starts where PEFT's own first weights are not enough, and what of it is kept in the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from peft.tuners.lora import Linear4bit, LoraLayer

from sdk.errors import InvalidInput
from sdk.model import Base, open_base
from sdk.model.adapter import ADAPTER_NAME, adapter_config, adapter_weights, check_config, set_adapter_weights
from sdk.model.stored_tensors import base_tensors
from sdk.records import TrainSettings, canonical_json
from sdk.train.engine.dora import start_from_norms
from sdk.train.engine.lora import product_type
from sdk.train.methods import PISSA

_OVERSAMPLED = 8  # directions beyond the rank, as the randomized decomposition needs (arXiv 0909.4061)
_ITERATIONS = 4
# What may differ between an adapter and one that starts from it: learning it needs neither.
_FREE = {"base_model_name_or_path", "lora_dropout", "inference_mode"}

Tensors = dict[str, torch.Tensor]
Adapter = tuple[Mapping[str, Any], bytes]  # content of adapter_config.json, bytes of adapter_model.safetensors


@torch.no_grad()
def initialize_adapter(
    model: PeftModel, settings: TrainSettings, base: Base, adapter: Adapter | None
) -> Tensors | None:
    """Give the adapter its first weights; those of a PiSSA adapter are returned, as `export_adapter` needs them.

    adapter: a finished one that this one continues. Raises InvalidInput where it is another kind.
    """
    if adapter is not None:
        _continue(model, settings, adapter)
        return None
    if settings.init_lora_weights == "loftq":
        _loftq(model, settings, base)
    if settings.use_dora:
        adapted = model.get_base_model()
        start_from_norms([layer for layer in adapted.modules() if isinstance(layer, LoraLayer)], product_type(adapted))
    return _matrices(model) if settings.init_lora_weights in PISSA else None


def export_adapter(model: PeftModel, base_name: str, start: Tensors | None) -> tuple[bytes, bytes]:
    """Return adapter_config.json and adapter_model.safetensors of the trained adapter, for the original base.

    PiSSA moves the largest directions of W into the adapter: W = R + s B0 A0, and trains R + s B A. On W the same is
    the adapter of twice the rank that holds s (B A - B0 A0); PEFT converts likewise (subtract_mutated_init).
    """
    config, weights = adapter_config(model, base_name), adapter_weights(model)
    if start is None:
        return config, weights
    fields = json.loads(config)
    # PEFT has no rank-stabilized scale of the doubled rank in whole numbers, so what it adds goes into B.
    stabilized = math.sqrt(fields["r"]) if fields.pop("use_rslora", False) else 1.0
    doubled = {}
    for name, value in safetensors.torch.load(weights).items():
        first = start[name].cpu()
        if "lora_A" in name:
            doubled[name] = torch.cat([value, first], dim=0)
        else:
            doubled[name] = torch.cat([value, -first], dim=1) * stabilized
    fields |= {"r": 2 * fields["r"], "lora_alpha": 2 * fields["lora_alpha"]}
    return canonical_json(fields), safetensors.torch.save(doubled, {"format": "pt"})


def _matrices(model: PeftModel) -> Tensors:
    values: Tensors = safetensors.torch.load(adapter_weights(model))
    return values


def _continue(model: PeftModel, settings: TrainSettings, adapter: Adapter) -> None:
    config, weights = adapter
    check_config(config)
    if settings.init_lora_weights not in ("default", "gaussian"):
        raise InvalidInput(
            f"The adapter starts from a finished one, so it cannot start by {settings.init_lora_weights}; "
            "set init_lora_weights to default."
        )
    if settings.peft_type == "p_tuning":
        raise InvalidInput(
            "An adapter of p_tuning holds the finished prompt and not the network that made it, so it cannot be "
            "continued; continue its run with more steps, or use prompt_tuning."
        )
    own = json.loads(adapter_config(model, ""))
    names = sorted((own.keys() | config.keys()) - _FREE)
    faults = [
        f"{name}: the adapter has {config.get(name)}, these settings {own.get(name)}"
        for name in names
        if own.get(name) != config.get(name)
    ]
    if faults:
        raise InvalidInput("The adapter to continue is not of the kind that these settings make.", faults)
    set_adapter_weights(model, weights)


def _loftq(model: PeftModel, settings: TrainSettings, base: Base) -> None:
    """Set A and B to the best rank-r approximation of what 4-bit quantization lost (LoftQ, arXiv 2310.08659, one step).

    PEFT's own (replace_lora_weights_loftq) needs CUDA, leaves out the adapter's scale and decomposes in full.
    """
    with open_base(base) as opened:
        tensors = base_tensors(opened)
        for name, layer in model.get_base_model().named_modules():
            if not isinstance(layer, LoraLayer) or (settings.kept and not isinstance(layer, Linear4bit)):
                continue  # of a layer that stays in 16 bits nothing is lost
            stored = tensors.get(f"{name}.weight")
            if not isinstance(layer, Linear4bit) or stored is None:
                raise InvalidInput(
                    f"init_lora_weights loftq does not find the 16-bit weights of {name} in the base's files; "
                    "use init_lora_weights default."
                )
            _fit_to_loss(layer, stored[...])


def _fit_to_loss(layer: Linear4bit, exact: torch.Tensor) -> None:
    """Set A and B of one layer. exact: its weights before they were quantized."""
    packed = layer.base_layer.weight
    lost = exact.to(packed.device).float() - dequantize_4bit(packed.data, packed.quant_state).float()
    down, up = layer.lora_A[ADAPTER_NAME].weight, layer.lora_B[ADAPTER_NAME].weight
    rank = down.shape[0]
    u, s, v = torch.svd_lowrank(lost, q=min(rank + _OVERSAMPLED, *lost.shape), niter=_ITERATIONS)
    root = (s[:rank] / layer.scaling[ADAPTER_NAME]).sqrt()
    down.zero_()[: len(root)] = root[:, None] * v[:, :rank].T
    up.zero_()[:, : len(root)] = u[:, :rank] * root
