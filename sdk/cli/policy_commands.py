"""`sdk policy`: check, compare, explain and test policy files, without a project."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sdk.cli.app import Commands, JsonOption, app, output
from sdk.cli.terminal import styled
from sdk.errors import InvalidInput, Refused
from sdk.policy import Explained, differences, explained, read_policy, run_cases
from sdk.project.charter import find_policy
from sdk.wording import counted, visible

policy = typer.Typer(help="Check, compare, explain and test policy files.", cls=Commands, no_args_is_help=True)
app.add_typer(policy, name="policy")

COLOURS = {"stricter": "green", "looser": "red", "other": "yellow"}


def _shown(value: Any) -> str:
    return visible(value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False))


@policy.command()
def check(
    files: Annotated[list[str], typer.Argument(help="Policy files, or names of shipped policies.")],
    json: JsonOption = False,
) -> None:
    """Read policies and name every fault; exit code 2 if there is one. A key that is missing or unknown is a fault."""
    with output(json) as out:
        names, faults = [], []
        for file in files:
            try:
                names.append(read_policy(find_policy(file)).name)
            except InvalidInput as error:
                faults += [error.message, *error.faults]
        if faults:
            raise InvalidInput("Not every policy is well formed.", faults)
        out.result(names, *(styled("{}: every key is there and known.", name) for name in names))


@policy.command()
def diff(
    before: Annotated[str, typer.Argument(help="A policy file, or a shipped policy's name.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    json: JsonOption = False,
) -> None:
    """Show the keys that differ, and where it can be said whether the second policy is stricter or looser in them."""
    with output(json) as out:
        changes = differences(read_policy(find_policy(before)), read_policy(find_policy(after)))
        table = Table("key", "before", "after", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for each in changes:
            change = "" if each.change == "other" else Text(each.change, COLOURS[each.change])
            table.add_row(each.key, _shown(each.before), _shown(each.after), change)
        out.result([each.model_dump(mode="json") for each in changes], table if changes else "No key differs.")


@policy.command()
def explain(
    file: Annotated[str, typer.Argument(help="A policy file, or a shipped policy's name.")],
    json: JsonOption = False,
) -> None:
    """Show each key with its value, what it means, the step that reads it, and the rule that it follows from."""
    with output(json) as out:
        policy = read_policy(find_policy(file))
        keys = explained(policy)
        out.result(
            {"policy": policy.name, "note": policy.note, "keys": [each.model_dump(mode="json") for each in keys]},
            styled("[bold]{}[/]: {}", policy.name, policy.title),
            styled("{}", policy.note),
            *(_explanation(each) for each in keys),
        )


def _explanation(key: Explained) -> Text:
    cited = styled("\n  follows from {}", "; ".join(key.cited)) if key.cited else ""
    return styled("\n[bold]{}[/]: {}\n  {}\n  read by {}{}", key.key, _shown(key.value), key.meaning, key.steps, cited)


@policy.command("test")
def run(
    files: Annotated[list[Path], typer.Argument(help="Files of cases: facts, and the rules that they must violate.")],
    json: JsonOption = False,
) -> None:
    """Run the cases of a policy; exit code 3 if one comes out otherwise than it says."""
    with output(json) as out:
        passed: dict[str, int] = {}
        faults: list[str] = []
        for file in files:
            tested, number, failed = run_cases(file)
            passed[tested.name] = passed.get(tested.name, 0) + number
            faults += [f"{tested.name}: {fault}" for fault in failed]
        if faults:
            raise Refused("The policies do not say what their cases expect.", faults)
        out.result(
            passed, *(styled("{}: {} as expected.", name, counted(number, "case")) for name, number in passed.items())
        )
