"""Columns to messages: which layout a row has, what is wrong with it, where its spans end up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import Any

from sdk.data.rows import Faults, Language, Layout, Message, Planted, Raw, Row, Twice
from sdk.records import Role

Place = tuple[int, int, int]  # message, offset in it, length: where a column's text ended up
Parsed = tuple[list[Message], dict[str, Place]]

METADATA = ("id", "language", "topic", "spans")
LAYOUTS: dict[Layout, tuple[str, ...]] = {
    "alpaca": ("instruction", "input", "output"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt-completion": ("prompt", "completion"),
}
KNOWN = "; ".join(f"{layout}: {', '.join(columns)}" for layout, columns in LAYOUTS.items())
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_SHAREGPT_ROLES: dict[str, Role] = {"system": "system", "human": "user", "gpt": "assistant"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_ENTITY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"[^\W\d_]+")


def build_rows(raws: list[Raw], faults: Faults) -> tuple[Layout | None, list[Row]]:
    """Build every row that can be built; whatever is wrong goes to `faults`."""
    table_layout: Layout | None = None
    first = ""
    rows: list[Row] = []
    seen: dict[str, str] = {}
    for number, raw in enumerate(raws, 1):
        found: Faults = []
        fields = {key: value for key, value in raw.fields.items() if value is not None}
        row_id = _row_id(fields, number, found)
        layout = find_layout(raw.fields, found)
        if layout is not None and table_layout is None:
            table_layout, first = layout, raw.where
        if layout is not None and layout != table_layout:
            found.append(f"layout {layout}, but {first} has {table_layout}; keep one layout in a file")
        if row_id in seen:
            found.append(f"the same id as {seen[row_id]}; give each row an id of its own")
        seen.setdefault(row_id, raw.where)
        bad_text = _text_faults(raw.fields)
        row = _row(row_id, fields, layout, found) if layout is not None and not bad_text else None
        found += bad_text
        name = f", id {row_id}" if "id" in fields and row_id != f"row-{number}" else ""
        faults += [f"{raw.where}{name}: {fault}" for fault in found]
        if row is not None:
            rows.append(row)
    return table_layout, rows


def _row(row_id: str, fields: Mapping[str, Any], layout: Layout, faults: Faults) -> Row | None:
    before = len(faults)
    messages, places = _PARSERS[layout](fields, faults)
    if len(faults) == before:
        faults += _order_faults(messages)
    language, topic = fields.get("language"), fields.get("topic")
    if language not in (None, "en", "zh"):
        faults.append("language must be en or zh; leave it out to have it detected")
    if topic is not None and not isinstance(topic, str):
        faults.append("topic must be a string")
    spans = _spans(fields.get("spans", []), messages, places, faults) if len(faults) == before else []
    if len(faults) > before:
        return None
    language = language or _language(messages)
    return Row(id=row_id, language=language, messages=tuple(messages), spans=tuple(spans), topic=topic)


def _row_id(fields: Mapping[str, Any], number: int, faults: Faults) -> str:
    value = fields.get("id", f"row-{number}")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and value.strip() == value:
        return value
    faults.append("id must be a number or a string of 1 to 200 printable characters")
    return f"row-{number}"


def find_layout(columns: Iterable[str], faults: Faults) -> Layout | None:
    """The one layout whose columns these are; None, and a fault, if there is none or more than one."""
    columns = list(columns)
    found = [layout for layout, names in LAYOUTS.items() if set(names) & set(columns)]
    if len(found) > 1:
        faults.append(f"columns of several layouts ({', '.join(found)}); keep one")
        return None
    known = {*METADATA, *(LAYOUTS[found[0]] if found else ())}
    unknown = [shown(column) for column in columns if column not in known]
    if unknown:
        expected = ", ".join([*LAYOUTS[found[0]], *METADATA]) if found else f"{', '.join(METADATA)}; {KNOWN}"
        faults.append(f"unknown columns {', '.join(unknown)}; rename or remove them; known are {expected}")
    elif not found:
        faults.append(f"no column with text; known are {KNOWN}")
    return found[0] if found else None


def shown(name: str) -> str:
    """A name that could be anything else than a column's is not repeated: it may be customers' text."""
    return name if _NAME.fullmatch(name) else "(a name that is not shown)"


def _text_faults(fields: Mapping[str, Any]) -> Faults:
    faults: Faults = []
    if isinstance(fields, Twice):
        faults.append("a key is given twice; keep one")
    for key, value in fields.items():
        todo = [value]
        while todo:
            item = todo.pop()
            if isinstance(item, Twice):
                faults.append(f"{shown(key)}: a key is given twice; keep one")
            if isinstance(item, dict):
                todo += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                todo += item
            elif isinstance(item, str) and "\0" in item:
                faults.append(f"{shown(key)} holds a NUL character; remove it")
            elif isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item):
                faults.append(f"{shown(key)} holds half of a surrogate pair; write the whole character")
    return faults


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


def _chat(
    fields: Mapping[str, Any], column: str, role: str, content: str, roles: Mapping[str, Role], faults: Faults
) -> list[Message]:
    items = fields.get(column)
    if not isinstance(items, list) or not items:
        faults.append(f"{column} must be a list of messages, and not empty")
        return []
    messages = []
    for index, item in enumerate(items):
        place = f"{column}[{index}]"
        given = {k: v for k, v in item.items() if v is not None} if isinstance(item, dict) else {}
        if set(given) != {role, content} or not all(isinstance(value, str) for value in given.values()):
            faults.append(f"{place} must be an object with the strings {role} and {content}, and nothing else")
        elif given[role] not in roles:
            faults.append(f"{place}.{role} must be one of {', '.join(roles)}")
        elif not given[content].strip():
            faults.append(f"{place}.{content} is empty; fill it or remove the message")
        else:
            messages.append(Message(role=roles[given[role]], content=given[content]))
    return messages


_PARSERS: dict[Layout, Callable[[Mapping[str, Any], Faults], Parsed]] = {
    "alpaca": _alpaca,
    "messages": lambda fields, faults: (_chat(fields, "messages", "role", "content", _ROLES, faults), {}),
    "sharegpt": lambda fields, faults: (_chat(fields, "conversations", "from", "value", _SHAREGPT_ROLES, faults), {}),
    "prompt-completion": _prompt_completion,
}


def _order_faults(messages: list[Message]) -> Faults:
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if "assistant" not in turns:
        return ["no message of the assistant; training needs an answer"]
    if turns[-1] != "assistant":
        return ["the last message must be the assistant's; add the answer or remove the last message"]
    if any(role != expected for role, expected in zip(turns, cycle(("user", "assistant")), strict=False)):
        return ["roles out of order; system may come first, then user and assistant in turn"]
    return []


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
    """Chinese from a share of .3: a Chinese character counts as much as a word in another script."""
    text = " ".join(message.content for message in messages)
    chinese = len(_CJK.findall(text))
    other = len(_WORD.findall(_CJK.sub(" ", text)))
    return "zh" if chinese and chinese / (chinese + other) >= 0.3 else "en"
