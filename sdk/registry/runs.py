"""Where a project's runs are in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient

from sdk.errors import InvalidInput
from sdk.registry.entry import PACKAGE_TAG, TRAIN_TAG

# without it MLflow opens an experiment on its page for traces of chat applications, which stays empty
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits for one call of log_batch


def find_experiment(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    """Find the experiment of a project, or create it; return its id. InvalidInput: it was deleted."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location, tags=EXPERIMENT_TAGS))
    if experiment.lifecycle_stage != "active":
        raise InvalidInput(
            f"The experiment {name} was deleted in MLflow; restore it there, then run `sdk register` again."
        )
    return str(experiment.experiment_id)


def find_run(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Any | None:
    """Find the oldest run with this tag; for a training's tag, one that no package has yet."""
    runs = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", order_by=["attributes.start_time ASC"])
    free = (run for run in runs if tag != TRAIN_TAG or PACKAGE_TAG not in run.data.tags)
    return next(free, None)


def find_or_create_run(
    client: MlflowClient, experiment_id: str, tag: tuple[str, str], name: str, tags: Mapping[str, str] | None = None
) -> Any:
    """Find the oldest run with this tag, or create it with this name; tags: of a new one, besides."""
    found = find_run(client, experiment_id, *tag)
    return found or client.create_run(experiment_id, tags={**(tags or {}), tag[0]: tag[1]}, run_name=name)
