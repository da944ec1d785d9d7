"""Keys and values of rows that are continued token by token, and attention over them.

Each row has a stretch of its own, filled from its beginning: no padding stands before or between tokens, so a row
gives the same alone and with others. A pass takes any number of new tokens of each row, one behind the other: many
where prompts are read, one where answers are written. On a GPU that is flash attention [Dao, arXiv 2307.08691] as
torch ships it, which reads no more of a stretch than is filled; elsewhere torch's own attention, rows of one length
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate, groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, PreTrainedModel

from sdk.hardware.kernels import FLASH_CAPABILITY, FLASH_HEAD_SIZE

NAME = "sdk_kv_rows"
_FLASH_TYPES = (torch.bfloat16, torch.float16)
_LAYER_TYPES = {"full_attention", "sliding_attention"}


def takes_rows(model: PreTrainedModel) -> bool:
    """Tell whether all that the model remembers of a row are keys and values, which attention reads as it is here."""
    config = model.config.get_text_config()
    other = (
        model._is_stateful
        or getattr(config, "num_kv_shared_layers", None)
        or getattr(config, "use_bidirectional_attention", None)
        or not set(getattr(config, "layer_types", None) or ()) <= _LAYER_TYPES
        or any(hasattr(module, "sinks") for module in model.modules())
    )
    return model._can_compile_fullgraph and model._supports_attention_backend and not other


def window_of(model: PreTrainedModel) -> int | None:
    """Return how many tokens back some layers see, as the model's masks have it."""
    config = model.config.get_text_config()
    window: int | None = getattr(config, "sliding_window", None)
    return window if "sliding_attention" in (getattr(config, "layer_types", None) or ("sliding_attention",)) else None


