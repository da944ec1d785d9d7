"""Linear layers of a model that only answers: quantized weights made dense once, adapters of a group as one product.

For layers that read the same input (query, key and value, or gate and up) with frozen weights W, adapters A, B, scales
s and, of DoRA, factors f: y = f (x W' + x (s A)' B') + bias, where all A of a group are one matrix. Where there is
room, W of quantized layers is dequantized once and not in every pass, and in float32, where it rounds nothing away that
is seen, f (W + s B A) is. The weights themselves stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sdk.model.uncompiled  # noqa: F401 - before bitsandbytes is imported

# isort: split
import torch
from bitsandbytes import matmul_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch.nn.functional import linear, rms_norm

from sdk.model.dense_weights import dense, is_packed, is_quantized

# Layers that read the same input, by their usual names; a lone layer is a group of its own.
_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_RANK_OFFSET = 1e-5  # that PEFT adds to AdaLoRA's rank
_EPSILONS = ("variance_epsilon", "eps")
_CLOSE = 0.02  # relative, of norms in 16 bits
FEW_ROWS = 1  # for so few bitsandbytes' product of 4-bit weights is faster than one with dense copies of them


class _Adapted:
    """A layer with its adapter, if it has one: down (r, inputs) by its scale, up (outputs, r), factor (outputs,)."""

    def __init__(self, layer: torch.nn.Module, dtype: torch.dtype) -> None:
        self.base: Any = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        self.quantized = is_quantized(self.base)
        self.down: torch.Tensor | None = None
        self.up: torch.Tensor | None = None
        self.factor: torch.Tensor | None = None
        if not isinstance(layer, LoraLayer) or layer.disable_adapters:
            return
        (name,) = layer.active_adapters
        down, up = layer.lora_A[name], layer.lora_B[name]
        scale = float(layer.scaling[name])
        if isinstance(layer, AdaLoraLayer):
            scale /= layer.ranknum[name].item() + _RANK_OFFSET
            self.down, self.up = (down * layer.lora_E[name] * scale).to(dtype), up.to(dtype)
            return
        self.down, self.up = (down.weight * scale).to(dtype), up.weight.to(dtype)
        if name in layer.lora_variant:
            whole = torch.addmm(dense(self.base, torch.float32), self.up.float(), self.down.float())
            norms = torch.linalg.vector_norm(whole, dim=1)
            self.factor = layer.lora_magnitude_vector[name].weight.float() / norms

    @property
    def shape(self) -> tuple[int, int]:
        return self.base.out_features, self.base.in_features

    def merged(self, dtype: torch.dtype) -> torch.Tensor:
        """Return f (W + s B A), float32, and forget the adapter."""
        weight = dense(self.base, dtype)
        if self.down is not None and self.up is not None:
            weight = torch.addmm(weight, self.up, self.down)
        if self.factor is not None:
            weight = weight * self.factor[:, None]
        self.down = self.up = self.factor = None
        return weight


class _Group:
    """Layers that are called with the same input one after the other: the first call computes all of them.

    The outputs wait by the layer's place. The input is held until the last of them is taken, so that the identity of
    the tensor is enough to tell whether a call belongs to the same pass.
    """

    def __init__(self, layers: Sequence[_Adapted], dtype: torch.dtype, copied: bool) -> None:
        self.layers = layers
        self._dtype = dtype
        self._weight: torch.Tensor | None = None  # of all layers, one below the other
        if copied:
            made = dtype == torch.float32
            self._weight = torch.cat([each.merged(dtype) if made else dense(each.base, dtype) for each in layers])
        downs = [each.down for each in layers if each.down is not None]
        self._down = torch.cat(downs) if downs else None
        self._ranks = [len(down) for down in downs]
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

    def _project(self, x: torch.Tensor) -> list[torch.Tensor]:
        flat = x.reshape(-1, x.shape[-1])
        outputs = self._products(flat)
        parts: Iterator[torch.Tensor] = iter(())
        if self._down is not None:
            parts = iter(torch.split(flat @ self._down.t(), self._ranks, dim=1))
        for each, out in zip(self.layers, outputs, strict=True):
            if each.up is not None:
                out.addmm_(next(parts), each.up.t())
            if each.factor is not None:
                torch.mul(out, each.factor, out=out)
            if each.base.bias is not None:
                out.add_(each.base.bias)
        return [out.view(*x.shape[:-1], -1) for out in outputs]

    def _products(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return x W' of each layer."""
        if self._weight is not None:
            return torch.split(linear(x, self._weight), [each.shape[0] for each in self.layers], dim=1)
        return [
            matmul_4bit(x, each.base.weight, each.base.weight.quant_state)
            if len(x) <= FEW_ROWS and _reads_4_bits(each.base)
            else linear(x, dense(each.base, x.dtype))
            for each in self.layers
        ]


