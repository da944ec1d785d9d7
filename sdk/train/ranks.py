"""AdaLoRA's rank allocator, called as it needs, with a state that a checkpoint can carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdk.model.adapter import ADAPTER_NAME

_SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


class Ranks(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Cuts the ranks after each optimizer step, while its gradients are still there."""

    name = "ranks"

    def __init__(self, model: PeftModel) -> None:
        self._tuner = model.base_model
        self._config = model.peft_config[ADAPTER_NAME]

    @property
    def settled(self) -> int:
        """The number of steps after which the ranks do not change any more."""
        return int(self._config.total_step - self._config.tfinal + 1)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tuner.update_and_allocate(state.global_step)

    def tensors(self) -> dict[str, torch.Tensor]:
        allocator = self._tuner.rankallocator
        scores = {f"{score}/{name}": value for score in _SCORES for name, value in getattr(allocator, score).items()}
        pattern = self._config.rank_pattern or {}
        return scores | {f"{_PATTERN}/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        device = next(value.device for value in self._tuner.parameters() if value.requires_grad)
        pattern: dict[str, list[bool]] = {}
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == _PATTERN:
                pattern[name] = value.tolist()
            else:
                getattr(self._tuner.rankallocator, kind)[name] = value.to(device)
        self._config.rank_pattern = pattern or None
