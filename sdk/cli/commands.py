"""One command for each verb of Project that has no module of its own."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it is no part of its stubs

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, output, unlock, working
from sdk.cli.doctor import examine
from sdk.cli.terminal import styled
from sdk.errors import Refused
from sdk.processes import access_to, free_port, run_in_front
from sdk.project import Project
from sdk.records import Decision, Release
from sdk.wording import counted

UI_PORT = 5000


@app.command()
def evaluate(project: ProjectOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Ask the domain's evaluation questions of the base and of the adapted model."""
    with working(project, json, quiet) as (out, opened):
        record = opened.evaluate()
        out.result(record.model_dump(mode="json"), show.scores(record))


@app.command()
def register(project: ProjectOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Seal the adapter (checksums, signature, encryption) and register the package in MLflow as `candidate`.

    MLflow is down? Nothing is lost; run it again later.
    """
    with working(project, json, quiet) as (out, opened):
        record = opened.register()
        out.result(record.model_dump(mode="json"), show.release(record))


PackageArgument = Annotated[
    str | None, typer.Argument(help="The beginning of the package's digest.", show_default="the newest release")
]


@app.command()
def explain(package: PackageArgument = None, project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Say whether a release may be served now, with every reason for and against; exit code 3 if it may not.

    Nothing is decided and nothing is recorded.
    """
    with working(project, json) as (out, opened):
        verdict = opened.explain(package)
        out.result(verdict.model_dump(mode="json"), show.verdict(verdict))
        if not verdict.allowed:
            raise typer.Exit(Refused.exit_code)


@app.command()
def approve(
    key: Annotated[str, typer.Option(help="The decider's private key: a key URI, such as file:PATH.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed and kept.")],
    package: PackageArgument = None,
    decision: Annotated[
        Decision, typer.Option(help="review, approve or reject; withdraw takes back what this person decided before.")
    ] = "approve",
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Sign a decision over a release: its package, the policy that it was sealed under, its report.

    Once everything that the policy asks for is there, the alias `champion` moves and `sdk load` serves it. What is
    still missing `sdk explain` says.
    """
    with working(project, json) as (out, opened):
        unlock(key)
        record = opened.approve(package, key=key, reason=reason, decision=decision)
        out.result(record.model_dump(mode="json"), show.approval(record), show.verdict(opened.explain(package)))


@app.command()
def promote(package: PackageArgument = None, project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Make a release the champion, if its approvals stand; with the digest of an earlier one this rolls back.

    Also tells MLflow again where it stands, after MLflow was down or somebody moved the alias there.
    """
    with working(project, json) as (out, opened):
        record = opened.promote(package)
        out.result(
            record.model_dump(mode="json"),
            styled(
                "[bold green]{}[/]: package sha256:{}, {}", record.status, record.package, "; ".join(record.decisions)
            ),
        )


@app.command()
def load(
    questions: Annotated[
        list[str] | None, typer.Argument(help="Questions; without any, they are read line by line.")
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify everything, decrypt in memory, and answer questions with the approved model."""
    with working(project, json, quiet) as (out, opened):
        model = opened.load()
        state = opened.state()
        if state.recorded_in != state.audit.folder and not json:
            out.errors.print(show.note(f"the project is read-only here; this load is recorded in {state.recorded_in}"))
        questions = questions or [line.strip() for line in sys.stdin if line.strip()]
        answers = model.generate(questions) if questions else []
        pairs = [{"question": q, "answer": a} for q, a in zip(questions, answers, strict=True)]
        out.result(pairs, *(part for pair in pairs for part in (styled("[dim]{}", pair["question"]), pair["answer"])))


app.command("generate", help="The same as `sdk load`.", hidden=True)(load)


@app.command()
def history(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Show who did what to which digest, when, under which policy, with what outcome. Reading it is an event too."""
    with working(project, json) as (out, opened):
        events = opened.history()
        out.result([event.model_dump(mode="json") for event in events], show.history(events))


@app.command()
def verify(
    root: Annotated[
        str | None, typer.Option(help="The project's root digest, as an earlier `sdk verify` printed it.")
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check the log, key rings, records, files, packages, decisions and MLflow; name the first thing that is wrong."""
    with output(json, quiet) as out, out.progress() as told:
        verified = Project.open(project, on_progress=told, root=root).verify()
        out.result(
            verified.model_dump(mode="json"),
            styled(
                "[bold green]Verified[/] {}, {}, {}, {}, {}.",
                counted(verified.events, "event"),
                counted(verified.records, "record"),
                counted(verified.files, "file"),
                counted(verified.packages, "package"),
                counted(verified.approvals, "decision"),
            ),
            *([styled("[dim]Papers of {} in plain.", counted(verified.exports, "export"))] if verified.exports else []),
            *map(show.note, verified.notes),
            styled(
                "[dim]Root {}. Keep it elsewhere, and the checkpoint below: they show a project that was replaced, and "
                "a log that was cut.",
                verified.root,
            ),
        )
        out.verbatim(verified.checkpoint.strip())


@app.command()
def ui(
    port: Annotated[
        int | None,
        typer.Option(help="Port on 127.0.0.1.", min=1, max=65535, show_default=f"{UI_PORT}, or a free one"),
    ] = None,
    project: ProjectOption = HERE,
) -> None:
    """Open the stock MLflow UI on this project's runs, models and reports."""
    with output(False) as out:
        opened = Project.open(project)
        chosen = free_port(port, UI_PORT)
        command, variables = opened.ui_command(chosen)
        taken = f"Port {UI_PORT} is in use, so this is another. " if port is None and chosen != UI_PORT else ""
        out.show(styled("{}MLflow UI on [bold]http://127.0.0.1:{}[/]  (Ctrl-C ends it)", taken, chosen))
        release = opened.state().find_latest(Release)
        if release is not None:
            for name, page in show.mlflow_pages(release).items():
                out.console.print(styled("[dim]{:<14}[/] http://127.0.0.1:{}/{}", name, chosen, page), soft_wrap=True)
        access = [name for value in variables.values() for name in access_to(value)]
        raise typer.Exit(run_in_front(command, variables, access))


@app.command()
def doctor(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Print what a bug report needs and nothing secret: versions, machine, project state."""

    with output(json) as out:
        facts = examine(project)
        out.result(facts, show.grid([(name, str(value)) for name, value in facts.items()]))


@app.command()
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], typer.Argument(help="The shell that is to complete.")
    ],
) -> None:
    """Print a script that lets a shell complete commands, options and their values.

    For bash write `eval "$(sdk completion bash)"` into ~/.bashrc, for zsh the same with `zsh` into ~/.zshrc after
    `compinit`; for fish `sdk completion fish > ~/.config/fish/completions/sdk.fish`.
    """
    with output(False) as out:
        script = get_completion_script(prog_name="sdk", complete_var="_SDK_COMPLETE", shell=shell)
        out.console.print(script, soft_wrap=True)
