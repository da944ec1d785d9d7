"""Against real MLflow databases and servers: one run and one version per package, wherever it was cut off."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import FileInfo

from sdk.errors import InvalidInput, StepFailed, Tampered
from sdk.files.store import file_ref, folder_refs
from sdk.records import FileRef, Release, Status, sha256
from sdk.registry import (
    Adaptation,
    Standing,
    Tracking,
    check_alias,
    check_release,
    fetch_release,
    publish,
    read_version,
    ui_command,
    ui_variables,
)
from sdk.registry.entry import MAX_DESCRIPTION, MAX_PARAM, entry_for
from sdk.registry.places import Client
from sdk.registry.register import _made_files, _package_files, complete, register
from tests.copies import copy_with_mlflow
from tests.registry_records import (
    GOVERNANCE_FILES,
    PACKAGE_FILES,
    STEPS,
    adaptation,
    decided,
    make_governance,
    make_package,
    standing,
)
from tests.servers import free_port, mlflow_server, serving
from tests.waiting import SECONDS
from tests.warm import context

TAGS = {"sdk.base_digest": "b" * 64, "sdk.audit_head": "a" * 64}
FILES = {
    "release/MLmodel",
    *(f"release/{path}" for path in PACKAGE_FILES if path.startswith("package/")),
    "release/governance/provenance.dsse.json",
    "plots/loss.png",
    "plots/memory.png",
    "plots/personal_data.png",
    "plots/scores.png",
    "report.html",
}
WEIGHTS = "package/adapter_model.safetensors.floe"


def silent(what: str, done: int, total: int | None, figures: Any) -> None:
    assert total is None or done <= total


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy, since making its tables takes a second."""
    folder = tmp_path_factory.mktemp("fresh")
    Tracking(folder).connect()
    return folder


@pytest.fixture
def root(fresh: Path, tmp_path: Path) -> Path:
    shutil.copy(fresh / "mlflow.db", tmp_path)
    return tmp_path


def registered(root: Path, steps: int = STEPS) -> tuple[Release, Adaptation]:
    made = adaptation(root / "package", steps=steps)
    return register(made, root / "package", TAGS, Tracking(root), root / "out", silent), made


@cache
def template(folder: Path) -> tuple[Release, Adaptation]:
    folder.mkdir()
    shutil.copy(folder.parent / "mlflow.db", folder)
    return registered(folder)


Copied = Callable[[], tuple[Release, Adaptation]]


@pytest.fixture
def copied(fresh: Path, root: Path) -> Copied:
    """What `registered` leaves, as a copy of the first: for what is done to a release afterwards."""

    def copy() -> tuple[Release, Adaptation]:
        made = template(fresh / "registered")
        copy_with_mlflow(fresh / "registered", root)
        return made

    return copy


def everything(root: Path) -> MlflowClient:
    return MlflowClient(Tracking(root).backend, Tracking(root).backend)


def assert_one_of_everything(client: MlflowClient, release: Release, made: Adaptation) -> None:
    runs = client.search_runs([release.experiment_id])
    assert [run.info.run_id for run in runs] == [release.run_id]
    assert runs[0].info.status == "FINISHED"
    assert [str(version.version) for version in client.search_model_versions("name='claims'")] == [release.version]
    database = sqlite3.connect(client.tracking_uri.removeprefix("sqlite:///"))
    stored = database.execute("SELECT key, step, value FROM metrics ORDER BY key, step").fetchall()
    assert stored == sorted((value.key, value.step, value.value) for value in entry_for(made, TAGS).metrics)
    assert len(stored) > 2 * len(made.run.losses)
    assert dict(client.get_registered_model("claims").aliases) == {"candidate": 1}
    assert {ref.path for ref in release.artifacts} == FILES


