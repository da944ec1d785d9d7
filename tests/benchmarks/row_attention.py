"""Our attention kernels and recorded layers on a GPU: right, how fast, and how fast whole steps are with them.

    python tests/benchmarks/row_attention.py            all of it, some two minutes
    python tests/benchmarks/row_attention.py --cpu      the kernels' mathematics only, in Triton's interpreter

Kernels: outputs and gradients of rows of different lengths, in 16 bits, against float32 attention with all scores;
beside it how far torch's own attention in 16 bits is off. Tiles: each of some, in ms. Steps: models with random
weights, recorded and not, the same losses.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if "--cpu" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch

from sdk.train.engine import attention, graphs, row_kernels
from sdk.train.engine.row_kernels import Attended, RowAttention, Tiles

# heads, key heads, size, of a value, window, cap, sinks
CASES = (
    (16, 8, 256, 256, 0, 50.0, False),
    (16, 8, 256, 256, 100, 50.0, False),
    (64, 8, 64, 64, 128, 0.0, True),
    (64, 8, 64, 64, 0, 0.0, True),
    (8, 4, 96, 64, 50, 30.0, True),
)
LENGTHS = (1, 130, 700, 64, 517)
FORWARD = (Tiles(128, 64, 8, 2), Tiles(128, 32, 8, 2), Tiles(64, 64, 4, 2))
OF_KEYS = (Tiles(64, 64, 8, 1), Tiles(32, 64, 4, 2), Tiles(32, 128, 8, 1))
OF_QUERIES = (Tiles(64, 64, 8, 1), Tiles(128, 64, 8, 1), Tiles(64, 32, 4, 2))


def _inputs(case: tuple[Any, ...], lengths: tuple[int, ...], device: str, dtype: torch.dtype) -> tuple[Any, ...]:
    heads, keys, size, value, window, cap, sinks = case
    tokens = sum(lengths)
    draw = torch.Generator(device).manual_seed(1)

    def made(count: int, wide: int) -> torch.Tensor:
        tensor = torch.randn(1, count, tokens, wide, generator=draw, device=device, dtype=torch.float32)
        return tensor.to(dtype).requires_grad_()

    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32, device=device)
    beside = torch.randn(heads, generator=draw, device=device).to(dtype) if sinks else None
    scale = 4 * size**-0.5 if cap else size**-0.5  # so that the cap is felt
    given = Attended(starts, max(lengths), scale, window, cap, beside)
    return made(heads, size), made(keys, size), made(keys, value), given


def _ours(query: Any, key: Any, value: Any, given: Attended) -> torch.Tensor:
    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    return RowAttention.apply(q, k, v, given)  # type: ignore[no-any-return, no-untyped-call]


def _reference(query: Any, key: Any, value: Any, given: Attended) -> torch.Tensor:
    lengths = given.starts.diff().tolist()
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    scores = (given.cap or None, given.sinks.to(query.dtype) if given.sinks is not None else None)
    rows = [attention._one_row(*part, given.scale, 0.0, given.window or None, scores) for part in parts]
    return torch.cat(rows, dim=2).transpose(1, 2).squeeze(0)


def _off(out: torch.Tensor, inputs: tuple[Any, ...], gradient: torch.Tensor, right: tuple[Any, ...]) -> str:
    found = (out, *torch.autograd.grad(out, inputs, gradient.to(out.dtype)))
    return " ".join(
        f"{float((one.detach().float() - other.detach()).norm() / other.detach().norm()):.5f}"
        for one, other in zip(found, right, strict=True)
    )


def check(device: str, dtype: torch.dtype, cases: tuple[Any, ...], lengths: tuple[int, ...]) -> None:
    for case in cases:
        query, key, value, given = _inputs(case, lengths, device, dtype)
        wide = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
        want = _reference(*wide, given)
        gradient = torch.randn_like(want)
        began = time.perf_counter()
        right = (want, *torch.autograd.grad(want, wide, gradient))
        ours = _off(_ours(query, key, value, given), (query, key, value), gradient, right)
        took = time.perf_counter() - began
        theirs = _off(_reference(query, key, value, given), (query, key, value), gradient, right)
        print(f"kernel {case}: off by {ours} (out dq dk dv), row by row {theirs}, {took:.1f} s", flush=True)


def _milliseconds(work: Any) -> float:
    work()
    torch.cuda.synchronize()
    times = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def speed() -> None:
    for case, rows in ((CASES[0], (2048,) * 4), (CASES[2], (2048,) * 4)):
        query, key, value, given = _inputs(case, rows, "cuda", torch.bfloat16)
        q, k, v = (tensor.detach().squeeze(0).transpose(0, 1) for tensor in (query, key, value))
        chosen = row_kernels.tiles(case[2], q.device)
        out, sums = row_kernels.forward(q, k, v, given, chosen[0])
        gradient = torch.randn_like(out)
        kept = (q, k, v, out, sums)
        pairs = sum(row * row // 2 for row in rows) * case[0]
        print(f"tiles for {case}, {len(rows)} x {rows[0]}: {chosen}")
        for name, some, place in (("forward", FORWARD, 0), ("of keys", OF_KEYS, 1), ("of queries", OF_QUERIES, 2)):
            for one in some if case[2] == 256 else [*some[:1], chosen[place]]:
                taken = [*chosen]
                taken[place] = one
                work = partial(row_kernels.forward, q, k, v, given, taken[0])
                if place:  # both of the backward pass, of which one is the chosen one
                    work = partial(row_kernels.backward, kept, gradient, given, (taken[1], taken[2]))
                try:
                    each = _milliseconds(work)
                except Exception as error:  # noqa: BLE001 - too large for this GPU, which is an answer
                    print(f"  {name} {tuple(one)}: {type(error).__name__}: {str(error)[:120]}", flush=True)
                    continue
                rate = pairs * case[2] * (14 if place else 4) / each / 1e9
                print(f"  {name} {tuple(one)}: {each:.3f} ms, {rate:.0f} TFLOP/s of all pairs", flush=True)


def steps(case: str, recorded: bool, count: int = 14) -> None:
    """Train some steps, and say how fast all behind the sixth were."""
    from tests.benchmarks import memory

    (row,) = memory._standard(f"{case} steps={count}")
    row |= {"gradient_accumulation_steps": 1, "cuda_graphs": recorded}
    made = []
    layers_of = graphs.GraphedLayers

    class Watched(layers_of):  # type: ignore[misc, valid-type]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    from sdk.train.engine import install

    install.GraphedLayers = Watched
    losses: list[float] = []
    kept = memory.trainer_of

    def trainer_of(*given: Any) -> Any:
        trainer, tokens = kept(*given)
        log = trainer.log

        def noted(logs: dict[str, float], *more: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])
            log(logs, *more)

        trainer.log = noted
        return trainer, tokens

    memory.trainer_of = trainer_of
    try:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.empty_cache()
        found = memory._train({**row, "model": memory.config_of(row)})
    except Exception:  # noqa: BLE001 - printed
        print(f"step {case}: {traceback.format_exc()[-1500:]}", flush=True)
        return
    finally:
        memory.trainer_of = kept
        gc.collect()
        torch.cuda.empty_cache()
    late = slice(6, None)
    tokens, seconds = sum(found["step_tokens"][7:count]), sum(found["seconds"][late])
    said = f"step {case} {'recorded' if recorded else 'as it is'}: {tokens / seconds:,.0f} tok/s, "
    said += f"{found['allocated_gib']:.2f} GiB, {found['reserved_gib']:.2f} reserved, losses "
    print(said + " ".join(f"{loss:.4f}" for loss in [*losses[:3], *losses[-3:]]), flush=True)
    for one in made:
        print(f"  {len(one._recordings)} recordings {list(one._recordings)}, failed: {one.failed!r}", flush=True)
        if one.failed is not None:
            print("".join(traceback.format_exception(one.failed))[-2500:], flush=True)
    made.clear()
    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--seconds", type=float, default=140, help="begin nothing after so many seconds")
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.cpu:
        row_kernels.tiles = lambda size, device: (Tiles(32, 16, 4, 1), Tiles(16, 32, 4, 1), Tiles(32, 16, 4, 1))  # type: ignore[assignment]
        some = ((4, 2, 32, 32, 0, 5.0, False), (4, 1, 24, 16, 7, 0.0, True), (2, 2, 16, 16, 9, 3.0, True))
        check("cpu", torch.float32, some, (1, 50, 33, 64))
        return
    work: list[Any] = [
        lambda: check("cuda", torch.bfloat16, CASES, LENGTHS),
        lambda: steps("smollm2 16 8x1024", False),
        lambda: steps("smollm2 16 8x1024", True),
        lambda: steps("gemma-2-9b 16 4x1024", False, 9),
        speed,
        lambda: steps("smollm2 4 16x1024 varied dropout=0.05", True, 24),
        lambda: steps("qwen2.5-0.5b 16 4x1024", False),
        lambda: steps("qwen2.5-0.5b 16 4x1024", True),
        lambda: steps("smollm2 4 16x1024", True),
    ]
    for one in work:
        if time.monotonic() - began < asked.seconds:
            one()
            print(f"-- {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
