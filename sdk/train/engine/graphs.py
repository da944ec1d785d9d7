"""The layers of a small model as CUDA graphs: some thousand kernels, launched in two calls.

A host takes some 20 to 50 µs to launch a kernel from Python, and those of a small model run shorter than that. A graph
replays what was recorded of one pass, forward and backward, on the same addresses: so passes are filled up to one of a
few sizes with a row that nothing is learned from and that no other row sees.

What a pass gives follows from its rows, the weights and the random state alone, never from the passes before it, so
that a run that was interrupted ends with the bytes of one that was not: the sizes follow from the settings; each is
recorded at its first pass, which is filled up and replayed as all later ones; recording draws no random number; and a
size that cannot be recorded (a layer that waits for the GPU) always runs as it would have without. Where memory does
not last for a recording, the pass fails as any other does. tests/benchmarks/resume.py --graphs holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from sdk.hardware.kernels import GRAPHED_WIDTH
from sdk.records import TrainSettings
from sdk.train.engine.attention import NAME

SIZES = 16  # of passes, up to the largest that the settings allow
LEAST = 128  # tokens by which sizes differ at least
LEAST_PLACES = 32  # for rows of a pass; where there are more, the next power of two
ROWS = ("input_ids", "position_ids", "cu_seq_lens_q", "max_length_q")


def launch_bound(model: PreTrainedModel, settings: TrainSettings) -> bool:
    """Tell whether the model's layers are to be recorded, and it is worthwhile."""
    if not settings.cuda_graphs:
        return False
    config = model.config.get_text_config()
    experts = any(value.dim() == 3 for value in model.parameters())  # how many tokens each gets is known on the host
    return config.hidden_size < GRAPHED_WIDTH and config._attn_implementation == NAME and not experts


def size_of(tokens: int, largest: int) -> int:
    """Return how many tokens a pass of so many is filled up to. largest: tokens of the largest pass there can be."""
    part = LEAST * max(1, -(-largest // (SIZES * LEAST)))
    return -(-tokens // part) * part


def places_of(starts: int) -> int:
    """Return how many starts of rows a pass with so many is given, more than it has."""
    return max(LEAST_PLACES, 1 << starts.bit_length())


def filled(rows: dict[str, Any], size: int, places: int) -> dict[str, torch.Tensor]:
    """Return ids, positions and starts with one more row that makes the tokens `size`, and empty ones to `places`."""
    ids, positions, starts = (rows[name] for name in ROWS[:3])
    missing = size - ids.shape[1]
    more = torch.arange(missing, device=ids.device)[None]
    ends = starts.new_full((places - len(starts),), size)
    return {
        "input_ids": torch.cat([ids, torch.zeros_like(more)], dim=1),
        "position_ids": torch.cat([positions, more], dim=1),
        "cu_seq_lens_q": torch.cat([starts, ends]),
    }


class Recording:
    """One size of passes through the layers, recorded. Recordings of one pool are replayed one after the other."""

    def __init__(
        self,
        run: Callable[[dict[str, torch.Tensor]], torch.Tensor],
        rows: dict[str, torch.Tensor],
        trained: Sequence[torch.Tensor],
        pool: Any,
    ) -> None:
        self._rows = {name: value.clone() for name, value in rows.items()}
        torch.cuda.empty_cache()  # what is free belongs to another stream, and could not be used again here
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is built at the first call cannot be recorded
            out = run(self._rows)
            torch.autograd.grad(out, trained, torch.zeros_like(out))
            del out
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.empty_cache()  # the pool needs that room
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._forward, pool=pool, capture_error_mode="thread_local"):
            out = run(self._rows)
        self._of_out = torch.zeros_like(out)
        with torch.cuda.graph(self._backward, pool=pool, capture_error_mode="thread_local"):
            self._gradients = torch.autograd.grad(out, trained, self._of_out)
        self._out = out.detach()

    def put(self, rows: dict[str, torch.Tensor]) -> None:
        for name, value in self._rows.items():
            value.copy_(rows[name])

    def forward(self) -> torch.Tensor:
        self._forward.replay()
        return self._out

    def backward(self, gradient: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return new tensors: the recorded ones are written to again in the next pass."""
        self._of_out.copy_(gradient)
        self._backward.replay()
        return torch._foreach_mul(self._gradients, 1.0)


class _Replayed(torch.autograd.Function):
    """Inputs: a recording, then all trained parameters. Output: the last hidden states."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, *trained: torch.Tensor) -> torch.Tensor:
        ctx.recording = recording
        return recording.forward().detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *ctx.recording.backward(gradients[0])


class GraphedLayers:
    """Calls the decoder without its head: what was recorded of it, or as it is."""

    def __init__(self, body: Callable[..., Any], trained: Sequence[torch.Tensor], largest: int) -> None:
        """Set up for passes of up to so many tokens as the settings allow (largest)."""
        self._body, self._trained, self._largest = body, trained, largest
        self._recordings: dict[tuple[int, int], Recording | Exception] = {}
        self._pool: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the last hidden states (1, tokens, size)."""
        others = {name: value for name, value in kwargs.items() if name not in ROWS}
        strange = args or any(isinstance(value, torch.Tensor) for value in others.values())
        if strange or not torch.is_grad_enabled() or not all(name in kwargs for name in ROWS):
            return self._plainly(*args, **kwargs)
        tokens, starts = kwargs["input_ids"].shape[1], len(kwargs["cu_seq_lens_q"])
        key = (size_of(tokens, self._largest), places_of(starts))
        rows = filled(kwargs, *key)
        if key not in self._recordings:
            self._recordings[key] = self._record(rows, others, key[0])
        recording = self._recordings[key]
        if isinstance(recording, Exception):
            return self._plainly(**kwargs)
        recording.put(rows)
        out: torch.Tensor = _Replayed.apply(recording, *self._trained)  # type: ignore[no-untyped-call]
        return out[:, :tokens]

    def _plainly(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        hidden: torch.Tensor = self._body(*args, **kwargs).last_hidden_state
        return hidden

    @property
    def failures(self) -> list[Exception]:
        return [each for each in self._recordings.values() if isinstance(each, Exception)]

    def _record(self, rows: dict[str, torch.Tensor], others: dict[str, Any], size: int) -> Recording | Exception:
        """Record a pass of this size; the error where that cannot be done. The random state stays as it is."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        wide = torch.is_autocast_enabled("cuda")
        dtype = torch.get_autocast_dtype("cuda")

        def run(static: dict[str, torch.Tensor]) -> torch.Tensor:
            with torch.autocast("cuda", dtype, wide, cache_enabled=False):  # a cached cast would not be recorded
                return self._plainly(**static, max_length_q=size, **others)

        device = rows["input_ids"].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                return Recording(run, rows, self._trained, self._pool)
            except torch.OutOfMemoryError:
                raise  # of this moment, not of this size
            except Exception as error:  # noqa: BLE001 - whatever cannot be recorded runs as it did
                torch.cuda.empty_cache()
                return error
