"""Approve: signed decisions over a package, and the verdict that follows from them."""

from sdk.approve.decision import (
    PREDICATE_TYPE,
    Decision,
    Digests,
    decide,
    decision_facts,
    is_owner,
    read_decision,
    sign_decision,
)
from sdk.approve.verdict import COUNTS, Case, InForceWhenSealed, Reason, Verdict, judge, require_allowed

__all__ = [
    "COUNTS",
    "PREDICATE_TYPE",
    "Case",
    "Decision",
    "Digests",
    "InForceWhenSealed",
    "Reason",
    "Verdict",
    "decide",
    "decision_facts",
    "is_owner",
    "judge",
    "read_decision",
    "require_allowed",
    "sign_decision",
]
