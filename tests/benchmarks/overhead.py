"""How much of a training run's time governance takes: log, key ring, sealing, decisions, promotion, checks at loading.

    python tests/benchmarks/overhead.py [--steps N] [--out RESULTS.json]

The whole way on the embedded base under the policy `finance`. What is counted: every append to the audit log, every
reading of it (a verification each), sealing and opening packages, the verdicts, evidence, and all of `verify_project`.
Publishing in MLflow is not: that is what MLflow users have without us. Processor and wall time of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.update(HF_HUB_OFFLINE="1", SDK_STATE_HOME=tempfile.mkdtemp(prefix="sdk-state-"))

import sdk.project.verify
import sdk.seal
import sdk.serve.admit
import sdk.serve.evidence
from sdk import Project, crypto
from sdk.audit import Audit
from sdk.project.state import ProjectState

COUNTED: list[tuple[Any, str]] = [
    (Audit, "append"),
    (ProjectState, "__init__"),
    (sdk.seal, "seal"),
    (sdk.seal, "open_package"),
    (sdk.serve.admit, "open_package"),
    (sdk.serve.admit, "unseal"),
    (sdk.project.verify, "verify_project"),
    (sdk.serve.evidence, "judge_release"),
    (sdk.serve.evidence, "gather"),
    (sdk.serve.evidence, "write_evidence"),
]


class Clock:
    """Wall and processor seconds in the counted calls; of calls within one another the outer one."""

    def __init__(self) -> None:
        self.wall, self.processor, self.depth = 0.0, 0.0, 0
        self.calls: dict[str, float] = {}

    def counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **more: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            self.depth += 1
            try:
                return call(*given, **more)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    spent = time.perf_counter() - wall
                    self.wall += spent
                    self.processor += time.process_time() - processor
                    self.calls[name] = self.calls.get(name, 0.0) + spent

        return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        for owner, name in COUNTED:
            stack.enter_context(patch.object(owner, name, clock.counting(name, getattr(owner, name))))
        project = Project.create(folder / "p", domain="finance")
        crypto.save_key(crypto.SigningKey.random(), folder / "ada.pem")
        project.enroll("Ada", f"file:{folder / 'ada.pem'}")
        project.advise()
        project.scrub()
        began, processor = time.perf_counter(), time.process_time()
        run = project.train(**({"max_steps": given.steps} if given.steps else {}))
        training, training_processor = time.perf_counter() - began, time.process_time() - processor
        project.evaluate()
        project.check_leaks()
        project.register()
        project.approve(key=f"file:{folder / 'ada.pem'}", reason="The way was gone once more to be timed.")
        project.load()
        events = len(project.state().events)
    report = {
        "command": "python tests/benchmarks/overhead.py" + (f" --steps {given.steps}" if given.steps else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "steps": run.steps,
        "events": events,
        "training_seconds": round(training, 2),
        "training_processor_seconds": round(training_processor, 2),
        "governance_seconds": round(clock.wall, 3),
        "governance_processor_seconds": round(clock.processor, 3),
        "share": round(clock.wall / training, 4),
        "share_of_processor_time": round(clock.processor / training_processor, 4),
        "by_call": {name: round(spent, 3) for name, spent in sorted(clock.calls.items(), key=lambda one: -one[1])},
    }
    print(json.dumps(report, indent=2))
    if given.out:
        given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
