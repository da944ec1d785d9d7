"""LoRA adapters as bytes: what is written for one, and how one is attached from memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from transformers import PreTrainedModel

from sdk.errors import InvalidInput
from sdk.records import canonical_json

# Exactly what adapter_config() writes; anything else could change what PEFT does with the weights.
_CONFIG_TYPES: dict[str, type | tuple[type, ...]] = {
    "base_model_name_or_path": str,
    "bias": str,
    "inference_mode": bool,
    "lora_alpha": int,
    "lora_dropout": (int, float),
    "peft_type": str,
    "r": int,
    "target_modules": list,
    "task_type": str,
}
_CONFIG_VALUES = {"bias": "none", "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True}
ADAPTER_NAME = "default"


def adapter_config(model: PeftModel, base_name: str) -> bytes:
    """adapter_config.json of a trained LoRA adapter, with the base's name in place of any path."""
    config = model.peft_config[ADAPTER_NAME]
    assert isinstance(config, LoraConfig)
    return canonical_json(
        {
            **_CONFIG_VALUES,
            "base_model_name_or_path": base_name,
            "lora_alpha": config.lora_alpha,
            "lora_dropout": config.lora_dropout,
            "r": config.r,
            "target_modules": sorted(config.target_modules or ()),
        }
    )


def adapter_weights(model: PeftModel) -> bytes:
    """adapter_model.safetensors of a trained adapter, float32."""
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME)
    data: bytes = safetensors.torch.save(
        {name: value.detach().float().cpu().contiguous() for name, value in state.items()}, {"format": "pt"}
    )
    return data


def set_adapter_weights(model: PeftModel, weights: bytes) -> None:
    """Put the bytes of adapter_model.safetensors into a model's adapter.

    Raises InvalidInput where the names or shapes are not exactly those that the model's adapter has.
    """
    try:
        given = safetensors.torch.load(weights)
    except SafetensorError as error:
        raise InvalidInput(
            "The adapter's weights are no safetensors file; take them from an intact package."
        ) from error
    expected = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME)
    faults = [f"{name} is missing" for name in sorted(expected.keys() - given.keys())]
    faults += [f"{name} is not part of this adapter" for name in sorted(given.keys() - expected.keys())]
    for name in sorted(expected.keys() & given.keys()):
        if expected[name].shape != given[name].shape:
            faults.append(f"{name} has shape {tuple(given[name].shape)}, {tuple(expected[name].shape)} is needed")
        elif not bool(torch.isfinite(given[name]).all()):
            faults.append(f"{name} holds NaN or infinity")
    if faults:
        raise InvalidInput("The adapter does not fit this base model; use the base that it was trained on.", faults)
    set_peft_model_state_dict(model, given, adapter_name=ADAPTER_NAME)


def attach_adapter(model: PreTrainedModel, config: Mapping[str, Any], weights: bytes) -> PeftModel:
    """The model with a LoRA adapter, in evaluation mode.

    config: content of adapter_config.json; weights: bytes of adapter_model.safetensors; nothing is read from disk.
    Raises InvalidInput with every fault of either.
    """
    faults = [f"{name} is missing" for name in sorted(_CONFIG_TYPES.keys() - config.keys())]
    faults += [f"{name} is not accepted" for name in sorted(config.keys() - _CONFIG_TYPES.keys())]
    for name in sorted(_CONFIG_TYPES.keys() & config.keys()):
        if not isinstance(config[name], _CONFIG_TYPES[name]) or config[name] != _CONFIG_VALUES.get(name, config[name]):
            faults.append(f"{name} has a value that this SDK never writes")
    if faults:
        raise InvalidInput("adapter_config.json is not one that this SDK wrote.", faults)
    try:
        options = {name: value for name, value in config.items() if name != "base_model_name_or_path"}
        adapted = get_peft_model(model, LoraConfig(**options), adapter_name=ADAPTER_NAME)
    except ValueError as error:
        raise InvalidInput("The adapter does not fit this base model; use the base that it was trained on.") from error
    assert isinstance(adapted, PeftModel)
    set_adapter_weights(adapted, weights)
    return adapted.requires_grad_(False).eval()
