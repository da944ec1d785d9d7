"""Figures of a training run in MLflow while it runs, without the loop ever waiting for MLflow.

A process of its own sends what training spools (`sdk.registry.sender`): in this one importing mlflow and writing to its
database would hold Python's lock, and be counted as training's memory. Whatever happens to it, training goes on; what
could not be sent is kept for `register`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sdk import processes
from sdk.errors import Remedy
from sdk.files.regular_files import FIGURES_BYTES, read_regular
from sdk.files.store import SPOOL, write_atomic
from sdk.records import request_key

# At the end, for the last figures and the run's status.
GRACE_SECONDS = 10.0
UNSENT = "unsent"
_MODULE = "sdk.registry.sender"


def unsent(root: Path, key: str) -> Path:
    """Return where the figures of a training request wait that MLflow has not got when training ends."""
    return root / UNSENT / f"{key}.jsonl"


class MetricsStream:
    """A context manager around training into `folder`, under a project's root."""

    def __init__(
        self, root: Path, tracking_uri: str | None, project: str, inputs: dict[str, str], folder: Path
    ) -> None:
        self._root = root
        self._key = request_key(inputs)
        self._spool = folder / SPOOL
        self._given = {
            "folder": str(root.resolve()),
            "uri": tracking_uri,
            "project": project,
            "key": self._key,
            "spool": str(self._spool.resolve()),
        }

    def __enter__(self) -> MetricsStream:
        # After Ctrl-C it still has to say how training ended; the GPU is training's.
        access = processes.access_to(self._given["uri"])
        self._process = processes.start(_MODULE, variables={"CUDA_VISIBLE_DEVICES": ""}, access=access)
        assert self._process.stdin
        self._input = self._process.stdin
        self._tell(json.dumps(self._given))  # not as an argument, which every user of the machine can read
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = "FAILED" if isinstance(error, Exception) else "KILLED"
        self._tell("FINISHED" if error is None else failed)
        with suppress(OSError):
            self._input.close()
        sent = processes.end(self._process, GRACE_SECONDS) == 0
        if error is None:
            self._put_away(sent)

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # it has ended, and its exit status says so
            self._input.write(line.encode() + b"\n")
            self._input.flush()

    def _put_away(self, sent: bool) -> None:
        """Out of the step's folder, whose files the record names."""
        if not self._spool.exists():
            return
        if not sent:
            write_atomic(unsent(self._root, self._key), read_regular(self._spool, FIGURES_BYTES, Remedy.PROJECT))
        self._spool.unlink()
