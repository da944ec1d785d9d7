"""Approve: signed decisions over a package, and the verdict that follows from them."""

from sdk.approve.decision import PREDICATE_TYPE, Decision, Digests, decide, decision_facts, read_decision, sign_decision
from sdk.approve.verdict import Case, Reason, Verdict, judge, require_allowed

__all__ = [
    "PREDICATE_TYPE",
    "Case",
    "Decision",
    "Digests",
    "Reason",
    "Verdict",
    "decide",
    "decision_facts",
    "judge",
    "read_decision",
    "require_allowed",
    "sign_decision",
]
