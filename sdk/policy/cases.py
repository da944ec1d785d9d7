"""Tests of a policy, as a file: facts, and the rules that they must violate under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from sdk.errors import InvalidInput
from sdk.policy.files import read_policy, read_yaml, validation_faults
from sdk.policy.rules import RULES, violations_by_name
from sdk.policy.schema import Policy
from sdk.records import Frozen

FACTS = {name for rule in RULES.values() for name in rule.names}


class Example(Frozen):
    name: str = Field(min_length=1)
    facts: dict[str, Any] = Field(min_length=1, description="what a step knows, by the names that the rules use")
    violates: tuple[str, ...] = Field(description="exactly these rules; none: the policy allows it")

    @model_validator(mode="after")
    def _is_known(self) -> Example:
        unknown = sorted({*self.facts} - FACTS) + sorted({*self.violates} - RULES.keys())
        if unknown:
            raise ValueError(f"no rule knows {', '.join(unknown)}")
        if not any(self.facts.keys() >= rule.names for rule in RULES.values()):
            raise ValueError("no rule is checked with these facts alone")
        return self


class Examples(Frozen):
    policy: str = Field(description="the policy's file, relative to this one")
    cases: tuple[Example, ...] = Field(min_length=1)


def run_cases(path: Path) -> tuple[Policy, int, list[str]]:
    """Return the policy of a file of cases, their number, and what came out otherwise than they say, one line each."""
    try:
        examples = Examples.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InvalidInput(f"{path} is no file of policy cases.", validation_faults(error)) from None
    policy = read_policy(path.parent / examples.policy)
    return policy, len(examples.cases), [fault for case in examples.cases for fault in _faults(policy, case, path)]


def _faults(policy: Policy, case: Example, path: Path) -> list[str]:
    try:
        broken = violations_by_name(policy, case.facts)
    except (TypeError, ValueError):
        raise InvalidInput(f"{path}: {case.name}: a fact has a value that its rule cannot compare.") from None
    expected = set(case.violates)
    unexpected = [f"{case.name}: violates {rule}: {text}" for rule, text in broken.items() if rule not in expected]
    return unexpected + [f"{case.name}: does not violate {rule}" for rule in sorted(expected - broken.keys())]
