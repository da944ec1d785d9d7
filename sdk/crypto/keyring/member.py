"""One key in the ring: whose it is, what it may do, from when to when, and whether it is revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sdk import crypto
from sdk.errors import InvalidInput
from sdk.records import Frozen, spelled

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
    key_id: str = spelled(
        pattern=r"^[\x21-\x7e]{1,2048}$",
        rule="1 to 2,048 visible ASCII characters without spaces",
        description="fingerprint of the public key; a wrapping key's own id",
    )
    valid_from: Time = Field(description="UTC, ISO 8601")
    valid_until: Time | None = Field(default=None, description="UTC, ISO 8601, exclusive; None: no end")
    revoked: Revocation | None = None

    def _summary(self) -> dict[str, Any]:
        return {name: value for name, value in super()._summary().items() if name != "public_key"}

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
