"""The key ring: who may do what on a project with which key, signed by an owner, one version after the other.

Each version is a DSSE envelope and names the digest of the one before. Version 1 is signed by an owner whom it names
itself and is trusted because its digest, the project's root, is pinned; each later one is signed by an owner of the
version before, as roots are rotated in The Update Framework (TUF 1.0, 5.3). A key in the ring is revoked, and otherwise
never changed or taken out, so that what it signed stays what it was.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, FailFast, Field, ValidationError, model_validator

from sdk import crypto
from sdk.crypto import dsse
from sdk.crypto.names import require_own_name
from sdk.errors import InvalidInput, Refused, Remedy, Tampered, another
from sdk.records import Frozen, Sha256, canonical_json, sha256

PAYLOAD_TYPE = "application/vnd.domain-adaptation-sdk.ring+json"
MAX_MEMBERS = 1000
T = TypeVar("T")

Role = Literal["owner", "trainer", "log", "reviewer", "approver", "encryption"]
Algorithm = Literal["ecdsa-p256", "ed25519", "wrapping"]
RevocationReason = Literal["superseded", "left", "compromised"]
# a role whose keys do nothing else, and the algorithm that it needs
KEPT_APART: dict[Role, Algorithm] = {"log": "ed25519", "encryption": "wrapping"}


def timestamp(at: datetime) -> str:
    """Write a time in the one form of rings and decisions: UTC, ISO 8601, milliseconds."""
    if at.tzinfo is None:
        raise InvalidInput("A time needs its time zone, as in 2026-11-26T09:30:00+00:00.")
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _is_timestamp(text: str) -> str:
    if not text.endswith("+00:00") or timestamp(datetime.fromisoformat(text)) != text:
        raise ValueError("must be UTC as 2026-11-26T09:30:00.000+00:00")
    return text


Time = Annotated[str, AfterValidator(_is_timestamp)]


def _is_shown_as_it_is(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("a name has only characters that can be seen, and no space around it")
    return name


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_is_shown_as_it_is)]


class Revocation(Frozen):
    time: Time = Field(description="UTC, ISO 8601; what was signed from then on does not count")
    reason: RevocationReason = Field(description="compromised: what was signed before does not count either")


class Member(Frozen):
    """One key of one person; a person with several keys is named the same in each."""

    name: Name
    roles: tuple[Role, ...] = Field(min_length=1)
    algorithm: Algorithm
    public_key: str | None = Field(description="PEM; None: a wrapping key, which signs nothing")
    key_id: str = Field(
        pattern=r"^[\x21-\x7e]{1,2048}$", description="fingerprint of the public key; a wrapping key's own id"
    )
    valid_from: Time = Field(description="UTC, ISO 8601")
    valid_until: Time | None = Field(default=None, description="UTC, ISO 8601, exclusive; None: no end")
    revoked: Revocation | None = None

    @property
    def compromised(self) -> bool:
        return self.revoked is not None and self.revoked.reason == "compromised"

    @model_validator(mode="after")
    def _holds_together(self) -> Member:
        if len(set(self.roles)) != len(self.roles):
            raise ValueError("a role is named twice")
        for role, algorithm in KEPT_APART.items():
            if (role in self.roles or self.algorithm == "wrapping" == algorithm) and (
                self.roles != (role,) or self.algorithm != algorithm
            ):
                raise ValueError(f"the role {role} needs a key of its own ({algorithm})")
        if (self.public_key is None) != (self.algorithm == "wrapping"):
            raise ValueError("a signing key has a public key, and a wrapping key has none")
        if self.public_key is not None:
            _check_public_key(self.public_key, self.algorithm, self.key_id)
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until is not after valid_from")
        return self


def _check_public_key(public_key: str, algorithm: str, key_id: str) -> None:
    try:
        actual, fingerprint = crypto.algorithm(public_key), crypto.fingerprint(public_key)
    except InvalidInput as error:
        raise ValueError(error.message) from None
    if actual != algorithm:
        raise ValueError(f"the public key is of {actual}, not of {algorithm}")
    if fingerprint != key_id:
        raise ValueError("key_id is not the fingerprint of the public key")


def _folded(name: str) -> str:
    """Fold case, width and spaces, so that two spellings that a reader takes for one name are equal."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


