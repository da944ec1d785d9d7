"""Structured rows: the texts of a row by their paths, and what rules and names of fields say that they hold.

A field is named by its path: `metadata.customer.phone`, `topic`, `messages.0.content`,
`messages.1.tool_calls.0.function.arguments.account.owner`. Positions in lists count from 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sdk.data import Function, Message, Row, ToolCall, json_value
from sdk.errors import InvalidInput
from sdk.policy import read_yaml
from sdk.records import canonical_json

KEEP, TEXT = "keep", "text"
BY_RULE, BY_NAME, BY_COLUMN = "field rule", "field name", "field values"  # in place of a recognizer's name
LEAST_DIGITS = 6  # of a number that is scanned where its name says nothing; less is a count or a year
YOUNG = 89  # years; ages up to here are no identifier (45 CFR 164.514(b)(2)(i)(C))
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
SHOWN = re.compile(r"[A-Za-z_\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff-]{0,39}")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_PLAIN_ID = re.compile(r"[A-Za-z0-9]+(?:[-_.:/][A-Za-z0-9]+)*")
_WELL_KNOWN = Path(__file__).with_name("fields.yaml")
FieldPath = tuple[str, ...]


class Treatment(NamedTuple):
    """What is done with a value. kind: what all of it is; KEEP: it stays; TEXT: it is scanned."""

    kind: str = TEXT
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One text of a row. prefix: the field's name in words, which is scanned with it as its context."""

    text: str
    treatment: Treatment
    message: int | None  # its index; None beside the messages
    field: str  # the path, within the message where it stands in one; keys that may be personal data are `*`
    column: str  # the path of all values like it: with `*` for positions in lists; empty for keys and contents
    prefix: str = ""


Visit = Callable[[Leaf], str]


class FieldRules:
    """The policy's rules, then names that are well known, then columns that were found to hold names.

    InvalidInput lists every rule of a kind that nobody knows.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        kinds: Collection[str],
        columns: Mapping[str, str] | None = None,
        quasi_identifiers: Collection[str] = (),
    ) -> None:
        known = {*kinds, *_well_known()}
        faults = [
            f"scrub.fields.{path}: {kind} is no kind that a recognizer or the table of field names knows; or say keep"
            for path, kind in fields.items()
            if kind != KEEP and not (_KIND.fullmatch(kind) and kind in known)
        ]
        if faults:
            raise InvalidInput("The policy's rules for fields are malformed.", faults)
        self._exact = {path.casefold(): kind for path, kind in fields.items() if not _is_pattern(path)}
        self._patterns = [(path.casefold(), kind) for path, kind in fields.items() if _is_pattern(path)]
        self._columns = dict(columns or {})
        declared = [f"metadata.{name.removeprefix('metadata.')}".casefold().split(".") for name in quasi_identifiers]
        self._declared = {".".join(parts[:size]) for parts in declared for size in range(2, len(parts) + 1)}
        self._explicit = lru_cache(maxsize=4096)(self._look_up)

    def of(self, path: FieldPath, above: Treatment, column: str) -> Treatment:
        """Return what is done with a field. The policy's rule for what it stands in outweighs the field's own name."""
        kind = self._explicit(".".join(path)) if self._exact or self._patterns else None
        if kind is not None:
            return Treatment(kind, BY_RULE)
        if above.reason == BY_RULE:
            return above
        if (named := known_kind(path[-1])) is not None:
            return Treatment(named, BY_NAME)
        if above.kind != TEXT:
            return above
        return Treatment(self._columns[column], BY_COLUMN) if column in self._columns else above

    def names(self, path: FieldPath) -> bool:
        """Tell whether the policy names this field, so that its key is a field's name and nobody's."""
        shown = ".".join(path)
        return shown.casefold() in self._declared or self.rule(shown).reason == BY_RULE

    def rule(self, path: str) -> Treatment:
        """Return what the policy's rules alone say of a path."""
        kind = self._explicit(path) if self._exact or self._patterns else None
        return Treatment() if kind is None else Treatment(kind, BY_RULE)

    def _look_up(self, path: str) -> str | None:
        path = path.casefold()
        if path in self._exact:
            return self._exact[path]
        return next((kind for pattern, kind in self._patterns if fnmatchcase(path, pattern)), None)


