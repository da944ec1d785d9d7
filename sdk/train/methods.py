"""PEFT's configuration of the adapter that the settings ask for."""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftConfig
from transformers import PreTrainedModel

from sdk.errors import InvalidInput
from sdk.records import TrainSettings


def peft_config(model: PreTrainedModel, settings: TrainSettings) -> PeftConfig:
    """Raises InvalidInput where a target module is not one of the model's linear layers."""
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=_target_modules(model, settings.target_modules),
        task_type="CAUSAL_LM",
    )


def _target_modules(model: PreTrainedModel, wanted: str) -> str | list[str]:
    """all-linear, or a list with commas of linear layers' names; InvalidInput names those that the model has not."""
    if wanted == "all-linear":
        return wanted
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    names = [name.strip() for name in wanted.split(",")]
    unknown = [f"{name!r} is no linear layer of this model" for name in names if name not in linear]
    if unknown:
        raise InvalidInput(f"target_modules: use all-linear or some of {', '.join(sorted(linear))}.", unknown)
    return names
