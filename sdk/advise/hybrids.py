"""Models in which some layers, or a part of each, have a state instead of attention (Mamba, convolution, delta net)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdk.advise.config_keys import ConfigKeys
from sdk.advise.layers import Linear, attention_layers, mlp, mlp_layers
from sdk.records import ModelShape

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}  # of Nemotron-H's hybrid_override_pattern


def spelled_out(model_type: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config with what these models state in ways of their own under the usual keys."""
    found: dict[str, Any] = {}
    layers = config.get("num_hidden_layers")
    count = layers if isinstance(layers, int) and 0 < layers <= 10_000 else 0  # another is refused later
    if model_type == "nemotron_h":
        pattern, types = config.get("hybrid_override_pattern"), config.get("layers_block_type")
        if types is None and isinstance(pattern, str) and len(pattern) <= 10_000:
            types = [_LETTERS.get(letter, "unknown") for letter in pattern]
        if isinstance(types, list) and types:
            found = {"layers_block_type": types, "num_hidden_layers": len(types)}
    elif model_type == "jamba" and config.get("layer_types") is None:
        period, offset = config.get("attn_layer_period", 8), config.get("attn_layer_offset", 4)
        if isinstance(period, int) and isinstance(offset, int) and period > 0:
            found["layer_types"] = ["attention" if at % period == offset else "mamba" for at in range(count)]
    elif model_type in ("lfm2", "lfm2_moe", "bamba") and config.get("layer_types") is None:
        name, otherwise = ("attn_layer_indices", "mamba") if model_type == "bamba" else ("full_attn_idxs", "conv")
        chosen = config.get(name)
        with_attention = {at for at in chosen if isinstance(at, int)} if isinstance(chosen, list) else None
        if with_attention is None and model_type != "bamba":
            with_attention = set(range(count))
        found["layer_types"] = ["attention" if at in (with_attention or ()) else otherwise for at in range(count)]
    if model_type.startswith("lfm2"):
        found["tie_word_embeddings"] = config.get("tie_embedding", config.get("tie_word_embeddings"))
        found["intermediate_size"] = config.get("block_ff_dim", config.get("intermediate_size"))
    return {**config, **found}


