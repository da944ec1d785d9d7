"""The rules that `require` checks: which fact each looks at, when it holds, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, TypeVar

from pydantic import Field

from sdk.errors import Refused
from sdk.policy.moments import (
    ApprovalCount,
    ApproversPart,
    BaseOrigin,
    ChosenMethod,
    Contamination,
    Detection,
    Distinction,
    DistinctionAtLowRate,
    DomainCode,
    DomainFloors,
    Duties,
    ExportedForm,
    Exposure,
    Extraction,
    Fact,
    Improvement,
    LeakCheck,
    MeanDivergence,
    MissBound,
    ModelCode,
    Moment,
    PerplexityRatio,
    PlantedRecall,
    QuestionCount,
    ReasonLength,
    Retention,
    ReviewCount,
    SameAnswers,
    ScoreLoss,
    SmallestGroup,
    TailDivergence,
    TopAgreement,
)
from sdk.policy.schema import Policy, policy_value
from sdk.records import Frozen

F = TypeVar("F", bound=Fact)


@dataclass(frozen=True)
class Rule:
    """One key of a policy that a fact must keep to. `holds` gets the key's value and the fact."""

    fact: type[Fact]
    holds: Callable[[Any, Any], bool]
    text: str  # what is said where it does not hold; {rule} is the key's value, other names are the fact's fields

    def __post_init__(self) -> None:
        said = {name for _, name, _, _ in Formatter().parse(self.text) if name} - {"rule"}
        read = set(self.holds.__code__.co_names)  # every attribute that the function reads is one of the fact's
        unknown = (said | read) - self.names
        if unknown:
            raise TypeError(f"{self.fact.__name__} has no {', '.join(sorted(unknown))}")

    @property
    def names(self) -> frozenset[str]:
        """The fact's fields."""
        return frozenset(self.fact.model_fields)

    def violation(self, limit: Any, fact: Fact) -> str | None:
        """Say what is wrong with a fact that does not keep to the key's value. None if it does."""
        if self.holds(limit, fact):
            return None
        return self.text.format(rule=limit, **{name: getattr(fact, name) for name in self.names})


def _rule(fact: type[F], holds: Callable[[Any, F], bool], text: str) -> Rule:
    """Make a rule whose `holds` reads the fact's own fields only: mypy refuses others, as the making of a rule does."""
    return Rule(fact, holds, text)


