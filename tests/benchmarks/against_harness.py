"""Our scores beside lm-evaluation-harness's own, question by question, on the same model and the same prompts.

    python tests/benchmarks/against_harness.py BASE QUESTIONS NAME=FILE ...

BASE: a folder; QUESTIONS: how many of each subset; files as `sdk prepare` made them. Theirs is asked by its stock
definitions, which are only told to take their rows from JSON files instead of a hub, and loads the base itself. Of
HumanEval it would fetch its check, so that is left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
import yaml
from lm_eval.tasks import TaskManager

from sdk.data.benchmark_files import BenchmarkFile, read_benchmark
from sdk.evaluate import harness
from sdk.model.load import load_base
from sdk.records import BenchmarkSettings


def ours(base: str, file: BenchmarkFile, settings: BenchmarkSettings) -> dict[str, dict[str, float]]:
    with harness._quiet():
        parts = harness._parts(file, settings)
        model = harness._wrapped(*load_base(base, "lora"), settings)
        harness._require_room(model, parts, settings)
        return harness._scores(model, parts, settings, file.name, lambda *progress: None)


def theirs(base: str, file: BenchmarkFile, settings: BenchmarkSettings, folder: Path) -> dict[str, dict[str, float]]:
    """By its API, with definitions that include the stock ones, from a folder of theirs."""
    asked: dict[str, tuple[str, list[Any]]] = {}
    for subset in dict.fromkeys(row.subset for row in file.asked):
        for path in harness._DEFINITIONS[file.name]:
            stock = harness._FOLDER / path.format(subset)
            definition = yaml.load(stock.read_text(), Loader=_Tagged)
            name = f"own_{definition['task']}"
            splits = {}
            for split, called in (("test", "test"), ("test", "validation"), ("dev", "dev"), ("train", "train")):
                rows = [row for row in file.rows if (row.subset, row.split) == (subset, split)]
                if rows:
                    splits[called] = str(folder / f"{file.name}-{subset}-{split}.jsonl")
                    Path(splits[called]).write_text("".join(json.dumps(row.fields) + "\n" for row in rows))
            own = {"include": str(stock), "task": name, "tag": None, "dataset_path": "json", "dataset_name": None}
            own["dataset_kwargs"] = {"data_files": splits}
            if file.name == "pubmedqa":
                own |= {"training_split": None, "validation_split": None}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(own))
            asked[name] = (
                harness._NAMES.get(definition["task"], ""),
                [row for row in file.asked if row.subset == subset],
            )
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": base, "dtype": "float32"},
        device="cpu",
        tasks=[*asked],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=settings.num_fewshot,
        limit=settings.limit,
        batch_size=settings.batch_size,
        bootstrap_iters=0,
        apply_chat_template=settings.chat_template,
    )
    scores: dict[str, dict[str, float]] = {}
    for name, (prefix, rows) in asked.items():
        for sample in found["samples"][name]:
            for metric in sample["metrics"]:
                key = harness._metric_name(prefix, metric, sample["filter"])
                scores.setdefault(rows[sample["doc_id"]].id, {})[key] = float(sample[metric])
    return scores


class _Tagged(yaml.SafeLoader):
    """Reads a stock definition for its name only."""


_Tagged.add_constructor("!function", lambda loader, node: None)


def main(base: str, questions: int, named: Sequence[str]) -> int:
    different = 0
    for name, path in (each.split("=") for each in named):
        file = read_benchmark(name, Path(path))
        for settings in (
            BenchmarkSettings(limit=questions),
            BenchmarkSettings(limit=questions, chat_template=True),
        ):
            began = time.monotonic()
            one = ours(base, file, settings)
            middle = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                other = theirs(base, file, settings, Path(folder))
            wrong = [question for question in {*one, *other} if one.get(question) != other.get(question)]
            different += len(wrong)
            metrics = next(iter(one.values()))
            means = {metric: sum(each[metric] for each in one.values()) / len(one) for metric in metrics}
            print(
                f"{name}, chat template {settings.chat_template}: {len(one)} questions, {len(wrong)} different; "
                f"{means}; ours {middle - began:.0f} s, theirs {time.monotonic() - middle:.0f} s",
                flush=True,
            )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