def test_what_a_reviewer_sees(root: Path) -> None:
    release, made = registered(root)
    assert_one_of_everything(everything(root), release, made)
    check_release(release, made, TAGS, Tracking(root))
    version = read_version(Tracking(root), "claims", release.version)
    assert version.params["method"] == "qlora-4bit"
    assert version.params["policy"] == "finance@1"
    assert version.metrics["adapted/exact_match.zh"] == 0.7
    assert version.metrics["memory/predicted_gib"] == 0.61
    assert version.metrics["personal_data/CN_RESIDENT_ID"] == 18
    assert version.metrics["personal_data/action.token"] == 31
    assert version.metrics["Loss/train"] == made.run.losses[-1].loss
    assert min(version.metrics).startswith("Loss/")  # the first section of MLflow's curves
    assert all("/" in name for name in version.metrics)  # which puts others last
    assert version.tags.items() >= {**TAGS, "sdk.package": made.package.package, "sdk.policy": "finance@1"}.items()
    assert version.source == f"runs:/{release.run_id}/release"
    assert (
        version.tags.items()
        >= {"sdk.status": "candidate", "sdk.approvals": "none yet", "sdk.checks": "none yet"}.items()
    )
    assert "sdk.status" not in version.run_tags
    assert version.run_tags.items() >= {"mlflow.user": "Trainer | <T>", "mlflow.source.name": "sdk train"}.items()
    assert "338,688 trained parameters" in version.run_tags["mlflow.note.content"]
    evaluation, train = version.datasets
    digest = made.scrubbed.data["train"].sha256
    assert (train.name, train.context, train.digest) == ("train, scrubbed", "training", digest[:32])
    assert (evaluation.name, evaluation.context) == ("eval, scrubbed", "evaluation")
    assert json.loads(train.source)["sha256"] == digest
    assert json.loads(train.profile)["rows"] == 448
    long = {tag for tag, value in version.run_tags.items() if len(value) > 32}
    assert long == {"sdk.package", "sdk.train", "mlflow.note.content"}  # by the first two runs are found
    for text in (
        "### Candidate: it may not be served yet",
        "nobody has decided yet",
        f"runs/{release.run_id}/artifacts/report.html?",
        "0.009 (0.000 to 0.079)&emsp; | 0.750",
        "Of 225 planted values 222 were found.",
        "222 findings; 191 replaced by placeholders, 31 pseudonymised by tokens.",
        made.package.package,
        "`sdk verify`",
    ):
        assert text in version.description
    assert release.tracking_uri == "sqlite:///mlflow.db"
    stored = Path(everything(root).download_artifacts(release.run_id, "release/package/manifest.json"))
    assert stored.read_bytes() == (root / "package" / "package" / "manifest.json").read_bytes()


def test_twice_changes_nothing(root: Path) -> None:
    first, made = registered(root)
    before = list(sqlite3.connect(root / "mlflow.db").iterdump())
    second, _ = registered(root)
    assert second == first
    assert list(sqlite3.connect(root / "mlflow.db").iterdump()) == before
    assert_one_of_everything(everything(root), second, made)


def test_another_package_is_another_version(root: Path) -> None:
    registered(root)
    other = adaptation(root / "other", "two")
    release = register(other, root / "other", TAGS, Tracking(root), root / "out2", silent)
    assert release.version == "2"
    assert dict(everything(root).get_registered_model("claims").aliases) == {"candidate": 2}
    assert len(everything(root).search_runs([release.experiment_id])) == 2


class Cut(BaseException):
    """Stands for a kill: nothing may catch it."""


class CutOff:
    """A client whose process ends when its n-th call has reached MLflow, before it hears of it."""

    def __init__(self, client: MlflowClient, call: int) -> None:
        self.client, self.left = client, call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            answer = getattr(self.client, name)(*args, **more)
            self.left -= 1
            if self.left == 0:
                raise Cut
            return answer

        return call


