"""One model version for one package, however often it is tried.

Every piece is looked up before it is made, and is made by one call that either happened or did not:

1. the experiment, by the project's name
2. the run, by its tag `sdk.package`, else the one of its training by `sdk.train`
3. tags, parameters and datasets that are missing
4. metric values that are missing; their time is the run's start, so that MLflow itself knows a repeated value
5. figures of the training that could not be sent while it ran
6. artifacts that are missing or hold other bytes (a copy may have been cut off)
7. the registered model
8. the model version, by its run; its tags and description
9. the alias `candidate`
10. the status FINISHED, last: a run of a package that has it is whole
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from sdk.errors import InvalidInput
from sdk.files.store import PACKAGE, PROVENANCE, check_ref, file_ref, write_atomic
from sdk.records import FileRef, OnProgress, Package, Release
from sdk.registry.aliases import ALIAS_REGISTERED, describe, set_alias
from sdk.registry.artifacts import (
    GOVERNANCE_FOLDER,
    MLMODEL,
    RELEASE_FOLDER,
    source,
    stored,
)
from sdk.registry.connection import FAILURES, Tracking, talking
from sdk.registry.entry import PACKAGE_TAG, REPORT, TRAIN_TAG, Adaptation, Entry, entry_for
from sdk.registry.figures import Sender
from sdk.registry.mlmodel import render_mlmodel
from sdk.registry.model_report import render
from sdk.registry.plots import draw
from sdk.registry.runs import BATCH, find_experiment, find_run
from sdk.registry.standing import CANDIDATE, Standing

ATTEMPTS = 3
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Upload:
    local: Path
    ref: FileRef  # path below the run's artifact root


def register(
    adaptation: Adaptation,
    package_folder: Path,
    tags: Mapping[str, str],
    tracking: Tracking,
    out: Path,
    on_progress: OnProgress,
    unsent: Path | None = None,
    beside: Mapping[str, Path] | None = None,
    standing: Standing = CANDIDATE,
) -> Release:
    """Write report, plots and MLmodel to `out`, then bring all to MLflow. Called again, it completes what is missing.

    `package_folder` holds package/ and the provenance beside it. `tags` go to run and model version (base digest, head
    of the audit log …). `unsent` is a spool of the training's figures, where MLflow did not get all of them.
    `beside`: further artifacts, path -> file of the same name, whose bytes the caller has checked. Raises Tampered when
    a file of the package has been altered, StepFailed when MLflow fails or cannot be reached.

    Nine parameters: each is known to the project alone, and a class for them would have one maker and one reader.
    """
    entry = entry_for(adaptation, tags, standing)
    uploads = [*_package_files(adaptation.package, package_folder), *_made_files(adaptation, out)]
    for path, file in (beside or {}).items():
        uploads.append(Upload(file, file_ref(file, file.parent).model_copy(update={"path": path})))
    with talking(tracking, "registering the package", "sdk register"), tracking.one_writer():
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return complete(tracking.connect(), tracking, entry, uploads, on_progress, unsent)
            except FAILURES:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(PAUSE_SECONDS * attempt)
    raise AssertionError("unreachable")


def complete(
    client: MlflowClient,
    tracking: Tracking,
    entry: Entry,
    uploads: list[Upload],
    on_progress: OnProgress,
    unsent: Path | None = None,
) -> Release:
    """Take the ten steps above, through this client."""
    on_progress("run", 0, None, {})
    experiment_id = find_experiment(client, entry.project, tracking.artifact_location)
    run = _run(client, experiment_id, entry)
    run_id: str = run.info.run_id
    _log_missing(client, run, entry)
    _log_datasets(client, run, entry)
    if unsent is not None:
        Sender(unsent).send(client, run_id)
    _upload_missing(client, run_id, uploads, on_progress)
    on_progress("model version", 0, None, {})
    release = Release(
        package=entry.package,
        tracking_uri=tracking.public,
        experiment_id=experiment_id,
        run_id=run_id,
        model_name=entry.model_name,
        version=_version(client, entry, run_id),
        artifacts=tuple(upload.ref for upload in uploads),
    )
    describe(client, release, entry)
    set_alias(client, entry.model_name, ALIAS_REGISTERED, release.version)
    if run.info.status != "FINISHED":
        client.set_terminated(run_id, "FINISHED")
    return release


def _package_files(package: Package, folder: Path) -> list[Upload]:
    if not package.files:
        raise InvalidInput("The package's record names no files; seal it again.")
    return [Upload(check_ref(folder, ref), ref.model_copy(update={"path": _place(ref.path)})) for ref in package.files]


def _place(path: str) -> str:
    """Return where a file of the seal's folder goes: package/ as it is, the provenance to the governance."""
    if path == PROVENANCE:
        return f"{GOVERNANCE_FOLDER}/{path}"
    if path.startswith(f"{PACKAGE}/"):
        return f"{RELEASE_FOLDER}/{path}"
    raise InvalidInput(f"The package's record names {path}, which is neither in {PACKAGE}/ nor {PROVENANCE}.")


