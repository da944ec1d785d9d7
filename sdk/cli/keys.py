"""`sdk keys`: make keys, and enroll those who decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sdk import crypto
from sdk.cli.app import HERE, JsonOption, ProjectOption, app, output
from sdk.project import Project
from sdk.store import write_atomic

keys = typer.Typer(help="Make keys, and enroll those who decide on packages with theirs.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command()
def new(
    path: Annotated[Path, typer.Argument(help="The new private key's file; PATH.pub will hold the public key.")],
    json: JsonOption = False,
) -> None:
    """Make a signing key (ECDSA P-256): a private file of mode 0600 and a public one to hand out."""
    with output(json) as out:
        key = crypto.SigningKey.random()
        crypto.save_key(key, path)
        public = path.with_name(path.name + ".pub")
        write_atomic(public, key.public_pem.encode())
        out.result(
            {"private": str(path), "public": str(public), "fingerprint": key.fingerprint},
            f"Private key [bold]{escape(str(path))}[/] (keep it), public key {escape(str(public))} (hand it out). "
            f"Fingerprint {key.fingerprint}.",
        )


@keys.command()
def enroll(
    name: Annotated[str, typer.Argument(help="Who holds the key.")],
    key: Annotated[str, typer.Argument(help="The public key's file (PEM).")],
    project: ProjectOption = HERE,
    json: JsonOption = False,
) -> None:
    """Let somebody decide on this project's packages. An event in the audit trail."""
    with output(json) as out:
        holder = Project.open(project).enroll(name, key)
        out.result(holder.model_dump(mode="json"), f"{escape(name)} may decide; key {holder.fingerprint[:16]}.")
