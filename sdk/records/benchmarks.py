"""What public benchmarks say of a base and of its adapted model, and what of them stood in the training rows."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdk.records.base_types import Frozen, Interval, Sha256, StepRecord
from sdk.records.summary import brief

QUESTIONS_NAMED = 5  # in a summary; the record has all


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
    version: str = Field(description="of the benchmark's definition in lm-evaluation-harness")
    num_fewshot: int = Field(ge=0, description="examples before each question")
    metrics: tuple[str, ...] = Field(min_length=1, description="as lm-evaluation-harness calls them")
    scores: dict[str, dict[str, MetricScores]] = Field(description="metric -> 'all' and every subset -> scores")
    outcomes: tuple[QuestionScores, ...]
    overlap: Overlap

    def brief(self) -> str:
        return ", ".join(f"{metric} {self.scores[metric]['all'].brief()}" for metric in self.metrics)


class Benchmarks(StepRecord):
    """What was measured in one call; every question was put to the base and to the adapted model."""

    step = "benchmark"

    results: dict[str, BenchmarkResult] = Field(min_length=1, description="benchmark -> result")
    settings: BenchmarkSettings
    engine: str = Field(description="version of lm-evaluation-harness")
    seconds: float = Field(ge=0)

    def _summary(self) -> dict[str, Any]:
        return {
            "measured": f"base model → adapted model, with 95 % interval, by lm-evaluation-harness {self.engine}",
            **self.results,
            **{f"contamination, {name}": result.overlap for name, result in self.results.items()},
            "settings": brief(self.settings),
            "time": f"{self.seconds:,.0f} s",
        }
