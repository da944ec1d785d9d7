"""How `advise`, `scrub` and `train` grow with the number of rows: seconds and memory until training's first step.

    python tests/benchmarks/rows.py 20000 200000 --scrub

makes short rows (205 bytes each), asks for advice on their file, scrubs them (without --scrub: copies them), and trains
the embedded base for one step. With --beside FOLDER each command is run by the code of that checkout as well, in turns
with this one, `before` and `now`, on projects of their own. Each command is a process of its own; memory is the largest
sum of what it and its children have resident, sampled ten times a second, and the same sum with shared pages counted
once (PSS). The file with the rows is cached by the system beforehand. No GPU is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

EVERY_SECONDS = 0.1
MIB = 1 << 20
SDK = [sys.executable, "-m", "sdk"]
STEPS = ("estimate", "init", "scrub", "advise", "train")
TOPICS = "deposit rate fee card loan branch limit statement transfer claim account mortgage refund pension".split()
PLACES = "Leeds York Derby Bath Hull Truro Wells Ripon Ely Perth".split()


def rows(count: int) -> Iterator[str]:
    draw = random.Random(18)
    for number in range(count):
        first, second = draw.choice(TOPICS), draw.choice(TOPICS)
        asked = f"What does customer {number} of {draw.choice(PLACES)} pay for the {first} and the {second}?"
        told = f"The {first} costs {draw.randrange(10, 99)}.{draw.randrange(10, 99)} a year, the {second} nothing."
        yield json.dumps({"id": f"r{number}", "instruction": asked, "output": told}).ljust(204) + "\n"


class Sampler(threading.Thread):
    """The largest sums, in bytes, of what a process and its children have resident."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.rss = self.pss = 0
        self._process = psutil.Process(process)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            rss = pss = 0
            with suppress(psutil.Error):
                for each in [self._process, *self._process.children(recursive=True)]:
                    with suppress(psutil.Error, OSError):
                        own = each.memory_info().rss
                        rss += own
                        # A process that cannot be dumped shows its PSS to root only.
                        pss += _pss(each.pid) or own
            self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)

    def end(self) -> None:
        self._ended.set()
        self.join()


def _pss(process: int) -> int:
    with suppress(OSError), open(f"/proc/{process}/smaps_rollup") as lines:
        for line in lines:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def measure(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a command to its end: its seconds, its CPU seconds with those of its children, its peak."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sampler = Sampler(process.pid)
    sampler.start()
    told, _ = process.communicate()
    seconds = time.monotonic() - began
    sampler.end()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{told}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "rss_mib": round(sampler.rss / MIB),
        "pss_mib": round(sampler.pss / MIB),
        "told": told,
    }


FIRST_STEP = """
import sys, time
from sdk import Project
began = time.monotonic()

def tell(what, done, total, figures):
    if what == "train":
        print(f"first step after {time.monotonic() - began:.1f} s")

run = Project.open(sys.argv[1], on_progress=tell).train(max_steps=1, anyway=True)
print(f"predicted {run.memory_predicted_gib:.2f} GiB, measured {run.memory_measured_gib:.2f} GiB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--scrub", action="store_true", help="through the detectors, not only copied")
    parser.add_argument("--workers", type=int, default=1, help="processes that scrub")
    parser.add_argument("--folder", type=Path, help="where all of it is made; on a disk, not in memory")
    parser.add_argument("--beside", type=Path, help="another checkout of the package")
    parser.add_argument("--until", choices=STEPS, default="train", help="the last of the commands")
    parser.add_argument("--times", type=int, default=1, help="runs of each; the figures are those of the quickest")
    parser.add_argument("--out", type=Path, help="a file for the figures")
    asked = parser.parse_args()
    trees = {"now": Path(__file__).resolve().parents[2]}
    if asked.beside:
        trees = {"before": asked.beside.resolve(), **trees}
    figures: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in ("torch", "transformers", "datasets", "pyarrow", "tokenizers", "pydantic")},
        },
        "rows": {},
    }
    for count in asked.rows:
        with tempfile.TemporaryDirectory(dir=asked.folder) as made:
            figures["rows"][count] = of_count(Path(made), count, trees, asked)
        if asked.out:
            asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def of_count(folder: Path, count: int, trees: Mapping[str, Path], asked: argparse.Namespace) -> dict[str, Any]:
    """Return tree -> command -> figures; of one tree alone its commands."""
    data, questions = folder / "train.jsonl", folder / "eval.jsonl"
    with data.open("w", encoding="utf-8") as file:
        file.writelines(rows(count))
    questions.write_text(
        "".join(json.dumps({"instruction": f"Is {n} even?", "output": "yes"}) + "\n" for n in range(20))
    )
    os.environ["SDK_STATE_HOME"] = str(folder / "state")
    way = ["--workers", str(asked.workers)] if asked.scrub else ["--skip-detectors"]
    made: dict[str, dict[str, Any]] = {tree: {} for tree in trees}
    for turn in range(asked.times):
        for step in STEPS[: STEPS.index(asked.until) + 1]:
            for tree, checkout in trees.items():
                project = str(folder / f"{tree}-{turn}")
                command = {
                    "estimate": [*SDK, "estimate", "embedded", "--data", str(data)],
                    "init": [*SDK, "init", project, "--policy", "unsafe-lab"],
                    "scrub": [*SDK, "scrub", str(data), "--eval", str(questions), "--project", project, *way],
                    "advise": [*SDK, "advise", "--data", str(data), "--project", project],
                    "train": [sys.executable, "-c", FIRST_STEP, project],
                }[step]
                os.environ["PYTHONPATH"] = str(checkout)
                figure = measure(command, folder)
                told = figure.pop("told")
                if step == "train":
                    figure["told"] = "; ".join(told.splitlines())
                name = "copy" if step == "scrub" and not asked.scrub else step
                print(f"{count:>9,} rows  {tree if asked.beside else '':6} {name:8}", figure, flush=True)
                known = made[tree].get(name)
                if known is None or figure["cpu_seconds"] < known["cpu_seconds"]:
                    made[tree][name] = figure
    return made if asked.beside else made["now"]


if __name__ == "__main__":
    main()
