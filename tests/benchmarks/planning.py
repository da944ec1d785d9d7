"""Plans of `sdk advise` beside an exhaustive search: does each run fit, and how near is it to the fastest that does?

    python tests/benchmarks/planning.py --search search.json    every rows x recomputed layers of each group, timed
    python tests/benchmarks/planning.py --plans search.json     plan for smaller and smaller cards, run each, compare

A group is a model, a method and a row length. The search runs a group's settings one after the other in one process and
keeps time and peak of each; a smaller card is played by a limit on the allocator (set_per_process_memory_fraction), and
the fastest settings whose peak it leaves room for are the search's answer. A plan is what advise() says for a card of
that size, trained in a process of its own under that limit. Both are timed in the same way: a pass is forward and
backward of one micro-batch, a step the passes that make the plan's rows and one step of the optimizer.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import memory
from tests.benchmarks.memory import GIB, Row

GROUPS: tuple[tuple[str, str, int, int], ...] = (  # model, method, tokens of a row, rank
    ("llama-3.1-8b", "qlora-4bit", 1024, 32),
    ("llama-3.1-8b", "lora", 2048, 16),
    ("qwen3-14b", "qlora-4bit", 2048, 32),
    ("llama-3.1-8b", "qlora-4bit", 4096, 32),
    ("mistral-7b", "qlora-8bit", 1024, 16),
    ("llama-3.1-8b", "lora-fp8", 1024, 16),
    ("llama-3.2-3b", "lora", 1024, 16),
    ("llama-2-7b", "lora", 512, 16),
    ("llama-3.2-3b", "qlora-4bit", 2048, 32),
    ("qwen3-4b", "qlora-4bit", 512, 32),
    ("llama-3.2-1b", "qlora-4bit", 1024, 32),
    ("qwen2.5-1.5b", "lora", 2048, 16),
    ("qwen2.5-0.5b", "lora", 1024, 16),
)
CARDS_GIB = (10.0, 16.0, 20.0, 24.0, 32.0, 40.0, 48.0, 80.0)
CONTEXT_GIB = 0.75
STEP_ROWS = 16
ALIKE = 0.985  # a plan with this share of the search's speed is not run against it again
MOST_PASSES = 4  # of a step that is run: more take time and tell nothing
PLANNED = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "checkpointed_layers",
    "offload_embeddings", "activation_offloading",
)  # fmt: skip
ROWS = (16, 8, 4, 2, 1)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the layers, that recompute
MOST_TOKENS = 16_384
DROPOUT = 0.05


class Bench:
    """One model with its trainer, whose micro-batch and recomputed layers can be changed between passes."""

    def __init__(self, row: Row, folder: Path) -> None:
        import torch
        from transformers.modeling_layers import GradientCheckpointingLayer

        settings = memory.settings_of({**row, "gradient_checkpointing": True, "per_device_train_batch_size": 1})
        config = memory.config_of(row)
        model = memory.build(config, settings.method)
        rows = memory.rows_of(row, settings, config["vocab_size"])
        self._trainer, _ = memory.trainer_of(model, settings, rows, folder)
        self._trainer.create_optimizer()
        self._trainer.model.train()
        self._layers = [each for each in self._trainer.model.modules() if isinstance(each, GradientCheckpointingLayer)]
        self._optimizer = self._trainer.optimizer
        self._torch = torch
        # With no more than the bias of warm caches: kernels compile at the first pass.
        self.passes(1, len(self._layers), 1)
        self.step_seconds = self._step()

    @property
    def layers(self) -> int:
        return len(self._layers)

    def passes(self, rows: int, recomputed: int, count: int) -> dict[str, Any]:
        """Seconds of each pass and the peak, GiB; {"failed": why} where memory is too small."""
        torch = self._torch
        for place, layer in enumerate(self._layers):
            layer.gradient_checkpointing = place < recomputed
        model = self._trainer.model
        inputs = self._trainer._prepare_inputs(self._trainer.data_collator([{"input_ids": [0] * rows}]))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        seconds = []
        try:
            for _ in range(count):
                torch.cuda.synchronize()
                began = time.perf_counter()
                with torch.autocast("cuda", dtype=torch.bfloat16):  # as accelerate does around the model
                    loss = self._trainer.compute_loss(model, inputs, num_items_in_batch=len(inputs["targets"]))
                loss.backward()
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - began)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return {"failed": "out of memory"}
        peaks = {"allocated_gib": torch.cuda.max_memory_allocated(), "reserved_gib": torch.cuda.max_memory_reserved()}
        return {"seconds": seconds, **{name: value / GIB for name, value in peaks.items()}}

    def _step(self) -> float:
        """One step of the optimizer, with clipping, s."""
        seconds = []
        for _ in range(4):
            self._torch.cuda.synchronize()
            began = time.perf_counter()
            trained = [value for value in self._trainer.model.parameters() if value.requires_grad]
            self._torch.nn.utils.clip_grad_norm_(trained, 1.0)
            self._optimizer.step()
            self._torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[1:])


def search(row: Row) -> dict[str, Any]:
    """A whole group, in this process."""
    found: dict[str, Any] = {"points": []}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(row, Path(folder))
        found |= {"step_seconds": bench.step_seconds, "layers": bench.layers}
        for rows in ROWS:
            if rows * row["max_length"] > MOST_TOKENS:
                continue
            for share in SHARES:
                recomputed = round(share * bench.layers)
                point = bench.passes(rows, recomputed, 3)
                found["points"].append({"rows": rows, "recomputed": recomputed, **point})
    return found


class Group(memory.Process):
    """A process that searches a group instead of measuring a row."""

    file = __file__


def search_all(seconds: float, out: Path) -> None:
    began, lock = time.monotonic(), threading.Lock()
    waiting, results = list(GROUPS), []

    def work(card: int) -> None:
        ready = Group(card)
        while True:
            with lock:
                group = waiting.pop(0) if waiting and time.monotonic() - began < seconds else None
            if group is None:
                ready.end()
                return
            model, method, length, rank = group
            row = {"name": "-".join(map(str, group)), "model": model, "method": method, "max_length": length}
            row |= {"lora_r": rank, "lora_dropout": DROPOUT}
            current, ready = ready, Group(card)
            found = current.run(row)
            with lock:
                results.append({"row": row, "found": found})
                shown = found.get("failed") or f"{len(found['points'])} points"
                print(f"{time.monotonic() - began:5.0f} s {row['name']:<40} {shown}", flush=True)
                out.write_text(json.dumps({"machine": memory.machine(), "groups": results}, indent=1))

    threads = [threading.Thread(target=work, args=(card,)) for card in range(len(memory._cards()))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Plans


def plans(groups: list[dict[str, Any]]) -> list[Row]:
    """For each group and card what is planned, and the search's answer where it is another; each once."""
    found: dict[str, Row] = {}
    for group in groups:
        for card in CARDS_GIB:
            plan = _planned(group["row"], card)
            if plan is None:
                continue
            rival, share = _searched(group, card, plan)
            for role, settings in (("plan", plan), ("search", rival)):
                if settings is None or (role == "search" and share is not None and share >= ALIKE):
                    continue
                row = {**group["row"], **settings, "limit_gib": card - CONTEXT_GIB, "card_gib": card, "role": role}
                row["share"] = share
                row |= {"alone": True, "steps": 3}
                row["gradient_accumulation_steps"] = min(MOST_PASSES, row["gradient_accumulation_steps"])
                shown = {key: value for key, value in settings.items() if value}
                key = json.dumps([group["row"]["name"], shown], sort_keys=True)
                row["name"] = f"{group['row']['name']}-{card}-{role}"
                row["plan"] = f"{group['row']['name']}-{card}-plan"
                if key not in found or role == "plan":
                    found.setdefault(key, row)
    return list(found.values())


