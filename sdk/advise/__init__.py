"""The first step: which method and settings fit a model, a machine and a need. Pure arithmetic, in milliseconds."""

from __future__ import annotations

from sdk.advise.catalogue import find_gpu, find_model
from sdk.advise.choose import advise
from sdk.advise.memory import estimate
from sdk.advise.strategy import DeploymentStrategy

__all__ = ["DeploymentStrategy", "advise", "estimate", "find_gpu", "find_model"]
