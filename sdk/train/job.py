"""What a training run is made of, and how processes tell it to each other."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, fields
from pathlib import Path

from sdk.crypto import Secret
from sdk.records import Hardware, TrainSettings, canonical_json
from sdk.train.initial import Adapter
from sdk.train.session import Earlier


@dataclass(frozen=True)
class Job:
    """One call of launch.train(). Other processes are told through memory and the process group, never by a file."""

    data: Path
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
    def folder(self) -> Path:
        """Where processes leave what the others must know; removed at the end."""
        return self.out / "launch"

    def to_bytes(self) -> bytes:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        given |= {"data": str(self.data), "out": str(self.out)}
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
        given |= {"data": Path(given["data"]), "out": Path(given["out"])}
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
