"""What a config.json does not say because its architecture does: transformers' defaults, norms, biases, windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Architecture(NamedTuple):
    """Of one model_type; the defaults are Llama's. A key that a config.json gives outweighs the default here."""

    tied: bool = False
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    gated: bool = True
    fused: bool = False
    norms: int = 2  # a layer, as wide as hidden_size
    norm_bias: bool = False
    final_norm: bool = True
    qk_norm: Literal["", "head", "width"] = ""  # one norm for all heads, or as wide as the projections
    qk_norm_key: str = ""  # the key that switches it on; "": always on
    biased: Literal["all", "qkv", "o"] = "all"  # which projections of attention have a bias where one is said to be
    attention_bias: bool = False
    attention_bias_key: str = "attention_bias"
    mlp_bias: bool = False
    mlp_bias_key: str = "mlp_bias"
    head_bias: bool = False
    head_bias_key: str = ""
    dense: str = ""  # the key that is the width of an MLP without experts; "": intermediate_size
    multiple: int = 0  # so many times as wide as hidden_size is an MLP where no key says how wide; 0: a key has to
    multiple_key: str = ""  # the key that says how many times instead
    adjusted: bool = False  # an MLP is two thirds as wide as its key says (LFM2)
    one_key_head: bool = False  # one head of keys and values for all of queries, unless multi_query is false
    positions: int | None = None  # rows of a learned table of positions beyond max_position_embeddings; None: no table
    first_norm: bool = False  # one on the embeddings
    experts: str = ""  # the key that is the width of an expert; "": moe_intermediate_size, else intermediate_size
    router_bias: bool = False
    window: int = 0  # tokens, where no key says it
    window_key: str = "sliding_window"
    every: int = 0  # every so many layers one has no window; 0: none
    window_switch: bool = False  # only with use_sliding_window, and from max_window_layers on
    sinks: bool = False
    capped: bool = False
    capped_logits: bool = False
    defaults: Mapping[str, int] = {}  # other keys that published files leave out
    rough: str = ""  # what is counted only roughly


