"""Everything runs offline and nothing reports home. A process has one thread: tests fill the other cores."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from tests.shared import plots_drawn_once, quick_databases, share_folder
from tests.slow import slow
from tests.waiting import SECONDS
from tests.warm import serve, warm_starts

if TYPE_CHECKING:  # imported where they are used: the process that hands out tests does without
    from sdk import Project
    from tests.workshop import Workshop

# what this machine remembers of projects goes to a folder of this run
os.environ["SDK_STATE_HOME"] = str(share_folder() / "state")

TESTS = Path(__file__).parent
# Files that take longest, the longest first: then the two processes end at about the same time.
LONGEST = """
    test_demo test_resume test_real_base test_flow test_children test_scrub test_registry test_governance test_leaks
    test_docs test_mlflow_places test_fuzzing test_notebook test_watch test_scrub_engine test_server test_shipped
    test_methods test_gpus test_trial test_refusals test_hub test_tampering test_tamper test_advise test_verify_release
    test_review test_terminal test_secrets test_tagger test_which_project test_templates test_keys_remote test_audit
    test_actions test_ui test_seal test_cli test_flavor
""".split()


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("numprocesses", None):
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(share_folder()))  # where pytest makes tmp_path
    if sys.version_info < (3, 14):  # later servers ask for a key
        serve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    left_out = slow()
    for item in items:
        names = left_out.get(item.path.relative_to(TESTS).with_suffix("").as_posix())
        if names is not None and (not names or item.name.partition("[")[0] in names):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _children() -> Iterator[None]:
    """They start warm, and the last figures of a training are waited for, however busy the machine is."""
    with (
        warm_starts(),
        quick_databases(),
        plots_drawn_once(),
        mock.patch("sdk.project.streaming.GRACE_SECONDS", SECONDS),
    ):
        yield


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """accelerate collects garbage with each run, over all that was ever imported, which takes longer than the run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    from tests.workshop import make_workshop

    return make_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def finished(workshop: Workshop) -> Project:
    """A project with an approved release. Tests leave it as they found it."""
    from tests.workshop import whole_way

    project = workshop.project("finished")
    whole_way(project, workshop.approver("ada"))
    return project
