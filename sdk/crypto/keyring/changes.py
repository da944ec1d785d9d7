"""The next version of a key ring: keys enrolled, revoked and replaced, other rules in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from sdk import crypto
from sdk.crypto.keyring.member import Member, Revocation, RevocationReason, Role, timestamp
from sdk.crypto.keyring.ring import InForce, LogHead, Ring
from sdk.crypto.names import require_own_name
from sdk.errors import InvalidInput
from sdk.records import fault_text


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


def create_ring(project: str, members: Sequence[Member], at: datetime, rules: InForce | None = None) -> Ring:
    """Make version 1 of a key ring, with the rules in force. Its digest is the project's root."""
    for place, member in enumerate(members):
        require_own_name(member.name, [other.name for other in members[:place]])
    return _ring(project=project, version=1, previous=None, time=timestamp(at), members=tuple(members), rules=rules)


def add(ring: Ring, member: Member, at: datetime, log: LogHead | None = None) -> Ring:
    """Make the next version, with one more key. log, here and below: the log as the owner sees it."""
    if ring.find(member.key_id) is not None:
        raise InvalidInput(f"The key {member.key_id[:16]} is in the ring; enroll another key.")
    # Here and not in Ring, so that a ring of an earlier version, which knew fewer look-alikes, still opens.
    require_own_name(member.name, [other.name for other in ring.members])
    return _next(ring, (*ring.members, member), at, log)


def revoke(ring: Ring, key_id: str, reason: RevocationReason, at: datetime, log: LogHead | None = None) -> Ring:
    """Make the next version, in which a key is revoked from `at` on.

    What was superseded, or whose holder left, can still be found compromised; no revocation is ever taken back.
    """
    member = _require(ring, key_id)
    if member.revoked is not None and (member.revoked.reason == "compromised" or reason != "compromised"):
        raise InvalidInput(f"The key {key_id[:16]} is revoked since {member.revoked.time} ({member.revoked.reason}).")
    revoked = member.model_copy(update={"revoked": Revocation(time=timestamp(at), reason=reason)})
    return _next(ring, tuple(revoked if each.key_id == key_id else each for each in ring.members), at, log)


def replace(ring: Ring, key_id: str, successor: Member, at: datetime, log: LogHead | None = None) -> Ring:
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
    return _next(ring, (*kept, successor), at, log)


def put_in_force(rings: Sequence[Ring], rules: InForce, at: datetime, log: LogHead) -> Ring:
    """Make the next version, from which on other rules are in force.

    rings: every version so far. A policy's name stands for one text: InvalidInput where it stood for another before.
    """
    require_same_text(rings, rules)
    return _next(rings[-1], rings[-1].members, at, log, rules)


def require_same_text(rings: Sequence[Ring], rules: InForce) -> None:
    """Raise InvalidInput where a policy of this id and version, but of another text, was in force before."""
    for ring in rings:
        known = ring.rules
        if known is not None and known.policy == rules.policy and known.policy_digest != rules.policy_digest:
            raise InvalidInput(
                f"Another text of {rules.policy} was in force since version {ring.version} of the key ring; raise the "
                "policy's version, so that the two can be told apart."
            )


def _require(ring: Ring, key_id: str) -> Member:
    member = ring.find(key_id)
    if member is None:
        raise InvalidInput(f"The key {key_id[:16]} is not in the ring; see `sdk keys list`.")
    return member


def _next(
    ring: Ring, members: tuple[Member, ...], at: datetime, log: LogHead | None, rules: InForce | None = None
) -> Ring:
    time = timestamp(at)
    if time < ring.time:
        raise InvalidInput(f"The clock stands before version {ring.version} of the key ring ({ring.time}); set it.")
    return _ring(
        project=ring.project,
        version=ring.version + 1,
        previous=ring.digest,
        time=time,
        members=members,
        rules=rules or ring.rules,
        log=log,
    )


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
    return [fault_text(item) for item in error.errors(include_input=False)]
