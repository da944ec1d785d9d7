"""How good an adapted model is, and what it gives away of what it was trained on."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from sdk.records.base_types import Frozen, Interval, StepRecord, is_empty
from sdk.records.behaviour import MEASURABLE
from sdk.records.floors import ALL, AskedFloors
from sdk.records.metrics import METRICS, Metric
from sdk.records.summary import brief


class Metrics(Frozen):
    questions: int = Field(gt=0, description="or documents, where texts were read and nothing was asked")
    exact_match: Interval | None = Field(default=None, exclude_if=is_empty, description="None: texts have no answer")
    f1: Interval | None = Field(default=None, exclude_if=is_empty, description="None: as above")
    perplexity: float = Field(gt=0, description="on the reference answers' tokens, or on all tokens of texts")
    perplexity_interval: Interval | None = Field(
        default=None, exclude_if=is_empty, description="None: an earlier version wrote it"
    )
    further: dict[Metric, Interval] = Field(
        default_factory=dict, exclude_if=is_empty, description="by the domain's other metrics"
    )

    def of(self, metric: Metric) -> Interval:
        """Return what was measured; a perplexity without an interval as one of no width."""
        if metric == "perplexity":
            value = self.perplexity
            return self.perplexity_interval or Interval(value=value, low=value, high=value)
        return self.shares[metric]

    @property
    def shares(self) -> dict[Metric, Interval]:
        """Return what was measured of answers, from 0 to 1, by metric; nothing where texts were read."""
        usual: dict[Metric, Interval | None] = {"exact_match": self.exact_match, "f1": self.f1}
        return {**{metric: found for metric, found in usual.items() if found is not None}, **self.further}


class Outcome(Frozen):
    """One question, without its text."""

    row: str
    language: str
    base_exact: bool
    adapted_exact: bool
    base_f1: float
    adapted_f1: float
    base_scores: dict[Metric, float] = Field(
        default_factory=dict, exclude_if=is_empty, description="by the domain's other metrics"
    )
    adapted_scores: dict[Metric, float] = Field(default_factory=dict, exclude_if=is_empty, description="likewise")

    def of(self, metric: Metric) -> tuple[float, float]:
        """Return the question's scores, of the base and of the adapted model."""
        usual: dict[Metric, tuple[float, float]] = {
            "exact_match": (float(self.base_exact), float(self.adapted_exact)),
            "f1": (self.base_f1, self.adapted_f1),
        }
        return usual.get(metric) or (self.base_scores[metric], self.adapted_scores[metric])


class SliceScore(Frozen):
    """Some of the questions, scored by the metric that decides."""

    by: str = Field(description="language, topic, length of the question, or a field of the rows' metadata")
    value: str
    questions: int = Field(gt=0)
    base: float
    adapted: Interval
    change: Interval = Field(description="adapted less base, paired by question")

    def brief(self) -> str:
        return f"{self.by} {self.value}: {self.base:.3f} → {self.adapted.text()} on {self.questions}"


class MajorityScore(Frozen):
    """What always giving one answer would score: the most frequent reference of the training rows in the language."""

    exact_match: float = Field(ge=0, le=1)
    f1: float = Field(ge=0, le=1)
    further: dict[Metric, float] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="by the domain's other metrics, where an answer's score is known without the model",
    )

    @property
    def values(self) -> dict[Metric, float]:
        return {"exact_match": self.exact_match, "f1": self.f1, **self.further}


class Confusion(Frozen):
    """How often which label was given for which: a row for each label of the references.

    A row's last number counts answers that name none, or several.
    """

    labels: tuple[str, ...] = Field(min_length=1, description="the domain's, of rows and of columns")
    base: tuple[tuple[int, ...], ...]
    adapted: tuple[tuple[int, ...], ...]

    def _summary(self) -> dict[str, Any]:
        return {"labels": brief(self.labels), "right": self.brief()}

    def brief(self) -> str:
        right = (sum(row[place] for place, row in enumerate(rows)) for rows in (self.base, self.adapted))
        questions = sum(map(sum, self.adapted))
        return f"{' → '.join(map(str, right))} of {questions:,} right, {len(self.labels)} labels"


