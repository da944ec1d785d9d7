"""One command for each verb of Project that has no module of its own.

Here and beside, a command has a parameter for each of its options, however many: typer reads them from the signature.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, app, given, output, unlock, working
from sdk.cli.doctor import examine
from sdk.cli.progress import Bars
from sdk.cli.review_rows import review as ask
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput, Refused
from sdk.processes import access_to, free_port, run_in_front
from sdk.project import Project
from sdk.project.charter import ENCRYPTION_KEY, LOG_KEY, OWNER_KEY, SIGNING_KEY, copy_domain
from sdk.records import Decision, Release

UI_PORT = 5000


@app.command()
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The new project's folder.")] = HERE,
    domain: Annotated[str, typer.Option(help="A shipped domain (finance, medical) or a folder.")] = "finance",
    domain_from: Annotated[
        Path | None,
        typer.Option(
            help="Copy the domain's folder to this new folder, to make a domain of your own, and do nothing else."
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="'embedded', a folder in Hugging Face's format, or a hub's model name.")
    ] = "embedded",
    base_name: Annotated[
        str | None, typer.Option(help="What to call the base.", show_default="as its model card does, else its folder")
    ] = None,
    base_license: Annotated[
        str | None, typer.Option(help="The base's licence.", show_default="as its model card says, else unknown")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="A shipped policy or a file.", show_default="the domain's own")
    ] = None,
    trainer: Annotated[
        str | None, typer.Option(help="Who holds the signing key.", show_default="the user's name")
    ] = None,
    signing_key: Annotated[str, typer.Option(help="URI of the key that signs packages.")] = SIGNING_KEY,
    log_key: Annotated[str, typer.Option(help="URI of the key that signs the audit log.")] = LOG_KEY,
    owner_key: Annotated[str, typer.Option(help="URI of the key that signs the key ring.")] = OWNER_KEY,
    encryption_key: Annotated[str, typer.Option(help="URI of the key that wraps data keys.")] = ENCRYPTION_KEY,
    head: Annotated[
        list[Path] | None,
        typer.Option(help="A file elsewhere that gets each checkpoint of the audit log; may be given again."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow server or database.", show_default="a database in the project")
    ] = None,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt", help="In an existing project: put changed domain or policy files in force, by the owner's key."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a project, or a domain of your own.

    `sdk init claims --domain medical` makes a project on the embedded base model.

    `sdk init --domain finance --domain-from my-domain` copies a domain for you to edit; then
    `sdk init claims --domain my-domain`.

    `sdk init claims --adopt` takes in the edits that you made in the project's domain/ or policy.yaml.
    """

    with output(json) as out:
        if domain_from is not None:
            copy_domain(domain, domain_from)
            out.result(
                {"domain": str(domain_from)},
                styled(
                    "A copy of domain {} is in [bold]{}[/]. Edit domain.yaml, train.jsonl, eval.jsonl and "
                    "recognizers.yaml, then `sdk init NAME --domain {}`.",
                    domain,
                    domain_from,
                    domain_from,
                ),
            )
            return
        if adopt:
            project = Project.open(folder)
            project.adopt(domain=domain if given(context, "domain") else None, policy=policy)
        else:
            project = Project.create(
                folder,
                domain=domain,
                base=base,
                base_name=base_name,
                base_license=base_license,
                policy=policy,
                trainer=trainer,
                signing_key=signing_key,
                log_key=log_key,
                owner_key=owner_key,
                encryption_key=encryption_key,
                heads=head or (),
                tracking_uri=tracking_uri,
            )
        state = project.state()
        charter = state.charter
        out.result(
            charter.model_dump(mode="json"),
            styled(
                "Project [bold]{}[/]: domain {}, policy {}, base {} (licence: {}). Next: `cd {}`, then `sdk advise`.",
                charter.name,
                charter.domain,
                charter.policy,
                charter.base_name,
                charter.base_license,
                folder,
            ),
            styled("[dim]{}: {}", charter.policy, state.policy().note),
            styled(
                "[dim]Root {}. Keep it elsewhere: it shows a project that was put in this one's place.", charter.root
            ),
        )