def _planned(row: Row, card: float) -> dict[str, Any] | None:
    """The advisor's settings for the group's method and rank on a card like this one with less memory."""
    from sdk.advise.candidates import Search
    from sdk.hardware import find_gpu
    from sdk.records import Needs

    shape, rank = memory.shape_of(row), row["lora_r"]
    adapter = {"lora_r": rank, "lora_alpha": 2 * rank, "lora_dropout": DROPOUT, "adapter_reason": "as in the search"}
    needs = Needs(accuracy="high", max_length=row["max_length"], **adapter)
    hardware = find_gpu("h200").model_copy(update={"gpu_memory_gib": card})
    candidate = Search(shape, hardware, needs).best(row["method"], [rank])
    if not candidate.fits:
        return None
    given = candidate.settings.model_dump()
    return {name: given[name] for name in PLANNED}


def _searched(group: dict[str, Any], card: float, plan: dict[str, Any]) -> tuple[dict[str, Any] | None, float | None]:
    """The fastest of all rows x recomputed layers whose measured reserved memory the card has room for, and the plan's
    share of its speed in the search; None where the search did not try what was planned.

    Between the shares of layers that were measured, time and memory lie on straight lines.
    """
    row, found = group["row"], group["found"]
    points: dict[int, list[tuple[int, float, float]]] = {}
    for point in found["points"]:
        if "failed" not in point:
            seconds = statistics.median(point["seconds"])
            points.setdefault(point["rows"], []).append((point["recomputed"], seconds, point["reserved_gib"]))
    for measured in points.values():
        measured.sort()

    def speed(rows: int, recomputed: int) -> float:
        seconds, _ = _between(points[rows], recomputed)
        return float(rows * row["max_length"] / (seconds + found["step_seconds"] * rows / STEP_ROWS))

    fitting = [
        (speed(rows, recomputed), rows, recomputed)
        for rows, measured in points.items()
        for recomputed in range(measured[0][0], found["layers"] + 1)
        if _between(measured, recomputed)[1] <= card - CONTEXT_GIB
    ]
    if not fitting:
        return None, None
    fastest, rows, recomputed = max(fitting)
    settings = {
        **dict.fromkeys(PLANNED, False),
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": STEP_ROWS // rows,
        "gradient_checkpointing": recomputed > 0,
        "checkpointed_layers": recomputed if 0 < recomputed < found["layers"] else None,
    }
    if plan["offload_embeddings"] or plan["activation_offloading"]:
        return settings, None
    layers = plan["checkpointed_layers"] or found["layers"] if plan["gradient_checkpointing"] else 0
    return settings, min(1.0, speed(plan["per_device_train_batch_size"], layers) / fastest)


