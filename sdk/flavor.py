"""A release out of MLflow, served after all checks: by `load_release`, or by MLflow's own `mlflow.pyfunc.load_model`.

The latter finds this module through the release's file MLmodel and calls `_load_pyfunc` with a folder. What MLflow does
before that, no check of ours sees: who can write MLmodel in the artifact store can have MLflow run other code.
`load_release` fetches and checks, and runs nothing that the store names.

Two environment variables say whom to trust: SDK_PROJECT, a project's folder, whose audit log then also records the
load and whose champion alone is served; or SDK_TRUST, a file of `sdk keys trust` for a machine without the project.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from sdk.errors import InvalidInput
from sdk.model.adapted import AdaptedModel
from sdk.project import Project
from sdk.registry import Tracking, fetch_release
from sdk.seal import PACKAGE
from sdk.serve.admit import TRUST, admit, trust_from_environment

PROJECT = "SDK_PROJECT"
TRACKING = "MLFLOW_TRACKING_URI"


def load_release(uri: str) -> AdaptedModel:
    """Load the model of `models:/NAME@ALIAS` or `models:/NAME/VERSION`, where MLflow is that of MLFLOW_TRACKING_URI.

    Without that variable it is the MLflow of the project in SDK_PROJECT. Raises Refused with every reason, Tampered,
    InvalidInput, or StepFailed when MLflow cannot be reached; nothing is served then.
    """
    with tempfile.TemporaryDirectory(prefix="sdk-") as folder:
        return _admitted(fetch_release(uri, _tracking(Path(folder)), Path(folder)))


class Answering:
    """What MLflow wraps: questions in, answers out."""

    def __init__(self, model: AdaptedModel) -> None:
        self._model = model

    def predict(self, data: Any) -> list[str]:
        """Answer each question. `data`: a string, a list, array or Series of them, a DataFrame of one column.

        Raises InvalidInput for anything else.
        """
        return self._model.generate(_questions(data))

    def get_raw_model(self) -> AdaptedModel:
        """Return the model with `generate`, `model` and `tokenizer`; what MLflow loads has a method of this name."""
        return self._model


def _load_pyfunc(path: str) -> Answering:
    """Load a release's folder for MLflow, which calls this. Raises what `load_release` does."""
    return Answering(_admitted(Path(path)))


def _admitted(release: Path) -> AdaptedModel:
    project = os.environ.get(PROJECT)
    if project:
        return Project.open(project).load(package=release / PACKAGE)
    return admit(release, trust_from_environment())


def _tracking(folder: Path) -> Tracking:
    uri, project = os.environ.get(TRACKING), os.environ.get(PROJECT)
    if uri:
        return Tracking(folder, uri)
    if not project:
        raise InvalidInput(
            f"{TRACKING} names no MLflow; set it to the server's address, and {TRUST} to your trust file."
        )
    return Tracking(Path(project), Project.open(project).state().charter.tracking_uri)


def _questions(data: Any) -> Sequence[str]:
    cells = numpy.asarray(data, dtype=object)
    questions = cells.ravel().tolist()
    if cells.shape[1:] not in ((), (1,)) or not all(isinstance(cell, str) for cell in questions):
        raise InvalidInput("Questions are strings, in a list or in one column; this input has others or more columns.")
    return questions
