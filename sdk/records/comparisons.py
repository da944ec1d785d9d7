"""What training methods came to on a user's own rows, beside each other and beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import Frozen, Interval, StepRecord
from sdk.records.evaluation import Forgetting
from sdk.records.settings import TrainSettings
from sdk.records.shapes import Hardware

ComparedMethod = Literal["lora", "qlora-4bit", "qlora-8bit", "lora-fp8", "qlora-4bit-high-rank", "dora"]
Enough = Literal["enough", "not enough", "cannot be told"]


class MethodRun(Frozen):
    """One training of one method with one seed, and its answers. No text is kept."""

    seed: int = Field(ge=0)
    steps: int = Field(gt=0)
    tokens: int = Field(gt=0, description="that were trained on; the same for every method of a seed")
    epoch_seconds: float = Field(ge=0, description="one pass over the rows that were trained on, at the speed measured")
    seconds: float = Field(ge=0, description="training alone")
    whole_seconds: float = Field(ge=0, description="with loading and asking")
    memory_gib: float = Field(ge=0, description="peak: allocator on a GPU, growth of the process on a CPU")
    tokens_per_second: float = Field(ge=0, description="of training")
    generated_per_second: float = Field(ge=0, description="tokens of answers, with the adapter beside the base")
    trainable_parameters: int = Field(gt=0)
    adapter_bytes: int = Field(gt=0)
    energy_wh: float | None = Field(
        default=None, ge=0, description="of the GPU while it trained, by its meter; None: nothing measures it"
    )
    forgetting: dict[str, Forgetting] = Field(description="perplexity on general texts and answers")
    scores: tuple[float, ...] = Field(description="of each question; of the perplexity, the mean loss of its answer")
    losses: tuple[float, ...] = Field(description="mean loss of each question's reference answer")


class MethodResult(Frozen):
    """One method over all seeds."""

    method: ComparedMethod
    settings: TrainSettings = Field(description="of the first seed; the others differ in it alone")
    trainable_share: float = Field(ge=0, le=1, description="of all parameters, adapter and base together")
    memory_predicted_gib: float = Field(ge=0)
    tokens_per_second_predicted: float | None = Field(default=None, ge=0, description="None: nothing is known of it")
    runs: tuple[MethodRun, ...] = Field(min_length=1)
    score: Interval = Field(description="mean over questions and seeds")
    lost: Interval | None = Field(
        default=None,
        description="what is lost against the method that the need names, paired by question and seed; its interval "
        "holds for all methods at once. None: it is that method, or there is one seed",
    )
    verdict: Enough
    why: str

    def mean(self, of: Callable[[MethodRun], float]) -> float:
        return fmean(map(of, self.runs))

    @property
    def memory_gib(self) -> float:
        """The most of any seed."""
        return max(run.memory_gib for run in self.runs)

    @property
    def energy_wh(self) -> float | None:
        """The mean over seeds; None where it was not measured."""
        measured = [run.energy_wh for run in self.runs if run.energy_wh is not None]
        return fmean(measured) if len(measured) == len(self.runs) else None

    def forgotten(self, kind: str) -> float:
        """Return by which share of itself the perplexity on general texts, or answers, rose; the mean over seeds."""
        return self.mean(lambda run: run.forgetting[kind].change)

    def brief(self) -> str:
        return (
            f"{self.verdict}; score {self.score}, {self.memory_gib:.3g} GiB ({self.memory_predicted_gib:.3g} "
            f"predicted), {self.mean(lambda run: run.epoch_seconds):,.3g} s an epoch"
        )


class MethodComparison(StepRecord):
    """Methods that were trained on the same rows for as many tokens, with the same seeds, and asked the same."""

    step = "compare"

    hardware: Hardware
    base_name: str
    metric: str
    questions: int = Field(gt=0, description="held out of the training rows; none of the evaluation's is asked")
    seeds: tuple[int, ...] = Field(min_length=1)
    need: str
    reference: ComparedMethod = Field(description="what the others are held against")
    methods: tuple[MethodResult, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="method -> why it was not compared")
    verdict: str = Field(description="which is enough for the need, in words")
    notes: tuple[str, ...] = ()

    def _summary(self) -> dict[str, Any]:
        found = {f"{one.method}, rank {one.settings.lora_r}": one for one in self.methods}
        asked = f"{self.questions} questions of the training rows"
        measured = f"{self.metric.replace('_', ' ')} on {asked}, seeds {', '.join(map(str, self.seeds))}"
        return {
            "verdict": self.verdict,
            "need": self.need,
            "measured": f"{measured}, on {self.hardware.brief()}",
            **found,
            **{f"not compared: {name}": why for name, why in self.left_out.items()},
            **({"notes": self.notes} if self.notes else {}),
        }
