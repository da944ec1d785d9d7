"""Templates to Markdown. Everything that a template prints is escaped, so no record can write markup of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError, Undefined
from markupsafe import Markup

from sdk.documents.gaps import ABSENT, COUNT, Absent, number_gaps
from sdk.errors import InvalidInput
from sdk.intervals import share
from sdk.records import Hardware, Interval, Recall
from sdk.wording import visible

FOLDER = Path(__file__).parent
SUFFIX = ".md.jinja"
_COUNT = Markup(COUNT)  # noqa: S704 - a constant
_MARKUP = re.compile(r"([\\`*_\[\]<>|&~#])")


def plain(text: str) -> str:
    """Write text as one line in which every character can be seen."""
    return visible(" ".join(text.split()))


def escaped(text: str) -> Markup:
    """Escape text so that it means itself in Markdown, also in a cell of a table."""
    return Markup(_MARKUP.sub(r"\\\1", plain(text)))  # noqa: S704 - escaped


def code(text: str) -> Markup:
    """Write a code span: fenced by more backticks than it holds (CommonMark 6.1); a bar would end a table's cell."""
    inside = plain(text).replace("|", r"\|")
    if not inside:
        return Markup()
    fence = "`" * (max((len(run) for run in re.findall("`+", inside)), default=0) + 1)
    pad = " " if "`" in inside else ""
    return Markup(f"{fence}{pad}{inside}{pad}{fence}")  # noqa: S704 - a code span


def _number(value: float, unit: str = "") -> str:
    """Write a number: thousands are grouped, with four digits where there are decimals."""
    shown = f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
    return f"{shown} {unit}" if unit else shown


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return _number(seconds / size, unit)
    return _number(seconds, "s")


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"


def _recall(value: Recall) -> str:
    """Write found of planted, and the share with its exact 95 % limits."""
    if not value.planted:
        return "none planted"
    shown = share(value.found, value.planted)
    return f"{value.found:,} of {value.planted:,}; {shown.value:.3f} ({shown.low:.3f} to {shown.high:.3f})"


def _codes(values: Any) -> Markup | str:
    return Markup(", ").join(code(str(value)) for value in values) if values else "none"


def _listed(values: Any) -> str:
    """Join values to what a reader sees as one list; "none" where it is empty."""
    return ", ".join(_text(value) for value in values) if values else "none"


def _text(value: Any) -> str:
    """Write a value of a record or a policy, for a reader."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value)
    return _listed(value) if isinstance(value, tuple | list) else str(value)


class DeclaredText(str):
    """A person's words, which are set apart from what records say."""


def _finalize(value: Any) -> Markup:
    """Write what the result of an expression prints; a name that no record has raises UndefinedError."""
    if value is None:
        value = ABSENT
    if isinstance(value, Absent):
        return Markup(str(value))  # noqa: S704 - made here and in facts.py
    if isinstance(value, DeclaredText):
        return Markup(f"*{escaped(value)}*")  # noqa: S704 - escaped
    if isinstance(value, Undefined):
        str(value)
    return value if isinstance(value, Markup) else escaped(_text(value))


def _of_recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter that lets pass what is not recorded."""

    @wraps(function)
    def filtered(value: Any, *arguments: Any) -> Any:
        return value if value is None or isinstance(value, Absent) else function(value, *arguments)

    return filtered


def _hardware(value: Hardware) -> str:
    machine = f"{value.cpu_cores} CPU cores, {value.ram_gib:.4g} GiB of memory"
    gpus = f"{value.gpu_count} x {value.gpu}, {value.gpu_memory_gib:.4g} GiB each; " if value.gpu_count else "no GPU; "
    return gpus + machine


def _setting(value: Any) -> Any:
    """Write a setting: None means that it is off, not that nobody knows."""
    return value if isinstance(value, Absent) else _text(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "bytes": lambda files: _number(sum(file.size for file in files), "bytes"),
    "code": lambda value: code(str(value)),
    "codes": _codes,
    "duration": _duration,
    "hardware": _hardware,
    "how_many": len,
    "interval": Interval.text,
    "listed": _listed,
    "minute": lambda time: f"{time[:16].replace('T', ' ')} UTC",  # of a time in ISO 8601
    "number": _number,
    "percent": _percent,
    "recall": _recall,
    "sorted": lambda named: sorted(named.items()),
    "total": lambda counts: sum(counts.values()),
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        finalize=_finalize,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({name: _of_recorded(function) for name, function in FILTERS.items()})
    environment.filters["setting"] = _setting
    environment.globals["gap_count"] = _COUNT
    return environment


def render(name: str, facts: Mapping[str, Any]) -> str:
    """Write the document of one template, its gaps numbered and listed; InvalidInput where the template is wrong."""
    try:
        text = _environment().get_template(name + SUFFIX).render(facts)
    except TemplateSyntaxError as error:
        raise InvalidInput(f"{name}{SUFFIX} line {error.lineno}: {error.message}") from None
    except TemplateError as error:
        raise InvalidInput(f"{name}{SUFFIX}: {error.message}") from None
    return number_gaps(re.sub(r"\n{3,}", "\n\n", text))
