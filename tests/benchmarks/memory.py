"""Peak memory and speed of the training engine, measured beside what `sdk advise` predicts.

    python tests/benchmarks/memory.py                          the standard list, every row in a process of its own
    python tests/benchmarks/memory.py --cpu --workers 1        a list for a machine without a GPU
    python tests/benchmarks/memory.py --adapters               DoRA, AdaLoRA, prompts and others
    python tests/benchmarks/memory.py --rows mine.jsonl        these rows
    python tests/benchmarks/memory.py --list                   the standard list as JSON lines, to copy from
    python tests/benchmarks/memory.py --predict measured.json  predict again for rows that were measured before

A row is a JSON object: "name"; "model": a name in SHAPES, a name or folder that `sdk advise --model` takes, an
object as in config.json, or embedded and smollm2, whose weights are read as training reads them; any field of
TrainSettings; "lengths": "full" (rows of max_length tokens) or "varied" (log-normal, median 270, the longest of
max_length); "learned": share of a row's tokens, its last ones; "steps": optimizer steps, the first of which is not
timed; "limit_gib": what the allocator may take, which plays a smaller card. Weights of all but the bases are random:
neither memory nor speed depends on their values. Rows that need less than the card run side by side unless "alone" is
true; only rows that ran alone are timed. Writes measured.json, memory.csv and memory.png to --out.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdk.files.store import embedded_base
from tests.benchmarks.training import _linear, _tokenizer, machine
from tools import real_base

GIB = 2**30
MEDIAN, SIGMA = 270, 0.8
LLAMA = {"model_type": "llama", "max_position_embeddings": 131072}


def _llama(hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    heads_ = {"num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocab}
    return {**LLAMA, **sizes, **heads_, "tie_word_embeddings": False, **more}


# As in the models' config.json.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _llama(256, 512, 4, 4, 2, 1024),
    "embedded": _llama(256, 1024, 4, 4, 2, 4608, tie_word_embeddings=True, max_position_embeddings=1024),
    "smollm2": _llama(576, 1536, 30, 9, 3, 49152, tie_word_embeddings=True, max_position_embeddings=8192),
    "qwen2.5-0.5b": _llama(896, 4864, 24, 14, 2, 151936, model_type="qwen2", tie_word_embeddings=True),
    "qwen2.5-1.5b": _llama(1536, 8960, 28, 12, 2, 151936, model_type="qwen2", tie_word_embeddings=True),
    "llama-3.2-1b": _llama(2048, 8192, 16, 32, 8, 128256, tie_word_embeddings=True),
    "llama-3.2-3b": _llama(3072, 8192, 28, 24, 8, 128256, tie_word_embeddings=True),
    "qwen3-4b": _llama(2560, 9728, 36, 32, 8, 151936, model_type="qwen3", tie_word_embeddings=True, head_dim=128),
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32, 32000),
    "mistral-7b": _llama(4096, 14336, 32, 32, 8, 32768, model_type="mistral", sliding_window=None),
    "llama-3.1-8b": _llama(4096, 14336, 32, 32, 8, 128256),
    "qwen3-14b": _llama(5120, 17408, 40, 40, 8, 151936, model_type="qwen3", head_dim=128),
    "qwen2.5-32b": _llama(5120, 27648, 64, 40, 8, 152064, model_type="qwen2"),
    "llama-3.1-70b": _llama(8192, 28672, 80, 64, 8, 128256),
    "gemma-3-1b": {
        **_llama(1152, 6912, 26, 4, 1, 262144, model_type="gemma3_text", tie_word_embeddings=True, head_dim=256),
        "sliding_window": 512,
        "max_position_embeddings": 32768,
    },
    "qwen3-30b-a3b": {
        **_llama(2048, 6144, 48, 32, 4, 151936, model_type="qwen3_moe", head_dim=128),
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
    },
    "mixtral-8x7b-half": {
        **_llama(4096, 14336, 16, 32, 8, 32000, model_type="mixtral", sliding_window=None),
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
}


def _standard(lines: str) -> list[Row]:
    """Make rows of lines: model, bits, rows x tokens, options."""
    rows: list[Row] = []
    for line in lines.strip().splitlines():
        model, method, sizes, *options = line.split()
        batch, _, length = sizes.partition("x")
        row: Row = {"name": line.strip().replace(" ", "-"), "model": model}
        row["method"] = {"16": "lora", "8": "qlora-8bit", "4": "qlora-4bit", "fp8": "lora-fp8"}[method]
        row |= {"per_device_train_batch_size": int(batch), "max_length": int(length)}
        for option in options:
            name, _, value = option.partition("=")
            row |= OPTIONS[name](value)
        rows.append(row)
    return rows


OPTIONS: dict[str, Callable[[str], Row]] = {
    "r": lambda value: {"lora_r": int(value)},
    "recompute": lambda value: {
        "gradient_checkpointing": True,
        "checkpointed_layers": int(value) if value else None,
    },
    "dropout": lambda value: {"lora_dropout": float(value)},
    "once": lambda value: {"gradient_accumulation_steps": 1, "steps": 4},
    "packed": lambda value: {"packing": True, "lengths": "varied"},
    "varied": lambda value: {"lengths": "varied"},
    "offload": lambda value: {"activation_offloading": True},
    "host": lambda value: {"offload_embeddings": True},
    "gpus": lambda value: {"gpus": int(value)},
    "alone": lambda value: {"alone": True},
    "learned": lambda value: {"learned": float(value)},
    "steps": lambda value: {"steps": int(value)},
    "fitted": lambda value: {"fitted": True},
    "dora": lambda value: {"use_dora": True},
    "rslora": lambda value: {"use_rslora": True},
    "init": lambda value: {"init_lora_weights": value},
    "kind": lambda value: {"peft_type": value},
}
# Shapes from 0.5B to 70B, all methods, 512 to 16k tokens a row, 1 to 16 rows, rank 8 to 256, 1 and 2 GPUs. Those that
# run alone are timed as well.
STANDARD = """
qwen2.5-0.5b 16 8x1024 alone
qwen2.5-0.5b 4 16x512 r=64 alone
qwen2.5-0.5b 8 4x4096 recompute
qwen2.5-0.5b fp8 8x2048
qwen2.5-0.5b 4 1x16384 alone
qwen2.5-0.5b 16 2x2048 r=256
qwen2.5-0.5b 16 16x2048 recompute=12
qwen2.5-1.5b 16 4x2048 alone
qwen2.5-1.5b 4 8x1024 recompute alone
qwen2.5-1.5b 16 4x2048 packed
qwen2.5-1.5b 8 16x512
qwen2.5-1.5b fp8 1x8192 alone
llama-3.2-1b 16 8x2048 r=8 alone
llama-3.2-1b 4 2x8192
llama-3.2-1b fp8 4x4096 r=128
llama-3.2-1b 8 8x1024 recompute=8 alone
llama-3.2-1b 4 16x1024 varied
llama-3.2-1b 16 1x512 r=256 alone
llama-3.2-1b 4 4x4096
llama-3.2-1b 8 4x1024 r=256
llama-3.2-3b 16 4x2048 alone
llama-3.2-3b 4 8x2048 recompute=14 alone
llama-3.2-3b 8 4x1024 r=64
llama-3.2-3b fp8 2x4096 alone
llama-3.2-3b 4 1x512 r=32 alone
llama-3.2-3b 16 1x16384 recompute
llama-3.2-3b 4 4x2048 packed
qwen3-4b 16 4x2048 alone
qwen3-4b 4 8x1024 alone
qwen3-4b 8 2x8192 recompute
qwen3-4b fp8 4x1024 r=256
qwen3-4b 4 4x2048 dropout=0.05 alone
qwen3-4b 16 1x16384 recompute=18
qwen3-4b 4 1x4096 r=128 recompute
llama-2-7b 16 4x2048 recompute alone
llama-2-7b 4 4x1024 r=64 alone
llama-2-7b 8 2x4096 recompute=16
llama-2-7b fp8 1x4096
llama-2-7b 4 1x512 r=8 recompute alone
llama-2-7b fp8 4x1024 dropout=0.05
mistral-7b 4 8x1024 r=32 dropout=0.05 alone
mistral-7b 16 2x4096 recompute=20
mistral-7b 8 8x512 alone
mistral-7b 4 4x2048 packed
mistral-7b fp8 16x512 recompute
llama-3.1-8b 16 2x2048 alone
llama-3.1-8b 4 4x2048 r=64 alone
llama-3.1-8b 4 1x16384 recompute alone
llama-3.1-8b 4 1x16384
llama-3.1-8b 8 4x2048 recompute alone
llama-3.1-8b 8 1x8192
llama-3.1-8b fp8 4x2048 alone
llama-3.1-8b fp8 1x1024 r=256 alone
llama-3.1-8b 16 1x4096 r=128 recompute=8
llama-3.1-8b 4 2x1024 offload recompute host alone
llama-3.1-8b 4 16x512 once alone
llama-3.1-8b 4 8x2048 packed recompute
llama-3.1-8b 16 8x2048 varied recompute=16
llama-3.1-8b 4 2x512 r=256 once
llama-3.1-8b 16 8x1024 dropout=0.05 recompute=8
llama-3.1-8b 4 4x4096 recompute
llama-3.1-8b 8 2x2048 r=64 recompute=24 alone
qwen3-14b 4 2x2048 alone
qwen3-14b 4 4x1024 r=64 recompute=20
qwen3-14b 16 1x4096 recompute alone
qwen3-14b 8 2x1024 alone
qwen3-14b fp8 2x2048 recompute
qwen3-14b fp8 1x4096 recompute=10
qwen2.5-32b 4 2x2048 recompute alone
qwen2.5-32b 4 1x4096 r=64 recompute=48
qwen2.5-32b 16 1x2048 recompute
qwen2.5-32b 8 4x512 recompute
qwen2.5-32b fp8 1x4096 recompute alone
qwen2.5-32b 4 1x1024
llama-3.1-70b 4 1x512 recompute
llama-3.1-70b 4 1x4096 r=32 recompute alone
llama-3.1-70b 4 4x2048 recompute offload host
llama-3.1-70b 8 1x2048 recompute
llama-3.1-70b 4 2x2048 recompute=60
llama-3.1-70b fp8 1x1024 recompute
llama-3.1-70b 4 1x8192 r=64 recompute
gemma-3-1b 16 4x2048 alone
gemma-3-1b 4 8x1024
gemma-3-1b 8 1x8192 recompute
qwen3-30b-a3b 16 1x2048 alone
qwen3-30b-a3b 16 4x1024 recompute
qwen3-30b-a3b 4 2x2048
mixtral-8x7b-half 16 2x2048
mixtral-8x7b-half 4 4x1024 recompute alone
llama-3.1-8b 16 8x2048
llama-3.1-8b 16 1x16384 alone
qwen3-14b 16 4x2048 recompute=8
qwen2.5-32b 16 2x2048 recompute=48
llama-3.1-70b fp8 2x4096 recompute=72
qwen2.5-0.5b 16 1x1024 alone
llama-3.2-1b 4 2x2048 alone
llama-3.1-8b 16 1x1024 alone
llama-3.1-8b 4 1x1024 recompute alone
llama-3.1-8b 16 8x512 r=8 recompute=16 alone
llama-3.2-1b 16 8x2048 gpus=2
llama-3.2-3b 16 2x4096 recompute gpus=2
llama-3.1-8b 4 4x2048 gpus=2
llama-3.1-8b 4 2x1024 r=256 gpus=2
llama-3.1-8b fp8 2x2048 gpus=2
"""
# Kinds of adapter other than LoRA: --adapters. Those of 1B are the ones that were measured with PEFT's own layers.
ADAPTERS = """
llama-3.2-1b 16 4x1024 alone
llama-3.2-1b 16 4x1024 rslora alone
llama-3.2-1b 16 4x1024 init=pissa_niter_4 alone
llama-3.2-1b 16 4x1024 dora alone
llama-3.2-1b 16 4x1024 dora dropout=0.05 alone
llama-3.2-1b 16 4x1024 dora recompute alone
llama-3.2-1b 16 4x1024 kind=adalora alone
llama-3.2-1b 16 4x1024 kind=prompt_tuning alone
llama-3.2-1b 16 4x1024 kind=prefix_tuning alone
llama-3.2-1b 16 4x1024 kind=p_tuning alone
llama-3.2-1b 8 4x1024 rslora alone
llama-3.2-1b 8 4x1024 kind=adalora alone
llama-3.2-1b 4 4x1024 alone
llama-3.2-1b 4 4x1024 dora alone
llama-3.2-1b 4 4x1024 kind=adalora alone
llama-3.2-1b 4 4x1024 kind=prompt_tuning alone
llama-3.2-1b 4 4x1024 kind=prefix_tuning alone
llama-3.2-1b 4 4x1024 kind=p_tuning alone
llama-3.1-8b 16 4x2048 dora alone
llama-3.1-8b 16 4x2048 kind=adalora alone
llama-3.1-8b 4 4x2048 dora r=64 alone
llama-3.1-8b 4 4x2048 kind=adalora r=64 alone
qwen2.5-1.5b 16 4x2048 dora alone
gemma-3-1b 16 4x2048 dora alone
"""
# For a CPU with two cores: the bases that newcomers meet first, and two shapes with made-up weights.
ON_A_CPU = """
embedded 16 8x128 alone
embedded 16 1x1024 alone
embedded 16 4x512 alone
embedded 16 8x1024 alone steps=2
smollm2 16 1x128 alone
smollm2 16 1x256 alone
smollm2 16 4x128 alone steps=2
smollm2 16 1x512 alone steps=2
tiny 16 8x512 alone
qwen2.5-0.5b 16 1x128 alone steps=2
embedded 16 16x128
embedded 16 8x512 varied steps=6
embedded 16 8x512 recompute
embedded 4 8x512
embedded 8 8x256
embedded 16 4x256 dropout=0.05
embedded 16 8x256 learned=0.1
smollm2 16 4x256 varied steps=3
smollm2 16 2x256 r=64 dropout=0.05 steps=2
smollm2 4 2x256 steps=2
smollm2 16 2x512 recompute=15 steps=2
tiny 4 4x1024
"""
DEFAULTS: dict[str, Any] = {
    "method": "qlora-4bit",
    "lora_r": 16,
    "lora_dropout": 0.0,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "warmup_ratio": 0.0,
    "num_train_epochs": 1.0,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": False,
    "max_length": 2048,
}
OURS = (
    "name",
    "model",
    "lengths",
    "learned",
    "steps",
    "alone",
    "fitted",
    "limit_gib",
    "card_gib",
    "role",
    "plan",
    "share",
    "late",
)
COLUMNS = (
    "name", "shape", "method", "lora_r", "lora_dropout", "batch", "length", "accumulation", "packing",
    "gradient_checkpointing", "checkpointed_layers", "activation_offloading", "offload_embeddings", "gpus",
    "shard_base", "tokens", "predicted_low_gib", "predicted_gib", "predicted_high_gib", "allocated_gib", "error",
    "predicted_device_gib", "reserved_gib", "device_gib", "base_gib", "predicted_tokens_per_second",
    "tokens_per_second", "speed_error", "fitted", "gpu", "failed", "config",
)  # fmt: skip

Row = dict[str, Any]


def settings_of(row: Row) -> Any:
    from sdk.records import TrainSettings

    given = {**DEFAULTS, **{name: value for name, value in row.items() if name not in OURS}}
    given.setdefault("lora_alpha", 2 * given["lora_r"])
    return TrainSettings(**{**given, "max_steps": row.get("steps", 3)})


def config_of(row: Row) -> dict[str, Any]:
    """transformers' configuration of the row's model, as a dictionary."""
    model = row["model"]
    if isinstance(model, dict):
        return model
    if model in SHAPES:
        return SHAPES[model]
    path = Path(model) / "config.json" if Path(model).is_dir() else Path(model)
    if path.is_file():
        return dict(json.loads(path.read_text()))
    from sdk.advise import find_model, models

    return dict(models._entries()[models._key(find_model(model).name)]["config"])


# The model and the rows

BASES: dict[str, Callable[[], Path]] = {"embedded": embedded_base, "smollm2": real_base.prepare}


def load(row: Row, method: str) -> Any:
    """The row's model, with its own weights where it is a base, else with random ones."""
    from sdk.model.load import load_base

    if isinstance(row["model"], str) and row["model"] in BASES:
        return load_base(str(BASES[row["model"]]()), method)[0]  # type: ignore[arg-type]
    return build(config_of(row), method)


