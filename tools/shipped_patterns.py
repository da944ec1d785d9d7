"""Compile the shipped recognizers' patterns and read off them what they require, so that nobody waits for either.

It writes sdk/domain/compiled_patterns.json and sdk/scrub/prefilter/shipped.json. A test says when it has to be run
again.

PYTHONHASHSEED=0 python -m tools.shipped_patterns
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import regex
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer

from sdk.domain import compiled_patterns
from sdk.files.store import shipped
from sdk.scrub.find.recognizers import read_recognizers
from sdk.scrub.prefilter import shipped as shipped_requirements
from sdk.scrub.prefilter.requirements import read_requirements


def versions() -> dict[str, str]:
    """Return the releases that the files follow from: whose patterns and whose compiler they are."""
    return {"regex": regex.__version__, "presidio_analyzer": version("presidio_analyzer")}


def requirements() -> list[list[Any]]:
    """Return of each pattern, with its flags, what it requires."""
    return [[*key, read_requirements(*key).as_json()] for key in _patterns()]


def compiled() -> list[list[Any]]:
    """Return the compiled form of each pattern, of each pattern over shapes, and of what Presidio compiles at import.

    `regex` writes sets in the order of their hashes, so it follows from PYTHONHASHSEED, and so does nothing else.
    """
    patterns = _patterns()
    shapes = {shape for key in patterns if (shape := read_requirements(*key).shape) is not None}
    keys = [*patterns, *((pattern, 0) for pattern in sorted(shapes | _of_presidio()))]
    return [[key[0], *compiled_patterns.stored_form(*key)] for key in keys]


def _patterns() -> list[tuple[str, int]]:
    return sorted(
        {
            (pattern.regex, int(recognizer.global_regex_flags))
            for path in shipped("domains").glob("*/recognizers.yaml")
            for recognizer in read_recognizers(path).recognizers
            if isinstance(recognizer, PatternRecognizer)
            for pattern in recognizer.patterns
        }
    )


def _of_presidio() -> set[str]:
    """Return the patterns of Presidio's own classes."""
    classes: list[type[EntityRecognizer]] = [EntityRecognizer]
    for each in classes:
        classes += each.__subclasses__()
    values = [value for each in classes for value in vars(each).values() if isinstance(value, list)]
    return {pattern.regex for value in values for pattern in value if isinstance(pattern, Pattern)}


def _lines(patterns: Sequence[Any]) -> str:
    """Write a pattern a line, so that a change shows which are concerned."""
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, sort_keys=True) for each in patterns)
    made_with = json.dumps(versions())[1:-1]
    return f'{{{made_with}, "patterns": [\n{lines}\n]}}\n'


def main() -> None:
    shipped_requirements.FILE.write_text(_lines(requirements()), encoding="utf-8")
    compiled_patterns.FILE.write_text(_lines(compiled()), encoding="utf-8")


if __name__ == "__main__":
    main()
