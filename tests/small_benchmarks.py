"""Benchmarks of a few questions that were made up here, in the forms in which people have them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from sdk.data.benchmark_files import prepare

WORDS = "heart liver lung kidney spleen brain skin bone".split()


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def mmlu(subject: str, count: int) -> list[list[str]]:
    return [
        [f"Which organ of the {subject} chart number {n} has the mark {n * 7}?", *WORDS[n : n + 4], str(n % 4)]
        for n in range(count)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)


HEADER = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
GSM8K = [
    {"question": f"Tom has {n} pens and buys {n}. How many?", "answer": f"{n}+{n}\n#### {2 * n}"} for n in range(2, 9)
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f'def add_{n}(value: int) -> int:\n    """Add {n}."""\n',
        "canonical_solution": f"    return value + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        "entry_point": f"add_{n}",
    }
    for n in range(3)
]
HELLASWAG = [
    {
        "ind": n,
        "activity_label": "Cooking",
        "ctx_a": f"A man takes pan {n}.",
        "ctx_b": "he",
        "ctx": f"A man takes pan {n}. he",
        "endings": ["heats it.", "eats it.", "flies [title] away.", "reads it."],
        "label": n % 4,
        "split": "val",
    }
    for n in range(3)
]
TRUTHFULQA = [
    [f"What grows on tree {n}?", "Apples grow", "Apples grow; Leaves grow", "Stones grow; Fish grow; Coins grow"]
    for n in range(3)
]
PUBMEDQA = {
    str(100 + n): {
        "QUESTION": f"Does drug {n} help?",
        "CONTEXTS": ["It was tried.", "It helped."],
        "final_decision": "yes",
    }
    for n in range(4)
}


def write_sources(folder: Path) -> dict[str, list[Path]]:
    """Write every benchmark in the form in which it is published; return name -> what `prepare` is given."""
    for split, count in (("dev", 3), ("test", 4)):
        for subject in ("anatomy", "virology"):
            write_csv(folder / "mmlu" / split / f"{subject}_{split}.csv", mmlu(subject, count), HEADER)
        rows = [[str(n), *row[:5], "ABCD"[int(row[5])]] for n, row in enumerate(mmlu("cmmlu", count))]
        write_csv(folder / "cmmlu" / split / "anatomy.csv", rows, ("", "Question", "A", "B", "C", "D", "Answer"))
    columns = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
    write_csv(folder / "TruthfulQA.csv", TRUTHFULQA, columns)
    (folder / "gsm8k_train.jsonl").write_bytes(jsonl(GSM8K[:5]))
    (folder / "gsm8k_test.jsonl").write_bytes(jsonl(GSM8K[5:]))
    (folder / "HumanEval.jsonl.gz").write_bytes(gzip.compress(jsonl(HUMANEVAL), mtime=0))
    (folder / "hellaswag_val.jsonl").write_bytes(jsonl(HELLASWAG))
    (folder / "ori_pqal.json").write_text(json.dumps(PUBMEDQA))
    (folder / "test_ground_truth.json").write_text(json.dumps({"101": "yes", "103": "yes"}))
    return {
        "mmlu": [folder / "mmlu"],
        "cmmlu": [folder / "cmmlu"],
        "truthfulqa": [folder / "TruthfulQA.csv"],
        "gsm8k": [folder / "gsm8k_train.jsonl", folder / "gsm8k_test.jsonl"],
        "humaneval": [folder / "HumanEval.jsonl.gz"],
        "hellaswag": [folder / "hellaswag_val.jsonl"],
        "pubmedqa": [folder / "ori_pqal.json", folder / "test_ground_truth.json"],
    }


def write_other_forms(folder: Path) -> dict[str, list[Path]]:
    """Write the same questions in other forms of the same sets; name -> what `prepare` is given."""

    def parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([*rows]), path)

    for split, count in (("dev", 3), ("test", 4)):
        rows = [
            {"question": row[0], "subject": subject, "choices": row[1:5], "answer": int(row[5])}
            for subject in ("anatomy", "virology")
            for row in mmlu(subject, count)
        ]
        parquet(folder / "all" / f"{split}-00000-of-00001.parquet", rows)
        parquet(
            folder / "gsm8k" / f"{'train' if split == 'dev' else split}-0.parquet",
            GSM8K[:5] if split == "dev" else GSM8K[5:],
        )
    targets = [
        {
            "question": question,
            "mc1_targets": dict.fromkeys([best, *wrong.split("; ")], 0) | {best: 1},
            "mc2_targets": dict.fromkeys(right.split("; "), 1) | dict.fromkeys(wrong.split("; "), 0),
        }
        for question, best, right, wrong in TRUTHFULQA
    ]
    (folder / "mc_task.json").write_text(json.dumps(targets))
    (folder / "HumanEval.jsonl").write_bytes(jsonl(HUMANEVAL))
    parquet(folder / "hellaswag" / "validation-0.parquet", [row | {"label": str(row["label"])} for row in HELLASWAG])
    return {
        "mmlu": [folder / "all"],
        "gsm8k": [folder / "gsm8k"],
        "truthfulqa": [folder / "mc_task.json"],
        "humaneval": [folder / "HumanEval.jsonl"],
        "hellaswag": [folder / "hellaswag"],
    }


def prepared(folder: Path) -> dict[str, Path]:
    """Prepare all of them; name -> file."""
    files = {}
    for name, sources in write_sources(folder).items():
        files[name] = folder / f"{name}.jsonl"
        files[name].write_bytes(prepare(name, sources))
    return files
