"""Training methods compared on real weights with public rows, by the code of `sdk compare`: several seeds of each.

    python tests/benchmarks/compare.py BASE DATA OUT [--tasks …] [--methods …] [--seeds N] [--minutes M] …

BASE: a folder with SmolLM2-135M-Instruct or another decoder. DATA: pubmedqa_labeled.json and gsm8k_train.jsonl, as
their authors publish them (MIT). pubmedqa: exact match of yes, no or maybe; gsm8k: the loss of the solutions, since a
small model solves almost none. All runs go one after the other in one process for each task, so times are those of a
machine that does nothing else. Each finished run is OUT/TASK/METHOD-SEED.json; called again, only missing ones are
made, so it may be ended at any time. Writes OUT/compare-TASK.json, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from sdk.advise import find_model
from sdk.data import read_rows
from sdk.data.lengths import measure_lengths
from sdk.hardware import detect_hardware
from sdk.measure.judging import read_need
from sdk.measure.methods_compared import COMPARED, HeldQuestions, comparison, plan_comparison, run_all
from sdk.measure.trials import TrialSetup
from sdk.records import MethodComparison, Metric, Needs

TASKS: dict[str, tuple[Metric, int, str, int]] = {  # metric, tokens of an answer, system message, rows trained on
    "pubmedqa": ("exact_match", 4, "Answer with one word.", 500),
    "gsm8k": ("perplexity", 16, "Solve the problem step by step.", 1_000),
}


def rows(task: str, folder: Path, count: int) -> list[dict[str, str]]:
    if task == "gsm8k":
        lines = map(json.loads, (folder / "gsm8k_train.jsonl").read_text().splitlines()[:count])
        return [
            {"id": f"gsm8k-{place}", "instruction": line["question"], "output": line["answer"]}
            for place, line in enumerate(lines)
        ]
    labelled = json.loads((folder / "pubmedqa_labeled.json").read_text())
    found = []
    for name, each in [*labelled.items()][:count]:
        context = "\n".join(each["CONTEXTS"])
        asked = f"{each['QUESTION']}\n{context}\nAnswer yes, no or maybe."
        found.append({"id": name, "instruction": asked, "output": each["final_decision"]})
    return found


def one_task(task: str, arguments: argparse.Namespace, until: float) -> MethodComparison:
    metric, tokens, prompt, trained = TASKS[task]
    out = arguments.out / task
    out.mkdir(parents=True, exist_ok=True)
    data = arguments.out / f"{task}.jsonl"
    chosen = rows(task, arguments.data, (arguments.rows or trained) + arguments.questions)
    data.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    shape, hardware = find_model(str(arguments.base)), detect_hardware()
    read = read_rows(data).rows
    lengths = measure_lengths(read, arguments.base, prompt)
    last = [0.0]

    def tell(what: str, done: int, total: int | None, figures: Any) -> None:
        if time.monotonic() > until:
            raise TimeoutError
        if done in (0, total) and time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {task}: {what} {done} of {total}", flush=True)

    needs = Needs(rows=len(read), lengths=lengths, max_length=lengths.longest[0])
    setup = TrialSetup(shape, hardware, needs, str(arguments.base), prompt, lambda method: None, tell)
    need = read_need(arguments.need, metric)
    plan = plan_comparison(setup, arguments.methods, 600.0, arguments.seeds, arguments.steps, None)
    plan = plan._replace(questions=arguments.questions)
    runs, failed = run_all(setup, plan, HeldQuestions(data, metric, tokens), None, out)
    return comparison(setup, plan, metric, need, runs, failed, None)


def table(found: MethodComparison) -> str:
    lines = [
        f"{'method':21} {'score (95 %)':26} {'lost against ' + found.reference:>26} {'GiB':>6} {'pred.':>6} "
        f"{'tok/s':>8} {'pred.':>8} {'s/epoch':>7} {'gen/s':>6} {'share':>6} {'MB':>6} {'Wh':>5} {'texts':>6} "
        f"{'answ.':>6}"
    ]
    for each in found.methods:
        lost = (
            f"{100 * each.lost.value:+.2f} ({100 * each.lost.low:+.2f}, {100 * each.lost.high:+.2f})"
            if each.lost
            else ""
        )
        energy = "" if each.energy_wh is None else f"{each.energy_wh:.2f}"
        lines.append(
            f"{each.method:21} {each.score.text(4):26} {lost:>26} {each.memory_gib:6.2f} "
            f"{each.memory_predicted_gib:6.2f} {each.mean(lambda run: run.tokens_per_second):8,.0f} "
            f"{each.tokens_per_second_predicted or 0:8,.0f} {each.mean(lambda run: run.epoch_seconds):7.2f} "
            f"{each.mean(lambda run: run.generated_per_second):6,.0f} {each.trainable_share:6.2%} "
            f"{each.runs[0].adapter_bytes / 1e6:6.1f} {energy:>5} {each.forgotten('texts'):+6.1%} "
            f"{each.forgotten('answers'):+6.1%}  {each.verdict}"
        )
    lines += [f"left out: {name}: {why}" for name, why in found.left_out.items()]
    steps, tokens = found.methods[0].runs[0].steps, found.methods[0].runs[0].tokens
    seconds = sum(run.whole_seconds for each in found.methods for run in each.runs)
    lines += [found.verdict, f"{steps} steps, {tokens:,} tokens, {len(found.seeds)} seeds, {seconds:.0f} s of runs"]
    return "\n".join([*lines, *found.notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS], choices=[*TASKS])
    parser.add_argument("--methods", nargs="+", default=[*COMPARED], choices=[*COMPARED])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=125)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--rows", type=int, help="trained on, instead of each task's")
    parser.add_argument("--need", default="within 2 points of the best")
    parser.add_argument("--minutes", type=float, default=9.0, help="ends by itself then; call it again to go on")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    arguments.base, arguments.out = arguments.base.resolve(), arguments.out.resolve()
    until, found = time.monotonic() + 60 * arguments.minutes, {}  # type: float, dict[str, MethodComparison]
    for task in arguments.tasks:
        try:
            found[task] = one_task(task, arguments, until)
        except TimeoutError:
            print(f"{task}: time is over; call it again to go on")
            break
        (arguments.out / f"compare-{task}.json").write_text(found[task].model_dump_json(indent=1))
    for task, each in found.items():
        print(f"\n{task}, {each.metric}, {each.questions} questions; need: {each.need}\n{table(each)}")


if __name__ == "__main__":
    main()
