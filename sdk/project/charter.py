"""Making a project: its adopted domain and policy, its keys and key ring, its charter and the first two events."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sdk import crypto
from sdk.audit import Audit
from sdk.crypto.keyring import InForce, Ring, create_ring, sign_ring, signing_member, wrapping_member
from sdk.domain import (
    DATA,
    PLANTED,
    SETTINGS,
    changed_settings,
    parse_domain,
    read_domain,
    require_files,
    require_function,
)
from sdk.domain.recognizer_format import parse_recognizers
from sdk.errors import InvalidInput
from sdk.files.regular_files import KEY_BYTES, RECOGNIZERS_BYTES, FileBytes, read_regular, read_text
from sdk.files.store import (
    POLICIES,
    RINGS,
    SECRET_CONTEXT,
    Records,
    bytes_ref,
    copy_file,
    file_ref,
    folder_refs,
    held_checkpoint,
    log_origin,
    refs_digest,
    shipped,
    write_atomic,
)
from sdk.policy import Policy, read_policy, validation_faults
from sdk.records import Charter, OwnRows, canonical_json

SIGNING_KEY = "file:keys/signing.pem"
LOG_KEY = "file:keys/log.pem"
OWNER_KEY = "file:keys/owner.pem"
ENCRYPTION_KEY = "file:keys/encryption.key"
# what the key ring calls the keys that it does not name by a person
OWNER_NAME = "owner"
TRAINER_NAME = "trainer"
LOG_NAME = "audit log"
ENCRYPTION_NAME = "encryption"


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
    """Return the file of a policy, by path, id or alias."""
    files = sorted(shipped("policies").glob("*.yaml"))
    for file in files:
        if str(policy) in read_policy(file).aliases:
            return file
    return _find(policy, "policies", lambda folder: [file.stem for file in files], ".yaml")


def adopt_domain(root: Path, source: Path, settings: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Copy a domain's settings, but never its data, into the project. Return the charter's fields about it.

    changes: keys of domain.yaml that the copy says otherwise.
    Raises InvalidInput with every fault of its domain.yaml, or of its recognizers.yaml as far as no Presidio is needed:
    importing that takes seconds, and the step that scrubs does.
    """
    require_files(settings, SETTINGS)
    files = {name: read_regular(settings / name, limit) for name, limit in SETTINGS.items()}
    described = changed_settings(FileBytes(settings / "domain.yaml", files["domain.yaml"]), changes or {})
    files["domain.yaml"] = described.data
    read = parse_domain(described)
    if module := read.scoring.module:
        files[module] = read_regular(settings / module, RECOGNIZERS_BYTES)
        require_function(FileBytes(settings / module, files[module]), read.scoring.entry_point)
    parse_recognizers(FileBytes(settings / "recognizers.yaml", files["recognizers.yaml"]))
    folder = root / "domain"
    if settings.resolve() != folder.resolve():
        shutil.rmtree(folder, ignore_errors=True)
        for name, data in files.items():
            write_atomic(folder / name, data)
    # of the bytes that were read: what somebody puts in their place meanwhile is not what was adopted
    refs = {ref.path: ref for ref in folder_refs(folder)} | {
        name: bytes_ref(name, data) for name, data in files.items()
    }
    return {
        "domain": f"{read.name}@{read.version}",
        "domain_files": tuple(ref for _, ref in sorted(refs.items())),
        "domain_source": source.name if is_shipped(source) else str(source.resolve()),
        "domain_data": tuple(
            file_ref(source / name, source) for name in (*DATA, PLANTED) if os.path.lexists(source / name)
        ),
    }


def is_shipped(domain: Path) -> bool:
    return domain.resolve().parent == shipped("domains").resolve()


def require_rows(source: Path, rows: OwnRows | None, held_out: bool) -> None:
    """Raise InvalidInput where a project would have no rows: neither its own nor the domain's.

    held_out: its training rows are running text, of which some are evaluated.
    """
    given = rows or OwnRows()
    missing = [
        f"no {what}: name them with {option}, or put {name} into the domain's folder"
        for name, own, what, option in (
            (DATA[0], given.train, "training rows", "--data"),
            (DATA[1], given.eval, "questions to evaluate with", "--eval"),
        )
        if not own and not os.path.lexists(source / name) and not (held_out and name == DATA[1])
    ]
    if missing:
        raise InvalidInput(f"Domain {source.name} is for rows that you bring.", missing)


def adopt_policy(root: Path, source: Path, data: bytes, policy: Policy) -> dict[str, Any]:
    """Copy a policy into the project, by the bytes that it was read from. Return the charter's fields about it."""
    file = root / "policy.yaml"
    if source.resolve() != file.resolve():
        write_atomic(file, data)
    keep_policy(root, policy)
    return {"policy": policy.name, "policy_file": bytes_ref(file.name, data)}


def rules_of(policy: Policy, fields: Mapping[str, Any]) -> InForce:
    """Return what a key ring says of a policy and a domain. fields: the charter's about the domain."""
    return InForce(
        policy=policy.name,
        policy_digest=policy.digest,
        domain=fields["domain"],
        domain_digest=refs_digest((*fields["domain_files"], *fields["domain_data"])),
    )


def keep_policy(root: Path, policy: Policy) -> None:
    """Keep a policy under its digest: what was sealed under it is judged by it after another has taken its place."""
    write_atomic(root / POLICIES / f"{policy.digest}.json", canonical_json(policy.model_dump(mode="json")))


