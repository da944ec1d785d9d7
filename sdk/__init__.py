"""Adapt open language models inside firms that have something to lose.

from sdk import Project, DeploymentStrategy
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; a test compares it with what follows
    __version__: str
    from sdk.advise import DeploymentStrategy as DeploymentStrategy
    from sdk.advise import find_gpu as find_gpu
    from sdk.advise import find_model as find_model
    from sdk.approve import Reason as Reason
    from sdk.approve import Verdict as Verdict
    from sdk.audit import Event as Event
    from sdk.crypto.keyring import Member as Member
    from sdk.crypto.keyring import Revocation as Revocation
    from sdk.data import Planted as Planted
    from sdk.errors import InvalidInput as InvalidInput
    from sdk.errors import MissingExtra as MissingExtra
    from sdk.errors import OutOfOrder as OutOfOrder
    from sdk.errors import Refused as Refused
    from sdk.errors import SDKError as SDKError
    from sdk.errors import StepFailed as StepFailed
    from sdk.errors import Tampered as Tampered
    from sdk.flavor import load_release as load_release
    from sdk.hardware import detect_hardware as detect_hardware
    from sdk.model.adapted import AdaptedModel as AdaptedModel
    from sdk.policy.schema import ApproveRules as ApproveRules
    from sdk.policy.schema import AuditRules as AuditRules
    from sdk.policy.schema import EvaluateRules as EvaluateRules
    from sdk.policy.schema import ExportRules as ExportRules
    from sdk.policy.schema import LeakRules as LeakRules
    from sdk.policy.schema import Policy as Policy
    from sdk.policy.schema import RuleSource as RuleSource
    from sdk.policy.schema import ScrubRules as ScrubRules
    from sdk.policy.schema import SealRules as SealRules
    from sdk.policy.schema import TrainRules as TrainRules
    from sdk.project import Project as Project
    from sdk.project.charter import copy_domain as copy_domain
    from sdk.project.estimating import estimate as estimate
    from sdk.records import Advice as Advice
    from sdk.records import Alternative as Alternative
    from sdk.records import Approval as Approval
    from sdk.records import AskedFloors as AskedFloors
    from sdk.records import BehaviourCheck as BehaviourCheck
    from sdk.records import BenchmarkResult as BenchmarkResult
    from sdk.records import Benchmarks as Benchmarks
    from sdk.records import BenchmarkSettings as BenchmarkSettings
    from sdk.records import Calibration as Calibration
    from sdk.records import Columns as Columns
    from sdk.records import Comparison as Comparison
    from sdk.records import Confusion as Confusion
    from sdk.records import ExpectedAccuracy as ExpectedAccuracy
    from sdk.records import Export as Export
    from sdk.records import FileRef as FileRef
    from sdk.records import Finding as Finding
    from sdk.records import Floor as Floor
    from sdk.records import Forgetting as Forgetting
    from sdk.records import FullFinetuning as FullFinetuning
    from sdk.records import Hardware as Hardware
    from sdk.records import Interval as Interval
    from sdk.records import Leakage as Leakage
    from sdk.records import Leaks as Leaks
    from sdk.records import Lengths as Lengths
    from sdk.records import Likeness as Likeness
    from sdk.records import LikenessLimits as LikenessLimits
    from sdk.records import LossPoint as LossPoint
    from sdk.records import LossSpike as LossSpike
    from sdk.records import MajorityScore as MajorityScore
    from sdk.records import Memory as Memory
    from sdk.records import MethodComparison as MethodComparison
    from sdk.records import MethodResult as MethodResult
    from sdk.records import MethodRun as MethodRun
    from sdk.records import Metrics as Metrics
    from sdk.records import MetricScores as MetricScores
    from sdk.records import ModelShape as ModelShape
    from sdk.records import NearDuplicate as NearDuplicate
    from sdk.records import Needs as Needs
    from sdk.records import Outcome as Outcome
    from sdk.records import Overlap as Overlap
    from sdk.records import Package as Package
    from sdk.records import PairedChange as PairedChange
    from sdk.records import Parity as Parity
    from sdk.records import Pilot as Pilot
    from sdk.records import Piloted as Piloted
    from sdk.records import Probed as Probed
    from sdk.records import Publication as Publication
    from sdk.records import Quarantined as Quarantined
    from sdk.records import QuestionScores as QuestionScores
    from sdk.records import Range as Range
    from sdk.records import Recall as Recall
    from sdk.records import Release as Release
    from sdk.records import Reliability as Reliability
    from sdk.records import Review as Review
    from sdk.records import Run as Run
    from sdk.records import Scores as Scores
    from sdk.records import Scrubbed as Scrubbed
    from sdk.records import SliceScore as SliceScore
    from sdk.records import SourceFile as SourceFile
    from sdk.records import Speed as Speed
    from sdk.records import StandingDecision as StandingDecision
    from sdk.records import StepRecord as StepRecord
    from sdk.records import Stratum as Stratum
    from sdk.records import TextOutcome as TextOutcome
    from sdk.records import Texts as Texts
    from sdk.records import TrainSettings as TrainSettings
    from sdk.records import ValidationPoint as ValidationPoint
    from sdk.records import Verified as Verified
    from sdk.review import ReviewRow as ReviewRow
    from sdk.serve.admit import Trust as Trust

_NAMES = {  # module -> public names in it, so that importing sdk imports nothing heavy
    "sdk.advise": "DeploymentStrategy find_gpu find_model",
    "sdk.approve": "Reason Verdict",
    "sdk.audit": "Event",
    "sdk.crypto.keyring": "Member Revocation",
    "sdk.data": "Planted",
    "sdk.errors": "InvalidInput MissingExtra OutOfOrder Refused SDKError StepFailed Tampered",
    "sdk.flavor": "load_release",
    "sdk.hardware": "detect_hardware",
    "sdk.model.adapted": "AdaptedModel",
    "sdk.policy.schema": """
        ApproveRules AuditRules EvaluateRules ExportRules LeakRules Policy RuleSource ScrubRules SealRules
        TrainRules
    """,
    "sdk.project": "Project",
    "sdk.project.charter": "copy_domain",
    "sdk.project.estimating": "estimate",
    "sdk.records": """
        Advice Alternative Approval AskedFloors BehaviourCheck BenchmarkResult BenchmarkSettings Benchmarks
        Calibration Columns Comparison Confusion ExpectedAccuracy Export FileRef Finding Floor Forgetting
        FullFinetuning Hardware Interval Leakage Leaks Lengths Likeness LikenessLimits LossPoint LossSpike
        MajorityScore Memory MethodComparison MethodResult MethodRun MetricScores Metrics ModelShape
        NearDuplicate Needs Outcome Overlap Package PairedChange Parity Pilot Piloted Probed Publication
        Quarantined QuestionScores Range Recall Release Reliability Review Run Scores Scrubbed SliceScore
        SourceFile Speed StandingDecision StepRecord Stratum TextOutcome Texts TrainSettings ValidationPoint
        Verified
    """,
    "sdk.review": "ReviewRow",
    "sdk.serve.admit": "Trust",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        metadata = import_module("importlib.metadata")
        try:
            return metadata.version("domain-adaptation-sdk")
        except metadata.PackageNotFoundError:
            return "not installed"  # code on PYTHONPATH, as on a machine that pip does not reach
    if name == "probe":
        warnings.warn(
            "sdk.probe is called sdk.detect_hardware; the old name goes with 0.3.0.", DeprecationWarning, stacklevel=2
        )
        name = "detect_hardware"
    if name not in _HOME:
        raise AttributeError(f"module 'sdk' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
