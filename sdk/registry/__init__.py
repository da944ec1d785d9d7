"""Register: a sealed package and everything a reviewer wants to see become a model version in MLflow.

MLflow shows; it proves nothing (its artifacts have no checksums, its tags no history). `check_release` and
`check_model` therefore compare what it says with the records.

`sdk.registry.register` holds the step itself: it alone draws, and the rest is spared matplotlib.
"""

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
