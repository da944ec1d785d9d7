"""What changed from one policy to another, and what each key of a policy means."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdk.policy.rule_keys import KEYS, Change
from sdk.policy.schema import Policy, policy_keys
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