class BaseChoice(NamedTuple):
    """Which base a project is made for, and what its user says of it; None: its model card is asked.

    template: the name of a chat template; None: the base's own, or where it has none one for the domain's language.
    """

    place: str
    name: str | None = None
    license: str | None = None
    template: str | None = None


class DomainChoice(NamedTuple):
    """Which domain a project is made of, which of its settings are otherwise, and whose rows it is for."""

    name: str | Path
    settings: Mapping[str, Any]  # keys of domain.yaml -> what their user set
    rows: OwnRows | None = None


class KeyURIs(NamedTuple):
    """Where the four keys of a project are; the names are the charter's fields."""

    signing_key: str = SIGNING_KEY
    log_key: str = LOG_KEY
    owner_key: str = OWNER_KEY
    encryption_key: str = ENCRYPTION_KEY


@dataclass(frozen=True)
class ProjectKeys:
    """The four keys, opened."""

    signing: crypto.Signer
    log: crypto.Signer
    owner: crypto.Signer
    wrapper: crypto.Wrapper


def open_keys(root: Path, uris: KeyURIs) -> ProjectKeys:
    """Open the keys at the URIs and make those at a default one. Raises InvalidInput where a key cannot serve."""
    makers: tuple[Callable[[], crypto.SigningKey | crypto.LogKey | crypto.Secret], ...] = (
        crypto.SigningKey.random,
        crypto.LogKey.random,
        crypto.SigningKey.random,
        crypto.Secret.random,
    )
    for uri, default, make in zip(uris, KeyURIs(), makers, strict=True):
        if uri == default:
            crypto.save_key(make(), root / uri.removeprefix("file:"))
    keys = ProjectKeys(
        signing=crypto.open_signer(uris.signing_key, root),
        log=crypto.open_signer(uris.log_key, root),
        owner=crypto.open_signer(uris.owner_key, root),
        wrapper=crypto.open_wrapper(uris.encryption_key, root),
    )
    wrong = [
        f"{name}: {signer.algorithm}, where {wanted} is needed"
        for name, signer, wanted in (
            ("signing_key", keys.signing, "ecdsa-p256"),
            ("log_key", keys.log, "ed25519"),
            ("owner_key", keys.owner, "ecdsa-p256"),
        )
        if signer.algorithm != wanted
    ]
    prints = [keys.signing.fingerprint, keys.log.fingerprint, keys.owner.fingerprint]
    if len(set(prints)) < len(prints):
        wrong.append("signing_key, log_key and owner_key are not three different keys")
    if wrong:
        raise InvalidInput("The project's keys cannot be used.", wrong)
    return keys


def first_ring(project: str, keys: ProjectKeys, trainer: str, rules: InForce) -> Ring:
    at = datetime.now(UTC)
    members = (
        signing_member(OWNER_NAME, ("owner",), keys.owner.public_pem, at),
        signing_member(trainer, ("trainer",), keys.signing.public_pem, at),
        signing_member(LOG_NAME, ("log",), keys.log.public_pem, at),
        wrapping_member(ENCRYPTION_NAME, keys.wrapper.key_id, at),
    )
    return create_ring(project, members, at, rules)


def write_ring(root: Path, ring: Ring, owner: crypto.Signer) -> None:
    write_atomic(root / RINGS / f"{ring.version:04}.dsse.json", sign_ring(ring, owner))


def wrap_secret(wrapper: crypto.Wrapper, secret: crypto.Secret) -> str:
    return wrapper.wrap(secret, SECRET_CONTEXT)


def read_public_pem(path: Path) -> str:
    try:
        return read_regular(path, KEY_BYTES).decode("ascii")
    except (InvalidInput, UnicodeDecodeError) as error:
        why = f" {error.message}" if isinstance(error, InvalidInput) else ""
        raise InvalidInput(
            f"{path} is not a readable public key in PEM format; name it, or a key URI (file:…).{why}"
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


def write_first_events(root: Path, charter: Charter, log_key: crypto.Signer) -> None:
    """Write the charter's record and the first two events."""
    digest = Records(root / "records").put(charter)
    held_checkpoint(charter.root).unlink(missing_ok=True)
    audit = Audit(root / "audit", log_origin(charter.root), [held_checkpoint(charter.root)])
    objects = {"charter": digest, "ring": charter.ring}
    if charter.template is not None:
        objects["template"] = charter.template.sha256
    audit.append(log_key, "init", "started", {}, charter.policy, {})
    audit.append(log_key, "init", "finished", objects, charter.policy, {}, decision="permit")


def copy_domain(domain: str | Path, folder: str | Path) -> None:
    """Copy a domain's folder for its user to edit; the copy carries the new folder's name.

    domain: a shipped one by name, or a folder. Raises InvalidInput if the new folder exists or the domain has a fault.
    """
    folder = Path(folder)
    if folder.exists():
        raise InvalidInput(f"{folder} exists; name a new folder.")
    source = find_domain(domain)
    name = read_domain(source).name
    recognizers = source / "recognizers.yaml"
    parse_recognizers(FileBytes(recognizers, read_regular(recognizers, SETTINGS[recognizers.name])))
    for ref in folder_refs(source):  # which refuses links: one could bring any file of this user's along
        copy_file(source / ref.path, folder / ref.path)
    described = folder / "domain.yaml"
    text = read_text(described, SETTINGS[described.name])
    write_atomic(described, text.replace(f"name: {name}\n", f"name: {folder.name.lower()}\n", 1).encode())
    read_domain(folder)
