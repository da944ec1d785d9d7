"""`sdk init`, `sdk adopt`, `sdk domain`: what a project is made of, and changes of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from sdk.cli.app import HERE, Commands, JsonOption, Output, ProjectOption, TemplateOption, app, output
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
from sdk.cli.show import note
from sdk.cli.terminal import styled
from sdk.project import Project
from sdk.project.charter import ENCRYPTION_KEY, LOG_KEY, OWNER_KEY, SIGNING_KEY, copy_domain
from sdk.records import Charter

SHIPPED = "A shipped domain (finance, medical, general) or a folder."


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The new project's folder.")] = HERE,
    domain: Annotated[str, typer.Option(help=SHIPPED)] = "finance",
    base: Annotated[
        str, typer.Option(help="'embedded', a folder in Hugging Face's format, or a hub's model name.")
    ] = "embedded",
    base_name: Annotated[
        str | None, typer.Option(help="What to call the base.", show_default="as its model card does, else its folder")
    ] = None,
    base_license: Annotated[
        str | None, typer.Option(help="The base's licence.", show_default="as its model card says, else unknown")
    ] = None,
    template: TemplateOption = None,
    policy: Annotated[
        str | None, typer.Option(help="A shipped policy or a file.", show_default="the domain's own")
    ] = None,
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
    json: JsonOption = False,
) -> None:
    """Make a project.

    `sdk init claims --domain medical` makes one on the embedded base model; `sdk init claims --domain general --data
    rows.jsonl --eval questions.jsonl` one for rows of your own. For a domain of your own see `sdk domain copy`.
    """
    with output(json) as out:
        project = Project.create(
            folder,
            domain=domain,
            base=base,
            base_name=base_name,
            base_license=base_license,
            template=template,
            policy=policy,
            data=data,
            evaluation=evaluation,
            columns=read_columns(mapping, form, answer, labels, drop),
            prompt=prompt,
            metric=metric,
            max_new_tokens=max_new_tokens,
            floors=read_floors(floor),
            trainer=trainer,
            signing_key=signing_key,
            log_key=log_key,
            owner_key=owner_key,
            encryption_key=encryption_key,
            heads=head or (),
            tracking_uri=tracking_uri,
        )
        state = project.state()
        _show_charter(out, project, *taken(state), *_rendering(state.charter))
        out.warn(*project.foresee())


@app.command()
def adopt(
    domain: Annotated[
        str | None, typer.Option(help="Another domain, shipped or a folder.", show_default="the project's own copy")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Another policy, shipped or a file.", show_default="the project's own copy")
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Put changed domain or policy files in force, by the owner's key. An event.

    Without options it takes in the edits that you made in the project's domain/ and policy.yaml.
    """
    with output(json) as out:
        opened = Project.open(project)
        opened.adopt(domain=domain, policy=policy)
        _show_charter(out, opened)


def _show_charter(out: Output, project: Project, *more: RenderableType) -> None:
    state = project.state()
    charter = state.charter
    out.result(
        charter.model_dump(mode="json"),
        styled(
            "Project [bold]{}[/]: domain {}, policy {}, base {} (licence: {}). Next: `cd {}`, then `sdk scrub`{}.",
            charter.name,
            charter.domain,
            charter.policy,
            charter.base_name,
            charter.base_license,
            project.root,
            "" if charter.rows else " with your rows, or with none for the domain's",
        ),
        styled("[dim]{}: {}", charter.policy, state.policy().note),
        *more,
        styled("[dim]Root {}. Keep it elsewhere: it shows a project that was put in this one's place.", charter.root),
    )


def _rendering(charter: Charter) -> Iterator[Text]:
    if charter.template is not None:
        yield styled("Chat template: [bold]{}[/] ({}).", charter.template.name, charter.template.reason)
    yield from map(note, charter.rendering)


domains = typer.Typer(
    help="Domains of your own: copy one, edit the copy, make projects with it.", cls=Commands, no_args_is_help=True
)
app.add_typer(domains, name="domain")


@domains.command()
def copy(
    source: Annotated[str, typer.Argument(help=SHIPPED, metavar="FROM")],
    target: Annotated[Path, typer.Argument(help="The new folder.", metavar="TO")],
    json: JsonOption = False,
) -> None:
    """Copy a domain's folder, to make a domain of your own.

    `sdk domain copy finance my-domain`; edit the copy; then `sdk init claims --domain my-domain`.
    """
    with output(json) as out:
        copy_domain(source, target)
        out.result(
            {"domain": str(target)},
            styled(
                "A copy of domain {} is in [bold]{}[/]. Edit domain.yaml, train.jsonl, eval.jsonl and "
                "recognizers.yaml, then `sdk init NAME --domain {}`.",
                source,
                target,
                target,
            ),
        )
