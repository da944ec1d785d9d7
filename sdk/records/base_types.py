"""What every record is made of: canonical JSON, digests, references to files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sdk.records.in_words import spelled
from sdk.records.summary import as_html, as_text, brief

Sha256 = Annotated[str, spelled(r"^[0-9a-f]{64}$", "64 hexadecimal digits in lower case", description="SHA-256, hex")]
# (what is being done, units done, units in all or None, figures worth showing, e.g. loss)
OnProgress = Callable[[str, int, int | None, Mapping[str, float]], None]
# What is drawn, and what is given as a table, of a project's records.
PlotName = Literal["loss", "scores", "memory", "personal_data", "leaks", "leaks_roc"]
TableName = Literal["losses", "scores", "outcomes", "findings", "history"]
SHORT = 300  # characters


def canonical_json(value: Any) -> bytes:
    """Return one byte string for equal values: sorted keys, no white space, UTF-8. ValueError: NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def request_key(inputs: Mapping[str, str]) -> str:
    return sha256(canonical_json(dict(inputs)))


class Frozen(BaseModel):
    """A frozen value. Printed and in a notebook it shows what a person wants of it; `model_dump_json` has all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def _title(self) -> str:
        return type(self).__name__

    def _summary(self) -> Mapping[str, Any]:
        """Return what a person wants of it, name -> value: here each field that is not at its default."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.get_default(call_default_factory=True)
        }

    def brief(self) -> str:
        """Say on one line what it is, for the summary of what holds it."""
        return ", ".join(f"{name} {brief(value)}" for name, value in self._summary().items())

    def __str__(self) -> str:
        return as_text(self._title(), self._summary())

    def __repr__(self) -> str:
        """Write one line: what would make the value again where that is short, else its summary."""
        whole = super().__repr__()
        if len(whole) <= SHORT:
            return whole
        said = Frozen.brief(self)
        return f"<{self._title()}: {said[:SHORT]}{' …' if len(said) > SHORT else ''}>"

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._summary())


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or str(PurePosixPath(path)) != path:
        raise ValueError("must be a relative path with forward slashes that stays inside its folder")
    return path


def is_empty(value: object) -> bool:
    """Tell whether a field has no content: as `exclude_if` of one that was added later, which is left out then.

    A record that was written before it has the same bytes, and so the same digest, when it is read and written again.
    """
    return value in (None, "", (), {})


class FileRef(Frozen):
    path: Annotated[str, AfterValidator(_inside)]
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256

    def brief(self) -> str:
        return self.path


class Record(Frozen):
    """What is stored under its digest. The Project fills in `inputs` and `files`."""

    inputs: dict[str, Sha256] = Field(default_factory=dict, description="what it was made from: name -> digest")
    files: tuple[FileRef, ...] = Field(default=(), description="every file in the step's folder, relative to it")

    def _title(self) -> str:
        return f"{type(self).__name__} {self.digest[:12]}"

    def _summary(self) -> Mapping[str, Any]:
        return {name: value for name, value in super()._summary().items() if name not in Record.model_fields}

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
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def brief(self) -> str:
        return self.text()

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 3) -> str:
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"
