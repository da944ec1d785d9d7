"""How many tampered releases, logs and ciphertexts are accepted, and how many clean ones are refused.

    python tests/benchmarks/tampering.py [--tampered 100000] [--clean 10000] [--seed 6] [--out FILE]

Tampered: the classes of tests/tampering.py in turn, each attempt at another place; a new project with keys of its own
after every 1,000. Clean: each a project with keys, content and sizes of its own. FILE is written anew all along, so
that it is right at any time. Exit status 1: one was accepted, or refused in another way than its class states.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.clean_releases import surroundings
from tests.shared import folder_in_memory
from tests.tampering import CLASSES, OUT_OF_SCOPE, attempt, clean_faults, make_bench, rounds

ASKED = ("tampered", "clean", "seed")
PROJECT_LIFE = 1000  # attempts


class Report:
    """The figures so far, in a file from time to time."""

    def __init__(self, out: Path | None, asked: dict[str, int]) -> None:
        self.out, self.begun, self.written = out, time.process_time(), 0.0
        self.figures: dict[str, Any] = {
            "command": f"python tests/benchmarks/tampering.py {' '.join(f'--{n} {v}' for n, v in asked.items())}",
            "date": datetime.now(UTC).date().isoformat(),
            **surroundings(),
            "classes": len(CLASSES),
            "tampered": 0,
            "tampered_that_were_accepted": 0,
            "refused_otherwise_than_stated": 0,
            "clean": 0,
            "clean_that_were_refused": 0,
            "faults": [],
            "out_of_scope": {name: reason for name, (_, reason, _) in OUT_OF_SCOPE.items()},
            "attempts_by_class": {},
        }

    def write(self, last: bool = False) -> None:
        if self.out and (last or time.monotonic() - self.written > 10):
            self.written = time.monotonic()
            self.figures["processor_seconds"] = round(time.process_time() - self.begun)
            self.out.write_text(json.dumps(self.figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def fault(self, kind: str, text: str) -> None:
        print(text, flush=True)
        self.figures[kind] += 1
        self.figures["faults"].append(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tampered", type=int, default=100_000)
    parser.add_argument("--clean", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    report, by_class = Report(given.out, {name: getattr(given, name) for name in ASKED}), Counter[str]()
    with folder_in_memory(for_all=True) as made:
        bench = None
        for number, (name, seed) in enumerate(rounds(given.tampered)):
            if bench is None or not number % PROJECT_LIFE:
                bench = make_bench(made / "bench", Random(f"{given.seed} {number}"))
            outcome = attempt(name, bench, given.seed * 1_000_000 + seed)
            report.figures["tampered"] += 1
            by_class[name] += 1
            if outcome.fault:
                kind = "tampered_that_were_accepted" if outcome.fault == "ACCEPTED" else "refused_otherwise_than_stated"
                report.fault(kind, f"{name}, seed {outcome.seed}: {outcome.fault}")
            report.figures["attempts_by_class"] = dict(sorted(by_class.items()))
            report.write()
        for number in range(given.clean):
            faults = clean_faults(made / "clean", Random(f"{given.seed} clean {number}"))
            report.figures["clean"] += 1
            if faults:
                report.fault("clean_that_were_refused", f"clean {number}: {'; '.join(faults)}")
            report.write()
    report.write(last=True)
    print(json.dumps({key: value for key, value in report.figures.items() if isinstance(value, int)}))
    if report.figures["faults"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
