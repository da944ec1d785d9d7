"""`sdk audit`: read, check, hand over and prove what the audit log says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sdk.cli import show
from sdk.cli.app import HERE, Commands, JsonOption, ProjectOption, app, output, working
from sdk.cli.terminal import escape_json, styled
from sdk.files.store import write_atomic
from sdk.project import Project
from sdk.wording import counted

audit = typer.Typer(
    help="The audit log: who did what to which digest, and proof of it.", cls=Commands, no_args_is_help=True
)
app.add_typer(audit, name="audit")


@audit.command()
def tail(
    number: Annotated[int, typer.Option("--number", "-n", help="How many events.", min=1)] = 20,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Show the newest events. That they were read is an event too."""
    with output(json) as out:
        events = Project.open(project).history()[-number:]
        out.result([event.model_dump(mode="json") for event in events], show.history(events))


@audit.command()
def verify(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Check the log alone: every line, its tree, the signed checkpoint and every holder of an earlier one."""
    with working(project, json) as (out, opened):
        state = opened.state()
        checkpoint = state.audit.checkpoint().decode()
        notes = state.notes()
        out.result(
            {
                "events": len(state.events),
                "root": state.charter.root,
                "checkpoint": checkpoint,
                "keep_until": state.keep_until(),
                "notes": notes,
            },
            styled(
                "[bold green]Verified[/] {} of the log {}; the policy {} keeps them until {} or longer.",
                counted(len(state.events), "event"),
                state.audit.origin,
                state.charter.policy,
                state.keep_until(),
            ),
            *map(show.note, notes),
        )
        out.verbatim(checkpoint.strip())


@audit.command()
def export(
    form: Annotated[
        Literal["jsonl", "ocsf"], typer.Option("--format", help="jsonl: as it is; ocsf: for a SIEM.")
    ] = "jsonl",
    to: Annotated[Path | None, typer.Option(help="The new file.", show_default="standard output")] = None,
    project: ProjectOption = HERE,
) -> None:
    """Hand the events over to another system. An event."""
    with output(False) as out:
        lines = Project.open(project).export_log(form)
        if to is None:
            # To a file or a pipe as it is, byte for byte; in front of a person nothing may steer the terminal.
            text = lines.decode()
            sys.stdout.write(escape_json(text) if sys.stdout.isatty() else text)
        else:
            write_atomic(to, lines)
            out.show(styled("Wrote [bold]{}[/].", to))


@audit.command()
def prove(
    seq: Annotated[int, typer.Argument(help="The event's number, as `sdk audit tail` shows it.", min=0)],
    to: Annotated[Path, typer.Option(help="Folder for the two files.")] = HERE,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Prove that one event is in the log, without showing any other: its line, and a C2SP tlog-proof."""
    with output(json) as out:
        line, proof = Project.open(project).prove(seq)
        names = [to / f"event-{seq}.json", to / f"event-{seq}.tlog-proof"]
        for name, data in zip(names, (line, proof), strict=True):
            write_atomic(name, data)
        out.result([str(name) for name in names], *(styled("Wrote [bold]{}[/].", name) for name in names))
