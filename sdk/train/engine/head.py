"""The loss over a frozen head without the logits of all tokens.

A head that is not trained needs the gradient of its input only, and that is known as soon as a chunk's logits are: so
each chunk's logits are computed once, turned into their gradient in place, and forgotten (the idea of Liger's fused
linear cross-entropy, arXiv 2410.10989, without the gradient of the weights).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from sdk.hardware.kernels import LOGITS_PER_CHUNK
from sdk.train.engine.last_mlp import LastMLP

Layers = Callable[..., torch.Tensor]  # all of a model but its head: the last hidden states (1, tokens, size)


class Head(NamedTuple):
    """logits = cap(scale (hidden weight' + bias)) with cap(z) = softcap tanh(z / softcap)."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return float32 logits; on a GPU straight from the product, which would otherwise be rounded and widened again."""
    if hidden.is_cuda and hidden.dtype != torch.float32:
        logits = torch.mm(hidden, weight.t(), out_dtype=torch.float32)
        return logits if bias is None else logits.add_(bias)
    return (hidden @ weight.t() if bias is None else torch.addmm(bias, hidden, weight.t())).float()


class _FrozenHead(torch.autograd.Function):
    """Inputs: hidden (tokens, size), the head, targets (tokens,). Output: the summed loss, float32.

    The forward pass computes the gradient of hidden already, for a loss whose own gradient is 1.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: Head, targets: torch.Tensor) -> torch.Tensor:
        weight, bias, scale, softcap = head
        size = max(1, LOGITS_PER_CHUNK // weight.shape[0])
        loss = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        for start in range(0, len(hidden), size):
            part, target = hidden[start : start + size], targets[start : start + size, None]
            logits = _logits(part, weight, bias)
            if scale != 1:
                logits.mul_(scale)
            slope = None  # of the cap: d softcap tanh(z / softcap) / dz = 1 - tanh(z / softcap)^2
            if softcap is not None:
                logits.div_(softcap).tanh_()
                slope = 1 - logits.square()
                logits.mul_(softcap)
            log_probabilities = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            chosen = log_probabilities.gather(1, target)
            loss -= chosen.sum()
            del logits
            # The gradient of the logits: the probabilities, less 1 at the target; it takes their place in memory.
            of_logits = log_probabilities.exp_().scatter_(1, target, chosen.exp() - 1)
            if slope is not None:
                of_logits.mul_(slope)
            torch.mm(of_logits.to(weight.dtype), weight, out=gradient[start : start + size])
        ctx.save_for_backward(gradient)
        ctx.scale = scale
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (gradients[0] * ctx.scale).to(gradient.dtype), None, None


def frozen_head_loss(hidden: torch.Tensor, head: Head, targets: torch.Tensor) -> torch.Tensor:
    """Return the sum of the negative log-likelihoods, float32.

    hidden: (tokens, size), after the last norm; head.weight: (vocabulary, size), frozen; targets: (tokens,), the token
    that follows each.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        loss: torch.Tensor = _FrozenHead.apply(hidden.to(head.weight.dtype), head, targets)  # type: ignore[no-untyped-call]
    return loss


def body_of(model: PreTrainedModel) -> Any:
    return model.base_model if model.base_model is not model else model.model  # Llama 4 names none


def answer_with_loss(
    model: PreTrainedModel,
    before: Callable[[], None],
    last_mlp: LastMLP | None = None,
    layers: Layers | None = None,
) -> None:
    """Let the model's forward pass, when it is given `learned` and `targets`, return the loss and no logits.

    before is called ahead of each pass; last_mlp is told what is learned in it; layers take the place of the model's
    own. learned: (n,), places in the last hidden states, counted from the end (negative); targets: (n,), the token that
    follows each; items: what the sum is divided by.
    """
    original = model.forward
    body = body_of(model)

    def forward(
        *args: Any,
        learned: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        items: torch.Tensor | int = 1,
        **kwargs: Any,
    ) -> Any:
        before()
        if last_mlp is not None:
            last_mlp.learned = learned
        if learned is None or targets is None:
            return original(*args, **kwargs)
        states = layers(*args, **kwargs) if layers is not None else body(*args, **kwargs).last_hidden_state
        hidden = states.squeeze(0)
        layer = model.get_output_embeddings()
        head = Head(layer.weight, layer.bias, *_scale_and_cap(model.config.get_text_config()))
        return CausalLMOutput(loss=frozen_head_loss(hidden[learned], head, targets) / items)

    model.forward = forward


def _scale_and_cap(config: PretrainedConfig) -> tuple[float, float | None]:
    """Return what the model does to its logits: Gemma caps, Cohere and Falcon-H1 multiply, Granite divides."""
    scale = 1.0
    for name in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return scale, getattr(config, "final_logit_softcapping", None)
