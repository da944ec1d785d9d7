"""What this machine measured of candidates: passes of the longest row, and short trainings."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdk.records.base_types import Frozen, Interval, StepRecord, is_empty
from sdk.records.metrics import Metric
from sdk.records.settings import TrainSettings
from sdk.records.shapes import Hardware


class PassMeasurement(Frozen):
    """What one pass through the training engine took."""

    gib: float = Field(description="peak: the allocator's on a GPU; on a CPU the growth of the process")
    seconds: float = Field(description="of one forward and backward pass, with its share of the optimizer's step")
    lengths: tuple[int, ...] = Field(description="tokens of each row in the pass")
    learned: float = Field(description="share of the tokens that the loss is taken on")


class Probed(Frozen):
    """One candidate's forward and backward pass of the longest row on this machine."""

    settings: TrainSettings
    tokens: int = Field(gt=0)
    predicted_gib: float = Field(ge=0)
    measured_gib: float | None = Field(default=None, ge=0, description="None: it did not fit or cannot run here")
    predicted_seconds: float | None = Field(default=None, ge=0)
    measured_seconds: float | None = Field(default=None, ge=0)
    error: str = Field(default="", description="why nothing was measured")

    def brief(self) -> str:
        if self.measured_gib is None:
            return f"{self.predicted_gib:.3g} GiB predicted; not measured: {self.error}"
        time = "" if self.measured_seconds is None else f", {self.measured_seconds:.3g} s"
        return f"{self.measured_gib:.3g} GiB measured ({self.predicted_gib:.3g} predicted){time}"


class Calibration(StepRecord):
    """What this machine measured where the formulas only predict; advice for the same base and hardware uses it."""

    step = "probe"

    hardware: Hardware
    base_name: str
    probes: tuple[Probed, ...]

    def _summary(self) -> dict[str, Any]:
        found = {f"{one.settings.method}, rank {one.settings.lora_r}": one for one in self.probes}
        return {"measured": f"a pass of the longest row of {self.base_name} on {self.hardware.brief()}", **found}


class Piloted(Frozen):
    """One candidate, trained for a little on the user's own rows."""

    settings: TrainSettings
    steps: int = Field(gt=0)
    tokens: int = Field(gt=0, description="the same for every candidate")
    eval_loss: Interval = Field(description="mean over the held-out rows, with its 95 % bootstrap interval")
    score: Interval = Field(description="the domain's metric on its evaluation questions")
    loss_against_lora: Interval | None = Field(
        default=None, description="share of 16-bit LoRA's score that is lost, paired by question; None: it did not run"
    )
    seconds: float = Field(ge=0)
    memory_gib: float = Field(ge=0)

    def brief(self) -> str:
        return f"score {self.score}, loss {self.eval_loss}, {self.memory_gib:.3g} GiB, {self.seconds:,.0f} s"


class Pilot(StepRecord):
    step = "pilot"

    hardware: Hardware
    metric: Metric
    questions: int = Field(gt=0)
    questions_in_all: int | None = Field(
        default=None, exclude_if=is_empty, description="of which they were drawn; None: all were asked, by 0.1.0"
    )
    candidates: tuple[Piloted, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="method -> why it was not tried")

    @property
    def asked(self) -> str:
        """How many questions there were time for, of how many."""
        every = self.questions_in_all or self.questions
        return f"{self.questions:,}" if self.questions == every else f"{self.questions:,} of {every:,}"

    def _summary(self) -> dict[str, Any]:
        tried = {f"{one.settings.method}, rank {one.settings.lora_r}": one for one in self.candidates}
        measured = f"{self.metric.replace('_', ' ')} on {self.asked} questions, on {self.hardware.brief()}"
        return {"measured": measured, **tried, **{f"not tried: {name}": why for name, why in self.left_out.items()}}
