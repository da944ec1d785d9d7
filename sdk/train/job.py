"""What a training run is made of, and how processes tell it to each other."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sdk.crypto import Secret
from sdk.data import Row, read_rows
from sdk.records import Hardware, TrainSettings, canonical_json, sha256
from sdk.train.adapter_init import Adapter
from sdk.train.session import Earlier


@dataclass(frozen=True)
class Job:
    """One call of launch.train(). Other processes are told through memory and the process group, never by a file."""

    data: Path | tuple[Row, ...] = field(repr=False)
    base: str
    prompt: str = field(repr=False)
    settings: TrainSettings
    memory_predicted_gib: float
    hardware: Hardware
    out: Path
    checkpoint_seconds: float = 15.0
    secret: Secret | None = None
    earlier: Earlier | None = None
    adapter: Adapter | None = field(default=None, repr=False)
    tokens_per_second_predicted: float | None = None
    halvings: int = 0  # how often micro-batches are divided in two parts

    @property
    def rows(self) -> tuple[Row, ...]:
        return read_rows(self.data).rows if isinstance(self.data, Path) else self.data

    @property
    def data_digest(self) -> str:
        return sha256(self.data.read_bytes() if isinstance(self.data, Path) else canonical_json(_dumped(self.data)))

    @property
    def folder(self) -> Path:
        """Where processes leave what the others must know; removed at the end."""
        return self.out / "launch"

    def to_bytes(self) -> bytes:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        data = str(self.data) if isinstance(self.data, Path) else _dumped(self.data)
        given |= {"data": data, "out": str(self.out)}
        given |= {"settings": self.settings.model_dump(), "hardware": self.hardware.model_dump()}
        if self.secret is not None:
            given["secret"] = self.secret.expose().hex()
        if self.earlier is not None:
            given["earlier"] = [str(self.earlier.folder), self.earlier.settings.model_dump()]
        if self.adapter is not None:
            given["adapter"] = [dict(self.adapter[0]), b64encode(self.adapter[1]).decode()]
        return canonical_json(given)

    @classmethod
    def from_bytes(cls, told: bytes) -> Job:
        given = json.loads(told)
        given["out"] = Path(given["out"])
        told_rows = given["data"]
        given["data"] = Path(told_rows) if isinstance(told_rows, str) else tuple(map(Row.model_validate, told_rows))
        given["settings"] = TrainSettings.model_validate(given["settings"])
        given["hardware"] = Hardware.model_validate(given["hardware"])
        if given["secret"] is not None:
            given["secret"] = Secret(bytes.fromhex(given["secret"]))
        if given["earlier"] is not None:
            folder, settings = given["earlier"]
            given["earlier"] = Earlier(Path(folder), TrainSettings.model_validate(settings))
        if given["adapter"] is not None:
            config, weights = given["adapter"]
            given["adapter"] = (config, b64decode(weights))
        return cls(**given)


def _dumped(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]
