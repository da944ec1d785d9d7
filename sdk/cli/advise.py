"""`sdk advise` and `sdk estimate`: what was asked, and the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdk.cli import quantities, show_advice, show_trials
from sdk.cli.app import HERE, JsonOption, Output, ProjectOption, QuietOption, app, given, output, working
from sdk.cli.own_columns import AnswerOption, DropOption, FormOption, LabelsOption, MapOption, read_columns
from sdk.errors import InvalidInput
from sdk.hardware import detect_hardware, find_gpu
from sdk.project import PILOT_MINUTES
from sdk.project.estimating import estimate
from sdk.records import Accuracy, Advice, ApplicationType, Hardware, PeftMethod

DOES_NOT_FIT = 1
CANNOT = "This cannot be asked."

# Groups of --help
WHERE, WHAT, ROWS = "Model and hardware", "Needs", "Rows"

GpuOption = Annotated[
    str | None,
    typer.Option(help="A GPU by name, several as '2x h100'.", rich_help_panel=WHERE, show_default="this machine"),
]
GpusOption = Annotated[
    int | None, typer.Option(min=1, help="How many GPUs.", rich_help_panel=WHERE, show_default="one, or all here")
]
AccuracyOption = Annotated[Accuracy | None, typer.Option(help="How much accuracy is needed.", rich_help_panel=WHAT)]
MaxLossOption = Annotated[
    str | None,
    typer.Option(help="How much of 16-bit LoRA's score may be lost instead: 1% or 0.01.", rich_help_panel=WHAT),
]
ApplicationOption = Annotated[
    ApplicationType | None, typer.Option(help="What matters most instead.", rich_help_panel=WHAT)
]
DeadlineOption = Annotated[
    str | None, typer.Option(help="Time that training may take: 8h, 90m, 2d, 1:30h.", rich_help_panel=WHAT)
]
PriceOption = Annotated[
    float | None, typer.Option(min=0, help="Of a GPU for an hour, in your currency.", rich_help_panel=WHAT)
]
PeftOption = Annotated[
    PeftMethod | None,
    typer.Option(help="Kind of adapter, by PEFT's name.", rich_help_panel=WHAT, show_default="lora"),
]
DoraOption = Annotated[bool, typer.Option("--use-dora", help="LoRA as DoRA.", rich_help_panel=WHAT)]
LengthOption = Annotated[
    int | None,
    typer.Option(
        "--seq",
        "--max-length",
        min=1,
        help="Tokens in the longest row.",
        rich_help_panel=ROWS,
        show_default="from the data",
    ),
]
HubOption = Annotated[
    bool, typer.Option("--hub", help="Look up the model's config.json on the hub.", rich_help_panel=WHERE)
]
RowsOption = Annotated[
    int | None, typer.Option(min=1, help="How many training rows, where there is no --data.", rich_help_panel=ROWS)
]


@app.command("estimate")
def estimate_model(
    model: Annotated[str, typer.Argument(help="A model by name, folder or config.json.")],
    gpu: GpuOption = None,
    gpus: GpusOption = None,
    hub: HubOption = False,
    data: Annotated[
        Path | None, typer.Option(help="Training rows; they are read and not kept.", rich_help_panel=ROWS)
    ] = None,
    rows: RowsOption = None,
    seq: LengthOption = None,
    accuracy: AccuracyOption = None,
    max_loss: MaxLossOption = None,
    application_type: ApplicationOption = None,
    deadline: DeadlineOption = None,
    price: PriceOption = None,
    peft_type: PeftOption = None,
    use_dora: DoraOption = False,
    mapping: MapOption = None,
    form: FormOption = None,
    answer: AnswerOption = None,
    labels: LabelsOption = None,
    drop: DropOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer for any model on any GPU: does it fit, how, how long does it take. Nothing is recorded.

    `sdk estimate llama-3.1-8b --gpu "rtx 4090" --accuracy high`

    No project, no model file and no GPU are needed. Exit code 0: it fits and meets the needs. 1: it does not, or that
    is uncertain. 2: bad input.
    """
    with output(json, quiet) as out:
        needs = read_needs(accuracy, max_loss, application_type, deadline, price)
        needs |= {"peft_type": peft_type, "use_dora": use_dora or None}
        with out.progress() as told:
            advice = estimate(
                model,
                _machine(gpu, gpus),
                data=data,
                columns=read_columns(mapping, form, answer, labels, drop),
                hub=hub,
                on_progress=told,
                **needs,
                max_length=seq,
                rows=rows,
            )
        _answer(out, advice, {})


