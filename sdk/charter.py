"""Making a project: its adopted domain and policy, its keys, its charter and the first two events."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from sdk import crypto
from sdk.audit import Audit
from sdk.domain import DATA, SETTINGS, read_domain, require_files
from sdk.errors import InvalidInput
from sdk.policy import read_policy, validation_faults
from sdk.records import Charter, Holder
from sdk.store import Records, file_ref, folder_refs, shipped

SIGNING_KEY = "file:keys/signing.pem"
SECRET_KEY = "file:keys/secret.key"  # noqa: S105 - a URI


def find_domain(domain: str | Path) -> Path:
    return _find(domain, "domains", lambda folder: [p.name for p in folder.iterdir() if p.is_dir()], "")


def _find(name: str | Path, kind: str, listing: Callable[[Path], list[str]], suffix: str) -> Path:
    path = Path(name)
    if path.exists():
        return path
    inside = shipped(kind) / f"{name}{suffix}"
    if path.name == str(name) and inside.exists():
        return inside
    raise InvalidInput(f"{name!s} is neither a path nor one of the shipped {kind}.", sorted(listing(shipped(kind))))


def find_policy(policy: str | Path) -> Path:
    """The file of a policy by path, id or alias."""
    files = sorted(shipped("policies").glob("*.yaml"))
    for file in files:
        if str(policy) in read_policy(file).aliases:
            return file
    return _find(policy, "policies", lambda folder: [file.stem for file in files], ".yaml")


def adopt_domain(root: Path, source: Path, settings: Path) -> dict[str, Any]:
    """Copy a domain's settings, but never its data, into the project; the charter's fields about it."""
    require_files(source, DATA)
    read = read_domain(settings)
    folder = root / "domain"
    if settings.resolve() != folder.resolve():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in SETTINGS:
            shutil.copyfile(settings / name, folder / name)
    is_shipped = source.resolve().parent == shipped("domains").resolve()
    return {
        "domain": f"{read.name}@{read.version}",
        "domain_files": folder_refs(folder),
        "domain_source": source.name if is_shipped else str(source.resolve()),
        "domain_data": tuple(file_ref(source / name, source) for name in DATA),
    }


def adopt_policy(root: Path, source: Path) -> dict[str, Any]:
    """Copy a policy into the project; the charter's fields about it."""
    rules = read_policy(source)
    file = root / "policy.yaml"
    if source.resolve() != file.resolve():
        shutil.copyfile(source, file)
    return {"policy": rules.name, "policy_file": file_ref(file, root)}


K = TypeVar("K", crypto.SigningKey, crypto.Secret)


def open_or_make(uri: str, root: Path, default: str, open_key: Callable[[str, Path], K], make: Callable[[], K]) -> K:
    if uri == default:
        key = make()
        crypto.save_key(key, root / uri.removeprefix("file:"))
        return key
    return open_key(uri, root)


def make_holder(name: str, role: Literal["trainer", "approver"], public_pem: str) -> Holder:
    return Holder(name=name, role=role, public_key=public_pem, fingerprint=crypto.fingerprint(public_pem))


def read_public_pem(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            f"{path} is not a readable public key in PEM format; name it, or a key URI (file:…)."
        ) from None


def make_charter(**fields: Any) -> Charter:
    if "@" in (fields["tracking_uri"] or ""):
        raise InvalidInput(
            "The tracking URI holds credentials; give them in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    try:
        return Charter(**fields)
    except ValidationError as error:
        raise InvalidInput("The project cannot be made.", validation_faults(error)) from None


def found(root: Path, charter: Charter, key: crypto.SigningKey) -> None:
    """The first two events and the charter's record."""
    digest = Records(root / "records").put(charter)
    audit = Audit(root / "audit.jsonl")
    audit.append(key, "init", "started", {}, charter.policy, {})
    audit.append(key, "init", "finished", {"charter": digest}, charter.policy, {})


def copy_domain(domain: str | Path, folder: Path) -> None:
    """Copy a domain's folder for its user to edit; the copy carries the new folder's name."""
    if folder.exists():
        raise InvalidInput(f"{folder} exists; name a new folder.")
    source = find_domain(domain)
    name = read_domain(source).name
    shutil.copytree(source, folder)
    described = folder / "domain.yaml"
    text = described.read_text(encoding="utf-8")
    described.write_text(text.replace(f"name: {name}\n", f"name: {folder.name.lower()}\n", 1), encoding="utf-8")
    read_domain(folder)