class Ring(Frozen):
    project: str = Field(min_length=1)
    version: int = Field(ge=1)
    previous: Sha256 | None = Field(description="digest of the version before; None: this is version 1")
    time: Time = Field(description="UTC, ISO 8601")
    # the first fault ends it: version 1 is read before it is verified, and a list of millions of faults fills memory
    members: Annotated[tuple[Member, ...], FailFast()] = Field(min_length=1, max_length=MAX_MEMBERS)

    @model_validator(mode="after")
    def _holds_together(self) -> Ring:
        if (self.previous is None) != (self.version == 1):
            raise ValueError("version 1, and no other, has none before it")
        key_ids = [member.key_id for member in self.members]
        if len(set(key_ids)) != len(key_ids):
            raise ValueError("a key stands twice in the ring")
        spellings: dict[str, str] = {}
        for member in self.members:
            if spellings.setdefault(_folded(member.name), member.name) != member.name:
                raise ValueError(f"{member.name!r} and {spellings[_folded(member.name)]!r} could be one person")
        if not any(member.revoked is None for member in self.with_role("owner")):
            raise ValueError("no owner is left whose key is not revoked; name another one first")
        return self

    @property
    def digest(self) -> str:
        return sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json"))

    def find(self, key_id: str) -> Member | None:
        return next((member for member in self.members if member.key_id == key_id), None)

    def with_role(self, role: Role) -> tuple[Member, ...]:
        """Return the members with a role, also those whose keys are revoked or not valid now; `why_not_valid` tells."""
        return tuple(member for member in self.members if role in member.roles)

    def log_keys(self, *, also_compromised: bool = False) -> list[str]:
        """Return the public keys, PEM, that may have signed the audit log, the newest first."""
        members = reversed(self.with_role("log"))
        return [str(one.public_key) for one in members if also_compromised or not one.compromised]

    def public_keys(self) -> dict[str, str]:
        """Return fingerprint -> PEM of every key that can sign."""
        return {member.key_id: member.public_key for member in self.members if member.public_key is not None}


def why_not_valid(member: Member, at: datetime) -> str | None:
    """Say why a key does not count for something done at that time; None: it counts.

    A compromised key counts for nothing, since whoever has it can date back what they sign; one that was superseded or
    whose holder left counts until its revocation. An end is exclusive: at that very moment the key no longer counts.
    """
    done = timestamp(at)
    if member.revoked is not None:
        if member.revoked.reason == "compromised":
            return "its key is revoked as compromised, and nothing that it signed counts"
        if done >= member.revoked.time:
            return f"its key is revoked since {member.revoked.time} ({member.revoked.reason})"
    if done < member.valid_from:
        return f"its key is valid only from {member.valid_from}"
    if member.valid_until is not None and done >= member.valid_until:
        return f"its key was valid until {member.valid_until}"
    return None


def first_that_holds(keys: Sequence[str], check: Callable[[str], T]) -> T:
    """Return what a check says under the first key that it does not call Tampered; else raise what the first one gave.

    The newest key comes first, so that the error of a log that no key signed is about the key in force.
    """
    if not keys:
        raise Tampered("The key ring names no key that may sign the audit log.", remedy=Remedy.KEY)
    fault: Tampered | None = None
    for key in keys:
        try:
            return check(key)
        except Tampered as error:
            fault = fault or error
    assert fault is not None
    raise fault


# -- the next version -------------------------------------------------------------------------------------------------


def signing_member(
    name: str, roles: Sequence[Role], public_key: str, at: datetime, valid_until: datetime | None = None
) -> Member:
    """Make the entry of a public key in PEM format, valid from `at`; InvalidInput lists what is wrong with it."""
    return _member(
        name=name,
        roles=tuple(roles),
        algorithm=crypto.algorithm(public_key),
        public_key=public_key,
        key_id=crypto.fingerprint(public_key),
        valid_from=timestamp(at),
        valid_until=None if valid_until is None else timestamp(valid_until),
    )


def wrapping_member(name: str, key_id: str, at: datetime, valid_until: datetime | None = None) -> Member:
    """Make the entry of a key that wraps data keys, by its id (`Wrapper.key_id`)."""
    return _member(
        name=name,
        roles=("encryption",),
        algorithm="wrapping",
        public_key=None,
        key_id=key_id,
        valid_from=timestamp(at),
        valid_until=None if valid_until is None else timestamp(valid_until),
    )


