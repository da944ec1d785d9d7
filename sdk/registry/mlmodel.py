"""The file MLmodel: how MLflow finds the code that loads a release.

It names a module of this package, so that MLflow loads through the same checks as `sdk load`. It names no code folder,
no pickle and no environment to fetch. It has no signature: MLflow would quietly drop the columns that one does not
name, and a question taken from the wrong column looks like any other. The same package gives the same bytes: the time
and the random id that MLflow would put in are left out.
"""

from __future__ import annotations

import platform

import yaml
from mlflow.models import Model

from sdk.records import Package

LOADER = "sdk.flavor"
FLAVOR = "sdk"


def render_mlmodel(package: Package) -> bytes:
    """Write MLmodel as YAML, as MLflow 3 reads it."""
    model = Model(
        flavors={
            "python_function": {"loader_module": LOADER, "python_version": platform.python_version()},
            FLAVOR: {"package": package.package},
        },
        model_uuid=None,
        model_size_bytes=sum(ref.size for ref in package.files),
    )
    fields = model.to_dict()
    del fields["utc_time_created"]
    return yaml.safe_dump(fields).encode()
