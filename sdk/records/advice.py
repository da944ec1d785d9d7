"""What is needed of a training, and what was advised for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import Frozen, StepRecord
from sdk.records.settings import Method, TrainSettings
from sdk.records.shapes import Hardware, Lengths, ModelShape

ApplicationType = Literal["high_performance", "cost_efficient", "resource_constrained", "rapid_development"]
Accuracy = Literal["highest", "high", "balanced", "economy"]


class Needs(Frozen):
    application_type: ApplicationType | None = None
    accuracy: Accuracy | None = None
    max_loss: float | None = Field(
        default=None, ge=0, le=1, description="accuracy that may be lost against 16-bit LoRA, as a share of its score"
    )
    deadline_hours: float | None = Field(default=None, gt=0, description="time that training may take")
    price_per_hour: float | None = Field(default=None, ge=0, description="of one GPU, in the user's currency")
    max_length: int = Field(default=1024, gt=0, description="tokens in the longest row")
    rows: int | None = Field(default=None, gt=0, description="training rows, where known")
    lengths: Lengths | None = Field(default=None, description="of the training rows, where they were read")
    lora_r: int | None = Field(default=None, gt=0, description="the domain's starting rank")
    lora_alpha: int | None = Field(default=None, gt=0, description="the domain's starting alpha")
    lora_dropout: float | None = Field(default=None, ge=0, lt=1, description="the domain's starting dropout")
    adapter_reason: str = Field(default="", description="the domain's reason for its starting values")


class Memory(Frozen):
    """Peak training memory by term, GiB."""

    weights: float = Field(ge=0)
    adapters: float = Field(ge=0)
    gradients: float = Field(ge=0)
    optimizer: float = Field(ge=0)
    activations: float = Field(ge=0)
    logits: float = Field(ge=0)
    workspace: float = Field(ge=0)

    @property
    def total(self) -> float:
        return float(sum(self.model_dump().values()))


class Range(Frozen):
    """An expected value and the band that it is expected in."""

    low: float = Field(ge=0)
    expected: float = Field(ge=0)
    high: float = Field(ge=0)


class Reliability(Frozen):
    """How far predictions were off on measured runs, as shares of what was measured."""

    scope: str = Field(description="which runs: method, hardware, what was done with them")
    runs: int = Field(gt=0)
    median: float = Field(ge=0, description="of the absolute errors")
    percentile_95: float = Field(ge=0)
    too_low: float = Field(ge=0, description="the farthest that a prediction was below")
    too_high: float = Field(ge=0, description="the farthest that a prediction was above")


class Comparison(Frozen):
    """One published or measured comparison of a method with 16-bit LoRA."""

    method: Method
    model: str
    what: str = Field(description="benchmark and metric")
    lora: float = Field(description="score with 16-bit LoRA")
    value: float = Field(description="score with the method")
    loss: float = Field(description="what is lost against 16-bit LoRA, as a share of its score; negative: gained")
    source: str = Field(description="paper and table, this project's measurement, or the pilot on the user's data")
    kind: Literal["published", "measured", "pilot"]


class ExpectedAccuracy(Frozen):
    """Accuracy against 16-bit LoRA, as a share of its score that is lost."""

    method: Method
    loss: float = Field(description="expected")
    low: float
    high: float
    meets_need: bool | None = Field(description="None: the evidence is too thin or too wide to say")
    why: str
    evidence: tuple[Comparison, ...] = ()


class Speed(Frozen):
    tokens_per_second: Range
    step_seconds: float = Field(gt=0, description="of one optimizer step")
    hours: Range | None = Field(default=None, description="for all epochs of this data; None: the rows are not known")
    steps: int | None = Field(default=None, gt=0, description="optimizer steps in all")
    kwh: float | None = Field(default=None, ge=0, description="of the GPUs, at their board power")
    cost: float | None = Field(default=None, ge=0, description="at the price given, in its currency")
    basis: str = Field(description="measured on this hardware, calibrated here, or scaled from data sheets")


class Alternative(Frozen):
    """An option that was not taken."""

    method: Method
    lora_r: int
    memory_gib: float = Field(description="expected, in its fastest settings that fit, else in its leanest")
    fits: bool
    tokens_per_second: float | None = None
    loss: float | None = Field(default=None, description="expected, against 16-bit LoRA")
    reason: str = Field(description="the number that it was not taken for")


class Advice(StepRecord):
    step = "advise"

    shape: ModelShape
    hardware: Hardware
    needs: Needs
    settings: TrainSettings
    reasons: dict[str, str] = Field(description="field of settings -> why this value")
    memory: Memory = Field(description="expected peak of torch's allocator on one GPU, or of the process without one")
    memory_low: Memory
    memory_high: Memory
    device_gib: float = Field(ge=0, description="expected as the driver shows it: with context and fragmentation")
    available_gib: float
    fits: bool = Field(description="memory_high can be used")
    uncertain: bool = Field(description="memory can be used, memory_high cannot")
    reliability: tuple[Reliability, ...] = Field(default=(), description="of these predictions, on runs of this kind")
    speed: Speed | None = Field(default=None, description="None: nothing is known of this hardware's speed")
    accuracy: ExpectedAccuracy
    needs_met: bool = Field(description="it fits, the accuracy is expected to be met, and the deadline is")
    alternatives: tuple[Alternative, ...]
    flips: tuple[str, ...] = Field(default=(), description="the nearest changes that another choice would follow from")
    notes: tuple[str, ...] = ()

    def reason(self, setting: str, value: Any) -> str:
        """Say why a run has this value: the advice's reason, where the run does what was advised."""
        return self.reasons.get(setting, "") if value == getattr(self.settings, setting) else "set by hand"
