"""Rows of chat messages from the files that users have; every bad row is named at once, its text never."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from sdk.data.rows import Function, Language, Message, Planted, Row, Table, ToolCall, json_value
from sdk.data.rows_files import DATA_LISTS, RowsFile, rows_digest, rows_of, rows_request
from sdk.data.source import (
    ChosenRows,
    Held,
    RowSource,
    choose_rows,
    each_row,
    each_written_row,
    first_rows,
    holds_texts,
    open_rows,
    read_rows,
)
from sdk.errors import InvalidInput
from sdk.files.store import write_atomic
from sdk.records import canonical_json, sha256

__all__ = [
    "DATA_LISTS",
    "ChosenRows",
    "Function",
    "Held",
    "Language",
    "Message",
    "Planted",
    "QuestionHashes",
    "Row",
    "RowSource",
    "RowsFile",
    "Table",
    "ToolCall",
    "answer",
    "arguments",
    "choose_rows",
    "conversation",
    "each_row",
    "each_written_row",
    "first_rows",
    "holds_texts",
    "json_value",
    "longest_row",
    "normalized",
    "open_rows",
    "question",
    "read_rows",
    "refuse_overlap",
    "row_line",
    "rows_digest",
    "rows_of",
    "rows_request",
    "spoken",
    "write_rows",
]

UNWRITTEN = {"spans", "patient"}
_NO_PUNCTUATION = str.maketrans("", "", "".join(map(chr, range(33))) + "\x7f" + "!\"#%&'()*,-./:;?@[\\]_{}")


def row_line(row: Row) -> bytes:
    """Return the row as a line of JSONL, without spans and patient."""
    return canonical_json(row.model_dump(exclude=UNWRITTEN, exclude_none=True)) + b"\n"


def write_rows(path: Path, rows: Iterable[Row]) -> tuple[int, str]:
    """Write rows as JSONL of messages, without spans, all or nothing; returns (size in bytes, SHA-256)."""
    data = b"".join(map(row_line, rows))
    write_atomic(path, data)
    return len(data), sha256(data)


def normalized(text: str) -> str:
    """Return the text in NFKC, case folded, without punctuation, white space and control characters."""
    if text.isascii():
        return text.lower().translate(_NO_PUNCTUATION)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")


def conversation(row: Row, prompt: str) -> list[dict[str, Any]]:
    """Return a row's messages, led by the domain's prompt as the system message where a conversation has none."""
    messages = [_for_template(message) for message in row.messages]
    if prompt and messages[0]["role"] not in ("system", "text"):
        messages.insert(0, {"role": "system", "content": prompt})
    return messages


def _for_template(message: Message) -> dict[str, Any]:
    """Return a message as chat templates expect it: with the arguments of a tool call as an object."""
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    shown |= {key: value for key in ("name", "tool_call_id") if (value := getattr(message, key)) is not None}
    if message.tool_calls:
        shown["tool_calls"] = [_call_for_template(call) for call in message.tool_calls]
    return shown


def _call_for_template(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": arguments(call.function)}
    return {**({} if call.id is None else {"id": call.id}), "type": "function", "function": function}


def arguments(function: Function) -> dict[str, Any]:
    """Return the arguments of a tool call as an object."""
    given = function.arguments
    value: dict[str, Any] = json_value(given) if isinstance(given, str) else given
    return value


def spoken(message: Mapping[str, Any]) -> str:
    """Return all text of a message of `conversation`: its content, and its tool calls as JSON."""
    calls = message.get("tool_calls")
    return str(message["content"]) + (canonical_json(calls).decode() if calls else "")


def question(row: Row) -> str:
    return "\n".join(message.content for message in row.messages if message.role == "user")


def answer(row: Row) -> str:
    """Return the last message's content, or its tool calls as JSON where it has nothing else."""
    last = row.messages[-1]
    return last.content or spoken(_for_template(last))


class QuestionHashes:
    """Hashes of the questions that training rows ask: eight bytes a row, taken while the rows are read anyway."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, row: Row) -> None:
        self._hashes.append(hash(_normalized_question(row)))

    def may_hold(self, rows: Iterable[Row]) -> bool:
        """Tell whether a row's question may stand among them; where not, it surely does not."""
        wanted = np.fromiter((hash(_normalized_question(row)) for row in rows), np.int64)
        return bool(np.isin(wanted, np.frombuffer(self._hashes, np.int64)).any())


def refuse_overlap(
    train: Table | RowSource, evaluation: Table | RowSource, hashes: QuestionHashes | None = None
) -> None:
    """Raise InvalidInput, which lists every evaluation row whose normalized question stands in the training data.

    hashes: those of the training rows; without need these are not read again.
    Running text asks nothing; what of it repeats is left out of the training rows instead.
    """
    if hashes is not None and not hashes.may_hold(row for row in evaluation.rows if not row.is_text):
        return
    keys = {_question_key(row) for row in evaluation.rows if not row.is_text}
    asked: dict[bytes, str] = {}
    for row in train.rows if keys else ():
        key = _question_key(row)
        if key in keys and not row.is_text:
            asked.setdefault(key, row.id)
    if not asked:
        return
    faults = [
        f"id {row.id}: the same question as training row {asked[_question_key(row)]}"
        for row in evaluation.rows
        if not row.is_text and _question_key(row) in asked
    ]
    raise InvalidInput(
        f"{len(faults)} evaluation questions stand in the training data, so their scores would mean nothing; "
        "reword or remove them.",
        faults,
    )


def longest_row(rows: Iterable[Row], prompt: str) -> int:
    """Return a number of tokens that no row exceeds on a byte-level tokenizer, in whole steps of 64.

    A byte-level token holds a byte or more, so bytes bound tokens; the margin (a quarter and 64) is for placeholders
    that are longer than what they replace, and for the chat template.
    """
    size = max(len(prompt.encode()) + sum(len(spoken(m).encode()) for m in conversation(row, "")) for row in rows)
    return -(-(size * 5 // 4 + 64) // 64) * 64


def _question_key(row: Row) -> bytes:
    """Return a digest of the normalized question: questions may be long and many."""
    return blake2b(_normalized_question(row).encode(), digest_size=16).digest()


def _normalized_question(row: Row) -> str:
    return normalized(question(row)) or question(row).strip()
