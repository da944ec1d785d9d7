"""One process against several, with the base whole and sharded: tokens a second, memory of a process, losses.

python tests/benchmarks/gpus.py BASE ROWS.jsonl --gpus 2 --method qlora-4bit --steps 30
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from sdk.records import Run, TrainSettings
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train


def measure(given: argparse.Namespace, gpus: int, shard_base: bool) -> Run:
    """The same effective batch for all, so that their losses can be compared."""
    settings = TrainSettings(
        method=given.method,
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        learning_rate=1e-4,
        num_train_epochs=1,
        max_steps=given.steps,
        per_device_train_batch_size=given.rows,
        gradient_accumulation_steps=given.gpus // gpus,
        packing=True,
        gradient_checkpointing=False,
        gpus=gpus,
        shard_base=shard_base,
        max_length=given.max_length,
    )
    with tempfile.TemporaryDirectory() as folder:
        silent = lambda *told: None  # noqa: E731
        return train(Job(given.data, given.base, "", settings, Path(folder), ONLY_THE_LAST_CHECKPOINT), silent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("data", type=Path)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--method", default="qlora-4bit")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=2048)
    given = parser.parse_args()
    one = measure(given, 1, False)
    print("| processes | base | tok/s | against one | GiB a process | largest difference of a loss |")
    print("|---|---|---|---|---|---|")
    for gpus, shard_base in ((1, False), (given.gpus, False), (given.gpus, True)):
        run = one if gpus == 1 else measure(given, gpus, shard_base)
        ratio = run.tokens_per_second / one.tokens_per_second
        apart = max(abs(a.loss - b.loss) for a, b in zip(run.losses, one.losses, strict=True))
        kind, memory = "sharded" if shard_base else "whole", run.memory_measured_gib
        print(f"| {gpus} | {kind} | {run.tokens_per_second:,.0f} | {ratio:.2f} | {memory:.2f} | {apart:.1e} |")


if __name__ == "__main__":
    main()
