"""A package, its release in MLflow, the decisions over it and where it stands."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, Sha256, StepRecord, is_empty
from sdk.records.in_words import spelled

Decision = Literal["review", "approve", "reject", "withdraw"]
Status = Literal["candidate", "approved", "champion", "rejected", "withdrawn"]


class Package(StepRecord):
    step = "seal"
    verb = "register"

    package: Sha256 = Field(description="the package's identity: digest of its manifest")
    package_id: str = spelled(
        r"^[0-9a-f]{32}$",
        "32 hexadecimal digits in lower case",
        description="random; bound into the encryption of the weights",
    )
    version: int = Field(ge=1, description="how many packages the project has sealed, this one among them")
    signed_by: str = Field(description="name of the signing key's holder")
    key_fingerprint: Sha256
    encrypted: bool
    policy: str = Field(description="id@version that it was sealed under")
    domain: str = Field(description="name@version")


class Rewrapped(StepRecord):
    """The data keys of the project's packages under a new encryption key; no weights were touched."""

    step = "rewrap"
    verb = "keys rotate"

    key_id: str = Field(description="of the new encryption key")
    wrapped: dict[Sha256, str] = Field(description="package -> its data key, wrapped")

    def _summary(self) -> dict[str, Any]:
        return {"key_id": self.key_id, "packages": tuple(self.wrapped)}


class Release(StepRecord):
    step = "register"

    package: Sha256
    tracking_uri: str = Field(description="MLflow server or database, without credentials or paths")
    experiment_id: str
    run_id: str
    model_name: str
    version: str
    artifacts: tuple[FileRef, ...] = Field(description="what was uploaded, relative to the run's artifact root")


class Approval(StepRecord):
    """A signed decision; the envelope is the proof, the rest says what is in it."""

    step = "approve"

    package: Sha256
    decision: Decision
    approver: str
    key_fingerprint: Sha256
    reason: str = Field(min_length=1)
    policy: str = Field(description="id@version of the policy that the package was sealed under")
    time: str = Field(description="UTC, ISO 8601")
    expires: str | None = Field(description="UTC, ISO 8601; None: never")
    envelope: str = Field(description="DSSE envelope of an in-toto statement over package, policy and report")

    def _summary(self) -> dict[str, Any]:
        return {name: value for name, value in super()._summary().items() if name != "envelope"}


class StandingDecision(Frozen):
    """A decision as a reviewer is shown it: what, by whom, when, why, and whether the verdict counted it."""

    decision: Decision
    person: str = Field(description="name in the key ring")
    time: str = Field(description="UTC, ISO 8601")
    reason: str
    counts: bool
    note: str = Field(description="what the verdict says of it")


class Publication(StepRecord):
    """What MLflow was told of where a release stands; `files` are what a loader needs as proof."""

    step = "publish"
    verb = "promote"

    release: Sha256
    package: Sha256
    status: Status
    decisions: tuple[str, ...] = Field(description="each person's last one, in the order of the log")
    checks: tuple[str, ...] = Field(description="the conditions of approval, each with yes or no before it")
    decided: tuple[StandingDecision, ...] = Field(
        default=(),
        exclude_if=is_empty,
        description="every decision, in the order of the log; empty: none, or an earlier version wrote it",
    )
