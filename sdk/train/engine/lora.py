"""LoRA over frozen linear layers as one differentiable function for all layers that read the same input.

For a group of layers (query, key and value, or gate and up) with frozen weights W, adapters A, B and scales s, the
forward pass is y = x W' + x (s A)' B' (LoRA, arXiv 2106.09685). Against PEFT's layers it dequantizes each weight once
a pass, takes all A of a group in one product, adds in place, keeps x and x (s A)' only, and writes the gradient of x
into one tensor. Dropout, where there is some, is drawn once a group. Adapters stay PEFT's own parameters.

AdaLoRA (arXiv 2303.10512) is the same with E A in place of A, E a column of values by which ranks are cut. DoRA has a
function of its own (sdk/train/engine/dora.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from peft.tuners.adalora import AdaLoraLayer, SVDLinear, SVDLinear4bit, SVDLinear8bitLt
from peft.tuners.lora import Linear, Linear4bit, Linear8bitLt, LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant

from sdk.model.dense_weights import is_quantized
from sdk.model.layer_groups import LayerGroup, adapter_scale, layers_by_group
from sdk.train.engine.dora import RescaledProjections, Rescaling, scaled
from sdk.train.engine.fp8 import Fp8Linear, quantize_rows
from sdk.train.engine.products import dense_product, gradient_of_input, product, thin_product

_LORA = (Linear, Linear4bit, Linear8bitLt)
_ADALORA = (SVDLinear, SVDLinear4bit, SVDLinear8bitLt)


class _Group(LayerGroup):
    """Layers that read the same input, with their adapters."""

    def __init__(self, layers: Sequence[torch.nn.Module], gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.bases: list[Any] = []
        self.adapted: list[bool] = []
        self.downs: list[torch.Tensor] = []
        self.ups: list[torch.Tensor] = []
        self.scales: list[float] = []
        self.values: list[torch.Tensor] = []  # AdaLoRA's E, (r, 1)
        self.magnitudes: list[torch.Tensor] = []  # DoRA's m, (outputs,)
        self.norms: list[torch.Tensor] = []  # and n, and m / n
        self.factors: list[torch.Tensor] = []
        self.dropout: torch.nn.Module | None = None
        for layer in layers:
            self.adapted.append(isinstance(layer, LoraLayer))
            self.bases.append(layer.get_base_layer() if isinstance(layer, LoraLayer) else layer)
            if isinstance(layer, LoraLayer):
                (name,) = layer.active_adapters
                self.dropout = layer.lora_dropout[name]
                self.scales.append(adapter_scale(layer, name))
                if isinstance(layer, AdaLoraLayer):
                    self.downs.append(layer.lora_A[name])
                    self.ups.append(layer.lora_B[name])
                    self.values.append(layer.lora_E[name])
                    continue
                self.downs.append(layer.lora_A[name].weight)
                self.ups.append(layer.lora_B[name].weight)
                if name in layer.lora_variant:
                    self.magnitudes.append(layer.lora_magnitude_vector[name].weight)
        self.ranks = [len(down) for down in self.downs]
        self._copies: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            flat = x.reshape(-1, x.shape[-1])
            drops = self.dropout is not None and not isinstance(self.dropout, torch.nn.Identity)
            dropped = self.dropout(flat) if self.dropout is not None and drops else flat
            function: Any = RescaledProjections if self.magnitudes else _Projections
            parameters = (*self.downs, *self.ups, *self.values, *self.magnitudes)
            outputs = function.apply(flat, dropped, self, *parameters)
        return tuple(out.view(*x.shape[:-1], -1) for out in outputs)

    def matrices(self, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return all s A, of AdaLoRA s E A, one below the other (ranks, inputs), and each B, in this type."""
        if self._copies is not None and self._copies[0].dtype == dtype:
            return self._copies
        downs = [a * e for a, e in zip(self.downs, self.values, strict=True)] if self.values else self.downs
        down = torch.cat([matrix * scale for matrix, scale in zip(downs, self.scales, strict=True)])
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

    def gradients_of_downs(self, of_down: torch.Tensor) -> list[torch.Tensor]:
        """Return each A's gradient, then each E's, from that of what `matrices` gives; it is changed in place."""
        parts = list(torch.split(of_down, self.ranks))
        if len(set(self.scales)) == 1:  # one kernel
            of_down.mul_(self.scales[0])
        else:
            for part, scale in zip(parts, self.scales, strict=True):
                part.mul_(scale)
        if not self.values:
            return parts
        of_values = [(part * down).sum(dim=1, keepdim=True) for part, down in zip(parts, self.downs, strict=True)]
        for part, value in zip(parts, self.values, strict=True):
            part.mul_(value)
        return [*parts, *of_values]