@app.command()
def advise(
    context: typer.Context,
    gpu: GpuOption = None,
    gpus: GpusOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Training rows to make room and time for.", rich_help_panel=ROWS, show_default="the domain's"
        ),
    ] = None,
    seq: LengthOption = None,
    accuracy: AccuracyOption = None,
    max_loss: MaxLossOption = None,
    application_type: ApplicationOption = None,
    deadline: DeadlineOption = None,
    price: PriceOption = None,
    peft_type: PeftOption = None,
    use_dora: DoraOption = False,
    mapping: MapOption = None,
    form: FormOption = None,
    answer: AnswerOption = None,
    labels: LabelsOption = None,
    drop: DropOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model by name or folder, as `sdk estimate` takes it; then no project is asked.",
            rich_help_panel=WHERE,
            show_default="the project's base",
        ),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Of `sdk estimate`.", hidden=True)] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Of `sdk estimate`.", hidden=True)] = False,
    probe: Annotated[bool, typer.Option("--probe", help="`sdk probe` now.", hidden=True)] = False,
    pilot: Annotated[bool, typer.Option("--pilot", help="`sdk pilot` now.", hidden=True)] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of `sdk pilot`.", hidden=True)] = PILOT_MINUTES,
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pick LoRA, QLoRA-4bit or QLoRA-8bit and every training setting, each with its reason.

    It advises for the project's base and rows, and `sdk train` follows the advice. `sdk probe` and `sdk pilot` measure
    before, so that less is predicted. `sdk estimate` asks about any model, without a project; `--model` does the same
    here.

    Exit code 0: it fits and meets the needs. 1: it does not, or that is uncertain. 2: bad input.
    """
    if model is not None:
        with output(json):
            if probe or pilot or given(context, "project"):
                raise InvalidInput("--model asks about any model, in no project: leave out what belongs to one.")
        estimate_model(
            model,
            gpu,
            gpus,
            hub,
            data,
            rows,
            seq,
            accuracy,
            max_loss,
            application_type,
            deadline,
            price,
            peft_type,
            use_dora,
            mapping,
            form,
            answer,
            labels,
            drop,
            json,
            quiet,
        )
        return
    with working(project, json, quiet) as (out, opened):
        if hub or rows is not None:
            raise InvalidInput("--hub and --rows are of `sdk estimate MODEL`; a project's base and rows are here.")
        needs = read_needs(accuracy, max_loss, application_type, deadline, price)
        needs |= {"peft_type": peft_type, "use_dora": use_dora or None}
        columns = read_columns(mapping, form, answer, labels, drop)
        trials: dict[str, Any] = {}
        if probe:
            out.renamed(["advise", "--probe"], ["probe"])
            trials["calibration"] = opened.probe(data=data, columns=columns)
            out.show(show_trials.calibration(trials["calibration"]), "")
        if pilot:
            out.renamed(["advise", "--pilot"], ["pilot"])
            trials["pilot"] = opened.pilot(minutes=minutes)
            out.show(show_trials.pilot(trials["pilot"]), "")
        advice = opened.advise(**needs, max_length=seq, data=data, columns=columns, hardware=_machine(gpu, gpus))
        _answer(out, advice, trials)


def read_needs(
    accuracy: Accuracy | None,
    max_loss: str | None,
    application_type: ApplicationType | None = None,
    deadline: str | None = None,
    price: float | None = None,
) -> dict[str, Any]:
    """Read needs as they are written on a command line. InvalidInput lists every one that cannot be read."""
    faults: list[str] = []
    needs = {
        "accuracy": accuracy,
        "max_loss": quantities.read("--max-loss", max_loss, quantities.share, faults),
        "application_type": application_type,
        "deadline_hours": quantities.read("--deadline", deadline, quantities.hours, faults),
        "price_per_hour": price,
    }
    if faults:
        raise InvalidInput(CANNOT, faults)
    return needs


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
