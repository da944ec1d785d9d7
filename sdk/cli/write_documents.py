"""`sdk documents`: what the records say, in the order that rules and conventions ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdk.cli.app import HERE, JsonOption, ProjectOption, app, working
from sdk.cli.terminal import styled
from sdk.files.store import DECLARATIONS


@app.command()
def documents(
    project: ProjectOption = HERE,
    out: Annotated[
        Path | None, typer.Option(help="Folder for them.", show_default="documents in the project's folder")
    ] = None,
    form: Annotated[
        Literal["html", "md", "both"], typer.Option("--format", help="Pages that a browser prints, Markdown, or both.")
    ] = "both",
    json: JsonOption = False,
) -> None:
    """Write model card, EU AI Act Annex IV file, SR 26-2 document, HIPAA statement and data sheet of the newest model.

    With them its safety validation and performance evaluation, in English and Chinese side by side. They are written
    from records. What no record can hold comes from `documents.yaml` in the project's folder, which is written with
    every key the first time; what is in neither is marked "not recorded" and listed at the end of each. None of them
    is legal advice.
    """
    with working(project, json) as (output, opened):
        paths = opened.documents(out, form)
        answers = styled("Answer what is not recorded in {}, and run this again.", project / DECLARATIONS)
        output.result([str(path) for path in paths], *map(str, paths), answers)
