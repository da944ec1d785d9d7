"""What public benchmarks say of a base and of its adapted model, and what of them stood in the training rows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import Frozen, Interval, Sha256, StepRecord
from sdk.records.summary import brief

QUESTIONS_NAMED = 5  # in a summary; the record has all
SAFETY = "safety"  # the questions that ship, for which there is no file
# benchmark -> its metric that a policy's bound is about, by which it is published mostly
DECIDING = {
    "mmlu": "acc",
    "cmmlu": "acc",
    "truthfulqa": "mc2",
    "gsm8k": "exact_match,strict-match",
    "humaneval": "pass@1",
    "hellaswag": "acc_norm",
    "pubmedqa": "acc",
    SAFETY: "declined",
}


class NearDuplicate(Frozen):
    """A question that nearly repeats a training row, without the text of either."""

    question: str = Field(description="id of the question")
    row: str = Field(description="id of the training row that is the most like it")
    share: float = Field(ge=0, le=1, description="of the question's runs of five words that stand in the row")
    likeness: float = Field(ge=0, le=1, description="Jaccard index of their runs of five characters, by MinHash")

    def brief(self) -> str:
        return f"{self.question} in {self.row}"


class Overlap(Frozen):
    """How many questions nearly repeat a training row, and which."""

    questions: int = Field(gt=0)
    near_duplicates: tuple[NearDuplicate, ...] = Field(description="one for each question that has some")

    @property
    def share(self) -> float:
        """Return which share of the questions nearly repeats a training row."""
        return round(len(self.near_duplicates) / self.questions, 4)

    def named(self) -> str:
        """Name the first of them with their rows."""
        named = ", ".join(each.brief() for each in self.near_duplicates[:QUESTIONS_NAMED])
        more = len(self.near_duplicates) - QUESTIONS_NAMED
        return f"{named} and {more:,} more" if more > 0 else named

    def brief(self) -> str:
        which = f": {self.named()}" if self.near_duplicates else ""
        return f"{len(self.near_duplicates):,} of {self.questions:,} questions nearly repeat a training row{which}"


class BenchmarkSettings(Frozen):
    """How the questions are put to both models."""

    chat_template: bool = Field(default=False, description="the prompt is rendered by the base's chat template")
    num_fewshot: int | None = Field(
        default=None, ge=0, description="examples before each question; None: as many as the benchmark has by itself"
    )
    limit: int | None = Field(default=None, gt=0, description="the first questions of each subset; None: all")
    batch_size: int = Field(default=8, gt=0, description="rows at once")
    run_model_code: bool = Field(default=False, description="what the model writes may be run, in the sandbox")


class QuestionScores(Frozen):
    """One question, without its text; the scores are in the order of the benchmark's metrics."""

    question: str
    base: tuple[float, ...]
    adapted: tuple[float, ...]


class MetricScores(Frozen):
    """One metric on the questions of a benchmark or of one of its subsets; intervals are at 95 %."""

    questions: int = Field(gt=0)
    base: Interval
    adapted: Interval

    def brief(self) -> str:
        return f"{self.base.value:.3f} → {self.adapted} on {self.questions:,}"


class BenchmarkResult(Frozen):
    """One benchmark, from one file."""

    sha256: Sha256 = Field(description="of the file that its questions were taken from")
    version: str = Field(description="of its definition in lm-evaluation-harness, or of the safety probes")
    num_fewshot: int = Field(ge=0, description="examples before each question")
    metrics: tuple[str, ...] = Field(min_length=1, description="as lm-evaluation-harness calls them")
    scores: dict[str, dict[str, MetricScores]] = Field(description="metric -> 'all' and every subset -> scores")
    outcomes: tuple[QuestionScores, ...]
    overlap: Overlap

    def brief(self) -> str:
        return ", ".join(f"{metric} {self.scores[metric]['all'].brief()}" for metric in self.metrics)


class PairedChange(Frozen):
    """From base to adapted model on the same questions, held against a bound."""

    questions: int = Field(gt=0)
    base: float = Field(description="mean of the scores")
    adapted: float
    lost: int = Field(ge=0, description="questions with a lower score of the adapted model")
    gained: int = Field(ge=0, description="with a higher one")
    bound: float = Field(gt=-1, le=0, description="change that the mean may have: the adapted model's less the base's")
    method: Literal["exact", "bootstrap"] = Field(description="of the test: exact where each score is right or wrong")
    p_kept: float = Field(ge=0, le=1, description="of a fall by the bound or more; 0.05 or less: kept")
    p_lost: float = Field(ge=0, le=1, description="of a fall by the bound or less; 0.05 or less: lost")
    outcome: Literal["kept", "lost", "cannot be told"]
    needed: int | None = Field(
        description="questions that would tell, at the seen rates, in four of five cases; None: it is told, or none do"
    )

    def text(self) -> str:
        """Say outcome, figures and, where it cannot be told, how many questions it would take."""
        change = f"{self.base:.3f} → {self.adapted:.3f} on {self.questions:,} questions, at most {self.bound:g} allowed"
        if self.outcome != "cannot be told":
            return f"{self.outcome}: {change} (p {max(min(self.p_kept, self.p_lost), 1e-4):.2g})"
        takes = "no number would, since the change is at the bound" if self.needed is None else f"{self.needed:,} would"
        return f"cannot be told with {self.questions:,} questions, at these rates {takes}: {change}"


class Benchmarks(StepRecord):
    """What was measured in one call; every question was put to the base and to the adapted model."""

    step = "benchmark"

    results: dict[str, BenchmarkResult] = Field(min_length=1, description="benchmark -> result")
    settings: BenchmarkSettings
    engine: str = Field(description="version of lm-evaluation-harness; empty: only the safety probes were asked")
    seconds: float = Field(ge=0)

    @property
    def by_engine(self) -> str:
        """Say who scored the public ones."""
        return f", by lm-evaluation-harness {self.engine}" if self.engine else ""

    def _summary(self) -> dict[str, Any]:
        return {
            "measured": f"base model → adapted model, with 95 % interval{self.by_engine}",
            **self.results,
            **{f"contamination, {name}": result.overlap for name, result in self.results.items()},
            "settings": brief(self.settings),
            "time": f"{self.seconds:,.0f} s",
        }
