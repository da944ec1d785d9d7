"""The first step: which method and settings fit a model, a machine and a need. Pure arithmetic, in milliseconds."""

from __future__ import annotations

from sdk.advise.candidates import candidates
from sdk.advise.choose import advise
from sdk.advise.layers import parameters
from sdk.advise.memory import estimate
from sdk.advise.models import find_model
from sdk.advise.predict import predict
from sdk.advise.strategy import DeploymentStrategy
from sdk.hardware import find_gpu

__all__ = ["DeploymentStrategy", "advise", "candidates", "estimate", "find_gpu", "find_model", "parameters", "predict"]
