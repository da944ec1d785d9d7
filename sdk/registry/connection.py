"""Which MLflow to talk to, and what to say when it does not answer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from requests.exceptions import RequestException
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered
from sdk.files.durable import lock_file
from sdk.files.store import ASIDE, copy_file
from sdk.processes import python_command
from sdk.records import Release
from sdk.registry.places import ARTIFACT_ROOT, ARTIFACTS, SERVERS, Client, Places, artifact_root

# Those of the variables that the package sets, and that hold for a server too.
QUIET = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_LOGGING_LEVEL")
BACKEND = "MLFLOW_BACKEND_STORE_URI"  # variable with the URI of the database that `sdk ui` shows
DATABASE = "mlflow.db"
_PARTS = ("", "-journal", "-wal")  # of an SQLite database: the file, and what a process that was killed left beside it
WRITER_LOCK = "live.lock"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def _sqlite(path: Path) -> str:
    """Write the URI of a database file, also where the path holds ?, # or %."""
    return URL.create("sqlite", database=str(path)).render_as_string()


@dataclass(frozen=True)
class Tracking:
    """An MLflow server (http, https) or database by its URI; without one, a database in the project's folder.

    In the latter case the artifacts lie in the folder too. MLflow notes the absolute path that they had when they were
    made; they are looked for where the folder is now.
    """

    folder: Path
    uri: str | None = None

    def __post_init__(self) -> None:
        if self.uri is not None and urlsplit(self.uri).scheme.split("+")[0] not in (*SERVERS, *DATABASES):
            allowed = ", ".join((*SERVERS, *DATABASES))
            raise InvalidInput(
                f"The tracking URI must begin with one of {allowed}; leave it out for the project's own."
            )

    @property
    def backend(self) -> str:
        return self.uri or _sqlite(self.folder.resolve() / DATABASE)

    @property
    def artifact_location(self) -> str | None:
        """Where a new experiment's artifacts go; None leaves it to the server."""
        places = self.places
        return places.root or (places.own.as_uri() if places.own else None) if places.server is None else None

    @property
    def places(self) -> Places:
        """Where artifacts may lie."""
        if self.is_server:
            return Places(server=self.uri, root=artifact_root())
        database = make_url(self.backend)
        beside = database.drivername.startswith("sqlite") and database.database
        own = Path(beside).resolve().parent / ARTIFACTS if beside else None
        return Places(own=own, root=artifact_root() if self.uri else None)

    @property
    def public(self) -> str:
        """The URI without credentials, path and query."""
        parts = urlsplit(self.backend)
        if parts.scheme.startswith("sqlite"):
            return f"sqlite:///{Path(parts.path).name}"
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}"

    @property
    def is_server(self) -> bool:
        return urlsplit(self.backend).scheme in SERVERS

    def connect(self) -> Client:
        """Open MLflow. A database that cannot be written to, as on a read-only mount, is read in a private copy."""
        if self.uri:
            return Client(self.backend, self.places)
        database = self.folder.resolve() / DATABASE
        if database.is_symlink() or (database.exists() and not database.is_file()):
            raise Tampered(f"{database} is a link or another thing that is no file.", remedy=Remedy.PROJECT)
        if not database.exists():
            self._create_database()
        if os.access(database, os.W_OK) and os.access(database.parent, os.W_OK):
            return Client(self.backend, self.places)
        aside = TemporaryDirectory(prefix="sdk-")
        for suffix in _PARTS:
            part = database.with_name(database.name + suffix)
            if part.is_file() and not part.is_symlink():
                copy_file(part, Path(aside.name, part.name), Remedy.PROJECT)
        return Client(_sqlite(Path(aside.name, DATABASE)), self.places, aside)

    @contextmanager
    def one_writer(self) -> Iterator[None]:
        """Wait until no other process writes a run of this project to MLflow, and keep it so.

        Each looks for a training's run and creates it if there is none: two at once would create two, and the sender of
        a training that was killed, which may end long after it, would take back the status of one that is complete.
        """
        with lock_file(self.folder / WRITER_LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _create_database(self) -> None:
        """Make the project's own database, one process at a time, and aside.

        Several at once would all create the tables, and one that is killed would leave half of them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_file(self.folder / f".{DATABASE}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self.folder / DATABASE).exists():
                return
            aside = self.folder.resolve() / f"{DATABASE}{ASIDE}"
            aside.unlink(missing_ok=True)
            SqlAlchemyStore(_sqlite(aside), self.artifact_location).engine.dispose()
            aside.rename(self.folder / DATABASE)


FAILURES = (MlflowException, RequestException, SQLAlchemyError, OSError)


@contextmanager
def talking(tracking: Tracking, what: str, again: str) -> Iterator[None]:
    """Turn what MLflow raises into StepFailed. Its own text is left out: it may repeat the URI with a password."""
    try:
        yield
    except FAILURES as error:
        code = getattr(error, "error_code", None)
        cause = type(error).__name__ + (f", {code}" if code else "")
        raise StepFailed(
            f"MLflow at {tracking.public} failed while {what} ({cause}). Nothing is lost: see that it runs and may be "
            f"written to, then run `{again}` again."
        ) from None


def require_same(release: Release, tracking: Tracking) -> None:
    """InvalidInput if the release was registered in another MLflow than the project uses now."""
    if tracking.public != release.tracking_uri:
        raise InvalidInput(
            f"{release.model_name} version {release.version} was registered in {release.tracking_uri}, and the project "
            f"now uses {tracking.public}; set the tracking URI back."
        )


def ui_command(tracking: Tracking, port: int) -> list[str]:
    """Return the command for the MLflow UI on 127.0.0.1; run it with `ui_variables`, which say of what."""
    if tracking.is_server:
        raise InvalidInput(f"{tracking.public} is a server with a UI of its own; open it in a browser.")
    return python_command("sdk.registry.viewer", str(port))


def ui_variables(tracking: Tracking) -> dict[str, str]:
    """Return the variables of the MLflow UI: its database, whose URI may hold a password, and no telemetry.

    Every user of the machine can read a command line, and nobody the environment of a process that cannot be dumped.
    """
    given = {name: os.environ[name] for name in (*QUIET, ARTIFACT_ROOT) if name in os.environ}
    return {**given, BACKEND: tracking.backend}
