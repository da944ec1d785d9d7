"""A person's decision over a release, signed with a key of the key ring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from sdk import crypto
from sdk.approve import decide, decision_facts, is_owner, read_decision
from sdk.errors import Refused
from sdk.project.gather import report_digest
from sdk.project.inputs import settings_digest
from sdk.project.perform import Request, recorded
from sdk.project.state import ProjectState
from sdk.records import Approval, Decision, Package, Release


def approve_request(
    state: ProjectState, release: Release, key: str, reason: str, decision: Decision
) -> Request[Approval]:
    """Ask for a decision under the policy that the release was sealed under.

    Raises Refused where the key belongs to nobody in the key ring, which is an event.
    """
    package = state.lineage(Package, release, "package")
    policy = state.policy_of(package.inputs["policy"])
    signer = crypto.open_signer(key)
    member = state.ring.find(signer.fingerprint)
    if member is None:
        _refuse_unknown(state, release, signer.fingerprint, decision)
    inputs = {
        "package": release.package,
        "release": release.digest,
        "policy": policy.digest,
        "report": report_digest(release),
        "settings": settings_digest(
            decision=decision,
            reason=reason,
            key=member.key_id,
            turn=_turn(state, release, member.key_id, decision, reason),
        ),
    }

    def work(folder: Path) -> Approval:
        days = policy.approve.valid_days if decision in ("review", "approve") else None
        expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
        digests = release.package, policy.digest, inputs["report"]
        envelope = decide(*digests, policy.name, decision, reason, member, expires, signer)
        signed, _, _ = read_decision(envelope, state.ring, "the decision")
        return Approval(
            package=release.package,
            decision=decision,
            approver=member.name,
            key_fingerprint=member.key_id,
            reason=reason,
            policy=policy.name,
            time=signed.time,
            expires=signed.expires,
            envelope=envelope.decode(),
        )

    by_trainer = member.name in {trainer.name for trainer in state.ring.with_role("trainer")}
    before = decision_facts(decision, reason, by_trainer, is_owner(state.ring, member))
    return Request(Approval, inputs, work, before, actor=(member.name, f"key:{member.key_id}"))


def _refuse_unknown(state: ProjectState, release: Release, key_id: str, decision: Decision) -> NoReturn:
    """Refuse a key that the ring does not know, with an event that says which one asked, from which account."""
    tried = {"package": release.package, "release": release.digest}
    with recorded(state, Approval.step, tried, detail={"decision": decision, "key": key_id}):
        raise Refused("This key belongs to nobody whom the project knows; add them with `sdk keys enroll`.")


def _turn(state: ProjectState, release: Release, key_id: str, decision: Decision, reason: str) -> int:
    """Return how many decisions of this key over this package came before.

    Repeating the last one word for word is the same request; saying it again after another decision is a new one.
    """
    earlier = [
        approval
        for approval in state.all(Approval)
        if approval.package == release.package and approval.key_fingerprint == key_id
    ]
    repeated = bool(earlier) and (earlier[-1].decision, earlier[-1].reason) == (decision, reason)
    return len(earlier) - repeated
