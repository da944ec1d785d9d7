"""Artifacts of an MLflow run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient

from sdk.records import FileRef
from sdk.store import file_ref

PACKAGE_FOLDER = "package"


def artifact_paths(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    """Every file below the run's artifact root."""
    for info in client.list_artifacts(run_id, folder):
        if info.is_dir:
            yield from artifact_paths(client, run_id, info.path)
        else:
            yield info.path


def stored_as(client: MlflowClient, run_id: str, ref: FileRef) -> bool:
    """Whether MLflow gives back the very bytes; they are fetched into a private folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(run_id, ref.path, folder))
        return file_ref(path, path.parent).model_copy(update={"path": ref.path}) == ref
