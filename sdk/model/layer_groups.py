"""Linear layers that read the same input: found in a model, and computed together when the first of them is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - before peft is imported

# isort: split
import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer

# By their usual names; a lone layer is a group of its own.
_GATED = ("gate_proj", "up_proj")
_GROUPS = (("q_proj", "k_proj", "v_proj"), _GATED)
_RANK_OFFSET = 1e-5  # that PEFT adds to AdaLoRA's rank


class LayerGroup(ABC):
    """Layers that are called with the same input one after the other: the first call computes all of them.

    The outputs wait by the layer's place. The input is held until the last of them is taken, so that the identity of
    the tensor is enough to tell whether a call belongs to the same pass.
    """

    def __init__(self) -> None:
        self._input: torch.Tensor | None = None
        self._ready: dict[int, torch.Tensor] = {}

    def call(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the layer at this place for x."""
        if x is not self._input or place not in self._ready:
            self._ready = dict(enumerate(self._project(x)))
            self._input = x
        out = self._ready.pop(place)
        if not self._ready:
            self._input = None
        return out

    @abstractmethod
    def _project(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the outputs of all layers for x."""

    def forward_of(self, place: int) -> Callable[..., torch.Tensor]:
        """Return what the layer at this place computes in place of its own forward pass."""

        def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            return self.call(place, x)

        return forward


def layers_by_group(
    model: torch.nn.Module,
    known: Callable[[torch.nn.Module], bool],
    together: Callable[[Sequence[torch.nn.Module]], bool] = lambda layers: True,
) -> list[tuple[list[torch.nn.Module], bool]]:
    """Find the layers that are known, by group, each group with whether it is a gate with what it gates.

    together: tells which layers of one input may be a group; others are alone.
    """
    # A LoRA layer holds the layer that it adapts, which is not computed a second time by itself.
    inside = {id(layer.get_base_layer()) for layer in model.modules() if isinstance(layer, LoraLayer)}
    found: list[tuple[list[torch.nn.Module], bool]] = []
    for parent in model.modules():
        if isinstance(parent, LoraLayer):
            continue
        children = {name: child for name, child in parent.named_children() if known(child) and id(child) not in inside}
        for names in _GROUPS:
            if all(name in children for name in names) and together([children[name] for name in names]):
                found.append(([children.pop(name) for name in names], names is _GATED))
        found += [([child], False) for child in children.values()]
    return found


def adapter_scale(layer: LoraLayer, name: str) -> float:
    """Return what the product of an adapter's matrices is multiplied with."""
    scale = float(layer.scaling[name])
    return scale / (layer.ranknum[name].item() + _RANK_OFFSET) if isinstance(layer, AdaLoraLayer) else scale