def hybrid(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """Return (parameters of the states beside linear layers, all linear layers)."""
    return HYBRIDS[shape.model_type](shape, keys)


def lfm2_width(keys: ConfigKeys, inner: int) -> int:
    """Return how wide an MLP of LFM2 is: two thirds of what its config says, rounded up."""
    if not keys.flag("block_auto_adjust_ff_dim", True):
        return inner
    multiplier = keys.config.get("block_ffn_dim_multiplier")
    factor = multiplier if isinstance(multiplier, int | float) and 0 < multiplier < 100 else 1.0
    block = keys.whole("block_multiple_of", default=256, low=1)
    return block * -(-int(factor * (2 * inner // 3)) // block)


def _mamba_2(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List the layers of Granite 4 and Bamba: mostly Mamba 2; Granite's MLPs have one layer for gate and up."""
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    further, state = 0, []
    if states:
        heads = keys.whole("mamba_n_heads", default=128)
        inner = keys.whole("mamba_expand", default=2) * hidden
        mixed = inner + 2 * keys.whole("mamba_n_groups", default=1) * keys.whole("mamba_d_state", default=256)
        state = [Linear(hidden, inner + mixed + heads, "state_in", states), Linear(inner, hidden, "state_out", states)]
        further = states * (mixed * (keys.whole("mamba_d_conv", default=4) + 1) + 3 * heads + inner)
    attention = attention_layers(shape, shape.num_hidden_layers - states)
    inner = shape.shared_expert_intermediate_size if shape.num_experts else shape.intermediate_size
    prefix = "shared_" if shape.num_experts else ""
    fused = shape.model_type == "granitemoehybrid"
    return further, (*state, *attention, *mlp(shape, inner, shape.num_hidden_layers, fused, prefix))


def _falcon_h1(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List Falcon-H1's layers, each of which has attention and Mamba 2 side by side."""
    hidden, layers = shape.hidden_size, shape.num_hidden_layers
    inner = keys.whole("mamba_d_ssm", default=keys.whole("mamba_expand", default=2) * hidden)
    heads = keys.whole("mamba_n_heads", default=128)
    mixed = inner + 2 * keys.whole("mamba_n_groups", default=1) * keys.whole("mamba_d_state", default=256)
    further = mixed * (keys.whole("mamba_d_conv", default=4) + 1) + 3 * heads
    further += inner if keys.flag("mamba_rms_norm", False) else 0
    state = (Linear(hidden, inner + mixed + heads, "state_in", layers), Linear(inner, hidden, "state_out", layers))
    return layers * further, (*state, *attention_layers(shape, layers), *mlp_layers(shape))


def _jamba(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List Jamba's layers: mostly Mamba 1; every other MLP has experts."""
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    inner = keys.whole("mamba_expand", default=2) * hidden
    width = keys.whole("mamba_d_state", default=16)
    automatic = keys.config.get("mamba_dt_rank", "auto") == "auto"
    rank = -(-hidden // 16) if automatic else keys.whole("mamba_dt_rank", low=1)
    state = (
        Linear(hidden, 2 * inner, "state_in", states),
        Linear(inner, rank + 2 * width, "state_x", states),
        Linear(rank, inner, "state_dt", states),
        Linear(inner, hidden, "state_out", states),
    )
    further = inner * (keys.whole("mamba_d_conv", default=4) + 1 + width + 2) + rank + 2 * width
    return states * further, (
        *state,
        *attention_layers(shape, shape.num_hidden_layers - states),
        *mlp_layers(shape),
    )


def _lfm2(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List LFM2's layers: short convolutions between two gates, and attention."""
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    state = (Linear(hidden, 3 * hidden, "state_in", states), Linear(hidden, hidden, "state_out", states))
    further = keys.whole("conv_L_cache", default=3) * hidden + (5 * hidden if keys.flag("conv_bias", False) else 0)
    return states * further, (
        *state,
        *attention_layers(shape, shape.num_hidden_layers - states),
        *mlp_layers(shape),
    )


def _nemotron_h(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List Nemotron-H's layers, each of which is one thing only: Mamba 2, attention, an MLP or experts."""
    if keys.has("moe_latent_size"):
        keys.faults.append("moe_latent_size: experts in a space of their own are not counted here")
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    kinds = keys.each("layers_block_type", shape.num_hidden_layers) or []
    heads = keys.whole("mamba_num_heads", default=128)
    inner = heads * keys.whole("mamba_head_dim", default=64)
    mixed = inner + 2 * keys.whole("n_groups", "mamba_n_groups", default=8) * keys.whole("ssm_state_size", default=128)
    kernel = keys.whole("conv_kernel", "mamba_d_conv", default=4)
    with_attention = sum(kind in ("attention", "full_attention") for kind in kinds)
    dense, sparse = kinds.count("mlp"), kinds.count("moe")
    if with_attention + dense + sparse + states < len(kinds):
        keys.faults.append("layers_block_type, or hybrid_override_pattern, names a kind of layer that is not known")
    layers = (
        Linear(hidden, inner + mixed + heads, "state_in", states),
        Linear(inner, hidden, "state_out", states),
        *attention_layers(shape, with_attention),
        *mlp(shape, shape.intermediate_size, dense, fused=False),
        *mlp(shape, shape.shared_expert_intermediate_size, sparse, False, "shared_"),
    )
    return states * (mixed * (kernel + 1) + 3 * heads + inner), tuple(layer for layer in layers if layer.count)


def _olmo_hybrid(shape: ModelShape, keys: ConfigKeys) -> tuple[int, tuple[Linear, ...]]:
    """List the layers of OLMo's hybrid: gated delta nets, and attention in every fourth."""
    hidden, states = shape.hidden_size, shape.num_linear_attention_layers
    heads, width = keys.whole("linear_num_value_heads", low=1), keys.whole("linear_value_head_dim", low=1)
    key, value = keys.whole("linear_num_key_heads", low=1) * keys.whole("linear_key_head_dim", low=1), heads * width
    convolved = (2 * key + value) * keys.whole("linear_conv_kernel_dim", default=4)
    layers = (
        *(Linear(hidden, outputs, "state_in", states) for outputs in (key, key, value, value, heads, heads)),
        Linear(value, hidden, "state_out", states),
        *attention_layers(shape, shape.num_hidden_layers - states),
        *mlp_layers(shape),
    )
    return states * (convolved + 2 * heads + width), layers


HYBRIDS: dict[str, Callable[[ModelShape, ConfigKeys], tuple[int, tuple[Linear, ...]]]] = {
    "bamba": _mamba_2,
    "falcon_h1": _falcon_h1,
    "granitemoehybrid": _mamba_2,
    "jamba": _jamba,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "nemotron_h": _nemotron_h,
    "olmo_hybrid": _olmo_hybrid,
}
