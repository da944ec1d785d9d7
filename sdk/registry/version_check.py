"""What MLflow says about a model version, its run and its model, and whether it is what was registered.

Whole sets are compared, so that what somebody adds is named as well as what somebody changes. That holds for people's
own notes too: MLflow shows them beside ours, and nothing there says whose they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from sdk.errors import Remedy, Tampered, short
from sdk.files.store import LIVE_SECTIONS
from sdk.records import FileRef, Release
from sdk.registry import earlier
from sdk.registry.aliases import ALIAS_APPROVED, ALIAS_REGISTERED, check_alias
from sdk.registry.artifacts import GOVERNANCE_FOLDER, source, stored
from sdk.registry.connection import Tracking, require_same, talking
from sdk.registry.entry import PACKAGE_TAG, Adaptation, DataShown, Value, entry_for
from sdk.registry.places import Client
from sdk.registry.standing import CANDIDATE, Standing

RUN_NAME_TAG = "mlflow.runName"  # MLflow's own copy of a run's name, which is compared with ours; it adds no other tag


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
    datasets: tuple[DataShown, ...]  # by name
    further: Mapping[str, object]  # what else the pages show, and a release has none of: name -> what is there

    @property
    def earlier(self) -> bool:
        """Tell whether a version up to 0.2.0 registered it, whose run was told otherwise."""
        return earlier.LOSS in self.metrics


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
    unclaimed: Collection[str] = (),
) -> None:
    """Compare the model version, its run and every artifact with the records; `tags` as given to `register`.

    `governance`: the files that promotion brought, their paths below release/governance. `unclaimed`: tags that the
    caller compares itself. Tampered names the first difference; StepFailed: MLflow could not be asked; InvalidInput: it
    is another MLflow now.
    """
    require_same(release, tracking)
    with talking(tracking, f"reading {release.model_name} version {release.version}", "sdk verify"):
        client = tracking.connect()
        for difference in _differences(client, release, adaptation, tags, standing, governance, unclaimed):
            raise Tampered(
                f"MLflow, {release.model_name} version {release.version}: {difference}.", remedy=Remedy.MLFLOW
            )


def check_model(tracking: Tracking, releases: Sequence[Release], champion: str | None) -> None:
    """Compare the registered model of these releases, oldest first: its aliases, versions, tags and description.

    champion: the promoted version. Tampered names the first difference.
    """
    name, newest = releases[-1].model_name, releases[-1].version
    check_alias(champion, tracking, name)
    with talking(tracking, f"reading the model {name}", "sdk verify"):
        client = tracking.connect()
        model = client.get_registered_model(name)
        versions = {str(version.version) for version in client.search_model_versions(f"name='{name}'")}
    aliases = {ALIAS_REGISTERED: newest, **({ALIAS_APPROVED: champion} if champion else {})}
    differences = [
        *_set_differences("the alias", {key: str(value) for key, value in model.aliases.items()}, aliases),
        *_set_differences("the model's tag", model.tags, {}),
        *(["the model's description is not the recorded one, which is empty"] if model.description else []),
        *(
            f"version {version} was not registered by this project"
            for version in sorted(versions - {release.version for release in releases}, key=int)
        ),
    ]
    if differences:
        raise Tampered(f"MLflow, {name}: {differences[0]}.", differences[1:], remedy=Remedy.MLFLOW)


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
        datasets=_datasets(run.inputs),
        further=_further(registered, run),
    )


def _further(version: Any, run: Any) -> dict[str, object]:
    stage = version.current_stage
    return {
        "the version's stage": None if stage == "None" else stage,
        "the version's status": None if version.status == "READY" else version.status,
        "the version's status message": version.status_message,
        "the version's link to a run": version.run_link,
        "the run's input models": run.inputs and run.inputs.model_inputs,
        "the run's logged models": run.outputs and run.outputs.model_outputs,
    }


def _datasets(inputs: Any) -> tuple[DataShown, ...]:
    """Take out what a run's inputs say of datasets; other tags than the context, or another schema, are told too."""
    found = []
    for one in inputs.dataset_inputs if inputs else ():
        data, tags = one.dataset, {tag.key: tag.value for tag in one.tags}
        context = tags.pop(MLFLOW_DATASET_CONTEXT, "")
        more = "".join(map(str, (*tags.items(), data.schema or "")))
        source = data.source if data.source_type == DataShown.source_type else f"{data.source_type}: {data.source}"
        found.append(DataShown(data.name, data.digest, source, data.profile or "", context + more))
    return tuple(sorted(found, key=lambda data: data.name))