def create_ring(project: str, members: Sequence[Member], at: datetime) -> Ring:
    """Make version 1 of a key ring. Its digest is the project's root."""
    for place, member in enumerate(members):
        require_own_name(member.name, [other.name for other in members[:place]])
    return _ring(project=project, version=1, previous=None, time=timestamp(at), members=tuple(members))


def add(ring: Ring, member: Member, at: datetime) -> Ring:
    """Make the next version, with one more key."""
    if ring.find(member.key_id) is not None:
        raise InvalidInput(f"The key {member.key_id[:16]} is in the ring; enroll another key.")
    # Here and not in Ring, so that a ring of an earlier version, which knew fewer look-alikes, still opens.
    require_own_name(member.name, [other.name for other in ring.members])
    return _next(ring, (*ring.members, member), at)


def revoke(ring: Ring, key_id: str, reason: RevocationReason, at: datetime) -> Ring:
    """Make the next version, in which a key is revoked from `at` on.

    What was superseded, or whose holder left, can still be found compromised; no revocation is ever taken back.
    """
    member = _require(ring, key_id)
    if member.revoked is not None and (member.revoked.reason == "compromised" or reason != "compromised"):
        raise InvalidInput(f"The key {key_id[:16]} is revoked since {member.revoked.time} ({member.revoked.reason}).")
    revoked = member.model_copy(update={"revoked": Revocation(time=timestamp(at), reason=reason)})
    return _next(ring, tuple(revoked if each.key_id == key_id else each for each in ring.members), at)


def replace(ring: Ring, key_id: str, successor: Member, at: datetime) -> Ring:
    """Make the next version, in which a key is superseded from `at` on by a new one of the same person and roles."""
    member = _require(ring, key_id)
    if (successor.name, set(successor.roles)) != (member.name, set(member.roles)):
        raise InvalidInput(f"A key of {member.name} is replaced by one of the same name and roles.")
    if ring.find(successor.key_id) is not None:
        raise InvalidInput(f"The key {successor.key_id[:16]} is in the ring; rotate to a new key.")
    if member.revoked is not None:
        raise InvalidInput(f"The key {key_id[:16]} is revoked since {member.revoked.time}; enroll the new one instead.")
    revoked = member.model_copy(update={"revoked": Revocation(time=timestamp(at), reason="superseded")})
    kept = tuple(revoked if each.key_id == key_id else each for each in ring.members)
    return _next(ring, (*kept, successor), at)


def _require(ring: Ring, key_id: str) -> Member:
    member = ring.find(key_id)
    if member is None:
        raise InvalidInput(f"The key {key_id[:16]} is not in the ring; see `sdk keys list`.")
    return member


def _next(ring: Ring, members: tuple[Member, ...], at: datetime) -> Ring:
    time = timestamp(at)
    if time < ring.time:
        raise InvalidInput(f"The clock stands before version {ring.version} of the key ring ({ring.time}); set it.")
    return _ring(project=ring.project, version=ring.version + 1, previous=ring.digest, time=time, members=members)


def _member(**fields: object) -> Member:
    try:
        return Member.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput("The key cannot be enrolled.", _faults(error)) from None


def _ring(**fields: object) -> Ring:
    try:
        return Ring.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput("The key ring cannot be changed so.", _faults(error)) from None


def _faults(error: ValidationError) -> list[str]:
    return [item["msg"].removeprefix("Value error, ") for item in error.errors(include_input=False)]


# -- signed -----------------------------------------------------------------------------------------------------------


def sign_ring(ring: Ring, owner: crypto.Signer) -> bytes:
    """Sign a ring, as a DSSE envelope. Version 1 must name the signer an owner.

    Who may sign a later version is said by the one before it, and `open_rings` checks it.
    """
    if ring.version == 1:
        _require_owner(ring, owner.fingerprint, ring)
    return dsse.sign_envelope(PAYLOAD_TYPE, ring.to_bytes(), owner)


