"""`sdk advise`: what was asked, whether it can be asked together, and the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Annotated, Any

import typer

from sdk.cli import quantities, show_advice, show_trials
from sdk.cli.app import HERE, JsonOption, Output, ProjectOption, app, given, output, working
from sdk.cli.progress import Bars
from sdk.errors import InvalidInput
from sdk.hardware import detect_hardware, find_gpu
from sdk.project import PILOT_MINUTES
from sdk.project.any_model import advise_for_model
from sdk.records import Accuracy, Advice, ApplicationType, Hardware, Run

DOES_NOT_FIT = 1

THIS_MACHINE = "it measures on this machine"
THIS_BASE = "it measures the project's base"
PAST = "the history shows runs that were made, for what was asked then"
# Two options that cannot stand together -> why.
APART = {
    ("--model", "--project"): "advice for any model belongs to no project; leave one out",
    ("--model", "--probe"): f"{THIS_BASE}; leave --model out, in a project on this base",
    ("--model", "--pilot"): f"{THIS_BASE}; leave --model out, in a project on this base",
    **{(one, other): THIS_MACHINE for one in ("--probe", "--pilot") for other in ("--gpu", "--gpus")},
    ("--accuracy", "--max-loss"): "each says how much may be lost; give one",
    ("--data", "--pilot"): "it trains on the rows that were scrubbed; give yours to `sdk scrub`",
    ("--data", "--rows"): "the rows are counted in the data; leave --rows out",
}
# An option -> those of which it needs one, and why.
NEEDS = {
    "--hub": (("--model",), "a project's base lies here already"),
    "--rows": (("--model",), "a project's rows are counted"),
    "--minutes": (("--pilot",), "only the pilot takes its time"),
}
# The same for advice on any model, where no project has rows.
NEEDS_OF_A_MODEL = {
    "--deadline": (("--data", "--rows"), "how long training takes depends on the rows"),
    "--price": (("--data", "--rows"), "what training costs depends on the rows"),
}

CANNOT = "This cannot be asked."

# Groups of --help
WHERE, WHAT, ROWS, MEASURE = "Model and hardware", "Needs", "Rows", "Measuring"

AccuracyOption = Annotated[Accuracy | None, typer.Option(help="How much accuracy is needed.", rich_help_panel=WHAT)]
MaxLossOption = Annotated[
    str | None,
    typer.Option(help="How much of 16-bit LoRA's score may be lost instead: 1% or 0.01.", rich_help_panel=WHAT),
]


@app.command()
def advise(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(help="A model by name or folder.", rich_help_panel=WHERE, show_default="the project's base"),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="A GPU by name, several as '2x h100'.", rich_help_panel=WHERE, show_default="this machine"),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="How many GPUs.", rich_help_panel=WHERE, show_default="one, or all here")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Training rows to make room and time for.", rich_help_panel=ROWS, show_default="the domain's"
        ),
    ] = None,
    accuracy: AccuracyOption = None,
    max_loss: MaxLossOption = None,
    application_type: Annotated[
        ApplicationType | None, typer.Option(help="What matters most instead.", rich_help_panel=WHAT)
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Time that training may take: 8h, 90m, 2d, 1:30h.", rich_help_panel=WHAT)
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a GPU for an hour, in your currency.", rich_help_panel=WHAT)
    ] = None,
    seq: Annotated[
        int | None,
        typer.Option(
            "--seq",
            "--max-length",
            min=1,
            help="Tokens in the longest row.",
            rich_help_panel=ROWS,
            show_default="from the data",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="How many training rows, where there is no --data.", rich_help_panel=ROWS)
    ] = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="Look up the model's config.json on the hub.", rich_help_panel=WHERE)
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Measure a pass of the longest row here for each candidate, and use it.",
            rich_help_panel=MEASURE,
        ),
    ] = False,
    pilot: Annotated[
        bool,
        typer.Option(
            "--pilot", help="Train each candidate for a little on your rows, and compare.", rich_help_panel=MEASURE
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Minutes that the pilot trains the slowest candidate.",
            rich_help_panel=MEASURE,
            show_default=f"{PILOT_MINUTES:g}",
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history", help="Show how well advice has done here, and nothing else.", rich_help_panel=MEASURE
        ),
    ] = False,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Pick LoRA, QLoRA-4bit or QLoRA-8bit and every training setting, each with its reason.

    With `--model` it answers for any model on any GPU, and records nothing:

    `sdk advise --model llama-3.1-8b --gpu "rtx 4090" --accuracy high --json`

    Without, it advises for the project's base and rows, and `sdk train` follows the advice. `--probe` and `--pilot`
    measure first.

    Exit code 0: it fits and meets the needs. 1: it does not, or that is uncertain. 2: bad input.
    """
    asked = {
        "--model": model,
        "--gpu": gpu,
        "--gpus": gpus,
        "--data": data,
        "--accuracy": accuracy,
        "--max-loss": max_loss,
        "--application-type": application_type,
        "--deadline": deadline,
        "--price": price,
        "--seq": seq,
        "--rows": rows,
        "--hub": hub or None,
        "--probe": probe or None,
        "--pilot": pilot or None,
        "--minutes": minutes,
        "--history": history or None,
    }
    names = {name for name, value in asked.items() if value is not None}
    with output(json) as out:
        faults = list(conflicts(names | ({"--project"} if given(context, "project") else set())))
        needs: dict[str, Any] = {
            "accuracy": accuracy,
            "max_loss": quantities.read("--max-loss", max_loss, quantities.share, faults),
            "application_type": application_type,
            "deadline_hours": quantities.read("--deadline", deadline, quantities.hours, faults),
            "price_per_hour": price,
            "max_length": seq,
        }
        if faults:
            raise InvalidInput(CANNOT, faults)
    if history:
        with working(project, json) as (out, opened):
            _history(out, opened.predictions())
    elif model is not None:
        with output(json) as out:
            with Bars(out.errors) as bars:
                advice = advise_for_model(
                    model, _machine(gpu, gpus), {**needs, "rows": rows}, hub=hub, data=data, on_progress=bars
                )
            _answer(out, advice, {})
    else:
        with working(project, json) as (out, opened):
            trials: dict[str, Any] = {}
            if probe:
                trials["calibration"] = opened.probe(data=data)
                out.show(show_trials.calibration(trials["calibration"]), "")
            if pilot:
                trials["pilot"] = opened.pilot(minutes=minutes or PILOT_MINUTES)
                out.show(show_trials.pilot(trials["pilot"]), "")
            advice = opened.advise(**needs, data=data, hardware=_machine(gpu, gpus))
            _answer(out, advice, trials)


