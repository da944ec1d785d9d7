"""`sdk probe`, `sdk pilot`, `sdk predictions`: measured instead of predicted, and predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdk.cli import show_trials
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, working
from sdk.cli.own_columns import AnswerOption, DropOption, FormOption, LabelsOption, MapOption, read_columns
from sdk.cli.terminal import styled
from sdk.project import PILOT_MINUTES


@app.command()
def probe(
    data: Annotated[
        Path | None, typer.Option(help="Training rows.", show_default="those that were scrubbed, else the domain's")
    ] = None,
    mapping: MapOption = None,
    form: FormOption = None,
    answer: AnswerOption = None,
    labels: LabelsOption = None,
    drop: DropOption = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a pass of the longest row on this machine for each candidate; later advice uses it."""
    with working(project, json, quiet) as (out, opened):
        record = opened.probe(data=data, columns=read_columns(mapping, form, answer, labels, drop))
        out.result(
            record.model_dump(mode="json"),
            show_trials.calibration(record),
            styled("[dim]`sdk advise` takes it into account."),
        )


@app.command()
def pilot(
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes for the slowest candidate.")] = PILOT_MINUTES,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train each candidate for a little on the scrubbed rows, and compare; later advice uses it. No weights stay."""
    with working(project, json, quiet) as (out, opened):
        record = opened.pilot(minutes=minutes)
        out.result(
            record.model_dump(mode="json"),
            show_trials.pilot(record),
            styled("[dim]`sdk advise` takes it into account."),
        )


@app.command()
def predictions(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Show what was predicted of each training run here, beside what was measured."""
    with working(project, json) as (out, opened):
        tracks = [show_trials.track(run) for run in opened.predictions()]
        value: dict[str, Any] = {"runs": [one.as_json() for one in tracks]}
        for name in ("memory_gib", "tokens_per_second"):
            found = show_trials.errors([getattr(one, name) for one in tracks])
            value[f"{name}_error"] = found and found._asdict()
        out.result(value, show_trials.history(tracks))
