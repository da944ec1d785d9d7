"""Put the engine under a model that trl has made ready to train."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import torch
from peft import PeftModel

from sdk.records import TrainSettings
from sdk.train.engine.adalora import regularize_at_once, score_at_once
from sdk.train.engine.graphs import GraphedLayers, launch_bound
from sdk.train.engine.head import answer_with_loss, body_of
from sdk.train.engine.last_mlp import narrow_last_mlp
from sdk.train.engine.lora import fuse_lora
from sdk.train.engine.recompute import embeddings_to_host, recompute

# Triton's kernels for norms, rotary embeddings and gated activations; they need a GPU and the extra `gpu`.
if importlib.util.find_spec("triton") and importlib.util.find_spec("liger_kernel"):
    from liger_kernel.ops import geglu, swiglu
    from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance as fuse_elementwise

    _OVERWRITING: dict[str, tuple[ModuleType, Any]] = {
        "swiglu_backward": (swiglu, swiglu.swiglu_backward),
        "geglu_backward": (geglu, geglu.geglu_backward),
    }
else:
    fuse_elementwise = None
    _OVERWRITING = {}


def _leave_gates(leave: bool) -> None:
    """Let Liger's gated activations leave the gate and what it gates as they are, or write their gradients there.

    Liger overwrites them in the backward pass. DoRA still needs them then, for the gradients of its magnitudes.
    """

    def leaving(overwriting: Any) -> Any:
        return lambda gate, up, *rest: overwriting(gate.clone(), up.clone(), *rest)

    for name, (module, overwriting) in _OVERWRITING.items():
        setattr(module, name, leaving(overwriting) if leave else overwriting)


def _keep_experts(base: torch.nn.Module) -> None:
    """Undo Liger's kernel for experts, which computes gradients of their frozen weights; transformers' does not."""
    for module in base.modules():
        if any(value.dim() == 3 for value in module.parameters(recurse=False)):
            vars(module).pop("forward", None)


def install_engine(model: PeftModel, settings: TrainSettings) -> tuple[str, ...]:
    """Install what the settings ask for in speed and memory. Returns what could not be done, in sentences."""
    notes = []
    base = model.get_base_model()
    if torch.cuda.is_available():
        if fuse_elementwise is not None:
            fuse_elementwise(base, cross_entropy=False, fused_linear_cross_entropy=False)
            _keep_experts(base)
        else:
            notes.append(
                "liger-kernel is not installed, so training is slower: pip install 'domain-adaptation-sdk[gpu]'."
            )
    _leave_gates(settings.use_dora and not settings.lora_dropout)
    _, refresh = fuse_lora(base)
    if settings.peft_type == "adalora":
        regularize_at_once(model.base_model)
        score_at_once(model.base_model.rankallocator)
    if torch.cuda.is_available():
        trained = [value for value in base.parameters() if value.requires_grad]
        largest = settings.per_device_train_batch_size * settings.max_length
        layers = GraphedLayers(body_of(base), trained, largest) if launch_bound(base, settings) else None
        answer_with_loss(base, refresh, layers=layers)
    else:
        answer_with_loss(base, refresh, narrow_last_mlp(base))
    if settings.gradient_checkpointing:
        recompute(base, settings.checkpointed_layers)
    if settings.offload_embeddings and not embeddings_to_host(base):
        notes.append("The head shares the embeddings' weights, so they stay where the head is.")
    return tuple(notes)
