"""Flash attention within rows for what torch's kernel has not: capped scores (Gemma 2) and sinks (gpt-oss).

As in FlashAttention-2 [Dao, arXiv 2307.08691] no score is kept: of each token and head the logarithm of the sum is,
and scores are computed once more in the backward pass. A score z is capped to cap tanh(z / cap); a sink is a learned
score beside the tokens' that has no value. Keys' and values' gradients are summed over the queries' heads of a group
in one program, so nothing is repeated and every sum has one order.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any, NamedTuple

import torch

HIDDEN = -1.0e30  # a score that adds nothing, and no infinity, whose differences would be no numbers
LARGEST_HEAD = 256


class Tiles(NamedTuple):
    """Tokens of queries and of keys that a program takes at once, its warps and its loads ahead."""

    queries: int
    keys: int
    warps: int
    stages: int


class Attended(NamedTuple):
    """What attention needs to know beside queries, keys and values."""

    starts: torch.Tensor  # int32 (rows + 1,)
    longest: int
    scale: float
    window: int  # 0: none
    cap: float  # 0: none
    sinks: torch.Tensor | None  # (heads,)


if importlib.util.find_spec("triton"):
    import triton
    import triton.language as tl

    LOG2_E = tl.constexpr(1.4426950408889634)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _tanh(x):  # type: ignore[no-untyped-def]
        return 1 - 2 / (1 + tl.exp2(x * (2 * LOG2_E)))

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _tile(at, begin, places, length, of_token, SIZE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        """Load so many tokens of one head (places, BLOCK); beyond row and head: 0."""
        columns = tl.arange(0, BLOCK)
        tokens = (begin + places).to(tl.int64)
        inside = places[:, None] < length
        if SIZE != BLOCK:
            inside = inside & (columns[None, :] < SIZE)
        return tl.load(at + tokens[:, None] * of_token + columns[None, :], mask=inside, other=0.0)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _put(at, begin, places, length, of_token, values, SIZE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        columns = tl.arange(0, BLOCK)
        tokens = (begin + places).to(tl.int64)
        inside = (places[:, None] < length) & (columns[None, :] < SIZE)
        tl.store(at + tokens[:, None] * of_token + columns[None, :], values.to(at.dtype.element_ty), mask=inside)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _seen(query_places, key_places, length, window, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
        """Tell which keys a query sees; the places broadcast against each other."""
        seen = (query_places >= key_places) & (query_places < length)
        if WINDOW:
            seen = seen & (query_places - key_places < window)
        return seen

    @triton.jit(do_not_specialize=["tokens", "window"])  # type: ignore[untyped-decorator,unused-ignore]
    def _forward_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913
        q, k, v, out, sums, starts, sinks, tokens, window, groups, scale, cap,
        q_token, q_head, k_token, k_head, v_token, v_head, o_token, o_head,
        SIZE: tl.constexpr, VALUE: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
        WINDOW: tl.constexpr, CAPPED: tl.constexpr, SINKS: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ):  # fmt: skip
        row, head = tl.program_id(1), tl.program_id(2)
        begin = tl.load(starts + row)
        length = tl.load(starts + row + 1) - begin
        first = tl.program_id(0) * M
        if first < length:
            queries = first + tl.arange(0, M)
            key_head = head // groups
            of_q = _tile(q + head * q_head, begin, queries, length, q_token, SIZE, BLOCK_SIZE)
            if SINKS:
                most = tl.zeros([M], tl.float32) + tl.load(sinks + head).to(tl.float32) * LOG2_E
                total = tl.zeros([M], tl.float32) + 1.0
            else:
                most = tl.zeros([M], tl.float32) - 1.0e30
                total = tl.zeros([M], tl.float32)
            mixed = tl.zeros([M, BLOCK_VALUE], tl.float32)
            low = 0
            if WINDOW:
                low = tl.maximum(0, first - window + 1) // N * N
            for start in range(low, tl.minimum(length, first + M), N):
                keys = start + tl.arange(0, N)
                of_k = _tile(k + key_head * k_head, begin, keys, length, k_token, SIZE, BLOCK_SIZE)
                scores = tl.dot(of_q, tl.trans(of_k)) * scale
                if CAPPED:
                    scores = cap * _tanh(scores / cap)
                seen = _seen(queries[:, None], keys[None, :], length, window, WINDOW)
                scores = tl.where(seen, scores * LOG2_E, -1.0e30)
                larger = tl.maximum(most, tl.max(scores, 1))
                weights = tl.exp2(scores - larger[:, None])
                shrunk = tl.exp2(most - larger)
                total = total * shrunk + tl.sum(weights, 1)
                of_v = _tile(v + key_head * v_head, begin, keys, length, v_token, VALUE, BLOCK_VALUE)
                mixed = tl.dot(weights.to(of_v.dtype), of_v, mixed * shrunk[:, None])
                most = larger
            _put(out + head * o_head, begin, queries, length, o_token, mixed / total[:, None], VALUE, BLOCK_VALUE)
            at = sums + head * tokens.to(tl.int64) + begin + queries
            tl.store(at, most + tl.log2(total), mask=queries < length)

    @triton.jit(do_not_specialize=["tokens"])  # type: ignore[untyped-decorator,unused-ignore]
    def _delta_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913
        out, gradient, deltas, tokens, o_token, o_head, g_token, g_head,
        VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr, M: tl.constexpr,
    ):  # fmt: skip
        """Multiply output and its gradient, for each token and head."""
        places, head = tl.program_id(0) * M + tl.arange(0, M), tl.program_id(1)
        of_out = _tile(out + head * o_head, 0, places, tokens, o_token, VALUE, BLOCK_VALUE).to(tl.float32)
        of_gradient = _tile(gradient + head * g_head, 0, places, tokens, g_token, VALUE, BLOCK_VALUE).to(tl.float32)
        at = deltas + head * tokens.to(tl.int64) + places
        tl.store(at, tl.sum(of_out * of_gradient, 1), mask=places < tokens)

    @triton.jit(do_not_specialize=["tokens", "window"])  # type: ignore[untyped-decorator,unused-ignore]
    def _of_keys_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913
        q, k, v, gradient, sums, deltas, of_keys, of_values, starts, tokens, window, groups, scale, cap,
        q_token, q_head, k_token, k_head, v_token, v_head, g_token, g_head, dk_token, dk_head, dv_token, dv_head,
        SIZE: tl.constexpr, VALUE: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
        WINDOW: tl.constexpr, CAPPED: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ):  # fmt: skip
        row, key_head = tl.program_id(1), tl.program_id(2)
        begin = tl.load(starts + row)
        length = tl.load(starts + row + 1) - begin
        first = tl.program_id(0) * N
        if first < length:
            keys = first + tl.arange(0, N)
            of_k = _tile(k + key_head * k_head, begin, keys, length, k_token, SIZE, BLOCK_SIZE)
            of_v = _tile(v + key_head * v_head, begin, keys, length, v_token, VALUE, BLOCK_VALUE)
            dk = tl.zeros([N, BLOCK_SIZE], tl.float32)
            dv = tl.zeros([N, BLOCK_VALUE], tl.float32)
            last = length
            if WINDOW:
                last = tl.minimum(length, first + N + window - 1)
            for head in range(key_head * groups, key_head * groups + groups):
                at = head * tokens.to(tl.int64) + begin
                for start in range(first // M * M, last, M):
                    queries = start + tl.arange(0, M)
                    of_q = _tile(q + head * q_head, begin, queries, length, q_token, SIZE, BLOCK_SIZE)
                    scores = tl.dot(of_k, tl.trans(of_q)) * scale  # keys x queries
                    slope = 1.0
                    if CAPPED:
                        curve = _tanh(scores / cap)
                        scores = cap * curve
                        slope = 1 - curve * curve
                    of_sum = tl.load(sums + at + queries, mask=queries < length, other=0.0)
                    seen = _seen(queries[None, :], keys[:, None], length, window, WINDOW)
                    weights = tl.where(seen, tl.exp2(scores * LOG2_E - of_sum[None, :]), 0.0)
                    of_g = _tile(gradient + head * g_head, begin, queries, length, g_token, VALUE, BLOCK_VALUE)
                    dv = tl.dot(weights.to(of_g.dtype), of_g, dv)
                    delta = tl.load(deltas + at + queries, mask=queries < length, other=0.0)
                    of_scores = weights * (tl.dot(of_v, tl.trans(of_g)) - delta[None, :]) * slope
                    dk = tl.dot(of_scores.to(of_q.dtype), of_q, dk)
            _put(of_keys + key_head * dk_head, begin, keys, length, dk_token, dk * scale, SIZE, BLOCK_SIZE)
            _put(of_values + key_head * dv_head, begin, keys, length, dv_token, dv, VALUE, BLOCK_VALUE)

    @triton.jit(do_not_specialize=["tokens", "window"])  # type: ignore[untyped-decorator,unused-ignore]
    def _of_queries_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0913
        q, k, v, gradient, sums, deltas, of_queries, starts, tokens, window, groups, scale, cap,
        q_token, q_head, k_token, k_head, v_token, v_head, g_token, g_head, dq_token, dq_head,
        SIZE: tl.constexpr, VALUE: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
        WINDOW: tl.constexpr, CAPPED: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ):  # fmt: skip
        row, head = tl.program_id(1), tl.program_id(2)
        begin = tl.load(starts + row)
        length = tl.load(starts + row + 1) - begin
        first = tl.program_id(0) * M
        if first < length:
            queries = first + tl.arange(0, M)
            key_head = head // groups
            of_q = _tile(q + head * q_head, begin, queries, length, q_token, SIZE, BLOCK_SIZE)
            of_g = _tile(gradient + head * g_head, begin, queries, length, g_token, VALUE, BLOCK_VALUE)
            at = head * tokens.to(tl.int64) + begin + queries
            of_sum = tl.load(sums + at, mask=queries < length, other=0.0)
            delta = tl.load(deltas + at, mask=queries < length, other=0.0)
            dq = tl.zeros([M, BLOCK_SIZE], tl.float32)
            low = 0
            if WINDOW:
                low = tl.maximum(0, first - window + 1) // N * N
            for start in range(low, tl.minimum(length, first + M), N):
                keys = start + tl.arange(0, N)
                of_k = _tile(k + key_head * k_head, begin, keys, length, k_token, SIZE, BLOCK_SIZE)
                of_v = _tile(v + key_head * v_head, begin, keys, length, v_token, VALUE, BLOCK_VALUE)
                scores = tl.dot(of_q, tl.trans(of_k)) * scale
                slope = 1.0
                if CAPPED:
                    curve = _tanh(scores / cap)
                    scores = cap * curve
                    slope = 1 - curve * curve
                seen = _seen(queries[:, None], keys[None, :], length, window, WINDOW)
                weights = tl.where(seen, tl.exp2(scores * LOG2_E - of_sum[:, None]), 0.0)
                of_scores = weights * (tl.dot(of_g, tl.trans(of_v)) - delta[:, None]) * slope
                dq = tl.dot(of_scores.to(of_k.dtype), of_k, dq)
            _put(of_queries + head * dq_head, begin, queries, length, dq_token, dq * scale, SIZE, BLOCK_SIZE)


@cache
def tiles(size: int, device: torch.device) -> tuple[Tiles, Tiles, Tiles]:
    """Return what programs take at once: of the forward pass, of keys' gradients and of queries'."""
    room = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    if room < 200 * 1024:  # before Hopper
        small = Tiles(32, 32, 4, 1) if size > 128 else Tiles(64, 32, 4, 1)
        return small, small, small
    if size > 128:
        return Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 1), Tiles(128, 64, 8, 1)
    return Tiles(128, 64, 8, 3), Tiles(64, 64, 4, 2), Tiles(64, 64, 4, 2)


def _sizes(query: torch.Tensor, value: torch.Tensor, given: Attended) -> tuple[Any, ...]:
    size, of_value = query.shape[-1], value.shape[-1]
    blocks = (max(16, triton.next_power_of_2(size)), max(16, triton.next_power_of_2(of_value)))
    return size, of_value, *blocks, given.window > 0, given.cap > 0


def forward(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, given: Attended, taken: Tiles
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention's output (tokens, heads, size of a value) and the logarithms of sums (heads, tokens).

    query: (tokens, heads, size), key and value: (tokens, key heads, size).
    """
    tokens, heads, _ = query.shape
    out = query.new_empty(tokens, heads, value.shape[-1])
    sums = query.new_empty(heads, tokens, dtype=torch.float32)
    grid = (-(-given.longest // taken.queries), len(given.starts) - 1, heads)
    _forward_kernel[grid](
        query, key, value, out, sums, given.starts, given.sinks, tokens, given.window, heads // key.shape[1],
        given.scale, given.cap, *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], *out.stride()[:2],
        *_sizes(query, value, given), given.sinks is not None, taken.queries, taken.keys,
        num_warps=taken.warps, num_stages=taken.stages,
    )  # fmt: skip
    return out, sums


def backward(
    kept: tuple[torch.Tensor, ...], gradient: torch.Tensor, given: Attended, taken: tuple[Tiles, Tiles]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of queries, keys and values. kept: these, the output and the logarithms of sums."""
    query, key, value, out, sums = kept
    tokens, heads, _ = query.shape
    rows, groups = len(given.starts) - 1, heads // key.shape[1]
    sizes = _sizes(query, value, given)
    deltas = torch.empty_like(sums)
    strides = (*out.stride()[:2], *gradient.stride()[:2])
    _delta_kernel[(-(-tokens // 64), heads)](out, gradient, deltas, tokens, *strides, sizes[1], sizes[3], 64)
    of_query, of_key, of_value = (tensor.new_empty(tensor.shape) for tensor in (query, key, value))
    inputs = (*query.stride()[:2], *key.stride()[:2], *value.stride()[:2], *gradient.stride()[:2])
    numbers = (tokens, given.window, groups, given.scale, given.cap)
    mine = taken[0]
    _of_keys_kernel[(-(-given.longest // mine.keys), rows, key.shape[1])](
        query, key, value, gradient, sums, deltas, of_key, of_value, given.starts, *numbers, *inputs,
        *of_key.stride()[:2], *of_value.stride()[:2], *sizes, mine.queries, mine.keys,
        num_warps=mine.warps, num_stages=mine.stages,
    )  # fmt: skip
    mine = taken[1]
    _of_queries_kernel[(-(-given.longest // mine.queries), rows, heads)](
        query, key, value, gradient, sums, deltas, of_query, given.starts, *numbers, *inputs,
        *of_query.stride()[:2], *sizes, mine.queries, mine.keys, num_warps=mine.warps, num_stages=mine.stages,
    )  # fmt: skip
    return of_query, of_key, of_value


class RowAttention(torch.autograd.Function):
    """Inputs: query (tokens, heads, size), key, value (tokens, key heads, size), and what is given."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, given: Attended) -> torch.Tensor:
        query, key, value = (_with_near_numbers(tensor) for tensor in (query, key, value))
        out, sums = forward(query, key, value, given, tiles(query.shape[-1], query.device)[0])
        ctx.given = given
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept = ctx.saved_tensors
        taken = tiles(kept[0].shape[-1], kept[0].device)[1:]
        return *backward(kept, _with_near_numbers(gradients[0]), ctx.given, taken), None


def _with_near_numbers(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


@cache
def works(dtype: torch.dtype, sizes: tuple[int, int], capped: bool, sinks: bool, device: torch.device) -> bool:
    """Tell whether the kernels can be built and run for heads of these sizes (of a key, of a value) on this GPU.

    They are, over sixteen tokens. Whatever fails here fails in a compiler or a driver, and rows have another way.
    """
    if not importlib.util.find_spec("triton") or max(sizes) > LARGEST_HEAD:
        return False
    try:
        query, key, value = (torch.zeros(16, 1, size, dtype=dtype, device=device) for size in (sizes[0], *sizes))
        starts = torch.tensor([0, 16], dtype=torch.int32, device=device)
        given = Attended(starts, 16, 1.0, 0, float(capped), query.new_zeros(1) if sinks else None)
        taken = tiles(sizes[0], device)
        out, sums = forward(query, key, value, given, taken[0])
        backward((query, key, value, out, sums), torch.zeros_like(out), given, taken[1:])
        torch.cuda.synchronize(device)
    except Exception:  # noqa: BLE001 - of Triton, of its C compiler, or of CUDA
        return False
    return True
