"""The application, its output and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from sdk import crypto
from sdk.characters import visible
from sdk.cli.progress import Bars
from sdk.cli.terminal import Terminal, json_text, styled
from sdk.errors import SDKError
from sdk.project import Project
from sdk.regular_files import KEY_BYTES, read_regular

EXIT_CODES = """\
Exit codes: 0 done; 1 advice: it does not fit or a need is not met; 2 bad input or wrong order; 3 refused by policy or
approvers; 4 something was tampered with; 5 a third party failed (memory, disk, registry); 130 interrupted."""

app = typer.Typer(
    name="sdk",
    help="Adapt an open language model to your own sensitive text, on your own hardware, with proof of what was done."
    "\n\n"
    "The way of the data: init, advise, scrub, train, evaluate, leaks, register, approve, promote, load. `sdk run` "
    "goes all of it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

ProjectOption = Annotated[
    Path, typer.Option("--project", "-p", envvar="SDK_PROJECT", help="The project's folder.", show_default="here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
HERE = Path()


class Output:
    """Results go to standard output, progress to standard error; with --json only JSON goes to standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
        self.console = Terminal(width)
        self.errors = Terminal(width, stderr=True)

    def show(self, *parts: RenderableType) -> None:
        if not self.as_json:
            self.console.print(*parts, sep="\n")

    def result(self, value: Any, *parts: RenderableType) -> None:
        """Print a result. value: JSON; parts: what a person sees instead."""
        if self.as_json:
            self.console.file.write(json_text(value) + "\n")
        else:
            self.show(*parts)

    def verbatim(self, text: str) -> None:
        """Print text to copy: no line of it is broken at the terminal's width."""
        if not self.as_json:
            self.console.print(text, style="dim", soft_wrap=True)

    def fail(self, error: SDKError) -> None:
        if self.as_json:
            self.result({"error": {"type": type(error).__name__, "message": error.message, "faults": error.faults}})
        else:
            message, *faults = error.lines()
            said = styled("[bold red]{}[/] {}", type(error).__name__, message)
            self.errors.print(Group(said, *(styled("{}", fault) for fault in faults)))


@contextmanager
def output(as_json: bool) -> Iterator[Output]:
    """Run a command's body: errors of ours become one message and their exit code."""
    out = Output(as_json)
    try:
        yield out
    except SDKError as error:
        out.fail(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        out.errors.print(styled("[yellow]Interrupted.[/] Nothing is lost; run the same command again and it goes on."))
        raise typer.Exit(130) from None


@contextmanager
def working(project: Path, as_json: bool) -> Iterator[tuple[Output, Project]]:
    """Run a command on an existing project, with a progress bar on standard error."""
    with output(as_json) as out, Bars(out.errors) as bars:
        yield out, Project.open(project, on_progress=bars)


def unlock(uri: str) -> None:
    """Ask for the passphrase of a protected key file, once, where a person sits at the terminal."""
    scheme, _, name = uri.partition(":")
    path = Path(name)
    if scheme != "file" or crypto.PASSPHRASE in os.environ or not sys.stdin.isatty() or not path.is_file():
        return
    if crypto.is_protected(read_regular(path, KEY_BYTES)):
        os.environ[crypto.PASSPHRASE] = typer.prompt(f"Passphrase of {visible(name)}", hide_input=True, err=True)


def given(context: typer.Context, option: str) -> bool:
    """Tell whether an option stands on the command line rather than at its default."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def main(arguments: list[str] | None = None) -> None:
    app(arguments)
