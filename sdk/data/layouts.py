"""Columns to messages: which layout a row has, what is wrong with it, where its spans end up."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sdk.data.arrow_values import whole_number
from sdk.data.columns import Arrangement, find_layout, shown
from sdk.data.rows import (
    Faults,
    Function,
    Language,
    Layout,
    Message,
    Place,
    Planted,
    Raw,
    Row,
    ToolCall,
    Twice,
    json_value,
)
from sdk.records import MessageRole

Parsed = tuple[list[Message], dict[str, Place]]
Parser = Callable[[Mapping[str, Any], Faults], Parsed]

DEEPEST = 64  # levels of objects and lists in each other
_ROLES: dict[str, MessageRole] = {
    "system": "system", "user": "user", "assistant": "assistant", "tool": "tool", "text": "text"
}  # fmt: skip
_NEWER_ROLES: dict[str, MessageRole] = {"developer": "system"}  # OpenAI's other word for the same
_SHAREGPT_ROLES: dict[str, MessageRole] = {"system": "system", "human": "user", "gpt": "assistant"}
# What the logs of OpenAI's API have in every message, and mostly empty; where it is not, it is no text to be trained.
_MOSTLY_EMPTY = ("tool_calls", "annotations", "refusal", "audio", "function_call")
_ENTITY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"[^\W\d_]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Builder:
    """Makes rows of raw ones, in their order; the first tells the layout of all."""

    def __init__(self, layout: Layout | None = None, passed: int = 0, arrangement: Arrangement | None = None) -> None:
        """Begin after `passed` rows. arrangement: what the file's own columns stand for."""
        self.layout = layout
        self._arrangement = arrangement
        self._first = ""
        self.number = passed  # rows that were counted

    def pass_over(self) -> None:
        """Count a row that is not built."""
        self.number += 1

    def build(self, raw: Raw) -> tuple[str, Row | None, Faults]:
        """Return the row's id, the row where it can be built, and whatever is wrong with it."""
        self.pass_over()
        found: Faults = []
        own, given = self._arrangement, raw.fields
        arranged, sources = own.arrange(given, found) if own else (dict(given), {})
        fields = {key: value for key, value in arranged.items() if value is not None}
        row_id = _row_id(fields, self.number, found)
        layout = own.layout(list(arranged), found) if own else find_layout(arranged, found)
        if layout is not None and self.layout is None:
            self.layout, self._first = layout, raw.where
        if layout is not None and layout != self.layout:
            found.append(f"layout {layout}, but {self._first} has {self.layout}; keep one layout in a file")
        # What is dropped may hold what no text may. What a form takes is looked at before it is filled in.
        looked_at = {key: value for key, value in given.items() if not (own and own.dropped(key))}
        bad_text = _text_faults(Twice(looked_at) if isinstance(given, Twice) else looked_at)
        row = None
        if layout is not None and not bad_text and not (own and found):
            parse = _PARSERS[layout] if own is None else _arranged(own, given, layout, sources)
            row = _row(row_id, fields, parse, found)
        found += bad_text
        where = named(raw, row_id, self.number)
        return row_id, row, [f"{where}: {fault}" for fault in found]


def _arranged(own: Arrangement, given: Mapping[str, Any], layout: Layout, sources: Mapping[str, str]) -> Parser:
    """Return what parses a row with columns of its own. Its spans name the columns of its file."""

    def parse(fields: Mapping[str, Any], faults: Faults) -> Parsed:
        if layout == "form":
            asked, answered, places, unplaced = own.fill(given, faults)
            messages = [Message(role="user", content=asked), Message(role="assistant", content=answered)]
        else:
            messages, by_target = _PARSERS[layout](fields, faults)
            places = {source: by_target[target] for source, target in sources.items() if target in by_target}
            unplaced = own.texts - set(places)
        spans = fields.get("spans")
        for index, span in enumerate(spans if isinstance(spans, list) else []):
            column = span.get("field") if isinstance(span, dict) else None
            if isinstance(column, str) and column in unplaced:
                faults.append(
                    f"spans[{index}] lies in {column}, whose text does not stand once and as it is in the row: "
                    "it is a list, a number, a label or stands twice; leave spans out with --drop spans"
                )
        return messages, places

    return parse


def named(raw: Raw, row_id: str, number: int) -> str:
    """Return the place of a row, and its id where it has one."""
    given = raw.fields.get("id") is not None and row_id != f"row-{number}"
    return f"{raw.where}, id {row_id}" if given else raw.where


