"""A firm's MLflow: tables in PostgreSQL, artifacts in S3 (moto's server), a log-in; two projects that write at once."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import psycopg2
import pytest
from botocore.client import BaseClient
from mlflow.server.auth.client import AuthServiceClient
from psycopg2.extensions import connection as Connection

from sdk.errors import StepFailed, Tampered
from sdk.files.store import file_ref
from sdk.records import FileRef, Release
from sdk.registry import Adaptation, Tracking, check_alias, check_release, fetch_release, publish, read_version
from sdk.registry.register import register
from tests.registry_records import GOVERNANCE_FILES, adaptation, make_governance, standing
from tests.servers import free_port, running, server_command, serving
from tests.warm import Popen

PROJECTS = ("claims", "loans")
BUCKET = "mlflow"
ADMIN = "admin"


@contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty PostgreSQL server's database; skips where none is installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs:
        pytest.skip("PostgreSQL is not installed in /usr/lib/postgresql")
    root = os.geteuid() == 0  # whom PostgreSQL does not run for
    if root and not shutil.which("setpriv"):
        pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    folder, port, password = Path(tempfile.mkdtemp()), free_port(), secrets.token_hex(16)
    (folder / "password").write_text(password)
    if root:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    data = folder / "data"
    made = [*user, programs[-1] / "initdb", "-D", data, "-U", "mlflow", "-A", "scram-sha-256", "--no-sync"]
    subprocess.run([*made, f"--pwfile={folder}/password"], cwd=folder, check=True, capture_output=True)
    command = [*user, str(programs[-1] / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    uri = f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/postgres"
    try:
        with running([*command, "-c", "fsync=off"], folder, lambda: connect(uri).close()):
            yield uri
    finally:
        shutil.rmtree(folder)


def connect(uri: str) -> Connection:
    try:
        return psycopg2.connect(uri.replace("+psycopg2", ""))
    except psycopg2.OperationalError as error:
        raise OSError from error


@dataclass(frozen=True)
class Firm:
    """A firm's MLflow: behind a log-in, its tables in PostgreSQL, its artifacts in S3."""

    address: str
    database: str
    s3: BaseClient
    passwords: Mapping[str, str]

    def log_in(self, user: str) -> dict[str, str]:
        """Environment variables, as MLflow's client reads them."""
        return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": self.passwords[user]}

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def firm(folder: Path, users: Sequence[str]) -> Iterator[Firm]:
    s3_port, port = free_port(), free_port()
    s3_address = f"http://127.0.0.1:{s3_port}"
    aws = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)]
    passwords = {user: secrets.token_hex(16) for user in (ADMIN, *users)}
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = {ADMIN}\n"
        "auth_cache_ttl_seconds = 60\n"  # or the password is hashed several times for each request
    )
    env = {
        **aws,
        "MLFLOW_S3_ENDPOINT_URL": s3_address,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": passwords[ADMIN],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
    }
    with postgres() as database, running(moto, folder, lambda: urllib.request.urlopen(s3_address, timeout=5).close()):
        s3 = boto3.client(
            "s3",
            endpoint_url=s3_address,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        s3.create_bucket(Bucket=BUCKET)
        command = [*server_command(database, f"s3://{BUCKET}", port), "--app-name", "basic-auth"]
        for address in serving(command, port, folder, env):
            made = Firm(address, database, s3, passwords)
            with pytest.MonkeyPatch.context() as patch:
                for name, value in made.log_in(ADMIN).items():
                    patch.setenv(name, value)
                for user in users:
                    AuthServiceClient(address).create_user(user, passwords[user])
            yield made


def work(folder: Path, project: str, address: str) -> Release:
    """What a project's own process does: register, then publish a champion."""
    tracking, made = Tracking(folder, address), adaptation(folder / "package", project, project=project)
    release = register(made, folder / "package", {}, tracking, folder / "out", lambda *told: None)
    publish(tracking, release, made, standing(), make_governance(folder / "proofs", project), {})
    return release


@dataclass(frozen=True)
class Registered:
    release: Release
    made: Adaptation
    proofs: tuple[FileRef, ...]
    tracking: Tracking

    def check(self) -> None:
        check_alias(self.release.version, self.tracking, self.release.model_name)
        check_release(self.release, self.made, {}, self.tracking, self.proofs, standing())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firm]:
    with firm(tmp_path_factory.mktemp("firm"), PROJECTS) as made:
        yield made


@pytest.fixture(scope="module")
def registered(server: Firm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registered]:
    """Both projects, each by a process and a user of its own, at the same time."""
    root = tmp_path_factory.mktemp("projects")
    code = (
        "import sys, pathlib; from tests.test_server import work\n"
        "print(work(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]).model_dump_json())"
    )
    started = {
        project: Popen(
            [sys.executable, "-c", code, str(root / project), project, server.address],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **server.log_in(project)},
            stdout=subprocess.PIPE,
        )
        for project in PROJECTS
    }
    found = {}
    for project, process in started.items():
        assert process.stdout
        out = process.stdout.read()
        assert process.wait() == 0
        folder = root / project
        proofs = make_governance(folder / "proofs", project)
        found[project] = Registered(
            Release.model_validate_json(out),
            adaptation(folder / "package", project, project=project),
            tuple(file_ref(file, file.parent).model_copy(update={"path": path}) for path, file in proofs.items()),
            Tracking(folder, server.address),
        )
    return found


