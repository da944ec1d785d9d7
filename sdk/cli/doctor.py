"""What a bug report needs and nothing secret."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sdk.errors import SDKError
from sdk.hardware import detect_hardware
from sdk.project import Project

DISTRIBUTION = "domain-adaptation-sdk"
PACKAGES = (
    DISTRIBUTION,
    "torch",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "datasets",
    "mlflow",
    "presidio-analyzer",
    "cryptography",
    "pydantic",
)
SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def examine(project: Path) -> dict[str, object]:
    facts: dict[str, object] = {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: installed_version(name) for name in PACKAGES},
        "machine": detect_hardware().model_dump(),
        **{name: os.environ.get(name, "not set") for name in SWITCHES},
    }
    try:
        state = Project.open(project).state()
    except SDKError as error:
        return {**facts, "project": f"{type(error).__name__}: {error.message}"}
    last = state.events[-1]
    return {
        **facts,
        "project": "audit log verifies",
        "domain": state.charter.domain,
        "policy": state.charter.policy,
        "events": len(state.events),
        "last event": f"{last.action} {last.phase}",
    }
