"""What a decoder layer keeps and needs on a GPU, by architecture: sums of sizes in kept.json, counted, never fitted.

tools/layer_bytes.py runs one training step of the real engine without a GPU for each model_type and writes down what
lives after every operation. A sum gives bytes for each token: so many for each of the sizes below.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sdk.advise.layers import adapted_by_text
from sdk.records import ModelShape
from sdk.regular_files import read_shipped

Sizes = Mapping[str, float]
# What stands for an architecture that was not counted: one without fused kernels; no model_type has a space.
USUAL = "usual decoder"
EXPERTS, LATENT = " with experts", " with latent attention"


class Peak(NamedTuple):
    """One moment of a layer's backward pass: a sum, and the group of the linear layer whose matrix is there too."""

    bytes: Sizes
    matrix: str


class Kept(NamedTuple):
    """Sums of one architecture. Where there are two, the second is for layers that are recomputed."""

    layer: Sizes  # that a layer keeps
    recomputed: Sizes  # that a layer keeps if it is computed again
    # Beside all layers: positions, masks, the last one's output; less what the first one does not keep.
    outside: tuple[Sizes, Sizes]
    # At the loss besides, with all tokens learned: the last norm's output, the learned rows and their gradient.
    head: tuple[Sizes, Sizes]
    tail: tuple[Sizes, Sizes]  # in the last norm besides
    # In a layer's backward pass, over what lay there before its forward pass.
    backward: tuple[Peak, ...]
    again: tuple[Peak, ...]
    # Read and written outside of products, and operations: forward, backward, and backward with computing again.
    moved: tuple[Sizes, ...]
    launches: tuple[int, ...]


def is_counted(shape: ModelShape) -> bool:
    """Tell whether the sums of this very architecture are known."""
    return shape.model_type in _read() and not shape.num_linear_attention_layers


def counted_of(shape: ModelShape) -> Kept | None:
    """Return the sums of this architecture, else those of a usual one; None where layers have a state instead."""
    if shape.num_linear_attention_layers:
        return None
    return _kept(shape.model_type) or _kept(usual(shape))


def usual(shape: ModelShape) -> str:
    """Return the name of the sums that stand for an architecture that was not counted."""
    return USUAL + EXPERTS * bool(shape.num_experts) + LATENT * bool(shape.kv_lora_rank)


@cache
def _kept(name: str) -> Kept | None:
    found = _read().get(name)
    if found is None:
        return None
    return Kept(
        layer=found["kept"],
        recomputed=found["input"],
        outside=tuple(found["outside"]),
        head=tuple(found["head"]),
        tail=tuple(found["tail"]),
        backward=tuple(Peak(*peak) for peak in found["back"]),
        again=tuple(Peak(*peak) for peak in found["again"]),
        moved=tuple(found["moved"]),
        launches=tuple(found["launches"]),
    )


@cache
def _read() -> dict[str, Any]:
    """Read the sums; an architecture with those of another has its name."""
    read: dict[str, Any] = json.loads(read_shipped(Path(__file__).with_name("kept.json")))
    return {name: read[sums] if isinstance(sums, str) else sums for name, sums in read.items()}


def total(sums: Sizes, sizes: Sizes) -> float:
    return sum(count * sizes[name] for name, count in sums.items())


def sizes_of(shape: ModelShape, longest: int, rank: int, sparse: bool = True) -> dict[str, float]:
    """Return the sizes that sums are over.

    longest: tokens of the longest row; sparse: of a layer with routed experts, where there are some.
    """
    heads, keys = shape.num_attention_heads, shape.num_key_value_heads
    copies = shape.num_experts_per_tok if sparse else 0
    adapted = sum(layer.count for layer in adapted_by_text(shape))
    return {
        "one": 1,
        "hidden": shape.hidden_size,
        "inner": 0 if shape.num_experts else shape.intermediate_size,
        "query": heads * shape.head_dim,
        "key": 0 if shape.kv_lora_rank else keys * shape.head_dim,
        "heads": heads,
        "key_heads": keys,
        "size": shape.head_dim,
        "ranks": rank * adapted / shape.num_hidden_layers,
        "pairs": heads * longest,
        "row": longest,
        "expert": copies * shape.moe_intermediate_size,
        "copies": copies * shape.hidden_size,
        "chosen": copies,
        "experts": shape.num_experts if sparse else 0,
        "all_copies": shape.num_experts * shape.hidden_size if sparse else 0,  # Llama 4 gives each token to all experts
        "all_experts": shape.num_experts * shape.moe_intermediate_size if sparse else 0,
        "shared": shape.shared_expert_intermediate_size if sparse else shape.intermediate_size,
        "value": heads * shape.v_head_dim if shape.kv_lora_rank else 0,
        "rotated": heads * shape.qk_rope_head_dim,
        "q_rank": shape.q_lora_rank,
        "kv_rank": shape.kv_lora_rank,
        "rope": shape.qk_rope_head_dim,
    }