def _made_files(adaptation: Adaptation, out: Path) -> list[Upload]:
    plots = draw(adaptation)
    files = {
        MLMODEL: render_mlmodel(adaptation.package),
        REPORT: render(adaptation, plots),
        **{f"plots/{name}.png": plots[name] for name in plots},
    }
    for name, data in files.items():
        write_atomic(out / name, data)
    return [Upload(out / name, file_ref(out / name, out)) for name in files]


def _run(client: MlflowClient, experiment_id: str, entry: Entry) -> Any:
    """Find the package's run, else the one that its training left, else create one."""
    tags = {tag: entry.run_tags[tag] for tag in (PACKAGE_TAG, TRAIN_TAG)}
    run = next(filter(None, (find_run(client, experiment_id, *tag) for tag in tags.items())), None)
    if run is None:
        return client.create_run(experiment_id, tags=entry.run_tags, run_name=entry.run_name)
    if run.info.run_name != entry.run_name:
        client.update_run(run.info.run_id, name=entry.run_name)
    return run


def _log_missing(client: MlflowClient, run: Any, entry: Entry) -> None:
    run_id, started = run.info.run_id, run.info.start_time
    # A key with one value has it at step 0, if MLflow has the key at all; only curves need their history read.
    values = Counter(value.key for value in entry.metrics)
    steps: dict[str, set[int]] = {key: set() for key in values}
    for key in values.keys() & run.data.metrics.keys():
        history = client.get_metric_history(run_id, key) if values[key] > 1 else [Metric(key, 0, started, 0)]
        steps[key] = {metric.step for metric in history}
    missing: dict[str, list[Any]] = {
        "metrics": [Metric(v.key, v.value, started, v.step) for v in entry.metrics if v.step not in steps[v.key]],
        "params": [Param(key, value) for key, value in entry.params.items() if key not in run.data.params],
        "tags": [RunTag(key, value) for key, value in entry.run_tags.items() if run.data.tags.get(key) != value],
    }
    for kind, items in missing.items():
        for start in range(0, len(items), BATCH[kind]):
            client.log_batch(run_id, **{kind: items[start : start + BATCH[kind]]})


def _log_datasets(client: MlflowClient, run: Any, entry: Entry) -> None:
    inputs = run.inputs.dataset_inputs if run.inputs else ()
    there = {(one.dataset.name, one.dataset.digest) for one in inputs}
    missing = [
        DatasetInput(
            LoggedDataset(one.name, one.digest, one.source_type, one.source, profile=one.profile),
            [InputTag(MLFLOW_DATASET_CONTEXT, one.context)],
        )
        for one in entry.datasets
        if (one.name, one.digest) not in there
    ]
    if missing:
        client.log_inputs(run.info.run_id, missing)


def _upload_missing(client: MlflowClient, run_id: str, uploads: list[Upload], on_progress: OnProgress) -> None:
    there = stored(client, run_id)
    for done, upload in enumerate(uploads):
        on_progress("artifacts", done, len(uploads), {})
        path = upload.ref.path
        if there.get(path) != upload.ref:
            client.log_artifact(run_id, str(upload.local), path.rpartition("/")[0] or None)
    on_progress("artifacts", len(uploads), len(uploads), {})


def _version(client: MlflowClient, entry: Entry, run_id: str) -> str:
    name = entry.model_name
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    versions = [v for v in client.search_model_versions(f"run_id='{run_id}'") if v.name == name]
    if versions:
        oldest, *again = sorted(versions, key=lambda v: int(v.version))
        for version in again:  # what an answer that was lost left behind
            client.delete_model_version(name, version.version)
        return str(oldest.version)
    created = client.create_model_version(name, source(run_id), run_id, tags=entry.version_tags)
    return str(created.version)
