"""What optimizers, layers kept in 16 bits and the kinds of 4 bits take in memory and time, beside what is predicted.

    python tests/benchmarks/options.py             on a GPU: a model of Llama-3.2-1B's shape with random weights
    python tests/benchmarks/options.py --cpu       a tiny one, which tries the script; what pages is left out

Each row runs in a process of its own, a micro-batch of 4 rows of 1,024 tokens for a few steps; the next ones import
meanwhile what they need, and wait. Then paged moments are
tried with so little memory that AdamW's own would not fit beside the peak of a pass: they must survive it, and the
driver is asked for no more than the card has free. Last, each optimizer trains a tiny model, is interrupted, goes on,
and must end with the bytes of an uninterrupted run. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sdk.advise import estimate
from sdk.advise.held import paged_gib
from sdk.advise.model_config import read_shape
from sdk.errors import SDKError
from sdk.hardware import detect_hardware
from sdk.model import Encoded
from sdk.records import TrainSettings
from sdk.train import Job, train, training_run
from sdk.train.one_pass import measure_step
from tests.tiny import make_base, pairs, settings, write_rows

ROWS, LENGTH, STEPS = 4, 1024, 5
OPTIMIZERS = (
    "adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor"
)  # fmt: skip
SHAPE = {
    "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
    "tie_word_embeddings": True,
}  # fmt: skip


def rows() -> list[dict[str, Any]]:
    quantized: list[dict[str, Any]] = [
        {},
        {"bnb_4bit_quant_type": "fp4"},
        {"bnb_4bit_use_double_quant": False},
        {"keep_16bit": "attention"},
        {"keep_16bit": "mlp"},
    ]
    return [
        *({"method": "qlora-4bit", "optim": optim, "lora_r": rank} for rank in (16, 256) for optim in OPTIMIZERS),
        *({"method": "qlora-4bit", **options} for options in quantized[1:]),
        *(
            {"method": method, "keep_16bit": kept}
            for method in ("qlora-8bit", "lora-fp8")
            for kept in ("", "attention")
        ),
    ]


def make(folder: Path, tiny: bool) -> Path:
    base = make_base(folder / "base", positions=LENGTH)
    if not tiny:
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        LlamaForCausalLM(LlamaConfig(**SHAPE, pad_token_id=0, eos_token_id=2)).save_pretrained(base)
    return base


def given(row: dict[str, Any]) -> TrainSettings:
    usual = {"method": "qlora-4bit", "lora_r": 16, "lora_dropout": 0.0, "per_device_train_batch_size": ROWS}
    return settings(**{**usual, "max_length": LENGTH, **row})


def measure(base: Path, row: dict[str, Any], limit: float) -> dict[str, Any]:
    """Run one row here. limit: GiB that the allocator may take; 0: all."""
    shape, hardware, chosen = read_shape(base / "config.json"), detect_hardware(), given(row)
    predicted = estimate(shape, chosen, hardware, ROWS * LENGTH)
    found: dict[str, Any] = {**row, "predicted_gib": predicted.total, "predicted_on_host_gib": paged_gib(shape, chosen)}
    if limit:
        whole = torch.cuda.get_device_properties(0).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole))
        found["limit_gib"] = limit
    draw = random.Random(0)
    encoded = [
        Encoded(draw.choices(range(3, shape.vocab_size), k=LENGTH), [place > 0 for place in range(LENGTH)])
        for _ in range(ROWS)
    ]
    try:
        model, tokenizer, _ = training_run.load(str(base), chosen)
        taken = measure_step(model, tokenizer, encoded, chosen, STEPS)
    except (SDKError, torch.OutOfMemoryError) as error:
        return {**found, "failed": str(error).splitlines()[0]}
    return {
        **found,
        "measured_gib": taken.gib,
        "step_seconds": taken.seconds,
        "tokens_per_second": ROWS * LENGTH / taken.seconds,
    }


def apart(base: Path, row: dict[str, Any], limit: float = 0.0) -> dict[str, Any]:
    command = [sys.executable, __file__, "--base", str(base), "--row", json.dumps(row), "--limit", str(limit)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = ended.stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {**row, "failed": f"exit code {ended.returncode}"}
    print(json.dumps(found), flush=True)
    return found


def spikes(base: Path) -> None:
    """Train with a limit between what paged moments need and what others need."""
    one, other = ({"lora_r": 256, "optim": optim} for optim in ("paged_adamw_32bit", "adamw_torch_fused"))
    taken = [apart(base, row).get("measured_gib", 0.0) for row in (one, other)]
    middle = sum(taken) / 2
    survived, failed = (apart(base, row, middle) for row in (one, other))
    print(
        json.dumps({"limit_gib": middle, "paged survives": "failed" not in survived, "fused fails": "failed" in failed})
    )


def resumed(folder: Path, optim: str) -> bool:
    """Tell whether an interrupted run of this optimizer ends with the bytes of an uninterrupted one."""
    base, data = make_base(folder / "tiny"), write_rows(folder / "train.jsonl", pairs(12))
    torch.use_deterministic_algorithms(True)

    def run(out: Path, stop: int) -> bytes:
        def told(what: str, done: int, total: int | None, figures: Any) -> None:
            if done == stop:
                raise KeyboardInterrupt

        chosen = settings(method="qlora-4bit", optim=optim, lora_r=1024, max_steps=6)  # matrices that are paged
        train(Job(data, str(base), "", chosen, out, 0), told)
        return (out / "adapter" / "adapter_model.safetensors").read_bytes()

    whole = run(folder / "whole", 0)
    with suppress(KeyboardInterrupt):
        run(folder / "cut", 4)
    return run(folder / "cut", 0) == whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--row", type=json.loads)
    parser.add_argument("--limit", type=float, default=0.0)
    asked = parser.parse_args()
    if asked.row is not None:
        with (asked.base / "config.json").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            print(json.dumps(measure(asked.base, asked.row, asked.limit)))
        return
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        base = make(Path(folder), asked.cpu or not gpu)
        chosen = [row for row in rows() if gpu or not row.get("optim", "").startswith("paged")]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda row: apart(base, row), chosen))
        if gpu:
            spikes(base)
        for optim in OPTIMIZERS:
            if gpu or not optim.startswith("paged"):
                same = resumed(Path(folder) / optim, optim)
                print(json.dumps({"optim": optim, "goes on bit by bit": same}), flush=True)


if __name__ == "__main__":
    main()
