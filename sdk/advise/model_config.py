"""The shape of a model from its config.json, as it lies in a folder or was fetched. No code of the model runs.

Nothing of the file is trusted: it is read up to a size, only as a regular file, and every number is bounded before
something is computed from it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdk.advise.architectures import ARCHITECTURES, LLAMA, UNCOUNTED, Architecture
from sdk.advise.config_keys import ConfigKeys
from sdk.advise.hybrids import lfm2_width, spelled_out
from sdk.advise.layers import parameters
from sdk.advise.parts import listed
from sdk.decoders import language_part, named_type, not_decoder_fault
from sdk.errors import InvalidInput
from sdk.files.regular_files import linked, open_regular, read_regular
from sdk.records import ModelShape, fault_text
from sdk.stored_formats import stored_format, stored_format_fault

SHAPE_BYTES = 1 << 20  # of a config.json; no published one comes near
HEADER_BYTES = 100 << 20  # what the safetensors library itself accepts
WEIGHT_FILES = 1000
LAYERS = 10_000
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_DIFFERENT = 0.02  # from where on it is said
_DIMENSIONS, _LENGTH = 8, 1 << 40  # of a tensor
_COUNTED = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_LEFT_OUT = {"I64", "BOOL"}  # positions and masks; other whole numbers are packed weights
STATES = {"linear_attention", "mamba", "mamba2", "conv", "recurrent"}
WINDOWED = {"sliding_attention", "chunked_attention", "hybrid_sliding"}


def read_shape(path: Path) -> ModelShape:
    """Read the shape that a config.json of Hugging Face's format states, with what its folder's weight files hold.

    InvalidInput has everything that is wrong with it.
    """
    config, faults = _read(path)
    folder = path.absolute().parent
    shape = shape_of(config, folder.name or "model", "its config.json", str(path), faults)
    counted = _parameters_in_files(folder)
    if counted is None:
        return shape
    notes = shape.approximations
    if abs(counted / parameters(shape) - 1) > _DIFFERENT:
        notes = (*notes, f"Its files hold {counted:,} parameters; {parameters(shape):,} follow from its config.json.")
    return shape.model_copy(update={"parameters_in_files": counted, "approximations": notes})


def shape_of(config: Mapping[str, Any], name: str, source: str, where: str, faults: Sequence[str] = ()) -> ModelShape:
    """Read a shape from a config. where: what the error calls it; faults: what is known to be wrong with it."""
    for fault in (not_decoder_fault(config), _uncounted_fault(config)):
        if fault is not None:
            raise InvalidInput(f"{where} does not describe a model that can be adapted.", [fault])
    text = language_part(config)
    if not isinstance(text, dict):
        raise InvalidInput(f"{where}: what it gives for its language model, such as text_config, must be an object.")
    found = list(faults)
    refused = stored_format_fault({**config, "text_config": text})
    if refused is not None:
        found.append(refused)
    model_type = next((kind for kind in (text.get("model_type"), config.get("model_type")) if kind), "")
    if not isinstance(model_type, str) or not _MODEL_TYPE.fullmatch(model_type):
        model_type = "unknown"
    architecture = ARCHITECTURES.get(model_type)
    known = architecture or LLAMA
    keys = ConfigKeys({**known.defaults, **spelled_out(model_type, text)}, found)
    values = _values(keys, ConfigKeys(config, found), known)
    if not found:
        notes = [architecture.rough] if architecture and architecture.rough else []
        if (stored := stored_format(config)) is not None:
            notes.append(f"Its weights are stored as {stored}, and are turned into 16 bits when they are loaded.")
        if architecture is None:
            notes.append("Norms and biases are counted as Llama's: its architecture is not known here.")
        given = {"name": name, "model_type": model_type, "source": source, **values}
        try:
            shape = ModelShape.model_validate(given, strict=True)
            further, layers = listed(shape, keys, config, known)
            update = {"further_parameters": further, "linear_layers": layers, "approximations": tuple(notes)}
            if not found:
                return shape.model_copy(update=update)
        except ValidationError as error:
            found = [
                f"{'.'.join(map(str, item['loc']))}: {fault_text(item)}" for item in error.errors(include_input=False)
            ]
    raise InvalidInput(
        f"{where} does not describe a model that can be adapted (its model_type: {model_type}).",
        list(dict.fromkeys(found)),
    )


def _uncounted_fault(config: Mapping[str, Any]) -> str | None:
    name = named_type(config)
    if name not in UNCOUNTED:
        return None
    return (
        f"config.json: how {name!r} builds its layers is not known here, so neither its memory nor its time can be "
        "predicted; take a base of another kind"
    )


def _values(keys: ConfigKeys, outer: ConfigKeys, architecture: Architecture) -> dict[str, Any]:
    hidden = keys.whole("hidden_size", "n_embd", "n_embed", "d_model", low=1)
    layers = keys.whole("num_hidden_layers", "n_layer", "n_layers", "num_layers", low=1, high=LAYERS)
    heads = keys.whole("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", low=1)
    vocabulary = keys.whole("vocab_size", low=1)
    key_heads = _key_heads(keys, heads, architecture)
    if not keys.faults and heads % key_heads:
        keys.faults.append("num_attention_heads must be a multiple of num_key_value_heads")
    tied = keys.flag("tie_word_embeddings", outer.flag("tie_word_embeddings", architecture.tied))
    window, windowed = _windows(keys, layers, architecture)
    types = keys.each("layer_types", layers) or keys.each("layers_block_type", layers) or []
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": keys.whole("head_dim", default=architecture.head_dim or max(hidden // heads, 1), low=1),
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": keys.whole(*POSITIONS, default=2048, low=1),
        "gated_mlp": architecture.gated,
        "fused_projections": architecture.fused,
        "sliding_window": window,
        "num_sliding_layers": windowed,
        "num_linear_attention_layers": _states(keys, layers, types),
        "attn_logit_softcapping": architecture.capped or keys.has("attn_logit_softcapping"),
        "final_logit_softcapping": architecture.capped_logits or keys.has("final_logit_softcapping"),
        "attention_sinks": architecture.sinks,
        **_experts(keys, hidden, layers, architecture),
        **_latent(keys, heads),
    }


def _key_heads(keys: ConfigKeys, heads: int, architecture: Architecture) -> int:
    names = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
    if architecture.one_key_head and not keys.flag("new_decoder_architecture", False):  # Falcon's first, StarCoder's
        return 1 if keys.flag("multi_query", True) else heads
    return keys.whole(*names, default=heads, low=1)


def _experts(keys: ConfigKeys, hidden: int, layers: int, architecture: Architecture) -> dict[str, int]:
    """Read the widths of the MLPs, dense and of experts."""
    experts = keys.whole("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", default=0)
    if experts == 1 or (keys.has("enable_moe_block") and not keys.flag("enable_moe_block", False)):
        experts = 0
    names: tuple[str, ...] = ("intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    if not experts:
        names = (architecture.dense, *names) if architecture.dense else names
        usual = None
        if architecture.multiple:
            usual = hidden * keys.whole(architecture.multiple_key, default=architecture.multiple, low=1)
        inner = keys.whole(*names, default=usual, low=1, called="intermediate_size")
        return {"intermediate_size": lfm2_width(keys, inner) if architecture.adjusted else inner}
    wanted = (architecture.experts,) if architecture.experts else ("moe_intermediate_size", "intermediate_size")
    inner = keys.whole(*wanted, low=1)
    count = keys.whole(
        "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", default=0
    )
    widths = ("shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size")
    shared = keys.whole(*widths, default=count * inner)
    if keys.has("enable_moe_block"):  # Gemma 4: its dense MLP stands beside the experts
        shared = keys.whole("intermediate_size", low=1)
    chosen = ("num_experts_per_tok", "top_k_experts", "experts_per_token", "moe_topk", "moe_k")
    return {
        "intermediate_size": keys.whole(*names, default=inner, low=1),
        "num_experts": experts,
        "num_experts_per_tok": keys.whole(*chosen, low=1, high=experts),
        "moe_intermediate_size": inner,
        "shared_expert_intermediate_size": shared,
        "num_dense_layers": layers - sum(_sparse(keys, layers)),
    }


def _sparse(keys: ConfigKeys, layers: int) -> list[bool]:
    """Count the layers that have experts."""
    for name in ("mlp_layer_types", "moe_layer_freq"):
        given = keys.each(name, layers)
        if given is not None:
            return [kind not in ("dense", 0) for kind in given]
    kinds = keys.each("layers_block_type", layers)  # Nemotron-H
    if kinds is not None and "moe" in kinds:
        return [kind == "moe" for kind in kinds]
    if keys.has("expert_layer_period"):  # Jamba
        period, offset = keys.whole("expert_layer_period", low=1), keys.whole("expert_layer_offset", default=1)
        return [layer % period == offset for layer in range(layers)]
    chosen = keys.config.get("moe_layers")
    if isinstance(chosen, list):
        return _among(chosen, layers)
    dense = keys.config.get("mlp_only_layers")
    dense_too = _among(dense if isinstance(dense, list) else [], layers)
    first = keys.whole("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index", default=0)
    last = layers - 1
    if keys.has("moe_layer_end_index") and keys.config["moe_layer_end_index"] != -1:
        last = keys.whole("moe_layer_end_index")
    steps = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval")
    step, frequency = keys.whole(*steps, default=1, low=1), keys.whole("moe_layer_freq", default=1, low=1)
    return [
        first <= layer <= last and (layer + 1) % step == 0 and layer % frequency == 0 and not dense_too[layer]
        for layer in range(layers)
    ]


def _among(chosen: list[Any], layers: int) -> list[bool]:
    numbers = {number for number in chosen if isinstance(number, int)}
    return [layer in numbers for layer in range(layers)]


def _latent(keys: ConfigKeys, heads: int) -> dict[str, int]:
    """Read the sizes of multi-head latent attention."""
    if not keys.has("kv_lora_rank"):
        return {}
    rotated = keys.whole("qk_rope_head_dim", low=1)
    return {
        "num_key_value_heads": heads,
        "head_dim": rotated + keys.whole("qk_nope_head_dim", low=1),
        "q_lora_rank": keys.whole("q_lora_rank", default=0),
        "kv_lora_rank": keys.whole("kv_lora_rank", low=1),
        "qk_rope_head_dim": rotated,
        "v_head_dim": keys.whole("v_head_dim", low=1),
    }


def _windows(keys: ConfigKeys, layers: int, architecture: Architecture) -> tuple[int, int]:
    """Read how many tokens a token sees in a layer with a window, and how many layers have one."""
    given = architecture.window_key in keys.config  # null means none, absence the default
    window = keys.whole(architecture.window_key, default=0 if given else architecture.window)
    if not window or (architecture.window_switch and not keys.flag("use_sliding_window", False)):
        return 0, 0
    types = keys.each("layer_types", layers)
    if types is not None:
        count = sum(isinstance(kind, str) and kind in WINDOWED for kind in types)
    elif architecture.window_switch:
        count = max(0, layers - keys.whole("max_window_layers", default=layers))
    else:
        pattern = keys.config.get("sliding_window_pattern")
        every = len(pattern) if isinstance(pattern, str) else None
        every = every or keys.whole("sliding_window_pattern", default=architecture.every)
        count = layers - layers // every if every else layers
    return (window, count) if count else (0, 0)


def _states(keys: ConfigKeys, layers: int, types: Sequence[Any]) -> int:
    """Count the layers that have a state instead of attention."""
    if types:
        return sum(isinstance(kind, str) and kind in STATES for kind in types)
    if keys.has("linear_num_value_heads"):  # Qwen3-Next and Qwen3.5
        return layers - layers // keys.whole("full_attention_interval", default=4, low=1)
    return 0


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    faults: list[str] = []
    try:
        config = json.loads(_bytes(path), object_pairs_hook=_once(faults))
    except (ValueError, RecursionError):  # broken UTF-8, broken JSON, numbers of thousands of digits, deep nesting
        raise InvalidInput(f"{path} is not valid JSON; fetch it again.") from None
    if not isinstance(config, dict):
        raise InvalidInput(f"{path} must hold an object.")
    return config, faults


def _bytes(path: Path) -> bytes:
    return read_regular(linked(path), SHAPE_BYTES)  # a hub's cache is made of links


def _once(faults: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs) and not faults:
            faults.append("a key stands there twice, and no one can say which is meant")
        return built

    return build


def _parameters_in_files(folder: Path) -> int | None:
    """Count the parameters in the safetensors files by their headers. None without files or if weights are packed.

    None where one is broken, too: whoever loads the weights says what is wrong with them.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files or len(files) > WEIGHT_FILES:
        return None
    total, budget = 0, HEADER_BYTES
    try:
        for file in files:
            header = _header(file, budget)
            budget -= len(header)
            for name, tensor in json.loads(header).items():
                if name == "__metadata__" or tensor["dtype"] in _LEFT_OUT:
                    continue
                if tensor["dtype"] not in _COUNTED:
                    return None
                total += _size(tensor["shape"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError, InvalidInput):
        return None
    return total or None


def _header(path: Path, budget: int) -> bytes:
    """Read the header, JSON after its length in 8 bytes."""
    with open_regular(linked(path)) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > budget:
            raise ValueError
        return file.read(size)


def _size(shape: list[int]) -> int:
    if len(shape) > _DIMENSIONS or not all(type(length) is int and 0 <= length < _LENGTH for length in shape):
        raise ValueError
    return math.prod(shape)
