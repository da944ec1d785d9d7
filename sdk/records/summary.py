"""What a record looks like to a person: a short table, as text and as HTML. Its JSON is its whole content."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sdk.html import escape
from sdk.wording import visible

MOST_CHARACTERS = 1500  # of a table as text
ROW_CHARACTERS = 190  # of one value
WIDTH = 76  # at which values are folded
LISTED = 6  # of many values, so many are shown
_DIGEST = re.compile(r"[0-9a-f]{64}")


@runtime_checkable
class Summarized(Protocol):
    """What says on one line what it is."""

    def brief(self) -> str: ...


def brief(value: object) -> str:
    """Write a value on one line: numbers to four digits, digests and long texts by their beginnings."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return _listed([f"{brief(name)} {brief(one)}" for name, one in [*value.items()][:LISTED]], len(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _listed([brief(one) for one in value[:LISTED]], len(value))
    text = value.brief() if isinstance(value, Summarized) else str(value)
    text = text[:12] if _DIGEST.fullmatch(text) else visible(" ".join(text.split()))
    return text if len(text) <= ROW_CHARACTERS else text[: ROW_CHARACTERS - 2].rstrip() + " …"


def _listed(parts: Sequence[str], count: int) -> str:
    shown = ", ".join(parts).replace("., ", ". ") or "none"
    return f"{shown} and {count - LISTED:,} more" if count > LISTED else shown


def span(low: float, expected: float, high: float) -> str:
    return f"{brief(expected)} ({brief(low)} to {brief(high)})"


def lines(title: str, rows: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return names and values, as many as the text has room for; a last one counts the others."""
    shown: list[tuple[str, str]] = []
    room = MOST_CHARACTERS - len(title) - 40
    width = max(map(len, rows), default=0) + 4
    for name, value in rows.items():
        text = brief(value if isinstance(value, str) else brief(value))
        room -= sum(width + len(line) + 1 for line in _folded(text))
        if room < 0:
            shown.append(("…", f"{len(rows) - len(shown)} more"))
            break
        shown.append((name, text))
    return tuple(shown)


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH) or [""]


def as_text(title: str, rows: Mapping[str, Any]) -> str:
    """Write the table as text, names to the left."""
    shown = lines(title, rows)
    width = max((len(name) for name, _ in shown), default=0)
    written = [title]
    for name, text in shown:
        first, *others = _folded(text)
        written.append(f"  {name:<{width}}  {first}".rstrip())
        written += [f"  {'':<{width}}  {line}" for line in others]
    return "\n".join(written)


def as_html(title: str, rows: Mapping[str, Any]) -> str:
    """Write the table as HTML for a notebook, in its own colours and without scripts."""
    name_style, text_style = "text-align:left;white-space:nowrap", "text-align:left"
    body = "".join(
        f'<tr><th style="{name_style}">{escape(name)}</th><td style="{text_style}">{escape(text)}</td></tr>'
        for name, text in lines(title, rows)
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{body}</tbody></table></div>"