RULES: dict[str, Rule] = {
    "scrub.required": _rule(
        Detection,
        lambda limit, fact: fact.scrubbed or not limit,
        "the data did not go through the detectors; run `sdk scrub` without --skip-detectors",
    ),
    "scrub.min_recall": _rule(
        PlantedRecall,
        lambda limit, fact: not fact.scrubbed or fact.recall >= limit,
        "recall {recall:.3f} on planted personal data is below {rule}; add to the domain's recognizers.yaml",
    ),
    "scrub.min_k": _rule(
        SmallestGroup,
        lambda limit, fact: fact.k >= limit,
        "the smallest group of rows with the same quasi-identifiers has {k}, {rule} are needed; generalize the fields "
        "with scrub.fields, or leave such rows out",
    ),
    "scrub.max_miss_rate": _rule(
        MissBound,
        lambda limit, fact: limit is None or (fact.miss_bound is not None and fact.miss_bound <= limit),
        "the newest review of these rows does not show that at most {rule} of them hold a miss (95 % upper bound: "
        "{miss_bound}); run `sdk review --bound {rule}`",
    ),
    "train.methods": _rule(
        ChosenMethod,
        lambda limit, fact: fact.method in limit,
        "method {method} is not one of {rule}; choose with `sdk train --method`",
    ),
    "train.allow_hub": _rule(
        BaseOrigin,
        lambda limit, fact: limit or not fact.from_hub,
        "the base model would come from a hub; download it, have it reviewed and name its folder as base",
    ),
    "evaluate.domain_floors": _rule(
        DomainFloors,
        lambda limit, fact: not limit or not fact.below_floor,
        "scores below the floors: {below_floor}; train longer or with a higher rank, or change the floor in that file "
        "and put it in force with `sdk adopt`, which the owner's key signs",
    ),
    "evaluate.min_questions": _rule(
        QuestionCount,
        lambda limit, fact: fact.questions >= limit,
        "{questions} evaluation questions, {rule} are needed; add to the evaluation file",
    ),
    "evaluate.must_improve": _rule(
        Improvement,
        lambda limit, fact: not limit or fact.improvement > 0,
        "the adapted model scores {improvement:+.3f} against its base; it must be better",
    ),
    "evaluate.max_contamination": _rule(
        Contamination,
        lambda limit, fact: (
            limit is None or limit == 1 or (fact.contamination is not None and fact.contamination <= limit)
        ),
        "of the questions, {rule} may nearly repeat a training row, and {contamination} do ({repeated}); leave these "
        "rows out of the training and scrub again, which also compares what never was",
    ),
    "evaluate.run_model_code": _rule(
        ModelCode,
        lambda limit, fact: limit is True or not fact.runs_model_code,
        "programs that the model writes would be run, in a sandbox; leave humaneval out",
    ),
    "evaluate.run_domain_code": _rule(
        DomainCode,
        lambda limit, fact: limit is True or not fact.runs_domain_code,
        "the domain's own function would score the answers, in a sandbox; take entry_point out of its metrics",
    ),
    "evaluate.forgetting": _rule(
        Retention,
        lambda limit, fact: not limit or not fact.not_kept,
        "it is not shown that the model has kept what its base could do: {not_kept}",
    ),
    "leaks.required": _rule(
        LeakCheck,
        lambda limit, fact: fact.leaks_checked or not limit,
        "the model has not been asked for the planted canaries; run `sdk leaks`",
    ),
    "leaks.max_exposure_bits": _rule(
        Exposure,
        lambda limit, fact: fact.exposure_bits <= limit,
        "mean exposure {exposure_bits:.2f} bits is above {rule} (chance: 1.4); find what `sdk scrub` missed",
    ),
    "leaks.max_extracted": _rule(
        Extraction,
        lambda limit, fact: fact.extracted <= limit,
        "the model gives {extracted} of {canaries} planted values word for word, {rule} are allowed",
    ),
    "leaks.max_auc": _rule(
        Distinction,
        lambda limit, fact: fact.auc <= limit,
        "planted values are told from others with AUC {auc:.2f}, above {rule} (chance: .5)",
    ),
    "leaks.max_tpr": _rule(
        DistinctionAtLowRate,
        lambda limit, fact: fact.tpr <= limit,
        "{tpr:.2f} of the planted values are told from others at 1 % false positives, above {rule}",
    ),
    "approve.min_reason_length": _rule(
        ReasonLength,
        lambda limit, fact: fact.reason_length >= limit,
        "the reason has {reason_length} characters, {rule} are needed",
    ),
    "approve.trainer_may_approve": _rule(
        ApproversPart,
        lambda limit, fact: limit or not fact.approver_is_trainer,
        "who trained a model may not review or approve it; have somebody else decide with a key of their own",
    ),
    "approve.separate_duties": _rule(
        Duties,
        lambda limit, fact: not limit or not fact.shared_duties,
        "the same person is {shared_duties}; owner, trainer and approver must be three, each with a key of their own",
    ),
    "approve.reviews": _rule(
        ReviewCount,
        lambda limit, fact: fact.reviews >= limit,
        "{reviews} of {rule} reviews that count; have the reviewers run `sdk approve --decision review`",
    ),
    "approve.approvals": _rule(
        ApprovalCount,
        lambda limit, fact: fact.approvals >= limit,
        "{approvals} of {rule} approvals that count; have the approvers run `sdk approve`",
    ),
    "export.formats": _rule(
        ExportedForm,
        lambda limit, fact: fact.export_format in (limit or ()),
        "plain weights may not leave as {export_format}; a policy of your own names the forms that may",
    ),
    "export.max_kl_mean": _rule(
        MeanDivergence,
        lambda limit, fact: limit is not None and fact.kl_mean <= limit,
        "mean divergence {kl_mean:.4f} nats a token from the approved model is above {rule}",
    ),
    "export.max_kl_p99": _rule(
        TailDivergence,
        lambda limit, fact: limit is not None and fact.kl_p99 <= limit,
        "99th percentile of the divergence {kl_p99:.3f} nats is above {rule}",
    ),
    "export.min_top1": _rule(
        TopAgreement,
        lambda limit, fact: limit is not None and fact.top1 >= limit,
        "the most likely token is the same at {top1:.3f} of the places, below {rule}",
    ),
    "export.min_same_answers": _rule(
        SameAnswers,
        lambda limit, fact: limit is not None and fact.same_answers >= limit,
        "{same_answers:.3f} of the questions get the same answer, below {rule}",
    ),
    "export.max_score_loss": _rule(
        ScoreLoss,
        lambda limit, fact: limit is not None and fact.score_loss <= limit,
        "the score may have fallen by {score_loss:.3f} (95 % paired interval), above {rule}",
    ),
    "export.max_perplexity_ratio": _rule(
        PerplexityRatio,
        lambda limit, fact: limit is not None and fact.perplexity_ratio <= limit,
        "the perplexity of the reference answers is {perplexity_ratio:.4f} times the approved model's, above {rule}",
    ),
}


