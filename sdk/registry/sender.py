"""The process that brings a training run's figures to MLflow while it trains. `sdk.project.streaming` starts it.

Its first line of input says what to do, its second how training ended; input that ends without one: training was
killed. The figures come from the run's spool. MLflow has one run for a training request, found by its tag, however
often training was interrupted; `register` completes that run. Exit status 0: everything was sent.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from sdk.errors import InvalidInput
from sdk.registry.connection import FAILURES, Tracking
from sdk.registry.entry import TRAIN_TAG
from sdk.registry.figures import Sender
from sdk.registry.runs import find_experiment, find_or_create_run

# Between two sendings: this long, and so long that they take at most one part in SHARE of a core.
PAUSE_SECONDS = 2.0
SHARE = 100
LONGEST_PAUSE_SECONDS = 60.0
_INPUT = 0  # standard input


@dataclass
class LiveRun:
    """Sends one training run's figures until it ends."""

    tracking: Tracking
    project: str
    key: str
    sender: Sender
    client: MlflowClient | None = None
    run_id: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    status: str = "KILLED"
    alone: bool = False  # training was killed

    def work(self) -> bool:
        """Send new figures until training ends, then a last time. True if all were sent."""
        pause, ok = 0.0, True
        while not self.ended.wait(pause):
            began = time.process_time()
            ok = self._try()
            least = PAUSE_SECONDS if ok else 2 * pause  # a server that fails is asked ever less often
            pause = min(max(least, PAUSE_SECONDS, SHARE * (time.process_time() - began)), LONGEST_PAUSE_SECONDS)
        return self._try(self.status)

    def _try(self, status: str | None = None) -> bool:
        try:
            if self.client is None:
                self.client = self.tracking.connect()
            if not self.run_id:
                self.run_id = self._start(self.client)
            self.sender.send(self.client, self.run_id)
            if status:
                self.client.set_terminated(self.run_id, status)
        except (*FAILURES, InvalidInput):  # an experiment that was deleted may be restored
            return False
        return True

    def _start(self, client: MlflowClient) -> str:
        """Find the training request's run, or create it, and mark it running; return its id."""
        experiment_id = find_experiment(client, self.project, self.tracking.artifact_location)
        name = f"{self.project}-training-{self.key[:8]}"
        run = find_or_create_run(client, experiment_id, (TRAIN_TAG, self.key), name)
        if run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
        return str(run.info.run_id)


def _line() -> str:
    """Read a line of input, and nothing ahead of it as sys.stdin does: whether more has come is asked of the pipe."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(_INPUT, 1)):
        line += more
    return line.decode()


def _listen(live: LiveRun) -> None:
    """Wait for how training ended. Input without a whole line: it was killed, which is the status until then."""
    line = _line()
    if line.endswith("\n"):
        live.status = line.strip()
    else:
        live.alone = True
    live.ended.set()


def main(options: Mapping[str, Any]) -> int:
    """Send one training's figures until it ends; return the exit status. `options`: as MetricsStream writes them."""
    folder = Path(options["folder"])
    tracking, sender = Tracking(folder, options["uri"]), Sender(Path(options["spool"]))
    live = LiveRun(tracking, options["project"], options["key"], sender)
    with tracking.one_writer():
        listening = threading.Thread(target=_listen, args=(live,), daemon=True)
        listening.start()
        if select.select([_INPUT], [], [], 0)[0]:
            listening.join()
            if live.alone:  # killed before anything was sent: whoever went on with it may have completed the run
                return 1
        return 0 if live.work() else 1


if __name__ == "__main__":
    # Training goes first wherever both want a core.
    os.nice(19)
    sys.exit(main(json.loads(_line())))
