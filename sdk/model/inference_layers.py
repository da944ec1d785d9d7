"""Linear layers of a model that only answers: quantized weights made dense once, adapters of a group as one product.

For layers that read the same input (query, key and value, or gate and up) with frozen weights W, adapters A, B, scales
s and, of DoRA, factors f: y = f (x W' + r B') + bias with r = x (s A)', where all A of a group are one matrix. Where
there is room for copies, W of quantized layers is dequantized once and not in every pass, and in 16 bits y is one
product, [x r] [W B]', whose sums are rounded once. In float32, where that rounds nothing away that is seen, the copy is
f (W + s B A). The weights themselves stay as they are.
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
from sdk.model.layer_groups import LayerGroup, adapter_scale, layers_by_group

_EPSILONS = ("variance_epsilon", "eps")
_ALIGNED = 64  # columns, of which products are fastest
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
        scale = adapter_scale(layer, name)
        if isinstance(layer, AdaLoraLayer):
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


class _Group(LayerGroup):
    """Layers that read the same input. gated: a gate and what it gates."""

    def __init__(self, layers: Sequence[_Adapted], gated: bool, dtype: torch.dtype, copied: bool) -> None:
        super().__init__()
        self.layers = layers
        self._sizes = [each.shape[0] for each in layers]
        if copied and dtype == torch.float32:
            weights = [each.merged(dtype) for each in layers]
        downs = [each.down for each in layers if each.down is not None]
        self._ranks = [len(down) for down in downs]
        self._down = torch.cat(downs) if downs else None
        self._extended = copied and bool(downs)
        self._weights: list[torch.Tensor] = []  # of one layer each, or of all, one below the other
        if self._extended:
            weights = self._extend(dtype)
        elif copied and dtype != torch.float32:
            weights = [dense(each.base, dtype) for each in layers]
        if copied:
            # What a gate and what it gates give is read elementwise, which is slower where it lies in one tensor.
            self._weights = weights if gated else [torch.cat(weights)]

    def _extend(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Return [W B] of each layer, B in its columns of all ranks, and lengthen A to as many rows."""
        assert self._down is not None
        ranks = len(self._down)
        columns = -(-ranks // _ALIGNED) * _ALIGNED
        weights, begin = [], 0
        for each in self.layers:
            weight = dense(each.base, dtype)
            whole = weight.new_zeros(len(weight), weight.shape[1] + columns)
            whole[:, : weight.shape[1]] = weight
            if each.up is not None:
                first = weight.shape[1] + begin
                whole[:, first : first + each.up.shape[1]] = each.up
                begin += each.up.shape[1]
            weights.append(whole)
        self._down = torch.cat([self._down, self._down.new_zeros(columns - ranks, self._down.shape[1])])
        return weights

    def _project(self, x: torch.Tensor) -> list[torch.Tensor]:
        flat = x.reshape(-1, x.shape[-1])
        reduced = None if self._down is None else flat @ self._down.t()
        if reduced is not None and self._extended:
            flat, reduced = torch.cat([flat, reduced], dim=1), None
        outputs = self._products(flat)
        parts = iter(() if reduced is None else torch.split(reduced, self._ranks, dim=1))
        for each, out in zip(self.layers, outputs, strict=True):
            if each.up is not None and reduced is not None:
                out.addmm_(next(parts), each.up.t())
            if each.factor is not None:
                torch.mul(out, each.factor, out=out)
            if each.base.bias is not None:
                out.add_(each.base.bias)
        return [out.view(*x.shape[:-1], -1) for out in outputs]

    def _products(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return x W' of each layer, or [x r] [W B]'."""
        if self._weights:
            made = [linear(x, weight) for weight in self._weights]
            return made if len(made) > 1 else torch.split(made[0], self._sizes, dim=1)
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
    found = layers_by_group(model, _known)
    groups = [[_Adapted(layer, dtype) for layer in layers] for layers, _ in found]
    # Copies of all, else of those that would be dequantized in every pass, else of none.
    kinds = [
        [
            (any(each.quantized for each in group) or (adapted and any(each.down is not None for each in group)))
            and not (few and all(_reads_4_bits(each.base) for each in group))
            for group in groups
        ]
        for adapted in (True, False)
    ]
    copied = next((kind for kind in kinds if _copied_bytes(groups, kind, dtype) <= room), [False] * len(groups))
    with ExitStack() as undone:
        for (layers, gated), group, whether in zip(found, groups, copied, strict=True):
            together = _Group(group, gated, dtype, whether)
            for place, layer in enumerate(layers):
                _replace(undone, layer, together.forward_of(place))
        if dtype != torch.float32:
            _fuse_norms(undone, model)
        yield


def _copied_bytes(groups: Sequence[Sequence[_Adapted]], copied: Sequence[bool], dtype: torch.dtype) -> int:
    layers = [each for group, whether in zip(groups, copied, strict=True) if whether for each in group]
    return sum(each.shape[0] * each.shape[1] for each in layers) * dtype.itemsize


def _replace(undone: ExitStack, module: torch.nn.Module, forward: Callable[..., torch.Tensor]) -> None:
    """Let a module compute otherwise until it is undone."""
    before = vars(module).get("forward")
    module.forward = forward
    if before is None:
        undone.callback(vars(module).pop, "forward")
    else:
        undone.callback(setattr, module, "forward", before)


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
    """Let norms by the root mean square be one kernel each: of those classes that give what torch's own gives."""
    same: dict[type, bool] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        epsilon = next((getattr(module, name) for name in _EPSILONS if hasattr(module, name)), None)
        if not type(module).__name__.endswith("RMSNorm") or weight is None or epsilon is None or not weight.is_cuda:
            continue

        def norm(x: torch.Tensor, weight: torch.Tensor = weight, epsilon: float = epsilon) -> torch.Tensor:
            return rms_norm(x, weight.shape, weight, epsilon)

        if type(module) not in same:
            x = torch.linspace(-2, 3, weight.numel(), dtype=weight.dtype, device=weight.device)[None]
            own = module(x)
            limit = _CLOSE * float(own.abs().max())
            same[type(module)] = own.dtype == x.dtype and torch.allclose(own, norm(x), rtol=_CLOSE, atol=limit)
        if same[type(module)]:
            _replace(undone, module, norm)