class TextOutcome(Frozen):
    """One held-out document, without its text."""

    row: str
    language: str
    tokens: int = Field(gt=0)
    base_loss: float = Field(description="mean over its tokens, nats")
    adapted_loss: float


class Forgetting(Frozen):
    """Perplexity on what the training had nothing to do with, before and after it."""

    items: int = Field(gt=0)
    base: float = Field(gt=0)
    adapted: float = Field(gt=0)

    @property
    def change(self) -> float:
        """Return by which share of itself the perplexity rose; negative where it fell."""
        return self.adapted / self.base - 1

    def brief(self) -> str:
        return f"{self.base:,.2f} → {self.adapted:,.2f} ({self.change:+.1%}) on {self.items:,}"


class Scores(StepRecord):
    step = "evaluate"

    metric: Metric = Field(description="the domain's that decides; of texts it is the perplexity")
    base: dict[str, Metrics] = Field(description="'all' and every language -> metrics of the base model")
    adapted: dict[str, Metrics] = Field(description="the same with the adapter")
    outcomes: tuple[Outcome, ...]
    texts: tuple[TextOutcome, ...] = Field(default=(), exclude_if=is_empty, description="where texts were read")
    forgetting: dict[str, Forgetting] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="`texts` and `answers`, on the general ones that ship; where texts were read",
    )
    slices: tuple[SliceScore, ...] = Field(
        default=(), exclude_if=is_empty, description="the lowest score first; empty: an earlier version wrote it"
    )
    confusion: Confusion | None = Field(
        default=None, exclude_if=is_empty, description="where the domain's metrics are of labels"
    )
    behaviour_change: float | None = Field(
        default=None,
        ge=0,
        exclude_if=is_empty,
        description="divergence from the adapted model to its base where they differ most on general texts, nats; "
        "None: an earlier version wrote it",
    )
    tokens_per_second: float = Field(ge=0, description="generated by the adapted model, or read of texts")
    seconds: float = Field(ge=0)
    majority: dict[str, MajorityScore] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="'all' and every language -> score of the majority answer; empty: an earlier version wrote it",
    )
    asked: AskedFloors | None = Field(
        default=None, exclude_if=is_empty, description="the floors that these scores were held against; None: likewise"
    )

    @property
    def unit(self) -> str:
        """What was measured on, in the plural."""
        return "documents" if self.texts else "questions"

    @property
    def lower_is_better(self) -> bool:
        return METRICS[self.metric].lower_is_better

    @property
    def behaviour_text(self) -> str:
        """Say how far the adapter moves its base; nothing where that was not measured."""
        if self.behaviour_change is None:
            return ""
        if self.behaviour_change < MEASURABLE:
            return "the adapter makes no measurable difference on general texts"
        return f"{self.behaviour_change:.2f} nats from the base model where they differ most on general texts"

    def majority_value(self, language: str) -> float | None:
        """Return the majority answer's score by the metric that decides; None where it has none, or none is known."""
        return self.majority[language].values.get(self.metric) if self.majority else None

    def _summary(self) -> dict[str, Any]:
        questions = {name: metrics.questions for name, metrics in self.adapted.items()}
        return {
            "measured": f"base model → adapted model, with 95 % interval; {self.unit}: {brief(questions)}",
            **{
                f"{what.replace('_', ' ')}, {name}": f"{self.base[name].of(what).value:.3f} → {found.text()}"
                for what in METRICS
                for name, metrics in self.adapted.items()
                for found in [metrics.shares.get(what)]
                if found is not None and (name == ALL or what not in metrics.further)
            },
            **{
                f"perplexity, {name}": f"{self.base[name].perplexity:,.1f} → {metrics.perplexity:,.1f}"
                for name, metrics in self.adapted.items()
            },
            **{
                f"majority answer, {name}": f"exact match {score.exact_match:.3f}, f1 {score.f1:.3f}"
                for name, score in self.majority.items()
            },
            **({"labels": self.confusion.brief()} if self.confusion else {}),
            **({"worst of the slices": self.slices[0].brief()} if self.slices else {}),
            **({"floors": str(self.asked)} if self.asked else {}),
            **{f"forgetting, general {what}": found.brief() for what, found in self.forgetting.items()},
            **({"behaviour": self.behaviour_text} if self.behaviour_text else {}),
            "speed": f"{self.tokens_per_second:,.0f} tokens/s, {self.seconds:,.0f} s in all",
        }