def _between(measured: list[tuple[int, float, float]], recomputed: int) -> tuple[float, float]:
    for (left, *low), (right, *high) in pairwise(measured):
        if left <= recomputed <= right:
            share = (recomputed - left) / (right - left)
            return low[0] + (high[0] - low[0]) * share, low[1] + (high[1] - low[1]) * share
    return measured[-1][1], measured[-1][2]


def speed_of(found: dict[str, Any]) -> float:
    return statistics.median(t / s for t, s in zip(found["step_tokens"][1:], found["seconds"], strict=True))


def compare(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each plan with its share of the speed of the fastest that fits; a search's answer that ran out is none."""
    plans_ = {each["row"]["plan"]: each for each in results if each["row"]["role"] == "plan"}
    rivals = {each["row"]["plan"]: each for each in results if each["row"]["role"] == "search"}
    compared = []
    for name, plan in plans_.items():
        failed = plan["found"].get("failed")
        rival = rivals.get(name)
        mine = None if failed else speed_of(plan["found"])
        theirs = speed_of(rival["found"]) if rival and "failed" not in rival["found"] else None
        share = plan["row"]["share"] if theirs is None else None if mine is None else mine / max(mine, theirs)
        compared.append({"plan": name, "tokens_per_second": mine, "share": share, "failed": failed})
    return compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=Path)
    parser.add_argument("--plans", type=Path, help="a file that --search wrote")
    parser.add_argument("--out", type=Path, default=Path("plans.json"), help="with --plans")
    parser.add_argument("--wait", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing after so many seconds")
    asked = parser.parse_args()
    if asked.wait:
        memory.wait(asked.wait, search)
    elif asked.search:
        search_all(asked.seconds, asked.search)
    elif asked.plans:
        groups = [each for each in json.loads(asked.plans.read_text())["groups"] if "failed" not in each["found"]]
        rows, results = plans(groups), []
        print(f"{len(rows)} runs, {sum(row['role'] == 'plan' for row in rows)} of them plans", flush=True)
        began = time.monotonic()

        def done(row: Row, found: dict[str, Any]) -> None:
            results.append({"row": row, "found": found})
            shown = found.get("failed") or f"{speed_of(found):,.0f} tok/s, {found['reserved_gib']:.1f} GiB reserved"
            print(f"{time.monotonic() - began:5.0f} s {row['name']:<48} {shown[-200:]}", flush=True)
            content = {"machine": memory.machine(), "plans": compare(results), "runs": results}
            asked.out.write_text(json.dumps(content, indent=1))

        memory.measure_all(rows, asked.seconds, 2, done)
    else:
        sys.exit("Name --search or --plans.")


if __name__ == "__main__":
    main()
