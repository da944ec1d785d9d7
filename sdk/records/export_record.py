"""What leaves the project in plain: in which form, by whose leave, and how like the approved model it behaves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, Interval, Sha256, StepRecord
from sdk.records.behaviour import BehaviourCheck

ExportFormat = Literal["peft", "merged", "gguf", "gguf-lora"]
MergeBase = Literal["trained-base", "original"]
ExportType = Literal["f16", "bf16", "f32", "q8_0"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("peft", "merged", "gguf", "gguf-lora")


class Parity(Frozen):
    """How like the approved model, un-merged, the exported files behave in the engine that will serve them.

    Figures alone: no text of a question or an answer.
    """

    engine: str = Field(description="what the files were loaded by, with its version")
    places: int = Field(gt=0, description="tokens of reference answers at which both were asked for the next one")
    kl_mean: float = Field(description="Kullback-Leibler divergence from the approved model, nats a token")
    kl_p99: float = Field(description="its 99th percentile over the places")
    top1: Interval = Field(description="share of the places with the same most likely token")
    questions: int = Field(gt=0, description="of the domain, asked of both")
    same_answers: Interval = Field(description="share of them with the same greedy answer, in every token")
    metric: str
    score: float = Field(description="of the approved model on these questions")
    score_exported: float
    score_change: Interval = Field(description="exported less approved, paired by question")
    perplexity_ratio: float = Field(description="of the reference answers, exported over approved")
    behaviour: BehaviourCheck | None = Field(
        description="the engine held against the package's behaviour seal; None: the package is older and has none"
    )
    seconds: float


class Export(StepRecord):
    """A child release: files in plain that left the project. `exported` are those in the folder that was named."""

    step = "export"

    release: Sha256 = Field(description="the parent's record")
    package: Sha256 = Field(description="the parent's package")
    identity: Sha256 = Field(description="digest of the manifest in the exported folder")
    format: ExportFormat
    onto: MergeBase | None = Field(description="the weights that a merged adapter was added to; None: not merged")
    weight_type: str = Field(description="of the exported weights, as their format names it")
    reason: str
    exported: tuple[FileRef, ...] = Field(description="every file of the exported folder")
    parity: Parity
    tools: dict[str, str] = Field(description="what converted and checked it, with versions or digests")
    notes: tuple[str, ...] = Field(default=(), description="what its user should know besides")
    signed_by: str = Field(description="name of the signing key's holder")
    key_fingerprint: Sha256
    seconds: float = Field(description="from the admitted package to the signed folder, without the parity check")

    def _summary(self) -> dict[str, Any]:
        return {name: value for name, value in super()._summary().items() if name not in ("tools", "exported")}
