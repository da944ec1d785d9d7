"""One version of the key ring, and what it says of the project's log and rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from pydantic import FailFast, Field, model_validator

from sdk.crypto.keyring.member import Member, Role, Time
from sdk.errors import Remedy, Tampered
from sdk.records import Frozen, Sha256, canonical_json, sha256, spelled

MAX_MEMBERS = 1000
T = TypeVar("T")


class InForce(Frozen):
    """The policy and the domain that the owner has put in force."""

    policy: str = spelled(
        r"^[a-z][a-z0-9-]*@[1-9][0-9]*$", "a policy's id and version, as hipaa@1", description="id@version"
    )
    policy_digest: Sha256 = Field(description="SHA-256 of the policy's canonical JSON")
    domain: str = Field(min_length=1, description="name@version")
    domain_digest: Sha256 = Field(description="SHA-256 over its settings and rows, as in every record")


class LogHead(Frozen):
    """The audit log as the owner saw it when they signed: from there on it can only grow."""

    size: int = Field(ge=1, lt=2**63, description="events")
    root: Sha256 = Field(description="of their tree")


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
    rules: InForce | None = Field(default=None, description="in force from this version on; None: by 0.1.0")
    log: LogHead | None = Field(default=None, description="the log that the owner saw; None: version 1, or by 0.1.0")

    @model_validator(mode="after")
    def _holds_together(self) -> Ring:
        if (self.previous is None) != (self.version == 1):
            raise ValueError("version 1, and no other, has none before it")
        if self.version == 1 and self.log is not None:
            raise ValueError("version 1 is signed before there is a log")
        if self.version > 1 and self.rules is not None and self.log is None:
            raise ValueError("a version that names the rules in force names the log, too")
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
        """Write canonical JSON. What 0.1.0 did not know is left out where there is none, so that digests stay."""
        fields = self.model_dump(mode="json")
        return canonical_json({name: value for name, value in fields.items() if value or name not in ("rules", "log")})

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