def conflicts(names: Set[str]) -> Iterator[str]:
    """Yield what is wrong with each pair of options that cannot stand together. names: the options that were given."""
    if "--history" in names:
        yield from (f"--history with {name}: {PAST}" for name in sorted(names - {"--history", "--project"}))
        return
    for (one, other), why in APART.items():
        if {one, other} <= names:
            yield f"{one} with {other}: {why}"
    for name, (others, why) in (NEEDS | (NEEDS_OF_A_MODEL if "--model" in names else {})).items():
        if name in names and not names & set(others):
            yield f"{name} without {' or '.join(others)}: {why}"


def _machine(gpu: str | None, count: int | None) -> Hardware | None:
    """Return the GPUs that were named; None: all of this machine."""
    if gpu is not None:
        named = find_gpu(gpu)
        if count is not None and named.gpu_count not in (1, count):
            raise InvalidInput(f"--gpu {gpu} with --gpus {count}: these differ; leave --gpus out.")
        return named if count is None else find_gpu(gpu, count)
    if count is None:
        return None
    here = detect_hardware()
    if count > here.gpu_count:
        raise InvalidInput(f"--gpus {count}: this machine has {here.gpu_count}; ask about others with --gpu.")
    return here.model_copy(update={"gpu_count": count})


def _answer(out: Output, advice: Advice, trials: dict[str, Any]) -> None:
    """Print the advice, and exit 1 where it does not fit or does not meet the needs.

    trials: measurements that came before, which stand beside it in the JSON.
    """
    verdict = show_advice.verdict(advice)
    value = {**advice.model_dump(mode="json"), "memory_total_gib": advice.memory.total, "verdict": verdict}
    if trials:
        value = {**{name: record.model_dump(mode="json") for name, record in trials.items()}, "advice": value}
    out.result(value, show_advice.advice(advice))
    if verdict != "fits":
        raise typer.Exit(DOES_NOT_FIT)


def _history(out: Output, runs: Sequence[Run]) -> None:
    tracks = [show_trials.track(run) for run in runs]
    value: dict[str, Any] = {"runs": [one.as_json() for one in tracks]}
    for name in ("memory_gib", "tokens_per_second"):
        found = show_trials.errors([getattr(one, name) for one in tracks])
        value[f"{name}_error"] = found and found._asdict()
    out.result(value, show_trials.history(tracks))
