"""What a file of training or evaluation rows becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from sdk.records import Frozen, MessageRole, Sha256

Language = Literal["en", "zh"]
Layout = Literal["alpaca", "messages", "sharegpt", "prompt-completion", "form", "text"]
Container = Literal["jsonl", "json", "csv", "parquet", "txt", "md", "html"]
Place = tuple[int, int, int]  # message, offset in it, length: where a column's text ended up


class Function(Frozen):
    """What a tool call calls."""

    name: str
    arguments: str | dict[str, Any] = Field(description="an object, or JSON text of one, as it was given")


class ToolCall(Frozen):
    """OpenAI's form."""

    id: str | None = None
    type: Literal["function"] | None = None
    function: Function


class Message(Frozen):
    role: MessageRole
    content: str = Field(description="empty only beside tool calls")
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None


class Planted(Frozen):
    """A known span of personal data in `messages[message].content`."""

    message: int = Field(ge=0)
    start: int = Field(ge=0, description="offset in characters")
    end: int = Field(gt=0, description="offset in characters, exclusive")
    entity_type: str


class Row(Frozen):
    """A conversation: an optional system message, then user and assistant in turn; the last is the assistant's.

    An assistant's message with tool calls is followed by the tools' messages, and those by the assistant's next.
    Running text is a row, too: of one message, whose role is text. Nobody asks for it, and all of it is learned.
    """

    id: str
    language: Language
    messages: tuple[Message, ...]
    spans: tuple[Planted, ...] = ()
    topic: str | None = None
    metadata: dict[str, Any] | None = Field(default=None, description="a JSON object")
    patient: str | None = Field(default=None, description="whom the row is about; used for scopes, never written")

    @property
    def is_text(self) -> bool:
        return self.messages[0].role == "text"


class Table(Frozen):
    container: Container
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Twice(fields)


_DECODER = json.JSONDecoder(object_pairs_hook=_object)  # json.loads would make one for each line


def json_value(text: str) -> Any:
    """Read a JSON document. ValueError says what is wrong without its text."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"not valid JSON at {place} ({error.msg}); is it cut off?") from None
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON (nested too deeply or a number too long)") from None