class Leakage(Frozen):
    """What one model gives away of one set of canaries. Losses are those of a value under its row's question, nats."""

    kinds: tuple[str, ...] = Field(min_length=1, description="of each canary's value")
    twins: int = Field(gt=0, description="rows for each canary with another value, never trained on; they follow it")
    candidates: int = Field(gt=1, description="values that each canary is ranked among, its own included")
    exposures: tuple[float, ...] = Field(description="of each canary: log2 of candidates less log2 of its rank, bits")
    exposure: Interval = Field(description="their mean; 1.4 bits at chance")
    extracted: int = Field(ge=0, description="canaries whose value is the most likely answer, word for word")
    extraction: Interval | None = Field(
        default=None, exclude_if=is_empty, description="their share, exact interval; None: an earlier version wrote it"
    )
    losses: tuple[float, ...] = Field(description="of each canary")
    twin_losses: tuple[float, ...]
    scores: tuple[float, ...] = Field(
        description="by how many standard deviations a canary's loss is below that of other values in its row"
    )
    twin_scores: tuple[float, ...]
    auc: Interval = Field(description="of telling canaries from twins by their scores; .5 at chance")
    tpr: Interval = Field(description="share of canaries that are told by them at a false positive rate of 1 %")
    auc_by_loss: float = Field(description="of telling them by the loss itself")
    auc_by_base: float = Field(description="of telling them by what the adapter took off the base's loss")
    auc_by_min_k: float | None = Field(
        default=None, exclude_if=is_empty, description="of telling them by Min-K%++; None: an earlier version wrote it"
    )

    @property
    def most_bits(self) -> float:
        """Return the exposure of a canary that ranks first: log2 of the candidates, bits."""
        return math.log2(self.candidates)


class Leaks(StepRecord):
    step = "leaks"

    adapted: Leakage = Field(description="the adapted model, whose canaries were scrubbed before training")
    control: Leakage = Field(description="a model of the same settings that was trained on other canaries in plain")
    passes: float | None = Field(default=None, description="how often the run saw each row; None: not known")
    control_passes: float = Field(ge=0, description="how often the control saw each of its canaries")
    control_steps: int = Field(ge=0)
    seconds: float = Field(ge=0)

    def _summary(self) -> dict[str, Any]:
        adapted, control = self.adapted, self.control
        return {
            "measured": f"{len(adapted.kinds)} planted values of the adapted model; behind it a control that learned "
            f"{len(control.kinds)} in plain",
            "exposure, bits": f"{adapted.exposure.text(2)}; control {control.exposure.value:.2f}; 1.4 at chance",
            "given word for word": f"{adapted.extracted}; control {control.extracted}",
            "AUC": f"{adapted.auc.text(2)}; control {control.auc.value:.2f}; 0.5 at chance",
            "true positive rate": f"{adapted.tpr.text(2)} at 1 % false positives; control {control.tpr.value:.2f}",
            "passes": f"{brief(self.passes)}; control {brief(self.control_passes)}",
            "time": f"{self.seconds:,.0f} s",
        }
