"""The terminal, and the one way in which text that is not ours gets there.

Reasons, names, file names, messages, answers of a model: whoever wrote them could have written markup, which rich would
take for ours, or characters that steer a terminal. So markup stands in literal templates alone (`styled`), and a
`Terminal` shows every character that cannot be seen as its escape, whatever view it is in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sdk.wording import is_unseen, visible

_FIELD = re.compile(r"\{(?::([^{}]*))?\}")
_LAYOUT = "\n\t"  # what a view may be laid out with


class Terminal(Console):
    """rich's console, on which strings are text and nothing else."""

    def __init__(self, width: int | None, *, stderr: bool = False) -> None:
        super().__init__(width=width, stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make visible what a string holds before its width is measured."""
        return super().render_str(visible(text, _LAYOUT), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with everything visible in what views have made of strings themselves."""
        for segment in super().render(renderable, options):
            if segment.control:  # rich's own, as of a progress bar
                yield segment
            else:
                yield Segment(visible(segment.text, _LAYOUT), segment.style)


def styled(template: str, *values: object) -> Text:
    """Fill each {} of a literal template with markup by a value, which never is markup.

    A value gets the style of its place, and on one line: its line ends are shown. Text keeps its own styles besides. A
    format may follow as in {:.2f}.
    """
    marked = Text.from_markup(template, emoji=False)
    fields = list(_FIELD.finditer(marked.plain))
    whole, end = Text(), 0
    for field, value in zip(fields, values, strict=True):
        whole.append_text(marked[end : field.start()])
        whole.append_text(_filled(marked[field.start() : field.end()], value, field[1] or ""))
        end = field.end()
    whole.append_text(marked[end:])
    return whole


def _filled(place: Text, value: object, layout: str) -> Text:
    filled = value.copy() if isinstance(value, Text) else Text(visible(format(value, layout)))
    for span in place.spans:
        filled.stylize_before(span.style)
    return filled


def json_text(value: Any) -> str:
    """Write JSON for people and programs."""
    return escape_json(json.dumps(value, ensure_ascii=False, indent=2))


def escape_json(text: str) -> str:
    r"""Write what cannot be seen in JSON as \u escapes, which mean the same characters."""
    return "".join(json.dumps(each)[1:-1] if each != "\n" and is_unseen(each) else each for each in text)
