"""Options for what a project's rows ask of the domain's settings, and the table of what was taken from where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from sdk.cli.terminal import styled
from sdk.project.own_settings import settings_in_force
from sdk.project.state import ProjectState
from sdk.records import ALL, Metric
from sdk.wording import visible

OWN = "Rows of your own"  # a group of --help

DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Training rows: JSONL, JSON, CSV, Parquet, or a data.yaml.",
        rich_help_panel=OWN,
        show_default="the domain's",
    ),
]
EvalOption = Annotated[
    Path | None,
    typer.Option("--eval", help="Evaluation rows.", rich_help_panel=OWN, show_default="the domain's"),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        help="System message of every row that has none; '' for none.", rich_help_panel=OWN, show_default="the domain's"
    ),
]
MetricOption = Annotated[
    Metric | None, typer.Option(help="What floors are about.", rich_help_panel=OWN, show_default="the domain's")
]
MaxNewTokensOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Length of a generated answer, tokens.",
        rich_help_panel=OWN,
        show_default="room for the longest answer of your rows, else the domain's",
    ),
]
FloorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--floor",
        help="Least score: .55, base+.05 or majority+.02; of some: zh=.5, slices=.4. May be given again.",
        rich_help_panel=OWN,
        show_default="majority+0 for questions of your own, else the domain's",
    ),
]


def read_floors(given: list[str] | None) -> dict[str, list[str]] | None:
    """Read --floor as domain.yaml has it: 'all', 'slices' or a language -> floors. None where none was given."""
    floors: dict[str, list[str]] = {}
    for text in given or ():
        language, equals, floor = text.partition("=")
        floors.setdefault(language.strip() if equals else ALL, []).append(floor if equals else text)
    return floors or None


def taken(state: ProjectState) -> tuple[RenderableType, ...]:
    """Show what a project with rows or settings of its own takes from its domain, and what not; nothing of others."""
    settings = settings_in_force(state)
    if not settings:
        return ()
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold", style="dim")
    for setting in settings:
        table.add_row(*map(visible, setting))
    otherwise = styled(
        "[dim]Otherwise: --prompt, --metric, --max-new-tokens, --floor; now in domain/domain.yaml, put in force by "
        "`sdk adopt`."
    )
    return table, otherwise