def build(config: dict[str, Any], method: str) -> Any:
    """A causal LM with random weights, made layer by layer so that no copy in 16 bits is ever whole."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.quantizers import AutoHfQuantizer

    gpu = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    given = {name: value for name, value in config.items() if name != "model_type"}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    made = AutoConfig.for_model(config["model_type"], **{**given, **ids})
    dtype = torch.bfloat16 if gpu.type == "cuda" else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(made, dtype=dtype)
    draw = torch.Generator(gpu).manual_seed(0)
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                bias = child.bias
                replaced = _linear(child, method, gpu, draw)
                if bias is not None:
                    replaced.bias = torch.nn.Parameter(torch.zeros(bias.shape, dtype=dtype, device=gpu), False)
                setattr(parent, name, replaced)
            elif "Rotary" in type(child).__name__ and hasattr(child, "config"):
                setattr(parent, name, type(child)(child.config).to(gpu))
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if value.is_meta:
                filled = torch.ones(value.shape, dtype=dtype, device=gpu) if value.dim() == 1 else None
                filled = _drawn(value.shape, dtype, gpu, draw) if filled is None else filled
                setattr(module, name, torch.nn.Parameter(filled, requires_grad=False))
        for name, value in list(module.named_buffers(recurse=False)):
            if value.is_meta:  # scales of embeddings, which are constants
                setattr(module, name, torch.ones(value.shape, dtype=value.dtype, device=gpu))
    model.tie_weights()
    if method in ("qlora-4bit", "qlora-8bit"):
        bits = f"load_in_{method[6]}bit"
        model.hf_quantizer = AutoHfQuantizer.from_config(BitsAndBytesConfig(**{bits: True}))
        model.is_quantized = True
        setattr(model, f"is_loaded_in_{method[6]}bit", True)
    model.hf_device_map = {"": str(gpu)}
    return model.requires_grad_(False)


def _drawn(shape: Any, dtype: Any, device: Any, draw: Any) -> Any:
    import torch

    value = torch.empty(shape, dtype=dtype, device=device)
    for part in value if value.dim() == 3 else (value,):
        part.normal_(0, 0.02, generator=draw)
    return value


def rows_of(row: Row, settings: Any, vocabulary: int) -> list[Any]:
    """Enough synthetic rows for all steps; every token but the first is learned, unless the row says less."""
    from sdk.model import Encoded

    draw = random.Random(1)
    passes = settings.max_steps * settings.gradient_accumulation_steps * settings.gpus
    longest, made, tokens = settings.max_length, [], 0
    needed = passes * settings.per_device_train_batch_size
    room = needed * longest if settings.packing else math.inf
    while len(made) < needed or (settings.packing and tokens < 1.1 * room):
        length = longest
        if row.get("lengths", "full") == "varied" and made:
            length = max(8, min(longest, round(draw.lognormvariate(math.log(MEDIAN), SIGMA))))
        first = round(length * (1 - row.get("learned", 1.0)))
        made.append(Encoded(draw.choices(range(3, vocabulary), k=length), [place >= first for place in range(length)]))
        tokens += length
    return made


# One row, in this process


def trainer_of(model: Any, settings: Any, rows: Sequence[Any], folder: Path) -> tuple[Any, list[int]]:
    """The engine's Trainer over these rows, and the tokens of each optimizer step."""
    from datasets import Dataset
    from transformers import set_seed

    from sdk.packing import one_row_at_a_time
    from sdk.records import PROMPTS
    from sdk.train.batching import micro_batches
    from sdk.train.checkpoints import Checkpoints
    from sdk.train.engine import use_row_attention
    from sdk.train.methods import peft_config
    from sdk.train.peak_memory import PeakMemory
    from sdk.train.session import Session
    from sdk.train.splitting import split_batches
    from sdk.train.trainer import Collator, Trainer

    set_seed(0)
    by_rows = settings.peft_type not in PROMPTS and use_row_attention(model)
    running = settings if by_rows else one_row_at_a_time(settings)
    lengths = [len(row.input_ids) for row in rows]
    batches, running, _, _ = split_batches(micro_batches(lengths, running), lengths, running, 0)
    sizes = [sum([*lengths, 0][row] for row in batch) for batch in batches]
    together = running.gradient_accumulation_steps * running.gpus
    trainer = Trainer(
        running,
        Session(folder, Checkpoints(folder, "none"), None, PeakMemory(), time.monotonic()),
        model=model,
        processing_class=_tokenizer(),
        train_dataset=Dataset.from_dict({"input_ids": [*batches]}),
        data_collator=Collator(rows, by_rows),
        peft_config=peft_config(model, running, running.max_steps),
    )
    steps = [sum(sizes[at : at + together]) for at in range(0, len(sizes), together)]
    trainer.largest = max(sizes)
    return trainer, steps


