"""`sdk scrub`, and what is done with scrubbed rows: `sdk review`, `sdk reveal`.

Here and beside, a command has a parameter for each of its options, however many: typer reads them from the signature.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, output, working
from sdk.cli.own_columns import AnswerOption, DropOption, FormOption, LabelsOption, MapOption, read_columns
from sdk.cli.review_rows import review as ask
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput
from sdk.project import Project


@app.command()
def scrub(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Training rows (JSONL, JSON, CSV, Parquet, or a data.yaml), or running text (.txt, .md, .html, a "
            "folder of them).",
            show_default="the domain's",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="Evaluation rows.", show_default="the domain's")
    ] = None,
    skip_detectors: Annotated[
        bool, typer.Option("--skip-detectors", help="Leave personal data in; only where the policy allows it.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes that scrub, each with a detector of its own; the result is the same.", min=1)
    ] = 1,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: processes on this machine; ray: actors of a Ray cluster (pip extra ray)."),
    ] = "local",
    mix: Annotated[
        float | None,
        typer.Option(
            help="With running text: the share of all characters that conversations shall have.", show_default="none"
        ),
    ] = None,
    mix_data: Annotated[
        Path | None, typer.Option(help="With --mix: rows to draw them from.", show_default="the domain's")
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
    """Find personal data with Presidio and remove it as the policy says.

    Layouts are detected: alpaca (instruction, input, output), OpenAI messages, sharegpt conversations, prompt and
    completion, text; beside the messages, metadata of any shape. Columns of your own are named with --map or --form; a
    data.yaml in a file's place lists several files, each with its columns and share. Counts and offsets are recorded,
    text never. Files are streamed, so they may be larger than memory; after an interruption the same command goes on.
    """
    with working(project, json, quiet) as (out, opened):
        columns = read_columns(mapping, form, answer, labels, drop)
        with suppress(InvalidInput):  # which scrubbing raises, too, and records
            out.warn(*opened.foresee(data, evaluation, columns=columns))
            out.warn(*opened.borrowed(data, evaluation, columns=columns))
        record = opened.scrub(
            data,
            evaluation,
            detect=not skip_detectors,
            columns=columns,
            mix=mix,
            mix_data=mix_data,
            workers=workers,
            engine=engine,
        )
        page = opened.state().folder(record) / "report.html"
        out.result(record.model_dump(mode="json"), show.scrubbed(record), styled("[dim]report[/] {}", page))


@app.command()
def review(
    rows: Annotated[
        int | None, typer.Argument(help="Rows of the sample.", show_default="as many as the bound needs")
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option(
            help="Share of rows with a miss that is to be shown not to be exceeded; instead of ROWS.",
            show_default="the policy's scrub.max_miss_rate, else 0.01",
        ),
    ] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who looks.", show_default="the user")] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Look for misses in a sample of the scrubbed rows; what was seen gives a 95 % bound.

    Each row is shown and asked about; `q` stops, and the same command goes on another time.
    """
    with output(json) as out:
        ask(Project.open(project), out, rows, bound, reviewer, json)


@app.command()
def reveal(
    token: Annotated[str, typer.Argument(help="A token of the scrubbed rows, in quotation marks.")],
    reason: Annotated[str, typer.Option(help="Why the value is revealed; kept in the audit log.")],
    project: ProjectOption = HERE,
) -> None:
    """Show the value behind a token, where the policy lets its kind be reversed. An event.

    The value is for the terminal alone, so there is no --json.
    """
    with working(project, False) as (out, opened):
        value = opened.reveal(token, reason=reason)
        out.console.print(value, soft_wrap=True)
