"""Products with the frozen weights of linear layers, and those that adapters' gradients are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sdk.model.dense_weights import dense
from sdk.train.engine.fp8 import Fp8Linear


def dense_product(base: Any, x: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
    """Multiply; onto what is given, which is then the result, its bias included."""
    weight = dense(base, x.dtype)
    if onto is not None:
        return onto.addmm_(x, weight.t())
    return x @ weight.t() if base.bias is None else torch.addmm(base.bias.to(x.dtype), x, weight.t())


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply to float32, as the adapters are; on a GPU without rounding to the factors' type on the way."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return thin_product(left, right).contiguous().float()


def thin_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply. A CPU does few rows by many columns up to eight times as fast as many rows by few columns."""
    if not left.is_cuda and len(left) > right.shape[1]:
        return (right.t() @ left.t()).t()
    return left @ right


def gradient_of_input(
    bases: Sequence[Any], gradients: Sequence[torch.Tensor], total: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum over layers; total: what they are added to."""
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