def _is_pattern(path: str) -> bool:
    return any(c in path for c in "*?[")


@lru_cache(maxsize=1)
def _well_known() -> dict[str, list[str]]:
    table: dict[str, list[str]] = read_yaml(_WELL_KNOWN)
    return table


@lru_cache(maxsize=1)
def _names() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return whole names, without spaces, and endings of names, the longest first."""
    whole: dict[str, str] = {}
    endings: dict[str, str] = {}
    for kind, names in _well_known().items():
        for name in names:
            ending = str(name).removeprefix("*").strip()
            whole[ending.replace(" ", "").casefold()] = kind
            if str(name).startswith("*"):
                endings[ending.casefold() if ending[0] > "\u2fff" else f" {ending}".casefold()] = kind
    return whole, sorted(endings.items(), key=lambda item: -len(item[0]))


@lru_cache(maxsize=4096)
def known_kind(name: str) -> str | None:
    """Return the kind that a field of this name holds, as the table of names says."""
    words = _BETWEEN_WORDS.sub(" ", _HUMP.sub(" ", name)).casefold().split()
    while words and words[-1].isdigit():
        words.pop()
    whole, endings = _names()
    joined = "".join(words)
    if joined in whole:
        return whole[joined]
    spaced = " ".join(words)
    return next((kind for ending, kind in endings if spaced.endswith(ending)), None)


def id_leaf(row: Row, number: int, rules: FieldRules) -> Leaf | None:
    """Return the row's id, unless it was made of its number or has nothing in it that could be personal data."""
    treatment = rules.rule("id")
    plain = _PLAIN_ID.fullmatch(row.id) and sum(map(str.isdigit, row.id)) < LEAST_DIGITS + 1
    if row.id == f"row-{number}" or (plain and treatment.kind == TEXT):
        return None
    return Leaf(row.id, treatment, None, "id", "")


def rebuild(row: Row, rules: FieldRules, visit: Visit) -> Row:
    """Return the row with each of its texts replaced by what `visit` makes of it, always in the same order."""
    walker = _Walker(rules, visit)
    messages = tuple(walker.message(index, message) for index, message in enumerate(row.messages))
    changes: dict[str, Any] = {"messages": messages, "spans": (), "patient": None}
    walker.index = None
    if row.topic is not None:
        changes["topic"] = visit(Leaf(row.topic, rules.rule("topic"), None, "topic", ""))
    if row.metadata is not None:
        changes["metadata"] = walker.value(row.metadata, ("metadata",), ("metadata",), rules.rule("metadata"))
    return row.model_copy(update=changes)


