"""Rows of chat messages from the files that users have; every bad row is named at once, its text never."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sdk.data.containers import CONTAINERS
from sdk.data.layouts import build_rows
from sdk.data.rows import Language, Message, Planted, Row, Table
from sdk.errors import InvalidInput
from sdk.records import canonical_json, sha256
from sdk.store import write_atomic

__all__ = [
    "Language",
    "Message",
    "Planted",
    "Row",
    "Table",
    "answer",
    "conversation",
    "longest_row",
    "normalized",
    "question",
    "read_rows",
    "refuse_overlap",
    "write_rows",
]


def read_rows(path: Path) -> Table:
    """Read a .jsonl, .json, .csv or .parquet file in one of LAYOUTS.

    A missing id becomes "row-<n>", a missing language is told from the script. InvalidInput lists every fault of
    every row.
    """
    read = CONTAINERS.get(path.suffix.lower())
    if read is None:
        raise InvalidInput(f"{path}: this kind of file cannot be read; use one of {', '.join(CONTAINERS)}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
    if not data.strip():
        raise InvalidInput(f"{path} is empty; it needs at least one row.")
    raws, faults = read(data.removeprefix(b"\xef\xbb\xbf"))
    layout, rows = build_rows(raws, faults)
    if faults:
        raise InvalidInput(f"{path}: {len(faults)} faults; mend them all and run again.", faults)
    if layout is None:
        raise InvalidInput(f"{path} holds no rows; it needs at least one.")
    container = path.suffix.lower().removeprefix(".")
    return Table.model_validate({"container": container, "layout": layout, "rows": rows, "sha256": sha256(data)})


def write_rows(path: Path, rows: Iterable[Row]) -> tuple[int, str]:
    """Write rows as JSONL of messages, without spans, all or nothing; returns (size in bytes, SHA-256)."""
    data = b"".join(canonical_json(row.model_dump(exclude={"spans"}, exclude_none=True)) + b"\n" for row in rows)
    write_atomic(path, data)
    return len(data), sha256(data)


def normalized(text: str) -> str:
    """NFKC, case folded, without punctuation, white space and control characters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")


def conversation(row: Row, prompt: str) -> list[dict[str, str]]:
    """A row's messages, with the domain's prompt as the system message where the row has none."""
    messages = [{"role": message.role, "content": message.content} for message in row.messages]
    if prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": prompt})
    return messages


def question(row: Row) -> str:
    return "\n".join(message.content for message in row.messages if message.role == "user")


def answer(row: Row) -> str:
    return row.messages[-1].content


def refuse_overlap(train: Table, evaluation: Table) -> None:
    """InvalidInput lists every evaluation row whose normalized question stands in the training data."""
    asked = {_question_key(row): row.id for row in train.rows}
    faults = [
        f"id {row.id}: the same question as training row {asked[_question_key(row)]}"
        for row in evaluation.rows
        if _question_key(row) in asked
    ]
    if faults:
        raise InvalidInput(
            f"{len(faults)} evaluation questions stand in the training data, so their scores would mean nothing; "
            "reword or remove them.",
            faults,
        )


def longest_row(rows: Iterable[Row], prompt: str) -> int:
    """Tokens that no row exceeds on a byte-level tokenizer, placeholders included, in whole steps of 64.

    A byte-level token holds a byte or more, so bytes bound tokens; the margin is for placeholders that are longer than
    what they replace, and for the chat template.
    """
    size = max(len(prompt.encode()) + sum(len(m.content.encode()) for m in row.messages) for row in rows)
    return -(-(size * 5 // 4 + 64) // 64) * 64


def _question_key(row: Row) -> str:
    return normalized(question(row)) or question(row).strip()
