"""What a file of training or evaluation rows becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from sdk.records import Frozen, Role, Sha256

Language = Literal["en", "zh"]
Layout = Literal["alpaca", "messages", "sharegpt", "prompt-completion"]


class Message(Frozen):
    role: Role
    content: str


class Planted(Frozen):
    """A known span of personal data in `messages[message].content`."""

    message: int = Field(ge=0)
    start: int = Field(ge=0, description="offset in characters")
    end: int = Field(gt=0, description="offset in characters, exclusive")
    entity_type: str


class Row(Frozen):
    """A conversation: an optional system message, then user and assistant in turn; the last is the assistant's."""

    id: str
    language: Language
    messages: tuple[Message, ...]
    spans: tuple[Planted, ...] = ()
    topic: str | None = None


class Table(Frozen):
    container: Literal["jsonl", "json", "csv", "parquet"]
    layout: Layout
    rows: tuple[Row, ...]
    sha256: Sha256 = Field(description="of the file's bytes")


@dataclass(frozen=True)
class Raw:
    where: str  # "line 12" or "row 12"
    fields: Mapping[str, Any]


class Twice(dict[str, Any]):
    """A JSON object in which a key stands twice."""


Faults = list[str]
