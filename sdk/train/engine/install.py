"""Put the engine under a model that trl has made ready to train."""

from __future__ import annotations

import importlib.util

import torch
from peft import PeftModel

from sdk.records import TrainSettings
from sdk.train.engine.head import answer_with_loss
from sdk.train.engine.last_mlp import narrow_last_mlp
from sdk.train.engine.lora import fuse_lora
from sdk.train.engine.recompute import embeddings_to_host, recompute

# Triton's kernels for norms, rotary embeddings and gated activations; they need a GPU and the extra `gpu`.
if importlib.util.find_spec("triton") and importlib.util.find_spec("liger_kernel"):
    from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance as fuse_elementwise
else:
    fuse_elementwise = None


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
    _, refresh = fuse_lora(base)
    answer_with_loss(base, refresh, None if torch.cuda.is_available() else narrow_last_mlp(base))
    if settings.gradient_checkpointing:
        recompute(base, settings.checkpointed_layers)
    if settings.offload_embeddings and not embeddings_to_host(base):
        notes.append("The head shares the embeddings' weights, so they stay where the head is.")
    return tuple(notes)
