"""What the numbers of a ModelShape do not give: norms and biases, and linear layers out of the ordinary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdk.advise.architectures import Architecture
from sdk.advise.config_keys import ConfigKeys
from sdk.advise.hybrids import HYBRIDS, hybrid
from sdk.advise.layers import WITHOUT_WINDOW, Linear, attention_layers, linear_layers, mlp, mlp_layers
from sdk.records import ModelShape

_GEMMA_4_NORMS_BY_EXPERTS = 3
_CHANNELS = ("subsampling_conv_channels (first)", "subsampling_conv_channels (second)")
_HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim")


def listed(
    shape: ModelShape, keys: ConfigKeys, outer: Mapping[str, Any], architecture: Architecture
) -> tuple[int, tuple[Linear, ...]]:
    """Return (parameters of neither embeddings, linear layers, experts nor routers; linear layers that need a list).

    outer: the whole config; keys: its text_config.
    """
    further = _norms(shape, keys, architecture) + _biases(shape, keys, architecture)
    if architecture.positions is not None:
        further += (shape.max_position_embeddings + architecture.positions) * shape.hidden_size
    if shape.model_type in ("gemma4", "gemma4_text"):
        more, layers = _gemma_4(shape, keys)
    else:
        more, layers = _rest(shape, keys)
    if shape.model_type in ("gemma3", "gemma3_text", "gemma4", "gemma4_text"):
        for beside, others in (_vision(shape, outer, keys), _audio(shape, outer, keys)):
            if others:
                more, layers = more + beside, (*(layers or linear_layers(shape)), *others)
    return further + more, layers


def _norms(shape: ModelShape, keys: ConfigKeys, architecture: Architecture) -> int:
    layers, hidden = shape.num_hidden_layers, shape.hidden_size
    count = architecture.norms
    if shape.model_type == "stablelm" and keys.flag("use_parallel_residual", False):
        count = 1
    if shape.model_type == "falcon":
        count = _falcon_norms(keys)
    norms = layers * count + architecture.final_norm + architecture.first_norm
    total = norms * hidden * (2 if architecture.norm_bias else 1)
    switched = not architecture.qk_norm_key or keys.flag(architecture.qk_norm_key, False)
    width = 2 * shape.head_dim
    if architecture.qk_norm == "width":
        width = (shape.num_attention_heads + shape.num_key_value_heads) * shape.head_dim
    if architecture.qk_norm and switched:
        width *= 2 if architecture.norm_bias else 1
        total += (layers - shape.num_linear_attention_layers) * width
    if shape.kv_lora_rank:
        total += layers * (shape.q_lora_rank + shape.kv_lora_rank)
    return total


def _falcon_norms(keys: ConfigKeys) -> int:
    """Count a layer's norms: one for attention and MLP, where both read the same, or one for each."""
    parallel = keys.flag("parallel_attn", True)
    if keys.flag("new_decoder_architecture", False):
        return keys.whole("num_ln_in_parallel_attn", default=2, low=1, high=2) if parallel else 2
    return 1 if parallel else 2


def _biases(shape: ModelShape, keys: ConfigKeys, architecture: Architecture) -> int:
    layers, hidden = shape.num_hidden_layers, shape.hidden_size
    sparse = layers - shape.num_dense_layers if shape.num_experts else 0
    total = shape.num_attention_heads * layers if architecture.sinks else 0
    if _switched(keys, architecture.attention_bias_key, architecture.attention_bias) and not shape.kv_lora_rank:
        width = (shape.num_attention_heads + 2 * shape.num_key_value_heads) * shape.head_dim
        with_attention = layers - shape.num_linear_attention_layers
        read = 0 if architecture.biased == "o" else width
        written = 0 if architecture.biased == "qkv" else hidden
        total += with_attention * (read + written)
    if _switched(keys, architecture.mlp_bias_key, architecture.mlp_bias):
        ups = 2 if shape.gated_mlp else 1
        total += (layers - sparse) * (ups * shape.intermediate_size + hidden)
        total += sparse * (ups * shape.shared_expert_intermediate_size + hidden)
    if _switched(keys, architecture.head_bias_key, architecture.head_bias):
        total += shape.vocab_size
    if architecture.router_bias:
        total += sparse * shape.num_experts
    if shape.model_type == "gpt_oss":
        total += sparse * shape.num_experts * (2 * shape.moe_intermediate_size + hidden)
    return total


