"""`sdk export` and `sdk check-export`: an approved release in plain, for other engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, working
from sdk.cli.terminal import styled
from sdk.records import ExportFormat, ExportType, MergeBase


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The new or empty folder.")],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="peft: the adapter; merged: whole weights for transformers and vLLM; gguf: whole weights for "
            "llama.cpp and Ollama; gguf-lora: the adapter for llama.cpp."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why plain weights leave; it is kept in the audit log.")],
    package: Annotated[
        str | None, typer.Option(help="The beginning of the package's digest.", show_default="the champion")
    ] = None,
    onto: Annotated[
        MergeBase,
        typer.Option(
            help="What the adapter is added to: the weights that it was trained on (of a QLoRA run quantized and "
            "multiplied out again), or the original ones."
        ),
    ] = "trained-base",
    dtype: Annotated[
        ExportType | None,
        typer.Option(help="The weights' type; q8_0 in GGUF only.", show_default="as the base stores them; in GGUF f16"),
    ] = None,
    converter: Annotated[
        Path | None, typer.Option(help="Folder of a llama.cpp checkout, or of the unpacked llama-cpp-python sdist.")
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write an approved release in plain, for engines that know nothing of this package.

    It ends the encryption, so the policy must allow it, and it is an event with a reason. What is written must behave
    like what was approved, in the engine that will serve it, or it is wiped and refused.
    """
    with working(project, json, quiet) as (out, opened):
        record = opened.export_model(
            folder, to=to, reason=reason, release=package, onto=onto, dtype=dtype, converter=converter
        )
        out.result(record.model_dump(mode="json"), show.export(record, folder))


@app.command()
def check_export(
    folder: Annotated[Path, typer.Argument(help="The exported folder.")],
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Check that an exported folder is what left, and that its parent may still be served; exit code 3 if not."""
    with working(project, json) as (out, opened):
        record = opened.check_export(folder)
        out.result(
            record.model_dump(mode="json"),
            styled(
                "[bold green]As it left[/]: {} of package sha256:{}, which may be served.",
                record.format,
                record.package,
            ),
        )
