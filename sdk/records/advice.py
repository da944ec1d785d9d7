"""What is needed of a training, and what was advised for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import Frozen, StepRecord, is_empty
from sdk.records.settings import METHODS, PAGED, Method, PeftMethod, TrainSettings
from sdk.records.shapes import Hardware, Lengths, ModelShape
from sdk.records.summary import span

ApplicationType = Literal["high_performance", "cost_efficient", "resource_constrained", "rapid_development"]
Accuracy = Literal["highest", "high", "balanced", "economy"]

QUANTIZATIONS: dict[Method, str] = {
    "lora": "none: the base stays in 16 bits",
    "qlora-4bit": "4-bit NF4, with double quantization",
    "qlora-8bit": "8-bit integers",
    "lora-fp8": "8-bit floats",
}
RECOMMENDED = ("recommendation", "method", "quantization", "memory_optimization")


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
    peft_type: PeftMethod | None = Field(
        default=None, description="kind of adapter, by PEFT's name; none: lora", exclude_if=is_empty
    )
    use_dora: bool | None = Field(
        default=None, description="learn magnitude and direction apart: DoRA", exclude_if=is_empty
    )


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

    def brief(self) -> str:
        return f"{self.total:.3g} GiB"


class Range(Frozen):
    """An expected value and the band that it is expected in."""

    low: float = Field(ge=0)
    expected: float = Field(ge=0)
    high: float = Field(ge=0)

    def brief(self) -> str:
        return span(self.low, self.expected, self.high)


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


class FullFinetuning(Frozen):
    """What training all parameters would take. It is not offered: it tells how much the chosen settings save."""

    memory_gib: float = Field(ge=0, description="if one GPU had room for all of it")
    gpus: int | None = Field(description="of these, so that it fits; None: on no number of them, or there are none")
    tokens_per_second: float | None = Field(ge=0, description="of each GPU; None: nothing is known of this hardware")
    gpu_hours: float | None = Field(ge=0, description="for all epochs of this data; None: the rows are not known")
    cost: float | None = Field(ge=0, description="at the price given, in its currency")
    memory_saved: float = Field(description="share of this memory that the chosen settings do without")
    cost_saved: float = Field(description="share of these GPU-hours that the chosen settings do without")
    basis: str = Field(description="how it was computed")

    def brief(self) -> str:
        needed = "" if self.gpus in (None, 1) else f" on {self.gpus} of these GPUs"
        took = "" if self.gpu_hours is None else f", {self.gpu_hours:,.3g} hours of one of them"
        cost = "" if self.cost is None else f", a cost of {self.cost:,.2f}"
        return (
            f"{self.memory_gib:,.1f} GiB{needed}{took}{cost}; the choice saves {self.memory_saved:.0%} of the memory "
            f"and {self.cost_saved:.0%} of the hours"
        )


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
    full_finetuning: FullFinetuning | None = Field(
        default=None, exclude_if=is_empty, description="for comparison; None: an earlier version wrote it"
    )
    flips: tuple[str, ...] = Field(default=(), description="the nearest changes that another choice would follow from")
    notes: tuple[str, ...] = ()
    host_gib: float | None = Field(
        default=None,
        exclude_if=is_empty,
        description="without a GPU, expected of all processes of the training, those that read rows among them",
    )

    def reason(self, setting: str, value: Any) -> str:
        """Say why a run has this value: the advice's reason, where the run does what was advised."""
        return self.reasons.get(setting, "") if value == getattr(self.settings, setting) else "set by hand"

    @property
    def method(self) -> Method:
        """The method that was chosen, as `train(method=…)` takes it."""
        return self.settings.method

    @property
    def quantization(self) -> str:
        """The form in which the frozen base is held."""
        return QUANTIZATIONS[self.method]

    @property
    def memory_optimization(self) -> str:
        """The settings that save memory, in words."""
        settings = self.settings
        layers = "all" if settings.checkpointed_layers is None else str(settings.checkpointed_layers)
        used = {
            f"gradient checkpointing in {layers} layers": settings.gradient_checkpointing,
            "activations wait in the host's memory": settings.activation_offloading,
            "embeddings in the host's memory": settings.offload_embeddings,
            "the optimizer's moments are paged": settings.optim in PAGED,
            f"the base split over {settings.gpus} GPUs": settings.shard_base,
            "packing": settings.packing,
        }
        accumulated = settings.gradient_accumulation_steps
        if accumulated > 1:
            rows = settings.per_device_train_batch_size
            used[f"{accumulated} forward passes of {rows} {'row' if rows == 1 else 'rows'} in a step"] = True
        return ", ".join(name for name, is_used in used.items() if is_used) or "none is needed"

    @property
    def recommendation(self) -> str:
        """What to do and why, in two sentences."""
        low, expected, high = (each.total for each in (self.memory_low, self.memory, self.memory_high))
        memory = f"{expected:.2f} GiB ({low:.2f} to {high:.2f}) of {self.available_gib:.1f} GiB"
        how = f"{METHODS[self.method]}, rank {self.settings.lora_r}"
        model, where = self.shape.name, self.hardware.accelerator
        if not self.fits and not self.uncertain:
            return f"{model} does not fit on {where}. {how}, would take least: {memory}."
        said = "It is expected to take" if self.fits else "It may not fit: it is expected to take"
        unmet = "" if self.needs_met else " A need is not met."
        return f"Train {model} on {where} with {how}. {said} {memory}.{unmet if self.fits else ''}"

    def __getitem__(self, name: str) -> Any:
        """Return a field, or one of method, quantization, memory_optimization and recommendation, by its name."""
        if name in type(self).model_fields or name in RECOMMENDED:
            return getattr(self, name)
        raise KeyError(name)

    def _summary(self) -> dict[str, Any]:
        settings, accuracy = self.settings, self.accuracy
        batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * settings.gpus
        time = "not known for this hardware"
        if self.speed:
            time = f"{self.speed.tokens_per_second.brief()} tokens/s"
        if self.speed and (hours := self.speed.hours):
            unit, scale = ("h", 1) if hours.expected >= 1 else ("min", 60)
            time += f", {span(hours.low * scale, hours.expected * scale, hours.high * scale)} {unit} in all"
        lost = "nothing: it is 16-bit LoRA itself"
        if self.method != "lora":
            lost = f"{accuracy.loss:.1%} of its score expected ({accuracy.low:.1%} to {accuracy.high:.1%})"
        return {
            **{name: self[name] for name in RECOMMENDED},
            "why": self.reasons.get("method", ""),
            "settings": f"rank {settings.lora_r}, alpha {settings.lora_alpha}, learning rate "
            f"{settings.learning_rate:g}, {batch} rows a step, {settings.num_train_epochs:g} epochs",
            "speed": time,
            "lost against LoRA": lost,
            "not taken": tuple(f"{one.method} r {one.lora_r} ({one.reason})" for one in self.alternatives),
            **({"full fine-tuning": self.full_finetuning} if self.full_finetuning else {}),
            "notes": self.notes,
        }