def test_cut_off_after_every_call(fresh: Path, tmp_path: Path) -> None:
    made = adaptation(tmp_path / "package", steps=520)  # more values than one call may bring
    uploads = [*_package_files(made.package, tmp_path / "package"), *_made_files(made, tmp_path / "out")]
    told = entry_for(made, TAGS)
    call = 0
    while True:
        call += 1
        root = tmp_path / str(call)
        root.mkdir()
        shutil.copy(fresh / "mlflow.db", root)
        tracking = Tracking(root)
        client = everything(root)
        try:
            release = complete(CutOff(client, call), tracking, told, uploads, silent)  # type: ignore[arg-type]
        except Cut:
            release = complete(client, tracking, told, uploads, silent)
            assert_one_of_everything(client, release, made)
            continue
        assert_one_of_everything(client, release, made)
        assert call > len(FILES) + 8
        return


def test_cut_off_again_and_again(root: Path) -> None:
    """Each attempt gets one call further on the same database; nothing is ever made twice."""
    made = adaptation(root / "package")
    uploads = [*_package_files(made.package, root / "package"), *_made_files(made, root / "out")]
    for call in range(1, 60):
        client = CutOff(everything(root), call)
        try:
            release = complete(client, Tracking(root), entry_for(made, TAGS), uploads, silent)  # type: ignore[arg-type]
        except Cut:
            continue
        assert_one_of_everything(everything(root), release, made)
        check_release(release, made, TAGS, Tracking(root))
        return
    pytest.fail("never completed")


def test_a_version_that_a_lost_answer_left_goes(root: Path) -> None:
    release, made = registered(root)
    again = everything(root).create_model_version("claims", f"runs:/{release.run_id}/release", release.run_id)
    assert str(again.version) == "2"
    assert registered(root)[0] == release
    assert_one_of_everything(everything(root), release, made)


def test_half_an_artifact_is_sent_again(root: Path) -> None:
    release, made = registered(root)
    stored = artifact(root, release, f"release/{WEIGHTS}")
    stored.write_bytes(stored.read_bytes()[:100])
    registered(root)
    check_release(release, made, TAGS, Tracking(root))


def artifact(root: Path, release: Release, path: str) -> Path:
    return root / "mlartifacts" / release.run_id / "artifacts" / path


def set_param(root: Path) -> None:
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("UPDATE params SET value = '9' WHERE key = 'lora_r'")


def set_dataset(root: Path) -> None:
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("UPDATE datasets SET dataset_profile = '{\"rows\": 9}' WHERE name LIKE 'train%'")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# what is done with (root, client, run id, artifact folder) -> what the error says
TAMPERINGS: dict[str, tuple[Callable[[Path, MlflowClient, str, Path], Any], str]] = {
    "tag": (lambda r, c, i, f: c.set_model_version_tag("claims", "1", "sdk.package", "0" * 64), "the tag sdk.package"),
    "given tag": (lambda r, c, i, f: c.delete_model_version_tag("claims", "1", "sdk.audit_head"), "the tag sdk.audit"),
    "run's tag": (lambda r, c, i, f: c.set_tag(i, "sdk.policy", "x"), "the run's tag sdk.policy"),
    "description": (lambda r, c, i, f: c.update_model_version("claims", "1", "Good."), "the description"),
    "parameter": (lambda r, c, i, f: set_param(r), "the parameter lora_r"),
    "parameter more": (lambda r, c, i, f: c.log_param(i, "better", "1"), "the parameter better"),
    "metric more": (lambda r, c, i, f: c.log_metric(i, "auc", 1), "the metric auc"),
    "metric again": (lambda r, c, i, f: c.log_metric(i, "adapted/f1.all", 0.99), "the metric adapted/f1.all"),
    "step again": (lambda r, c, i, f: c.log_metric(i, "Loss/train", 0.1, step=STEPS), "the metric Loss/train"),
    "dataset": (lambda r, c, i, f: set_dataset(r), "the run's datasets"),
    "run's note": (lambda r, c, i, f: c.set_tag(i, "mlflow.note.content", "Good."), "the run's tag mlflow.note"),
    "run's user": (lambda r, c, i, f: c.set_tag(i, "mlflow.user", "Eve"), "the run's tag mlflow.user"),
    "byte": (lambda r, c, i, f: flip(f / "release/package/model.sig"), "package/model.sig has been altered"),
    "report": (lambda r, c, i, f: flip(f / "report.html"), "report.html has been altered"),
    "artifact gone": (lambda r, c, i, f: (f / "plots/loss.png").unlink(), "plots/loss.png is missing"),
    "artifact more": (lambda r, c, i, f: (f / "release/package/x").write_text("x"), "package/x was not registered"),
    "loader": (lambda r, c, i, f: flip(f / "release/MLmodel"), "release/MLmodel has been altered"),
    "provenance": (lambda r, c, i, f: flip(f / "release/governance/provenance.dsse.json"), "provenance.* been altered"),
    "status tag": (lambda r, c, i, f: c.set_model_version_tag("claims", "1", "sdk.status", "champion"), "sdk.status"),
    "approvals tag": (
        lambda r, c, i, f: c.set_model_version_tag("claims", "1", "sdk.approvals", "2 of 2: Ada (approve)"),
        "the tag sdk.approvals",
    ),
    "checks tag": (lambda r, c, i, f: c.delete_model_version_tag("claims", "1", "sdk.checks"), "the tag sdk.checks"),
    "version gone": (lambda r, c, i, f: c.delete_model_version("claims", "1"), "no longer has claims version 1"),
    "run deleted": (lambda r, c, i, f: c.delete_run(i), "its run is DELETED"),
    "status": (lambda r, c, i, f: c.set_terminated(i, "FAILED"), "its run is FAILED"),
}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_check_names_what_was_changed(root: Path, copied: Copied, case: str) -> None:
    release, made = copied()
    tamper, expected = TAMPERINGS[case]
    tamper(root, everything(root), release.run_id, artifact(root, release, ""))
    with pytest.raises(Tampered, match=expected):
        check_release(release, made, TAGS, Tracking(root))


