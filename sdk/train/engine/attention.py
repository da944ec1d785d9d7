"""Attention over rows that lie one behind the other without padding, none of which sees another.

Flash attention's kernel for sequences of different lengths [Dao, arXiv 2307.08691] as torch ships it, with grouped
queries as they are; where it cannot be had (CPU, float32, GPUs before Ampere, head over 256, capped scores), torch's
own attention row by row, which computes the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from sdk.hardware.kernels import FLASH_CAPABILITY, FLASH_HEAD_SIZE

NAME = "sdk_rows"
_FLASH_TYPES = (torch.bfloat16, torch.float16)


def use_row_attention(model: PreTrainedModel) -> bool:
    """Switch the model to it; False, and nothing is changed, where its layers do not go through AttentionInterface
    or do more in it than this does.

    The forward pass then needs cu_seq_lens_q (int32, rows + 1: where each row begins, and the end) and max_length_q.
    """
    sinks = any(hasattr(module, "sinks") for module in model.modules())  # gpt-oss: a learned score beside the tokens'
    if sinks or not getattr(model, "_supports_attention_backend", False):
        return False
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    model.set_attn_implementation(NAME)
    return True


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Make no mask: which token sees which follows from where the rows begin."""


def _attention(  # noqa: PLR0913 - transformers calls it so
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within rows. query (1, heads, tokens, size), key and value (1, key heads, tokens, size).

    Returns (1, tokens, heads, size). The parameters are those that transformers gives to an attention function.
    """
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    flash = query.dtype in _FLASH_TYPES and query.shape[-1] <= FLASH_HEAD_SIZE and _has_flash(query.device)
    if flash and softcap is None and not dropout and value.shape[-1] == query.shape[-1]:
        # squeeze, because indexing with 0 copies; the operator itself, because torch's wrapper of it takes no groups.
        q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
        out = torch.ops.aten._flash_attention_forward(
            q,
            k,
            v,
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            0.0,  # dropout
            True,  # causal
            False,  # no debug mask
            scale=scaling,
            window_size_left=None if window is None else window - 1,
            window_size_right=None if window is None else 0,
        )[0]
        return out.unsqueeze(0), None
    # Not slices: the backward pass of each would write the gradient of all rows.
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    rows = [_one_row(q, k, v, scaling, dropout, window, softcap) for q, k, v in parts]
    return torch.cat(rows, dim=2).transpose(1, 2), None


@cache
def _has_flash(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def _one_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    grouped = query.shape[1] != key.shape[1]
    tokens = query.shape[2]
    if softcap is None and (window is None or window >= tokens):
        return scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    place = torch.arange(tokens, device=query.device)
    gap = place[:, None] - place
    seen = (gap >= 0) if window is None else (gap >= 0) & (gap < window)
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=dropout, scale=scaling, enable_gqa=grouped
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = (torch.tanh(scores / softcap) * softcap).masked_fill(~seen, -torch.inf)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.nn.functional.dropout(weights, dropout) @ value
