"""What MLflow says about a model version, and whether it is what was registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sdk.errors import Remedy, Tampered, short
from sdk.records import FileRef, Release
from sdk.registry.artifacts import GOVERNANCE_FOLDER, source, stored
from sdk.registry.connection import Tracking, require_same, talking
from sdk.registry.entry import PACKAGE_TAG, Adaptation, Entry, Value, entry_for
from sdk.registry.standing import CANDIDATE, Standing
from sdk.store import LIVE_SECTIONS


@dataclass(frozen=True)
class Version:
    """A model version with its run, as MLflow tells it."""

    run_id: str
    source: str
    description: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    status: str
    run_tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the last value of each


def read_version(tracking: Tracking, model_name: str, version: str) -> Version:
    with talking(tracking, f"reading {model_name} version {version}", "sdk verify"):
        return _read(tracking.connect(), model_name, version)


def check_release(
    release: Release,
    adaptation: Adaptation,
    tags: Mapping[str, str],
    tracking: Tracking,
    governance: Sequence[FileRef] = (),
    standing: Standing = CANDIDATE,
) -> None:
    """Compare the model version, its run and every artifact with the records; `tags` as given to `register`.

    `governance`: the files that promotion brought, their paths below release/governance. Tampered names the first
    difference; StepFailed: MLflow could not be asked; InvalidInput: it is another MLflow now.
    """
    require_same(release, tracking)
    with talking(tracking, f"reading {release.model_name} version {release.version}", "sdk verify"):
        for difference in _differences(tracking.connect(), release, entry_for(adaptation, tags, standing), governance):
            raise Tampered(
                f"MLflow, {release.model_name} version {release.version}: {difference}.", remedy=Remedy.MLFLOW
            )


def _read(client: MlflowClient, model_name: str, version: str) -> Version:
    try:
        registered = client.get_model_version(model_name, version)
        run = client.get_run(registered.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise Tampered(
            f"MLflow no longer has {model_name} version {version} with its run.", remedy=Remedy.MLFLOW
        ) from None
    return Version(
        run_id=registered.run_id,
        source=registered.source,
        description=registered.description or "",
        tags=dict(registered.tags),
        aliases=tuple(registered.aliases),
        status=run.info.status if run.info.lifecycle_stage == "active" else "DELETED",
        run_tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def _differences(client: MlflowClient, release: Release, entry: Entry, governance: Sequence[FileRef]) -> Iterator[str]:
    found = _read(client, release.model_name, release.version)
    if (found.run_id, found.source) != (release.run_id, source(release.run_id)):
        yield "it belongs to another run"
    if found.tags.get(PACKAGE_TAG) != release.package:
        yield f"the tag {PACKAGE_TAG} is not the recorded one"
    if found.status != "FINISHED":
        yield f"its run is {found.status}, expected FINISHED"
    tags = {f"the tag {key}": (found.tags.get(key), value) for key, value in entry.version_tags.items()}
    run_tags = {f"the run's tag {key}": (found.run_tags.get(key), value) for key, value in entry.tags.items()}
    params = {
        f"the parameter {key}": (found.params.get(key), entry.params.get(key)) for key in {*found.params, *entry.params}
    }
    description = {"the description": (found.description, entry.page(release))}
    pairs = {**tags, **run_tags, **dict(sorted(params.items())), **description}
    yield from (f"{what} is not the recorded one" for what, (now, then) in pairs.items() if now != then)
    yield from _artifact_differences(client, release, governance)
    yield from _metric_differences(client, release.run_id, found.metrics, entry.metrics)


def _metric_differences(
    client: MlflowClient, run_id: str, found: Mapping[str, float], values: tuple[Value, ...]
) -> Iterator[str]:
    """Compare metrics, but not what was seen while training ran: it is shown and not claimed, no record has it."""
    recorded: dict[str, list[tuple[int, float]]] = {}
    for value in values:
        recorded.setdefault(value.key, []).append((value.step, value.value))
    for key in sorted({*recorded, *(key for key in found if not key.startswith(LIVE_SECTIONS))}):
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]
        if sorted(history) != sorted(recorded.get(key, [])):
            yield f"the metric {key} is not the recorded one"


def _artifact_differences(client: MlflowClient, release: Release, governance: Sequence[FileRef]) -> Iterator[str]:
    promoted = [ref.model_copy(update={"path": f"{GOVERNANCE_FOLDER}/{ref.path}"}) for ref in governance]
    recorded = {ref.path: ref for ref in (*release.artifacts, *promoted)}
    there = stored(client, release.run_id)
    yield from (f"the artifact {path} is missing" for path in sorted(recorded.keys() - there.keys()))
    yield from (f"the artifact {path} was not registered" for path in sorted(there.keys() - recorded.keys()))
    for path, ref in recorded.items():
        if there[path] != ref:
            yield (
                f"the artifact {path} has been altered: its SHA-256 is not the recorded one "
                f"(expected {short(ref.sha256)}, found {short(there[path].sha256)})"
            )
