"""Changes of what a project works with: adopted files, the key ring, its own keys. Each is an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sdk import crypto
from sdk.crypto.keyring import (
    Member,
    RevocationReason,
    Ring,
    Role,
    add,
    put_in_force,
    replace,
    require_same_text,
    revoke,
    signing_member,
    wrapping_member,
)
from sdk.domain import read_domain
from sdk.errors import InvalidInput
from sdk.files.regular_files import YAML_BYTES, read_regular
from sdk.files.store import bytes_ref
from sdk.policy import Policy, loosened, parse_policy
from sdk.project.charter import (
    ENCRYPTION_NAME,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    read_public_pem,
    require_rows,
    rules_of,
    wrap_secret,
    write_ring,
)
from sdk.project.gather import data_key, last_promotion, trainer_pem
from sdk.project.own_settings import own_texts
from sdk.project.perform import Request, perform, recorded
from sdk.project.state import ProjectState
from sdk.records import Package, Release, Rewrapped
from sdk.seal import PACKAGE, key_context, open_package

OwnKey = Literal["signing", "log", "encryption", "owner"]
ROLES: dict[OwnKey, Role] = {"signing": "trainer", "log": "log", "encryption": "encryption", "owner": "owner"}


def amend(
    state: ProjectState,
    action: str,
    changes: Mapping[str, Any],
    ring: Ring | None = None,
    detail: Mapping[str, str] | None = None,
) -> None:
    """Write a new charter and, where given, a new key ring that an owner signs; an event, if anything changes.

    changes: fields of the charter; detail: what the event says of it.
    """
    if ring is not None:
        changes = {**changes, "ring": ring.digest}
    charter = state.charter.model_copy(update=dict(changes))
    if charter == state.charter:
        return
    with recorded(state, action, {"ring": ring.digest} if ring else {}, detail=detail) as results:
        if ring is not None:
            write_ring(state.root, ring, state.owner())
            state.rings = (*state.rings, ring)
        results["charter"] = state.records.put(charter)
        state.charter = charter


def adopt_files(state: ProjectState, domain: str | Path | None, policy: str | Path | None) -> None:
    """Put a domain or a policy in force, or the edits that were made in the project's own copies: the owner signs it.

    Everything that could refuse it comes before the first file is copied.
    """
    state.owner()
    settings = find_domain(domain) if domain is not None else state.domain_folder
    source = settings if domain is not None else state.domain_source
    require_rows(source, state.charter.rows, own_texts(state.charter.rows))
    file = find_policy(policy) if policy is not None else state.root / state.charter.policy_file.path
    data = read_regular(file, YAML_BYTES)
    unchanged = policy is None and bytes_ref(state.charter.policy_file.path, data) == state.charter.policy_file
    rules = parse_policy(data, file, adopted=unchanged)
    require_same_text(state.rings, rules_of(rules, dict(state.charter)))
    changes = {**adopt_domain(state.root, source, settings), **adopt_policy(state.root, file, data, rules)}
    if domain is not None:
        changes["own_settings"] = {}
    in_force, ring = rules_of(rules, changes), None
    if in_force != state.ring.rules:
        ring = put_in_force(state.rings, in_force, datetime.now(UTC), state.log_head())
    amend(state, "init", changes, ring, _what_loosens(state, rules) | _what_is_kept(state.domain_folder))


def _what_is_kept(folder: Path) -> dict[str, str]:
    """Say for the event what the domain's own list keeps, by numbers and a digest: a term may be somebody's name."""
    keep = read_domain(folder).keep
    return {"keep": keep.brief()} if keep else {}


def _what_loosens(state: ProjectState, policy: Policy) -> dict[str, str]:
    """Say for the event in what a policy is looser than the one in force; nothing where it is not."""
    if state.ring.rules is None or state.ring.rules.policy_digest == policy.digest:
        return {}
    before = state.policy_of(state.ring.rules.policy_digest)
    looser = loosened(before, policy)
    return {"looser": f"{policy.name} than {before.name}: {'; '.join(looser)}"} if looser else {}


def enroll_member(
    state: ProjectState, name: str, key: str, roles: Sequence[Role], valid_until: datetime | None
) -> Member:
    """Add a person's key to the key ring; one that is there in just these roles stays as it is."""
    public = crypto.open_signer(key).public_pem if ":" in key else read_public_pem(Path(key))
    known = state.ring.find(crypto.fingerprint(public))
    if known is not None and (known.name, set(known.roles), known.revoked) == (name, set(roles), None):
        return known
    at = datetime.now(UTC)
    member = signing_member(name, roles, public, at, valid_until)
    amend(state, "enroll", {}, add(state.ring, member, at, state.log_head()))
    return member


