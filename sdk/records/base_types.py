"""What every record is made of: canonical JSON, digests, references to files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, hex")]
# (what is being done, units done, units in all or None, figures worth showing, e.g. loss)
OnProgress = Callable[[str, int, int | None, Mapping[str, float]], None]


def canonical_json(value: Any) -> bytes:
    """Return one byte string for equal values: sorted keys, no white space, UTF-8. ValueError: NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def request_key(inputs: Mapping[str, str]) -> str:
    return sha256(canonical_json(dict(inputs)))


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or str(PurePosixPath(path)) != path:
        raise ValueError("must be a relative path with forward slashes that stays inside its folder")
    return path


def is_none(value: object) -> bool:
    """Tell whether a field has no value: as `exclude_if` of one that was added later, which is left out then.

    A record that was written before it has the same bytes, and so the same digest, when it is read and written again.
    """
    return value is None


class FileRef(Frozen):
    path: Annotated[str, AfterValidator(_inside)]
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256


class Record(Frozen):
    """What is stored under its digest. The Project fills in `inputs` and `files`."""

    inputs: dict[str, Sha256] = Field(default_factory=dict, description="what it was made from: name -> digest")
    files: tuple[FileRef, ...] = Field(default=(), description="every file in the step's folder, relative to it")

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @property
    def digest(self) -> str:
        return sha256(self.to_bytes())

    @property
    def request(self) -> str:
        """The same for everything that was made from these inputs."""
        return request_key(self.inputs)

    def to_bytes(self) -> bytes:
        return canonical_json({"kind": self.kind, **self.model_dump(mode="json")})


class StepRecord(Record):
    """What a step leaves behind. `step` and `verb` belong to the class and are in no JSON."""

    step: ClassVar[str]  # the action in the audit log, and the folder below artifacts/
    verb: ClassVar[str]  # what a user types after `sdk` to get one; the step's name where a class says nothing else

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "verb" not in vars(cls):
            cls.verb = cls.step


class Interval(Frozen):
    """A mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"