def test_check_against_other_records(root: Path, copied: Copied) -> None:
    release, made = copied()
    other = replace(made, run=made.run.model_copy(update={"seconds": 1.0}))
    with pytest.raises(Tampered, match=r"sdk\.record\.run"):
        check_release(release, other, TAGS, Tracking(root))
    with pytest.raises(InvalidInput, match="was registered in sqlite:///mlflow"):
        check_release(release, made, TAGS, Tracking(root, "http://127.0.0.1:1"))


def governance_refs(root: Path, text: str = "one") -> tuple[FileRef, ...]:
    files = make_governance(root / "governance", text)
    return tuple(file_ref(local, local.parent).model_copy(update={"path": path}) for path, local in files.items())


def promoted(root: Path, copied: Copied) -> tuple[Release, Adaptation]:
    release, made = copied()
    publish(Tracking(root), release, made, standing(), make_governance(root / "governance"), TAGS)
    return release, made


def test_a_champion_has_its_proofs_and_says_what_it_is(root: Path, copied: Copied) -> None:
    release, made = promoted(root, copied)
    version = read_version(Tracking(root), "claims", release.version)
    assert sorted(version.aliases) == ["candidate", "champion"]
    assert version.tags["sdk.status"] == "champion"
    assert version.tags["sdk.approvals"] == "review by Ada, 2026-11-26; approve by Bob, 2026-11-26"
    assert version.tags["sdk.checks"] == "5 of 5 hold"
    report = next(ref.sha256 for ref in release.artifacts if ref.path == "report.html")
    for text in (
        "### Champion: it is the one that is served",
        "| 1 of 1 approval by Bob on 2026-11-26: Fit for use.&emsp; | **yes**&emsp; |",
        "| approve&emsp; | Bob&emsp; | 2026&#8209;11&#8209;26&emsp; | Fit for use.&emsp; | yes&emsp; |",
        "| It is mine.&emsp; | no: does not count, approve.trainer&#95;may&#95;approve&emsp; |",
        'model = load_release("models:/claims@champion")',
        sha256(b"policy"),
        report,
    ):
        assert text in version.description
    for path, local in make_governance(root / "governance").items():
        assert artifact(root, release, f"release/governance/{path}").read_bytes() == local.read_bytes()
    check_release(release, made, TAGS, Tracking(root), governance_refs(root), standing())
    check_alias(release.version, Tracking(root), "claims")
    with pytest.raises(Tampered, match="was not registered"):
        check_release(release, made, TAGS, Tracking(root), (), standing())
    with pytest.raises(Tampered, match=r"the tag sdk\.status is not the recorded one"):
        check_release(release, made, TAGS, Tracking(root), governance_refs(root), standing("approved"))


