"""What is known of models: the catalogue, local folders, and what transformers and PEFT really build from them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from sdk.advise import models as catalogue
from sdk.advise.architectures import ARCHITECTURES, UNCOUNTED
from sdk.advise.layers import (
    active_parameters,
    adapter_parameters,
    expert_parameters,
    linear_layers,
    linear_parameters,
    other_parameters,
    parameters,
)
from sdk.advise.model_config import shape_of
from sdk.advise.models import find_model, models
from sdk.errors import InvalidInput
from sdk.files.store import embedded_base
from sdk.records import ModelShape
from sdk.train.methods import peft_config
from tests.test_hub import NAME, Hub
from tests.tiny import settings
from tools import model_types

# -- catalogue -----------------------------------------------------------------------------------------------------

# billions of parameters that the models' cards or files give
PUBLISHED = {
    "llama-2-7b": 6.738, "llama-2-13b": 13.016, "llama-2-70b": 68.98, "codellama-7b": 6.739, "codellama-13b": 13.016,
    "codellama-34b": 33.74, "llama-3-8b": 8.03, "llama-3-70b": 70.55, "llama-3.1-8b": 8.03, "llama-3.1-70b": 70.55,
    "llama-3.1-405b": 405.85, "llama-3.2-1b": 1.236, "llama-3.2-3b": 3.213, "llama-3.3-70b": 70.55,
    "qwen2-0.5b": 0.494, "qwen2-1.5b": 1.544, "qwen2-7b": 7.616, "qwen2-72b": 72.71, "qwen2-57b-a14b": 57.41,
    "qwen1.5-moe-a2.7b": 14.316, "qwen2.5-0.5b": 0.494, "qwen2.5-1.5b": 1.544, "qwen2.5-3b": 3.086,
    "qwen2.5-7b": 7.616, "qwen2.5-14b": 14.77, "qwen2.5-32b": 32.76, "qwen2.5-72b": 72.71, "qwq-32b": 32.76,
    "qwen3-0.6b": 0.596, "qwen3-1.7b": 1.721, "qwen3-4b": 4.022, "qwen3-8b": 8.191, "qwen3-14b": 14.77,
    "qwen3-32b": 32.76, "qwen3-4b-2507": 4.022, "qwen3-30b-a3b": 30.53, "qwen3-30b-a3b-2507": 30.53,
    "qwen3-235b-a22b": 235.09, "qwen3-235b-a22b-2507": 235.09, "qwen3-coder-480b-a35b": 480.15,
    "mistral-7b-v0.1": 7.242, "mistral-7b": 7.248, "mistral-nemo-12b": 12.25, "ministral-8b": 8.02,
    "mistral-small-22b": 22.25, "codestral-22b": 22.25, "mistral-small-24b": 23.57, "devstral-small-24b": 23.57,
    "magistral-small-24b": 23.57, "mistral-large-123b": 122.61, "mixtral-8x7b": 46.7, "mixtral-8x22b": 140.63,
    "gemma-2b": 2.506, "gemma-7b": 8.538, "gemma-2-2b": 2.614, "gemma-2-9b": 9.242, "gemma-2-27b": 27.23,
    "gemma-3-270m": 0.268, "gemma-3-1b": 1.0, "gemma-3-4b": 4.3, "gemma-3-12b": 12.187, "gemma-3-27b": 27.432,
    "phi-1.5": 1.418, "phi-2": 2.78, "phi-3-mini": 3.821, "phi-3.5-mini": 3.821, "phi-3-medium": 13.96,
    "phi-3.5-moe": 41.87, "phi-4": 14.66, "phi-4-mini": 3.836, "deepseek-llm-7b": 6.91, "deepseek-llm-67b": 67.42,
    "deepseek-coder-6.7b": 6.74, "deepseek-coder-33b": 33.34, "deepseek-v2-lite": 15.71, "deepseek-v2": 235.74,
    "deepseek-v3": 671.0, "deepseek-r1-distill-qwen-1.5b": 1.777, "deepseek-r1-distill-qwen-7b": 7.616,
    "deepseek-r1-distill-qwen-14b": 14.77, "deepseek-r1-distill-qwen-32b": 32.76,
    "deepseek-r1-distill-llama-8b": 8.03, "deepseek-r1-distill-llama-70b": 70.55, "deepseek-r1-0528-qwen3-8b": 8.191,
    "moonlight-16b-a3b": 15.96, "kimi-k2": 1026.4, "glm-4-9b": 9.4, "glm-4-9b-0414": 9.4, "glm-4-32b-0414": 32.57,
    "yi-1.5-6b": 6.061, "yi-1.5-9b": 8.829, "yi-1.5-34b": 34.39, "gpt-oss-20b": 20.91, "gpt-oss-120b": 116.83,
    "granite-3.1-2b": 2.53, "granite-3.1-8b": 8.17, "granite-3.3-2b": 2.53, "granite-3.3-8b": 8.17,
    "granite-3.1-3b-a800m": 3.3, "granite-4.0-micro": 3.4, "granite-4.0-h-micro": 3.19, "granite-4.0-h-tiny": 6.94,
    "granite-4.0-h-small": 32.21, "olmo-2-1b": 1.485, "olmo-2-7b": 7.3, "olmo-2-13b": 13.72, "olmo-2-32b": 32.23,
    "olmo-3-7b": 7.3, "olmo-3-32b": 32.23, "olmoe-1b-7b": 6.92, "smollm2-135m": 0.1345, "smollm2-360m": 0.3618,
    "smollm2-1.7b": 1.711, "smollm3-3b": 3.075, "tinyllama-1.1b": 1.1, "falcon3-1b": 1.669, "falcon3-3b": 3.228,
    "falcon3-7b": 7.456, "falcon3-10b": 10.306, "internlm3-8b": 8.804, "command-r-35b": 34.98,
    "command-r-08-2024": 32.3, "command-r-plus": 103.81, "command-r7b": 8.03, "command-a": 111.06,
    "aya-expanse-8b": 8.03, "aya-expanse-32b": 32.3, "exaone-4.0-1.2b": 1.28, "exaone-4.0-32b": 32.0,
    "exaone-3.5-7.8b": 7.82, "stablelm-2-1.6b": 1.645, "stablelm-3b-4e1t": 2.795, "starcoder2-3b": 3.03,
    "starcoder2-7b": 7.174, "starcoder2-15b": 15.96, "hunyuan-a13b": 80.4, "hunyuan-7b": 7.5, "ernie-4.5-0.3b": 0.361,
    "ernie-4.5-21b-a3b": 21.83, "minimax-m2": 228.7, "minitron-4b": 4.19, "mistral-nemo-minitron-8b": 8.41,
    "llama-3.1-minitron-4b": 4.51, "seed-oss-36b": 36.15, "apertus-8b": 8.05, "apertus-70b": 70.6,
    "solar-10.7b": 10.73, "eurollm-1.7b": 1.657, "eurollm-9b": 9.154, "pythia-1.4b": 1.415, "pythia-6.9b": 6.857,
    "gpt2": 0.1244, "gpt2-xl": 1.558,
}  # fmt: skip
# The same, where a card gives no more than the name does, or counts what looks at images and is not loaded.
ROUNDED = {
    "llama-4-scout": 109, "llama-4-maverick": 400, "qwen3-next-80b-a3b": 80, "qwen3.5-9b": 9, "qwen3.5-27b": 27,
    "qwen3.5-35b-a3b": 35, "qwen3.5-397b-a17b": 397, "gemma-4-31b": 31, "gemma-4-26b-a4b": 26, "deepseek-v3.2": 671,
    "gemma-4-e2b": 5.1, "gemma-4-e4b": 8, "glm-4.5": 355, "glm-4.5-air": 106, "glm-5.1": 744,
    "granite-3.1-1b-a400m": 1.33,
}  # fmt: skip


def test_every_shape_of_the_catalogue_has_the_published_number_of_parameters() -> None:
    computed = {shape.name: parameters(shape) / 1e9 for shape in models()}
    assert computed.keys() == PUBLISHED.keys() | ROUNDED.keys()
    for known, tolerance in ((PUBLISHED, 0.003), (ROUNDED, 0.02)):
        assert {name: computed[name] for name in known} == pytest.approx(known, rel=tolerance)
    assert not any(shape.approximations for shape in models())


def test_the_catalogue_is_large_unambiguous_and_sourced() -> None:
    entries = json.loads(Path(catalogue.__file__).with_name("models.json").read_text(encoding="utf-8"))
    names = [name for entry in entries for name in (entry["name"], *entry.get("aliases", []))]
    keys = [catalogue._key(name) for name in names]
    assert [key for key, count in Counter(keys).items() if count > 1 or not key] == []
    assert all(len(entry["source"]) > 10 for entry in entries)
    assert len(entries) >= 100
    assert len({entry["name"].split("-")[0] for entry in entries}) >= 30
    assert all(find_model(name).name for name in names)


LLAMA_8B = find_model("llama-3.1-8b")


@pytest.mark.parametrize(
    "spelling",
    [
        "llama-3.1-8b",
        "Llama 3.1 8B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "Meta-Llama-3.1-8B",
        "LLAMA_3.1_8b",
        "llama3.1 8b",
    ],
)
def test_a_model_is_found_however_it_is_spelled(spelling: str) -> None:
    assert find_model(spelling) == LLAMA_8B


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("deepseek-ai/DeepSeek-R1", "deepseek-v3"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-7b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("Qwen3 4B Instruct 2507", "qwen3-4b-2507"),
    ],
)
def test_hub_names_find_their_shape(spelling: str, name: str) -> None:
    assert find_model(spelling).name == name


@pytest.mark.parametrize(("name", "near"), [("lama-3.1-8", "llama-3.1-8b"), ("\0", "llama"), ("x" * 10_000, "llama")])
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_model(name)
    assert any(near in fault for fault in caught.value.faults)
    assert len(caught.value.faults) <= 5
    assert len(str(caught.value)) < 1000


def test_the_embedded_base_is_read_from_its_own_config() -> None:
    shape = find_model("embedded")
    assert shape.name == "embedded"
    assert shape.parameters_in_files == parameters(shape) < 12_000_000
    assert find_model(str(embedded_base())) == find_model(str(embedded_base() / "config.json")) == shape


# -- real modules --------------------------------------------------------------------------------------------------

REAL = [
    "llama-3.2-1b", "qwen2.5-0.5b", "qwen1.5-moe-a2.7b", "qwen3-0.6b", "qwen3-30b-a3b", "qwen3-next-80b-a3b",
    "qwen3.5-9b", "qwen3.5-35b-a3b", "mixtral-8x7b", "gemma-2-2b", "gemma-3-4b", "gemma-4-26b-a4b", "phi-2",
    "phi-3-mini",
    "phi-3.5-moe", "deepseek-v2-lite", "deepseek-v3.2", "glm-4-9b-0414", "glm-4.5-air", "gpt-oss-20b",
    "granite-4.0-h-tiny", "olmo-2-1b", "command-r-plus", "stablelm-2-1.6b", "starcoder2-3b", "hunyuan-a13b",
    "ernie-4.5-21b-a3b", "llama-4-scout", "gpt2", "pythia-1.4b", "apertus-8b",
]  # fmt: skip
R = 16
ARCHITECTURE_RESULTS = Path(__file__).parent / "benchmarks/results/architectures-2026-11-30-h200.json"


@pytest.mark.parametrize("model_type", ["hy_v4", "inkling_text", "mimo_v2_flash"])
def test_layers_that_differ_by_their_window_or_have_gates_are_counted(model_type: str) -> None:
    config = json.loads(ARCHITECTURE_RESULTS.read_text(encoding="utf-8"))["configs"][model_type]
    shape = shape_of(config, model_type, "test", "test")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
        assert parameters(shape) == sum(weight.numel() for weight in model.parameters())
        head = model.get_output_embeddings()
        linear = [module for module in model.modules() if type(module) is torch.nn.Linear and module is not head]
        assert linear_parameters(shape) == sum(module.weight.numel() for module in linear)
        adapted = get_peft_model(model, peft_config(model, settings(lora_r=R), steps=1))
    assert adapter_parameters(shape, R) == sum(
        weight.numel() for key, weight in adapted.named_parameters() if "lora_" in key
    )


@pytest.mark.parametrize("name", REAL)
def test_counts_are_those_of_the_real_model_and_the_real_adapter(name: str) -> None:
    """On the meta device, where a tensor has a shape and no bytes, with at most twelve layers."""
    (entry,) = {entry["name"]: entry for entry in catalogue._entries().values() if entry["name"] == name}.values()
    config = few_layers(entry["config"])
    shape = shape_of(config, name, "test", "test")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    head = model.get_output_embeddings()
    linear = [
        module
        for module in model.modules()
        if type(module) in (torch.nn.Linear, Conv1D) and module is not head  # what bitsandbytes quantizes
    ]
    experts = [
        weight
        for key, weight in model.named_parameters()
        if "experts." in key and "bias" not in key and weight.ndim == 3
    ]
    assert linear_parameters(shape) == sum(module.weight.numel() for module in linear)
    assert sum(layer.count for layer in linear_layers(shape)) == len(linear)
    assert expert_parameters(shape) == sum(weight.numel() for weight in experts)
    assert parameters(shape) == sum(weight.numel() for weight in model.parameters())
    assert parameters(shape) == linear_parameters(shape) + expert_parameters(shape) + other_parameters(shape)
    with torch.device("meta"):
        adapted = get_peft_model(model, peft_config(model, settings(lora_r=R), steps=1))
    assert adapter_parameters(shape, R) == sum(
        weight.numel() for key, weight in adapted.named_parameters() if "lora_" in key
    )


# As they are published, made small: (config, what else of it has to come out).
WIDTHS: dict[str, Any] = {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 8}
GPT: dict[str, Any] = {"vocab_size": 512, "n_embd": 64, "n_layer": 3, "n_head": 8, "n_positions": 128}
STATE = {"mamba_d_state": 8, "mamba_n_heads": 16, "mamba_d_head": 8, "mamba_expand": 2, "mamba_n_groups": 1}
SPELLED: dict[str, dict[str, Any]] = {
    "falcon-7b": {**WIDTHS, "model_type": "falcon", "multi_query": True, "parallel_attn": True, "alibi": False,
                  "new_decoder_architecture": False, "bias": False},
    "falcon-40b": {**WIDTHS, "model_type": "falcon", "num_kv_heads": 2, "new_decoder_architecture": True},
    "falcon2-11b": {**WIDTHS, "model_type": "falcon", "num_kv_heads": 2, "new_decoder_architecture": True,
                    "num_ln_in_parallel_attn": 1, "ffn_hidden_size": 96},
    "falcon-rw-1b": {**WIDTHS, "model_type": "falcon", "multi_query": False, "parallel_attn": False, "alibi": True,
                     "bias": True},
    "bloom": {"model_type": "bloom", "vocab_size": 512, "n_embed": 64, "n_layer": 3, "num_attention_heads": 8},
    "mpt": {"model_type": "mpt", "vocab_size": 512, "d_model": 64, "n_heads": 8, "n_layers": 3, "expansion_ratio": 4,
            "max_seq_len": 256},
    "gpt-j": {**GPT, "model_type": "gptj", "rotary_dim": 8, "n_inner": None, "tie_word_embeddings": False},
    "codegen": {**GPT, "model_type": "codegen", "rotary_dim": 8, "tie_word_embeddings": False},
    "opt": {**WIDTHS, "model_type": "opt", "ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt-neo": {"model_type": "gpt_neo", "vocab_size": 512, "hidden_size": 64, "num_layers": 2, "num_heads": 8,
                "attention_types": [[["global", "local"], 1]], "intermediate_size": None},
    "starcoder": {**GPT, "model_type": "gpt_bigcode", "multi_query": True, "n_inner": 96},
    "persimmon": {**WIDTHS, "model_type": "persimmon", "intermediate_size": 96},
    "biogpt": {**WIDTHS, "model_type": "biogpt", "intermediate_size": 96, "max_position_embeddings": 128},
    "xglm": {"model_type": "xglm", "vocab_size": 512, "d_model": 64, "num_layers": 3, "attention_heads": 8,
             "ffn_dim": 96, "max_position_embeddings": 128},
    "openai-gpt": {**GPT, "model_type": "openai-gpt"},
    "jais2": {**WIDTHS, "model_type": "jais2", "intermediate_size": 96, "head_dim": 8, "num_key_value_heads": 8},
    "jamba": {**WIDTHS, "model_type": "jamba", "intermediate_size": 96, "num_key_value_heads": 2, "num_experts": 4,
              "attn_layer_period": 3, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "lfm2": {**WIDTHS, "model_type": "lfm2", "block_ff_dim": 192, "num_key_value_heads": 2, "full_attn_idxs": [2, 5],
             "block_multiple_of": 32, "conv_L_cache": 3},
    "lfm2-moe": {**WIDTHS, "model_type": "lfm2_moe", "intermediate_size": 96, "num_key_value_heads": 2,
                 "layer_types": ["conv", "full_attention"] * 3, "num_experts": 4, "num_experts_per_tok": 2,
                 "moe_intermediate_size": 32, "num_dense_layers": 2},
    "nemotron-h": {**WIDTHS, "model_type": "nemotron_h", "hybrid_override_pattern": "M-M*E-", "head_dim": 8,
                   "intermediate_size": 96, "num_key_value_heads": 2, "mamba_num_heads": 16, "mamba_head_dim": 8,
                   "ssm_state_size": 8, "n_routed_experts": 4, "moe_intermediate_size": 32,
                   "moe_shared_expert_intermediate_size": 32},
    "falcon-h1": {**WIDTHS, **STATE, "model_type": "falcon_h1", "intermediate_size": 96, "num_key_value_heads": 2,
                  "mamba_d_ssm": 128},
    "bamba": {**WIDTHS, **STATE, "model_type": "bamba", "intermediate_size": 96, "num_key_value_heads": 2,
              "attn_layer_indices": [1, 4]},
    "olmo-hybrid": {**WIDTHS, "model_type": "olmo_hybrid", "pad_token_id": 0, "intermediate_size": 96,
                    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
                    "linear_value_head_dim": 16},
}  # fmt: skip


@pytest.mark.parametrize("config", SPELLED.values(), ids=SPELLED)
def test_every_familys_own_keys_give_the_count_of_the_real_model(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    real = sum(weight.numel() for weight in model.parameters())
    shape = of(config)
    assert parameters(shape) == real
    saved = of(json.loads(json.dumps(model.config.to_dict(), default=str)))  # as transformers writes it
    assert (parameters(saved), saved.num_key_value_heads) == (real, shape.num_key_value_heads)


def few_layers(config: dict[str, Any]) -> dict[str, Any]:
    if "text_config" in config:
        return {**config, "text_config": few_layers(config["text_config"])}
    key = "n_layer" if "n_layer" in config else "num_hidden_layers"
    layers = min(12, config[key])
    cut = {name: config[name][:layers] for name in config if isinstance(config[name], list)}
    return {**config, key: layers, **cut}


def test_active_parameters_are_those_that_a_token_meets() -> None:
    """As the models' cards give them, billions."""
    known = {"mixtral-8x7b": 12.9, "qwen3-30b-a3b": 3.3, "deepseek-v3": 37, "gpt-oss-120b": 5.1, "olmoe-1b-7b": 1.3}
    active = {name: active_parameters(find_model(name)) / 1e9 for name in known}
    assert active == pytest.approx(known, rel=0.11)
    dense = find_model("qwen2.5-7b")
    assert active_parameters(dense) == linear_parameters(dense) + dense.vocab_size * dense.hidden_size