def violations(policy: Policy, known: Fact) -> dict[str, str]:
    """Return rule -> what is said, of every rule of these facts that does not hold."""
    return _violations(policy, {name: known for name, rule in RULES.items() if isinstance(known, rule.fact)})


class Demand(Frozen):
    """What a policy asks by one key, what there is, and whether it is met."""

    rule: str = Field(description="the policy's key")
    meaning: str = Field(description="what the key says")
    asks: str = Field(description="its value")
    found: str = Field(description="the facts that it judges")
    met: bool


def demands(policy: Policy, known: Fact) -> list[Demand]:
    """Return what the policy asks of these facts, the met and the unmet."""
    return [
        Demand(
            rule=name,
            meaning=_meaning(policy, name),
            asks=_shown(policy_value(policy, name)),
            found=", ".join(f"{fact.replace('_', ' ')}: {_shown(getattr(known, fact))}" for fact in sorted(rule.names)),
            met=rule.holds(policy_value(policy, name), known),
        )
        for name, rule in RULES.items()
        if isinstance(known, rule.fact)
    ]


def _meaning(policy: Policy, name: str) -> str:
    section, key = name.split(".")
    return type(getattr(policy, section)).model_fields[key].description or key.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {each:g}" for key, each in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "none" if value is None or value == "" else str(value)


def violations_by_name(policy: Policy, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the same for facts by name, whatever their types: of every rule whose facts are all among them.

    Raises TypeError or ValueError where a value cannot be compared.
    """
    facts = {
        name: rule.fact.model_construct(**{fact: known[fact] for fact in rule.names})
        for name, rule in RULES.items()
        if rule.names <= known.keys()
    }
    return _violations(policy, facts)


def _violations(policy: Policy, facts: Mapping[str, Fact]) -> dict[str, str]:
    """Return what each broken rule says; `facts` maps a rule to the fact that it judges."""
    said = {name: RULES[name].violation(policy_value(policy, name), fact) for name, fact in facts.items()}
    return {name: text for name, text in said.items() if text is not None}


def require(policy: Policy, moment: Moment) -> None:
    """Check every rule whose facts are known at this moment. Refused lists all violations at once."""
    broken = violations(policy, moment)
    if broken:
        raise Refused(
            f"Policy {policy.name} refuses {moment.step}.", [f"{name}: {text}" for name, text in broken.items()]
        )