def _row(row_id: str, fields: Mapping[str, Any], parse: Parser, faults: Faults) -> Row | None:
    before = len(faults)
    messages, places = parse(fields, faults)
    if len(faults) == before:
        faults += _order_faults(messages)
    language, topic = fields.get("language"), fields.get("topic")
    if language not in (None, "en", "zh"):
        faults.append("language must be en or zh; leave it out to have it detected")
    if topic is not None and not isinstance(topic, str):
        faults.append("topic must be a string")
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        faults.append("metadata must be an object")
    patient = _short(fields, "patient", faults)
    spans = _spans(fields.get("spans", []), messages, places, faults) if len(faults) == before else []
    if len(faults) > before:
        return None
    language = language or _language(messages)
    return Row(
        id=row_id,
        language=language,
        messages=tuple(messages),
        spans=tuple(spans),
        topic=topic,
        metadata=metadata,
        patient=patient,
    )


def _row_id(fields: Mapping[str, Any], number: int, faults: Faults) -> str:
    value = _short(fields, "id", faults)
    return f"row-{number}" if value is None else value


def _short(fields: Mapping[str, Any], column: str, faults: Faults) -> str | None:
    value = whole_number(fields.get(column))
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and value.strip() == value:
        return value
    faults.append(f"{column} must be a number or a string of 1 to 200 printable characters")
    return None


def _text_faults(fields: Mapping[str, Any]) -> Faults:
    faults: Faults = []
    if isinstance(fields, Twice):
        faults.append("a key is given twice; keep one")
    for key, value in fields.items():
        if not (isinstance(value, str) and _is_sound(value) and _is_sound(key)):
            faults += [f"{shown(key)}{fault}" for fault in _value_faults([key, value])]
    return faults


def _is_sound(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not _SURROGATE.search(text))


def _value_faults(value: Any) -> Faults:
    """List what no text and no number may be, anywhere in the value."""
    faults: Faults = []
    level = [value]
    for _ in range(DEEPEST + 2):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if _is_sound(item):
                    continue
                if "\0" in item:
                    faults.append(" holds a NUL character; remove it")
                if not item.isascii() and _SURROGATE.search(item):
                    faults.append(" holds half of a surrogate pair; write the whole character")
            elif isinstance(item, dict):
                if isinstance(item, Twice):
                    faults.append(": a key is given twice; keep one")
                deeper += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                deeper += item
            elif isinstance(item, float) and not math.isfinite(item):
                faults.append(" holds a number that is not finite; write null")
        level = deeper
        if not level:
            return faults
    return [*faults, f" is nested more than {DEEPEST} levels deep; flatten it"]


def _text(fields: Mapping[str, Any], column: str, faults: Faults) -> str:
    value = fields.get(column)
    if value is None:
        faults.append(f"column {column} is missing; every row needs it")
    elif not isinstance(value, str):
        faults.append(f"{column} must be a string")
    elif not value.strip():
        faults.append(f"{column} is empty; fill it or remove the row")
    return value if isinstance(value, str) else ""


def _alpaca(fields: Mapping[str, Any], faults: Faults) -> Parsed:
    instruction, output = _text(fields, "instruction", faults), _text(fields, "output", faults)
    extra = fields.get("input", "")
    if not isinstance(extra, str):
        faults.append("input must be a string")
        extra = ""
    extra = extra if extra.strip() else ""
    asked = f"{instruction}\n\n{extra}" if extra else instruction
    places = {
        "instruction": (0, 0, len(instruction)),
        "input": (0, len(instruction) + 2, len(extra)),
        "output": (1, 0, len(output)),
    }
    return [Message(role="user", content=asked), Message(role="assistant", content=output)], places


def _prompt_completion(fields: Mapping[str, Any], faults: Faults) -> Parsed:
    prompt, completion = fields.get("prompt"), fields.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        parts = [_chat(fields, column, "role", "content", _ROLES, faults) for column in ("prompt", "completion")]
        return parts[0] + parts[1], {}
    if isinstance(prompt, list) or isinstance(completion, list):
        faults.append("prompt and completion must both be strings or both be lists of messages")
        return [], {}
    asked, output = _text(fields, "prompt", faults), _text(fields, "completion", faults)
    places = {"prompt": (0, 0, len(asked)), "completion": (1, 0, len(output))}
    return [Message(role="user", content=asked), Message(role="assistant", content=output)], places


def _running_text(fields: Mapping[str, Any], faults: Faults) -> Parsed:
    text = _text(fields, "text", faults)
    return [Message(role="text", content=text)], {"text": (0, 0, len(text))}


