"""One person's signed decision over a package, the policy it was judged under and the report that was read.

A decision is an in-toto Statement v1 in a DSSE envelope: its subjects are the three digests, its predicate says what
was decided, by whom, why, when, and until when it counts. The time is the signer's own word; the audit log has that
of the log.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from sdk import crypto
from sdk.crypto import dsse
from sdk.crypto.keyring import Member, Ring, Role, Time, timestamp, why_not_valid
from sdk.errors import InvalidInput, Refused, Remedy, Tampered, another
from sdk.policy import Allowing, Deciding, validation_faults
from sdk.records import Decision as Meaning
from sdk.records import Frozen, Sha256

PREDICATE_TYPE = "urn:domain-adaptation-sdk:decision:v1"
MAX_REASON_LENGTH = 10_000

# meaning -> the roles of which a key needs one to say it
ROLES: dict[Meaning, frozenset[Role]] = {
    "review": frozenset({"reviewer"}),
    "approve": frozenset({"approver"}),
    "reject": frozenset({"reviewer", "approver"}),
    "withdraw": frozenset({"reviewer", "approver"}),
}


class Decision(Frozen):
    """What a statement's predicate says."""

    decision: Meaning = Field(description="withdraw: what the same person decided before no longer stands")
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_LENGTH)]
    person: str = Field(description="name in the key ring of who decided")
    policy: str = Field(description="id@version")
    time: Time = Field(description="UTC, ISO 8601, by the signer's clock")
    expires: Time | None = Field(description="UTC, ISO 8601, exclusive; None: as the policy says")


class Digests(Frozen):
    """The subjects of a decision."""

    package: Sha256 = Field(description="of the package's manifest")
    policy: Sha256
    report: Sha256 = Field(description="of the report that reviewers read")


def to_statement(decision: Decision, digests: Digests) -> bytes:
    """Write a decision as an in-toto statement, canonical JSON."""
    return dsse.statement(PREDICATE_TYPE, decision.model_dump(mode="json"), digests.model_dump(mode="json"))


def sign_decision(decision: Decision, digests: Digests, signer: crypto.Signer) -> bytes:
    """Sign a decision, as a DSSE envelope. Nothing is checked here: `decide` does, and `judge` does all of it again."""
    return dsse.sign_envelope(dsse.INTOTO, to_statement(decision, digests), signer)


def decide(
    package: str,
    policy_digest: str,
    report: str,
    policy_name: str,
    decision: Meaning,
    reason: str,
    member: Member,
    expires: datetime | None,
    signer: crypto.Signer,
) -> bytes:
    """Sign a decision now, as a DSSE envelope. Refused if the key may not say so now; InvalidInput for a bad field.

    Nine parameters, since Decision and Digests are made here: what is malformed in them is told as InvalidInput.
    """
    now = datetime.now(UTC)
    faults = may_not(member, decision, now)
    if signer.fingerprint != member.key_id:
        faults.append(another("the key that would sign", member.key_id, signer.fingerprint))
    if faults:
        raise Refused(f"{member.name} cannot {decision} with the key {member.key_id[:16]}.", faults)
    ends = None if expires is None else timestamp(expires)
    if ends is not None and ends <= timestamp(now):
        raise InvalidInput("A decision cannot expire before it is made; give a later time, or none.")
    try:
        statement = Decision(
            decision=decision,
            reason=reason,
            person=member.name,
            policy=policy_name,
            time=timestamp(now),
            expires=ends,
        )
        digests = Digests(package=package, policy=policy_digest, report=report)
    except ValidationError as error:
        raise InvalidInput("The decision cannot be signed.", validation_faults(error)) from None
    return sign_decision(statement, digests, signer)


def decision_facts(decision: Meaning, reason: str, by_trainer: bool, by_owner: bool) -> Deciding:
    """Return what a policy's rules judge of a decision. Owners, and who trained the model, may reject and withdraw."""
    length = len(reason.strip())
    if decision in ("review", "approve"):
        duties = [name for name, has in (("trainer", by_trainer), ("owner", by_owner)) if has]
        shared = " and ".join([*duties, "reviewer" if decision == "review" else "approver"]) if duties else ""
        return Allowing(reason_length=length, approver_is_trainer=by_trainer, shared_duties=shared)
    return Deciding(reason_length=length)


def may_not(member: Member, decision: Meaning, at: datetime) -> list[str]:
    """List why the key may not say so at that time; empty: it may."""
    faults = (
        [] if has_role(member, decision) else [f"its key has no role for it ({', '.join(sorted(ROLES[decision]))})"]
    )
    why = why_not_valid(member, at)
    return faults if why is None else [*faults, why]


def has_role(member: Member, decision: Meaning) -> bool:
    return bool(ROLES[decision] & set(member.roles))


def read_decision(envelope: bytes, ring: Ring, name: str) -> tuple[Decision, Digests, Member]:
    """Return what was decided, over what, and with whose key. Whether it counts is for `judge` to say.

    Tampered unless the signature is of a key in the ring, the bytes are canonical, and the key belongs to the person
    who is named.
    """
    payload, key_id = dsse.open_envelope(envelope, dsse.INTOTO, ring.public_keys(), name)
    predicate, subjects = dsse.read_statement(payload, PREDICATE_TYPE, name)
    try:
        decision, digests = Decision.model_validate(predicate), Digests.model_validate(subjects)
    except ValidationError:
        raise Tampered(
            f"{name} is a statement, but not a decision over package, policy and report.", remedy=Remedy.COPY
        ) from None
    member = ring.find(key_id)
    if member is None or decision.person != member.name:
        raise Tampered(
            f"{name} says that it is by somebody else than the holder of its key.",
            remedy=Remedy.COPY,
            expected=f"a decision by the holder of the key {key_id}",
        )
    return decision, digests, member


def is_owner(ring: Ring, member: Member) -> bool:
    """Tell whether a key is an owner's, or its holder has another one that is; revoked ones count as well."""
    return any(owner.key_id == member.key_id or owner.name == member.name for owner in ring.with_role("owner"))
