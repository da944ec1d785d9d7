"""DoRA over frozen linear layers: y = (m / n) (W + s B A) x, n the norm of each row of W + s B A (arXiv 2402.09353).

As in PEFT, n is taken for a constant in the backward pass. It needs no copy of W:

    n^2 = ||W||^2 + rowsum((2 W (s A)' + B (s A) (s A)') * B)

with ||W||^2 of each row taken once, and W (s A)' a product with as many columns as the rank. All layers of one shape go
together, once before each forward pass. The gradient of m needs the output before it is scaled. It is kept, except
where a gate and what it gates are the outputs, which are the widest: those are kept by the activation anyway, and are
m / n times as large. With dropout they are not, and that output is computed once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer

from sdk.model.dense_weights import dense
from sdk.train.engine.products import dense_product, product, thin_product


class Scaled(NamedTuple):
    """A frozen layer with its adapter: down (r, inputs), up (outputs, r), magnitude (outputs,)."""

    base: Any
    down: torch.Tensor
    up: torch.Tensor
    scale: float
    magnitude: torch.Tensor


class Rescaling:
    """The norms n and factors m / n of some layers, (outputs,) in float32; `refresh` brings them up to date in place.

    dtype: of the products, so that n is the norm of the very matrix that is multiplied with.
    """

    def __init__(self, layers: Sequence[Scaled], dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._alike: list[tuple[list[Scaled], torch.Tensor, torch.Tensor, torch.Tensor]] = []
        places: dict[tuple[torch.Size, torch.Size], list[int]] = {}
        for place, layer in enumerate(layers):
            places.setdefault((layer.down.shape, layer.up.shape), []).append(place)
        norms: dict[int, torch.Tensor] = {}
        factors: dict[int, torch.Tensor] = {}
        for some in places.values():
            alike = [layers[place] for place in some]
            squares, norm, factor = torch.empty(
                3, len(alike), len(alike[0].up), dtype=torch.float32, device=alike[0].up.device
            )
            for square, layer in zip(squares, alike, strict=True):
                weight = dense(layer.base, dtype)
                square.copy_(torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32)).square_()
            self._alike.append((alike, squares, norm, factor))
            norms |= zip(some, norm, strict=True)
            factors |= zip(some, factor, strict=True)
        self.norms = [norms[place] for place in range(len(layers))]
        self.factors = [factors[place] for place in range(len(layers))]

    @torch.no_grad()
    def refresh(self) -> None:
        for alike, squares, norms, factors in self._alike:
            scales = [layer.scale for layer in alike]
            downs = torch.stack(torch._foreach_mul([layer.down for layer in alike], scales)).to(self._dtype)
            ups = torch.stack([layer.up for layer in alike]).to(self._dtype).float()
            crossed = torch.stack(
                [product(dense(layer.base, self._dtype), down.t()) for layer, down in zip(alike, downs, strict=True)]
            )
            grams = downs.float() @ downs.float().mT
            added = torch.baddbmm(crossed, ups, grams, beta=2).mul_(ups).sum(dim=2)
            # What a product rounds may leave a little less than nothing of a row that the adapter takes away.
            norms.copy_(added.add_(squares).clamp_(min=0).sqrt_())
            torch.div(torch.stack([layer.magnitude for layer in alike]), norms, out=factors)


def scaled(layer: LoraLayer) -> Scaled:
    (name,) = layer.active_adapters
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    magnitude = layer.lora_magnitude_vector[name].weight
    return Scaled(layer.get_base_layer(), down, up, float(layer.scaling[name]), magnitude)


@torch.no_grad()
def start_from_norms(layers: Iterable[LoraLayer], dtype: torch.dtype) -> None:
    """Set the magnitudes to the norms, so that training begins where the weights with the adapter are.

    PEFT takes them in the base's type, and before LoftQ has set the adapter.
    """
    found = [scaled(layer) for layer in layers]
    rescaling = Rescaling(found, dtype)
    rescaling.refresh()
    for layer, norm in zip(found, rescaling.norms, strict=True):
        layer.magnitude.copy_(norm)


class RescaledProjections(torch.autograd.Function):
    """Inputs: x, x after dropout (the same tensor where there is none), the group, then every A, every B, every m.

    As in PEFT, dropout acts on the frozen product as well as far as the factor is not 1: with x~ for x after dropout,
    y = W x + (m / n) (W + s B A) x~ - W x~, which takes two products with W.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, dropped: torch.Tensor, group: Any, *parameters: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        down, ups = group.matrices(x.dtype)
        reduced = thin_product(dropped, down.t())
        without = None if dropped is x else x - dropped
        added = zip(torch.split(reduced, group.ranks, dim=1), ups, group.factors, strict=True)
        outputs: list[torch.Tensor] = []
        kept: list[torch.Tensor | None] = []
        for base, adapted in zip(group.bases, group.adapted, strict=True):
            if not adapted:
                outputs.append(dense_product(base, x))
                continue
            part, up, factor = next(added)
            weight = dense(base, x.dtype)
            out = dropped @ weight.t()
            out.addmm_(part, up.t())
            if not group.gated:
                kept.append(out)
                out = _times(out, factor)
            else:
                out.mul_(factor)
                kept.append(out if without is None else None)
            if without is not None:
                out.addmm_(without, weight.t())
            if base.bias is not None:
                out.add_(base.bias)
            outputs.append(out)
        ctx.group, ctx.same = group, without is None
        ctx.save_for_backward(dropped, reduced, *kept)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        group = ctx.group
        dropped, reduced, *kept = ctx.saved_tensors
        down, ups = group.matrices(reduced.dtype)
        needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        # Gradients of the input by way of frozen layers, of x - x~, and of x~.
        of_frozen: torch.Tensor | None = None
        of_without: torch.Tensor | None = None
        of_dropped: torch.Tensor | None = None
        of_reduced, of_ups, of_magnitudes = [], [], []
        adapters = zip(
            kept, ups, reduced.split(group.ranks, dim=1), group.factors, group.norms, group.magnitudes, strict=True
        )
        for gradient, base, adapted in zip(gradients, group.bases, group.adapted, strict=True):
            weight = dense(base, gradient.dtype)
            if not adapted:
                of_frozen = _add_product(of_frozen, gradient, weight) if needed else None
                continue
            output, up, part, factor, norm, magnitude = next(adapters)
            if output is None:
                output = (dropped @ weight.t()).addmm_(part, up.t())
            of_factor = torch.sum(gradient * output, dim=0, dtype=torch.float32)
            if group.gated and ctx.same:  # the factor and the bias are in what is kept
                if base.bias is not None:
                    of_factor -= gradient.sum(dim=0, dtype=torch.float32) * base.bias
                of_magnitudes.append(of_factor.div_(magnitude))
            else:
                of_magnitudes.append(of_factor.div_(norm))
            if not ctx.same:
                of_without = _add_product(of_without, gradient, weight) if needed else None
            rescaled = _times(gradient, factor)
            of_reduced.append(thin_product(rescaled, up))
            of_ups.append(product(rescaled.t(), part))
            of_dropped = _add_product(of_dropped, rescaled, weight) if needed else None
        of_down = torch.cat(of_reduced, dim=1)
        of_downs = group.gradients_of_downs(product(of_down.t(), dropped))
        if of_dropped is not None:
            of_dropped.addmm_(of_down, down)
            if of_without is not None:
                of_dropped.sub_(of_without)
        of_x = of_dropped if ctx.same else of_without
        if of_x is not None and of_frozen is not None:
            of_x.add_(of_frozen)
        return of_x, None if ctx.same else of_dropped, None, *of_downs, *of_ups, *of_magnitudes


def _times(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Multiply x (tokens, outputs) by a factor for each output, float32, rounded once."""
    return torch.mul(x, factor, out=torch.empty_like(x))


def _add_product(total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right if total is None else total.addmm_(left, right)
