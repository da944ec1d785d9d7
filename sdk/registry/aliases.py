"""Tags and aliases of a model version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient

from sdk.registry.connection import Tracking, talking

ALIAS_REGISTERED = "candidate"
ALIAS_APPROVED = "champion"


def promote(
    tracking: Tracking, model_name: str, version: str, tags: Mapping[str, str], alias: str = ALIAS_APPROVED
) -> None:
    """Put the tags on the model version, then move the alias to it."""
    with talking(tracking, f"moving the alias {alias}", "sdk approve"):
        client = tracking.connect()
        set_version_tags(client, client.get_model_version(model_name, version), tags)
        set_alias(client, model_name, alias, version)


def set_version_tags(client: MlflowClient, version: Any, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)


def set_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    if str(client.get_registered_model(name).aliases.get(alias)) != version:
        client.set_registered_model_alias(name, alias, version)