def _chat(
    fields: Mapping[str, Any], column: str, role: str, content: str, roles: Mapping[str, MessageRole], faults: Faults
) -> list[Message]:
    items = fields.get(column)
    if not isinstance(items, list) or not items:
        faults.append(f"{column} must be a list of messages, and not empty")
        return []
    messages = []
    for index, item in enumerate(items):
        if _is_plain(item, role, content, roles):
            messages.append(Message(role=roles[item[role]], content=item[content]))
            continue
        given = _without_nulls(item) if isinstance(item, dict) else {}
        if isinstance(given.get(content), list):
            given[content] = _joined_parts(given[content], faults, f"{column}[{index}].{content}")
        extra = _extra(given, faults, f"{column}[{index}]") if role == "role" else {}
        wrong = _message_fault({key: value for key, value in given.items() if key not in extra}, role, content, roles)
        calls = extra.get("tool_calls")
        if wrong is None and not given[content].strip() and not calls:
            wrong = f".{content} is empty; fill it or remove the message"
        if wrong is None:
            told = _NEWER_ROLES.get(given[role]) or roles[given[role]]
            messages.append(Message(role=told, content=given[content], **extra))
        else:
            faults.append(f"{column}[{index}]{wrong}")
    return messages


def _is_plain(item: Any, role: str, content: str, roles: Mapping[str, MessageRole]) -> bool:
    """Tell whether an item is a message with a role and some text, and nothing else: as nearly all are."""
    if not isinstance(item, dict) or item.keys() != {role, content}:
        return False
    said, text = item[role], item[content]
    return isinstance(said, str) and said in roles and isinstance(text, str) and not text.isspace() and text != ""


