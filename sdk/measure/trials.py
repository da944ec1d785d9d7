"""What probe and pilot share: what candidates are tried on, and the sentence that records why one failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdk.data.base_folder import Base
from sdk.errors import SDKError
from sdk.records import Frozen, Hardware, Method, ModelShape, Needs, OnProgress

HELD_OUT = 0.1  # of the rows, where a pilot trains


@dataclass(frozen=True)
class TrialSetup:
    """What candidates are tried on. allow raises Refused where the policy does not let a method train."""

    shape: ModelShape
    hardware: Hardware
    needs: Needs
    base: Base
    prompt: str
    allow: Callable[[Method], None]
    on_progress: OnProgress


class TrialResult(Frozen):
    """What one candidate of a pilot came to: a loss for each held-out row, a score for each question, no text.

    questions: how many there were, of which as many as there was time for were asked.
    """

    steps: int
    tokens: int
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    questions: int
    seconds: float
    memory_gib: float


def one_sentence(error: SDKError) -> str:
    return " ".join([error.message, *error.faults[:1]])