def measure(row: Row) -> dict[str, Any]:
    import torch

    from sdk.train.peak_memory import PeakMemory

    with PeakMemory() as memory:
        found = _train(row)
    return found if torch.cuda.is_available() or "failed" in found else {**found, "allocated_gib": memory.gib}


def _train(row: Row) -> dict[str, Any]:
    import torch
    from transformers import TrainerCallback

    from sdk.train.engine.graphs import launch_bound
    from sdk.train.ranks import Ranks

    settings = settings_of(row)
    if settings.shard_base:
        return {"failed": "a sharded base is read from files, and these weights are made up"}
    if settings.gpus > 1:
        from sdk.train import process_group

        process_group.join()
    cuda, found = torch.cuda.is_available(), {"gpu": "CPU"}
    if cuda and row.get("limit_gib"):
        whole = torch.cuda.get_device_properties(0).total_memory / GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, row["limit_gib"] / whole))
    model = load(row, settings.method)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found = {"gpu": torch.cuda.get_device_name(), "base_gib": torch.cuda.memory_allocated() / GIB}
    rows = rows_of(row, settings, model.config.get_text_config().vocab_size)
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                assert math.isfinite(logs["loss"])
                marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = trainer_of(model, settings, rows, Path(folder))
        trainer.add_callback(Clock())
        if settings.peft_type == "adalora":
            trainer.add_callback(Ranks(trainer.model))
        if cuda:
            found["ready_gib"] = torch.cuda.memory_allocated() / GIB
        trainer.train()
    found |= {
        "recorded": launch_bound(model, settings),
        "tokens": trainer.largest,
        "seconds": [after - before for before, after in pairwise(marks)],
        "step_tokens": tokens,
    }
    if cuda:
        found |= {
            "allocated_gib": torch.cuda.max_memory_allocated() / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
            "rest_gib": torch.cuda.memory_allocated() / GIB,
            "device_gib": _of_this_process(),
        }
    if settings.gpus > 1:
        process_group.leave()
    return found


