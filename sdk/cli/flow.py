"""`sdk run`: the whole way of the data in one command, and its summary."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import RenderableType
from rich.panel import Panel
from rich.text import Text

from sdk import crypto
from sdk.cli import benchmark_commands, show, show_advice
from sdk.cli import leak_check as show_leaks
from sdk.cli.advise import AccuracyOption, MaxLossOption, read_needs
from sdk.cli.app import JsonOption, Output, QuietOption, TemplateOption, app, given, output
from sdk.cli.domain_options import (
    DataOption,
    EvalOption,
    FloorOption,
    MaxNewTokensOption,
    MetricOption,
    PromptOption,
    read_floors,
    taken,
)
from sdk.cli.own_columns import AnswerOption, DropOption, FormOption, LabelsOption, MapOption, read_columns
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput, Refused
from sdk.policy import read_policy
from sdk.project import Project
from sdk.project.charter import find_domain, find_policy
from sdk.project.own_settings import read_settings
from sdk.records import (
    ALL,
    METHODS,
    METRICS,
    SAFETY,
    Advice,
    Approval,
    Benchmarks,
    Leaks,
    Release,
    Run,
    Scores,
    Scrubbed,
    Verified,
)
from sdk.wording import counted, visible

QUESTIONS = 4
PLAYED = "demo-approver"
PLAYED_REASON = "Demonstration: scores, personal data and lineage in the report were looked at."


class Asked(NamedTuple):
    question: str
    reference: str
    answer: str


class Result(NamedTuple):
    advice: Advice
    scrubbed: Scrubbed
    run: Run
    scores: Scores
    leaks: Leaks | None
    benchmarks: Benchmarks | None
    release: Release
    approval: Approval | None
    answers: list[Asked]
    verified: Verified | None


@app.command("run")
def run_all(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The project's folder; made if it does not exist.")],
    domain: Annotated[str, typer.Option(help="A shipped domain or a folder.")] = "finance",
    base: Annotated[str, typer.Option(help="'embedded', a folder, or a hub's model name.")] = "embedded",
    template: TemplateOption = None,
    policy: Annotated[str | None, typer.Option(help="A policy.", show_default="the domain's own")] = None,
    data: DataOption = None,
    evaluation: EvalOption = None,
    prompt: PromptOption = None,
    metric: MetricOption = None,
    max_new_tokens: MaxNewTokensOption = None,
    floor: FloorOption = None,
    mapping: MapOption = None,
    form: FormOption = None,
    answer: AnswerOption = None,
    labels: LabelsOption = None,
    drop: DropOption = None,
    accuracy: AccuracyOption = None,
    max_loss: MaxLossOption = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop training after so many steps.", min=1)] = None,
    approver_key: Annotated[str | None, typer.Option(help="An enrolled approver's key: file:PATH or env:NAME.")] = None,
    reason: Annotated[str | None, typer.Option(help="The approver's reason.")] = None,
    play_approver: Annotated[
        bool, typer.Option("--play-approver", help="For a try only: make an approver's key and decide with it.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go the whole way: init, scrub, advise, train, evaluate, leaks (if the policy asks), register, approve, load.

    What is done already is not done again, so the same command goes on after an interruption. Without an approver's
    key it ends before the approval.
    """
    with output(json, quiet) as out:
        if approver_key and not reason:
            raise InvalidInput("An approval needs a reason; give --reason.")
        needs, columns = read_needs(accuracy, max_loss), read_columns(mapping, form, answer, labels, drop)
        rows: dict[str, Any] = {"data": data, "evaluation": evaluation, "columns": columns}
        made: dict[str, Any] = {"domain": domain, "base": base, "policy": policy, "template": template}
        chosen: dict[str, Any] = {
            "prompt": prompt,
            "metric": metric,
            "max_new_tokens": max_new_tokens,
            "floors": read_floors(floor),
        }
        if folder.is_dir() and any(folder.iterdir()):
            project = _go_on(context, out, folder, made, chosen)
        else:
            project = Project.create(folder, **made, **rows, **chosen)
            if settings := taken(project.state()):
                out.show(*settings, "")
        in_vain = project.foresee(data, evaluation, columns=columns)
        if in_vain:
            raise Refused("The whole way cannot be gone with these rows, so none of it was; mend that first.", in_vain)
        if play_approver:
            approver_key, reason = _play_approver(out, project), PLAYED_REASON
        steps: dict[str, Any] = {"max_steps": max_steps} if max_steps else {}

        def step(title: str, verb: Callable[[Project], Any], view: Callable[[Any], RenderableType]) -> Any:
            out.show(show.title(title))
            with out.progress() as told:
                record = verb(Project(project.root, on_progress=told))
            out.show(view(record), "")
            return record

        scrubbed = step("1  Scrub", lambda p: p.scrub(data, evaluation, columns=columns), show.scrubbed)
        advice = step("2  Advise", lambda p: p.advise(**needs), show_advice.advice)
        if not json and not quiet:
            out.show(*map(show.note, project.power_of_leak_check(steps)), show.preview(project.preview(**steps)))
        run = step("3  Train", lambda p: p.train(**steps), show.run)
        scores = step("4  Evaluate", lambda p: p.evaluate(), show.scores)
        leaks = None
        policy_rules = project.policy
        if policy_rules.leaks.required:
            leaks = step("   Leak check", lambda p: p.check_leaks(), show_leaks.leaks)
        benchmarks = None
        if SAFETY in (policy_rules.evaluate.forgetting or {}):
            benchmarks = step("   Safety probes", lambda p: p.benchmark(safety=True), _safety(project))
        release = step("5  Seal and register", lambda p: p.register(), show.release)
        approval, answers, verified = None, [], None
        if approver_key and reason:
            key, why = approver_key, reason
            approval = step("6  Approve", lambda p: p.approve(release, key=key, reason=why), show.approval)
            answers = step("7  Load and ask", _ask, _answers)
            verified = project.verify()
        result = Result(advice, scrubbed, run, scores, leaks, benchmarks, release, approval, answers, verified)
        out.result(_as_json(result), Panel(_summary(project, result), title="Summary", border_style="green"))


