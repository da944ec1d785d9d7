"""What a training run is made of, and how processes tell it to each other."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sdk.crypto import Secret
from sdk.data import Row, RowsFile, each_row, each_written_row, rows_digest, rows_of, rows_request
from sdk.data.base_folder import Base, base_from_json
from sdk.records import TrainSettings, canonical_json, sha256
from sdk.train.adapter_init import Adapter
from sdk.train.session import Earlier

ONLY_THE_LAST_CHECKPOINT = 1e9  # checkpoint_seconds of a run that nobody will continue


@dataclass(frozen=True)
class Job:
    """All that decides what train() makes.

    data: a file, best with the digest that it must have, or rows in memory, which then are written nowhere. prompt:
    system message of rows that have none. checkpoint_seconds: least time between two checkpoints, more where writing
    one takes long; 0: one after every step.
    secret: what encrypts checkpoints; None leaves them in plain. earlier: a finished run to go on from. adapter: a
    finished one on the same base that this one begins with; None: PEFT's first weights. halvings: how often
    micro-batches are cut in two. base_name: what the adapter and the record call the base; None: its folder's name.

    Other processes are told a job through memory and the process group, never by a file.
    """

    data: RowsFile | Path | tuple[Row, ...] = field(repr=False)
    base: Base
    prompt: str = field(repr=False)
    settings: TrainSettings
    out: Path
    checkpoint_seconds: float = 15.0
    secret: Secret | None = None
    earlier: Earlier | None = None
    adapter: Adapter | None = field(default=None, repr=False)
    halvings: int = 0
    base_name: str | None = None

    def each_row(self, take: Callable[[Row], None]) -> None:
        """Hand over each row. Tampered, at the end: the file is not the one that `data` tells the digest of."""
        if isinstance(self.data, RowsFile) and self.data.written:
            each_written_row(self.data, take)
        elif isinstance(self.data, Path | RowsFile):
            each_row(self.data, take)
        else:
            for row in self.data:
                take(row)

    @property
    def data_digest(self) -> str:
        if isinstance(self.data, RowsFile):
            return self.data.sha256
        if isinstance(self.data, Path):
            return rows_digest(self.data)
        return sha256(canonical_json(_dumped(self.data)))

    @property
    def folder(self) -> Path:
        """The folder where processes leave what the others must know; removed at the end."""
        return self.out / "launch"

    def to_bytes(self) -> bytes:
        """Return the job as JSON. It holds the rows and the secret: it is not for a file."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        data = rows_request(self.data) if isinstance(self.data, Path | RowsFile) else _dumped(self.data)
        values |= {"data": data, "out": str(self.out), "settings": self.settings.model_dump()}
        if self.secret is not None:
            values["secret"] = self.secret.expose().hex()
        if self.earlier is not None:
            values["earlier"] = [str(self.earlier.folder), self.earlier.settings.model_dump()]
        if self.adapter is not None:
            values["adapter"] = [dict(self.adapter[0]), b64encode(self.adapter[1]).decode()]
        return canonical_json(values)

    @classmethod
    def from_bytes(cls, message: bytes) -> Job:
        values = json.loads(message)
        data = values["data"]
        values["data"] = rows_of(data) if isinstance(data, dict) else tuple(map(Row.model_validate, data))
        values["out"] = Path(values["out"])
        values["base"] = base_from_json(values["base"])
        values["settings"] = TrainSettings.model_validate(values["settings"])
        if values["secret"] is not None:
            values["secret"] = Secret(bytes.fromhex(values["secret"]))
        if values["earlier"] is not None:
            folder, settings = values["earlier"]
            values["earlier"] = Earlier(Path(folder), TrainSettings.model_validate(settings))
        if values["adapter"] is not None:
            config, weights = values["adapter"]
            values["adapter"] = (config, b64decode(weights))
        return cls(**values)


def _dumped(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]