@pytest.fixture
def as_claims(server: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(server, monkeypatch, "claims")


def log_in(server: Firm, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    for name, value in server.log_in(user).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("as_claims")
def test_two_projects_at_once_and_each_is_whole(server: Firm, registered: dict[str, Registered]) -> None:
    for found in registered.values():
        found.check()
    assert len({found.release.run_id for found in registered.values()}) == 2
    rows = server.sql("SELECT name, version, alias FROM registered_model_aliases ORDER BY name, alias")
    assert rows == [(project, 1, alias) for project in PROJECTS for alias in ("candidate", "champion")]
    assert server.sql("SELECT count(*) FROM runs") == [(2,)]


def stored(server: Firm, release: Release, path: str) -> str:
    """The key of an artifact in the bucket."""
    pages = server.s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1000)["Contents"]
    (key,) = (one["Key"] for one in pages if one["Key"].endswith(f"{release.run_id}/artifacts/{path}"))
    return str(key)


@pytest.mark.usefixtures("as_claims")
def test_artifacts_are_objects_of_the_store_and_each_change_is_found(
    server: Firm, registered: dict[str, Registered]
) -> None:
    found = registered["claims"]
    weights, proof = (
        stored(server, found.release, f"release/{path}")
        for path in ("package/adapter_model.safetensors.floe", "governance/promotion.json")
    )
    kept = {key: server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in (weights, proof)}
    server.s3.put_object(Bucket=BUCKET, Key=weights, Body=kept[weights][:-1] + b"!")
    with pytest.raises(Tampered, match="floe has been altered"):
        found.check()
    server.s3.delete_object(Bucket=BUCKET, Key=proof)
    with pytest.raises(Tampered, match=r"release/governance/promotion\.json is missing"):
        found.check()
    for key, body in kept.items():
        server.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


# what somebody with the database changes -> what undoes it, what the error says
CHANGES = {
    "UPDATE model_version_tags SET value = 'candidate' WHERE key = 'sdk.status' AND name = 'claims'": (
        "UPDATE model_version_tags SET value = 'champion' WHERE key = 'sdk.status' AND name = 'claims'",
        "the tag sdk.status",
    ),
    "DELETE FROM registered_model_aliases WHERE alias = 'champion' AND name = 'claims'": (
        "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
        "SELECT workspace, name, 'champion', version FROM model_versions WHERE name = 'claims'",
        "points to no version",
    ),
    "UPDATE params SET value = '9' WHERE key = 'lora_r'": (
        "UPDATE params SET value = '8' WHERE key = 'lora_r'",
        "the parameter lora_r",
    ),
}


@pytest.mark.usefixtures("as_claims")
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_in_the_tables_is_found(server: Firm, registered: dict[str, Registered], change: str) -> None:
    undo, expected = CHANGES[change]
    server.sql(change)
    try:
        with pytest.raises(Tampered, match=expected):
            registered["claims"].check()
    finally:
        server.sql(undo)


def test_who_is_not_logged_in_gets_nothing(
    server: Firm, registered: dict[str, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registered["claims"]
    for wrong in ({}, {**server.log_in("claims"), "MLFLOW_TRACKING_PASSWORD": "hunter2-hunter2"}):
        for name, value in wrong.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StepFailed, match="failed while reading the alias champion") as caught:
            found.check()
        assert "hunter2" not in str(caught.value)


def test_another_projects_user_may_look_and_not_publish(
    server: Firm, registered: dict[str, Registered], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(server, monkeypatch, "loans")
    found = registered["claims"]
    with pytest.raises(StepFailed, match="publishing claims version 1"):
        publish(found.tracking, found.release, found.made, standing("rejected"), {}, {})
    with pytest.raises(StepFailed, match="publishing claims version 1"):
        publish(found.tracking, found.release, found.made, standing(), make_governance(tmp_path, "forged"), {})
    found.check()
    assert read_version(found.tracking, "claims", "1").tags["sdk.status"] == "champion"


@pytest.mark.usefixtures("as_claims")
def test_a_release_comes_back_whole(
    server: Firm, registered: dict[str, Registered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registered["claims"]
    folder = fetch_release("models:/claims@champion", found.tracking, tmp_path)
    for ref in found.release.artifacts:
        if ref.path.startswith("release/"):
            assert file_ref(tmp_path / ref.path, tmp_path) == ref
    for ref in found.proofs:
        assert file_ref(folder / "governance" / ref.path, folder / "governance") == ref
    assert {path.relative_to(folder / "governance").as_posix() for path in (folder / "governance").rglob("*.*")} == {
        *GOVERNANCE_FILES,
        "provenance.dsse.json",
    }
