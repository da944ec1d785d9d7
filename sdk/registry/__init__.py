"""Register: a sealed package and everything a reviewer wants to see become a model version in MLflow.

MLflow shows; it proves nothing (its artifacts have no checksums, its tags no history). `check_release` and
`check_model` therefore compare what it says with the records.

`sdk.registry.register` holds the step itself: it alone draws, and the rest is spared matplotlib.
"""

import os

# MLflow reads these when it is imported and at every request. No telemetry, nothing printed. A request is never
# repeated by itself: had the lost answer been that of a creation, it would create a second one.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
os.environ.update(MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
# Files go through the tracking server and nowhere else: not to an address that its answer names.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")

from sdk.registry.aliases import ALIAS_APPROVED, ALIAS_REGISTERED, check_alias, publish
from sdk.registry.connection import Tracking, ui_command, ui_variables
from sdk.registry.entry import Adaptation
from sdk.registry.fetch import fetch_release
from sdk.registry.standing import Standing
from sdk.registry.version_check import Version, check_model, check_release, read_version

__all__ = [
    "ALIAS_APPROVED",
    "ALIAS_REGISTERED",
    "Adaptation",
    "Standing",
    "Tracking",
    "Version",
    "check_alias",
    "check_model",
    "check_release",
    "fetch_release",
    "publish",
    "read_version",
    "ui_command",
    "ui_variables",
]
