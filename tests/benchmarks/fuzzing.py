"""Hostile inputs through every parser of outside bytes, as many as wanted.

    python tests/benchmarks/fuzzing.py [--inputs 10000000] [--seed 6] [--out FILE]

Targets, mutations and what is allowed: tests/fuzzing.py. A new release with keys of its own is made after every
million. FILE is written anew all along, so that it is right at any time; a finding stands in it with its bytes in
base64. Exit status 1: there was a finding.
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

from sdk.crypto import b64
from tests.clean_releases import surroundings
from tests.fuzzing import BYTES, BYTES_OF_ADMISSION, SAMPLE, SECONDS, Fuzzer, make_targets
from tests.shared import folder_in_memory

ROUND = 1_000_000  # inputs with the same release
STEP = 5_000  # inputs between two looks at the file
SHOWN, SHOWN_BYTES = 100, 3000  # findings, and the first bytes of each


def figures(rounds: list[Fuzzer], seconds: float) -> dict[str, Any]:
    inputs, accepted = Counter[str](), Counter[str]()
    for one in rounds:
        inputs += one.inputs
        accepted += one.accepted
    findings = [finding for one in rounds for finding in one.findings]
    return {
        "inputs": sum(inputs.values()),
        "findings": len(findings),
        "processor_seconds": round(seconds),
        "slowest_call_seconds": round(max(one.slowest for one in rounds), 3),
        "most_memory_bytes_above_4_times_the_input": max(one.most_memory for one in rounds),
        "allowed": {
            "seconds": SECONDS,
            "bytes": BYTES,
            "bytes_of_admission": BYTES_OF_ADMISSION,
            "memory_measured_every": SAMPLE,
        },
        "inputs_by_target": dict(sorted(inputs.items())),
        "accepted_by_target": {name: accepted[name] for name in sorted(inputs)},
        "found": [
            {"target": one.target, "what": one.what, "data": b64(one.data[:SHOWN_BYTES])} for one in findings[:SHOWN]
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    command = f"python tests/benchmarks/fuzzing.py --inputs {given.inputs} --seed {given.seed}"
    head = {"command": command, "date": datetime.now(UTC).date().isoformat(), **surroundings()}
    begun, rounds, told = time.process_time(), list[Fuzzer](), dict[str, Any]()
    with folder_in_memory(for_all=True) as made:
        for start in range(0, given.inputs, STEP):
            if start % ROUND == 0:
                folder = made / str(start)
                rounds.append(Fuzzer(make_targets(folder, Random(f"{given.seed} {start}")), Random(given.seed + start)))
            rounds[-1].run(min(STEP, given.inputs - start))
            told = figures(rounds, time.process_time() - begun)
            if given.out:
                given.out.write_text(json.dumps(head | told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in told.items() if not isinstance(value, dict | list)}, indent=1))
    if told.get("findings"):
        sys.exit(1)


if __name__ == "__main__":
    main()
