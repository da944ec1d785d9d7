"""LoRA over frozen linear layers as one differentiable function for all layers that read the same input.

For a group of layers (query, key and value, or gate and up) with frozen weights W, adapters A, B and scales s, the
forward pass is y = x W' + x (s A)' B' (LoRA, arXiv 2106.09685). Against PEFT's layers it dequantizes each weight once
a pass, takes all A of a group in one product, adds in place, keeps x and x (s A)' only, and writes the gradient of x
into one tensor. Dropout, where there is some, is drawn once a group. Adapters stay PEFT's own parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear, Linear4bit, Linear8bitLt, LoraLayer

from sdk.train.engine.fp8 import Fp8Linear, quantize_rows
from sdk.train.engine.weights import dense, is_quantized

# Layers that read the same input, by their usual names; a lone layer is a group of its own.
_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class _Group:
    """Layers that are called with the same input one after the other: the first call computes all of them.

    The outputs wait in `_ready` by the layer's place. The input is held until the last of them is taken, so that the
    identity of the tensor is enough to tell whether a call belongs to the same pass.
    """

    def __init__(self, layers: Sequence[torch.nn.Module]) -> None:
        self._input: torch.Tensor | None = None
        self._ready: dict[int, torch.Tensor] = {}
        self.bases: list[Any] = []
        self.adapted: list[bool] = []
        self.downs: list[torch.Tensor] = []
        self.ups: list[torch.Tensor] = []
        self.scales: list[float] = []
        self.dropout: torch.nn.Module | None = None
        for layer in layers:
            self.adapted.append(isinstance(layer, LoraLayer))
            self.bases.append(layer.get_base_layer() if isinstance(layer, LoraLayer) else layer)
            if isinstance(layer, LoraLayer):
                (name,) = layer.active_adapters
                self.downs.append(layer.lora_A[name].weight)
                self.ups.append(layer.lora_B[name].weight)
                self.scales.append(float(layer.scaling[name]))
                self.dropout = layer.lora_dropout[name]
        self.ranks = [len(down) for down in self.downs]
        self._copies: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def call(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the layer at this place for x."""
        if x is not self._input or place not in self._ready:
            self._ready = dict(enumerate(self._project(x)))
            self._input = x
        out = self._ready.pop(place)
        if not self._ready:
            self._input = None
        return out

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            flat = x.reshape(-1, x.shape[-1])
            drops = self.dropout is not None and not isinstance(self.dropout, torch.nn.Identity)
            dropped = self.dropout(flat) if self.dropout is not None and drops else flat
            outputs = _Projections.apply(flat, dropped, self, *self.downs, *self.ups)  # type: ignore[no-untyped-call]
        return tuple(out.view(*x.shape[:-1], -1) for out in outputs)

    def matrices(self, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return all s A, one below the other (ranks, inputs), and each B, in this type."""
        if self._copies is not None and self._copies[0].dtype == dtype:
            return self._copies
        down = torch.cat([matrix * scale for matrix, scale in zip(self.downs, self.scales, strict=True)])
        return down.to(dtype), [matrix.to(dtype) for matrix in self.ups]

    def hold(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Keep copies of the adapters in this type, and return each A's part of them, then each B's.

        The copies of A are one tensor, and their parts are views of it: what fills the parts fills what `matrices`
        gives to the product.
        """
        down = torch.empty(sum(self.ranks), self.downs[0].shape[1], dtype=dtype, device=self.downs[0].device)
        ups = [torch.empty_like(up, dtype=dtype) for up in self.ups]
        self._copies = (down, ups)
        return [*down.split(self.ranks), *ups]  # type: ignore[no-untyped-call]


class _Projections(torch.autograd.Function):
    """Inputs: x, x after dropout (the same tensor where there is none), the group, then every A and every B.

    x: (tokens, inputs); A: (r, inputs); B: (outputs, r); one output (tokens, outputs) for each layer.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, dropped: torch.Tensor, group: _Group, *matrices: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        reduced = None
        added: Iterator[tuple[torch.Tensor, torch.Tensor]] = iter(())
        if matrices:
            down, ups = group.matrices(x.dtype)
            reduced = _matmul(dropped, down.t())
            added = zip(torch.split(reduced, group.ranks, dim=1), ups, strict=True)
        # All layers of a group are of one kind; in 8-bit floats their common input is quantized once.
        rows = quantize_rows(x) if isinstance(group.bases[0], Fp8Linear) else None
        outputs = []
        for base, adapted in zip(group.bases, group.adapted, strict=True):
            out = base.project(rows, x.dtype) if rows is not None else _dense_product(base, x)
            if adapted:
                part, up = next(added)
                out.addmm_(part, up.t())
            outputs.append(out)
        ctx.group, ctx.same = group, dropped is x
        # The frozen weights' own gradient is not needed, so x itself is kept only as the input of A.
        ctx.save_for_backward(dropped if matrices else None, reduced)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        group: _Group = ctx.group
        dropped, reduced = ctx.saved_tensors
        of_x = of_dropped = None
        of_downs: list[torch.Tensor] = []
        of_ups: list[torch.Tensor] = []
        if reduced is not None:
            down, ups = group.matrices(reduced.dtype)
            # With y = x W' + r B' and r = x (s A)': dr = dy B, dB = dy' r, d(s A) = dr' x, dx = dy W + dr (s A).
            adapted = [gradient for gradient, has in zip(gradients, group.adapted, strict=True) if has]
            of_reduced = torch.cat([_matmul(gradient, up) for gradient, up in zip(adapted, ups, strict=True)], dim=1)
            of_downs = _scaled(_product(of_reduced.t(), dropped), group)
            of_ups = [
                _product(gradient.t(), part)
                for gradient, part in zip(adapted, torch.split(reduced, group.ranks, dim=1), strict=True)
            ]
        if ctx.needs_input_grad[0]:
            of_x = _gradient_of_input(group.bases, gradients)
        # Without dropout the adapters' part is added in place; with it, it belongs to the other input.
        if reduced is not None and ctx.same and of_x is not None:
            of_x.addmm_(of_reduced, down)
        elif reduced is not None and not ctx.same and ctx.needs_input_grad[1]:
            of_dropped = of_reduced @ down
        return of_x, of_dropped, None, *of_downs, *of_ups


def _dense_product(base: Any, x: torch.Tensor) -> torch.Tensor:
    weight = dense(base, x.dtype)
    return x @ weight.t() if base.bias is None else torch.addmm(base.bias.to(x.dtype), x, weight.t())


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply to float32, as the adapters are; on a GPU without rounding to the factors' type on the way."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return _matmul(left, right).contiguous().float()


def _matmul(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply. A CPU does few rows by many columns up to eight times as fast as many rows by few columns."""
    if not left.is_cuda and len(left) > right.shape[1]:
        return (right.t() @ left.t()).t()
    return left @ right


def _scaled(of_down: torch.Tensor, group: _Group) -> list[torch.Tensor]:
    """Return each A's gradient from that of all s A, scaled in place; one kernel where all scales are equal."""
    parts = list(torch.split(of_down, group.ranks))
    if len(set(group.scales)) == 1:
        of_down.mul_(group.scales[0])
    else:
        for part, scale in zip(parts, group.scales, strict=True):
            part.mul_(scale)
    return parts


def _gradient_of_input(bases: Sequence[Any], gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    total: torch.Tensor | None = None
    for gradient, base in zip(gradients, bases, strict=True):
        if isinstance(base, Fp8Linear):
            part = base.project_back(gradient)
            total = part if total is None else total.add_(part)
        else:
            weight = dense(base, gradient.dtype)
            total = gradient @ weight if total is None else total.addmm_(gradient, weight)
            del weight
    assert total is not None
    return total


def fuse_lora(model: torch.nn.Module) -> tuple[int, Callable[[], None]]:
    """Let every plain LoRA layer, and every quantized one without an adapter, compute through _Projections.

    Returns how many layers that were, and what to call before each forward pass: it brings the copies of the adapters
    in the type of the products up to date, all at once. Variants (DoRA and others) keep PEFT's own forward pass.
    Parameters and their names stay as they are.
    """
    layers_of = _layers_by_group(model)
    groups = [_Group(layers) for layers in layers_of]
    for group, layers in zip(groups, layers_of, strict=True):
        for place, layer in enumerate(layers):
            layer.forward = _bound(group, place)
    # Copy n of original n; scaled: the copies among them that are of an A, with the scale of each.
    held: list[torch.Tensor] = []
    originals: list[torch.Tensor] = []
    scaled: list[torch.Tensor] = []
    scales: list[float] = []
    dtype = _product_type(model)
    for group in groups:
        if group.downs and group.downs[0].is_cuda and dtype != group.downs[0].dtype:
            copies = group.hold(dtype)
            held += copies
            originals += [*group.downs, *group.ups]
            scaled += copies[: len(group.downs)]
            scales += group.scales

    @torch.no_grad()
    def refresh() -> None:
        if held:
            torch._foreach_copy_(held, originals)
            torch._foreach_mul_(scaled, scales)

    return sum(len(group.bases) for group in groups), refresh


def _product_type(model: torch.nn.Module) -> torch.dtype:
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    dtype: torch.dtype = embedding.weight.dtype
    return dtype


def _layers_by_group(model: torch.nn.Module) -> list[list[torch.nn.Module]]:
    """Find the layers to be fused, by group."""
    # A LoRA layer holds the layer that it adapts, which must not be fused a second time by itself.
    inside = {id(layer.get_base_layer()) for layer in model.modules() if isinstance(layer, LoraLayer)}
    layers: list[list[torch.nn.Module]] = []
    for parent in model.modules():
        if isinstance(parent, LoraLayer):
            continue
        children = {
            name: child for name, child in parent.named_children() if _fusible(child) and id(child) not in inside
        }
        groups = [[children[name] for name in names] for names in _GROUPS if all(name in children for name in names)]
        grouped = {id(layer) for group in groups for layer in group}
        layers += [*groups, *([child] for child in children.values() if id(child) not in grouped)]
    return layers


def _fusible(layer: torch.nn.Module) -> bool:
    """Tell whether this is a plain LoRA layer with one adapter, or a quantized layer without any."""
    if not isinstance(layer, LoraLayer):
        return is_quantized(layer) or isinstance(layer, Fp8Linear)
    if type(layer) not in (Linear, Linear4bit, Linear8bitLt) or len(layer.active_adapters) != 1 or layer.merged:
        return False
    name = layer.active_adapters[0]
    linear = isinstance(layer.get_base_layer(), torch.nn.Linear) and not layer.fan_in_fan_out
    return linear and name not in layer.lora_variant and not layer.lora_bias[name]


def _bound(group: _Group, place: int) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return group.call(place, x)

    return forward
