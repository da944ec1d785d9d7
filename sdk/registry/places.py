"""Where a run's artifacts may lie, and MLflow's client that goes nowhere else.

MLflow's database names an address for each run. MLflow's own client goes wherever that is, and takes the user and the
password of the tracking server along. Whoever can write to the database could so collect them, or have a copy of a
project verified with the files of its original. Three places are allowed:

- beside an SQLite database, as in a project's folder: the artifacts there, wherever they lay when they were made
- at a tracking server: what that server itself serves
- below the address in the environment variable SDK_ARTIFACT_ROOT, for a store that clients reach by themselves; a
  project's own MLflow does not go there
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.dbmodels.models import SqlMetric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from sdk.errors import Remedy, Tampered

ARTIFACTS = "mlartifacts"
ARTIFACT_ROOT = "SDK_ARTIFACT_ROOT"
SERVERS = ("http", "https")
_SERVED = "/api/2.0/mlflow-artifacts/artifacts/"  # where MLflow's server has the artifacts that it serves
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")
# Printable ASCII without the backslash: libraries disagree on what other characters do to a host's name.
_ADDRESS = re.compile(r"[!-\[\]-~]*")
_OWN = re.compile(rf"/(?:.*/)?{ARTIFACTS}/(?P<run>[^/]+)/artifacts(?:/(?P<below>.+))?")


@dataclass(frozen=True)
class Places:
    """Where the artifacts of one MLflow may lie."""

    own: Path | None = None  # the folder of them beside an SQLite database
    server: str | None = None  # URI of the tracking server
    root: str | None = None  # an address that the user names


class FolderArtifacts(LocalArtifactRepository):
    """A run's artifacts in a folder below `top`, in which a link is refused: nothing elsewhere is read or written."""

    def __init__(self, folder: Path, top: Path) -> None:
        super().__init__(folder.as_uri())
        self._folder, self._top = folder, top

    def list_artifacts(self, path: str | None = None) -> Any:
        self._require_plain()
        return super().list_artifacts(path)

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> Any:
        self._require_plain()
        return super().download_artifacts(artifact_path, dst_path)

    def get_local_path(self, artifact_path: str) -> Any:
        self._require_plain()
        return super().get_local_path(artifact_path)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        self._require_plain()
        super().log_artifact(local_file, artifact_path)

    def _require_plain(self) -> None:
        below = self._folder.relative_to(self._top).parts
        way = [self._top.joinpath(*below[:depth]) for depth in range(len(below) + 1)]
        for path in (*way, *self._folder.rglob("*")):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise Tampered(
                    f"{path}, where MLflow's artifacts lie, is a link or another thing that is no file.",
                    remedy=Remedy.PROJECT,
                )


class Client(MlflowClient):
    """MLflow's client, whose artifacts lie where they may lie.

    aside: the folder of a private copy of the database, which goes when this client does.
    """

    def __init__(self, uri: str, places: Places, aside: TemporaryDirectory[str] | None = None) -> None:
        super().__init__(tracking_uri=uri, registry_uri=uri)
        self._places, self._aside = places, aside
        # By run id, in this client only: MLflow's own cache is the process's, and a copied project has the same ids.
        self._repositories: dict[str, ArtifactRepository] = {}

    def list_artifacts(self, run_id: str, path: str | None = None) -> Any:
        return self._artifacts(run_id).list_artifacts(path)

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> Any:
        return self._artifacts(run_id).download_artifacts(path, dst_path)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self._artifacts(run_id).log_artifact(local_path, artifact_path)

    def metric_histories(self, run_id: str, keys: Collection[str]) -> dict[str, list[Metric]]:
        """Return every value of these metrics of a run, by key; also of others that a database takes for the same.

        MLflow's own requests are for one key each. A server gets them; a database is asked for all at once, since a
        release has a hundred keys, and a session for each takes most of what verifying the release does.
        """
        store = self._tracking_client.store
        if not isinstance(store, SqlAlchemyStore):
            return {key: self.get_metric_history(run_id, key) for key in keys}
        histories: dict[str, list[Metric]] = {key: [] for key in keys}
        with store.ManagedSessionMaker() as session:
            for row in session.query(SqlMetric).filter(SqlMetric.run_uuid == run_id, SqlMetric.key.in_(keys)):
                histories.setdefault(row.key, []).append(row.to_mlflow_entity())
        return histories

    def _artifacts(self, run_id: str) -> ArtifactRepository:
        """Open a run's artifacts, at the address that was checked and no other."""
        if run_id not in self._repositories:
            address = self.get_run(run_id).info.artifact_uri or ""
            self._repositories[run_id] = open_artifacts(address, run_id, self._places)
        return self._repositories[run_id]


