"""Policies: YAML files that say what each step must do and what it must refuse. Every key is required and enforced.

A key is either a setting that its step obeys (scrub actions, the encryption of packages) or a rule in RULES that
`require` checks. There are no defaults: a policy that leaves one open is malformed, and nothing is done under it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from sdk.errors import InvalidInput, Refused
from sdk.records import Frozen, Method, canonical_json, sha256

Action = Literal["placeholder", "token", "surrogate", "mask", "generalize", "shift", "delete", "keep"]
ALWAYS_DELETED = frozenset({"CVV", "PIN", "TRACK_DATA"})  # PCI DSS 4.0.1, 3.3.1: never kept after authorization


class Source(Frozen):
    """The rule that a policy rests on."""

    rule: str
    version: str
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="when the cited text took effect or was published")


class ScrubRules(Frozen):
    required: bool = Field(description="training data must have gone through the scrubbing step's detectors")
    recognizer: str = Field(
        pattern=r"^(embedded|none|(spacy|transformers|gliner|stanza):.+)$",
        description="who finds names: embedded, none, or spacy:, transformers:, gliner:, stanza: with a model's name",
    )
    score_threshold: float = Field(ge=0, le=1, description="Presidio's confidence from which a finding counts")
    min_recall: float = Field(ge=0, le=1, description="share of the domain's planted spans that must be removed")
    default_action: Action = Field(description="for kinds that `actions` does not name")
    actions: dict[str, Action] = Field(
        description="kind of personal data -> what happens to it; CVV, PIN and TRACK_DATA are deleted in any case"
    )
    token_scope: Literal["document", "patient", "project"] = Field(
        description="within which the same value has the same token, surrogate and date shift"
    )
    reversible: tuple[str, ...] = Field(description="kinds whose values are kept in a sealed table")
    fields: dict[str, str] = Field(
        description="field, its dotted path or a pattern of it -> kind that its whole value is, or keep"
    )
    on_failure: Literal["refuse", "quarantine"] = Field(description="what happens where a row cannot be scanned")
    row_seconds: float = Field(gt=0, description="time that scanning one row may take, seconds")
    quasi_identifiers: tuple[str, ...] = Field(description="metadata fields over which k-anonymity is measured")
    min_k: int = Field(ge=1, description="least number of rows that share their quasi-identifiers")
    max_miss_rate: float | None = Field(
        gt=0, le=1, description="95 % upper bound on rows with a miss that a review must have shown; null: none"
    )
    identifiers: dict[str, tuple[str, ...]] = Field(
        description="identifier that the cited rule names -> kinds that find it; each must have a detector"
    )

    @field_validator("actions")
    @classmethod
    def _never_kept(cls, actions: dict[str, Action]) -> dict[str, Action]:
        kept = [
            f"{kind}: {actions[kind]}" for kind in sorted(ALWAYS_DELETED & actions.keys()) if actions[kind] != "delete"
        ]
        if kept:
            raise ValueError(
                f"{', '.join(kept)}: these must be deleted (PCI DSS 4.0.1, 3.3.1); say delete or leave them out"
            )
        return actions


class TrainRules(Frozen):
    methods: tuple[Method, ...] = Field(min_length=1, description="methods that may be used")
    allow_hub: bool = Field(description="a base model may be fetched from a hub by name")


class EvaluateRules(Frozen):
    domain_floors: bool = Field(description="scores below the domain's floors are refused")
    min_questions: int = Field(ge=1, description="questions in the evaluation set")
    must_improve: bool = Field(description="the adapted model must score above the base model")


class SealRules(Frozen):
    encrypt: bool = Field(description="weights in a package are encrypted")


class LeakRules(Frozen):
    required: bool = Field(description="a release needs a leak check of its adapted model")
    canaries: int = Field(ge=0, description="rows with invented personal data that are planted before scrubbing")
    max_exposure_bits: float = Field(ge=0, description="mean exposure of the canaries' values, bits")
    max_extracted: int = Field(ge=0, description="canaries whose value the model completes word for word")
    max_auc: float = Field(ge=0.5, le=1, description="of telling canaries from twins that were held out")
    max_tpr: float = Field(ge=0, le=1, description="true positive rate of the same at a false positive rate of 1 %")


class ApproveRules(Frozen):
    approvals: int = Field(ge=0, description="distinct approvers whose valid approvals a package needs")
    trainer_may_approve: bool
    min_reason_length: int = Field(ge=1, description="characters in the reason of a decision")


class Policy(Frozen):
    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: int = Field(ge=1)
    title: str
    aliases: tuple[str, ...]
    note: str
    sources: tuple[Source, ...]
    scrub: ScrubRules
    train: TrainRules
    evaluate: EvaluateRules
    leaks: LeakRules
    seal: SealRules
    approve: ApproveRules

    @property
    def name(self) -> str:
        return f"{self.id}@{self.version}"

    @property
    def digest(self) -> str:
        return sha256(canonical_json(self.model_dump(mode="json")))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The document in a YAML file; InvalidInput names file, line and what is wrong."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


def validation_faults(error: ValidationError) -> list[str]:
    """pydantic's findings, one line each, without the input's values."""
    return [
        f"{'.'.join(map(str, item['loc'])) or 'top level'}: {item['msg']}" for item in error.errors(include_input=False)
    ]


def read_policy(path: Path) -> Policy:
    try:
        return Policy.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InvalidInput(f"Policy {path} is malformed; see policies/README.md.", validation_faults(error)) from None


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
        "who trained a model may not approve it; have somebody else decide with a key of their own",
    ),
    "approve.approvals": (
        ("approvals", "rejections"),
        lambda rule, f: f["approvals"] >= rule and not f["rejections"],
        "{approvals} of {rule} approvals, {rejections} rejections; have the approvers run `sdk approve`",
    ),
}


def require(policy: Policy, step: str, facts: Mapping[str, Any]) -> None:
    """Check every rule whose facts are known; Refused lists all violations at once. `step` is what is refused."""
    violations = []
    for name, (needed, holds, text) in RULES.items():
        if not all(fact in facts for fact in needed):
            continue
        room, key = name.split(".")
        rule = getattr(getattr(policy, room), key)
        if not holds(rule, facts):
            violations.append(f"{name}: " + text.format(rule=rule, **facts))
    if violations:
        raise Refused(f"Policy {policy.name} refuses {step}.", violations)
