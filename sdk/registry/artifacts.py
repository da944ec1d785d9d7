"""Artifacts of an MLflow run, and where a release keeps what in them.

report.html, plots/, scrub/     what a reviewer looks at
release/MLmodel                 how MLflow loads the rest
release/package/                the sealed package
release/governance/             its provenance; from promotion on all that a loader's checks need
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient

from sdk.errors import Remedy, Tampered, short
from sdk.files.store import copy_file, file_ref
from sdk.records import FileRef

RELEASE_FOLDER = "release"
GOVERNANCE_FOLDER = f"{RELEASE_FOLDER}/governance"
MLMODEL = f"{RELEASE_FOLDER}/MLmodel"
MAX_ARTIFACTS = 10_000  # a release has some dozens; a server could list without end
MAX_DEPTH = 16


def source(run_id: str) -> str:
    """Return the source that the model version of this run has in MLflow."""
    return f"runs:/{run_id}/{RELEASE_FOLDER}"


def download(client: MlflowClient, run_id: str, folder: str, into: Path) -> dict[str, FileRef]:
    """Copy every file in a folder of the run's artifacts ("": all) to `into`; path below the artifact root -> file.

    Tampered where MLflow lists a path that leads out of the folder, or lists without end. Nothing of it is read.
    """
    paths = _paths(client, run_id, folder)
    strange = [repr(path) for path in paths if not _inside(path, folder)]
    if strange:
        raise Tampered(
            f"MLflow lists artifacts of the run {run_id} that lie outside of its folders.",
            strange,
            remedy=Remedy.MLFLOW,
        )
    if not paths:
        return {}
    into.mkdir(parents=True, exist_ok=True)
    client.download_artifacts(run_id, folder, str(into))
    refs = (file_ref(path, into) for path in sorted(into.rglob("*")) if path.is_file())
    return {ref.path: ref for ref in refs}


def stored(client: MlflowClient, run_id: str, folder: str = "") -> dict[str, FileRef]:
    """Measure what MLflow gives back; it is fetched into a private folder that is removed."""
    with tempfile.TemporaryDirectory() as into:
        return download(client, run_id, folder, Path(into))


def send(client: MlflowClient, run_id: str, folder: str, files: Mapping[str, Path]) -> None:
    """Bring files (path below `folder` -> local file, of any name) to the run and read them back.

    What is there with the same bytes stays, other bytes are replaced. Tampered: MLflow gives back something else.
    """
    if not files:
        return
    present, sent = stored(client, run_id, folder), {}
    for path, local in files.items():
        place = PurePosixPath(folder, path)
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside) / place.name
            copy_file(local, copy, Remedy.PROJECT)
            ref = file_ref(copy, copy.parent).model_copy(update={"path": str(place)})
            if present.get(ref.path) != ref:
                client.log_artifact(run_id, str(copy), str(place.parent))
        sent[ref.path] = ref
    present = stored(client, run_id, folder)
    faults = [
        f"{path}: expected {short(ref.sha256)}, found {short(present[path].sha256) if path in present else 'nothing'}"
        for path, ref in sent.items()
        if present.get(path) != ref
    ]
    if faults:
        raise Tampered("MLflow gives back other bytes for artifacts than it was sent.", faults, remedy=Remedy.MLFLOW)


def _paths(client: MlflowClient, run_id: str, folder: str) -> list[str]:
    paths: list[str] = []
    for path in _walk(client, run_id, folder, MAX_DEPTH):
        paths.append(path)
        if len(paths) > MAX_ARTIFACTS:
            raise Tampered(
                f"MLflow lists more than {MAX_ARTIFACTS:,} artifacts for the run {run_id}.", remedy=Remedy.MLFLOW
            )
    return paths


def _walk(client: MlflowClient, run_id: str, folder: str, depth: int) -> Iterator[str]:
    if depth == 0:
        raise Tampered(
            f"MLflow lists artifacts of the run {run_id} more than {MAX_DEPTH} folders deep.", remedy=Remedy.MLFLOW
        )
    for info in client.list_artifacts(run_id, folder or None):
        if info.is_dir:
            yield from _walk(client, run_id, info.path, depth - 1)
        else:
            yield info.path


def _inside(path: str, folder: str) -> bool:
    """Tell whether a path that a server lists stays in the folder, on every system that might write it."""
    parts, above = PurePosixPath(path).parts, PurePosixPath(folder).parts
    plain = not path.startswith("/") and ".." not in parts and "\\" not in path and "\0" not in path
    return plain and len(parts) > len(above) and parts[: len(above)] == above