def _go_on(
    context: typer.Context, out: Output, folder: Path, made: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Project:
    """Open the project of an earlier call. InvalidInput where it was made otherwise than is asked for now."""
    domain, base, policy, template = made.values()
    project = Project.open(folder)
    state = project.state()
    charter = state.charter
    others = []
    if given(context, "domain") and find_domain(domain).resolve() != state.domain_source.resolve():
        others.append(f"--domain {domain}, where it has {charter.domain}")
    if (
        given(context, "base")
        and base not in (charter.base, charter.base_name)
        and Path(base).resolve() != state.base_folder().resolve()
    ):
        others.append(f"--base {base}, where it has {charter.base_name}")
    used = charter.template.name if charter.template else "the base's own"
    if template is not None and template != used:
        others.append(f"--template {template}, where it has {used}")
    if policy is not None and read_policy(find_policy(policy)).name != charter.policy:
        others.append(f"--policy {policy}, where it has {charter.policy}")
    settings = state.domain()
    for key, value in read_settings(
        settings, {key: value for key, value in chosen.items() if value is not None}
    ).items():
        if value != (was := read_settings(settings, {key: getattr(settings, key)})[key]):
            others.append(f"{key} {value}, where it has {was}")
    if others:
        raise InvalidInput(f"{folder} is a project made otherwise; name another folder, or leave these out.", others)
    out.show(styled("[dim]Going on with the project in {}; what is done is not done again.", folder))
    return project


def _play_approver(out: Output, project: Project) -> str:
    """Make a second key beside the project, as if it were another person's, and enroll it."""
    path = project.root.with_name(f"{project.root.name}.{PLAYED}.pem")
    if not path.exists():
        crypto.save_key(crypto.SigningKey.random(), path)
    project.enroll(PLAYED, f"file:{path}")
    out.show(
        styled(
            "[yellow]This run plays both trainer and approver, with two keys.[/] In your firm the approver is another "
            "person, whose key you never see.\n"
        )
    )
    return f"file:{path}"


def _ask(project: Project) -> list[Asked]:
    """Ask a few of the evaluation questions, which the model has not seen in this wording."""
    model = project.load()
    pairs = project.sample_questions(QUESTIONS)
    answers = model.generate([question for question, _ in pairs]) if pairs else []  # none are asked of texts
    return [Asked(question, reference, answer) for (question, reference), answer in zip(pairs, answers, strict=True)]


def _safety(project: Project) -> Callable[[Benchmarks], RenderableType]:
    return lambda record: benchmark_commands.benchmarks(record, project.forgetting())


def _answers(answers: list[Asked]) -> RenderableType:
    text = Text()
    for asked in answers:
        right = asked.answer == asked.reference
        text.append(f"{asked.question}\n", style="dim")
        text.append(f"  {asked.answer}", style="bold green" if right else "bold yellow")
        text.append("\n" if right else f"  (expected: {asked.reference})\n")
    text.rstrip()
    return text


def _summary(project: Project, result: Result) -> RenderableType:
    advice, scrubbed, run, scores = result.advice, result.scrubbed, result.run, result.scores
    losses = [point.loss for point in run.losses]
    before, after = (metrics["all"].of(scores.metric) for metrics in (scores.base, scores.adapted))
    constant = scores.majority_value(ALL)
    kinds = sorted(scrubbed.counts.items(), key=lambda item: -item[1])
    sdk, folder = visible(_command()), visible(str(project.root))
    rows: list[tuple[str, RenderableType]] = [
        ("advice", styled("[bold]{}[/]: {}", METHODS[run.settings.method], advice.reasons["method"])),
        ("personal data", ", ".join(f"{kind} {count}" for kind, count in kinds)),
        ("", f"{scrubbed.findings:,} findings: {scrubbed.treatments_text()}; {scrubbed.rows_changed:,} rows changed"),
        (
            "",
            f"{visible(scrubbed.recall_text())}. {scrubbed.recall_scope()}",
        ),
        ("loss", styled("{:.2f} [cyan]{}[/] {:.2f}", losses[0], show.sparkline(losses), losses[-1])),
        (
            METRICS[scores.metric].title,
            styled(
                "{:.2f} before, [bold green]{:.2f}[/] after ({:.2f} to {:.2f}){}",
                before.value,
                after.value,
                after.low,
                after.high,
                "" if constant is None else f"; the majority answer {constant:.2f}",
            ),
        ),
        (
            "memory",
            f"{run.memory_measured_gib:.2f} GiB at the peak; predicted {advice.memory_low.total:.2f} to "
            f"{advice.memory_high.total:.2f}",
        ),
        *_leaks_said(result.leaks),
        ("package", f"sha256:{result.release.package}"),
        ("MLflow", visible(f"model {result.release.model_name} version {result.release.version}")),
    ]
    if result.approval is None:
        rows += [
            ("approved by", styled("[yellow]nobody yet")),
            (
                "next",
                f"`{sdk} approve -p {folder} --key file:KEY --reason …` by somebody enrolled with `{sdk} keys enroll`",
            ),
        ]
    else:
        rows += [
            ("approved by", visible(f"{result.approval.approver} (key {result.approval.key_fingerprint[:16]})")),
        ]
    if result.verified:
        rows += [
            (
                "audit log",
                styled(
                    "[bold green]verifies[/]: {}, {}",
                    counted(result.verified.events, "event"),
                    counted(result.verified.files, "file"),
                ),
            ),
            ("look", f"`{sdk} ui -p {folder}` opens MLflow: model, loss curve, report.html"),
            ("next", f"`{sdk} history -p {folder}`, `{sdk} load -p {folder} 'your question'`"),
            ("", f"another model or machine: `{sdk} advise --model llama-3.1-8b --gpu 'rtx 4090'`"),
            ("", f"your own rows: `{sdk} run mine --domain general --data rows.jsonl --eval questions.jsonl`"),
        ]
    return show.grid(rows)


def _leaks_said(leaks: Leaks | None) -> list[tuple[str, RenderableType]]:
    if leaks is None:
        return []
    adapted, control = leaks.adapted, leaks.control
    return [
        (
            "leak check",
            f"exposure of {len(adapted.kinds)} planted values {adapted.exposure.value:.1f} of "
            f"{adapted.most_bits:.1f} bits (chance 1.4), {adapted.extracted} given back; trained in plain it would be "
            f"{control.exposure.value:.1f} bits",
        )
    ]


def _command() -> str:
    """Return how to call this command: by its path where it is not on the user's."""
    return "sdk" if shutil.which("sdk") or not sys.argv[0].endswith("sdk") else sys.argv[0]


def _as_json(result: Result) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        for name, value in {**result._asdict(), "answers": [asked._asdict() for asked in result.answers]}.items()
    }
    return values
