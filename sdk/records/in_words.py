"""What pydantic finds wrong, as a person reads it: a field's rule in words instead of its regular expression."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic_core import ErrorDetails

_RULES: dict[str, str] = {}  # pattern -> what it asks for


def spelled(pattern: str, rule: str, **options: Any) -> Any:
    """Return a Field of text that has this pattern. rule: the same in words, behind "must be"; options: Field's."""
    _RULES[pattern] = rule
    return Field(pattern=pattern, **options)


def fault_text(item: ErrorDetails) -> str:
    """Say what one of pydantic's findings is; never the value."""
    if item["type"] == "string_pattern_mismatch":
        return f"must be {_RULES.get(item['ctx']['pattern'], 'spelled in another way')}"
    return item["msg"].removeprefix("Value error, ")
