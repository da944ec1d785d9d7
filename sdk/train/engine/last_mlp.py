"""The last decoder layer's MLP for those tokens only whose loss is taken: nothing reads what it gives for the others.

Of a base with few layers, as a CPU trains, that is much: the embedded one has four, and most of a row is its question.
On a GPU the layers are many, and its memory is predicted with every MLP whole, so there it stays so.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

# An MLP of these alone looks at one token at a time: a gate's or an expert's output may depend on the others.
_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}


class LastMLP:
    """The forward pass of the last layer's MLP. `learned`: places in the last hidden states; None: all."""

    def __init__(self, mlp: torch.nn.Module) -> None:
        self.learned: torch.Tensor | None = None
        self._whole = mlp.forward
        mlp.forward = self

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.learned is None or not len(self.learned):  # nothing learned: of a pass that only fills a step up
            whole: torch.Tensor = self._whole(x)
            return whole
        places = self.learned % x.shape[-2]  # they are counted from the end
        out: torch.Tensor = self._whole(x.index_select(-2, places))
        return x.new_zeros(x.shape, dtype=out.dtype).index_copy(-2, places, out)


def narrow_last_mlp(model: PreTrainedModel) -> LastMLP | None:
    """Let the last layer's MLP compute what `learned` names. None where it is not known to take each token alone."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    if mlp is None or {name for name, _ in mlp.named_children()} != _PARTS:
        return None
    return mlp.forward if isinstance(mlp.forward, LastMLP) else LastMLP(mlp)