def _reads_4_bits(base: Any) -> bool:
    return isinstance(base, Linear4bit) and base.weight.is_cuda


@contextmanager
def inference_layers(model: torch.nn.Module, dtype: torch.dtype, room: int, few: bool) -> Iterator[None]:
    """Let the model compute so. dtype: of its products; room: bytes that copies of weights may take.

    few: so few rows are asked that 4-bit weights are best read as they are.
    """
    found = _layers_by_group(model)
    groups = [[_Adapted(layer, dtype) for layer in layers] for layers in found]
    wanted = [
        any(each.quantized or (dtype == torch.float32 and each.down is not None) for each in group)
        and not (few and all(_reads_4_bits(each.base) for each in group))
        for group in groups
    ]
    numbers = sum(
        each.shape[0] * each.shape[1] for group, copied in zip(groups, wanted, strict=True) if copied for each in group
    )
    fits = numbers * dtype.itemsize <= room
    with ExitStack() as undone:
        for layers, group, copied in zip(found, groups, wanted, strict=True):
            together = _Group(group, dtype, copied and fits)
            for place, layer in enumerate(layers):
                _replace(undone, layer, _bound(together, place))
        if dtype != torch.float32:
            _fuse_norms(undone, model)
        yield


def _replace(undone: ExitStack, module: torch.nn.Module, forward: Callable[..., torch.Tensor]) -> None:
    """Let a module compute otherwise until it is undone."""
    before = vars(module).get("forward")
    module.forward = forward
    if before is None:
        undone.callback(vars(module).pop, "forward")
    else:
        undone.callback(setattr, module, "forward", before)


def _bound(group: _Group, place: int) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return group.call(place, x)

    return forward


def _layers_by_group(model: torch.nn.Module) -> list[list[torch.nn.Module]]:
    """Find the layers that are computed here, by group."""
    # A LoRA layer holds the layer that it adapts, which is not computed a second time by itself.
    inside = {id(layer.get_base_layer()) for layer in model.modules() if isinstance(layer, LoraLayer)}
    groups: list[list[torch.nn.Module]] = []
    for parent in model.modules():
        if isinstance(parent, LoraLayer):
            continue
        children = {name: child for name, child in parent.named_children() if _known(child) and id(child) not in inside}
        together = [
            [children.pop(name) for name in names] for names in _GROUPS if all(name in children for name in names)
        ]
        groups += [*together, *([child] for child in children.values())]
    return groups


def _known(layer: torch.nn.Module) -> bool:
    """Tell whether this has one adapter of a kind that is computed here, or is quantized and has none."""
    if not isinstance(layer, LoraLayer):
        return is_quantized(layer) and not is_packed(layer)
    base = layer.get_base_layer()
    if len(layer.active_adapters) != 1 or layer.merged or is_packed(base):
        return False
    name = layer.active_adapters[0]
    own = getattr(layer, "fan_in_fan_out", False) or getattr(layer, "lora_bias", {}).get(name)
    variant = layer.lora_variant.get(name)
    return isinstance(base, torch.nn.Linear) and not own and isinstance(variant, DoraLinearVariant | None)


def _fuse_norms(undone: ExitStack, model: torch.nn.Module) -> None:
    """Let norms by the root mean square be one kernel each: those that give what torch's own gives, which is tried."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        epsilon = next((getattr(module, name) for name in _EPSILONS if hasattr(module, name)), None)
        if not type(module).__name__.endswith("RMSNorm") or weight is None or epsilon is None or not weight.is_cuda:
            continue

        def norm(x: torch.Tensor, weight: torch.Tensor = weight, epsilon: float = epsilon) -> torch.Tensor:
            return rms_norm(x, weight.shape, weight, epsilon)

        x = torch.linspace(-2, 3, weight.numel(), dtype=weight.dtype, device=weight.device)[None]
        own = module(x)
        if own.dtype == x.dtype and torch.allclose(own, norm(x), rtol=_CLOSE, atol=_CLOSE * float(own.abs().max())):
            _replace(undone, module, norm)