def _of_this_process() -> float | None:
    """What the driver says that this process holds; torch's cache is still full."""
    asked = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    for line in said.splitlines():
        pid, _, mib = line.partition(",")
        if pid.strip() == str(os.getpid()) and mib.strip().isdigit():
            return int(mib) / 1024
    return None


# Processes


class Process:
    """A Python of its own that has imported everything and waits for its row."""

    file = __file__

    def __init__(self, card: int = 0, gpus: int = 1) -> None:
        command = [sys.executable, self.file, "--wait"]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        if gpus == 1 and "CUDA_VISIBLE_DEVICES" not in environment:
            environment["CUDA_VISIBLE_DEVICES"] = str(card)
        if gpus > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
            command = [sys.executable, *torchrun, self.file, "--wait"]
        self._go = Path(tempfile.mkdtemp()) / "row.json"  # several processes cannot share one standard input
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*command, str(self._go)], stdout=pipe, stderr=pipe, text=True, env=environment
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, row: Row) -> dict[str, Any]:
        self._go.write_text(json.dumps(row))
        try:
            out, errors = self._process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return {"failed": "took more than 240 s"}
        for line in reversed(out.splitlines()):
            if line.startswith('{"found"'):
                return dict(json.loads(line)["found"])
        return {"failed": " ".join(errors.strip().splitlines()[-3:])[-500:] or "no answer"}