def _switched(keys: ConfigKeys, name: str, default: bool) -> bool:
    return keys.flag(name, default) if name else default


def _rest(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    hidden, layers, kind = shape.hidden_size, shape.num_hidden_layers, shape.model_type
    sparse = layers - shape.num_dense_layers if shape.num_experts else 0
    if kind in ("glm", "glm4"):
        return 0, (*attention_layers(shape, layers), *mlp(shape, shape.intermediate_size, layers, fused=True))
    if kind == "gpt_neox_japanese":
        return hidden, ()  # one bias of the last layer's attention
    if kind in ("apertus", "apertus1p5_text"):
        return 2 * layers, ()  # of its activation
    if kind == "qwen2_moe":
        return 0, (*linear_layers(shape), Linear(hidden, 1, "shared_gate", sparse))
    if kind == "hunyuan_v1_moe":
        return 0, (*linear_layers(shape), Linear(hidden, shape.num_experts, "mlp_router", sparse))
    if kind in ("deepseek_v32", "glm_moe_dsa"):
        return _indexed(shape, keys, layers)
    if kind == "hy_v4":
        return _hy_v4(shape, keys)
    if kind == "mimo_v2_flash":
        return _mimo(shape, keys)
    if kind == "inkling_text":
        return _inkling(shape, keys)
    if kind == "qwen3_next" or kind.startswith("qwen3_5"):
        return _delta_nets(shape, keys)
    if kind in HYBRIDS:
        return hybrid(shape, keys)
    return 0, ()


def _indexed(shape: ModelShape, keys: ConfigKeys, layers: int) -> tuple[int, tuple[Linear, ...]]:
    """List the layers where so many have an indexer, which chooses the tokens to attend to (DeepSeek-V3.2)."""
    hidden = shape.hidden_size
    heads, width = keys.whole("index_n_heads", low=1), keys.whole("index_head_dim", low=1)
    indexer = (
        Linear(shape.q_lora_rank, heads * width, "indexer_q", layers),
        Linear(hidden, width, "indexer_k", layers),
        Linear(hidden, heads, "indexer_k", layers),
    )
    return layers * 2 * width, (*linear_layers(shape), *indexer)


def _hy_v4(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List HunYuan 4's layers: a gate on what attention gives, indexers that further layers share, and several streams
    of hidden states, which are mixed before and after each part.
    """
    hidden, layers, heads = shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads
    kinds = keys.config.get("indexer_types")
    own = sum(kind == "full" for kind in kinds[:layers]) if isinstance(kinds, list) else layers
    further, linear = _indexed(shape, keys, own)
    streams = keys.whole("hc_mult", default=4, low=1, high=100)
    mixing = 2 * layers * (2 * streams * (streams * hidden + 1) + 2) + streams * (streams * hidden + 1) + 1
    gate = Linear(hidden, heads * shape.v_head_dim, "attention_gate", layers)
    return further + mixing + heads * layers, (*linear, gate)


def _mimo(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List MiMo-V2's layers: values narrower than keys, and twice the heads of both where there is a window."""
    hidden, heads, sliding = shape.hidden_size, shape.num_attention_heads, shape.num_sliding_layers
    value = keys.whole("v_head_dim", default=shape.head_dim, low=1)
    made = []
    for prefix, count, key_heads in (
        ("", sliding, 2 * shape.num_key_value_heads),
        (WITHOUT_WINDOW, shape.num_hidden_layers - sliding, shape.num_key_value_heads),
    ):
        outputs = (heads * shape.head_dim, key_heads * shape.head_dim, key_heads * value)
        made += [Linear(hidden, width, f"{prefix}qkv", count) for width in outputs]
        made.append(Linear(heads * value, hidden, f"{prefix}o", count))
    return heads * sliding, (*(layer for layer in made if layer.count), *mlp_layers(shape))


def _inkling(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List Inkling's layers: positions from a layer of their own, convolutions behind keys, values and both parts, and
    shared experts in parameters of three dimensions, as the routed ones.
    """
    hidden, sliding, layers = shape.hidden_size, shape.num_sliding_layers, shape.num_hidden_layers
    relative, kernel = keys.whole("d_rel", default=16, low=1), keys.whole("conv_kernel_size", default=4, low=1)
    window, extent = shape.sliding_window, keys.whole("rel_extent", default=1024, low=1)
    made = []
    further = layers * (2 * hidden * kernel + 3 * hidden * shape.shared_expert_intermediate_size)
    further += layers * (keys.whole("n_shared_experts", default=0) * hidden + 1)  # the router's, and a scale
    for prefix, names, count, positions in (
        ("", [f"swa_{name}" for name in _HEADS], sliding, window),
        (WITHOUT_WINDOW, _HEADS, layers - sliding, extent),
    ):
        heads, key_heads, size = (keys.whole(name, low=1) for name in names)
        outputs = (heads * size, key_heads * size, key_heads * size, heads * relative)
        made += [Linear(hidden, width, f"{prefix}qkv", count) for width in outputs]
        made.append(Linear(heads * size, hidden, f"{prefix}o", count))
        further += count * (2 * key_heads * size * kernel + relative * positions)
    return further, tuple(layer for layer in made if layer.count)


def _delta_nets(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List the layers of Qwen3-Next and Qwen3.5: gated delta nets, and attention whose queries carry a gate."""
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    value_heads, value_width = keys.whole("linear_num_value_heads", low=1), keys.whole("linear_value_head_dim", low=1)
    key = keys.whole("linear_num_key_heads", low=1) * keys.whole("linear_key_head_dim", low=1)
    value = value_heads * value_width
    if shape.model_type == "qwen3_next":
        projections = [2 * key + 2 * value, 2 * value_heads]
    else:
        projections = [2 * key + value, value, value_heads, value_heads]
    convolved = (2 * key + value) * keys.whole("linear_conv_kernel_dim", default=4)
    query, *others = attention_layers(shape, shape.num_hidden_layers - states)
    gate = (Linear(hidden, 1, "shared_gate", shape.num_hidden_layers),) if shape.num_experts else ()
    layers = (
        *(Linear(hidden, width, "state_in", states) for width in projections),
        Linear(value, hidden, "state_out", states),
        query._replace(outputs=2 * query.outputs),
        *others,
        *mlp_layers(shape),
        *gate,
    )
    return states * (convolved + 2 * value_heads + value_width), layers


def _gemma_4(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List Gemma 4's layers.

    Those without a window have wider heads, fewer of keys, and maybe no values of their own; the last layers may
    take keys and values from others; a layer may get a further embedding of its own.
    """
    hidden, layers, heads = shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads
    full_width = keys.whole("global_head_dim", default=512, low=1)
    same = keys.flag("attention_k_eq_v", False)
    full_heads = keys.whole("num_global_key_value_heads", default=0) if same else 0
    full_key = (full_heads or shape.num_key_value_heads) * full_width
    sliding, shared = shape.num_sliding_layers, keys.whole("num_kv_shared_layers", default=0, high=layers)
    kinds = keys.each("layer_types", layers) or []
    full_own = sum(kind == "full_attention" for kind in kinds[: layers - shared]) if kinds else (layers - shared) // 6
    own = {"": layers - shared - full_own, WITHOUT_WINDOW: full_own}
    made = []
    further = 0
    for prefix, count, width, key in (
        ("", sliding, shape.head_dim, shape.num_key_value_heads * shape.head_dim),
        (WITHOUT_WINDOW, layers - sliding, full_width, full_key),
    ):
        values = 1 if prefix and same else 2
        made.append(Linear(hidden, heads * width, f"{prefix}qkv", count))
        made += [Linear(hidden, key, f"{prefix}qkv", own[prefix])] * values
        made.append(Linear(heads * width, hidden, f"{prefix}o", count))
        further += (count + own[prefix]) * width
    if shape.num_experts:
        made += mlp(shape, shape.shared_expert_intermediate_size, layers, False, "shared_")
        made.append(Linear(hidden, shape.num_experts, "router", layers))
        further += layers * (_GEMMA_4_NORMS_BY_EXPERTS * hidden + hidden + shape.num_experts)
    else:
        double = shared if keys.flag("use_double_wide_mlp", False) else 0
        made += mlp(shape, shape.intermediate_size, layers - double, False)
        made += mlp(shape, 2 * shape.intermediate_size, double, False)
    width = keys.whole("hidden_size_per_layer_input", default=256)
    if width:
        made += [Linear(hidden, width, "per_layer_in", layers), Linear(width, hidden, "per_layer_out", layers)]
        made.append(Linear(hidden, layers * width, "per_layer_all", 1))
        vocabulary = keys.whole("vocab_size_per_layer_input", default=262_144)
        further += layers * hidden + width + vocabulary * layers * width
    return further, tuple(layer for layer in made if layer.count)


def _audio(shape: ModelShape, outer: Mapping[str, Any], text: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List the layers that listen to sound (Gemma 4), which are loaded, quantized and adapted as those for images."""
    config = outer.get("audio_config")
    if not isinstance(config, dict):
        return 0, ()
    keys = ConfigKeys(config, text.faults)
    hidden = keys.whole("hidden_size", default=1024, low=1)
    layers = keys.whole("num_hidden_layers", default=12, low=1, high=10_000)
    heads, out = (
        keys.whole("num_attention_heads", default=8, low=1),
        keys.whole("output_proj_dims", default=1536, low=1),
    )
    kernel = keys.whole("conv_kernel_size", default=5, low=1)
    channels = keys.each("subsampling_conv_channels", 2) or [128, 32]
    named = ConfigKeys(dict(zip(_CHANNELS, channels, strict=True)), text.faults)
    first, second = (named.whole(name, low=1, high=100_000) for name in _CHANNELS)
    outputs = (4 * hidden, 4 * hidden, *[hidden] * 6, 2 * hidden)  # of two MLPs, attention and a convolution
    made = (
        Linear(first // 4 * second, hidden, "audio", 1),
        *(Linear(hidden, width, "audio", layers) for width in outputs),
        *[Linear(4 * hidden, hidden, "audio", layers)] * 2,
        Linear(hidden, out, "audio", 1),
        Linear(out, shape.hidden_size, "audio", 1),
    )
    convolved = 9 * first + 9 * first * second + first + second
    return convolved + layers * (hidden * (kernel + 9) + hidden // heads) + out, made


def _vision(shape: ModelShape, outer: Mapping[str, Any], text: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List the layers that look at images, which are loaded, quantized and adapted though no text passes them."""
    config = outer.get("vision_config")
    if not isinstance(config, dict):
        return 0, ()
    keys = ConfigKeys(config, text.faults)
    hidden, inner = keys.whole("hidden_size", low=1), keys.whole("intermediate_size", low=1)
    layers = keys.whole("num_hidden_layers", low=1, high=10_000)
    patch = keys.whole("patch_size", default=16, low=1, high=10_000)
    square = Linear(hidden, hidden, "vision", layers)
    up, down = Linear(hidden, inner, "vision_mlp", layers), Linear(inner, hidden, "vision_mlp", layers)
    if shape.model_type.startswith("gemma3"):
        pixels = keys.whole("image_size", default=224, low=1, high=1_000_000) // patch
        norms = 4 * hidden * layers + 2 * hidden
        biases = layers * (5 * hidden + inner) + hidden
        embedded = hidden * (3 * patch * patch + pixels * pixels)
        projected = hidden * shape.hidden_size + hidden
        return norms + biases + embedded + projected, (*[square] * 4, up, down)
    heads = keys.whole("head_dim", default=64, low=1)
    into = (Linear(3 * patch * patch, hidden, "vision", 1), Linear(hidden, shape.hidden_size, "vision", 1))
    positions = 2 * keys.whole("position_embedding_size", default=10_240) * hidden
    return layers * (4 * hidden + 2 * heads) + positions, (*[square] * 4, up, up, down, *into)
