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

from sdk.advise.layers import WITHOUT_WINDOW, adapted_by_text, linear_layers
from sdk.files.regular_files import read_shipped
from sdk.records import ModelShape

Sizes = Mapping[str, float]
# What stands for an architecture that was not counted: one without fused kernels; no model_type has a space.
USUAL = "usual decoder"
EXPERTS, LATENT = " with experts", " with latent attention"
# Behind a model_type: of its layers with a window, where those without one do something else.
WINDOWED = " with a window"


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


class LayerKind(NamedTuple):
    """Layers of one model that keep the same."""

    share: float = 1.0  # of all layers
    sparse: bool = True  # with routed experts, where there are some
    windowed: bool = False  # with a window, where layers without one have heads of other sizes
    inner: int = 0  # how wide the MLP is; 0: intermediate_size


def kinds_of(shape: ModelShape) -> tuple[LayerKind, ...]:
    """Return the kinds of layers there are; those with experts and without a window come last."""
    layers = shape.num_hidden_layers
    attention = [(1.0, False)]
    if _differ(shape):
        windowed = shape.num_sliding_layers / layers
        attention = [(windowed, True), (1 - windowed, False)]
    dense = shape.num_dense_layers / layers if shape.num_experts else 0.0
    mlps = [(dense, False, 0), (1 - dense, True, 0)]
    wide = [(layer.count / layers, True, layer.inputs) for layer in linear_layers(shape) if layer.group == "down"]
    if len(wide) > 1:  # Gemma 4's, twice as wide where keys and values are those of another layer
        mlps = wide
    return tuple(
        LayerKind(share * of_mlp, sparse, windowed, inner)
        for of_mlp, sparse, inner in mlps
        for share, windowed in attention
        if share * of_mlp
    )


def _differ(shape: ModelShape) -> bool:
    """Tell whether layers with and without a window differ in more than that."""
    listed = any(layer.group.startswith(WITHOUT_WINDOW) for layer in linear_layers(shape))
    return listed or shape.model_type + WINDOWED in _read()


def is_counted(shape: ModelShape) -> bool:
    """Tell whether the sums of this very architecture are known."""
    return shape.model_type in _read() and not shape.num_linear_attention_layers


def counted_of(shape: ModelShape, windowed: bool = False) -> Kept | None:
    """Return the sums of this architecture, else those of a usual one; None where layers have a state instead.

    windowed: of layers with a window.
    """
    if shape.num_linear_attention_layers:
        return None
    of_window = _kept(shape.model_type + WINDOWED) if windowed else None
    return of_window or _kept(shape.model_type) or _kept(usual(shape))


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


_USUAL_LAYER = LayerKind()


def sizes_of(
    shape: ModelShape, longest: int, rank: int, kind: LayerKind = _USUAL_LAYER, rows: float = 1.0
) -> dict[str, float]:
    """Return the sizes that sums are over.

    longest: tokens of the longest row, of which a pass has so many.
    """
    sparse = kind.sparse
    heads, keys = float(shape.num_attention_heads), float(shape.num_key_value_heads)
    size, key, value, key_values = float(shape.head_dim), keys * shape.head_dim, 0.0, keys * shape.head_dim
    if shape.kv_lora_rank:
        key, value, key_values = 0.0, heads * shape.v_head_dim, 0.0
    if kind.windowed or _differ(shape):
        size, key, value, key_values = _heads_of(shape, kind.windowed)
        keys = key / size
    copies = shape.num_experts_per_tok if sparse else 0
    adapted = sum(layer.count for layer in adapted_by_text(shape))
    of_layer = sum(layer.outputs for layer in linear_layers(shape) if layer.group == "per_layer_in")
    return {
        "one": 1,
        "hidden": shape.hidden_size,
        "inner": 0 if shape.num_experts else kind.inner or shape.intermediate_size,
        "query": heads * size,
        "key": key,
        "heads": heads,
        "key_heads": keys,
        "size": size,
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
        "value": value,
        "rotated": heads * shape.qk_rope_head_dim,
        "q_rank": shape.q_lora_rank,
        "kv_rank": shape.kv_lora_rank,
        "rope": shape.qk_rope_head_dim,
        "key_values": key_values,
        "row_pairs": heads * longest / rows,  # pairs of one row at a time, where attention goes over rows
        "per_layer": of_layer,  # Gemma 4's further embedding of a layer
        "per_layers": of_layer * shape.num_hidden_layers,
    }


def _heads_of(shape: ModelShape, windowed: bool) -> tuple[float, float, float, float]:
    """Return how wide a head, all keys, all heads' values and all values are in the layers with or without a window.

    A layer that takes keys and values from another makes none, so these are means.
    """
    prefix = "" if windowed else WITHOUT_WINDOW
    read = [layer for layer in linear_layers(shape) if layer.group == f"{prefix}qkv"]
    out = next(layer for layer in linear_layers(shape) if layer.group == f"{prefix}o")
    query, key = read[0], read[1]
    values = read[2] if len(read) > 2 else key
    key_width, value_width = (layer.outputs * layer.count / out.count for layer in (key, values))
    return query.outputs / shape.num_attention_heads, key_width, float(out.inputs), value_width