@pytest.mark.parametrize("status", ["candidate", "approved", "rejected"])
def test_only_a_champion_gets_the_alias(root: Path, copied: Copied, status: Status) -> None:
    release, made = copied()
    publish(Tracking(root), release, made, standing(status), {}, TAGS)
    check_release(release, made, TAGS, Tracking(root), (), standing(status))
    check_alias(None, Tracking(root), "claims")


def test_publishing_twice_changes_nothing_and_other_files_replace(root: Path, copied: Copied) -> None:
    release, made = promoted(root, copied)
    old = governance_refs(root)
    before = list(sqlite3.connect(root / "mlflow.db").iterdump())
    publish(Tracking(root), release, made, standing(), make_governance(root / "governance"), TAGS)
    assert list(sqlite3.connect(root / "mlflow.db").iterdump()) == before
    publish(Tracking(root), release, made, standing(), make_governance(root / "governance", "two"), TAGS)
    with pytest.raises(Tampered, match=r"release/governance/decisions/0001\.dsse\.json has been altered"):
        check_release(release, made, TAGS, Tracking(root), old, standing())
    check_release(release, made, TAGS, Tracking(root), governance_refs(root, "two"), standing())


def test_no_alias_before_every_proof_is_there(root: Path, copied: Copied) -> None:
    release, made = copied()
    files = make_governance(root / "governance")
    files["ring/0001.dsse.json"].unlink()
    with pytest.raises(Tampered, match=r"governance/\d+\.json is missing"):
        publish(Tracking(root), release, made, standing(), files, TAGS)
    check_alias(None, Tracking(root), "claims")
    assert read_version(Tracking(root), "claims", "1").tags["sdk.status"] == "candidate"