def _differences(
    client: Client,
    release: Release,
    adaptation: Adaptation,
    tags: Mapping[str, str],
    standing: Standing,
    governance: Sequence[FileRef],
    unclaimed: Collection[str],
) -> Iterator[str]:
    """Yield every difference: of a run from what its own version told it, of a model version from what either tells."""
    found = _read(client, release.model_name, release.version)
    entry = entry_for(adaptation, tags, standing)
    run_tags, metrics, datasets = entry.run_tags, entry.metrics, entry.datasets
    if found.earlier:
        run_tags, metrics, datasets = earlier.run_tags(adaptation, tags), earlier.metrics(adaptation), ()
    earlier_tags = earlier.version_tags(adaptation, tags, standing)
    version_tags = max(entry.version_tags, earlier_tags, key=lambda told: len(told.items() & found.tags.items()))
    pages = {entry.page(release), *earlier.pages(adaptation, release, standing)}
    if (found.run_id, found.source) != (release.run_id, source(release.run_id)):
        yield "it belongs to another run"
    if found.tags.get(PACKAGE_TAG) != release.package:
        yield f"the tag {PACKAGE_TAG} is not the recorded one"
    if found.status != "FINISHED":
        yield f"its run is {found.status}, expected FINISHED"
    run_tags = {**run_tags, RUN_NAME_TAG: entry.run_name}
    yield from _set_differences("the tag", _without(found.tags, unclaimed), _without(version_tags, unclaimed))
    yield from _set_differences("the run's tag", _without(found.run_tags, unclaimed), _without(run_tags, unclaimed))
    yield from _set_differences("the parameter", found.params, entry.params)
    if found.description not in pages:
        yield "the description is not the recorded one"
    if found.datasets != tuple(sorted(datasets, key=lambda data: data.name)):
        yield "the run's datasets are not the recorded ones"
    yield from (f"{what} is not the recorded one, which is empty" for what, value in found.further.items() if value)
    yield from _artifact_differences(client, release, governance)
    yield from _metric_differences(client, release.run_id, found.metrics, metrics)


def _without(tags: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in names}


def _set_differences(what: str, present: Mapping[str, str], recorded: Mapping[str, str]) -> Iterator[str]:
    for key in (*recorded, *sorted(present.keys() - recorded.keys())):
        if key not in recorded:
            yield f"{what} {key} was not registered"
        elif present.get(key) != recorded[key]:
            yield f"{what} {key} is not the recorded one"


def _metric_differences(
    client: Client, run_id: str, found: Mapping[str, float], values: tuple[Value, ...]
) -> Iterator[str]:
    """Compare metrics, but not what was seen while training ran: it is shown and not claimed, no record has it."""
    recorded: dict[str, list[tuple[int, float]]] = {}
    for value in values:
        recorded.setdefault(value.key, []).append((value.step, value.value))
    keys = {*recorded, *(key for key in found if not key.startswith(LIVE_SECTIONS))}
    histories = client.metric_histories(run_id, keys)
    for key in sorted(histories):
        history = [(metric.step, metric.value) for metric in histories[key]]
        if sorted(history) != sorted(recorded.get(key, [])):
            yield f"the metric {key} is not the recorded one"
        elif found.get(key) != max(recorded[key])[1]:  # MLflow keeps it apart, and its pages show it
            yield f"the last value of the metric {key} is not the recorded one"


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
