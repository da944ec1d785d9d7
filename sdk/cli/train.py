"""`sdk train`, with an option for every field of TrainSettings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from sdk.cli import show
from sdk.cli.app import HERE, JsonOption, ProjectOption, QuietOption, app, working
from sdk.records import TrainSettings

FIELDS = TrainSettings.model_fields
# The first field of each group in --help; those between follow it.
PANELS = {
    "method": "Adapter",
    "learning_rate": "Learning",
    "per_device_train_batch_size": "Batches and memory",
    "roles_to_train": "Learning",
    "validation_split": "Validation",
    "seed": "Learning",
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field; what is set comes in its argument `changes`.

    typer reads a command's options from its signature, so the wrapper gets one that lists them.
    """

    @functools.wraps(command)
    def called(**values: Any) -> None:
        options = {name: values.pop(name) for name in FIELDS}
        changes = {name: _read(name, value) for name, value in options.items() if value is not None}
        command(changes=changes, **values)

    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*_options(), *(parameter for parameter in own if parameter.name != "changes")]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _options() -> Iterator[inspect.Parameter]:
    panel = ""
    for name, field in FIELDS.items():
        panel = PANELS.get(name, panel)
        kind = _without_none(field.annotation)
        many = get_origin(kind) is tuple
        text = f"{field.description}; several with commas: {_choices(kind)}" if many else field.description
        option = typer.Option(help=text, rich_help_panel=panel)
        typed: Any = (str if many else kind) | None
        annotation: Any = Annotated[typed, option]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _read(name: str, value: Any) -> Any:
    is_tuple = get_origin(_without_none(FIELDS[name].annotation)) is tuple
    return tuple(part.strip() for part in value.split(",")) if is_tuple else value


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _choices(annotation: Any) -> str:
    return ", ".join(get_args(get_args(annotation)[0]))


RENEWED = "The newest advice was for other rows than those that were scrubbed last, so it was made anew:"


@app.command()
@with_settings
def train(
    *,
    changes: dict[str, Any],
    adapter: Annotated[
        str | None, typer.Option(help="Begin with the adapter of this finished run, by its digest.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on from this finished run, by its digest, with a higher --max-steps or more epochs."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Hosts that share the GPUs evenly.")] = 1,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Train although the policy will refuse what comes of it, for certain.")
    ] = False,
    rendezvous: Annotated[str, typer.Option(help="With --nodes: HOST:PORT of this host for the others.")] = "",
    project: ProjectOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the adapter on the scrubbed rows with the advised settings; options override single ones.

    Interrupted? Run it again: it goes on from the last whole checkpoint.
    """
    with working(project, json, quiet) as (out, opened):
        if not json and not quiet:
            if resume is None and (renewed := opened.renew_advice(max_length=changes.get("max_length"))):
                out.show(
                    show.note(f"{RENEWED} max_length is {renewed.settings.max_length}; `sdk advise` shows the rest.")
                )
            notes = map(show.note, opened.power_of_leak_check(changes))
            out.show(*notes, show.preview(opened.preview(anyway=anyway, **changes)))
        record = opened.train(
            adapter=adapter, resume=resume, nodes=nodes, rendezvous=rendezvous, anyway=anyway, **changes
        )
        out.result(record.model_dump(mode="json"), show.run(record))