def test_bytes_that_come_back_otherwise_stop_it(root: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    release, made = copied()
    send = Client.log_artifact

    def cut_short(self: Client, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        Path(local_path).write_bytes(Path(local_path).read_bytes()[:-1])
        send(self, run_id, local_path, artifact_path)

    monkeypatch.setattr(Client, "log_artifact", cut_short)
    with pytest.raises(Tampered, match=r"other bytes[^0]*release/governance/decisions/0001"):
        publish(Tracking(root), release, made, standing(), make_governance(root / "governance"), TAGS)
    check_alias(None, Tracking(root), "claims")


def test_every_governance_file_is_compared(root: Path, copied: Copied) -> None:
    release, made = promoted(root, copied)
    brought = governance_refs(root)
    for path in GOVERNANCE_FILES:
        stored = artifact(root, release, f"release/governance/{path}")
        kept = stored.read_bytes()
        flip(stored)
        with pytest.raises(Tampered, match=f"release/governance/{path} has been altered"):
            check_release(release, made, TAGS, Tracking(root), brought, standing())
        stored.unlink()
        with pytest.raises(Tampered, match=f"release/governance/{path} is missing"):
            check_release(release, made, TAGS, Tracking(root), brought, standing())
        stored.write_bytes(kept)
    check_release(release, made, TAGS, Tracking(root), brought, standing())


def test_an_alias_that_somebody_moved_is_found(root: Path, copied: Copied) -> None:
    release, _ = promoted(root, copied)
    other = register(adaptation(root / "b", "two"), root / "b", TAGS, Tracking(root), root / "out2", silent)
    check_alias(release.version, Tracking(root), "claims")
    everything(root).set_registered_model_alias("claims", "champion", other.version)
    with pytest.raises(Tampered, match="champion points to version 2, and the audit log promoted version 1"):
        check_alias(release.version, Tracking(root), "claims")
    everything(root).delete_registered_model_alias("claims", "champion")
    with pytest.raises(Tampered, match="points to no version, and the audit log promoted version 1"):
        check_alias(release.version, Tracking(root), "claims")
    everything(root).set_registered_model_alias("claims", "champion", "1")
    with pytest.raises(Tampered, match="points to version 1, and the audit log promoted no version"):
        check_alias(None, Tracking(root), "claims")
    with pytest.raises(Tampered, match="points to no version"):
        check_alias("1", Tracking(root), "unheard of")


def test_rollback_shows_the_version_that_was_replaced(root: Path, copied: Copied) -> None:
    first, made = promoted(root, copied)
    newer = adaptation(root / "b", "two")
    second = register(newer, root / "b", TAGS, Tracking(root), root / "out2", silent)
    proofs = make_governance(root / "governance")
    publish(Tracking(root), first, made, standing("approved"), proofs, TAGS)
    publish(Tracking(root), second, newer, standing(), proofs, TAGS)
    check_alias(second.version, Tracking(root), "claims")
    publish(Tracking(root), second, newer, standing("approved"), proofs, TAGS)
    publish(Tracking(root), first, made, standing(), proofs, TAGS)
    check_alias(first.version, Tracking(root), "claims")
    statuses = [read_version(Tracking(root), "claims", version).tags["sdk.status"] for version in "12"]
    assert statuses == ["champion", "approved"]


def test_the_same_standing_says_the_same_and_names_mean_no_markup(root: Path, copied: Copied) -> None:
    release, made = copied()
    evil = "no: <script>x</script> | [a](javascript:x) `b`\n## c"
    rejected = Standing("rejected", (evil,), (evil, "yes: it is signed"), (decided("reject", evil, evil, evil),))
    told = entry_for(made, {}, rejected)
    page = told.page(release)
    assert page == entry_for(made, {}, rejected).page(release)
    assert told.version_tags["sdk.checks"] == f"1 of 2 hold; {evil}"
    rows = [line for line in page.splitlines() if "script" in line]
    assert [row.count("|") for row in rows] == [3, 6]
    for row in rows:
        assert not set(row.replace("**no**", "")) & set("<>[]()`*_")
        assert "&#60;script&#62;x" in row
    many = tuple(decided("approve", f"Reviewer {n}", "Fit for use.") for n in range(900))
    long = entry_for(made, {}, Standing(decided=many))
    assert len(long.version_tags["sdk.approvals"]) == 5000
    assert len(long.page(release)) == MAX_DESCRIPTION
    assert long.page(release).endswith("characters in all")


def test_a_release_is_fetched_without_being_read(root: Path, copied: Copied, tmp_path: Path) -> None:
    release, _ = promoted(root, copied)
    for uri in ("models:/claims@champion", "models:/claims/1"):
        folder = fetch_release(uri, Tracking(root), tmp_path / uri.replace("/", "-"))
        paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        kept = {path.removeprefix("release/") for path in FILES if path.startswith("release/")}
        assert paths == kept | {f"governance/{path}" for path in GOVERNANCE_FILES}
        assert (folder / WEIGHTS).read_bytes() == (root / "package" / WEIGHTS).read_bytes()
    for uri in ("models:/claims@nobody", "models:/claims/7", "models:/other@champion"):
        with pytest.raises(InvalidInput, match=f"MLflow has no {uri}"):
            fetch_release(uri, Tracking(root), tmp_path / "x")
    for uri in ("claims@champion", "models:/claims", "models:/claims/latest", f"runs:/{release.run_id}/release", ""):
        with pytest.raises(InvalidInput, match="names no model version"):
            fetch_release(uri, Tracking(root), tmp_path / "x")
    other = everything(root).create_model_version("claims", f"runs:/{release.run_id}/plots", release.run_id)
    with pytest.raises(Tampered, match="its source is not the release of its own run"):
        fetch_release(f"models:/claims/{other.version}", Tracking(root), tmp_path / "x")


@pytest.mark.parametrize("path", ["release/../../outside", "/etc/passwd", "release\\..\\x", "plots/loss.png"])
def test_a_store_that_lists_paths_outside_is_not_followed(
    root: Path, copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    promoted(root, copied)
    monkeypatch.setattr(Client, "list_artifacts", lambda *asked: [FileInfo(path, False, 1)])
    monkeypatch.setattr(Client, "download_artifacts", lambda *asked: pytest.fail("followed"))
    with pytest.raises(Tampered, match="outside of its folders"):
        fetch_release("models:/claims@champion", Tracking(root), tmp_path / "x")


def test_a_store_that_lists_without_end_is_left(root: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(root, copied)
    monkeypatch.setattr(Client, "list_artifacts", lambda *asked: [FileInfo("release/x", True, None)])
    with pytest.raises(Tampered, match="16 folders deep"):
        fetch_release("models:/claims@champion", Tracking(root), root / "x")
    many = [FileInfo(f"release/{n}", False, 1) for n in range(10_001)]
    monkeypatch.setattr(Client, "list_artifacts", lambda *asked: many)
    with pytest.raises(Tampered, match="more than 10,000 artifacts"):
        fetch_release("models:/claims@champion", Tracking(root), root / "x")


def test_a_package_with_strange_files_is_not_registered(root: Path) -> None:
    made = adaptation(root / "package")
    (root / "package" / "notes.txt").write_text("x")
    strange = made.package.model_copy(update={"files": folder_refs(root / "package")})
    with pytest.raises(InvalidInput, match=r"notes\.txt, which is neither in package/ nor provenance"):
        register(replace(made, package=strange), root / "package", TAGS, Tracking(root), root / "out", silent)


def test_altered_package_is_not_uploaded(root: Path) -> None:
    made = adaptation(root / "package")
    flip(root / "package" / WEIGHTS)
    with pytest.raises(Tampered, match=r"adapter_model\.safetensors\.floe has been altered"):
        register(made, root / "package", TAGS, Tracking(root), root / "out", silent)
    assert everything(root).get_experiment_by_name("claims") is None
    empty = replace(made, package=make_package(root / "package").model_copy(update={"files": ()}))
    with pytest.raises(InvalidInput, match="names no files"):
        register(empty, root / "package", TAGS, Tracking(root), root / "out", silent)


def test_no_path_and_no_user_in_the_database(root: Path) -> None:
    """Except where the project's own artifacts lie, which MLflow must know."""
    release, made = registered(root)
    dump = "\n".join(sqlite3.connect(root / "mlflow.db").iterdump())
    for location in (everything(root).get_run(release.run_id).info.artifact_uri, Tracking(root).artifact_location):
        assert location in dump
        dump = dump.replace(location, "")
    for private in (str(root), str(Path.cwd()), str(Path.home()), socket.gethostname()):
        assert private not in dump
    users = sqlite3.connect(root / "mlflow.db").execute("SELECT DISTINCT user_id FROM runs").fetchall()
    assert {user for (user,) in users} == {made.package.signed_by}  # of the key ring, and not the system's account
    assert getpass.getuser() not in {user for (user,) in users}


def test_long_parameter_is_cut_with_a_note(root: Path) -> None:
    made = adaptation(root / "package")
    made = replace(made, run=made.run.model_copy(update={"versions": {"strange name/°": "9" * 7000}}))
    release = register(made, root / "package", TAGS, Tracking(root), root / "out", silent)
    value = read_version(Tracking(root), "claims", release.version).params["version.strange_name/_"]
    assert len(value) == MAX_PARAM
    assert value.endswith("9 … cut, 7000 characters in all")


def connect(folder: Path, said: Path) -> None:
    """Standard output and error go to a file."""
    for number in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    Tracking(folder).connect()


def test_database_made_by_several_processes_at_once(tmp_path: Path) -> None:
    """In a folder whose name needs care in a URI."""
    folder = tmp_path / "50% of #1? 中文"
    said = [tmp_path / f"{number}.log" for number in range(3)]
    started = [context().Process(target=connect, args=(folder, path)) for path in said]
    for process in started:
        process.start()
    for process in started:
        process.join(SECONDS)
    assert [(path.read_bytes(), process.exitcode) for path, process in zip(said, started, strict=True)] == [
        (b"", 0)
    ] * 3
    release, made = registered(folder)
    check_release(release, made, TAGS, Tracking(folder))


def test_a_database_is_asked_for_all_metrics_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, made = registered(root)
    monkeypatch.setattr(MlflowClient, "get_metric_history", lambda *asked: pytest.fail(f"asked for {asked[1:]} alone"))
    check_release(release, made, TAGS, Tracking(root))


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("http://me:hunter2@mlflow.bank.example:5000/path?token=x", "http://mlflow.bank.example:5000"),
        ("https://mlflow.bank.example", "https://mlflow.bank.example"),
        ("postgresql+psycopg2://me:hunter2@db.bank.example/mlflow", "postgresql+psycopg2://db.bank.example"),
        ("sqlite:////srv/secret place/runs.db", "sqlite:///runs.db"),
    ],
)
def test_public_uri(tmp_path: Path, uri: str, public: str) -> None:
    assert Tracking(tmp_path, uri).public == public


@pytest.mark.parametrize("uri", ["mlruns", "file:///srv/mlruns", "databricks", "ftp://me:hunter2@x", ""])
def test_other_uris_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InvalidInput, match="must begin with one of http") as caught:
        Tracking(tmp_path, uri)
    assert "hunter2" not in str(caught.value)


def test_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = adaptation(tmp_path / "package")
    tracking = Tracking(tmp_path, f"http://me:hunter2@127.0.0.1:{free_port()}")
    slept: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (slept.append(seconds), sleep(seconds)))
    with pytest.raises(StepFailed, match=r"Nothing is lost.*`sdk register` again") as caught:
        register(made, tmp_path / "package", TAGS, tracking, tmp_path / "out", silent)
    assert 0 < sum(slept) < 15  # it asks again, and gives up before one loses patience
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "far"
    folder.mkdir()
    yield from mlflow_server(folder, free_port())


