"""Models of an architecture in sizes that were drawn, all of their layers of one kind."""

from __future__ import annotations

import inspect
import json
import random
import sys
from typing import Any, NamedTuple

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sdk.advise.model_config import shape_of
from sdk.records import ModelShape
from tools.layer_bytes.one_step import LAYERS

WIDTHS = {
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "block_ff_dim", "dff"),
    "dense": ("intermediate_size_mlp",),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    "keys": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "size": ("head_dim",),
    "expert": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "shared": ("shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "chosen": ("num_experts_per_tok", "top_k_experts", "experts_per_token", "moe_topk", "moe_k"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "vocabulary": ("vocab_size", "vocab_size_per_layer_input"), "per_layer": ("hidden_size_per_layer_input",),
    "q_rank": ("q_lora_rank",), "kv_rank": ("kv_lora_rank",), "rope": ("qk_rope_head_dim",),
    "nope": ("qk_nope_head_dim",), "value": ("v_head_dim",),
}  # fmt: skip
FIXED = {
    "first_k_dense_replace": 0, "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_layer_start_index": 0,
    "moe_layer_interval": 1, "interleave_moe_layer_step": 1, "num_dense_layers": 0, "n_group": 1, "topk_group": 1,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_kv_shared_layers": 0,
}  # fmt: skip
# The same sizes of layers with or without a window, where they have names of their own: of one kind are all layers.
OF_OTHER_LAYERS = {
    "swa_num_attention_heads": "heads", "swa_num_key_value_heads": "keys", "swa_head_dim": "size",
}  # fmt: skip
WITH_WINDOW = ("sliding_attention", "hybrid_sliding")
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
# What is not taken over from the default config: it names layers, or is another name of a size that is set.
LEFT_OUT = {"model_type", "rope_parameters", "rope_scaling", "layers_block_type", "moe_layer_freq", "per_layer_config"}
ALIASES = ("experts", "chosen", "heads", "keys", "hidden", "layers", "expert")


class Way(NamedTuple):
    """What may be drawn: heads that are not as wide as hidden_size gives, and how many experts a token goes to; and
    whether layers have a window.
    """

    own_head_size: bool
    own_choice: bool = True
    windowed: bool = False


def variant(model_type: str, draw: random.Random, tokens: int, way: Way) -> Any:
    """Return transformers' config of this type."""
    own_head_size, own_choice, windowed = way
    whole = CONFIG_MAPPING[model_type]()
    text = whole.get_text_config()
    there = text.to_dict()
    named = {
        what: next((name for name in names if name in there or hasattr(text, name)), None)
        for what, names in WIDTHS.items()
    }
    if not own_choice:
        named["chosen"] = None
    if not own_head_size:
        named["size"] = None
    elif not named["size"] and 'getattr(config, "head_dim"' in _source(whole):
        named["size"] = "head_dim"
    values = _values(draw, bool(named["size"]), bool(named["keys"]), bool(named["per_layer"]), windowed)
    given: dict[str, Any] = {
        name: values[what]
        for what, name in named.items()
        if name is not None and (there.get(name, 0) is not None or what in ("size", "chosen", "keys"))
    }
    others = {name for what in ALIASES if what != "chosen" or own_choice for name in WIDTHS[what]}
    left_out = LEFT_OUT | (others - set(given) - {"intermediate_size"})
    given |= {name: value for name, value in FIXED.items() if name in there}
    if named["rope"]:
        given |= {"head_dim": values["rope"], "num_key_value_heads": values["heads"]}
    given |= {name: values[what] for name, what in OF_OTHER_LAYERS.items() if name in there}
    if named["per_layer"]:  # what lies beside all layers grows with their number
        given |= {name: draw.choice([LAYERS, LAYERS + 1, LAYERS + 2]) for name in WIDTHS["layers"] if name in given}
        given |= {"global_head_dim": values["size"]} if windowed else {}  # else as wide as published
    if "index_topk" in there:  # as in rows that are shorter than that
        given["index_topk"] = tokens
    layers = next(given[name] for name in WIDTHS["layers"] if name in given)
    if isinstance(there.get("layer_types"), list):
        kinds = sorted(set(there["layer_types"]), key=there["layer_types"].index)
        without = [kind for kind in kinds if kind not in WITH_WINDOW]
        chosen = "full_attention" if "full_attention" in kinds else (without or kinds)[0]
        if windowed:
            chosen = next(kind for kind in kinds if kind in WITH_WINDOW)
        given["layer_types"] = [chosen] * layers
    if isinstance(there.get("mlp_layer_types"), list):
        given["mlp_layer_types"] = ["sparse"] * layers
    if "mamba_n_heads" in there:
        given |= {"mamba_expand": 2, "mamba_d_head": 64, "mamba_n_heads": values["hidden"] // 32}
    if "word_embed_proj_dim" in there:  # OPT's embeddings, which are as wide as its layers in all but one size
        given["word_embed_proj_dim"] = values["hidden"]
    given |= {name: tokens for name in POSITIONS if name in there or name == POSITIONS[0]}
    if isinstance(there.get("rope_parameters"), dict):
        given["rope_parameters"] = there["rope_parameters"]
    made = type(text)(**{**{name: value for name, value in there.items() if name not in left_out}, **given})
    # A decoder of a model for text and images may be known under the whole model's name only (Emu3).
    known = made.model_type == model_type or type(text) in transformers.AutoModelForCausalLM._model_mapping
    config = made if known else type(whole)(text_config=made.to_dict())
    if windowed:
        config.get_text_config().layer_types = [chosen] * layers  # Gemma 4's last one would have none
    return config


def shape_of_variant(config: Any, model_type: str) -> ModelShape:
    read = json.loads(json.dumps(config.to_dict(), default=str))
    return shape_of(read, model_type, "a variant", "config.json")


def _source(config: Any) -> str:
    return inspect.getsource(sys.modules[transformers.AutoModelForCausalLM._model_mapping[type(config)].__module__])


def _values(draw: random.Random, own_head_size: bool, grouped: bool, per_layer: bool, windowed: bool) -> dict[str, int]:
    size, groups = draw.choice([32, 64, 96, 128]), draw.choice([2, 3, 4])
    keys = draw.choice([2, 3, 4])  # with one only, views stand where others need copies
    heads = groups * keys * (2 if windowed else 1)  # MiMo-V2 has twice the keys there
    return {
        "hidden": 64 * draw.choice([3, 4, 5, 7, 9, 11]) if own_head_size else heads * size,
        "inner": 64 * draw.choice([5, 8, 13, 17, 24]),
        "dense": 64 * draw.choice([5, 8, 13, 17, 24]),
        "heads": heads,
        "keys": keys if grouped else heads,
        "size": size,
        "expert": 64 * draw.choice([1, 2, 3, 5, 8]),
        "shared": 64 * draw.choice([1, 2, 4, 7, 9]),
        "layers": LAYERS,
        "chosen": draw.choice([2, 3, 4, 6]),
        "experts": draw.choice([8, 12, 16, 24]),
        "vocabulary": 128,
        "per_layer": 32 * draw.choice([2, 3, 5, 8]) if per_layer else 0,
        "q_rank": 64 * draw.choice([2, 3, 5, 7]),
        "kv_rank": 64 * draw.choice([1, 2, 4, 6]),
        "rope": 32 * draw.choice([1, 2]),
        "nope": 32 * draw.choice([1, 2, 3, 4]),
        "value": 32 * draw.choice([1, 2, 3, 5]),
    }
