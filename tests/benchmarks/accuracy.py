"""What each method costs in accuracy on real weights: the same rows, settings and seeds, trained and asked.

    python tests/benchmarks/accuracy.py BASE DATA OUT [--tasks …] [--methods …] [--seeds …] [--jobs N]

BASE: a folder with SmolLM2-135M-Instruct or another decoder. DATA: pubmedqa_labeled.json, pubmedqa_test_ids.json,
gsm8k_train.jsonl and gsm8k_test.jsonl, as their authors publish them (MIT). pubmedqa trains 500 abstracts and asks 500
others (exact match); gsm8k trains 1,000 problems and takes the perplexity of 500 others' solutions, since a small model
solves almost none. Each adapter is asked on the base that evaluation, leak check and `load` give it, and one trained on
8-bit floats on that base, too. Every run is a process of its own, several side by side: no speed is measured here.
Writes OUT/accuracy.json and prints a table with differences from 16 bits, paired by question.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

METHODS = ("lora", "qlora-8bit", "lora-fp8", "qlora-4bit")
TASKS = ("pubmedqa", "gsm8k")
EPOCHS = {"pubmedqa": 4, "gsm8k": 3}
PROMPTS = {"pubmedqa": "Answer with one word.", "gsm8k": "Solve the problem step by step."}
GSM8K_ROWS, QUESTIONS = 1_000, 500


def rows(task: str, folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the rows to train on and those to ask."""
    if task == "pubmedqa":
        labelled = json.loads((folder / "pubmedqa_labeled.json").read_text())
        held = json.loads((folder / "pubmedqa_test_ids.json").read_text())

        def row(key: str) -> dict[str, str]:
            each = labelled[key]
            context = "\n".join(each["CONTEXTS"])
            asked = f"{each['QUESTION']}\n{context}\nAnswer yes, no or maybe."
            return {"id": key, "instruction": asked, "output": each["final_decision"]}

        return [row(key) for key in labelled if key not in held], [row(key) for key in held][:QUESTIONS]

    def solved(name: str, count: int) -> list[dict[str, str]]:
        lines = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines()[:count])
        return [
            {"id": f"{name}-{place}", "instruction": line["question"], "output": line["answer"]}
            for place, line in enumerate(lines)
        ]

    return solved("gsm8k_train", GSM8K_ROWS), solved("gsm8k_test", QUESTIONS)


def one(base: str, data: Path, out: Path, task: str, method: str, seed: int) -> dict[str, Any]:
    """Train one adapter and ask it; method none: ask the base alone."""
    from sdk.data import read_rows
    from sdk.evaluate import ask
    from sdk.model import Chat, encode_rows
    from sdk.model.adapter import attach_adapter
    from sdk.model.load import load_base
    from sdk.records import TrainSettings
    from sdk.train import Job
    from sdk.train.engine.fp8 import to_fp8
    from sdk.train.training_run import train_here

    def quiet(*_: Any) -> None:
        return

    def parsed(name: str, part: list[dict[str, str]]) -> Any:
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in part))
        return read_rows(out / name).rows

    trained, asked = map(parsed, ("train.jsonl", "questions.jsonl"), rows(task, data))
    prompt, found = PROMPTS[task], {"task": task, "method": method, "seed": seed}  # type: dict[str, Any]
    adapter = None
    if method != "none":
        settings = TrainSettings(
            method=method,  # type: ignore[arg-type]
            lora_r=16,
            lora_alpha=32,
            lora_dropout=0.05,
            learning_rate=2e-4,
            num_train_epochs=EPOCHS[task],
            per_device_train_batch_size=16,
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            max_length=2048,
            seed=seed,
        )
        run = train_here(Job(trained, base, prompt, settings, out), quiet)
        assert run is not None
        found |= {"steps": run.steps, "losses": [run.losses[0].loss, run.losses[-1].loss], "seconds": run.seconds}
        config = json.loads((out / "adapter" / "adapter_config.json").read_text())
        adapter = (config, (out / "adapter" / "adapter_model.safetensors").read_bytes())

    def asked_on(in_fp8: bool) -> dict[str, Any]:
        model, tokenizer = load_base(base, "lora" if method == "none" else method)  # type: ignore[arg-type]
        chat = Chat(tokenizer)
        encoded = encode_rows(chat, asked, prompt, 2048)
        if in_fp8:
            to_fp8(model)
        adapted = model if adapter is None else attach_adapter(model, *adapter)
        # Solutions are not generated, only weighed: a token is enough.
        answered, _ = ask(adapted, chat, asked, encoded, prompt, 4 if task == "pubmedqa" else 1, quiet)
        return {"exact": [int(each.exact) for each in answered], "nll": [each.nll / each.tokens for each in answered]}

    found["asked"] = asked_on(False)
    if method == "lora-fp8":
        found["asked_in_fp8"] = asked_on(True)
    return found


