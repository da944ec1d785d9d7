"""What a reviewer sees change: status, approvals and description of a model version, and where the aliases point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sdk.errors import Remedy, Tampered
from sdk.records import Release
from sdk.registry.artifacts import GOVERNANCE_FOLDER, send
from sdk.registry.connection import Tracking, require_same, talking
from sdk.registry.entry import Adaptation, Entry, entry_for
from sdk.registry.standing import Standing

ALIAS_REGISTERED = "candidate"
ALIAS_APPROVED = "champion"


def publish(
    tracking: Tracking,
    release: Release,
    adaptation: Adaptation,
    standing: Standing,
    governance: Mapping[str, Path],
    tags: Mapping[str, str],
) -> None:
    """Bring the governance files to MLflow, say where the package stands, and move the alias to a champion.

    In this order, so that the alias never points to a release without its proofs. `governance`: path below
    release/governance -> local file; `tags` go to the model version. Called again it completes what is missing. Raises
    Tampered where MLflow gives back other bytes than it was sent, StepFailed when it fails.
    """
    require_same(release, tracking)
    with talking(tracking, f"publishing {release.model_name} version {release.version}", "sdk approve"):
        client = tracking.connect()
        send(client, release.run_id, GOVERNANCE_FOLDER, governance)
        describe(client, release, entry_for(adaptation, tags, standing))
        if standing.status == "champion":
            set_alias(client, release.model_name, ALIAS_APPROVED, release.version)


def check_alias(version: str | None, tracking: Tracking, model_name: str) -> None:
    """Tampered if `champion` points to another version than the project's promoted one; None: none was promoted."""
    with talking(tracking, f"reading the alias {ALIAS_APPROVED}", "sdk verify"):
        current = _alias(tracking.connect(), model_name, ALIAS_APPROVED)
    if current != version:
        now, then = (f"version {one}" if one else "no version" for one in (current, version))
        raise Tampered(
            f"MLflow, {model_name}: the alias {ALIAS_APPROVED} points to {now}, and the audit log promoted {then}.",
            remedy=Remedy.MLFLOW,
        )


def describe(client: MlflowClient, release: Release, entry: Entry) -> None:
    version = client.get_model_version(release.model_name, release.version)
    set_version_tags(client, version, entry.version_tags)
    page = entry.page(release)
    if version.description != page:
        client.update_model_version(release.model_name, release.version, page)


def set_version_tags(client: MlflowClient, version: Any, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)


def set_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    if _alias(client, name, alias) != version:
        client.set_registered_model_alias(name, alias, version)


def _alias(client: MlflowClient, name: str, alias: str) -> str | None:
    try:
        version = client.get_registered_model(name).aliases.get(alias)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return None if version is None else str(version)