@app.command()
def scrub(
    data: Annotated[
        Path | None, typer.Option(help="Training rows (JSONL, JSON, CSV, Parquet).", show_default="the domain's")
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
    reveal: Annotated[
        str | None,
        typer.Option(help="Scrub nothing: show the value behind this token, where the policy lets it be reversed."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why a value is revealed; kept in the audit log.")] = None,
    review: Annotated[
        bool, typer.Option("--review", help="Scrub nothing: look for misses in a sample of the scrubbed rows.")
    ] = False,
    rows: Annotated[
        int | None, typer.Argument(help="With --review: rows of the sample.", show_default="as many as the bound needs")
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option(
            help="With --review: share of rows with a miss that is to be shown not to be exceeded.",
            show_default="the policy's scrub.max_miss_rate, else 0.01",
        ),
    ] = None,
    reviewer: Annotated[str | None, typer.Option(help="With --review: who looks.", show_default="the user")] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Find personal data with Presidio and remove it as the policy says.

    Layouts are detected: alpaca (instruction, input, output), OpenAI messages, sharegpt conversations, prompt and
    completion; beside the messages, metadata of any shape. Counts and offsets are recorded, text never. Files are
    streamed, so they may be larger than memory; after an interruption the same command goes on.
    """
    if review:
        with output(json) as out:
            if data or evaluation or skip_detectors or reveal is not None:
                raise InvalidInput("--review goes with a number of rows, --bound, --reviewer and --project alone.")
            ask(Project.open(project), out, rows, bound, reviewer, json)
        return
    with working(project, json) as (out, opened):
        if rows is not None or bound is not None or reviewer is not None:
            raise InvalidInput("A number of rows, --bound and --reviewer go with --review.")
        if reveal is not None:
            if json or data or evaluation or skip_detectors:
                raise InvalidInput("--reveal goes with --reason and --project alone: the value is for the terminal.")
            value = opened.reveal(reveal, reason=reason or "")
            out.console.print(value, soft_wrap=True)
            return
        record = opened.scrub(data, evaluation, detect=not skip_detectors, workers=workers, engine=engine)
        page = opened.state().folder(record) / "report.html"
        out.result(record.model_dump(mode="json"), show.scrubbed(record), styled("[dim]report[/] {}", page))


@app.command()
def evaluate(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Ask the domain's evaluation questions of the base and of the adapted model."""
    with working(project, json) as (out, opened):
        record = opened.evaluate()
        out.result(record.model_dump(mode="json"), show.scores(record))


@app.command()
def register(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """Seal the adapter (checksums, signature, encryption) and register the package in MLflow as `candidate`.

    MLflow is down? Nothing is lost; run it again later.
    """
    with working(project, json) as (out, opened):
        record = opened.register()
        out.result(record.model_dump(mode="json"), show.release(record))


@app.command()
def approve(
    package: Annotated[
        str | None, typer.Argument(help="The beginning of the package's digest.", show_default="the newest release")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The decider's private key: a key URI, such as file:PATH.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is signed and kept.")] = None,
    decision: Annotated[
        Decision, typer.Option(help="review, approve or reject; withdraw takes back what this person decided before.")
    ] = "approve",
    explain: Annotated[
        bool, typer.Option("--explain", help="Decide nothing: say whether it may be served now, and every reason.")
    ] = False,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Sign a decision over a release: its package, the policy that it was sealed under, its report.

    Once everything that the policy asks for is there, the alias `champion` moves and `sdk load` serves it.
    """
    with working(project, json) as (out, opened):
        if explain:
            if key or reason:
                raise InvalidInput("--explain decides nothing; leave out --key and --reason.")
            verdict = opened.explain(package)
            out.result(verdict.model_dump(mode="json"), show.verdict(verdict))
            raise typer.Exit(0 if verdict.allowed else Refused.exit_code)
        if not key or not reason:
            raise InvalidInput("A decision needs --key and --reason.")
        unlock(key)
        record = opened.approve(package, key=key, reason=reason, decision=decision)
        out.result(record.model_dump(mode="json"), show.approval(record), show.verdict(opened.explain(package)))


@app.command()
def promote(
    package: Annotated[
        str | None, typer.Argument(help="The beginning of the package's digest.", show_default="the newest release")
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
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
) -> None:
    """Verify everything, decrypt in memory, and answer questions with the approved model."""
    with working(project, json) as (out, opened):
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
) -> None:
    """Check the log, key rings, records, files, packages, decisions and MLflow; name the first thing that is wrong."""
    with output(json) as out, Bars(out.errors) as bars:
        verified = Project.open(project, on_progress=bars, root=root).verify()
        out.result(
            verified.model_dump(mode="json"),
            styled(
                "[bold green]Verified[/] {} events, {} records, {} files, {} packages, {} decisions.",
                verified.events,
                verified.records,
                verified.files,
                verified.packages,
                verified.approvals,
            ),
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
