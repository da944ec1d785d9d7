"""Frozen linear layers in 8-bit floating point (e4m3), multiplied as such by GPUs that can (Hopper, Ada, Blackwell).

Weights have a scale for each output, activations and gradients one for each token [Micikevicius et al., arXiv
2209.05433 for the format]. The gradient of the input needs the weights' scales before its sum, so they are put into the
gradient first. Only the frozen base is rounded; adapters are multiplied in 16 bits.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from sdk.errors import InvalidInput

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max
_TINY = 1e-12


class ScaledRows(NamedTuple):
    """values * scales: values (tokens, size) in FORMAT, scales (tokens, 1) float32."""

    values: torch.Tensor
    scales: torch.Tensor


if importlib.util.find_spec("triton"):
    import triton
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _quantize_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913 - a kernel has no structures
        x, factors, values, scales, columns, largest, tiny, HAS_FACTORS: tl.constexpr, BLOCK: tl.constexpr
    ):
        row = tl.program_id(0).to(tl.int64)  # one program a row; 64 bits, since rows x columns exceeds 2**31
        offsets = tl.arange(0, BLOCK)
        inside = offsets < columns
        numbers = tl.load(x + row * columns + offsets, mask=inside, other=0).to(tl.float32)
        if HAS_FACTORS:
            numbers *= tl.load(factors + offsets, mask=inside, other=0)
        scale = tl.maximum(tl.max(tl.abs(numbers), axis=0), tiny) / largest
        tl.store(values + row * columns + offsets, (numbers / scale).to(tl.float8e4nv), mask=inside)
        tl.store(scales + row, scale)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _transpose_kernel(  # type: ignore[no-untyped-def]
        x, out, rows, columns, BLOCK: tl.constexpr
    ):
        row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = (row[:, None] < rows) & (column < columns)
        tile = tl.load(x + row[:, None].to(tl.int64) * columns + column, mask=inside)
        tl.store(out + column[:, None].to(tl.int64) * rows + row, tl.trans(tile), mask=tl.trans(inside))


def _transposed(x: torch.Tensor) -> torch.Tensor:
    """Return a matrix of bytes transposed, contiguous; torch's copy takes three times as long."""
    if not x.is_cuda:
        return x.t().contiguous()
    rows, columns = x.shape
    out = x.new_empty(columns, rows)
    _transpose_kernel[(triton.cdiv(rows, 128), triton.cdiv(columns, 128))](x, out, rows, columns, 128, num_warps=8)
    return out


def quantize_rows(x: torch.Tensor, factors: torch.Tensor | None = None) -> ScaledRows:
    """Quantize x (tokens, size), times factors (size,) where given, with a scale for each token."""
    if x.is_cuda:
        x = x.contiguous()
        values = torch.empty(x.shape, dtype=FORMAT, device=x.device)
        scales = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
        columns = x.shape[1]
        block = triton.next_power_of_2(columns)
        _quantize_kernel[(len(x),)](
            x,
            factors,
            values,
            scales,
            columns,
            LARGEST,
            _TINY,
            factors is not None,
            block,
            num_warps=min(16, block // 512 or 1),
        )
        return ScaledRows(values, scales)
    numbers = x.float() if factors is None else x.float() * factors
    scales = numbers.abs().amax(dim=1, keepdim=True).clamp(min=_TINY) / LARGEST
    return ScaledRows((numbers / scales).to(FORMAT), scales)


def _product(rows: ScaledRows, matrix: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Multiply rows (tokens, k) by a column-major matrix (k, n), whose columns have these scales (1, n)."""
    if rows.values.is_cuda:
        return torch._scaled_mm(rows.values, matrix, rows.scales, scales, out_dtype=dtype, use_fast_accum=True)
    return ((rows.values.float() * rows.scales) @ (matrix.float() * scales)).to(dtype)


class Fp8Linear(torch.nn.Linear):
    """Weights as uint8 (outputs, inputs), to be read as FORMAT, so that nothing takes them for a float to cast."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        values, scales = quantize_rows(linear.weight.data)
        self.weight = torch.nn.Parameter(values.view(torch.uint8), requires_grad=False)
        self.scales = torch.nn.Buffer(scales.reshape(1, -1))
        self.unit = torch.nn.Buffer(scales.new_ones(1, linear.in_features), persistent=False)
        self.bias = linear.bias

    def project(self, rows: ScaledRows, dtype: torch.dtype) -> torch.Tensor:
        out = _product(rows, self.weight.view(FORMAT).t(), self.scales, dtype)
        return out if self.bias is None else out.add_(self.bias.to(dtype))

    def project_back(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the input from that of the output."""
        # A product can be scaled by row and by column, not along its sum, where the weights' scales stand here.
        rows = quantize_rows(gradient, self.scales.reshape(-1))
        transposed = _transposed(self.weight).view(FORMAT)
        return _product(rows, transposed.t(), self.unit, gradient.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project without gradients; training goes through the fused function."""
        flat = x.reshape(-1, x.shape[-1])
        return self.project(quantize_rows(flat), x.dtype).view(*x.shape[:-1], -1)


def to_fp8(model: torch.nn.Module, kept: Collection[str] = ()) -> None:
    """Replace every linear layer but the head and those with these names.

    Raises InvalidInput on a GPU without such products: compute capability below 8.9.
    """
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
        raise InvalidInput(
            f"{torch.cuda.get_device_name()} cannot multiply 8-bit floats; use lora, or qlora-4bit for less memory."
        )
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            whole = f"{path}.{name}" if path else name
            if type(child) is torch.nn.Linear and child is not head and whole not in kept:
                setattr(parent, name, Fp8Linear(child))
