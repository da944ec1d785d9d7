"""Every governed action under every fault of the audit log: none is done without a record.

    python tests/benchmarks/faults.py [--out RESULTS.json] [--action NAME …]

A small project with two releases is made and copied for each try. Takes about half an hour on two cores; the suite has
the quick actions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", SDK_STATE_HOME=tempfile.mkdtemp(prefix="sdk-state-"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.test_governance import GOVERNED, done_without_record, two_releases
from tests.workshop import make_workshop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--action", nargs="*", choices=list(GOVERNED), default=list(GOVERNED))
    given = parser.parse_args()
    results: dict[str, int] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        workshop = make_workshop(Path(made))
        project = two_releases(workshop)
        for name in given.action:
            folder = Path(made) / f"try-{name}"
            folder.mkdir()
            results[name], found = done_without_record(project, workshop, folder, name)
            faults += found
            print(f"{name:<10} {results[name]:>3} tries, {len(found)} done without a record", flush=True)
    if given.out:
        report = {
            "command": "python tests/benchmarks/faults.py",
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "tries": results,
            "done_without_a_record": faults,
        }
        given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