def open_artifacts(address: str, run_id: str, places: Places) -> ArtifactRepository:
    """Open the artifacts of a run at the address that MLflow's database names. Raises Tampered if it is no such place.

    Nothing is sent or read before the address has been checked.
    """
    parts = _split(address)
    if _RUN_ID.fullmatch(run_id) and parts is not None:
        own = places.own
        if own is not None and own_folder(address, own) == own / run_id / "artifacts":
            return FolderArtifacts(own / run_id / "artifacts", own)
        path = unquote(parts.path)
        if PurePosixPath(path).parts[-2:] == (run_id, "artifacts"):
            if _at_server(parts, urlsplit(places.server or "")):
                return get_artifact_repository(address, tracking_uri=places.server)
            if places.root is not None and below_root(address, places.root):
                if parts.scheme == "file":
                    return FolderArtifacts(Path(path), Path(unquote(urlsplit(places.root).path)))
                return get_artifact_repository(address, tracking_uri=places.server)
    where = "the tracking server" if places.server else "the folder of artifacts beside its database"
    raise Tampered(
        f"MLflow names a place for the artifacts of run {run_id!r:.80} that is not {where}. Nothing was sent there. "
        f"If your firm keeps artifacts elsewhere, name that place in {ARTIFACT_ROOT}.",
        remedy=Remedy.MLFLOW,
        # of the address only what cannot hold a password
        found="a malformed address" if parts is None else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
    )


def own_folder(address: str, own: Path) -> Path | None:
    """Return which folder below `own` an address stands for. None if it is not of the form that a project writes.

    The address names the folder that the project was made in. It may have been moved, copied or mounted since then.
    """
    parts = _split(address)
    if parts is None or (parts.scheme, parts.netloc) != ("file", ""):
        return None
    match = _OWN.fullmatch(unquote(parts.path))
    return own / match["run"] / "artifacts" / (match["below"] or "") if match else None


def artifact_root() -> str | None:
    """Return the address below which the user says that artifacts lie, beside those of a tracking server.

    Never one of http: there the server's user and password would be sent.
    """
    root = os.environ.get(ARTIFACT_ROOT, "").rstrip("/")
    if root.startswith("/"):
        root = Path(root).as_uri()
    parts = _split(root)
    return root if root and parts is not None and parts.scheme not in SERVERS else None


def below_root(address: str, root: str) -> bool:
    """Tell whether an address is below the one that the user names."""
    return _split(address) is not None and address.startswith(f"{root}/")


def _split(address: str) -> SplitResult | None:
    """Take an address apart. None if it is malformed, leads upwards, or holds what a place does not need."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    plain = _ADDRESS.fullmatch(address) and "\0" not in unquote(parts.path) and "\\" not in unquote(parts.path)
    if not plain or parts.query or parts.fragment or ".." in unquote(parts.path).split("/"):
        return None
    return parts


def _at_server(parts: SplitResult, server: SplitResult) -> bool:
    """Tell whether an address is of what this very tracking server serves."""
    host = server.netloc.rpartition("@")[2].lower()
    if server.scheme not in SERVERS:
        return False
    if parts.scheme == "mlflow-artifacts":
        return parts.netloc.lower() in ("", host)
    same = (parts.scheme, parts.netloc.lower()) == (server.scheme, host)
    return same and parts.path.startswith(server.path.rstrip("/") + _SERVED)
