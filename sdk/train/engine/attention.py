"""Attention over rows that lie one behind the other without padding, none of which sees another.

Flash attention's kernel for sequences of different lengths [Dao, arXiv 2307.08691] as torch ships it, with grouped
queries as they are; for capped scores and sinks, which it has not, our own (sdk/train/engine/row_kernels.py). Where
neither can be had (CPU, float32, GPUs before Ampere, head over 256), torch's own attention row by row, which computes
the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from sdk.hardware.kernels import FLASH_CAPABILITY, FLASH_HEAD_SIZE
from sdk.train.engine.row_kernels import Attended, RowAttention, works

NAME = "sdk_rows"
_FLASH_TYPES = (torch.bfloat16, torch.float16)


def use_row_attention(model: PreTrainedModel) -> bool:
    """Switch the model to it; False, and nothing is changed, where its layers do not go through AttentionInterface
    or do more in it than this does.

    The forward pass then needs cu_seq_lens_q (int32, rows + 1: where each row begins, and the end) and max_length_q.
    """
    # gpt-oss: a learned score beside the tokens'. Where no other kernel serves, a model does more than that.
    sinks = any(hasattr(module, "sinks") for module in model.modules())
    other = sinks and not getattr(model, "_supports_flex_attn", False)
    if other or not getattr(model, "_supports_attention_backend", False):
        return False
    # Without a mask function of this name transformers makes no mask, and does not wait for the GPU to tell how many
    # rows there are: which token sees which follows from where they begin.
    AttentionInterface.register(NAME, _attention)
    model.set_attn_implementation(NAME)
    return True


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
    s_aux: torch.Tensor | None = None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within rows. query (1, heads, tokens, size), key and value (1, key heads, tokens, size).

    Returns (1, tokens, heads, size). The parameters are those that transformers gives to an attention function.
    """
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    size, of_value = query.shape[-1], value.shape[-1]
    flash = query.dtype in _FLASH_TYPES and size <= FLASH_HEAD_SIZE and not dropout and _has_flash(query.device)
    plain = softcap is None and s_aux is None
    # squeeze, because indexing with 0 copies
    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    if flash and plain and size == of_value:
        # The operator itself, because torch's wrapper of it takes no groups.
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
    scale = size**-0.5 if scaling is None else scaling
    if flash and not plain and works(query.dtype, (size, of_value), softcap is not None, s_aux is not None, q.device):
        given = Attended(cu_seq_lens_q, max_length_q, scale, window or 0, softcap or 0.0, s_aux)
        return RowAttention.apply(q, k, v, given).unsqueeze(0), None  # type: ignore[no-untyped-call]
    # Not slices: the backward pass of each would write the gradient of all rows.
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    rows = [_one_row(q, k, v, scale, dropout, window, (softcap, s_aux)) for q, k, v in parts]
    return torch.cat(rows, dim=2).transpose(1, 2), None


@cache
def _has_flash(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def _one_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    dropout: float,
    window: int | None,
    scores_are: tuple[float | None, torch.Tensor | None],
) -> torch.Tensor:
    """Attend within one row. scores_are: capped to, and beside these sinks."""
    grouped = query.shape[1] != key.shape[1]
    tokens = query.shape[2]
    softcap, sinks = scores_are
    plain = softcap is None and sinks is None
    if plain and (window is None or window >= tokens):
        return scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scale, enable_gqa=grouped
        )
    place = torch.arange(tokens, device=query.device)
    gap = place[:, None] - place
    seen = (gap >= 0) if window is None else (gap >= 0) & (gap < window)
    if plain:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=dropout, scale=scale, enable_gqa=grouped
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~seen, -torch.inf)
    if sinks is not None:
        beside = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, beside], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)[..., :tokens]
    return torch.nn.functional.dropout(weights, dropout) @ value
