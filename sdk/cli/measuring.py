"""`sdk probe`, `pilot`, `compare` and `predictions`: measured instead of predicted, and predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdk.cli import show_trials
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, working
from sdk.cli.own_columns import AnswerOption, DropOption, FormOption, LabelsOption, MapOption, read_columns
from sdk.cli.terminal import styled
from sdk.project import COMPARE_MINUTES, PILOT_MINUTES


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
def compare(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[METHOD]...",
            help="lora, qlora-4bit, qlora-8bit, lora-fp8, qlora-4bit-high-rank, dora.",
            show_default="all of them",
        ),
    ] = None,
    budget: Annotated[float, typer.Option(min=0.1, help="Minutes for all runs together.")] = COMPARE_MINUTES,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Runs of each method.")] = 3,
    need: Annotated[
        str | None,
        typer.Option(
            help="What is asked of a method: 'within 1 point of the best' or 'at least 0.6'.",
            show_default="the domain's accuracy, against 16-bit LoRA",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=3, help="Optimizer steps of each run.", show_default="as many as the budget leaves"),
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare training methods on the scrubbed rows: as many tokens each, several seeds, and which is enough.

    Questions are held out of the training rows; none of the evaluation's is asked. Memory and speed are shown beside
    what was predicted. No weights stay. Interrupted, the same command goes on with what had not finished.
    """
    with working(project, json, quiet) as (out, opened):
        record = opened.compare_training_methods(methods, budget=budget, seeds=seeds, need=need, steps=steps)
        page = opened.root / "artifacts" / record.step / record.request[:16] / "comparison.html"
        out.result(
            record.model_dump(mode="json"),
            show_trials.comparison(record),
            styled("[dim]{}", page),
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
