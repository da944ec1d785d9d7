"""A finished project that takes no time to make: the one that version 0.1.0 left, unpacked, to be harmed in a copy."""

from __future__ import annotations

import os
import shutil
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from sdk.project.state import ProjectState
from sdk.project.verify import verify_project
from sdk.records import Verified

ARCHIVE = Path(__file__).parent.parent / "data" / "project-0.1.0.tar.xz"
MOMENTS = 20  # seconds on a machine that does much else at the same time; a pipe that is waited for takes for ever


def unpack(folder: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for key in (folder / "claims" / "keys").iterdir():
        os.chown(key, os.geteuid(), os.getegid())
    return folder / "claims"


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def project(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    return shutil.copytree(clean, tmp_path / "claims", symlinks=True)


def verified(root: Path) -> Verified:
    """What `sdk verify` says, but for MLflow, whose database names the folder that it was made in."""
    return verify_project(ProjectState(root), registry=False)


@contextmanager
def within_moments(seconds: int = MOMENTS) -> Iterator[None]:
    """End what does not answer; what was waited for is then named by the traceback."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no answer within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
