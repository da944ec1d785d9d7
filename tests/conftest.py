"""Everything runs offline and nothing reports home. A process has one thread: tests fill the other cores."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from workshop import Workshop, make_workshop, whole_way

from sdk import Project


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def finished(workshop: Workshop) -> Project:
    """A project with an approved release. Tests leave it as they found it."""
    project = workshop.project("finished")
    whole_way(project, workshop.approver("ada"))
    return project
