"""Adapt open language models inside firms that have something to lose.

from sdk import Project, DeploymentStrategy
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdk.advise import DeploymentStrategy, find_gpu, find_model
    from sdk.errors import InvalidInput, MissingExtra, OutOfOrder, Refused, SDKError, StepFailed, Tampered
    from sdk.flavor import load_release
    from sdk.hardware import detect_hardware
    from sdk.project import Project
    from sdk.records import (
        Advice,
        Approval,
        Hardware,
        Needs,
        Package,
        Release,
        Review,
        Run,
        Scores,
        Scrubbed,
        TrainSettings,
    )

_HOME = {  # name -> module, so that importing sdk imports nothing heavy
    "Project": "sdk.project",
    "DeploymentStrategy": "sdk.advise",
    "load_release": "sdk.flavor",
    "find_gpu": "sdk.advise",
    "find_model": "sdk.advise",
    "detect_hardware": "sdk.hardware",
    **dict.fromkeys(
        ("SDKError", "InvalidInput", "OutOfOrder", "MissingExtra", "Refused", "Tampered", "StepFailed"), "sdk.errors"
    ),
    **dict.fromkeys(
        (
            "Advice",
            "Approval",
            "Hardware",
            "Needs",
            "Package",
            "Release",
            "Review",
            "Run",
            "Scores",
            "Scrubbed",
            "TrainSettings",
        ),
        "sdk.records",
    ),
}

__all__ = [
    "Advice",
    "Approval",
    "DeploymentStrategy",
    "Hardware",
    "InvalidInput",
    "MissingExtra",
    "Needs",
    "OutOfOrder",
    "Package",
    "Project",
    "Refused",
    "Release",
    "Review",
    "Run",
    "SDKError",
    "Scores",
    "Scrubbed",
    "StepFailed",
    "Tampered",
    "TrainSettings",
    "detect_hardware",
    "find_gpu",
    "find_model",
    "load_release",
]


def __getattr__(name: str) -> Any:
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