_GPT_2 = Architecture(
    tied=True,
    gated=False,
    fused=True,
    norm_bias=True,
    attention_bias=True,
    attention_bias_key="",
    mlp_bias=True,
    mlp_bias_key="",
    multiple=4,
    positions=0,
)
_GPT_J = Architecture(
    gated=False,
    norms=1,
    norm_bias=True,
    attention_bias_key="",
    mlp_bias=True,
    mlp_bias_key="",
    head_bias=True,
    multiple=4,
)
_APERTUS = Architecture(gated=False, qk_norm="head")
_QWEN2 = Architecture(biased="qkv", attention_bias=True, attention_bias_key="qkv_bias", window_switch=True)
_QWEN3 = Architecture(head_dim=128, qk_norm="head", window_switch=True)
_GEMMA3 = Architecture(
    tied=True,
    head_dim=256,
    norms=4,
    qk_norm="head",
    window=4096,
    every=6,
    defaults={
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
)
_GEMMA4 = Architecture(tied=True, head_dim=256, norms=4, window=512, every=6)
_STATES = Architecture(rough="Layers with a state instead of attention are counted as attention layers.")
_LLAMA_4 = Architecture(
    experts="intermediate_size",
    window=8192,
    window_key="attention_chunk_size",
    every=4,
    defaults={"num_experts_per_tok": 1, "n_shared_experts": 1},
)

LLAMA = Architecture()
# Decoders that transformers loads and whose layers are built in ways that are not counted here.
UNCOUNTED = frozenset(
    {
        "bailing_hybrid", "blt", "cohere_compass_text", "cpmant", "dbrx", "deepseek_v4", "doge", "dory", "falcon_mamba",
        "gemma3n", "gemma3n_text", "gemma4_assistant", "gemma4_unified", "gemma4_unified_assistant",
        "gemma4_unified_text", "git", "got_ocr2", "hrm_text", "jetmoe", "kimi_linear", "lfm3", "longcat_flash", "mamba",
        "mamba2", "moshi", "moss_transcribe_diarize", "musicgen", "musicgen_melody", "phi4_multimodal", "qwen4_exp",
        "qwen4_exp_text", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
    }
)  # fmt: skip
# Those whose linear layers are of a class of their own, which bitsandbytes leaves as they are: "4 bits" would be 16.
NOT_QUANTIZED = frozenset({"falcon"})
# Those whose attention does not go through transformers' AttentionInterface, or does more in it than the engine's: rows
# go through the model one by one (sdk/train/engine/attention.py decides; these did so on a GPU).
ROW_BY_ROW = frozenset(
    {
        "bamba", "biogpt", "bloom", "falcon", "gpt_neox_japanese", "hy_v4", "inkling_text", "lara_mini",
        "mimo_v2_flash", "mpt", "olmo_hybrid", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text",
        "qwen3_next", "stablelm", "xglm",
    }
)  # fmt: skip
ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(
        ("llama", "granite", "helium", "internlm3", "hyperclovax", "exaone", "iquestcoder", "falcon_h1"), LLAMA
    ),
    "apertus": _APERTUS,
    "apertus1p5_text": _APERTUS,
    "arcee": Architecture(gated=False),
    "bamba": LLAMA,
    "biogpt": _GPT_2._replace(fused=False, positions=2),
    "bloom": _GPT_2._replace(positions=None, first_norm=True),
    "codegen": _GPT_J._replace(fused=True),
    "cohere": Architecture(tied=True, norms=1, qk_norm="width", qk_norm_key="use_qk_norm"),
    "ctrl": _GPT_2._replace(fused=False, positions=None, dense="dff", head_bias=True),
    "cohere2": Architecture(tied=True, norms=1, window=4096, every=4),
    "deepseek_v2": LLAMA,
    "deepseek_v3": LLAMA,
    "deepseek_v32": LLAMA,
    "ernie4_5": Architecture(tied=True, head_dim=128, attention_bias_key="use_bias", mlp_bias_key="use_bias"),
    "ernie4_5_moe": Architecture(
        tied=True, attention_bias_key="use_bias", mlp_bias_key="use_bias", head_bias_key="use_bias", router_bias=True
    ),
    "exaone4": Architecture(qk_norm="head", window=4096, every=4),
    "falcon": Architecture(
        tied=True,
        gated=False,
        fused=True,
        norm_bias=True,
        attention_bias_key="bias",
        mlp_bias_key="bias",
        multiple=4,
        one_key_head=True,
    ),
    "gemma": Architecture(tied=True, head_dim=256),
    "gemma2": Architecture(tied=True, head_dim=256, norms=4, window=4096, every=2, capped=True, capped_logits=True),
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma4": _GEMMA4,
    "gemma4_text": _GEMMA4,
    "glm": Architecture(head_dim=128, biased="qkv", attention_bias=True),
    "glm4": Architecture(head_dim=128, biased="qkv", attention_bias=True, norms=4),
    "glm4_moe": Architecture(biased="qkv", qk_norm="head", qk_norm_key="use_qk_norm"),
    "glm4_moe_lite": LLAMA,
    "glm_moe_dsa": LLAMA,
    "gpt2": _GPT_2,
    "gpt-sw3": _GPT_2,
    "gpt_bigcode": _GPT_2._replace(one_key_head=True),
    "gpt_neo": _GPT_2._replace(fused=False, biased="o", window=256, window_key="window_size", every=2),
    "gpt_neox": Architecture(
        gated=False, fused=True, norm_bias=True, attention_bias=True, mlp_bias=True, mlp_bias_key=""
    ),
    "gpt_neox_japanese": Architecture(
        tied=True, gated=False, fused=True, norm_bias=True, multiple=4, multiple_key="intermediate_multiple_size"
    ),
    "gptj": _GPT_J,
    "gpt_oss": Architecture(head_dim=64, attention_bias=True, window=128, every=2, sinks=True, router_bias=True),
    "granitemoe": Architecture(experts="intermediate_size"),
    "granitemoehybrid": Architecture(dense="shared_intermediate_size", experts="intermediate_size"),
    "granitemoeshared": Architecture(experts="intermediate_size"),
    "hy_v4": LLAMA,
    "hunyuan_v1_dense": Architecture(qk_norm="head"),
    "hunyuan_v1_moe": Architecture(qk_norm="head", experts="intermediate_size"),
    "inkling_text": Architecture(qk_norm="head", first_norm=True, window=512, window_key="sliding_window_size"),
    "jamba": Architecture(
        experts="intermediate_size",
        defaults={"num_experts_per_tok": 2, "expert_layer_period": 2, "expert_layer_offset": 1},
    ),
    "jais2": Architecture(gated=False, norm_bias=True, attention_bias=True, mlp_bias=True),
    "lfm2": Architecture(tied=True, qk_norm="head", adjusted=True),
    "lfm2_moe": Architecture(tied=True, qk_norm="head"),
    "llama4": _LLAMA_4,
    "llama4_text": _LLAMA_4,
    "mimo_v2_flash": Architecture(window=128),
    "minimax_m2": Architecture(qk_norm="width", experts="intermediate_size"),
    "ministral3": LLAMA,
    "mistral": Architecture(attention_bias_key="", window=4096),
    "mixtral": Architecture(attention_bias_key="", experts="intermediate_size"),
    "mpt": Architecture(tied=True, gated=False, fused=True, multiple=4, multiple_key="expansion_ratio"),
    "nanochat": Architecture(gated=False, norms=0, final_norm=False, capped_logits=True),
    "nemotron": Architecture(gated=False, norm_bias=True),
    "nemotron_h": Architecture(
        gated=False, norms=1, head_dim=128, defaults={"num_experts_per_tok": 2, "num_key_value_heads": 8}
    ),
    "olmo": Architecture(norms=0, final_norm=False),
    "olmo2": Architecture(qk_norm="width"),
    "olmo3": Architecture(qk_norm="width", window=4096, every=4),
    "olmo_hybrid": Architecture(qk_norm="width"),
    "olmoe": Architecture(qk_norm="width", experts="intermediate_size"),
    "openai-gpt": _GPT_2._replace(final_norm=False),
    "opt": _GPT_2._replace(
        fused=False, positions=2, attention_bias_key="enable_bias", mlp_bias_key="enable_bias", multiple=0
    ),
    "persimmon": _GPT_2._replace(
        tied=False,
        positions=None,
        multiple=0,
        qk_norm="head",
        qk_norm_key="qk_layernorm",
        defaults={"qk_layernorm": True},
    ),
    "phi": Architecture(
        gated=False,
        norms=1,
        norm_bias=True,
        attention_bias=True,
        attention_bias_key="",
        mlp_bias=True,
        mlp_bias_key="",
        head_bias=True,
    ),
    "phi3": Architecture(fused=True, attention_bias_key=""),
    "phimoe": Architecture(norm_bias=True, head_bias_key="lm_head_bias", experts="intermediate_size"),
    "qwen2": _QWEN2,
    "qwen2_moe": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3._replace(head_dim=0),
    "qwen3_next": Architecture(head_dim=256, qk_norm="head"),
    "qwen3_5": Architecture(head_dim=256, qk_norm="head"),
    "qwen3_5_text": Architecture(head_dim=256, qk_norm="head"),
    "qwen3_5_moe": Architecture(head_dim=256, qk_norm="head"),
    "qwen3_5_moe_text": Architecture(head_dim=256, qk_norm="head"),
    "seed_oss": Architecture(head_dim=128, biased="qkv", attention_bias=True),
    "smollm3": Architecture(tied=True),
    "stablelm": Architecture(norm_bias=True, biased="qkv", attention_bias_key="use_qkv_bias"),
    "starcoder2": Architecture(
        tied=True,
        gated=False,
        norm_bias=True,
        attention_bias=True,
        attention_bias_key="use_bias",
        mlp_bias=True,
        mlp_bias_key="use_bias",
    ),
    "xglm": _GPT_2._replace(fused=False, positions=None, multiple=0),
    "minimax": _STATES,
}
