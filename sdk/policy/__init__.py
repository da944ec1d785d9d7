"""Policies: YAML files that say what each step must do and what it must refuse. Every key is required and enforced.

A key is either a setting that its step obeys (scrub actions, the encryption of packages) or a rule in RULES, which
`require` checks at every moment that knows its fact; KEYS says which, for every key. There are no defaults: a policy
that leaves one open is malformed, and nothing is done under it.
"""

from sdk.policy.cases import run_cases
from sdk.policy.compare import Difference, Explained, differences, explained, loosened, stricter_approvals
from sdk.policy.files import key_lines, parse_policy, parse_yaml, read_policy, read_yaml, validation_faults
from sdk.policy.moments import (
    MOMENTS,
    AfterEvaluate,
    AfterScrub,
    Allowing,
    ApprovalsCounted,
    BeforeBenchmark,
    BeforeCreate,
    BeforeEvaluate,
    BeforeRegister,
    BeforeScrub,
    BeforeTrain,
    BeforeTrial,
    Contamination,
    Deciding,
    Foreseen,
    LeaksChecked,
    LeaksUnchecked,
    Moment,
    ReviewsCounted,
    TrainerKnown,
)
from sdk.policy.rule_keys import KEYS
from sdk.policy.rules import RULES, Demand, demands, require, violations
from sdk.policy.schema import (
    ALWAYS_DELETED,
    Action,
    ApproveRules,
    AuditRules,
    LeakRules,
    Policy,
    RuleSource,
    ScrubRules,
    policy_value,
)

__all__ = [
    "ALWAYS_DELETED",
    "KEYS",
    "MOMENTS",
    "RULES",
    "Action",
    "AfterEvaluate",
    "AfterScrub",
    "Allowing",
    "ApprovalsCounted",
    "ApproveRules",
    "AuditRules",
    "BeforeBenchmark",
    "BeforeCreate",
    "BeforeEvaluate",
    "BeforeRegister",
    "BeforeScrub",
    "BeforeTrain",
    "BeforeTrial",
    "Contamination",
    "Deciding",
    "Demand",
    "Difference",
    "Explained",
    "Foreseen",
    "LeakRules",
    "LeaksChecked",
    "LeaksUnchecked",
    "Moment",
    "Policy",
    "ReviewsCounted",
    "RuleSource",
    "ScrubRules",
    "TrainerKnown",
    "demands",
    "differences",
    "explained",
    "key_lines",
    "loosened",
    "parse_policy",
    "parse_yaml",
    "policy_value",
    "read_policy",
    "read_yaml",
    "require",
    "run_cases",
    "stricter_approvals",
    "validation_faults",
    "violations",
]
