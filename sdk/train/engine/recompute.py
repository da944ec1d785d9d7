"""What is kept for the backward pass, what is computed again, and what waits in the host's memory."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute(model: PreTrainedModel, layers: int | None) -> None:
    """Let so many of the model's layers (None: all) keep their input only [Chen et al., arXiv 1604.06174].

    The others keep all they need: each recomputed layer costs its forward pass once more.
    """
    model.activation_checkpointing_enable({"use_reentrant": False})
    able = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    # The last layers keep all: the backward pass frees them first, before it needs room for a recomputed one.
    for layer in able[layers:] if layers is not None else []:
        layer.gradient_checkpointing = False


def embeddings_to_host(model: PreTrainedModel) -> bool:
    """Keep the frozen input embeddings in the host's memory: tokens are looked up there, only their rows go to the GPU.

    False, and nothing is moved, where the head shares their weights.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is embedding.weight:
        return False
    device = embedding.weight.device
    embedding.cpu()
    if device.type == "cuda":
        embedding.weight.data = embedding.weight.data.pin_memory()

    def stay(function: Any, recurse: bool = True) -> Any:
        return embedding

    embedding._apply = stay  # moving the model leaves them where they are
    embedding.register_forward_pre_hook(lambda module, given: tuple(ids.cpu() for ids in given))
    embedding.register_forward_hook(lambda module, given, rows: rows.to(device, non_blocking=True))
    return True
