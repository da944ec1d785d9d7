"""The application, its output and its exit codes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from typer.completion import completion_init  # type: ignore[attr-defined]  # it is no part of its stubs
from typer.core import TyperGroup, TyperOption
from typer.exceptions import TyperException
from typer.main import get_command_name

from sdk import crypto
from sdk.cli.doctor import DISTRIBUTION, installed_version
from sdk.cli.old_forms import renew
from sdk.cli.progress import Progress, progress
from sdk.cli.terminal import Terminal, json_text, styled
from sdk.errors import InvalidInput, SDKError
from sdk.files.regular_files import KEY_BYTES, read_regular
from sdk.project import Project
from sdk.records import TEMPLATES
from sdk.wording import visible

EXIT_CODES = """\
Exit codes: 0 done; 1 advice: it does not fit or a need is not met; 2 bad input or wrong order; 3 refused by policy or
approvers; 4 something was tampered with; 5 a third party failed (memory, disk, registry); 130 interrupted."""

# The commands in the order in which somebody comes to them, by their groups in --help.
WAY = {
    "Begin": ("run", "init", "domain", "adopt", "estimate"),
    "Rows and settings": ("advise", "probe", "scrub", "review", "reveal", "pilot", "compare"),
    "Training and measuring": ("train", "predictions", "evaluate", "prepare", "benchmark", "leaks"),
    "Into production": ("register", "explain", "approve", "promote", "load", "generate", "export", "check-export"),
    "Looking and proving": ("history", "verify", "audit", "documents", "ui"),
    "Keys, policies, this machine": ("keys", "policy", "doctor", "completion"),
}


class Commands(TyperGroup):
    """A group of commands: an option without a value names no type, and with --json a usage error is JSON too."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in (self, *self.commands.values()):
            for parameter in (*command.params, command.get_help_option(typer.Context(command))):
                if isinstance(parameter, TyperOption) and parameter.is_bool_flag:
                    parameter.metavar = ""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except TyperException as error:
            if not as_json:
                raise
            Output(True).fail(InvalidInput(error.format_message()))
            raise typer.Exit(InvalidInput.exit_code) from None


class AllCommands(Commands):
    """The outermost group, which lists its commands in the order of WAY."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        there = self.commands
        self.commands = {name: there[name] for names in WAY.values() for name in names if name in there}
        for panel, names in WAY.items():
            for name in names:
                if name in self.commands:
                    vars(self.commands[name])["rich_help_panel"] = panel

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        words = renew(args)
        if words != args:
            Output(False).renamed(args, words)
        return super().resolve_command(ctx, words)


app = typer.Typer(
    name="sdk",
    cls=AllCommands,
    help="Adapt an open language model to your own sensitive text, on your own hardware, with proof of what was done."
    "\n\n"
    "The way of the data: init, scrub, advise, train, evaluate, leaks, register, approve, promote, load. `sdk run` "
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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress: the result or the error alone.")]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        help=f"Chat template instead of the base's: {', '.join(TEMPLATES)}.",
        show_default="the base's own; where it has none, alpaca's in the domain's first language",
    ),
]
HERE = Path()


def _show_version(wanted: bool) -> None:
    if wanted:
        Output(False).show(f"{DISTRIBUTION} {installed_version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def outermost(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


class Output:
    """Results go to standard output, progress to standard error; with --json only JSON goes to standard output."""

    def __init__(self, as_json: bool, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
        self.console = Terminal(width)
        self.errors = Terminal(width, stderr=True)

    def progress(self) -> Progress:
        return progress(self.errors, self.quiet)

    def show(self, *parts: RenderableType) -> None:
        """Print what comes before the result."""
        if not self.as_json and not self.quiet:
            self.console.print(*parts, sep="\n")

    def result(self, value: Any, *parts: RenderableType) -> None:
        """Print a result. value: JSON; parts: what a person sees instead."""
        if self.as_json:
            self.console.file.write(json_text(value) + "\n")
        else:
            self.console.print(*parts, sep="\n")

    def renamed(self, old: Sequence[str], new: Sequence[str]) -> None:
        """Say what a command of the version before is called now."""
        note = styled(
            "[yellow]note:[/] `sdk {}` is `sdk {}` now; the old form goes with 0.3.0.", shlex.join(old), shlex.join(new)
        )
        self.errors.print(note, soft_wrap=True)

    def warn(self, *notes: str) -> None:
        """Print what is to be known, in JSON mode too: on standard error."""
        if not self.quiet:
            for text in notes:
                self.errors.print(styled("[yellow]note:[/] {}", visible(text)), soft_wrap=True)

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
def output(as_json: bool, quiet: bool = False) -> Iterator[Output]:
    """Run a command's body: errors of ours become one message and their exit code."""
    out = Output(as_json, quiet)
    try:
        yield out
    except SDKError as error:
        out.fail(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        out.errors.print(styled("[yellow]Interrupted.[/] Nothing is lost; run the same command again and it goes on."))
        raise typer.Exit(130) from None


@contextmanager
def working(project: Path, as_json: bool, quiet: bool = False) -> Iterator[tuple[Output, Project]]:
    """Run a command on an existing project, with its progress on standard error."""
    with output(as_json, quiet) as out, out.progress() as told:
        yield out, Project.open(project, on_progress=told)


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
    completion_init()  # which typer does for applications that install their completion themselves
    _application(sys.argv[1:] if arguments is None else arguments)(arguments, prog_name="sdk")


def _application(arguments: list[str]) -> typer.Typer:
    """Return the application; where the first argument names a command, with that one only, since typer takes a tenth
    of a second to build them all.
    """
    first = renew(arguments)[0] if arguments else ""
    asked = [
        command
        for command in app.registered_commands
        if command.callback and first == (command.name or get_command_name(command.callback.__name__))
    ]
    if not asked:
        return app
    narrowed = copy(app)
    narrowed.registered_commands, narrowed.registered_groups = asked, []
    return narrowed
