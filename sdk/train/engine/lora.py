"""LoRA over frozen linear layers as one differentiable function for all layers that read the same input.

For a group of layers (query, key and value, or gate and up) with frozen weights W, adapters A, B and scales s, the
forward pass is y = x W' + s (x A') B' (LoRA, arXiv 2106.09685). Against PEFT's layers it dequantizes each weight once
a pass, takes all A of a group in one product, adds in place, keeps x and x A' only, and writes the gradient of x into
one tensor. Dropout, where there is some, is drawn once a group. What it computes is the same; adapters stay PEFT's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear, Linear4bit, Linear8bitLt, LoraLayer

from sdk.train.engine.fp8 import Fp8Linear, quantize_rows
from sdk.train.engine.weights import dense, is_quantized

# Layers that read the same input, by their usual names; a lone layer is a group of its own.
_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Projection(NamedTuple):
    """One frozen layer; `scale` is 0 where it has no adapter."""

    base: Any
    scale: float


class _Projections(torch.autograd.Function):
    """Inputs: x, x after dropout (the same tensor where there is none), the projections, then A and B of each adapter.

    x: (tokens, inputs); A: (r, inputs); B: (outputs, r); one output (tokens, outputs) for each projection.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, dropped: torch.Tensor, projections: Sequence[Projection], *matrices: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        same = dropped is x
        downs, ups = matrices[::2], matrices[1::2]
        down = torch.cat([matrix.to(x.dtype) for matrix in downs]) if downs else None
        reduced = dropped @ down.t() if down is not None else None
        parts = iter(_split(reduced, downs) if reduced is not None else ())
        up = iter(ups)
        outputs = []
        rows = quantize_rows(x) if isinstance(projections[0].base, Fp8Linear) else None
        for base, scale in projections:
            out = base.project(rows, x.dtype) if rows is not None else _project_dense(base, x)
            if scale:
                out.addmm_(next(parts), next(up).t().to(x.dtype), alpha=scale)
            outputs.append(out)
        ctx.projections, ctx.same = projections, same
        ctx.save_for_backward(dropped if downs else None, reduced, *matrices)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dropped, reduced, *matrices = ctx.saved_tensors
        downs, ups = matrices[::2], matrices[1::2]
        dtype = gradients[0].dtype
        of_matrices: list[torch.Tensor | None] = []
        of_x = of_dropped = of_reduced = None
        if downs:
            adapted = [(grad, scale) for grad, (_, scale) in zip(gradients, ctx.projections, strict=True) if scale]
            of_reduced = torch.cat(
                [grad @ (up.to(dtype) * scale) for (grad, scale), up in zip(adapted, ups, strict=True)], dim=1
            )
            of_down = (of_reduced.t() @ dropped).split([len(matrix) for matrix in downs])
            for (grad, scale), part, row, up in zip(adapted, _split(reduced, downs), of_down, ups, strict=True):
                of_matrices += [row.to(up.dtype), (grad.t() @ part).to(up.dtype).mul_(scale)]
        if ctx.needs_input_grad[0]:
            for grad, (base, _) in zip(gradients, ctx.projections, strict=True):
                if isinstance(base, Fp8Linear):
                    part = base.project_back(grad)
                    of_x = part if of_x is None else of_x.add_(part)
                else:
                    weight = dense(base, dtype)
                    of_x = grad @ weight if of_x is None else of_x.addmm_(grad, weight)
                    del weight
        if of_reduced is not None:
            down = torch.cat([matrix.to(dtype) for matrix in downs])
            if not ctx.same:
                of_dropped = of_reduced @ down if ctx.needs_input_grad[1] else None
            elif of_x is not None:
                of_x.addmm_(of_reduced, down)
        return of_x, of_dropped, None, *of_matrices


def _project_dense(base: Any, x: torch.Tensor) -> torch.Tensor:
    weight = dense(base, x.dtype)
    return x @ weight.t() if base.bias is None else torch.addmm(base.bias.to(x.dtype), x, weight.t())


def _split(reduced: torch.Tensor, downs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The columns of x A' that belong to each A."""
    return torch.split(reduced, [len(matrix) for matrix in downs], dim=1)


class _Group:
    """Layers that are given the same input one after the other: the first call computes all of them."""

    def __init__(self, layers: Sequence[torch.nn.Module]) -> None:
        self.layers = layers
        self._input: torch.Tensor | None = None
        self._ready: dict[int, torch.Tensor] = {}

    def call(self, place: int, x: torch.Tensor) -> torch.Tensor:
        if x is not self._input or place not in self._ready:
            self._ready = dict(enumerate(_project(self.layers, x)))
            self._input = x
        out = self._ready.pop(place)
        if not self._ready:
            self._input = None
        return out


def _project(layers: Sequence[torch.nn.Module], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    projections, matrices = [], []
    dropout = None
    for layer in layers:
        if isinstance(layer, LoraLayer):
            (name,) = layer.active_adapters
            projections.append(Projection(layer.get_base_layer(), float(layer.scaling[name])))
            matrices += [layer.lora_A[name].weight, layer.lora_B[name].weight]
            dropout = layer.lora_dropout[name]
        else:
            projections.append(Projection(layer, 0.0))
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    with torch.autocast(x.device.type, enabled=False):
        flat = x.reshape(-1, x.shape[-1])
        dropped = flat if dropout is None or isinstance(dropout, torch.nn.Identity) else dropout(flat)
        outputs = _Projections.apply(flat, dropped, projections, *matrices)  # type: ignore[no-untyped-call]
    return tuple(out.view(*x.shape[:-1], -1) for out in outputs)


def _fusible(layer: torch.nn.Module) -> bool:
    """A plain LoRA layer with one adapter, or a quantized layer without any."""
    if not isinstance(layer, LoraLayer):
        return is_quantized(layer) or isinstance(layer, Fp8Linear)
    if type(layer) not in (Linear, Linear4bit, Linear8bitLt) or len(layer.active_adapters) != 1 or layer.merged:
        return False
    name = layer.active_adapters[0]
    linear = isinstance(layer.get_base_layer(), torch.nn.Linear) and not layer.fan_in_fan_out
    return linear and name not in layer.lora_variant and not layer.lora_bias[name]


def fuse_lora(model: torch.nn.Module) -> int:
    """Give every plain LoRA layer, and every quantized one without an adapter, the function above; how many were.

    Variants (DoRA and others) keep PEFT's own forward pass. Parameters and their names stay as they are.
    """
    fused: set[int] = set()
    inside = {id(layer.get_base_layer()) for layer in model.modules() if isinstance(layer, LoraLayer)}
    for parent in list(model.modules()):
        if isinstance(parent, LoraLayer):
            continue
        children = {
            name: child for name, child in parent.named_children() if _fusible(child) and id(child) not in inside
        }
        groups = [[children[name] for name in names] for names in _GROUPS if all(name in children for name in names)]
        grouped = {id(layer) for group in groups for layer in group}
        groups += [[child] for child in children.values() if id(child) not in grouped]
        for layers in groups:
            group = _Group(layers)
            for place, layer in enumerate(layers):
                if id(layer) not in fused:
                    fused.add(id(layer))
                    layer.forward = _bound(group, place)
    return len(fused)


def _bound(group: _Group, place: int) -> Any:
    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return group.call(place, x)

    return forward
