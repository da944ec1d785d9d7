"""Adapters as bytes: what is written for one, and how one is attached from memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - before peft is imported

# isort: split
import safetensors.torch
import torch
from peft import (
    AdaLoraConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from transformers import PreTrainedModel

from sdk.errors import InvalidInput
from sdk.model.dense_weights import keep_unpacked
from sdk.records import canonical_json

_Types = Mapping[str, type | tuple[type, ...]]
# Exactly what adapter_config() writes; anything else could change what PEFT does with the weights, or where it looks.
_COMMON: _Types = {"base_model_name_or_path": str, "inference_mode": bool, "peft_type": str, "task_type": str}
_LORA: _Types = {"bias": str, "lora_alpha": int, "lora_dropout": (int, float), "r": int, "target_modules": list}
_ADALORA: _Types = {**{name: kind for name, kind in _LORA.items() if name != "r"}, "init_r": int, "total_step": int}
_PROMPT: _Types = {"num_virtual_tokens": int}
_CONFIG_TYPES: Mapping[str, _Types] = {
    "LORA": {**_COMMON, **_LORA},
    "ADALORA": {**_COMMON, **_ADALORA},
    "PROMPT_TUNING": {**_COMMON, **_PROMPT, "prompt_tuning_init": str},
    "PREFIX_TUNING": {**_COMMON, **_PROMPT},
    "P_TUNING": {**_COMMON, **_PROMPT, "encoder_hidden_size": int},
}
# Written only where they are true.
_SWITCHES = {"LORA": ("use_dora", "use_rslora")}
_CONFIG_VALUES = {
    "bias": "none",
    "task_type": "CAUSAL_LM",
    "inference_mode": True,
    "prompt_tuning_init": "RANDOM",
    # AdaLoRA's plan is over, and PEFT refuses a configuration without one.
    "total_step": 1,
}
_CLASSES: Mapping[str, type[PeftConfig]] = {
    "LORA": LoraConfig,
    "ADALORA": AdaLoraConfig,
    "PROMPT_TUNING": PromptTuningConfig,
    "PREFIX_TUNING": PrefixTuningConfig,
    "P_TUNING": PromptEncoderConfig,
}
ADAPTER_NAME = "default"


def adapter_config(model: PeftModel, base_name: str) -> bytes:
    """Return adapter_config.json of a trained adapter, with the base's name in place of any path."""
    config = model.peft_config[ADAPTER_NAME]
    kind = str(config.peft_type.value)
    fields = {name: getattr(config, name) for name in _CONFIG_TYPES[kind]}
    fields |= {name: value for name, value in _CONFIG_VALUES.items() if name in fields}
    fields |= {name: True for name in _SWITCHES.get(kind, ()) if getattr(config, name)}
    if "target_modules" in fields:
        fields["target_modules"] = sorted(config.target_modules or ())
    return canonical_json({**fields, "peft_type": kind, "base_model_name_or_path": base_name})


def adapter_weights(model: PeftModel) -> bytes:
    """Return adapter_model.safetensors of a trained adapter, float32."""
    data: bytes = safetensors.torch.save(
        {name: value.detach().float().cpu().contiguous() for name, value in _state(model).items()}, {"format": "pt"}
    )
    return data


def _state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Return the adapter's tensors by the names that PEFT writes.

    Of AdaLoRA all ranks, those that were cut with their zeros: PEFT's pruned form is the same function, but needs
    rank_pattern, a table of the model's modules, in the configuration.
    """
    config = model.peft_config[ADAPTER_NAME]
    pattern = getattr(config, "rank_pattern", None)
    if isinstance(config, AdaLoraConfig):
        config.rank_pattern = None
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME)
    if isinstance(config, AdaLoraConfig):
        config.rank_pattern = pattern
    return state


def _tensors(weights: bytes | bytearray) -> dict[str, torch.Tensor]:
    """Read tensors by name. Those of a bytearray lie in it: a copy by safetensors nobody could wipe."""
    if isinstance(weights, bytes):
        return dict(safetensors.torch.load(weights))
    start = 8 + int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8:start])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            if entry["dtype"] != "F32" or not 0 <= begin < end <= len(weights) - start:
                raise ValueError(name)
            flat = torch.frombuffer(weights, dtype=torch.float32, count=(end - begin) // 4, offset=start + begin)
            found[name] = flat.reshape(entry["shape"])
    return found


def set_adapter_weights(model: PeftModel, weights: bytes | bytearray) -> None:
    """Put the bytes of adapter_model.safetensors into a model's adapter; they may be wiped afterwards.

    Raises InvalidInput where the names or shapes are not exactly those that the model's adapter has.
    """
    try:
        given = _tensors(weights)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InvalidInput(
            "The adapter's weights are no safetensors file; take them from an intact package."
        ) from error
    expected = _state(model)
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


def check_config(config: Mapping[str, Any]) -> None:
    """Raise InvalidInput with everything in an adapter_config.json that this SDK would not have written."""
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in _CONFIG_TYPES:
        raise InvalidInput(
            "adapter_config.json is not one that this SDK wrote.", [f"peft_type is none of {', '.join(_CONFIG_TYPES)}"]
        )
    types = _CONFIG_TYPES[kind]
    switches = {name for name in _SWITCHES.get(kind, ()) if config.get(name) is True}
    faults = [f"{name} is missing" for name in sorted(types.keys() - config.keys())]
    faults += [f"{name} is not accepted" for name in sorted(config.keys() - types.keys() - switches)]
    for name in sorted(types.keys() & config.keys()):
        value = config[name]
        wrong = not isinstance(value, types[name]) or (isinstance(value, bool) and types[name] is not bool)
        wrong |= isinstance(value, list) and not all(isinstance(item, str) for item in value)
        if wrong or value != _CONFIG_VALUES.get(name, value):
            faults.append(f"{name} has a value that this SDK never writes")
    if faults:
        raise InvalidInput("adapter_config.json is not one that this SDK wrote.", faults)


def attach_adapter(model: PreTrainedModel, config: Mapping[str, Any], weights: bytes | bytearray) -> PeftModel:
    """Return the model with an adapter, in evaluation mode.

    config: content of adapter_config.json; weights: bytes of adapter_model.safetensors; nothing is read from disk.
    Raises InvalidInput with every fault of either.
    """
    check_config(config)
    try:
        options = {
            name: value for name, value in config.items() if name not in ("base_model_name_or_path", "peft_type")
        }
        made = _CLASSES[config["peft_type"]](**options)
        adapted = get_peft_model(model, made, adapter_name=ADAPTER_NAME)
    except ValueError as error:
        raise InvalidInput("The adapter does not fit this base model; use the base that it was trained on.") from error
    assert isinstance(adapted, PeftModel)
    set_adapter_weights(adapted, weights)
    if config.get("use_dora"):
        keep_unpacked(adapted)
    return adapted.requires_grad_(False).eval()
