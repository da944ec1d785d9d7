"""The facts that rules judge, and the moments at which they are known.

A fact is the record of what one rule looks at. A moment is the record of everything that a step knows at one point of
its work: it inherits the facts, and so `require` checks exactly the rules of those facts. A misspelt or missing fact
cannot be written: the record has no such field, or lacks one.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sdk.records import Frozen

# -- facts ------------------------------------------------------------------------------------------------------------


class Fact(Frozen):
    """What a rule looks at."""


class Detection(Fact):
    scrubbed: bool = Field(description="the data went through the detectors")


class PlantedRecall(Detection):
    recall: float = Field(description="share of the planted personal data that was removed")


class SmallestGroup(Fact):
    k: int = Field(description="least number of rows with the same quasi-identifiers")


class MissBound(Fact):
    miss_bound: float | None = Field(
        description="95 % upper bound on the share of rows with a miss, by the newest review; None: no review"
    )


class ChosenMethod(Fact):
    method: str = Field(description="training method, as in TrainSettings")


class BaseOrigin(Fact):
    from_hub: bool = Field(description="the base model is named, to be fetched from a hub")


class DomainFloors(Fact):
    below_floor: str = Field(description="the scores below the domain's floors; empty: none")


class QuestionCount(Fact):
    questions: int = Field(description="evaluation questions")


class Improvement(Fact):
    improvement: float = Field(description="score of the adapted model less that of its base")


class Contamination(Fact):
    contamination: float | None = Field(
        description="share of the questions that nearly repeat a training row; None: nobody has looked"
    )
    repeated: str = Field(description="ids of such questions with the rows, the first few; empty: none")


class ModelCode(Fact):
    runs_model_code: bool = Field(description="programs that the model writes are run, in a sandbox")


class DomainCode(Fact):
    runs_domain_code: bool = Field(description="a function of the domain's own scores the answers, in a sandbox")


class Retention(Fact):
    not_kept: str = Field(
        description="the benchmarks of which the policy's bound is not shown to be kept, with the reason; empty: none"
    )


class LeakCheck(Fact):
    leaks_checked: bool = Field(description="the model was asked for the planted canaries")


class Exposure(Fact):
    exposure_bits: float = Field(description="mean over the canaries, bits")


class Extraction(Fact):
    extracted: int = Field(description="canaries whose value the model gives word for word")
    canaries: int = Field(description="canaries in all")


class Distinction(Fact):
    auc: float = Field(description="of telling canaries from values that were not trained on")


class DistinctionAtLowRate(Fact):
    tpr: float = Field(description="true positive rate of the same, at a false positive rate of 1 %")


class ReasonLength(Fact):
    reason_length: int = Field(description="characters in the reason of a decision")


class ApproversPart(Fact):
    approver_is_trainer: bool = Field(description="who decides has trained the model")


class Duties(Fact):
    shared_duties: str = Field(description="what else of owner, trainer and approver the same person is; empty: none")


class ReviewCount(Fact):
    reviews: int = Field(description="distinct reviewers whose reviews count")


class ApprovalCount(Fact):
    approvals: int = Field(description="distinct approvers whose approvals count")


class ExportedForm(Fact):
    export_format: str = Field(description="form in which plain weights are to leave the project")


class MeanDivergence(Fact):
    kl_mean: float = Field(description="from the approved model to the exported one, nats a token")


class TailDivergence(Fact):
    kl_p99: float = Field(description="99th percentile of the same over the tokens, nats")


class TopAgreement(Fact):
    top1: float = Field(description="share of the tokens with the same most likely one")


class SameAnswers(Fact):
    same_answers: float = Field(description="share of the questions with the same greedy answer")


class ScoreLoss(Fact):
    score_loss: float = Field(description="most that the score may have fallen, by a 95 % paired interval")


class PerplexityRatio(Fact):
    perplexity_ratio: float = Field(description="of the reference answers, exported over approved")


# -- moments ----------------------------------------------------------------------------------------------------------


class Moment(Fact):
    """What is known at one point of a step. `step` is what the policy refuses then."""

    step: ClassVar[str]


class BeforeCreate(BaseOrigin, Moment):
    step = "train"


class BeforeScrub(Detection, Moment):
    step = "scrub"


class AfterScrub(PlantedRecall, SmallestGroup, Moment):
    step = "scrub"


class Foreseen(
    PlantedRecall,
    SmallestGroup,
    MissBound,
    DomainFloors,
    QuestionCount,
    Contamination,
    DomainCode,
    LeakCheck,
    Moment,
):
    """The best that rows, questions, canaries and floors can still come to, known before anything is done with them."""

    step = "train"


class BeforeTrial(ChosenMethod, BaseOrigin, Moment):
    """Before a probe or a pilot trains with a method."""

    step = "train"


class BeforeTrain(ChosenMethod, BaseOrigin, MissBound, Contamination, Moment):
    step = "train"


class BeforeBenchmark(Contamination, ModelCode, Moment):
    step = "benchmark"


class BeforeEvaluate(DomainCode, Moment):
    step = "evaluate"


class AfterEvaluate(DomainFloors, QuestionCount, Improvement, Moment):
    step = "evaluate"


class BeforeRegister(Retention, Moment):
    """Before a release, when what was measured of its model besides its scores is known."""

    step = "register"


class LeaksUnchecked(LeakCheck, Moment):
    """Before a release whose model was not asked for the canaries."""

    step = "leaks"
    leaks_checked: bool = False


class LeaksChecked(LeakCheck, Exposure, Extraction, Distinction, DistinctionAtLowRate, Moment):
    """Before a release whose model was asked."""

    step = "leaks"
    leaks_checked: bool = True


class Deciding(ReasonLength, Moment):
    """A rejection or a withdrawal."""

    step = "approve"


class Allowing(ApproversPart, Duties, Deciding):
    """A review or an approval."""

    step = "approve"


class TrainerKnown(Duties, Moment):
    """When it is known who trained what is to be approved."""

    step = "approve"


class ReviewsCounted(ReviewCount, Moment):
    step = "approve"


class ApprovalsCounted(ApprovalCount, Moment):
    step = "approve"


class BeforeExport(ExportedForm, Moment):
    step = "export"


class AfterExport(MeanDivergence, TailDivergence, TopAgreement, SameAnswers, ScoreLoss, PerplexityRatio, Moment):
    """When the exported files were asked what the approved model was asked, in the engine that will serve them."""

    step = "export"


MOMENTS: tuple[type[Moment], ...] = (
    BeforeCreate,
    BeforeScrub,
    AfterScrub,
    Foreseen,
    BeforeTrial,
    BeforeTrain,
    BeforeBenchmark,
    BeforeEvaluate,
    AfterEvaluate,
    BeforeRegister,
    LeaksUnchecked,
    LeaksChecked,
    Deciding,
    Allowing,
    TrainerKnown,
    ReviewsCounted,
    ApprovalsCounted,
    BeforeExport,
    AfterExport,
)
