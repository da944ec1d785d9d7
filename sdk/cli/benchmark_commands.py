"""`sdk prepare` and `sdk benchmark`: public benchmarks from local files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, output, working
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput
from sdk.project.preparing import prepare_benchmark
from sdk.records import ALL, SAFETY, BenchmarkResult, Benchmarks, BenchmarkSettings, MetricScores, PairedChange
from sdk.wording import visible

FIELDS = BenchmarkSettings.model_fields


@app.command("prepare")
def prepare_file(
    name: Annotated[str, typer.Argument(help="The benchmark, such as mmlu.")],
    sources: Annotated[list[Path], typer.Argument(help="Files or folders as they were published.")],
    out: Annotated[Path, typer.Option(help="The prepared file.", show_default="NAME.jsonl here")] = Path(),
    json: JsonOption = False,
) -> None:
    """Prepare a public benchmark: one file from the forms in which people have it, and its SHA-256.

    JSONL, JSON, CSV and Parquet, also as .gz. The same files give the same bytes, so that the digest can be pinned with
    `sdk benchmark --pin`. Nothing is fetched.
    """
    with output(json) as shown:
        made = prepare_benchmark(name, sources, Path(f"{name}.jsonl") if out == Path() else out)
        path = str(made.path)
        shown.result(
            {"benchmark": name, "path": path, "sha256": made.sha256, "questions": made.questions},
            styled("{}: {} questions, {} examples", path, f"{made.questions:,}", f"{made.examples:,}"),
            styled("[dim]sdk benchmark {}={} --pin {}={}", name, path, name, made.sha256),
        )


@app.command()
def benchmark(
    files: Annotated[
        list[str],
        typer.Argument(metavar="NAME=PATH...", help="Benchmarks with their prepared files; safety, which has none."),
    ],
    pin: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHA256", help="Digest that a file must have. May be given again.")
    ] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="Render prompts by the chat template.")
    ] = False,
    num_fewshot: Annotated[
        int | None, typer.Option(min=0, help="Examples before each question.", show_default="the benchmark's own")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first questions of each subset only.", show_default="all")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at once.")] = FIELDS["batch_size"].default,
    run_model_code: Annotated[
        bool, typer.Option("--run-model-code", help="Run the programs that the model writes, in a sandbox (humaneval).")
    ] = False,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put public benchmarks to the base and to the adapted model, scored by lm-evaluation-harness.

    Files come from `sdk prepare`; nothing is fetched. Questions that nearly repeat a training row are named. `safety`
    are probes that ship: harmful requests, and medical questions that cannot be answered from what is given. Where the
    policy bounds what may be forgotten, it is told whether that is kept.
    """
    with working(project, json, quiet) as (out, opened):
        record = opened.benchmark(
            _pairs([file for file in files if file != SAFETY]),
            safety=SAFETY in files,
            pins=_pairs(pin or ()),
            chat_template=chat_template,
            num_fewshot=num_fewshot,
            limit=limit,
            batch_size=batch_size,
            run_model_code=run_model_code,
        )
        kept = opened.forgetting()
        told = {name: change.model_dump(mode="json") if change else None for name, change in kept.items()}
        out.result(record.model_dump(mode="json") | {"forgetting": told}, benchmarks(record, kept))


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise InvalidInput(f"{text[:64]!r} is not NAME=VALUE, such as mmlu=mmlu.jsonl.")
        if name in pairs:
            raise InvalidInput(f"{name[:64]} is given twice.")
        pairs[name] = value
    return pairs


OUTCOMES = {"kept": "green", "lost": "red", "cannot be told": "yellow"}


def benchmarks(record: Benchmarks, kept: Mapping[str, PairedChange | None]) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("benchmark", "questions", "metric", "base → adapted", "95 % interval"):
        table.add_column(column, justify="right" if column == "questions" else "left", no_wrap=True)
    for name, result in record.results.items():
        for group, metric, row in _rows(result):
            table.add_row(
                visible(name if group == ALL else f"  {group}") if metric == result.metrics[0] else "",
                f"{row.questions:,}",
                metric,
                styled("{:.3f} → [bold green]{:.3f}", row.base.value, row.adapted.value),
                styled("[dim]{:.3f} to {:.3f}", row.adapted.low, row.adapted.high),
            )
    repeated = [
        Text(f"contamination, {name}: {visible(result.overlap.brief())}", "yellow")
        for name, result in record.results.items()
        if result.overlap.near_duplicates
    ]
    forgotten = [
        Text(f"forgetting, {name}: {change.text()}", OUTCOMES[change.outcome])
        for name, change in kept.items()
        if change
    ]
    template = "with the base's" if record.settings.chat_template else "without a"
    scored = [f"lm-evaluation-harness {record.engine}, {template} chat template"] if record.engine else []
    if SAFETY in record.results:
        scored.append("safety by the domain's prompt and the base's chat template")
    return Group(
        table,
        *repeated,
        *forgotten,
        styled("[dim]{}; intervals of shares exact, else by bootstrap", "; ".join(scored)),
    )


def _rows(result: BenchmarkResult) -> list[tuple[str, str, MetricScores]]:
    groups = next(iter(result.scores.values()))
    return [(group, metric, result.scores[metric][group]) for group in groups for metric in result.metrics]
