"""What a training run left behind."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, Sha256, StepRecord, is_empty
from sdk.records.settings import TrainSettings
from sdk.records.shapes import Hardware

ROWS_NAMED = 8  # in a line; the record has more


class LossPoint(Frozen):
    step: int = Field(ge=0)
    loss: float
    learning_rate: float = Field(ge=0)


class LossSpike(Frozen):
    """A step whose loss leapt above those before it, with the rows that were learned in it, by id."""

    step: int = Field(gt=0)
    loss: float
    usual: float = Field(description="median loss of the 16 steps before")
    z: float = Field(description="how many robust standard deviations above it")
    rows: tuple[str, ...] = Field(default=(), description="ids, 64 at most")
    rows_in_step: int = Field(default=0, ge=0)

    def brief(self) -> str:
        named = ", ".join(self.rows[:ROWS_NAMED])
        more = self.rows_in_step - min(len(self.rows), ROWS_NAMED)
        return f"step {self.step:,}: {self.loss:.3f}, usually {self.usual:.3f}; rows {named}" + (
            f" and {more:,} more" if more > 0 else ""
        )


class ValidationPoint(Frozen):
    step: int = Field(ge=0)
    loss: float = Field(description="mean over the learned tokens of the held-out rows")


class Run(StepRecord):
    step = "train"

    settings: TrainSettings
    base: str = Field(description="name of the base model, never a path")
    adapter: tuple[FileRef, ...] = Field(description="adapter files, an ordinary PEFT adapter")
    trainable_parameters: int = Field(gt=0)
    steps: int = Field(gt=0)
    losses: tuple[LossPoint, ...]
    spikes: tuple[LossSpike, ...] | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="the ten highest steps whose loss leapt, in order; None: too few steps to tell, or an earlier "
        "version wrote it",
    )
    validation: tuple[ValidationPoint, ...] = ()
    validation_rows: int = Field(default=0, ge=0, description="rows that were held out and never trained on")
    best_step: int | None = Field(default=None, description="step with the lowest validation loss")
    seconds: float = Field(ge=0)
    tokens_per_second: float = Field(ge=0, description="non-padding tokens")
    memory_predicted_gib: float = Field(ge=0)
    memory_measured_gib: float = Field(ge=0, description="peak: allocator on a GPU, growth of the process on a CPU")
    tokens_per_second_predicted: float | None = Field(default=None, ge=0, description="None: nothing is known of it")
    hardware: Hardware
    resumed_from_step: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = Field(default=(), description="what was done otherwise than asked, and what to know")
    versions: dict[str, str] = Field(description="package -> version")
    base_parameters: int | None = Field(
        default=None, gt=0, exclude_if=is_empty, description="of the frozen base; None: an earlier version wrote it"
    )
    training_template: Sha256 | None = Field(
        default=None,
        exclude_if=is_empty,
        description="of the chat template that rows were rendered with; None: the base's own",
    )

    @property
    def trained(self) -> str:
        """How many parameters were trained, with their share of the base's and theirs together, as PEFT counts it."""
        count = f"{self.trainable_parameters:,}"
        if self.base_parameters is None:
            return f"{count} parameters"
        share = self.trainable_parameters / (self.trainable_parameters + self.base_parameters)
        return f"{count} parameters, {100 * share:.3g} % of all"

    def _summary(self) -> dict[str, Any]:
        losses, held = self.losses, self.validation
        speed = f"{self.seconds:,.0f} s, {self.tokens_per_second:,.0f} tokens/s"
        if self.tokens_per_second_predicted is not None:
            speed += f" ({self.tokens_per_second_predicted:,.0f} predicted)"
        rows = {
            "base": self.base,
            "settings": self.settings,
            "trained": f"{self.trained}, {self.steps:,} steps",
            "loss": f"{losses[0].loss:.3f} to {losses[-1].loss:.3f}" if losses else "none",
        }
        if self.spikes:
            rows["loss spikes"] = self.spikes
        if held:
            rows["validation"] = f"{held[0].loss:.3f} to {held[-1].loss:.3f} on {self.validation_rows:,} held-out rows"
        memory = f"{self.memory_measured_gib:.3g} GiB at its peak ({self.memory_predicted_gib:.3g} predicted)"
        rows |= {"time": speed, "memory": memory, "hardware": self.hardware}
        return rows | ({"notes": self.notes} if self.notes else {})
