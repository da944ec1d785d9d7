"""How much MLflow slows training down: the same run with and without its figures being sent, in turn, in one process.

    python tests/benchmarks/watching.py [--pairs 6] [--steps 200] [--threads 1] [--out FILE.json]

The base is the embedded one, whose steps are short (some 0.1 s on a CPU), which is the worst case: the cost is one a
step and one every two seconds, whatever the step computes. MLflow is the project's own database. Time is that of the
whole loop, in which mlflow is imported by the sender.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sdk.files.store import shipped
from sdk.project.streaming import MetricsStream
from sdk.records import TrainSettings
from sdk.registry import Tracking
from sdk.train import ONLY_THE_LAST_CHECKPOINT, Job, train
from sdk.train.watch import Watch


def loop_seconds(root: Path, name: str, settings: TrainSettings, sent: bool) -> tuple[float, int]:
    """Seconds from the end of step 1 to that of the last, and how many values MLflow got."""
    ends: list[float] = []
    out = root / name
    rows = shipped("domains") / "finance" / "train.jsonl"
    job = Job(rows, "embedded", "", settings, out, ONLY_THE_LAST_CHECKPOINT)

    def step(*told: Any) -> None:
        ends.append(time.perf_counter())

    if not sent:
        train(job, step)
        return ends[-1] - ends[0], 0
    with MetricsStream(root, None, "benchmark", {"run": name}, out):
        train(job, step)
    assert not (out / "spool.jsonl").exists(), "not everything was sent"
    client = Tracking(root).connect()
    experiment = client.get_experiment_by_name("benchmark")
    newest = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
    history = client.get_metric_history(newest.info.run_id, "live/loss")
    assert [metric.step for metric in history] == list(range(1, settings.max_steps + 1))
    return ends[-1] - ends[0], len(history) * len(newest.data.metrics)


def watched(spent: list[float]) -> Any:
    """Watch.on_log that also notes its own seconds: all that the loop itself does for a step's figures."""
    original = Watch.on_log

    def on_log(*given: Any, **more: Any) -> None:
        began = time.perf_counter()
        original(*given, **more)
        spent.append(time.perf_counter() - began)

    return on_log


def measure(pairs: int, steps: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    settings = TrainSettings(
        method="lora",
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.05,
        learning_rate=1e-3,
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        max_length=512,
    )
    found: dict[bool, list[float]] = {False: [], True: []}
    spent: list[float] = []
    Watch.on_log = watched(spent)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        Tracking(Path(folder)).connect()  # its tables take a second to make
        loop_seconds(Path(folder), "warm", settings.model_copy(update={"max_steps": 20}), False)
        for pair in range(pairs):
            for sent in (False, True) if pair % 2 else (True, False):
                seconds, values = loop_seconds(Path(folder), f"{pair}{sent}", settings, sent)
                found[sent].append(seconds)
                print(f"pair {pair + 1}, {'with' if sent else 'without'} MLflow: {seconds:.2f} s, {values} values")
    ratios = [with_it / without for with_it, without in zip(found[True], found[False], strict=True)]
    return {
        "steps": steps,
        "torch_threads": threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[1],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "seconds_without": found[False],
        "seconds_with": found[True],
        "ratios": ratios,
        "share_of_the_loop_itself": sum(spent) / (sum(found[True]) + sum(found[False])),
        "median_ratio": statistics.median(ratios),
        "ratio_of_fastest": min(found[True]) / min(found[False]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = measure(given.pairs, given.steps, given.threads)
    spread = f"{min(result['ratios']):.4f} to {max(result['ratios']):.4f}"
    print(f"figures in the loop itself: {result['share_of_the_loop_itself']:.3%} of its time")
    print(f"with / without: median {result['median_ratio']:.4f}, {spread}; fastest {result['ratio_of_fastest']:.4f}")
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
