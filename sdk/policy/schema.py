"""What a policy says: every key, what it means, and what it may be. There are no defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator
from pydantic.fields import FieldInfo

from sdk.records import DECIDING, ExportFormat, Frozen, Method, canonical_json, sha256, spelled

Action = Literal["placeholder", "token", "surrogate", "mask", "generalize", "shift", "delete", "keep"]
# Keys that an earlier version did not know; a policy that a project has adopted may lack them.
ADDED = (
    "evaluate.max_contamination",
    "evaluate.run_model_code",
    "evaluate.run_domain_code",
    "evaluate.forgetting",
    "approve.separate_duties",
    "export.formats",
    "export.max_kl_mean",
    "export.max_kl_p99",
    "export.min_top1",
    "export.min_same_answers",
    "export.max_score_loss",
    "export.max_perplexity_ratio",
)
ADDED_NAMES = frozenset(key.partition(".")[2] for key in ADDED)
ALWAYS_DELETED = frozenset({"CVV", "PIN", "TRACK_DATA"})  # PCI DSS 4.0.1, 3.3.1: never kept after authorization


class RuleSource(Frozen):
    """The rule that a policy rests on."""

    rule: str
    version: str
    date: str = spelled(
        r"^\d{4}-\d{2}-\d{2}$",
        "a day such as 2026-01-31",
        description="when the cited text took effect or was published",
    )
    keys: tuple[str, ...] = Field(description="keys of the policy that rest on it")


class ScrubRules(Frozen):
    required: bool = Field(description="training data must have gone through the scrubbing step's detectors")
    recognizer: str = spelled(
        pattern=r"^(embedded|none|(spacy|transformers|gliner|stanza):.+)$",
        rule="embedded, none, or spacy:, transformers:, gliner: or stanza: with a model's name or folder behind it",
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


class _Grown(Frozen):
    """Rules with keys that earlier versions did not know: written only where given, so that old digests stay."""

    @model_serializer(mode="wrap")
    def _as_written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {name: value for name, value in values.items() if value is not None or name not in ADDED_NAMES}


class EvaluateRules(_Grown):
    domain_floors: bool = Field(description="scores below the domain's floors are refused")
    min_questions: int = Field(ge=1, description="questions in the evaluation set")
    must_improve: bool = Field(description="the adapted model must score above the base model")
    max_contamination: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the questions, of one's own or of a benchmark, that may nearly repeat a training row; "
        "null: as 1, and only in what earlier versions have written",
    )
    run_model_code: bool | None = Field(
        default=None,
        description="programs that the model writes may be run, in a sandbox (HumanEval); null: as false, and only in "
        "what earlier versions have written",
    )
    run_domain_code: bool | None = Field(
        default=None,
        description="a Python function of the domain's own may score the answers, in a sandbox; null: as false, and "
        "only in what earlier versions have written",
    )
    forgetting: dict[str, Annotated[float, Field(gt=-1, le=0)]] | None = Field(
        default=None,
        description="benchmark -> change of its score that a release may have, shown by a test: -0.02; null: as none, "
        "and only in what earlier versions have written",
    )

    @field_validator("forgetting")
    @classmethod
    def _benchmarks_exist(cls, bounds: dict[str, float] | None) -> dict[str, float] | None:
        unknown = sorted((bounds or {}).keys() - DECIDING.keys())
        if unknown:
            raise ValueError(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(DECIDING)}")
        return bounds


class SealRules(Frozen):
    encrypt: bool = Field(description="weights in a package are encrypted")


class LeakRules(Frozen):
    required: bool = Field(description="a release needs a leak check of its adapted model")
    canaries: int = Field(ge=0, description="rows with invented personal data that are planted before scrubbing")
    max_exposure_bits: float = Field(ge=0, description="mean exposure of the canaries' values, bits")
    max_extracted: int = Field(ge=0, description="canaries whose value the model completes word for word")
    max_auc: float = Field(ge=0.5, le=1, description="of telling canaries from twins that were held out")
    max_tpr: float = Field(ge=0, le=1, description="true positive rate of the same at a false positive rate of 1 %")


class ApproveRules(_Grown):
    reviews: int = Field(ge=0, description="distinct reviewers whose review must come before the approvals")
    approvals: int = Field(ge=0, description="distinct approvers whose approvals a package needs")
    trainer_may_approve: bool = Field(description="who trained the model may review and approve it too")
    separate_duties: bool | None = Field(
        default=None,
        description="owner, trainer and approvers must be different persons with different keys; null: as false, and "
        "only in what 0.1.0 has written",
    )
    min_reason_length: int = Field(ge=1, description="characters in the reason of a decision")
    valid_days: int | None = Field(
        ge=1, le=36_500, description="days that a review or an approval counts; null: no end"
    )


class ExportRules(_Grown):
    """What plain weights must show before they leave; the whole section is missing in what earlier versions wrote."""

    formats: tuple[ExportFormat, ...] | None = Field(
        default=None,
        description="forms in which a release may leave the project in plain; none: it may not. null: as none, only "
        "in what earlier versions have written",
    )
    max_kl_mean: float | None = Field(
        default=None, ge=0, description="mean Kullback-Leibler divergence from the approved model, nats a token"
    )
    max_kl_p99: float | None = Field(default=None, ge=0, description="its 99th percentile over the tokens, nats")
    min_top1: float | None = Field(
        default=None, ge=0, le=1, description="share of the tokens with the same most likely one"
    )
    min_same_answers: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the domain's questions with the same greedy answer",
    )
    max_score_loss: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="fall of the score on the domain's questions that a 95 % paired interval must exclude",
    )
    max_perplexity_ratio: float | None = Field(
        default=None, ge=1, description="perplexity of the reference answers, over that of the approved model"
    )


class AuditRules(Frozen):
    retention_years: int = Field(ge=1, le=100, description="years for which the events must be kept")
    unrecorded_training: Literal["refuse", "continue"] = Field(
        description="a training run whose events cannot be written: refuse, or continue as one that is never promoted"
    )


class Policy(Frozen):
    id: str = spelled(
        r"^[a-z][a-z0-9-]*$",
        "a-z, 0-9 and '-', the first a letter",
        description="what the policy is called in every event",
    )
    version: int = Field(ge=1, description="raised with every change, so that events tell the texts apart")
    title: str = Field(description="one line for people")
    aliases: tuple[str, ...] = Field(description="other names under which it is found")
    note: str = Field(description="what it rests on, and what it does not cover")
    sources: tuple[RuleSource, ...] = Field(
        description="the rules that it rests on, and the keys that follow from each"
    )
    scrub: ScrubRules
    train: TrainRules
    evaluate: EvaluateRules
    leaks: LeakRules
    seal: SealRules
    approve: ApproveRules
    export: ExportRules = Field(default=ExportRules(), exclude_if=lambda rules: rules == ExportRules())
    audit: AuditRules

    @model_validator(mode="after")
    def _sources_name_keys(self) -> Policy:
        known = policy_keys()
        unknown = [f"{source.rule}: {key}" for source in self.sources for key in source.keys if key not in known]
        if unknown:
            raise ValueError(f"sources name keys that no policy has: {', '.join(unknown)}")
        return self

    @property
    def name(self) -> str:
        return f"{self.id}@{self.version}"

    @property
    def digest(self) -> str:
        return sha256(canonical_json(self.model_dump(mode="json")))


def policy_keys() -> dict[str, FieldInfo]:
    """Map `room.key` to its field, for every key but those that name the policy."""
    rooms = {
        room: kind
        for room, field in Policy.model_fields.items()
        if isinstance(kind := field.annotation, type) and issubclass(kind, Frozen)
    }
    return {f"{room}.{key}": field for room, kind in rooms.items() for key, field in kind.model_fields.items()}


def policy_value(policy: Policy, key: str) -> Any:
    room, name = key.split(".")
    return getattr(getattr(policy, room), name)
