"""Values of any type whose every text is an attack on a terminal, a report or a page."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from sdk.audit import Event
from sdk.documents.dossier import Happened

# rich's markup, a title and a colour of the terminal, its one-byte form, a turned line, what is not drawn, HTML
MARKUP = "[/x][bold red]<script>alert(1)</script>"
ESCAPES = "\x1b[31m\x1b]0;own\x07\x9b2J\u202e\u200b\u3164\x00\r"
HOSTILE = MARKUP + ESCAPES
TIME = "2026-11-30T09:00:00.000+00:00"
TIMES = {"time", "valid_from", "valid_until", "expires"}
# Names of settings, and of what scores are over: which ones there are is decided here, not by who wrote a record.
KEYS: dict[str, tuple[str, ...]] = {"reasons": ("method", "lora_r")}


def hostile(kind: Any, name: str = "") -> Any:
    """A value of this type, as far as types say; `name`: of the field that it is for."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return hostile(arguments[0], name)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return hostile(next(one for one in arguments if one is not type(None)), name)
    if origin is tuple:
        parts = arguments if arguments[-1] is not Ellipsis else (arguments[0], arguments[0])
        return tuple(hostile(one, name) for one in parts)
    if origin in (list, Sequence):
        return [hostile(arguments[0], name)] * 2
    if origin in (dict, Mapping):
        keys = KEYS.get(name) or ((HOSTILE, "all") if arguments[0] is str else (hostile(arguments[0]),))
        return {key: hostile(arguments[1], name) for key in keys}
    return _plain(kind, name)


def _plain(kind: Any, name: str) -> Any:
    simple = {str: TIME if name in TIMES else HOSTILE, int: 2, float: 0.5, bool: True, Any: HOSTILE, object: HOSTILE}
    if kind in simple:
        return simple[kind]
    if kind is Path:
        return Path("folder") / HOSTILE.replace("/", "").replace("\0", "")
    if kind in (None, type(None)):
        return None
    if kind is bytes:
        return HOSTILE.encode()
    if kind is Happened:
        return hostile(Event)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        values = {
            field: hostile(hint, field) for field, hint in get_type_hints(kind).items() if field in kind.model_fields
        }
        return kind.model_construct(**values)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return kind(**{field: hostile(hint, field) for field, hint in get_type_hints(kind).items()})
    raise TypeError(kind)