# -- local models --------------------------------------------------------------------------------------------------

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 256,
}
EXPERTS = {**CONFIG, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}


def folder(tmp_path: Path, config: Any) -> Path:
    path = tmp_path / "my-model"
    path.mkdir(exist_ok=True)
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    (path / "config.json").write_bytes(data)
    return path


def of(config: dict[str, Any]) -> ModelShape:
    return shape_of(config, "test", "test", "test")


def test_a_local_folder_and_its_config_file_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path, CONFIG)
    shape = find_model(str(path))
    assert shape == find_model(str(path / "config.json"))
    assert (shape.name, shape.head_dim, shape.num_key_value_heads) == ("my-model", 16, 4)
    assert not shape.tie_word_embeddings
    assert str(tmp_path) not in shape.model_dump_json()
    assert ModelShape.model_validate_json(shape.model_dump_json()) == shape


READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # what a file nests or leaves out
    (
        {"model_type": "gemma3", "text_config": {**CONFIG, "model_type": "gemma3_text", "head_dim": 32}},
        {"model_type": "gemma3_text", "head_dim": 32, "num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
    (
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
         "sliding_window": 1024, "intermediate_size": 10_240, "num_hidden_layers": 34}},
        {"vocab_size": 262_208, "num_attention_heads": 8, "head_dim": 256, "num_sliding_layers": 29},
    ),
    ({"text_config": CONFIG, "tie_word_embeddings": True}, {"tie_word_embeddings": True}),
    (
        {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512, "n_positions": 128},
        {"intermediate_size": 256, "gated_mlp": False, "fused_projections": True, "max_position_embeddings": 128},
    ),
    ({**CONFIG, "model_type": "phi3"}, {"fused_projections": True, "sliding_window": 0}),
    ({**CONFIG, "model_type": "gemma2"}, {"attn_logit_softcapping": True, "sliding_window": 4096}),
    ({**CONFIG, "model_type": "never-seen"}, {"model_type": "never-seen", "num_experts": 0}),
    # experts, however they are called
    (EXPERTS, {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 0}),
    ({**EXPERTS, "num_experts": [4] * 8, "num_experts_per_tok": None, "moe_topk": [2] * 8}, {"num_experts_per_tok": 2}),
    ({**EXPERTS, "decoder_sparse_step": 2, "mlp_only_layers": [1, 3]}, {"num_dense_layers": 6}),
    ({**EXPERTS, "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 5}, {"num_dense_layers": 3}),
    (
        {**CONFIG, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2},
        {"num_experts": 8, "moe_intermediate_size": 128},
    ),
    (
        {**EXPERTS, "model_type": "deepseek_v3", "num_experts": None, "n_routed_experts": 4, "n_shared_experts": 2,
         "first_k_dense_replace": 3, "moe_layer_freq": 1, **LATENT},
        {"num_experts": 4, "shared_expert_intermediate_size": 64, "num_dense_layers": 3, "head_dim": 12,
         "kv_lora_rank": 16, "q_lora_rank": 0},
    ),
    ({**EXPERTS, "shared_expert_intermediate_size": 96}, {"shared_expert_intermediate_size": 96}),
    (
        {**EXPERTS, "model_type": "ernie4_5_moe", "num_experts": None, "num_experts_per_tok": None, "moe_k": 2,
         "moe_num_experts": 4, "moe_num_shared_experts": 1, "moe_layer_start_index": 1, "moe_layer_interval": 2},
        {"num_experts": 4, "num_dense_layers": 4, "shared_expert_intermediate_size": 32},
    ),
    (
        {**CONFIG, "model_type": "llama4_text", "num_local_experts": 4, "interleave_moe_layer_step": 2,
         "intermediate_size_mlp": 256},
        {"intermediate_size": 256, "moe_intermediate_size": 128, "shared_expert_intermediate_size": 128,
         "num_dense_layers": 4, "num_experts_per_tok": 1, "sliding_window": 8192, "num_sliding_layers": 6},
    ),
    ({**CONFIG, "model_type": "granitemoehybrid", "num_local_experts": 0, "shared_intermediate_size": 96},
     {"num_experts": 0, "intermediate_size": 96}),
    # windows
    ({**CONFIG, "model_type": "mistral"}, {"sliding_window": 4096, "num_sliding_layers": 8}),
    ({**CONFIG, "model_type": "mistral", "sliding_window": None}, {"sliding_window": 0, "num_sliding_layers": 0}),
    ({**CONFIG, "model_type": "qwen2", "sliding_window": 128}, {"sliding_window": 0, "num_sliding_layers": 0}),
    (
        {**CONFIG, "model_type": "qwen2", "sliding_window": 128, "use_sliding_window": True, "max_window_layers": 5},
        {"sliding_window": 128, "num_sliding_layers": 3},
    ),
    ({**CONFIG, "model_type": "gpt_oss", "head_dim": 16}, {"num_sliding_layers": 4, "attention_sinks": True}),
    ({**CONFIG, "model_type": "cohere2", "sliding_window_pattern": 8}, {"num_sliding_layers": 7}),
    ({**CONFIG, "model_type": "exaone4", "sliding_window_pattern": "LLLG"}, {"num_sliding_layers": 6}),
    (
        {**CONFIG, "model_type": "olmo3", "layer_types": ["sliding_attention"] * 3 + ["full_attention"] * 5},
        {"num_sliding_layers": 3},
    ),
    # states instead of attention
    (
        {**CONFIG, "model_type": "granitemoehybrid", "layer_types": ["mamba"] * 7 + ["attention"], "mamba_n_heads": 8,
         "mamba_d_state": 16, "shared_intermediate_size": 96},
        {"num_linear_attention_layers": 7},
    ),
    (
        {**CONFIG, "model_type": "qwen3_5_text", "linear_num_key_heads": 2, "linear_num_value_heads": 4,
         "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        {"num_linear_attention_layers": 6},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), READ)
def test_every_spelling_of_a_config_is_understood(config: dict[str, Any], expected: dict[str, Any]) -> None:
    shape = of(config)
    assert {name: getattr(shape, name) for name in expected} == expected


def test_what_is_counted_roughly_is_said() -> None:
    assert "not known here" in of({**CONFIG, "model_type": "never-seen"}).approximations[0]
    assert "state" in of({**CONFIG, "model_type": "minimax"}).approximations[0]
    assert of(CONFIG).approximations == ()


HOSTILE: dict[str, tuple[Any, str]] = {
    "missing keys": ({"width": 768}, "hidden_size is missing"),
    "null": ({**CONFIG, "vocab_size": None}, "vocab_size is missing"),
    "negative": ({**CONFIG, "hidden_size": -64}, "hidden_size"),
    "no heads": ({**CONFIG, "num_attention_heads": 0}, "num_attention_heads"),
    "astronomic": ({**CONFIG, "num_hidden_layers": 10**12}, "num_hidden_layers"),
    "wide": ({**CONFIG, "hidden_size": 10**8}, "hidden_size"),
    "beyond floats": ({**CONFIG, "vocab_size": 10**308}, "vocab_size"),
    "text for a number": ({**CONFIG, "hidden_size": "64"}, "hidden_size"),
    "truth for a number": ({**CONFIG, "num_hidden_layers": True}, "num_hidden_layers"),
    "number for a truth": ({**CONFIG, "tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
    "fraction": ({**CONFIG, "hidden_size": 64.5}, "hidden_size"),
    "list": ({**CONFIG, "num_key_value_heads": [4, 2]}, "num_key_value_heads"),
    "object": ({**CONFIG, "intermediate_size": {"a": 1}}, "intermediate_size"),
    "uneven heads": ({**CONFIG, "num_key_value_heads": 3}, "multiple of num_key_value_heads"),
    "no width of experts": ({**CONFIG, "model_type": "qwen3_moe", "num_experts": 8, "intermediate_size": None,
                             "num_experts_per_tok": 2}, "moe_intermediate_size is missing"),
    "too many chosen": ({**EXPERTS, "num_experts_per_tok": 5}, "num_experts_per_tok must be from 1 to 4"),
    "chosen not said": ({**EXPERTS, "num_experts_per_tok": None}, "num_experts_per_tok is missing"),
    "negative experts": ({**EXPERTS, "num_experts": -4}, "num_experts must be"),
    "half of MLA": ({**CONFIG, "kv_lora_rank": 16}, "qk_nope_head_dim is missing"),
    "too few layer types": ({**CONFIG, "layer_types": ["full_attention"]}, "layer_types"),
    "step of zero": ({**EXPERTS, "decoder_sparse_step": 0}, "decoder_sparse_step"),
    "negative window": ({**CONFIG, "model_type": "mistral", "sliding_window": -1}, "sliding_window"),
    "delta net without widths": ({**CONFIG, "model_type": "qwen3_5_text"}, "linear_num_value_heads is missing"),
    "vision of text": ({"model_type": "gemma3", "text_config": {**CONFIG, "model_type": "gemma3_text"},
                        "vision_config": {"hidden_size": "x"}}, "hidden_size must be a whole number"),
    "twice": (json.dumps(CONFIG).replace("{", '{"hidden_size": 32, ', 1).encode(), "stands there twice"),
    "not a number": (json.dumps({**CONFIG, "hidden_size": float("nan")}).encode(), "hidden_size"),
    "infinite": (json.dumps(CONFIG).replace("128", "1e999").encode(), "intermediate_size"),
    "thousands of digits": (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "deep nesting": (b"[" * 200_000, "not valid JSON"),
    "deep objects": (b'{"a":' * 100_000, "not valid JSON"),
    "cut off": (b'{"hidden_size": 64', "not valid JSON"),
    "binary": (b"\xff\xfe\x00\x80", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "a list": (b"[]", "must hold an object"),
    "text_config no object": ({"text_config": 3}, "must be an object"),
    "too large": (b" " * (1 << 20) + b"{}", "has more than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_is_refused(tmp_path: Path, config: Any, expected: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        find_model(str(folder(tmp_path, config)))
    assert expected in str(caught.value)
    assert time.process_time() - start < 1


def test_lists_without_end_cost_no_time() -> None:
    start = time.process_time()
    of({**EXPERTS, "num_hidden_layers": 10_000, "mlp_only_layers": list(range(300_000)), "moe_layers": ["x"] * 300_000})
    assert time.process_time() - start < 1


def test_all_faults_of_a_config_are_named_at_once_and_no_text_of_it(tmp_path: Path) -> None:
    hostile = {"num_local_experts": 8, "head_dim": "a secret", "model_type": ["a secret"]}
    with pytest.raises(InvalidInput) as caught:
        find_model(str(folder(tmp_path, hostile)))
    faults = "\n".join(caught.value.faults)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "moe_intermediate_size",
                 "head_dim", "num_experts_per_tok"):  # fmt: skip
        assert name in faults
    assert "secret" not in str(caught.value)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "writer"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind in ("fifo", "writer"):
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    writer = os.open(path, os.O_RDWR) if kind == "writer" else None
    try:
        with pytest.raises(InvalidInput):
            find_model(str(tmp_path))
        with pytest.raises(InvalidInput):
            find_model(str(path))
    finally:
        if writer is not None:
            os.close(writer)


# -- weight files --------------------------------------------------------------------------------------------------


def write_tensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    header = {name: {"dtype": kind, "shape": shape, "data_offsets": [0, 0]} for name, (kind, shape) in tensors.items()}
    data = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)


def test_parameters_are_counted_in_the_headers_of_all_files(tmp_path: Path) -> None:
    path = folder(tmp_path, CONFIG)
    count = parameters(of(CONFIG))
    write_tensors(path / "model-00001-of-00002.safetensors", {"a": ("BF16", [count - 64]), "ids": ("I64", [9, 9])})
    write_tensors(path / "model-00002-of-00002.safetensors", {"b": ("F32", [8, 8])})
    write_tensors(path / "consolidated.safetensors", {"a": ("BF16", [count])})  # the same in another layout
    shape = find_model(str(path))
    assert shape.parameters_in_files == count
    assert shape.approximations == ()


def test_files_that_hold_something_else_are_said(tmp_path: Path) -> None:
    path = folder(tmp_path, CONFIG)
    write_tensors(path / "model.safetensors", {"a": ("BF16", [parameters(of(CONFIG)) * 2])})
    assert "follow from its config.json" in find_model(str(path)).approximations[0]


@pytest.mark.parametrize("kind", ["U8", "I32", "I8"])
def test_packed_weights_are_not_counted(tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path, CONFIG)
    write_tensors(path / "model.safetensors", {"a": ("BF16", [64]), "b": (kind, [64, 64])})
    assert find_model(str(path)).parameters_in_files is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        struct.pack("<Q", 1 << 62),
        struct.pack("<Q", 200 << 20) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 1}\n',
        b'(\x00\x00\x00\x00\x00\x00\x00{"a":{"dtype":"F32","shape":[-5,"x"]}} ',
        struct.pack("<Q", 6_000) + b'{"a":{"dtype":"F32","shape":[' + b"9" * 5_000 + b"]}}" + b" " * 968,
        struct.pack("<Q", 100_000) + b'{"a":' * 20_000,
    ],
)
def test_a_broken_weight_file_is_left_to_those_who_load_it(tmp_path: Path, data: bytes) -> None:
    path = folder(tmp_path, CONFIG)
    (path / "model.safetensors").write_bytes(data)
    assert find_model(str(path)).parameters_in_files is None


# -- the hub -------------------------------------------------------------------------------------------------------

FETCH = """
import sys
from sdk.advise.hub import fetch_shape
shape = fetch_shape(sys.argv[1])
print(shape.name, shape.num_hidden_layers, shape.source, sep="|")
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    served = folder(tmp_path, CONFIG)
    (served / "model.safetensors").write_bytes(b"nobody asked for it")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"folder": served, "asked": []}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(hub: ThreadingHTTPServer, home: Path, name: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")}
    environment = kept | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(home), **more}
    return subprocess.run(
        [sys.executable, "-c", FETCH, name], capture_output=True, text=True, env=environment, timeout=120
    )


def test_of_a_model_on_the_hub_only_the_config_is_fetched(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "home", NAME)
    assert done.stdout == f"tiny-base|8|config.json of {NAME} on the hub\n", done.stderr
    assert {path.rsplit("/", 1)[-1] for path in hub.RequestHandlerClass.asked} == {"config.json"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "more", "error"),
    [
        (NAME, {"HF_HUB_OFFLINE": "1"}, "InvalidInput: HF_HUB_OFFLINE forbids"),
        ("no/such/name at all", {}, "InvalidInput"),
        ("bank/another", {}, "StepFailed"),
    ],
)
def test_what_the_hub_cannot_give_is_said(
    hub: ThreadingHTTPServer, tmp_path: Path, name: str, more: dict[str, str], error: str
) -> None:
    done = fetch(hub, tmp_path / "home", name, **more)
    assert error in done.stderr
    if more:
        assert hub.RequestHandlerClass.asked == []  # type: ignore[attr-defined]


def test_a_name_does_not_import_the_hub() -> None:
    code = "import sys; from sdk.advise.models import find_model; find_model('phi-4')"
    code += "; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- what is no decoder ------------------------------------------------------------------------------------------------

NESTS = {"text_config": CONFIG}
NO_DECODER: dict[str, tuple[dict[str, Any], str]] = {
    "encoder": ({**CONFIG, "model_type": "bert", "architectures": ["BertForMaskedLM"]}, "'bert' is an encoder,"),
    "encoder without its type": ({**CONFIG, "model_type": "x", "architectures": ["XForMaskedLM"]}, "'XForMaskedLM'"),
    "classifier": ({**CONFIG, "architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
    "T5": ({"model_type": "t5", "d_model": 512, "is_encoder_decoder": True}, "'t5' is an encoder-decoder"),
    "BART": ({"model_type": "bart", "d_model": 512}, "'bart' is an encoder-decoder"),
    "a new encoder-decoder": ({**CONFIG, "model_type": "x", "is_encoder_decoder": True}, "'x' is an encoder-decoder"),
    "images": ({"model_type": "internvl", "llm_config": CONFIG}, "'internvl' is a model for images"),
    "sound": ({"model_type": "qwen2_5_omni", "thinker_config": NESTS}, "'qwen2_5_omni' is a model for images, sound"),
    "vision": ({"model_type": "vit", "hidden_size": 768}, "'vit' is no language model"),
    "states alone": ({"model_type": "mamba", "hidden_size": 768}, "how 'mamba' builds its layers is not known"),
    "quantized too": ({"model_type": "t5", "quantization_config": {"quant_method": "gptq"}}, "'t5' is an encoder-d"),
}


@pytest.mark.parametrize(("config", "expected"), NO_DECODER.values(), ids=NO_DECODER)
def test_what_is_no_decoder_is_refused_by_name_and_before_anything_else(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        of(config)
    (fault,) = caught.value.faults
    assert expected in fault
    assert "; take a " in fault


def test_a_language_model_is_found_however_deep_it_is_nested() -> None:
    for config in (NESTS, {"llm_config": CONFIG}, {"language_config": CONFIG}, {"thinker_config": NESTS}):
        assert of({"model_type": "never-seen", **config}).hidden_size == CONFIG["hidden_size"]
    with pytest.raises(InvalidInput, match="object"):
        of({"thinker_config": {"text_config": 3}})


def test_a_key_that_is_missing_is_one_that_the_model_has() -> None:
    bare = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 9}
    with pytest.raises(InvalidInput, match="llama") as caught:
        of(bare)
    assert caught.value.faults == ("intermediate_size is missing",)


def test_what_is_no_decoder_is_what_transformers_says() -> None:
    kinds = json.loads(model_types.FILE.read_text(encoding="utf-8"))
    assert kinds == model_types.model_types()
    assert not UNCOUNTED & {name for names in kinds.values() for name in names}
    assert not UNCOUNTED & ARCHITECTURES.keys()
