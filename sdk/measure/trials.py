"""What probe and pilot share: what candidates are tried on, and the sentence that records why one failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdk.data.base_folder import Base
from sdk.errors import SDKError
from sdk.records import Hardware, Method, ModelShape, Needs, OnProgress


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


def one_sentence(error: SDKError) -> str:
    return " ".join([error.message, *error.faults[:1]])
