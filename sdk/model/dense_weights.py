"""Frozen weights of linear layers as they are stored, and as matrices to multiply with.

bitsandbytes' own 8-bit product keeps its input where checkpointing cannot reach it, and rounds it to 8 bits besides.
Here 8-bit weights are used as 4-bit ones are: stored small, multiplied in the type of the input.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt

INT8_LEVELS = 127


def is_quantized(layer: torch.nn.Module) -> bool:
    return isinstance(layer, Linear4bit | Linear8bitLt)


def is_packed(layer: torch.nn.Module) -> bool:
    """Tell whether bitsandbytes has put 4-bit weights into an order of its own, for the CPU's bfloat16 instructions.

    It does so in its first forward pass, and rounds their scales; `dense` cannot read them any more.
    """
    return isinstance(layer, Linear4bit) and getattr(layer.weight.quant_state, "packing_format_for_cpu", False)


def keep_unpacked(model: torch.nn.Module) -> None:
    """Have bitsandbytes leave the order of 4-bit weights as it is: PEFT reads them for DoRA's norms, and reads amiss.

    On a CPU with bfloat16 instructions, where every answer of such an adapter would be wrong.
    """
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def dense(layer: torch.nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """Return the layer's weights, (outputs, inputs), in this type; a new tensor where they are quantized."""
    weight: Any = layer.weight
    if isinstance(layer, Linear4bit):
        matrix: torch.Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return matrix.to(dtype)
    if isinstance(layer, Linear8bitLt):
        scales = weight.SCB if weight.SCB is not None else layer.state.SCB
        out = torch.empty(weight.shape, dtype=dtype, device=weight.device)
        # One kernel: products in float32, rounded once.
        return torch.mul(weight.data, (scales / INT8_LEVELS)[:, None], out=out)
    plain: torch.Tensor = weight.to(dtype)
    return plain
