"""MLflow's database names a place for each run's artifacts. Who edits it gets no credentials, no file, no silence."""

from __future__ import annotations

import ast
import base64
import json
import os
import shutil
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput

import sdk
from sdk.errors import InvalidInput, Tampered
from sdk.records import Release
from sdk.registry import (
    Adaptation,
    Tracking,
    check_model,
    check_release,
    fetch_release,
    publish,
    ui_command,
    ui_variables,
)
from sdk.registry.places import ARTIFACT_ROOT, Client, FolderArtifacts, Places, open_artifacts
from sdk.registry.register import register
from tests.registry_records import adaptation, make_governance, standing
from tests.servers import free_port, serving
from tests.waiting import SECONDS

RUN = "0123456789abcdef0123456789abcdef"
USER, PASSWORD = "claims", "hunter2-hunter2"
LOGIN = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


# -- who listens -------------------------------------------------------------------------------------------------------


@dataclass
class Listener:
    """A web server that notes what it is asked, with the credentials that came along."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)  # path -> status, headers, body
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Authorization
    address: str = ""

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            listener.asked.append((path, self.headers.get("Authorization")))
            status, headers, body = listener.answers.get(path, (404, {}, b"{}"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def thief() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.delenv(ARTIFACT_ROOT, raising=False)


# -- a registered release ----------------------------------------------------------------------------------------------


def silent(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Bench:
    root: Path
    release: Release
    made: Adaptation

    @property
    def tracking(self) -> Tracking:
        return Tracking(self.root)

    @property
    def artifacts(self) -> Path:
        return self.root / "mlartifacts" / self.release.run_id / "artifacts"

    def sql(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.root / "mlflow.db") as database:
            assert database.execute(statement, values).rowcount >= 1
        database.close()

    def lie(self, address: str) -> None:
        self.sql("UPDATE runs SET artifact_uri = ?", address.replace("RUN", self.release.run_id))

    def check(self) -> None:
        check_release(self.release, self.made, {}, self.tracking)
        check_model(self.tracking, [self.release], None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("original")
    made = adaptation(root / "package")
    return Bench(root, register(made, root / "package", {}, Tracking(root), root / "out", silent), made)


@pytest.fixture
def bench(original: Bench, tmp_path: Path) -> Bench:
    """A copy: its database names the folder of the original, which is still there."""
    shutil.copytree(original.root, tmp_path / "copy")
    return Bench(tmp_path / "copy", original.release, original.made)


# -- places that are not the project's ---------------------------------------------------------------------------------

ELSEWHERE = {
    "http": "http://THIEF/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "http with a password": "http://u:p@THIEF/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "proxied by another": "mlflow-artifacts://THIEF/1/RUN/artifacts",
    "proxied by nobody": "mlflow-artifacts:/1/RUN/artifacts",
    "ftp": "ftp://THIEF/mlartifacts/RUN/artifacts",
    "sftp": "sftp://THIEF/mlartifacts/RUN/artifacts",
    "s3": "s3://bucket/mlartifacts/RUN/artifacts",
    "azure": "abfss://files@THIEF/mlartifacts/RUN/artifacts",
    "hadoop": "hdfs://THIEF/mlartifacts/RUN/artifacts",
    "databricks": "dbfs:/mlartifacts/RUN/artifacts",
    "another run": "file:///srv/mlartifacts/00000000000000000000000000000000/artifacts",
    "a run of its own": "runs:/RUN/artifacts",
    "the machine's files": "file:///etc",
    "a plain path": "/etc",
    "another host's files": "file://THIEF/srv/mlartifacts/RUN/artifacts",
    "upwards": "file:///srv/mlartifacts/RUN/artifacts/../../../../etc",
    "upwards, written otherwise": "file:///srv/mlartifacts/RUN/%2e%2e/RUN/artifacts",
    "more than the run": "file:///srv/mlartifacts/RUN/artifacts/release",
    "malformed host": "http://[/mlartifacts/RUN/artifacts",
    "malformed port": "http://THIEF:99999999/mlartifacts/RUN/artifacts",
    "a line feed": "file:///srv\n/mlartifacts/RUN/artifacts",
    "a query": "file:///srv/mlartifacts/RUN/artifacts?x=1",
    "no scheme": "://",
    "nothing": "",
}


@pytest.mark.parametrize("address", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_no_place_but_the_projects_own_is_asked(bench: Bench, thief: Listener, tmp_path: Path, address: str) -> None:
    bench.check()
    bench.lie(address.replace("THIEF", thief.host))
    for act in (
        bench.check,
        lambda: fetch_release("models:/claims@candidate", bench.tracking, tmp_path / "fetched"),
        lambda: publish(bench.tracking, bench.release, bench.made, standing(), make_governance(tmp_path / "g"), {}),
        lambda: register(bench.made, bench.root / "package", {}, bench.tracking, tmp_path / "out", silent),
    ):
        with pytest.raises(Tampered, match="names a place for the artifacts") as named:
            act()
        assert PASSWORD not in str(named.value)
        assert "u:p" not in str(named.value)
    assert thief.asked == []


@pytest.mark.parametrize("run_id", ["..", "../../etc", "a/b", "", "x" * 300, "a\0b"])
def test_a_run_id_leads_nowhere(tmp_path: Path, run_id: str) -> None:
    places = Places(own=tmp_path / "mlartifacts")
    with pytest.raises(Tampered, match="names a place"):
        open_artifacts(f"file:///srv/mlartifacts/{run_id}/artifacts", run_id, places)


AT_SERVER = [
    "mlflow-artifacts:/1/RUN/artifacts",
    "mlflow-artifacts://mlflow.bank.example:5000/1/RUN/artifacts",
    "http://mlflow.bank.example:5000/base/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
]
NOT_AT_SERVER = [
    "mlflow-artifacts://mlflow.bank.example:5001/1/RUN/artifacts",
    "mlflow-artifacts://mlflow.bank.example/1/RUN/artifacts",
    "mlflow-artifacts://mlflow.bank.example.evil:5000/1/RUN/artifacts",
    "mlflow-artifacts://me:x@mlflow.bank.example:5000/1/RUN/artifacts",
    "mlflow-artifacts:/1/../../RUN/artifacts",
    "mlflow-artifacts:/1/RUN/artifacts/release",
    "mlflow-artifacts:/1/another/artifacts",
    "https://mlflow.bank.example:5000/base/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "http://mlflow.bank.example:5000/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "http://mlflow.bank.example:5000/base/elsewhere/1/RUN/artifacts",
    "http://mlflow.bank.example:5000\\@evil/base/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "http://mlflow.bank.example:5000@evil/base/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts",
    "file:///srv/mlartifacts/RUN/artifacts",
    "/srv/mlartifacts/RUN/artifacts",
    "s3://bucket/1/RUN/artifacts",
]
SERVER = Places(server="http://me:secret@mlflow.bank.example:5000/base")


@pytest.mark.parametrize("address", AT_SERVER)
def test_what_the_tracking_server_serves_is_there(address: str) -> None:
    assert open_artifacts(address.replace("RUN", RUN), RUN, SERVER)


@pytest.mark.parametrize("address", NOT_AT_SERVER)
def test_what_another_serves_is_not_there(address: str) -> None:
    with pytest.raises(Tampered, match="that is not the tracking server") as named:
        open_artifacts(address.replace("RUN", RUN), RUN, SERVER)
    assert "secret" not in str(named.value)
    assert "me:" not in str(named.value)


def test_a_store_of_the_firms_own_is_named_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{(tmp_path / 'store').as_uri()}/1/{RUN}/artifacts"
    server = "http://mlflow.bank.example"
    with pytest.raises(Tampered, match=ARTIFACT_ROOT):
        open_artifacts(address, RUN, Tracking(tmp_path, server).places)
    monkeypatch.setenv(ARTIFACT_ROOT, str(tmp_path / "store"))
    assert isinstance(open_artifacts(address, RUN, Tracking(tmp_path, server).places), FolderArtifacts)
    for beside in (f"{(tmp_path / 'store2').as_uri()}/1/{RUN}/artifacts", address.replace("/1/", "/../1/")):
        with pytest.raises(Tampered):
            open_artifacts(beside, RUN, Tracking(tmp_path, server).places)
    with pytest.raises(Tampered):  # a project's own MLflow does not go there
        open_artifacts(address, RUN, Tracking(tmp_path).places)
    monkeypatch.setenv(ARTIFACT_ROOT, "http://elsewhere.example")
    with pytest.raises(Tampered):  # the server's password would be sent
        open_artifacts(f"http://elsewhere.example/1/{RUN}/artifacts", RUN, Tracking(tmp_path, server).places)


# -- a tracking server whose database was edited, and one that redirects -----------------------------------------------

SERVED = "/api/2.0/mlflow-artifacts/artifacts"


def tell(server: Listener, address: str) -> None:
    info = {"run_id": RUN, "run_uuid": RUN, "experiment_id": "1", "status": "FINISHED", "artifact_uri": address}
    body = json.dumps({"run": {"info": {**info, "lifecycle_stage": "active"}, "data": {}}}).encode()
    server.answers["/api/2.0/mlflow/runs/get"] = (200, {"Content-Type": "application/json"}, body)


def test_a_servers_password_goes_to_that_server_only(thief: Listener) -> None:
    with listening() as server:
        server.answers[SERVED] = (200, {}, json.dumps({"files": [{"path": "report.html", "is_dir": False}]}).encode())
        tell(server, f"mlflow-artifacts:/1/{RUN}/artifacts")
        tracking = Tracking(Path(), server.address)
        assert [info.path for info in tracking.connect().list_artifacts(RUN)] == ["report.html"]
        assert (SERVED, LOGIN) in server.asked
        for address in (
            f"mlflow-artifacts://{thief.host}/1/{RUN}/artifacts",
            f"{thief.address}{SERVED}/1/{RUN}/artifacts",
        ):
            tell(server, address)
            with pytest.raises(Tampered, match="that is not the tracking server"):
                tracking.connect().list_artifacts(RUN)
            with pytest.raises(Tampered, match="that is not the tracking server"):
                tracking.connect().log_artifact(RUN, __file__)
        assert thief.asked == []


def test_a_redirect_to_another_host_carries_no_password(thief: Listener) -> None:
    thief.answers["/taken"] = (200, {}, b'{"files": []}')
    with listening() as server:
        server.answers[SERVED] = (302, {"Location": f"{thief.address}/taken"}, b"")
        tell(server, f"mlflow-artifacts:/1/{RUN}/artifacts")
        Tracking(Path(), server.address).connect().list_artifacts(RUN)
        assert (SERVED, LOGIN) in server.asked
    assert thief.asked == [("/taken", None)]


# -- links and things that are no files --------------------------------------------------------------------------------


def link(path: Path, target: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


LINKS: dict[str, Callable[[Bench, Bench], None]] = {
    "a file": lambda copy, was: link(copy.artifacts / "report.html", was.artifacts / "report.html"),
    "a folder": lambda copy, was: link(copy.artifacts / "release", was.artifacts / "release"),
    "the run": lambda copy, was: link(copy.artifacts.parent, was.artifacts.parent),
    "its artifacts": lambda copy, was: link(copy.artifacts, was.artifacts),
    "all artifacts": lambda copy, was: link(copy.root / "mlartifacts", was.root / "mlartifacts"),
    "the database": lambda copy, was: link(copy.root / "mlflow.db", was.root / "mlflow.db"),
    "a pipe": lambda copy, was: os.mkfifo(copy.artifacts / "pipe"),
    "a pipe as database": lambda copy, was: ((copy.root / "mlflow.db").unlink(), os.mkfifo(copy.root / "mlflow.db"))[1],
}


@pytest.mark.parametrize("case", LINKS)
def test_a_link_to_the_right_bytes_elsewhere_is_named(bench: Bench, original: Bench, tmp_path: Path, case: str) -> None:
    bench.check()
    LINKS[case](bench, original)
    with pytest.raises(Tampered, match="is a link or another thing"):
        bench.check()
    with pytest.raises(Tampered, match="is a link or another thing"):
        fetch_release("models:/claims@candidate", bench.tracking, tmp_path / "fetched")
    original.check()


def test_a_link_put_there_after_the_check_gives_no_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is a private copy, so the bytes of another file are another file's."""
    checked = FolderArtifacts._require_plain
    (bench.root / "secret").write_text("of somebody else")

    def check_then_swap(self: FolderArtifacts) -> None:
        checked(self)
        link(bench.artifacts / "report.html", bench.root / "secret")

    bench.check()
    monkeypatch.setattr(FolderArtifacts, "_require_plain", check_then_swap)
    with pytest.raises(Tampered, match=r"is a link|report\.html has been altered"):
        bench.check()


