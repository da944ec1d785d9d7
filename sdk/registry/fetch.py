"""Bring a release from MLflow to a folder, so that its checks can be made on bytes that nobody can change any more.

Nothing of it is read here, the file MLmodel least of all: what it names would be run by MLflow's own loading.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.registry.artifacts import RELEASE_FOLDER, download, source
from sdk.registry.connection import Tracking, talking

_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[1-9][0-9]*))")


def fetch_release(uri: str, tracking: Tracking, folder: Path) -> Path:
    """Copy the release of `models:/NAME@ALIAS` or `models:/NAME/VERSION` to below `folder`; return its path there.

    Raises InvalidInput where the URI is another or names nothing, Tampered where the version holds no release or lists
    a path that leads out of it, StepFailed when MLflow fails.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise InvalidInput(f"{uri} names no model version; write models:/NAME@ALIAS or models:/NAME/VERSION.")
    with talking(tracking, f"fetching {uri}", "sdk load"):
        client = tracking.connect()
        version = _find(client, uri, parts)
        if version.source != source(version.run_id):
            raise Tampered(f"MLflow, {uri}: its source is not the release of its own run.", remedy=Remedy.MLFLOW)
        if not download(client, version.run_id, RELEASE_FOLDER, folder):
            raise Tampered(f"MLflow, {uri}: its run holds no files in {RELEASE_FOLDER}/.", remedy=Remedy.MLFLOW)
    return folder / RELEASE_FOLDER


def _find(client: MlflowClient, uri: str, parts: re.Match[str]) -> Any:
    try:
        if parts["alias"]:
            return client.get_model_version_by_alias(parts["name"], parts["alias"])
        return client.get_model_version(parts["name"], parts["version"])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    raise InvalidInput(f"MLflow has no {uri}; register the release, and for the alias have it promoted.") from None