def revoke_keys(state: ProjectState, key: str, reason: RevocationReason) -> list[Member]:
    """Revoke a key by the beginning of its id, or all keys of a person by name. Return them as they are then."""
    ring = state.ring
    named = [member for member in ring.members if member.name == key or member.key_id.startswith(key)]
    if len({member.name for member in named}) != 1:
        listed = [f"{member.name}: {member.key_id[:16]}" for member in ring.members]
        raise InvalidInput(f"{key} names {len(named)} keys of the key ring; name one person or key of:", listed)
    ids = [member.key_id for member in named if member.revoked is None or reason == "compromised"]
    for role in ("log", "encryption"):  # without one the project could not even record that it was revoked
        left = [member for member in ring.with_role(role) if member.revoked is None and member.key_id not in ids]
        if not left:
            raise InvalidInput(f"The project uses this key; put another in its place: `sdk keys rotate {role} URI`.")
    for key_id in ids:
        amend(state, "revoke", {}, revoke(state.ring, key_id, reason, datetime.now(UTC), state.log_head()))
    return [member for member in state.ring.members if member.key_id in ids]


def rotate_key(state: ProjectState, kind: OwnKey, key: str) -> Member:
    """Put the key at a URI in the place of one of the project's own. Return the one that is in force then."""
    at = datetime.now(UTC)
    if kind == "encryption":
        return _rotate_encryption(state, key, at)
    signer = crypto.open_signer(key, state.root)
    field = f"{kind}_key"
    known = state.ring.find(signer.fingerprint)
    if known is not None and ROLES[kind] in known.roles and known.revoked is None:
        amend(state, "rotate", {field: key})  # somebody else who may, such as a second owner
        return known
    old = state.ring.find(crypto.open_signer(getattr(state.charter, field), state.root).fingerprint)
    if old is None:
        raise InvalidInput(f"The project's {kind} key is not in its key ring; enroll and revoke instead.")
    member = signing_member(old.name, old.roles, signer.public_pem, at)
    amend(state, "rotate", {field: key}, replace(state.ring, old.key_id, member, at, state.log_head()))
    return member


def _rotate_encryption(state: ProjectState, key: str, at: datetime) -> Member:
    """Wrap the data keys anew first: until the charter names the new key, everything still opens with the old one."""
    old, new, secret = state.wrapper(), crypto.open_wrapper(key, state.root), state.secret()
    member = wrapping_member(ENCRYPTION_NAME, new.key_id, at)
    ring = replace(state.ring, old.key_id, member, at, state.log_head())
    perform(state, rewrap_request(state, new, ring))
    amend(state, "rotate", {"encryption_key": key, "wrapped_secret": wrap_secret(new, secret)}, ring)
    return member


def rewrap_request(state: ProjectState, new: crypto.Wrapper, ring: Ring) -> Request[Rewrapped]:
    """Ask for the data key of every package under a new encryption key, for the key ring that will name it."""

    def work(folder: Path) -> Rewrapped:
        wrapped = {}
        for package in state.distinct(Package):
            manifest = open_package(state.folder(package) / PACKAGE, package, trainer_pem(state, package), None)
            plain_key = data_key(state, package, manifest)
            if plain_key is not None:
                wrapped[package.package] = new.wrap(plain_key, key_context(manifest.package_id))
        return Rewrapped(key_id=new.key_id, wrapped=wrapped)

    return Request(Rewrapped, {"charter": state.charter.digest, "ring": ring.digest}, work)


def tell_of_champion(state: ProjectState) -> None:
    """Give loaders the newest key ring after it changed, and show in MLflow what became of the approvals."""
    champion = last_promotion(state)
    if champion is not None:
        from sdk.project.publishing import publish_request

        perform(state, publish_request(state, state.records.get(Release, champion.objects["release"])))
