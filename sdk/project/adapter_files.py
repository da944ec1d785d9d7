"""The adapter of a finished run, from its step's folder or from its package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sdk.errors import InvalidInput
from sdk.files.regular_files import ADAPTER_BYTES
from sdk.files.store import read_ref
from sdk.project.gather import data_key, trainer_pem
from sdk.project.state import ProjectState
from sdk.records import Package, Run
from sdk.seal import ADAPTER, CONFIG, PACKAGE, WEIGHTS, open_package, unseal


def open_adapter(state: ProjectState, run: Run) -> tuple[Mapping[str, Any], bytes]:
    """Open PEFT's configuration and the weights of a run, sealed or not, checked against its record."""
    if run.inputs["base"] != state.charter.base_digest:
        raise InvalidInput(
            f"Run {run.digest[:12]} was trained on another base ({run.base}); an adapter fits its own base only."
        )
    packages = [package for package in state.all(Package) if package.inputs["run"] == run.digest]
    if packages:
        package = packages[-1]
        folder = state.folder(package) / PACKAGE
        manifest = open_package(folder, package, trainer_pem(state, package), None)
        config, weights = unseal(folder, manifest, data_key(state, package, manifest))
        return config, bytes(weights)
    files = {ref.path: read_ref(state.folder(run), ref, ADAPTER_BYTES) for ref in run.adapter}
    return json.loads(files[f"{ADAPTER}/{CONFIG}"]), files[f"{ADAPTER}/{WEIGHTS}"]
