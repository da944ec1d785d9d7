"""What no record holds: how it travels through a template, how the text shows it, and the list at the end.

A missing record stands in its template as Absent. Whatever is asked of it is the same again, a condition on it is
false, a loop over it is empty, and printed it leaves a mark with what would answer it: a command, or a key of
documents.yaml.
After rendering, marks become "not recorded" with a number, in the order of their lines. The list is made of the marks,
so it cannot miss one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from jinja2 import ChainableUndefined

MARK: Final = "\x00"  # no text that is printed has one: `plain` takes control characters away
END: Final = "\x02"  # of what would answer it, which follows the mark
COUNT: Final = "\x01"  # stands for the number of gaps
SAID: Final = "not recorded"
TITLE: Final = "What is not recorded"
_CELL = re.compile(r"(?<!\\)\|")
_MARKED = re.compile(f"{MARK}([^{END}]*){END}")


class Absent(ChainableUndefined):
    """What is not there; made with what would answer it, in Markdown."""

    def __str__(self) -> str:
        return f"{MARK}{self._undefined_hint or ''}{END}"

    def __call__(self, *_: Any, **__: Any) -> Absent:  # type: ignore[override]
        return self


ABSENT: Final = Absent()


def number_gaps(text: str) -> str:
    """Number every mark of a text, and add the section that lists them.

    A cell of a table that lacks a part of what it would say says nothing else. Places of one line share a number.
    """
    lines: list[str] = []
    gaps: list[tuple[str, str, str]] = []  # section, what, what would answer it
    headings: dict[int, str] = {}
    for line in text.split("\n"):
        level = len(line) - len(line.lstrip("#"))
        if level:
            headings = {depth: title for depth, title in headings.items() if depth < level}
            headings[level] = line[level:].strip()
        elif MARK in line:
            section = " / ".join(title for depth, title in sorted(headings.items()) if depth > 1)
            answers = ", ".join(dict.fromkeys(filter(None, _MARKED.findall(line))))
            gaps.append((section or "the head of this document", _label(line), answers))
            line = _shown(line, f"**{SAID} ({len(gaps)})**")
        lines.append(line)
    return "\n".join(lines).replace(COUNT, str(len(gaps))).rstrip("\n") + "\n\n" + _listed(gaps)


def _label(line: str) -> str:
    """Say what a line is about: its first cell, or what stands before the first colon of an item."""
    first = _CELL.split(line)[1] if line.startswith("|") else line.removeprefix("- ").split(": ")[0]
    return "" if MARK in first else first.strip()


def _shown(line: str, gap: str) -> str:
    if not line.startswith("|"):
        return _MARKED.sub(gap, line)
    return "|".join(f" {gap} " if MARK in cell else cell for cell in _CELL.split(line))


def _listed(gaps: list[tuple[str, str, str]]) -> str:
    head = f"## {TITLE}\n\n"
    if not gaps:
        return head + "Nothing: every place of this document is filled.\n"
    rows = "".join(
        f"| {number} | {section} | {what} | {answer} |\n" for number, (section, what, answer) in enumerate(gaps, 1)
    )
    return (
        f"{head}What a command would record, and what a person has to declare under a key of `documents.yaml` in the "
        f"project's folder, and to answer for.\n\n| number | section | what | answered by |\n|---:|---|---|---|\n{rows}"
    )
