"""The metrics that a domain can name, and what it says of how they judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator

from sdk.records.base_types import Frozen
from sdk.records.in_words import spelled

Metric = Literal[
    "exact_match",
    "f1",
    "numeric",
    "multiple_choice",
    "multiple_choice_likelihood",
    "multiple_choice_likelihood_norm",
    "rouge_l",
    "chrf",
    "bleu",
    "json_schema",
    "classification",
    "macro_f1",
    "refusal_rate",
    "entry_point",
    "perplexity",
]


class MetricKind(NamedTuple):
    """What a metric is, for people and for whoever compares two values of it."""

    title: str
    unit: str  # what its values are
    lower_is_better: bool = False
    of_one_answer: bool = True  # what always giving the same answer would score is known without the model
    is_share: bool = False  # of questions, each of which is right or wrong: its interval is exact


_SHARE, _MEAN, _CORPUS = "share of questions", "mean from 0 to 1", "over all answers, from 0 to 1"
METRICS: Mapping[Metric, MetricKind] = {
    "exact_match": MetricKind("exact match", _SHARE, is_share=True),
    "f1": MetricKind("token F1", _MEAN),
    "numeric": MetricKind("right number", _SHARE, is_share=True),
    "multiple_choice": MetricKind("right choice by letter", _SHARE, is_share=True),
    "multiple_choice_likelihood": MetricKind("right choice by likelihood", _SHARE, of_one_answer=False, is_share=True),
    "multiple_choice_likelihood_norm": MetricKind(
        "right choice by likelihood for its length", _SHARE, of_one_answer=False, is_share=True
    ),
    "rouge_l": MetricKind("ROUGE-L", _MEAN),
    "chrf": MetricKind("chrF", _CORPUS),
    "bleu": MetricKind("BLEU", _CORPUS),
    "json_schema": MetricKind("valid JSON", _SHARE, is_share=True),
    "classification": MetricKind("right label", _SHARE, is_share=True),
    "macro_f1": MetricKind("macro F1", _CORPUS),
    "refusal_rate": MetricKind("refusals", _SHARE, lower_is_better=True, of_one_answer=False, is_share=True),
    "entry_point": MetricKind("own function", _MEAN, of_one_answer=False),
    "perplexity": MetricKind("perplexity", "of the references", lower_is_better=True, of_one_answer=False),
}
ALWAYS: tuple[Metric, ...] = ("exact_match", "f1", "perplexity")  # recorded of every evaluation by questions
TOGETHER: tuple[Metric, ...] = ("classification", "macro_f1")  # each of labels: with one the other is recorded


class Scoring(Frozen):
    """What the domain's metrics need to know besides the reference answer."""

    relative_tolerance: float = Field(
        default=0, ge=0, lt=1, description="numeric: by which share of the reference an answer may be off"
    )
    absolute_tolerance: float = Field(default=0, ge=0, description="numeric: by how much, in the reference's unit")
    labels: tuple[str, ...] = Field(
        default=(), max_length=64, description="classification and macro_f1: what an answer can be"
    )
    json_schema: dict[str, Any] = Field(default={}, description="json_schema: what an answer's JSON has to satisfy")
    entry_point: str = spelled(
        r"^([a-z_][a-z0-9_]*\.py:[A-Za-z_][A-Za-z0-9_]*)?$",
        "a file in the domain's folder and a function in it, such as scores.py:score",
        default="",
        description="entry_point: a Python file in the domain's folder and a function in it",
    )

    @field_validator("labels")
    @classmethod
    def _name_each_once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels) or not all(map(str.strip, labels)):
            raise ValueError("must be different, and none empty")
        return labels

    @property
    def module(self) -> str:
        """Return the file of the domain's own function; empty: it has none."""
        return self.entry_point.partition(":")[0]


NO_SCORING = Scoring()
NEEDS: Mapping[Metric, str] = {  # metric -> the setting without which it cannot judge
    "classification": "labels",
    "macro_f1": "labels",
    "json_schema": "json_schema",
    "entry_point": "entry_point",
}
