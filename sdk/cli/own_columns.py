"""Options that say which of a file's own columns its rows are made of; every command that reads rows has them."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sdk.errors import InvalidInput
from sdk.records import Columns

OWN = "Columns of your own"  # a group of --help

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Names that a layout knows, and your columns: instruction=question,input=context,output=answer; inside a "
        "column by dots.",
        rich_help_panel=OWN,
        show_default="told from the names",
    ),
]
FormOption = Annotated[
    str | None,
    typer.Option(
        help=r"Instead of --map, the question with columns in braces: 'Question: {question}\nAbstract: {context}'.",
        rich_help_panel=OWN,
    ),
]
AnswerOption = Annotated[
    str | None, typer.Option(help="With --form: the column of the answer, or a form of it.", rich_help_panel=OWN)
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        help="What the numbers of a column, from 0 on, are called: answer=A,B,C,D.",
        rich_help_panel=OWN,
        show_default="none",
    ),
]
DropOption = Annotated[
    list[str] | None,
    typer.Option("--drop", help="Columns to leave out, with commas.", rich_help_panel=OWN, show_default="none"),
]

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def read_columns(
    mapping: list[str] | None, form: str | None, answer: str | None, labels: list[str] | None, drop: list[str] | None
) -> Columns | None:
    """Read these options. None where none was given; InvalidInput lists what cannot be read."""
    if not (mapping or labels or drop) and form is None and answer is None:
        return None
    faults: list[str] = []
    pairs = _pairs("--map", [part for value in mapping or [] for part in value.split(",")], faults)
    named = _pairs("--labels", labels or [], faults)
    if faults:
        raise InvalidInput("These columns cannot be read.", faults)
    return Columns(
        map=pairs,
        form=_unescaped(form),
        answer=_unescaped(answer),
        labels={column: tuple(name.strip() for name in names.split(",")) for column, names in named.items()},
        drop=tuple(name.strip() for value in drop or [] for name in value.split(",") if name.strip()),
    )


def _pairs(option: str, parts: list[str], faults: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            faults.append(
                f"{option} {part}: write NAME=COLUMN" if option == "--map" else f"{option} {part}: write COLUMN=A,B"
            )
        elif name in pairs:
            faults.append(f"{option}: {name} is given twice")
        pairs[name] = value
    return pairs


def _unescaped(form: str | None) -> str | None:
    r"""Return a form with line breaks and tabs, which a shell passes on as \n and \t."""
    return None if form is None else re.sub(r"\\([nt\\])", lambda found: _ESCAPES[found[1]], form)