def test_a_real_server(tmp_path: Path, server: str) -> None:
    made = adaptation(tmp_path / "package")
    tracking = Tracking(tmp_path, server)
    release = register(made, tmp_path / "package", TAGS, tracking, tmp_path / "out", silent)
    assert register(made, tmp_path / "package", TAGS, tracking, tmp_path / "out", silent) == release
    check_release(release, made, TAGS, tracking)
    publish(tracking, release, made, standing(), make_governance(tmp_path / "governance"), TAGS)
    brought = governance_refs(tmp_path)
    check_release(release, made, TAGS, tracking, brought, standing())
    assert "champion" in read_version(tracking, "claims", release.version).aliases
    client = MlflowClient(server, server)
    loss = client.get_metric_history(release.run_id, "Loss/train")
    assert [m.step for m in loss] == [p.step for p in made.run.losses]
    assert len(client.search_runs([release.experiment_id])) == 1
    assert not (tmp_path / "mlflow.db").exists()
    (stored,) = (tmp_path / "far" / "artifacts").rglob("manifest.json")
    flip(stored)
    with pytest.raises(Tampered, match=r"package/manifest\.json has been altered"):
        check_release(release, made, TAGS, tracking, brought, standing())
    with pytest.raises(InvalidInput, match="open it in a browser"):
        ui_command(tracking, 5000)


def test_ui_serves_the_embedded_database(root: Path, copied: Copied) -> None:
    release, _ = copied()
    port = free_port()
    for address in serving(ui_command(Tracking(root), port), port, root, ui_variables(Tracking(root))):
        for path in ("report.html", "plots/loss.png", "release/package/manifest.json"):
            url = f"{address}/get-artifact?path={path}&run_uuid={release.run_id}"
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                data = answer.read()
            assert sha256(data) == next(ref.sha256 for ref in release.artifacts if ref.path == path)
        with urllib.request.urlopen(f"{address}/ajax-api/3.0/mlflow/ui-telemetry", timeout=SECONDS) as answer:
            assert b'"disable_ui_telemetry":true' in answer.read().replace(b" ", b"")
