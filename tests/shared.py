"""What is made once for the whole run and then used by every process of it.

Where tests run in several processes, the one that hands them out names the folder, and the fork server of
`tests.warm`, to the others by their environment.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

FOLDER = "SDK_TESTS_SHARED"
_MEMORY = Path("/dev/shm")
_RUN_BYTES = 8 * 2**30  # that the files of a whole run may need; they take a quarter of it
_NOWHERE = "file:///where-the-template-was-made"


def share_folder() -> Path:
    """Return the folder of this run; the first process to ask makes it, and removes it at its end.

    It lies in memory where there is enough: what the SDK waits for until it is on a disk takes 5 ms each time.
    """
    if FOLDER not in os.environ:
        in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _RUN_BYTES
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="sdk-tests-", dir=_MEMORY if in_memory else None)
        atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    return Path(os.environ[FOLDER])


@contextmanager
def folder_in_memory(for_all: bool = False) -> Iterator[Path]:
    """A folder that is on no disk, where the machine has such. for_all: so are all that are made meanwhile."""
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None, ignore_cleanup_errors=True) as made,
        mock.patch.object(tempfile, "tempdir", made if for_all else tempfile.tempdir),
    ):
        yield Path(made)


@contextmanager
def quick_databases() -> Iterator[None]:
    """A project's own MLflow database is a copy of one that MLflow made: its 50 migrations take more than a second."""
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.engine import make_url

    def make(uri: str, location: str) -> SimpleNamespace:
        template, place = share_folder() / "mlflow.db", make_url(uri).database
        assert place is not None
        if not template.exists():
            aside = template.with_name(f"{os.getpid()}.db")
            SqlAlchemyStore(f"sqlite:///{aside}", _NOWHERE).engine.dispose()
            aside.rename(template)
        shutil.copyfile(template, place)
        with closing(sqlite3.connect(place)) as database, database:
            database.execute(
                "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", (_NOWHERE, location)
            )
        return SimpleNamespace(engine=SimpleNamespace(dispose=lambda: None))

    # what the newest migration is, is found by importing all of them, for each database that is opened
    newest = cache(utils._get_latest_schema_revision)
    with (
        mock.patch("sdk.registry.connection.SqlAlchemyStore", make),
        mock.patch("mlflow.store.db.utils._get_latest_schema_revision", newest),
    ):
        yield


@contextmanager
def plots_drawn_once() -> Iterator[None]:
    """A process draws the plots of the same records once: they are the same bytes, as tests/test_report.py proves."""
    from sdk.registry import register
    from sdk.registry.entry import Adaptation
    from sdk.registry.plots import PLOTS, draw

    names = sorted({name for plot in PLOTS.values() for name in plot.of})
    drawn: dict[tuple[bytes | None, ...], dict[str, bytes]] = {}

    def draw_once(adaptation: Adaptation) -> dict[str, bytes]:
        records = [getattr(adaptation, name) for name in names]
        key = tuple(record and record.to_bytes() for record in records)
        if key not in drawn:
            drawn[key] = draw(adaptation)
        return drawn[key]

    with mock.patch.object(register, "draw", draw_once):
        yield