class _Walker:
    def __init__(self, rules: FieldRules, visit: Visit) -> None:
        self.rules, self.visit = rules, visit
        self.index: int | None = None
        self.within = ""  # the path of the message

    def message(self, index: int, message: Message) -> Message:
        self.index, self.within = index, f"messages.{index}."
        content = message.content
        if content:
            content = self._text(content, "content")
        if message.name is None and message.tool_calls is None and message.tool_call_id is None:
            if content is message.content:
                return message
            return Message.model_construct(role=message.role, content=content)
        name = message.name
        if name is not None:
            path = (*self.within.split(".")[:-1], "name")
            treatment = Treatment() if message.role == "tool" else self.rules.of(path, Treatment(), "")
            name = self.visit(Leaf(name, treatment, index, "name", ""))
        called = message.tool_call_id
        return Message(
            role=message.role,
            content=content,
            name=name,
            tool_call_id=None if called is None else self._text(called, "tool_call_id"),
            tool_calls=None
            if message.tool_calls is None
            else tuple(self._call(place, call) for place, call in enumerate(message.tool_calls)),
        )

    def _text(self, text: str, field: str) -> str:
        return self.visit(Leaf(text, self.rules.rule(self.within + field), self.index, field, ""))

    def _call(self, place: int, call: ToolCall) -> ToolCall:
        prefix = f"tool_calls.{place}."
        path = (*self.within.split(".")[:-1], *prefix.split(".")[:-1], "function", "arguments")
        source = call.function.arguments
        value = json_value(source) if isinstance(source, str) else source
        arguments = self.value(value, path, path[2:], self.rules.rule(".".join(path)))
        if isinstance(source, str):  # JSON text stays as it was written, unless something in it changed
            arguments = source if arguments == value else json.dumps(arguments, ensure_ascii=False)
        return ToolCall(
            id=None if call.id is None else self._text(call.id, f"{prefix}id"),
            type=call.type,
            function=Function(name=self._text(call.function.name, f"{prefix}function.name"), arguments=arguments),
        )

    def value(self, value: Any, path: FieldPath, shown: FieldPath, treatment: Treatment) -> Any:
        """Return the value with its texts replaced.

        path: as it is in the source, for rules; shown: the same as it may stand in the ledger.
        """
        if isinstance(value, dict):
            result: dict[str, Any] = {}
            for key, item in value.items():
                inner = self._of((*path, key), treatment)
                name = self._key(key, path, shown, treatment)
                visible = key if name == key and SHOWN.fullmatch(key) else "*"
                result[_unused(name, result)] = self.value(item, (*path, key), (*shown, visible), inner)
            return result
        if isinstance(value, list | tuple):
            places = [str(place) for place in range(len(value))]
            return [
                self.value(item, (*path, place), (*shown, place), self._of((*path, place), treatment))
                for place, item in zip(places, value, strict=True)
            ]
        return self._leaf(value, path, shown, treatment)

    def _of(self, path: FieldPath, above: Treatment) -> Treatment:
        return self.rules.of(path, above, _column(path))

    def _key(self, key: str, path: FieldPath, shown: FieldPath, treatment: Treatment) -> str:
        if treatment.kind == KEEP or known_kind(key) is not None or not key or self.rules.names((*path, key)):
            return key
        return self.visit(Leaf(key, Treatment(), self.index, ".".join((*shown, "*")), "")) or "*"

    def _leaf(self, value: Any, path: FieldPath, shown: FieldPath, treatment: Treatment) -> Any:
        if value is None or value == "":
            return value
        text = value if isinstance(value, str) else _number(value, treatment)
        if text is None:
            return value
        if treatment.kind == "AGE_OVER_89" and treatment.reason == BY_NAME and _is_young(text):
            return value
        named = next((part for part in reversed(path) if not part.isdigit()), "")
        leaf = Leaf(text, treatment, self.index, ".".join(shown), _column(path), f"{named.replace('_', ' ')}: ")
        new = self.visit(leaf)
        return value if new == text else new


def _column(path: FieldPath) -> str:
    """Return the path that all values like this one share: positions, of messages too, are `*`."""
    return ".".join("*" if part.isdigit() else part for part in path)


def _number(value: Any, treatment: Treatment) -> str | None:
    """Return a number's or boolean's text; None where it stays as it is."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = canonical_json(value).decode()
    if treatment.kind == TEXT:
        return text if not isinstance(value, bool) and sum(map(str.isdigit, text)) >= LEAST_DIGITS else None
    return text


def _is_young(text: str) -> bool:
    return text.strip().isdecimal() and int(text) <= YOUNG


def _unused(name: str, taken: Collection[str]) -> str:
    """Number a key that another one was replaced by as well, so that no value is lost."""
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name} ({number})"
    return result
