"""What a model is made of: its linear layers, which are quantized and adapted, and everything that stays as it is.

All of it as transformers 5 builds the model: it keeps a layer's routed experts in two parameters of three dimensions,
which bitsandbytes leaves as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sdk.records import ModelShape

# What bears no adapter in a model with routed experts: the engine adapts all linear layers outside the MLPs there.
MLPS = {"gate_up", "down", "shared_gate_up", "shared_down", "shared_gate", "mlp_router", "vision_mlp"}
BESIDE_TEXT = ("vision", "audio")  # groups of what looks at images and listens to sound, which text never passes
WITHOUT_WINDOW = "global_"  # of groups in layers without a window, where their heads differ from those with one


# Advice asks these of one shape thousands of times, once for each way to train that it weighs.
_of_each_shape = lru_cache(maxsize=64)


class Linear(NamedTuple):
    """A torch.nn.Linear that stands in `count` decoder layers; those of one group read the same input.

    Groups beside qkv, o, gate_up and down: q, q_a, q_b, kv_a and kv_b of MLA; shared_… of what stands beside routed
    experts; state_… of layers with a state instead of attention; global_… of layers without a window that differ;
    indexer_…, per_layer_…, attention_gate, router, mlp_router; vision, vision_mlp, audio.
    """

    inputs: int
    outputs: int
    group: str
    count: int  # type: ignore[assignment]


@_of_each_shape
def linear_layers(shape: ModelShape) -> tuple[Linear, ...]:
    """Return all linear layers but the head and the routed experts."""
    if shape.linear_layers:
        return tuple(Linear(*layer) for layer in shape.linear_layers)
    return (*attention_layers(shape, shape.num_hidden_layers), *mlp_layers(shape))


def attention_layers(shape: ModelShape, count: int) -> tuple[Linear, ...]:
    hidden, heads = shape.hidden_size, shape.num_attention_heads
    query, value = heads * shape.head_dim, heads * (shape.v_head_dim or shape.head_dim)
    if shape.kv_lora_rank:
        unrotated = shape.head_dim - shape.qk_rope_head_dim
        q = [Linear(hidden, query, "q", count)]
        if shape.q_lora_rank:
            q = [Linear(hidden, shape.q_lora_rank, "q_a", count), Linear(shape.q_lora_rank, query, "q_b", count)]
        return (
            *q,
            Linear(hidden, shape.kv_lora_rank + shape.qk_rope_head_dim, "kv_a", count),
            Linear(shape.kv_lora_rank, heads * unrotated + value, "kv_b", count),
            Linear(value, hidden, "o", count),
        )
    key = shape.num_key_value_heads * shape.head_dim
    out = Linear(query, hidden, "o", count)
    if shape.fused_projections:
        return (Linear(hidden, query + 2 * key, "qkv", count), out)
    return (Linear(hidden, query, "qkv", count), *[Linear(hidden, key, "qkv", count)] * 2, out)


def mlp_layers(shape: ModelShape) -> tuple[Linear, ...]:
    layers, fused = shape.num_hidden_layers, shape.fused_projections
    if not shape.num_experts:
        return mlp(shape, shape.intermediate_size, layers, fused)
    dense = mlp(shape, shape.intermediate_size, shape.num_dense_layers, fused)
    beside = mlp(shape, shape.shared_expert_intermediate_size, layers - shape.num_dense_layers, fused, "shared_")
    return (*dense, *beside)


def mlp(shape: ModelShape, inner: int, count: int, fused: bool, prefix: str = "") -> tuple[Linear, ...]:
    if not count or not inner:
        return ()
    hidden = shape.hidden_size
    down = Linear(inner, hidden, f"{prefix}down", count)
    if fused and shape.gated_mlp:
        return (Linear(hidden, 2 * inner, f"{prefix}gate_up", count), down)
    up = Linear(hidden, inner, f"{prefix}gate_up", count)
    return (up, up, down) if shape.gated_mlp else (up, down)


@_of_each_shape
def linear_parameters(shape: ModelShape) -> int:
    return sum(layer.inputs * layer.outputs * layer.count for layer in linear_layers(shape))


def expert_parameters(shape: ModelShape) -> int:
    """Count the parameters of the routed experts, all of them."""
    matrices = 3 if shape.gated_mlp else 2
    return _sparse_layers(shape) * shape.num_experts * matrices * shape.hidden_size * shape.moe_intermediate_size


def other_parameters(shape: ModelShape) -> int:
    """Count embeddings, head, norms, biases and routers, which stay in 16 bits whatever the method."""
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)
    further = shape.further_parameters
    if further is None:
        further = (2 * shape.num_hidden_layers + 1) * shape.hidden_size
    router = 0 if _router_is_linear(shape) else _sparse_layers(shape) * shape.num_experts * shape.hidden_size
    return embeddings + further + router


@_of_each_shape
def parameters(shape: ModelShape) -> int:
    return linear_parameters(shape) + expert_parameters(shape) + other_parameters(shape)


def active_parameters(shape: ModelShape) -> int:
    """Count the weights that a token is multiplied with, the head among them, embeddings not."""
    share = shape.num_experts_per_tok / shape.num_experts if shape.num_experts else 0
    linear = sum(
        layer.inputs * layer.outputs * layer.count
        for layer in linear_layers(shape)
        if not layer.group.startswith(BESIDE_TEXT)
    )
    return linear + round(expert_parameters(shape) * share) + shape.vocab_size * shape.hidden_size


@_of_each_shape
def adapted_layers(shape: ModelShape) -> tuple[Linear, ...]:
    """Return the linear layers that bear adapters: all, or those outside the MLPs where there are routed experts."""
    return tuple(layer for layer in linear_layers(shape) if not (shape.num_experts and layer.group in MLPS))


@_of_each_shape
def adapted_by_text(shape: ModelShape) -> tuple[Linear, ...]:
    """Return those of them that a token of text goes through."""
    return tuple(layer for layer in adapted_layers(shape) if not layer.group.startswith(BESIDE_TEXT))


def adapter_parameters(shape: ModelShape, lora_r: int) -> int:
    """Count LoRA's parameters."""
    return lora_r * sum((layer.inputs + layer.outputs) * layer.count for layer in adapted_layers(shape))


def _sparse_layers(shape: ModelShape) -> int:
    return shape.num_hidden_layers - shape.num_dense_layers if shape.num_experts else 0


def _router_is_linear(shape: ModelShape) -> bool:
    return any(group.endswith("router") for _, _, group, _ in shape.linear_layers)


def last_mlp(shape: ModelShape) -> int:
    """Return the weights of the last layer's MLP where a CPU computes it for learned tokens only, else 0.

    sdk/train/engine/last_mlp.py decides, by the layer itself.
    """
    if shape.num_experts or shape.fused_projections or not shape.gated_mlp:
        return 0
    return sum(layer.inputs * layer.outputs for layer in linear_layers(shape) if layer.group in ("gate_up", "down"))