def wait(go: Path, work: Callable[[Row], dict[str, Any]]) -> None:
    """The other end of Process."""
    import sdk.train  # noqa: F401

    while not go.exists() or not go.read_text():
        time.sleep(0.05)
    found = work(json.loads(go.read_text()))
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"found": found}))


class Card:
    """Rows side by side as long as their expected memory fits; rows for the clock alone."""

    def __init__(self, gib: float) -> None:
        self.gib = gib
        self._users: dict[int, float] = {}
        self._changed = threading.Condition()

    @contextmanager
    def held(self, need: float) -> Iterator[None]:
        """need: GiB; all of it: alone."""
        me, need = threading.get_ident(), min(need, self.gib)
        with self._changed:
            self._changed.wait_for(lambda: sum(self._users.values()) + need <= self.gib)
            self._users[me] = need
        try:
            yield
        finally:
            with self._changed:
                del self._users[me]
                self._changed.notify_all()


def measure_all(rows: Sequence[Row], seconds: float, workers: int, done: Callable[[Row, dict[str, Any]], None]) -> None:
    """Every row in a process of its own, by so many threads for each card, which have their next process ready."""
    cards, began, lock = _cards(), time.monotonic(), threading.Lock()
    one = [row for row in rows if row.get("gpus", 1) == 1]
    # Those for the clock would wait long for an empty card among the others.
    waiting = sorted(one, key=lambda row: bool(row.get("alone")))

    def left() -> bool:
        return time.monotonic() - began < seconds

    def work(number: int, card: Card) -> None:
        ready = Process(number)
        while True:
            with lock:
                row = waiting.pop(0) if waiting and left() else None
            if row is None:
                ready.end()
                return
            alone = bool(row.get("alone"))
            with card.held(card.gib if alone else _expected_gib(row) * 1.05 + 2):
                found = ready.run(row)
            ready = Process(number)
            with lock:
                done(row, {**found, "alone": alone})

    threads = [
        threading.Thread(target=work, args=(number, card)) for number, card in enumerate(cards) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    several = [row for row in rows if row.get("gpus", 1) > 1]
    following = [Process(gpus=row["gpus"]) for row in several]
    for row, process in zip(several, following, strict=True):
        if not left():
            process.end()
        elif row["gpus"] > len(cards):
            process.end()
            done(row, {"failed": f"{len(cards)} GPUs are here", "alone": True})
        else:
            done(row, {**process.run(row), "alone": True})


def _cards() -> list[Card]:
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        said = []
    return [Card(float(mib) / 1024 - 1) for mib in said] or [Card(1e6)]


def _expected_gib(row: Row) -> float:
    return float(predict({**row}, {})["predicted_gib"])


# What was predicted


def shape_of(row: Row) -> Any:
    from sdk.advise.model_config import shape_of as read

    return read(config_of(row), row["name"], "the benchmark", row["name"])


def predict(row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """The advisor's answer for the tokens that the row's passes had; where nothing was measured, for full passes."""
    from sdk.advise.adapters import running
    from sdk.advise.architectures import ROW_BY_ROW
    from sdk.advise.memory import device_gib, estimate
    from sdk.advise.predict import predict as advised
    from sdk.advise.speed import step_seconds
    from sdk.packing import MicroBatch, one_row_at_a_time
    from sdk.records import Needs

    shape, settings = shape_of(row), settings_of(row)
    settings = one_row_at_a_time(settings) if shape.model_type in ROW_BY_ROW else running(settings)
    hardware = _hardware(found.get("gpu", "NVIDIA H200"), settings.gpus)
    largest = found.get("tokens") or settings.per_device_train_batch_size * settings.max_length
    learned = row.get("learned", 1.0)
    memory = estimate(shape, settings, hardware, largest, learned)
    asked = advised(shape, settings, hardware, Needs(max_length=settings.max_length))
    below, above = (each.total / asked.memory.total for each in (asked.memory_low, asked.memory_high))
    made = {
        "predicted_low_gib": memory.total * below,
        "predicted_gib": memory.total,
        "predicted_high_gib": memory.total * above,
        "predicted_device_gib": device_gib(memory, hardware, settings.gpus),
    }
    if found.get("seconds"):
        step = statistics.median(found["step_tokens"][1:])
        passes = settings.gradient_accumulation_steps * settings.gpus
        filled = MicroBatch(step / passes, largest, settings.per_device_train_batch_size, settings.max_length)
        made["predicted_tokens_per_second"] = step / step_seconds(shape, settings, hardware, filled, learned)
        made["tokens_per_second"] = statistics.median(
            tokens / seconds for tokens, seconds in zip(found["step_tokens"][1:], found["seconds"], strict=True)
        )
    return made


def _hardware(gpu: str, count: int) -> Any:
    from sdk.errors import InvalidInput
    from sdk.hardware import cpu_cores, find_gpu
    from sdk.records import Hardware

    if gpu == "CPU":
        return Hardware(cpu_cores=cpu_cores())
    try:
        return find_gpu(gpu, count)
    except InvalidInput:  # its memory does not matter here, and of its speed nothing is known
        return Hardware(gpu=gpu, gpu_count=count, gpu_memory_gib=1.0)


def line_of(row: Row, found: dict[str, Any]) -> dict[str, Any]:
    """One line of memory.csv."""
    from sdk.advise.speed import recorded

    settings = settings_of(row)
    line: dict[str, Any] = {name: getattr(settings, name) for name in COLUMNS if hasattr(settings, name)}
    line |= {"batch": settings.per_device_train_batch_size, "length": settings.max_length}
    line["accumulation"] = settings.gradient_accumulation_steps
    model = row["model"]
    line |= {"name": row["name"], "shape": model if isinstance(model, str) else model.get("model_type", "")}
    line |= {name: found.get(name) for name in COLUMNS if name in found}
    line |= predict(row, found)
    # Layers that are recorded as CUDA graphs today ran one kernel after the other in earlier runs.
    now = recorded(shape_of(row), settings, _hardware(found.get("gpu", ""), settings.gpus))
    as_measured = "gpu" in found and bool(found.get("recorded")) == now
    timed = found.get("alone") and "seconds" in found and as_measured
    if not timed:
        line["tokens_per_second"] = None
    if found.get("allocated_gib"):
        line["error"] = line["predicted_gib"] / found["allocated_gib"] - 1
    if timed:
        line["speed_error"] = line["predicted_tokens_per_second"] / line["tokens_per_second"] - 1
    line |= {"fitted": int(bool(row.get("fitted"))), "config": json.dumps(config_of(row))}
    return {name: line.get(name) for name in COLUMNS}


def write_table(measured: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    lines = [line_of(each["row"], each["found"]) for each in measured]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for line in lines:
            table.writerow({name: _short(value) for name, value in line.items()})
    return lines


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else value


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """sdk/advise/measured.json: how far off memory and speed were, by method, on rows that nothing was fitted to.

    `fitted` is about memory; speed was fitted to passes of planning.py --search."""
    found: dict[str, dict[str, Any]] = {"memory": {}, "speed": {}}
    for what, column, of in (("memory", "error", "peak memory"), ("speed", "speed_error", "tokens/s")):
        for method in sorted({line["method"] for line in lines}):
            kept = [line for line in lines if line["method"] == method and line[column] is not None]
            errors = sorted(line[column] for line in kept if column == "speed_error" or not line["fitted"])
            if errors:
                size = sorted(map(abs, errors))
                found[what][method] = {
                    "scope": f"{of} with {method} on {kept[0]['gpu']}",
                    "runs": len(errors),
                    "median": round(statistics.median(size), 5),
                    "percentile_95": round(size[math.ceil(0.95 * len(size)) - 1], 5),
                    "too_low": round(max(0.0, -errors[0]), 5),
                    "too_high": round(max(0.0, errors[-1]), 5),
                }
    return found


def report(lines: Sequence[dict[str, Any]]) -> str:
    memory = [line for line in lines if line["error"] is not None]
    kinds = (
        ("memory, {} rows not fitted", [line["error"] for line in memory if not line["fitted"]]),
        ("memory, {} rows fitted", [line["error"] for line in memory if line["fitted"]]),
        ("speed, {} rows measured alone", [line["speed_error"] for line in lines if line["speed_error"] is not None]),
    )
    said = []
    for what, errors in kinds:
        if errors:
            size = sorted(map(abs, errors))
            said.append(
                f"{what.format(len(errors))}: median {statistics.median(size):.2%}, 95 % within "
                f"{size[math.ceil(0.95 * len(size)) - 1]:.2%}, farthest {min(errors):+.2%} and {max(errors):+.2%}"
            )
    return "\n".join(said)


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Predicted against measured, and the errors."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    shown = [line for line in lines if line["error"] is not None]
    for method, color in zip(("lora", "qlora-4bit", "qlora-8bit", "lora-fp8"), ("C0", "C1", "C2", "C3"), strict=True):
        for fitted, marker in ((0, "o"), (1, "x")):
            some = [line for line in shown if line["method"] == method and line["fitted"] == fitted]
            label = method if not fitted else None
            measured = [line["allocated_gib"] for line in some]
            left.scatter(measured, [line["predicted_gib"] for line in some], s=18, c=color, marker=marker, label=label)
            right.scatter(measured, [100 * line["error"] for line in some], s=18, c=color, marker=marker)
    most = max(line["allocated_gib"] for line in shown) * 1.1
    left.plot([1, most], [1, most], color="gray", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="measured, GiB", ylabel="predicted, GiB")
    left.legend(fontsize=8)
    right.axhline(0, color="gray", linewidth=0.8)
    right.set(xscale="log", xlabel="measured, GiB", ylabel="error, %", ylim=(-5, 5))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"Peak memory, predicted against measured: {len(shown)} runs on one {shown[0]['gpu']} (x: fitted)")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--cpu", action="store_true", help="the list for a machine without a GPU")
    parser.add_argument("--adapters", action="store_true", help="the list of other kinds of adapter than LoRA")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--wait", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--predict", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no row after so many seconds")
    parser.add_argument("--workers", type=int, default=4, help="processes that may run on a card at the same time")
    parser.add_argument("--out", type=Path, default=Path("memory-results"))
    asked = parser.parse_args()
    standard = _standard(ADAPTERS if asked.adapters else ON_A_CPU if asked.cpu else STANDARD)
    if asked.wait:
        wait(asked.wait, measure)
        return
    if asked.list:
        print("\n".join(json.dumps(row) for row in standard))
        return
    if asked.predict:
        lines = write_table(json.loads(asked.predict.read_text())["rows"], asked.predict.with_suffix(".csv"))
        draw(lines, asked.predict.with_suffix(".png"))
        asked.predict.with_suffix(".summary.json").write_text(json.dumps(summary(lines), indent=1) + "\n")
        print(report(lines))
        return
    rows = (
        [json.loads(line) for line in asked.rows.read_text().splitlines() if line.strip()] if asked.rows else standard
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    measured: list[dict[str, Any]] = []
    began = time.monotonic()

    def done(row: Row, found: dict[str, Any]) -> None:
        measured.append({"row": row, "found": found})
        shown = {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}
        print(f"{time.monotonic() - began:5.0f} s {row['name']:<60} {shown}", flush=True)
        (asked.out / "measured.json").write_text(json.dumps({"machine": machine(), "rows": measured}, indent=1))

    measure_all(rows, asked.seconds, asked.workers, done)
    if all("failed" in each["found"] for each in measured):
        sys.exit("Nothing could be measured.")
    lines = write_table(measured, asked.out / "memory.csv")
    if any(line["error"] is not None for line in lines):
        draw(lines, asked.out / "memory.png")
        print(report(lines))


if __name__ == "__main__":
    main()
