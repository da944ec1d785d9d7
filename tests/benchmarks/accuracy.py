"""What each method costs in accuracy on real weights: the same rows, settings and seeds, trained and asked.

    python tests/benchmarks/accuracy.py BASE DATA OUT [--tasks …] [--methods …] [--seeds …] [--jobs N]

BASE: a folder with SmolLM2-135M-Instruct or another decoder. DATA: pubmedqa_labeled.json, pubmedqa_test_ids.json,
gsm8k_train.jsonl and gsm8k_test.jsonl, as their authors publish them (MIT). pubmedqa trains 500 abstracts and asks 500
others (exact match); gsm8k trains 1,000 problems and takes the perplexity of 500 others' solutions, since a small model
solves almost none. Each adapter is asked on the base that evaluation, leak check and `load` give it, and one trained on
8-bit floats on that base, too. Every run is a process of its own, several side by side: no speed is measured here.
Writes OUT/accuracy.json and prints a table with differences from 16 bits, paired by question.

What scrubbing costs: `--write-scrubbed FILE` writes pubmedqa's 500 training rows as `sdk scrub` leaves them under the
policy hipaa, and does nothing else; BASE and OUT are not looked at. `--scrubbed FILE`, on a machine that need not have
the recognizers, trains on these as well, asks the same questions as they are published, and prints the difference with
its interval last: `--tasks pubmedqa --methods lora --scrubbed FILE`.
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
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

METHODS = ("lora", "qlora-8bit", "lora-fp8", "qlora-4bit")
TASKS = ("pubmedqa", "gsm8k")
EPOCHS = {"pubmedqa": 4, "gsm8k": 3}
PROMPTS = {"pubmedqa": "Answer with one word.", "gsm8k": "Solve the problem step by step."}
GSM8K_ROWS, QUESTIONS = 1_000, 500
SCRUBBED = "scrubbed"  # in place of a method: 16 bits, trained on scrubbed rows


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


def write_scrubbed(data: Path, file: Path) -> None:
    from sdk import Project
    from sdk.data.canaries import is_canary

    plain = {row["id"]: row for row in rows("pubmedqa", data)[0]}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "train.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in plain.values()))
        project = Project.create(Path(folder) / "project", domain="medical", policy="hipaa")
        scrubbed = project.scrub(source)
        [written] = (Path(folder) / "project" / "artifacts" / "scrub").rglob(scrubbed.data["train"].path)
        lines = [line for line in written.read_text().splitlines() if not is_canary(json.loads(line)["id"])]
    file.write_text("".join(f"{line}\n" for line in lines))
    changed = sum(
        json.loads(line)["messages"][0]["content"] != row["instruction"]
        for line, row in zip(lines, plain.values(), strict=True)
    )
    print(f"{len(lines)} rows, {changed} changed")


def one(base: str, data: Path, out: Path, task: str, method: str, seed: int, scrubbed: Path | None) -> dict[str, Any]:
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
    if method == SCRUBBED:
        assert scrubbed
        trained, method = read_rows(scrubbed).rows, "lora"
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
    command += ["--scrubbed", str(arguments.scrubbed)] if arguments.scrubbed else []
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
        for method, which in [
            ("none", "asked"),
            *((m, "asked") for m in (*METHODS, SCRUBBED)),
            ("lora-fp8", "asked_in_fp8"),
        ]:
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


def cost_of_scrubbing(found: list[dict[str, Any]]) -> str:
    """Return the paired difference of exact matches, with a 95 % interval by bootstrap over seeds and questions."""
    exact = {(each["method"], each["seed"]): each["asked"]["exact"] for each in found if "asked" in each}
    seeds = sorted(seed for method, seed in exact if method == SCRUBBED and ("lora", seed) in exact)
    if not seeds:
        return "No seed was trained both ways."
    differences = np.array([np.subtract(exact[SCRUBBED, seed], exact["lora", seed]) for seed in seeds])
    rng = np.random.default_rng(0)
    count, questions = differences.shape
    drawn = [
        differences[rng.integers(0, count, count)][:, rng.integers(0, questions, questions)].mean() for _ in range(2000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    by_seed = ", ".join(f"{each:+.4f}" for each in differences.mean(axis=1))
    return f"scrubbed less as they are: {differences.mean():+.4f} ({low:+.4f} to {high:+.4f}); by seed {by_seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--methods", nargs="+", default=["none", *METHODS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--scrubbed", type=Path, help="the training rows as --write-scrubbed left them")
    parser.add_argument("--write-scrubbed", type=Path, metavar="FILE")
    parser.add_argument("--one", nargs=3, metavar=("TASK", "METHOD", "SEED"))
    arguments = parser.parse_args()
    if arguments.write_scrubbed:
        write_scrubbed(arguments.data, arguments.write_scrubbed)
        return
    arguments.out = arguments.out.resolve()
    if arguments.one:
        task, method, seed = arguments.one
        result = one(str(arguments.base), arguments.data, arguments.out, task, method, int(seed), arguments.scrubbed)
        (arguments.out / "one.json").write_text(json.dumps(result))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = [
        (task, method, seed)
        for task in arguments.tasks
        for method in [*arguments.methods, *([SCRUBBED] if arguments.scrubbed and task == "pubmedqa" else [])]
        for seed in (arguments.seeds[:1] if method == "none" else arguments.seeds)
    ]
    random.Random(0).shuffle(wanted)  # so that no method has the quiet machine for itself
    began, found = time.monotonic(), []  # type: float, list[dict[str, Any]]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(lambda each: start(arguments, *each), wanted):
            found.append(result)
            (arguments.out / "accuracy.json").write_text(json.dumps(found))
    print(table(found))
    if arguments.scrubbed:
        print(cost_of_scrubbing(found))
    print(f"{len(found)} runs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
