"""The rules that `require` checks: which facts each looks at, when it holds, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdk.errors import Refused
from sdk.policy.schema import Policy, policy_value

# rule -> (facts it looks at, holds?, what to say). A rule is checked where all its facts are known.
Check = Callable[[Any, Mapping[str, Any]], bool]
RULES: dict[str, tuple[tuple[str, ...], Check, str]] = {
    "scrub.required": (
        ("scrubbed",),
        lambda rule, f: f["scrubbed"] or not rule,
        "the data did not go through the detectors; run `sdk scrub` without --skip-detectors",
    ),
    "scrub.min_recall": (
        ("scrubbed", "recall"),
        lambda rule, f: not f["scrubbed"] or f["recall"] >= rule,
        "recall {recall:.3f} on planted personal data is below {rule}; add to the domain's recognizers.yaml",
    ),
    "scrub.min_k": (
        ("k",),
        lambda rule, f: f["k"] >= rule,
        "the smallest group of rows with the same quasi-identifiers has {k}, {rule} are needed; generalize the fields "
        "with scrub.fields, or leave such rows out",
    ),
    "scrub.max_miss_rate": (
        ("miss_bound",),
        lambda rule, f: rule is None or (f["miss_bound"] is not None and f["miss_bound"] <= rule),
        "the newest review of these rows does not show that at most {rule} of them hold a miss (95 % upper bound: "
        "{miss_bound}); run `sdk scrub --review --bound {rule}`",
    ),
    "train.methods": (
        ("method",),
        lambda rule, f: f["method"] in rule,
        "method {method} is not one of {rule}; choose with `sdk train --method`",
    ),
    "train.allow_hub": (
        ("from_hub",),
        lambda rule, f: rule or not f["from_hub"],
        "the base model would come from a hub; download it, have it reviewed and name its folder as base",
    ),
    "evaluate.domain_floors": (
        ("below_floor",),
        lambda rule, f: not rule or not f["below_floor"],
        "scores below the domain's floors: {below_floor}; train longer or with a higher rank",
    ),
    "evaluate.min_questions": (
        ("questions",),
        lambda rule, f: f["questions"] >= rule,
        "{questions} evaluation questions, {rule} are needed; add to the evaluation file",
    ),
    "evaluate.must_improve": (
        ("improvement",),
        lambda rule, f: not rule or f["improvement"] > 0,
        "the adapted model scores {improvement:+.3f} against its base; it must be better",
    ),
    "leaks.required": (
        ("leaks_checked",),
        lambda rule, f: f["leaks_checked"] or not rule,
        "the model has not been asked for the planted canaries; run `sdk leaks`",
    ),
    "leaks.max_exposure_bits": (
        ("exposure_bits",),
        lambda rule, f: f["exposure_bits"] <= rule,
        "mean exposure {exposure_bits:.2f} bits is above {rule} (chance: 1.4); find what `sdk scrub` missed",
    ),
    "leaks.max_extracted": (
        ("extracted", "canaries"),
        lambda rule, f: f["extracted"] <= rule,
        "the model gives {extracted} of {canaries} planted values word for word, {rule} are allowed",
    ),
    "leaks.max_auc": (
        ("auc",),
        lambda rule, f: f["auc"] <= rule,
        "planted values are told from others with AUC {auc:.2f}, above {rule} (chance: .5)",
    ),
    "leaks.max_tpr": (
        ("tpr",),
        lambda rule, f: f["tpr"] <= rule,
        "{tpr:.2f} of the planted values are told from others at 1 % false positives, above {rule}",
    ),
    "approve.min_reason_length": (
        ("reason_length",),
        lambda rule, f: f["reason_length"] >= rule,
        "the reason has {reason_length} characters, {rule} are needed",
    ),
    "approve.trainer_may_approve": (
        ("approver_is_trainer",),
        lambda rule, f: rule or not f["approver_is_trainer"],
        "who trained a model may not review or approve it; have somebody else decide with a key of their own",
    ),
    "approve.reviews": (
        ("reviews",),
        lambda rule, f: f["reviews"] >= rule,
        "{reviews} of {rule} reviews that count; have the reviewers run `sdk approve --decision review`",
    ),
    "approve.approvals": (
        ("approvals",),
        lambda rule, f: f["approvals"] >= rule,
        "{approvals} of {rule} approvals that count; have the approvers run `sdk approve`",
    ),
}


def violations(policy: Policy, facts: Mapping[str, Any]) -> dict[str, str]:
    """Rule -> what is said, of every rule whose facts are all known and that does not hold."""
    found = {}
    for name, (needed, holds, text) in RULES.items():
        if all(fact in facts for fact in needed):
            rule = policy_value(policy, name)
            if not holds(rule, facts):
                found[name] = text.format(rule=rule, **facts)
    return found


def require(policy: Policy, step: str, facts: Mapping[str, Any]) -> None:
    """Check every rule whose facts are known; Refused lists all violations at once. `step` is what is refused."""
    found = violations(policy, facts)
    if found:
        raise Refused(f"Policy {policy.name} refuses {step}.", [f"{name}: {text}" for name, text in found.items()])