class _Projections(torch.autograd.Function):
    """Inputs: x, x after dropout (the same tensor where there is none), the group, then every A, every B and every E.

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
            reduced = thin_product(dropped, down.t())
            added = zip(torch.split(reduced, group.ranks, dim=1), ups, strict=True)
        # All layers of a group are of one kind; in 8-bit floats their common input is quantized once.
        rows = quantize_rows(x) if isinstance(group.bases[0], Fp8Linear) else None
        outputs = []
        for base, adapted in zip(group.bases, group.adapted, strict=True):
            small = next(added) if adapted else None
            if rows is not None:
                out = base.project(rows, x.dtype)
                outputs.append(out if small is None else out.addmm_(small[0], small[1].t()))
                continue
            # The small product first: it only writes, and the large one reads that while it multiplies.
            onto = None
            if small is not None:
                part, up = small
                onto = part @ up.t() if base.bias is None else torch.addmm(base.bias.to(x.dtype), part, up.t())
            outputs.append(dense_product(base, x, onto))
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
            of_reduced = torch.cat(
                [thin_product(gradient, up) for gradient, up in zip(adapted, ups, strict=True)], dim=1
            )
            of_downs = group.gradients_of_downs(product(of_reduced.t(), dropped))
            of_ups = [
                product(gradient.t(), part)
                for gradient, part in zip(adapted, torch.split(reduced, group.ranks, dim=1), strict=True)
            ]
        # Without dropout the adapters' part is what the layers' is added to; with it, it belongs to the other input.
        if ctx.needs_input_grad[0]:
            onto = of_reduced @ down if reduced is not None and ctx.same else None
            of_x = gradient_of_input(group.bases, gradients, onto)
        if reduced is not None and not ctx.same and ctx.needs_input_grad[1]:
            of_dropped = of_reduced @ down
        count = len(of_ups)
        return of_x, of_dropped, None, *of_downs[:count], *of_ups, *of_downs[count:]


def fuse_lora(model: torch.nn.Module) -> tuple[int, Callable[[], None]]:
    """Let every LoRA, DoRA and AdaLoRA layer, and every quantized one without an adapter, compute as one of a group.

    Returns how many layers that were, and what to call before each forward pass: it brings what is derived from the
    adapters up to date, all at once: copies in the type of the products, DoRA's norms. PEFT's other variants keep their
    own forward pass. Parameters and their names stay as they are.
    """
    layers_of = layers_by_group(model, _fusible, _of_one_kind)
    groups = [_Group(layers, gated) for layers, gated in layers_of]
    for group, (layers, _) in zip(groups, layers_of, strict=True):
        for place, layer in enumerate(layers):
            layer.forward = group.forward_of(place)
    dtype = product_type(model)
    # The copies of all A and of all B, and what they are copies of.
    down_copies: list[torch.Tensor] = []
    up_copies: list[torch.Tensor] = []
    held = [group for group in groups if group.downs and group.downs[0].is_cuda and dtype != group.downs[0].dtype]
    for group in held:
        copies = group.hold(dtype)
        down_copies += copies[: len(group.downs)]
        up_copies += copies[len(group.downs) :]
    downs = [down for group in held for down in group.downs]
    ups = [up for group in held for up in group.ups]
    values = [value for group in held for value in group.values]
    scales = [scale for group in held for scale in group.scales]
    rescaling = _rescaling([(group, layers) for group, (layers, _) in zip(groups, layers_of, strict=True)], dtype)

    @torch.no_grad()
    def refresh() -> None:
        if held:
            current = torch._foreach_mul(downs, values) if values else downs
            torch._foreach_copy_([*down_copies, *up_copies], [*current, *ups])
            torch._foreach_mul_(down_copies, scales)
        if rescaling is not None:
            rescaling.refresh()

    return sum(len(group.bases) for group in groups), refresh


def _rescaling(groups: Sequence[tuple[_Group, Sequence[torch.nn.Module]]], dtype: torch.dtype) -> Rescaling | None:
    """Give the groups of DoRA layers their norms and factors, and return what keeps them up to date."""
    found = [
        (group, scaled(layer))
        for group, layers in groups
        if group.magnitudes
        for layer in layers
        if isinstance(layer, LoraLayer)
    ]
    if not found:
        return None
    rescaling = Rescaling([layer for _, layer in found], dtype)
    for (group, _), norm, factor in zip(found, rescaling.norms, rescaling.factors, strict=True):
        group.norms.append(norm)
        group.factors.append(factor)
    return rescaling


def product_type(model: torch.nn.Module) -> torch.dtype:
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    dtype: torch.dtype = embedding.weight.dtype
    return dtype


def _of_one_kind(layers: Sequence[torch.nn.Module]) -> bool:
    return len({_is_fp8(layer) for layer in layers}) == 1


def _is_fp8(layer: torch.nn.Module) -> bool:
    return isinstance(layer.get_base_layer() if isinstance(layer, LoraLayer) else layer, Fp8Linear)


def _fusible(layer: torch.nn.Module) -> bool:
    """Tell whether this has one adapter of a kind that is computed here, or is quantized and has none."""
    if not isinstance(layer, LoraLayer):
        return is_quantized(layer) or isinstance(layer, Fp8Linear)
    if type(layer) not in (*_LORA, *_ADALORA) or len(layer.active_adapters) != 1 or layer.merged:
        return False
    name = layer.active_adapters[0]
    variant = layer.lora_variant.get(name)
    linear = isinstance(layer.get_base_layer(), torch.nn.Linear) and not getattr(layer, "fan_in_fan_out", False)
    return linear and isinstance(variant, DoraLinearVariant | None) and not layer.lora_bias.get(name)
