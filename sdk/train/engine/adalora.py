"""AdaLoRA's two costs beside its products, taken for all matrices of a shape at once (arXiv 2303.10512).

PEFT goes over some hundred matrices one by one: for the penalty in every forward pass, for the importance of every
number after each optimizer step. Both are the same numbers here, a few kernels each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.adalora.model import AdaLoraModel, RankAllocator


def regularize_at_once(tuner: AdaLoraModel) -> None:
    """Let the loss have the penalty ||A A' - 1|| + ||B' B - 1||, the mean over all of them, as PEFT adds it."""
    name = tuner.trainable_adapter_name
    layers = [module for module in tuner.modules() if isinstance(module, AdaLoraLayer)]
    downs, ups = ([getattr(layer, which)[name] for layer in layers] for which in ("lora_A", "lora_B"))
    alike: dict[tuple[str, torch.Size], list[torch.Tensor]] = {}
    for which, matrices in (("A", downs), ("B", ups)):
        for matrix in matrices:
            alike.setdefault((which, matrix.shape), []).append(matrix)

    def penalty() -> torch.Tensor:
        with torch.autocast(downs[0].device.type, enabled=False):
            sums = [_distances(which == "A", matrices).sum() for (which, _), matrices in alike.items()]
            return torch.stack(sums).sum() / (len(downs) + len(ups))

    def forward(*args: Any, **kwargs: Any) -> Any:
        outputs = tuner.model.forward(*args, **kwargs)
        weight = tuner.peft_config[name].orth_reg_weight
        if weight and getattr(outputs, "loss", None) is not None:
            outputs.loss = outputs.loss + weight * penalty()
        return outputs

    tuner.forward = forward


def _distances(of_rows: bool, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return for each matrix how far its rows, or its columns, are from orthonormal."""
    stacked = torch.stack(list(matrices))
    grams = stacked @ stacked.mT if of_rows else stacked.mT @ stacked
    apart = grams - torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)
    distances: torch.Tensor = torch.linalg.vector_norm(apart, dim=(1, 2))
    return distances


def score_at_once(allocator: RankAllocator) -> None:
    """Let PEFT's allocator, which decides the ranks, take the importances of all numbers at once."""

    @torch.no_grad()
    def update(model: torch.nn.Module) -> None:
        trained = {
            name: value
            for name, value in model.named_parameters()
            if "lora_" in name and allocator.adapter_name in name
        }
        for scores in (allocator.exp_avg_ipt, allocator.exp_avg_unc):
            for name, value in trained.items():
                if name not in scores:
                    scores[name] = torch.zeros_like(value)
        # Products and sums in PEFT's order, so that their last bits are PEFT's too.
        gradients = [value.grad for value in trained.values() if value.grad is not None]
        now = torch._foreach_mul(list(trained.values()), gradients)
        torch._foreach_abs_(now)
        allocator.ipt = dict(zip(trained, now, strict=True))
        mean = [allocator.exp_avg_ipt[name] for name in trained]
        _average(mean, now, allocator.beta1)
        apart = torch._foreach_sub(now, mean)
        torch._foreach_abs_(apart)
        _average([allocator.exp_avg_unc[name] for name in trained], apart, allocator.beta2)

    allocator.update_ipt = update


def _average(means: list[torch.Tensor], new: Sequence[torch.Tensor], share: float) -> None:
    torch._foreach_mul_(means, share)
    torch._foreach_add_(means, torch._foreach_mul(list(new), 1 - share))
