"""Approve: a signed decision over one package's digest, and the count of those that are valid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sdk import crypto
from sdk.errors import Refused, Tampered
from sdk.records import Approval, Holder, canonical_json


def _signed_bytes(approval: Approval) -> bytes:
    return canonical_json({"kind": approval.kind, **approval.model_dump(mode="json", exclude={"signature", "files"})})


def decide(
    package: str,
    decision: Literal["approve", "reject"],
    reason: str,
    holder: Holder,
    key: crypto.SigningKey,
    policy: str,
    inputs: dict[str, str],
) -> Approval:
    unsigned = Approval(
        inputs=inputs,
        package=package,
        decision=decision,
        approver=holder.name,
        key_fingerprint=holder.fingerprint,
        reason=reason,
        policy=policy,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        signature="",
    )
    return unsigned.model_copy(update={"signature": key.sign(_signed_bytes(unsigned))})


def find_holder(holders: Sequence[Holder], fingerprint: str) -> Holder:
    for holder in holders:
        if holder.fingerprint == fingerprint:
            return holder
    raise Refused("This key belongs to nobody whom the project knows; add its holder with `sdk keys enroll`.")


def check_approval(approval: Approval, holders: Sequence[Holder]) -> None:
    holder = find_holder(holders, approval.key_fingerprint)
    if holder.name != approval.approver:
        raise Tampered(f"The approval by {approval.approver} was made with the key of {holder.name}.")
    crypto.verify(
        holder.public_key, _signed_bytes(approval), approval.signature, f"the approval by {approval.approver}"
    )


def tally(approvals: Sequence[Approval], holders: Sequence[Holder], package: str, policy_digest: str) -> dict[str, Any]:
    """Facts for the policy: each holder's last decision on this package under this policy; signatures are checked."""
    last: dict[str, Approval] = {}
    for approval in approvals:
        if approval.package == package and approval.inputs.get("policy") == policy_digest:
            check_approval(approval, holders)
            last[approval.key_fingerprint] = approval
    trainers = {holder.fingerprint for holder in holders if holder.role == "trainer"}
    accepted = [fingerprint for fingerprint, approval in last.items() if approval.decision == "approve"]
    return {
        "approvals": len(accepted),
        "rejections": len(last) - len(accepted),
        "approver_is_trainer": bool(trainers & set(accepted)),
    }