def start(arguments: argparse.Namespace, task: str, method: str, seed: int) -> dict[str, Any]:
    """Do one run in a process of its own; what failed is told as text."""
    out = arguments.out / "work" / f"{task}-{method}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, str(arguments.base), str(arguments.data), str(out)]
    command += ["--one", task, method, str(seed)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"task": task, "method": method, "seed": seed, "failed": done.stderr[-1500:]}
    found: dict[str, Any] = json.loads((out / "one.json").read_text())
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return a line for each task, method and base: mean over seeds, and the paired difference from 16 bits."""
    lines = [
        f"{'task':9} {'method':11} {'asked on':9} {'seeds':>5} {'exact':>6} {'- lora':>16} {'nll':>7} {'- lora':>18}"
    ]
    whole = [each for each in found if "asked" in each]
    for task in TASKS:
        reference = {each["seed"]: each["asked"] for each in whole if (each["task"], each["method"]) == (task, "lora")}
        for method, which in [("none", "asked"), *((m, "asked") for m in METHODS), ("lora-fp8", "asked_in_fp8")]:
            runs = [each for each in whole if (each["task"], each["method"]) == (task, method) and which in each]
            if not runs:
                continue
            cells = [task.ljust(9), method.ljust(11), ("fp8" if "fp8" in which else "as served").ljust(9)]
            cells.append(f"{len(runs):5}")
            for score in ("exact", "nll"):
                values = [statistics.fmean(run[which][score]) for run in runs]
                differences = [
                    statistics.fmean(pair)
                    for pair in zip(
                        *(
                            [a - b for a, b in zip(run[which][score], reference[run["seed"]][score], strict=True)]
                            for run in runs
                            if run["seed"] in reference
                        ),
                        strict=True,
                    )
                ]
                cells.append(f"{statistics.fmean(values):{6 if score == 'exact' else 7}.4f}")
                if differences and method not in ("none", "lora"):
                    error = statistics.stdev(differences) / math.sqrt(len(differences))
                    cells.append(f"{statistics.fmean(differences):+.4f} ± {1.96 * error:.4f}")
                else:
                    cells.append(" " * 16)
            lines.append(" ".join(cells))
    failed = [f"{each['task']} {each['method']} {each['seed']}: {each['failed']}" for each in found if "failed" in each]
    return "\n".join([*lines, *failed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--methods", nargs="+", default=["none", *METHODS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--one", nargs=3, metavar=("TASK", "METHOD", "SEED"))
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    if arguments.one:
        task, method, seed = arguments.one
        result = one(str(arguments.base), arguments.data, arguments.out, task, method, int(seed))
        (arguments.out / "one.json").write_text(json.dumps(result))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = [
        (task, method, seed)
        for task in arguments.tasks
        for method in arguments.methods
        for seed in (arguments.seeds[:1] if method == "none" else arguments.seeds)
    ]
    random.Random(0).shuffle(wanted)  # so that no method has the quiet machine for itself
    began, found = time.monotonic(), []  # type: float, list[dict[str, Any]]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(lambda each: start(arguments, *each), wanted):
            found.append(result)
            (arguments.out / "accuracy.json").write_text(json.dumps(found))
    print(table(found))
    print(f"{len(found)} runs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
