"""The shipped recognizers' regular expressions, compiled beforehand: at run time that takes `regex` a second and more.

compiled_patterns.json holds what that package itself stores of a compiled pattern, written by tools/shipped_patterns.py
with the release that it names; with another release nothing of it is used. It is a part of this package, as safe as its
code, and read from nowhere else: a compiled pattern of a stranger could have the matcher read memory that is no text.
"""

from __future__ import annotations

import functools
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import regex
from regex import _regex

from sdk.files.regular_files import read_shipped

FILE = Path(__file__).with_name("compiled_patterns.json")
_compile = regex.compile
MOST = 4096  # compiled patterns that are kept; a domain has some hundreds


@functools.lru_cache(maxsize=MOST)
def compiled(pattern: str, flags: int) -> regex.Pattern[str]:
    """Compile a pattern, or take it as it was compiled. Raises regex.error where it is none."""
    stored = _stored().get(pattern, {}).get(flags)
    return _compile(pattern, flags) if stored is None else _made_of(pattern, stored)


def require_pattern(pattern: str) -> None:
    """Raise regex.error where a text is no pattern. What was compiled beforehand is one."""
    if pattern not in _stored():
        _compile(pattern)


@contextmanager
def used_by_regex() -> Iterator[None]:
    """Have `regex.compile` itself take what was compiled beforehand, while a library with patterns is imported."""

    def compile_or_take(pattern: Any, flags: int = 0, **others: Any) -> Any:
        if others or not isinstance(pattern, str):
            return _compile(pattern, flags, **others)
        return compiled(pattern, int(flags))

    regex.compile = compile_or_take  # type: ignore[assignment]
    try:
        yield
    finally:
        regex.compile = _compile


def stored_form(pattern: str, flags: int) -> list[Any]:
    """Return what the file holds of a pattern, beside the pattern itself and the flags that it was asked with."""
    data = _compile(pattern, flags)._pickled_data  # type: ignore[attr-defined]
    _, all_flags, code, groups, _, _, _, offset, characters, character_flags, count = data
    characters = None if characters is None else list(characters)  # of a text that a match must have
    return [flags, all_flags, b64encode(code).decode(), groups, offset, characters, character_flags, count]


def _made_of(pattern: str, stored: list[Any]) -> regex.Pattern[str]:
    flags, code, groups, offset, characters, character_flags, count = stored
    names = {number: name for name, number in groups.items()}
    made: regex.Pattern[str] = _regex.compile(  # type: ignore[attr-defined]
        *(pattern, flags, b64decode(code), groups, names, {}, []),
        *(offset, None if characters is None else tuple(characters), character_flags, count),
    )
    return made


def of_this_release(file: Path) -> list[list[Any]]:
    """Return the patterns of a file that tools/shipped_patterns.py wrote; none where another release of regex runs."""
    document = json.loads(read_shipped(file))
    patterns: list[list[Any]] = document["patterns"] if document["regex"] == regex.__version__ else []
    return patterns


@functools.lru_cache(maxsize=1)
def _stored() -> dict[str, dict[int, list[Any]]]:
    """Return pattern -> the flags that it was asked with -> the rest."""
    stored: dict[str, dict[int, list[Any]]] = {}
    for pattern, flags, *rest in of_this_release(FILE):
        stored.setdefault(pattern, {})[flags] = rest
    return stored