@contextmanager
def attention_by_rows(model: PreTrainedModel) -> Iterator[None]:
    """Let the model's layers attend by rows. Its forward pass then needs a cache of KeyValueRows, and row_pass."""
    AttentionInterface.register(NAME, _attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@cache
def has_flash(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


@dataclass(frozen=True)
class Pass:
    """New tokens of some rows, one row behind the other.

    places: (tokens,), where each one's key and value go, counted over all stretches; queries: int32, (rows + 1,), where
    each row's new tokens begin, and the end; stretches: the same of their stretches; filled: int32, (rows,), how many
    tokens of each row there are with the new ones.
    """

    places: torch.Tensor
    queries: torch.Tensor
    stretches: torch.Tensor
    filled: torch.Tensor
    most_new: int
    first: int  # row
    length: int  # of a stretch
    runs: Sequence[tuple[int, int, int]] | None  # (rows, new tokens, filled) of rows that are alike; None: all have one
    windows: set[int | None] = field(default_factory=set)  # that the layers have asked for

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row. Waits for the device."""
        return int(self.filled.max())

    @cached_property
    def seen(self) -> torch.Tensor:
        """Where each row has tokens, (rows, longest)."""
        return torch.arange(self.longest, device=self.filled.device) < self.filled[:, None]

    def seen_through(self, window: int) -> torch.Tensor:
        """Return where the tokens are that a row's only new one sees, (rows, longest)."""
        return self.seen & (torch.arange(self.longest, device=self.filled.device) >= self.filled[:, None] - window)


class KeyValueRows(Cache):
    """Stretches for the keys and values of so many rows; those of a layer are made when it is first called."""

    def __init__(self, rows: int, length: int) -> None:
        super().__init__(layers=[])
        self.rows, self.length = rows, length
        self.current: Pass | None = None
        self._stored: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def begin(self, first: int, before: Sequence[int], new: Sequence[int], device: torch.device) -> Pass:
        """Prepare a pass of new tokens behind those that the rows from `first` on have."""
        starts = [0, *accumulate(new)]
        stretches = [row * self.length for row in range(first, first + len(new) + 1)]
        places = [
            place
            for start, old, count in zip(stretches, before, new, strict=False)
            for place in range(start + old, start + old + count)
        ]
        filled = [old + count for old, count in zip(before, new, strict=True)]
        runs = [(len(list(group)), *kind) for kind, group in groupby(zip(new, filled, strict=True))]

        def int32(values: Sequence[int]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int32, device=device)

        self.current = Pass(
            places=torch.tensor(places, device=device),
            queries=int32(starts),
            stretches=int32(stretches),
            filled=int32(filled),
            most_new=max(new),
            first=first,
            length=self.length,
            runs=runs,
        )
        return self.current

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (1, heads, tokens, size) of a layer at the pass's places; return all its (places, heads, size)."""
        assert self.current is not None
        if layer_idx not in self._stored:
            # Zeros, because what is not filled is multiplied with weights of zero.
            self._stored[layer_idx] = (self._stretches(key_states), self._stretches(value_states))
        for stored, states in zip(self._stored[layer_idx], (key_states, value_states), strict=True):
            stored.index_copy_(0, self.current.places, states.squeeze(0).transpose(0, 1))
        return self._stored[layer_idx]

    def _stretches(self, states: torch.Tensor) -> torch.Tensor:
        return states.new_zeros(self.rows * self.length, states.shape[1], states.shape[3])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def repeat_first(self, count: int) -> None:
        """Give every row the first one's first tokens."""
        for stored in self._all():
            rows = stored.view(self.rows, self.length, *stored.shape[1:])
            rows[1:, :count] = rows[:1, :count]

    def keep(self, rows: torch.Tensor) -> None:
        """Let these rows, in their order, be the first ones; the others are lost."""
        for stored in self._all():
            stretches = stored.view(self.rows, self.length, *stored.shape[1:])
            stretches[: len(rows)] = stretches[rows]

    def _all(self) -> list[torch.Tensor]:
        return [tensor for pair in self._stored.values() for tensor in pair]


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
    row_pass: Pass,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend of (1, heads, tokens, size) to the stretches. Returns (1, tokens, heads, size of a value).

    The parameters are those that transformers gives to an attention function.
    """
    row_pass.windows.add(sliding_window)
    window = sliding_window if sliding_window is not None and sliding_window < row_pass.length else None
    if flash_serves(query, value, softcap):
        many = row_pass.most_new > 1
        out = torch.ops.aten._flash_attention_forward(
            query.squeeze(0).transpose(0, 1),
            key,
            value,
            row_pass.queries,
            row_pass.stretches,
            row_pass.most_new,
            row_pass.length,
            0.0,  # dropout
            many,  # causal
            False,  # no debug mask
            scale=scaling,
            window_size_left=None if window is None else window - 1,
            window_size_right=None if window is None else 0,
            seqused_k=row_pass.filled,
        )[0]
        return out.unsqueeze(0), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    stretches = [stored.view(-1, row_pass.length, *stored.shape[1:])[row_pass.first :] for stored in (key, value)]
    query = query.squeeze(0)  # (heads, tokens, size)
    if row_pass.runs is None:
        return _of_one_token(query, stretches, row_pass, scale, window, softcap).unsqueeze(0), None
    outputs = []
    row = token = 0
    for rows, new, filled in row_pass.runs:
        part = query[:, token : token + rows * new].view(len(query), rows, new, -1).transpose(0, 1)
        k, v = (stored[row : row + rows, :filled].transpose(1, 2) for stored in stretches)
        out = _of_alike(part, k, v, scale, window, softcap)
        outputs.append(out.transpose(1, 2).reshape(rows * new, len(query), -1))
        row, token = row + rows, token + rows * new
    return torch.cat(outputs).unsqueeze(0), None


def flash_serves(query: torch.Tensor, value: torch.Tensor, softcap: float | None) -> bool:
    same = query.shape[-1] == value.shape[-1] <= FLASH_HEAD_SIZE
    return same and softcap is None and query.dtype in _FLASH_TYPES and has_flash(query.device)


def _of_one_token(
    query: torch.Tensor,
    stretches: Sequence[torch.Tensor],
    row_pass: Pass,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attend of each row's one token, (heads, rows, size), to its own. Returns (rows, heads, size of a value)."""
    heads, rows, size = query.shape
    k, v = (stored[:rows, : row_pass.longest].transpose(1, 2) for stored in stretches)
    seen = row_pass.seen if window is None else row_pass.seen_through(window)
    # The queries that share a key take the place of several tokens.
    grouped = query.transpose(0, 1).reshape(rows, k.shape[1], heads // k.shape[1], size)
    return _attend(grouped, k, v, seen[:, None, None], scale, softcap).reshape(rows, heads, -1)


def _of_alike(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None, softcap: float | None
) -> torch.Tensor:
    """Attend of rows of one length, (rows, heads, new tokens, size), each token to its row up to itself."""
    new, filled = query.shape[2], key.shape[2]
    if softcap is None and new == filled and (window is None or window >= filled):
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
    gap = torch.arange(filled - new, filled, device=query.device)[:, None] - torch.arange(filled, device=query.device)
    seen = (gap >= 0) if window is None else (gap >= 0) & (gap < window)
    groups = query.shape[1] // key.shape[1]
    return _attend(query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), seen, scale, softcap)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    scores = query @ key.transpose(-1, -2) * scale
    scores = (torch.tanh(scores / softcap) * softcap).masked_fill(~seen, -torch.inf)
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ value