def test_nothing_is_written_through_a_link(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link(bench.artifacts / "release" / "governance", tmp_path / "outside")
    with pytest.raises(Tampered, match="is a link"):
        publish(bench.tracking, bench.release, bench.made, standing(), make_governance(tmp_path / "g"), {})
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_copy_is_not_checked_with_what_this_process_knows_of_the_original(bench: Bench, original: Bench) -> None:
    original.check()
    bench.check()
    shutil.rmtree(bench.root / "mlartifacts")
    original.check()
    with pytest.raises(Tampered, match="is missing"):
        bench.check()


# -- what somebody adds ------------------------------------------------------------------------------------------------


def add_dataset(bench: Bench, client: Client) -> None:
    dataset = Dataset(name="all customers", digest="1", source_type="local", source="{}")
    client.log_inputs(bench.release.run_id, [DatasetInput(dataset, [])])


ADDITIONS: dict[str, tuple[Callable[[Bench, Client, str], Any], str]] = {
    "an alias": (lambda b, c, i: c.set_registered_model_alias("claims", "production", "1"), "alias production was not"),
    "a champion": (lambda b, c, i: c.set_registered_model_alias("claims", "champion", "1"), "the alias champion"),
    "no candidate": (lambda b, c, i: c.delete_registered_model_alias("claims", "candidate"), "the alias candidate"),
    "a version's tag": (lambda b, c, i: c.set_model_version_tag("claims", "1", "approved", "yes"), "the tag approved"),
    "a run's tag": (lambda b, c, i: c.set_tag(i, "approved", "yes"), "the run's tag approved was not registered"),
    "a note on the run": (lambda b, c, i: c.set_tag(i, "mlflow.note.content", "fine"), r"tag mlflow\.note\.content"),
    "the run's name": (lambda b, c, i: c.update_run(i, name="approved"), r"the run's tag mlflow\.runName"),
    "a stage": (lambda b, c, i: b.sql("UPDATE model_versions SET current_stage = 'Production'"), "version's stage"),
    "a status": (lambda b, c, i: b.sql("UPDATE model_versions SET status_message = 'ok'"), "version's status message"),
    "a link": (lambda b, c, i: b.sql("UPDATE model_versions SET run_link = 'http://evil'"), "version's link to a run"),
    "a model's tag": (
        lambda b, c, i: c.set_registered_model_tag("claims", "approved", "yes"),
        "the model's tag approved",
    ),
    "a model's page": (lambda b, c, i: c.update_registered_model("claims", "Approved."), "the model's description"),
    "a version": (
        lambda b, c, i: c.create_model_version("claims", f"runs:/{i}/release", i),
        "version 2 was not registered",
    ),
    "a dataset": (lambda b, c, i: add_dataset(b, c), "the run's datasets"),
    "a parameter": (lambda b, c, i: c.log_param(i, "approved", "yes"), "the parameter approved was not registered"),
    "a metric": (lambda b, c, i: c.log_metric(i, "approved", 1.0), "the metric approved is not the recorded one"),
    "a last value": (
        lambda b, c, i: b.sql("UPDATE latest_metrics SET value = 0.99 WHERE key = 'adapted/f1.all'"),
        "the last value of the metric adapted/f1.all",
    ),
    "no last value": (
        lambda b, c, i: b.sql("DELETE FROM latest_metrics WHERE key = 'adapted/f1.all'"),
        "the last value of the metric adapted/f1.all",
    ),
}


@pytest.mark.parametrize("case", ADDITIONS)
def test_what_somebody_adds_is_named(bench: Bench, case: str) -> None:
    bench.check()
    add, expected = ADDITIONS[case]
    add(bench, bench.tracking.connect(), bench.release.run_id)
    with pytest.raises(Tampered, match=expected):
        bench.check()


# -- MLflow's pages ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(original: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Bench]]:
    root = tmp_path_factory.mktemp("pages") / "copy"
    shutil.copytree(original.root, root)
    bench, port = Bench(root, original.release, original.made), free_port()
    (bench.artifacts / "report.html").write_text("the copy's own")
    for address in serving(ui_command(bench.tracking, port), port, root, ui_variables(bench.tracking)):
        yield address, bench


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


WRITES = [
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/RUN/artifacts/report.html"),
    ("PUT", "/ajax-api/2.0/mlflow-artifacts/artifacts/RUN/artifacts/report.html"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/RUN/artifacts/report.html"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/RUN/artifacts/report.html"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=RUN&path=report.html"),
    ("POST", "/api/2.0/mlflow/runs/create"),
    ("POST", "/api/2.0/mlflow/runs/set-tag"),
    ("POST", "/ajax-api/2.0/mlflow/runs/log-metric"),
    ("POST", "/api/2.0/mlflow/runs/delete"),
    ("POST", "/api/2.0/mlflow/registered-models/alias"),
    ("DELETE", "/api/2.0/mlflow/registered-models/alias"),
    ("PATCH", "/api/2.0/mlflow/model-versions/update"),
    ("POST", "/api/2.0/mlflow/experiments/create"),
    ("POST", "/api/2.0/mlflow/runs/search/../set-tag"),
    ("POST", "/v1/traces"),
    ("POST", "/gateway/x/mlflow/invocations"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    # reading it too: MLflow's assistant looks for agents on this machine and starts them
    ("GET", "/ajax-api/3.0/mlflow/assistant/config"),
    ("GET", "/ajax-api/3.0/mlflow/assistant/providers/claude_code/health"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_the_pages_change_nothing(pages: tuple[str, Bench], method: str, path: str) -> None:
    address, bench = pages
    before = list(sqlite3.connect(bench.root / "mlflow.db").iterdump())
    status, _ = ask(address, path.replace("RUN", bench.release.run_id), method, b'{"name": "evil"}')
    assert status == 403
    assert list(sqlite3.connect(bench.root / "mlflow.db").iterdump()) == before
    assert (bench.artifacts / "report.html").read_text() == "the copy's own"


def test_the_pages_show_the_files_of_the_copy_that_they_are_opened_on(pages: tuple[str, Bench]) -> None:
    address, bench = pages
    run = bench.release.run_id
    assert ask(address, f"/get-artifact?path=report.html&run_uuid={run}") == (200, b"the copy's own")
    status, listed = ask(address, f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}")
    assert status == 200
    assert {file["path"] for file in json.loads(listed)["files"]} >= {"report.html", "plots", "release"}
    status, runs = ask(address, "/ajax-api/2.0/mlflow/runs/search", "POST", b'{"experiment_ids": ["1"]}')
    assert status == 200
    assert [found["info"]["run_id"] for found in json.loads(runs)["runs"]] == [run]


def test_the_page_comes_without_the_assistant_whatever_a_browser_has_of_it(pages: tuple[str, Bench]) -> None:
    address, _ = pages
    with urllib.request.urlopen(f"{address}/", timeout=SECONDS) as answer:
        page, told = answer.read(), dict(answer.headers)
    assert page.count(b"mlflow.assistant.fab.autoOpenedOnFirstLoad_v1") == 1
    assert int(told["content-length"]) == len(page)
    assert told["cache-control"] == "no-store"
    assert "etag" not in {name.lower() for name in told}
    request = urllib.request.Request(f"{address}/", headers={"If-None-Match": "*", "Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        assert (answer.status, answer.read()) == (200, page)


def test_the_pages_fetch_nothing_from_elsewhere(pages: tuple[str, Bench], thief: Listener) -> None:
    address, bench = pages
    honest = bench.tracking.connect().get_run(bench.release.run_id).info.artifact_uri
    assert honest
    shown = f"/get-artifact?path=passwd&run_uuid={bench.release.run_id}"
    try:
        for lie in (f"{thief.address}{SERVED}/1/RUN/artifacts", "file:///etc", f"mlflow-artifacts://{thief.host}/RUN"):
            bench.lie(lie)
            status, body = ask(address, shown)
            assert (status >= 400, b"root:" in body) == (True, False)
    finally:
        bench.lie(honest)
    assert thief.asked == []


# -- all places --------------------------------------------------------------------------------------------------------

OPENERS = {"get_artifact_repository", "MlflowClient", "build_artifact_repo", "get_artifact_uri"}
GUARDED = {"list_artifacts", "download_artifacts", "log_artifact"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""), node


def test_artifacts_are_opened_in_one_function() -> None:
    """So a new call that names artifacts by another way than the client of ours does not pass."""
    opened: list[str] = []
    for file in sorted(Path(sdk.__file__).parent.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        opened += [f"{file.name}: {name}" for name, _ in calls(tree) if name in OPENERS]
        named = {name for name, _ in calls(tree) if "artifact" in name.lower()}
        strange = {
            name for name in named if name.startswith(("log_", "load_", "list_", "download_", "delete_"))
        } - GUARDED
        assert not strange, (file, strange)
        assert "mlflow.artifacts" not in {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert set(opened) == {"places.py: get_artifact_repository"}
    assert all(name in vars(Client) for name in GUARDED)


def test_a_tracking_uri_is_no_place_for_files(tmp_path: Path) -> None:
    for uri in ("file:///srv/mlruns", "databricks", "uc://x"):
        with pytest.raises(InvalidInput):
            Tracking(tmp_path, uri)
