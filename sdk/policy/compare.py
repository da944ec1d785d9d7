"""What changed from one policy to another, and what each key of a policy means."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdk.policy.rule_keys import KEYS, Change
from sdk.policy.schema import ADDED, Policy, policy_keys, policy_value
from sdk.records import Frozen


class Difference(Frozen):
    key: str
    before: Any
    after: Any
    change: Change = Field(description="what the second policy is; other: not to be said, or no matter of strictness")


class Explained(Frozen):
    key: str
    value: Any
    meaning: str
    steps: str = Field(description="who reads it")
    cited: tuple[str, ...] = Field(description="rules that the policy derives it from, with version")


def _values(policy: Policy) -> dict[str, Any]:
    """Map every key to its value, as in JSON; a source as one line."""
    values: dict[str, Any] = {}
    for room, value in policy.model_dump(mode="json").items():
        known = {f"{room}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {room: value}
        values |= known
    for key in ADDED:  # which are left out where not given
        values.setdefault(key, policy_value(policy, key))
    values["sources"] = [
        f"{each.rule} ({each.version}, {each.date}): {', '.join(each.keys)}" for each in policy.sources
    ]
    return values


def differences(before: Policy, after: Policy) -> list[Difference]:
    """List the keys whose values differ, in the order of a policy."""
    old, new = _values(before), _values(after)
    return [
        Difference(
            key=key,
            before=old[key],
            after=new[key],
            change=KEYS[key].order(old[key], new[key]) if key in KEYS else "other",
        )
        for key in new
        if old[key] != new[key]
    ]


def explained(policy: Policy) -> list[Explained]:
    """List every key that a step reads, in the order of a policy."""
    values = _values(policy)
    return [
        Explained(
            key=key,
            value=values[key],
            meaning=field.description or "",
            steps=KEYS[key].steps,
            cited=tuple(f"{source.rule} ({source.version})" for source in policy.sources if key in source.keys),
        )
        for key, field in policy_keys().items()
    ]


def loosened(before: Policy, after: Policy) -> list[str]:
    """Say every key in which the second policy is the looser, one line each; none: in no way that can be told."""
    return [
        f"{each.key}: {each.before}, now {each.after}" for each in differences(before, after) if each.change == "looser"
    ]


def stricter_approvals(policy: Policy, before: Policy | None) -> Policy:
    """Return the policy with, for each key of approvals, the stricter value of the two."""
    if before is None:
        return policy
    kept = {
        each.key.removeprefix("approve."): policy_value(before, each.key)
        for each in differences(before, policy)
        if each.key.startswith("approve.") and each.change == "looser"
    }
    return policy.model_copy(update={"approve": policy.approve.model_copy(update=kept)})