def _require_owner(trusted: Ring, key_id: str, ring: Ring) -> None:
    """Refuse a key that is no owner's by the trusted ring, or was not valid when `ring` was made, or is revoked."""
    member = trusted.find(key_id)
    if member is None or "owner" not in member.roles:
        raise Refused(f"The key {key_id[:16]} is no owner's, and only owners sign the key ring.")
    if member.revoked is not None:
        raise Refused(f"The key {key_id[:16]} of {member.name} is revoked; another owner signs the key ring.")
    why = why_not_valid(member, datetime.fromisoformat(ring.time))
    if why is not None:
        raise Refused(f"The key {key_id[:16]} of {member.name} does not count: {why}.")


def open_rings(envelopes: Sequence[bytes], root: str | None, name: str) -> tuple[Ring, ...]:
    """Read every version, oldest first, each checked against the one before; Tampered names the first fault.

    `root` is the digest of version 1 as the caller holds it; None takes the first version as it comes, which is right
    only where something else binds it. `name` is what messages call the ring.
    """
    if not envelopes:
        raise Tampered(f"{name} is empty; a project has at least version 1 of its key ring.", remedy=Remedy.COPY)
    rings: list[Ring] = []
    for number, envelope in enumerate(envelopes, 1):
        where = f"{name} version {number}"
        before = rings[-1] if rings else None
        ring, signer = _open(envelope, before, where)
        if before is None:
            if ring.version != 1:
                raise Tampered(f"{where} says that it is version {ring.version}.", remedy=Remedy.COPY)
            if root is not None and ring.digest != root:
                raise Tampered(
                    f"{where} is not the project's root: this is another project, or it was put in its place.",
                    remedy=Remedy.COPY,
                    expected=root,
                    found=ring.digest,
                )
        else:
            _check_successor(before, ring, where)
        try:
            _require_owner(before or ring, signer, ring)
        except Refused as refused:
            raise Tampered(f"{where} is not signed by who may: {refused.message}", remedy=Remedy.COPY) from None
        rings.append(ring)
    return tuple(rings)


def _open(envelope: bytes, before: Ring | None, where: str) -> tuple[Ring, str]:
    """Return the ring and the fingerprint of who signed it.

    Version 1 brings its own keys and is read before it is verified: its signature proves that it is whole, the pinned
    root that it is the right one. Every later version is verified by keys of the one before, ahead of being read.
    """
    keys = (before or _read(_unverified_payload(envelope, where), where)).public_keys()
    payload, signer = dsse.open_envelope(envelope, PAYLOAD_TYPE, keys, where)
    return _read(payload, where), signer


def _unverified_payload(envelope: bytes, where: str) -> bytes:
    try:
        return crypto.from_b64(dsse.read_canonical(envelope, where)["payload"])
    except (ValueError, KeyError, TypeError):
        raise Tampered(f"{where} is not an envelope of a key ring.", remedy=Remedy.COPY) from None


def _read(payload: bytes, where: str) -> Ring:
    try:
        ring = Ring.model_validate_json(payload)
        if ring.to_bytes() == payload:
            return ring
    except ValueError:  # pydantic's, and what cannot be written back as UTF-8
        pass
    raise Tampered(f"{where} is not a key ring in canonical JSON.", remedy=Remedy.COPY)


def _check_successor(before: Ring, ring: Ring, where: str) -> None:
    """Tampered unless the ring follows the one before, and has all of its keys as they were or newly revoked."""
    pairs = (
        ("number", before.version + 1, ring.version),
        ("digest of the version before", before.digest, ring.previous),
        ("project", before.project, ring.project),
    )
    faults = [another(what, expected, found) for what, expected, found in pairs if expected != found]
    if faults:
        raise Tampered(f"{where} does not follow the version before it.", faults, remedy=Remedy.COPY)
    if ring.time < before.time:
        raise Tampered(
            f"{where} is older than the version before it.",
            remedy=Remedy.COPY,
            expected=f"{before.time} or later",
            found=ring.time,
        )
    for member in before.members:
        now = ring.find(member.key_id)
        if now is None or now.model_copy(update={"revoked": member.revoked}) != member:
            raise Tampered(
                f"{where} takes out or changes the key {member.key_id[:16]} of {member.name}.", remedy=Remedy.COPY
            )
        if member.revoked is not None and (
            now.revoked is None or (now.revoked != member.revoked and now.revoked.reason != "compromised")
        ):
            raise Tampered(
                f"{where} takes back the revocation of the key {member.key_id[:16]} of {member.name}.",
                remedy=Remedy.COPY,
            )