def _without_nulls(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without nulls. A message that calls tools may leave its content out."""
    given = {
        key: value for key, value in item.items() if value is not None and (value != [] or key not in _MOSTLY_EMPTY)
    }
    return {"content": "", **given} if given.get("tool_calls") else given


def _joined_parts(parts: list[Any], faults: Faults, place: str) -> Any:
    """Return the text of content in parts, as OpenAI's API takes it; what is not in parts is returned as it is."""
    if not parts or not all(isinstance(part, dict) and "type" in part for part in parts):
        return parts
    texts = [part.get("text") if part["type"] in ("text", "input_text", "output_text") else None for part in parts]
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            faults.append(f"{place}[{index}] is no part of type text; only text is trained, so leave the row out")
            return "(a part that is no text)"
    return "\n".join(map(str, texts))


def _message_fault(given: Mapping[str, Any], role: str, content: str, roles: Mapping[str, MessageRole]) -> str | None:
    if set(given) != {role, content} or not all(isinstance(value, str) for value in given.values()):
        more = [shown(name) for name in given if name not in (role, content)]
        return (
            f" must be an object with the strings {role} and {content}, and nothing else"
            + (" but name, tool_calls (the assistant's) and tool_call_id (a tool's)" if role == "role" else "")
            + (f"; remove {', '.join(more)}" if more else "")
        )
    known = given[role] in roles or (role == "role" and given[role] in _NEWER_ROLES)
    return None if known else f".{role} must be one of {', '.join(roles)}"


def _extra(given: Mapping[str, Any], faults: Faults, place: str) -> dict[str, Any]:
    """Return name, tool_calls and tool_call_id, where they stand and may stand."""
    extra: dict[str, Any] = {}
    for key in ("name", "tool_call_id"):
        if key in given and (key == "name" or given.get("role") == "tool"):
            extra[key] = given[key]
            if not isinstance(given[key], str) or not given[key].strip():
                faults.append(f"{place}.{key} must be a string, and not empty")
                extra[key] = ""
    if given.get("role") == "assistant" and "tool_calls" in given:
        extra["tool_calls"] = _tool_calls(given["tool_calls"], faults, f"{place}.tool_calls")
    return extra


def _tool_calls(calls: Any, faults: Faults, place: str) -> tuple[ToolCall, ...]:
    if not isinstance(calls, list) or not calls:
        faults.append(f"{place} must be a list of calls, and not empty")
        return ()
    made = []
    for index, item in enumerate(calls):
        call = _without_nulls(item) if isinstance(item, dict) else {}
        function = _without_nulls(call["function"]) if isinstance(call.get("function"), dict) else {}
        if function.get("arguments") == "":
            function["arguments"] = "{}"  # how OpenAI's API logs a call without arguments
        sound = set(call) <= {"id", "type", "function"} and set(function) == {"name", "arguments"}
        names = [call.get("id", "-"), function.get("name", "")]
        if not sound or call.get("type", "function") != "function" or not all(isinstance(n, str) and n for n in names):
            faults.append(
                f"{place}[{index}] must be an object with function (name and arguments), id and type (function)"
            )
            continue
        wrong = _arguments_fault(function["arguments"])
        if wrong:
            faults.append(f"{place}[{index}].function.arguments{wrong}")
            continue
        made.append(ToolCall(id=call.get("id"), type=call.get("type"), function=Function(**function)))
    return tuple(made)


def _arguments_fault(arguments: Any) -> str | None:
    value = arguments
    if isinstance(arguments, str):
        try:
            value = json_value(arguments)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        return " must be an object, or JSON text of one"
    return next(iter(_value_faults(value)), None)


_PARSERS: dict[Layout, Parser] = {
    "alpaca": _alpaca,
    "messages": lambda fields, faults: (_chat(fields, "messages", "role", "content", _ROLES, faults), {}),
    "sharegpt": lambda fields, faults: (_chat(fields, "conversations", "from", "value", _SHAREGPT_ROLES, faults), {}),
    "prompt-completion": _prompt_completion,
    "text": lambda fields, faults: _running_text(fields, faults),
}


_NEXT: dict[str, tuple[str, ...]] = {  # after a message of this kind stands one of those
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant", "calls"),
    "calls": ("tool",),
    "tool": ("tool", "assistant", "calls"),
    "assistant": ("user",),
}


def _order_faults(messages: list[Message]) -> Faults:
    fault = _order_fault(tuple("calls" if message.tool_calls else message.role for message in messages))
    return [fault] if fault else []


@lru_cache(maxsize=256)
def _order_fault(kinds: tuple[str, ...]) -> str:
    """Say what is wrong with the order of messages of these kinds; nothing where nothing is."""
    if "text" in kinds:
        return "" if kinds == ("text",) else "a message whose role is text is running text, which stands alone in a row"
    if "assistant" not in kinds and "calls" not in kinds:
        return "no message of the assistant; training needs an answer"
    if kinds[-1] not in ("assistant", "calls"):
        return "the last message must be the assistant's; add the answer or remove the last message"
    if any(kind not in _NEXT[before] for before, kind in zip(("", *kinds), kinds, strict=False)):
        if "tool" in kinds or "calls" in kinds:
            return "roles out of order; a tool's message follows the assistant's that calls it, then the assistant's"
        return "roles out of order; system may come first, then user and assistant in turn"
    return ""


def _spans(value: Any, messages: list[Message], places: Mapping[str, Place], faults: Faults) -> list[Planted]:
    if not isinstance(value, list):
        faults.append("spans must be a list of objects")
        return []
    spans = []
    for index, item in enumerate(value):
        place = _span_place(item, messages, places)
        if place is None:
            where = f"field (one of {', '.join(places)})" if places else "message (its index)"
            faults.append(f"spans[{index}] must be an object with {where}, start, end, entity_type, and nothing else")
            continue
        message, offset, length = place
        start, end, kind = item["start"], item["end"], item["entity_type"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
            faults.append(f"spans[{index}]: start and end must be whole numbers, 0 <= start < end <= length ({length})")
        elif not isinstance(kind, str) or not _ENTITY.fullmatch(kind):
            faults.append(f"spans[{index}]: entity_type must be in capital letters, digits and underscores")
        else:
            spans.append(Planted(message=message, start=offset + start, end=offset + end, entity_type=kind))
    return spans


def _span_place(item: Any, messages: list[Message], places: Mapping[str, Place]) -> Place | None:
    key = "field" if places else "message"
    if not isinstance(item, dict) or set(item) != {key, "start", "end", "entity_type"}:
        return None
    target = item[key]
    if places:
        return places.get(target) if isinstance(target, str) else None
    if type(target) is not int or not 0 <= target < len(messages):
        return None
    return target, 0, len(messages[target].content)


def _language(messages: list[Message]) -> Language:
    """Tell the language: Chinese from a share of .3, where a character counts as much as a word in another script."""
    text = " ".join(message.content for message in messages)
    if text.isascii():
        return "en"
    chinese = len(_CJK.findall(text))
    other = len(_WORD.findall(_CJK.sub(" ", text)))
    return "zh" if chinese and chinese / (chinese + other) >= 0.3 else "en"
