"""A release's exports in MLflow: runs below its run, with their papers; the weights are where they were exported to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from sdk.errors import Remedy, Tampered
from sdk.records import Export, Release, Status
from sdk.registry.artifacts import send, stored
from sdk.registry.connection import Tracking, talking
from sdk.registry.runs import find_or_create_run, find_run

EXPORT_TAG, PARENT_TAG, PARENT_STATUS_TAG = "sdk.export", "sdk.parent", "sdk.parent_status"
_FOLDER = "export"


def log_exports(
    tracking: Tracking, release: Release, exports: Sequence[Export], folders: Mapping[str, Path], status: Status
) -> None:
    """Bring a release's exports to MLflow, each as a run below the release's, and say where the release stands.

    folders: of each record's files, by its digest. Called again, it completes what is missing.
    """
    with talking(tracking, "its exports were brought to it", "sdk promote"), tracking.one_writer():
        client = tracking.connect()
        for record in exports:
            _log(client, release, record, folders[record.digest], status)


def _log(client: MlflowClient, release: Release, record: Export, folder: Path, status: Status) -> None:
    run = find_or_create_run(
        client,
        release.experiment_id,
        (EXPORT_TAG, record.identity),
        f"export {record.format} {record.identity[:8]}",
        {MLFLOW_PARENT_RUN_ID: release.run_id},
    )
    run_id = run.info.run_id
    wanted = _tags(record, status)
    changed = [RunTag(key, value) for key, value in wanted.items() if run.data.tags.get(key) != value]
    if changed:
        client.log_batch(run_id, tags=changed)
    if run.info.status == "FINISHED":
        return
    started = run.info.start_time
    missing = [Param(key, value) for key, value in _params(record).items() if key not in run.data.params]
    client.log_batch(
        run_id, metrics=[Metric(key, value, started, 0) for key, value in _figures(record).items()], params=missing
    )
    send(client, run_id, _FOLDER, {ref.path: folder / ref.path for ref in record.files})
    client.set_terminated(run_id, "FINISHED")


def _tags(record: Export, status: Status) -> dict[str, str]:
    return {PARENT_TAG: record.package, PARENT_STATUS_TAG: status, "mlflow.note.content": _note(record, status)}


def _note(record: Export, status: Status) -> str:
    may = "may be served" if status in ("approved", "champion") else "may not be served"
    return (
        f"Plain weights that left the project as {record.format} ({record.weight_type}). Their parent, package "
        f"{record.package[:12]}, is {status}: they {may}."
    )


def _params(record: Export) -> dict[str, str]:
    return {
        "format": record.format,
        "onto": record.onto or "",
        "weights": record.weight_type,
        "engine": record.parity.engine,
        "metric": record.parity.metric,
        **{f"tool.{name}": value for name, value in record.tools.items()},
    }


def _figures(record: Export) -> dict[str, float]:
    parity = record.parity
    return {
        "kl_mean": parity.kl_mean,
        "kl_p99": parity.kl_p99,
        "top1": parity.top1.value,
        "same_answers": parity.same_answers.value,
        "score_change": parity.score_change.value,
        "perplexity_ratio": parity.perplexity_ratio,
    }


def check_exports_logged(tracking: Tracking, release: Release, exports: Sequence[Export], status: Status) -> None:
    """Tampered unless MLflow says of a release's exports what their records say, and has their papers."""
    with talking(tracking, "its exports were compared", "sdk promote"):
        client = tracking.connect()
        faults = [fault for record in exports for fault in _faults(client, release, record, status)]
    if faults:
        raise Tampered("MLflow says something else of what was exported.", faults, remedy=Remedy.MLFLOW)


def _faults(client: MlflowClient, release: Release, record: Export, status: Status) -> list[str]:
    name = f"export {record.identity[:12]}"
    run: Any = find_run(client, release.experiment_id, EXPORT_TAG, record.identity)
    if run is None:
        return [f"{name} is missing"]
    wanted = {**_tags(record, status), MLFLOW_PARENT_RUN_ID: release.run_id}
    faults = [f"{name}: tag {key} is another one" for key, value in wanted.items() if run.data.tags.get(key) != value]
    faults += [
        f"{name}: {key} is another one" for key, value in _params(record).items() if run.data.params.get(key) != value
    ]
    faults += [
        f"{name}: {key} is another one" for key, value in _figures(record).items() if run.data.metrics.get(key) != value
    ]
    there = stored(client, run.info.run_id, _FOLDER)
    expected = {f"{_FOLDER}/{ref.path}": ref.sha256 for ref in record.files}
    found = {path: ref.sha256 for path, ref in there.items()}
    if found != expected:
        faults.append(f"{name}: its papers are other ones")
    return faults
