"""`sdk keys`: make keys, and say who may do what with theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import RenderableType

from sdk import crypto
from sdk.cli.app import HERE, Commands, JsonOption, ProjectOption, app, output
from sdk.cli.terminal import styled
from sdk.crypto.keyring import Member, RevocationReason, Role
from sdk.project import Project

keys = typer.Typer(
    help="Make keys, and say in the signed key ring who may do what with theirs.", cls=Commands, no_args_is_help=True
)
app.add_typer(keys, name="keys")

MAKE: dict[str, Callable[[], crypto.SigningKey | crypto.LogKey | crypto.Secret]] = {
    "signing": crypto.SigningKey.random,
    "log": crypto.LogKey.random,
    "encryption": crypto.Secret.random,
}


@keys.command()
def new(
    path: Annotated[Path, typer.Argument(help="The new key's file; PATH.pub will hold the public key, if it has one.")],
    kind: Annotated[
        Literal["signing", "log", "encryption"],
        typer.Option(help="signing (ECDSA P-256: people, packages), log (Ed25519) or encryption (32 bytes)."),
    ] = "signing",
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Encrypt the file; asks, or takes the variable {crypto.PASSPHRASE}.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a key: a private file of mode 0600 and, for signing, a public one to hand out."""
    with output(json) as out:
        key = MAKE[kind]()
        public = path.with_name(path.name + ".pub")
        crypto.require_no_files(path, public)
        secret = None
        if passphrase:
            secret = os.environ.get(crypto.PASSPHRASE) or typer.prompt(
                "Passphrase", hide_input=True, confirmation_prompt=True
            )
        crypto.save_key(key, path, None if secret is None else secret.encode())
        if isinstance(key, crypto.Secret):
            out.result(
                {"private": str(path), "key_id": key.key_id},
                styled("Encryption key [bold]{}[/] (keep it). Its id:", path),
                styled("{}", key.key_id),
            )
            return
        crypto.save_public_key(key, public)
        out.result(
            {"private": str(path), "public": str(public), "fingerprint": key.fingerprint},
            styled("Private key [bold]{}[/] (keep it), public key {} (hand it out). Its fingerprint:", path, public),
            styled("{}", key.fingerprint),
        )


@keys.command()
def enroll(
    name: Annotated[str, typer.Argument(help="Who holds the key.")],
    key: Annotated[str, typer.Argument(help="The public key's file (PEM), or a key URI.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help="reviewer, approver, trainer or owner; may be given again.", show_default="approver"),
    ] = None,
    valid_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The last day, UTC; what is signed later does not count."),
    ] = None,
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Let somebody act on this project's packages. The project's owner signs the key ring; an event."""
    with output(json) as out:
        roles: list[Role] = role or ["approver"]  # type: ignore[assignment]  # pydantic checks them
        until = None if valid_until is None else valid_until.replace(tzinfo=UTC) + timedelta(days=1)
        member = Project.open(project).enroll(name, key, roles=roles, valid_until=until)
        out.result(
            member.model_dump(mode="json"),
            styled("{} is {}; key {}.", name, " and ".join(member.roles), member.key_id[:16]),
        )


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="A person's name, or the beginning of a key's id.")],
    reason: Annotated[
        RevocationReason,
        typer.Option(help="left, superseded: what was signed before counts; compromised: nothing does."),
    ],
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Revoke a key, or all of a person's. The project's owner signs the key ring; an event."""
    with output(json) as out:
        revoked = Project.open(project).revoke(key, reason=reason)
        out.result(
            [member.model_dump(mode="json") for member in revoked],
            *(styled("Revoked: {}, key {} ({}).", member.name, member.key_id[:16], reason) for member in revoked),
        )


@keys.command()
def rotate(
    kind: Annotated[
        Literal["signing", "log", "encryption", "owner"], typer.Argument(help="Which of the project's own keys.")
    ],
    key: Annotated[str, typer.Argument(help="The new key's URI; make one with `sdk keys new`.")],
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Put another key in the place of one of the project's own. Rotating encryption touches no weights. An event."""
    with output(json) as out:
        member = Project.open(project).rotate(kind, key)
        said = styled("The {} key is now {}, {}.", kind, member.key_id[:16], key)
        out.result(member.model_dump(mode="json"), said)


@keys.command("list")
def list_(project: ProjectOption = HERE, json: JsonOption = False) -> None:
    """List every key that the project's key ring names, with its whole id."""
    with output(json) as out:
        members = Project.open(project).members()
        out.result([member.model_dump(mode="json") for member in members], *_listed(members))


@keys.command()
def trust(
    path: Annotated[Path, typer.Argument(help="The new file.")], project: ProjectOption = HERE, json: JsonOption = False
) -> None:
    """Write what a machine that serves the model must know beforehand: root digest, base, encryption key's URI."""
    with output(json) as out:
        Project.open(project).save_trust(path)
        out.result(
            {"trust": str(path)},
            styled(
                "Wrote [bold]{}[/]. Where the model is served, name it in SDK_TRUST, and correct the base's folder and "
                "the key's URI for that machine.",
                path,
            ),
        )


def _listed(members: tuple[Member, ...]) -> Iterator[RenderableType]:
    """Show each key on a line of its own, whole at 80 columns, below who holds it and what it counts for."""
    for member in members:
        revocation = member.revoked
        until = f" to {_last_day(member.valid_until)}" if member.valid_until else ""
        yield styled(
            "[bold]{}[/]: {}; {}, from {}{}{}",
            member.name,
            ", ".join(member.roles),
            member.algorithm,
            member.valid_from[:10],
            until,
            styled("; [red]revoked {} ({})", revocation.time[:10], revocation.reason) if revocation else "",
        )
        yield styled("  [dim]{}", member.key_id)


def _last_day(valid_until: str) -> str:
    return (datetime.fromisoformat(valid_until) - timedelta(milliseconds=1)).date().isoformat()
