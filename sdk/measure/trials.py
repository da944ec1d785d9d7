"""What probe and pilot share: what candidates are tried on, and how a candidate's failure is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdk.errors import SDKError
from sdk.records import (
    Hardware,
    Method,
    ModelShape,
    Needs,
    OnProgress,
)

HELD_OUT = 0.1
LEAST_STEPS = 20  # fewer tell methods apart by their first steps only
_SEED = 0  # of the resamples, as in sdk.evaluate
_LONG = 1e9  # seconds until a checkpoint before the last: a pilot is not gone on with


@dataclass(frozen=True)
class TrialSetup:
    """What candidates are tried on. allow raises Refused where the policy does not let a method train."""

    shape: ModelShape
    hardware: Hardware
    needs: Needs
    base: str
    prompt: str
    allow: Callable[[Method], None]
    on_progress: OnProgress


def one_sentence(error: SDKError) -> str:
    return " ".join([error.message, *error.faults[:1]])
