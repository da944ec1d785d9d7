"""Which project lies in a folder, and whose files are read: after a move, a copy, a link, another one in its place."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdk import InvalidInput, Project, SDKError, StepFailed, Tampered
from sdk.audit import Audit
from sdk.cli.app import app
from sdk.files.store import held_checkpoint, log_origin, pin_root, pinned_root, state_folder
from sdk.records import Release
from tests.servers import free_port, serving
from tests.shared import folder_in_memory
from tests.waiting import SECONDS
from tests.workshop import Workshop

ARCHIVE = Path(__file__).parents[1] / "data" / "project-0.1.0.tar.xz"


@pytest.fixture(autouse=True)
def _another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has seen no project yet."""
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def copy(finished: Project, tmp_path: Path) -> Project:
    """A plain copy; the original is still there, and the copy's database names it."""
    shutil.copytree(finished.root, tmp_path / "here" / "copy")
    return Project(tmp_path / "here" / "copy")


@pytest.fixture(scope="session")
def other(workshop: Workshop) -> Project:
    """Another project with nothing wrong in it."""
    return workshop.project("other-in-its-place")


def report(project: Project) -> Path:
    [path] = project.root.glob("mlartifacts/*/artifacts/report.html")
    return path


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


# -- whose files are read ----------------------------------------------------------------------------------------------


def test_a_copy_verifies_and_serves_its_own_files(copy: Project) -> None:
    assert copy.verify().packages == 1
    assert copy.load().generate("What is the ratio?")


def test_a_copy_without_its_artifacts_is_not_verified_with_the_originals(copy: Project, finished: Project) -> None:
    shutil.rmtree(copy.root / "mlartifacts")
    with pytest.raises(Tampered, match="is missing"):
        copy.verify()
    assert finished.verify()  # before the copy's log goes on, which this machine would then want to see here too
    with pytest.raises(Tampered, match="is missing"):
        copy.load()


def test_a_file_that_was_altered_in_the_copy_is_named(copy: Project, finished: Project) -> None:
    alter(report(copy))
    with pytest.raises(Tampered, match=r"report\.html has been altered"):
        copy.verify()
    assert finished.verify()


def test_a_file_that_was_altered_in_the_original_is_none_of_the_copys(copy: Project, tmp_path: Path) -> None:
    shutil.copytree(copy.root, tmp_path / "second")
    alter(report(copy))
    assert Project(tmp_path / "second").verify()
    shutil.rmtree(copy.root)
    assert Project(tmp_path / "second").verify()


def test_links_to_the_original_do_not_stand_for_files(copy: Project, finished: Project) -> None:
    shutil.rmtree(copy.root / "mlartifacts")
    (copy.root / "mlartifacts").symlink_to(finished.root / "mlartifacts")
    with pytest.raises(Tampered, match="is a link"):
        copy.verify()
    (copy.root / "mlflow.db").unlink()
    (copy.root / "mlflow.db").symlink_to(finished.root / "mlflow.db")
    with pytest.raises(Tampered, match=r"mlflow\.db is a link"):
        copy.verify()


def test_a_project_that_was_moved_is_whole(copy: Project, tmp_path: Path) -> None:
    assert copy.verify()
    moved = copy.root.rename(tmp_path / "moved")
    assert Project(moved).verify()
    assert Project(moved).load()


def test_so_is_one_whose_parent_was_moved(copy: Project, tmp_path: Path) -> None:
    assert copy.verify()
    (tmp_path / "here").rename(tmp_path / "there")
    assert Project(tmp_path / "there" / "copy").verify()


def test_and_one_that_comes_back_from_an_archive(copy: Project, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "backup.tar", "w") as archive:
        archive.add(copy.root, "claims")
    shutil.rmtree(copy.root)
    with tarfile.open(tmp_path / "backup.tar") as archive:
        archive.extractall(tmp_path / "restored", filter="data")
    restored = Project(tmp_path / "restored" / "claims")
    assert restored.verify()
    alter(report(restored))
    with pytest.raises(Tampered, match=r"report\.html has been altered"):
        restored.verify()


def test_work_goes_on_in_the_copy_and_nothing_reaches_the_original(copy: Project, finished: Project) -> None:
    before = {path: path.read_bytes() for path in finished.root.rglob("*") if path.is_file()}
    copy.promote()
    copy.train(max_steps=4)
    copy.evaluate()
    release = copy.register()
    assert release.version == "2"
    assert (copy.root / "mlartifacts" / release.run_id / "artifacts" / "report.html").is_file()
    assert copy.verify().packages == 2
    assert {path: path.read_bytes() for path in finished.root.rglob("*") if path.is_file()} == before


# -- mounts ------------------------------------------------------------------------------------------------------------


def mount(source: Path, target: Path, *options: str) -> Iterator[Path]:
    target.mkdir(parents=True)
    done = subprocess.run(["mount", "--bind", str(source), str(target)], capture_output=True)
    if done.returncode:
        pytest.skip("mounts are not permitted here; test_a_project_that_was_moved_is_whole has the same effect")
    try:
        if options:
            subprocess.run(["mount", "-o", f"remount,bind,{','.join(options)}", str(target)], check=True)
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


@pytest.fixture
def mounted(copy: Project, tmp_path: Path) -> Iterator[Path]:
    yield from mount(copy.root, tmp_path / "mnt" / "claims")


@pytest.fixture
def mounted_read_only(copy: Project, tmp_path: Path) -> Iterator[Path]:
    yield from mount(copy.root, tmp_path / "mnt" / "claims", "ro")


def test_a_mounted_project_is_whole(mounted: Path, copy: Project) -> None:
    assert Project(mounted).verify()
    alter(report(copy))
    with pytest.raises(Tampered, match=r"report\.html has been altered"):
        Project(mounted).verify()


def test_an_auditor_verifies_and_loads_from_a_read_only_mount_and_the_machine_records_it(
    mounted_read_only: Path, tmp_path: Path
) -> None:
    project = Project(mounted_read_only)
    before = len(project.state().events)
    verified = project.verify()
    assert verified.packages == 1
    log = project.state().recorded_in
    assert any(str(log) in note for note in verified.notes)
    assert project.load().generate("What is a bond?") is not None
    project.history()
    assert project.documents(tmp_path / "documents")
    recorded = Audit(log, f"{log_origin(verified.root)}/read-only")
    events = recorded.check((log.parent / "log.pem.pub").read_text(), {})
    told = [("load", "started"), ("load", "finished"), ("read", "finished")]
    assert [(event.action, event.phase) for event in events][-3:] == told
    assert len(project.state().events) == before
    assert held_checkpoint(verified.root).read_bytes() == project.state().audit.checkpoint()
    with pytest.raises(StepFailed, match="cannot be locked"):
        project.promote()


def test_without_a_log_anywhere_nothing_is_loaded(
    mounted_read_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(mounted_read_only)
    log = project.state().recorded_in
    log.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(Audit, "append", lambda *_, **__: (_ for _ in ()).throw(StepFailed("the disk is full.")))
    with pytest.raises(StepFailed, match="Nothing is done without a record"):
        project.load()


def test_an_auditor_finds_what_was_altered_in_a_read_only_mount(copy: Project, tmp_path: Path) -> None:
    alter(report(copy))
    for mounted in mount(copy.root, tmp_path / "mnt" / "claims", "ro"):
        with pytest.raises(Tampered, match=r"report\.html has been altered"):
            Project(mounted).verify()


def test_the_pages_open_on_a_read_only_mount_too(mounted_read_only: Path, tmp_path: Path) -> None:
    project, port = Project(mounted_read_only), free_port()
    command, variables = project.ui_command(port)
    run = report(project).parents[1].name
    for address in serving(command, port, tmp_path, variables):
        with urllib.request.urlopen(f"{address}/get-artifact?path=report.html&run_uuid={run}") as answer:
            assert answer.read() == report(project).read_bytes()


def test_a_database_that_cannot_be_written_to_is_read_in_a_copy(copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same effect where mounts are not permitted; root may write to any file."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    before = (copy.root / "mlflow.db").stat()
    assert copy.verify()
    after = (copy.root / "mlflow.db").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


NOBODY = 65534


def _look_as_nobody(root: Path, told: Connection) -> None:
    """In another process, as a user whom nothing of the project belongs to."""
    os.environ["SDK_STATE_HOME"] = str(root.parent / "state")
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    said: list[object] = []
    with pytest.raises(InvalidInput, match="cannot be looked into"):
        Project(root / "keys").verify()
    project = Project(root)
    for look in (lambda: project.verify().notes, lambda: len(project.history()), project.load, project.promote):
        try:
            said.append(look())
        except SDKError as error:
            said.append(f"{type(error).__name__} {error.message}")
    state = project.state()
    log = Audit(state.recorded_in, f"{log_origin(state.charter.root)}/read-only")
    told.send([*said, [event.action for event in log.events()]])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")
def test_a_user_who_may_only_read_it_verifies_a_project_and_reads_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 0.1.0's project, whose base every user can read. Its keys stay its owner's, so it cannot be loaded."""
    with folder_in_memory() as folder, tarfile.open(ARCHIVE) as archive:
        monkeypatch.setattr("tempfile.tempdir", str(folder / "tmp"))
        archive.extractall(folder, filter="data")
        for name in ("state", "tmp"):
            (folder / name).mkdir()
            os.chown(folder / name, NOBODY, NOBODY)
        root = folder / "claims"
        monkeypatch.setenv("SDK_STATE_HOME", str(folder / "own"))
        events = len(Project(root).state().events)
        for path in (folder, root, *root.rglob("*")):
            if "keys" not in path.parts:
                path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (0o055 if path.is_dir() else 0))
        (root / "keys").chmod(0o700)  # as a project has it; the archive was packed otherwise
        Project(root).verify()  # everything is imported then: Python itself may lie where others cannot read
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_look_as_nobody, args=(root, there))
        child.start()
        child.join(SECONDS)
        assert child.exitcode == 0
        notes, read, loaded, promoted, recorded = here.recv()
    assert [what for what in ("recorded in", "not compared", "cannot be looked into") if what in str(notes)] == [
        "recorded in",
        "not compared",
        "cannot be looked into",
    ]
    assert read == events
    assert loaded.startswith("Refused") or "belongs to another user" in loaded or "cannot be read" in loaded
    assert promoted.startswith("StepFailed")
    assert "cannot be locked" in promoted
    assert recorded == ["read", "load", "load"]


# -- links in the folder's place ---------------------------------------------------------------------------------------


def test_a_link_is_no_project(copy: Project, other: Project, tmp_path: Path) -> None:
    assert copy.verify()
    copy.root.rename(tmp_path / "away")
    for target in (other.root, tmp_path / "away"):
        copy.root.symlink_to(target)
        for opened in (lambda: Project.open(copy.root), copy.verify, copy.load, copy.history, copy.promote):
            with pytest.raises(InvalidInput, match="is a link"):
                opened()
        with pytest.raises(InvalidInput, match="is a link"):
            Project.create(copy.root)
        answer = CliRunner().invoke(app, ["verify", "--project", str(copy.root)])
        assert answer.exit_code == 2
        copy.root.unlink()
    assert Project(tmp_path / "away").verify()


def test_nor_is_one_that_somebody_stands_in(copy: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(copy.root)
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    for folder in (".", "", f"{tmp_path}/here/../link"):
        with pytest.raises(InvalidInput, match="is a link"):
            Project.open(folder)
    monkeypatch.setenv("PWD", str(copy.root))
    assert Project.open(".").verify()


def test_a_link_above_that_leads_elsewhere_now_is_noticed(copy: Project, other: Project, tmp_path: Path) -> None:
    (tmp_path / "projects").symlink_to(copy.root.parent)
    named = tmp_path / "projects" / "copy"
    assert Project.open(named).verify()
    shutil.copytree(other.root, tmp_path / "elsewhere" / "copy")
    (tmp_path / "projects").unlink()
    (tmp_path / "projects").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Tampered, match="root"):
        Project.open(named)
    assert Project.open(tmp_path / "elsewhere" / "copy")  # by a path of its own it is a project like any other
    with pytest.raises(Tampered, match="leads to another project than before"):
        Project.open(named)
    assert Project.open(copy.root).verify()


def test_the_same_from_within(copy: Project, other: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "projects").symlink_to(copy.root.parent)
    monkeypatch.chdir(tmp_path / "projects" / "copy")
    monkeypatch.setenv("PWD", str(tmp_path / "projects" / "copy"))
    assert Project.open(".")
    shutil.copytree(other.root, tmp_path / "elsewhere" / "copy")
    (tmp_path / "projects").unlink()
    (tmp_path / "projects").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "projects" / "copy")
    with pytest.raises(Tampered, match="root"):
        Project.open(".")


# -- another project in its place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["open", "verify", "history", "members", "explain", "load"])
def test_who_only_looks_remembers_too(copy: Project, other: Project, first: str) -> None:
    assert pinned_root(copy.root) is None
    if first == "open":
        Project.open(copy.root)
    else:
        getattr(copy, first)()
    assert pinned_root(copy.root) == copy.state().charter.root
    shutil.rmtree(copy.root)
    shutil.copytree(other.root, copy.root)
    with pytest.raises(Tampered, match="root"):
        Project(copy.root).verify()


def test_what_could_not_be_opened_is_not_remembered(copy: Project) -> None:
    alter(next((copy.root / "ring").iterdir()))
    with pytest.raises(SDKError):
        Project.open(copy.root)
    assert pinned_root(copy.root) is None


def test_the_owner_who_knows_the_root_may_put_another_there(copy: Project, other: Project) -> None:
    assert Project.open(copy.root)
    shutil.rmtree(copy.root)
    shutil.copytree(other.root, copy.root)
    root = Project.open(other.root).state().charter.root
    with pytest.raises(Tampered, match="root"):
        Project.open(copy.root)
    assert Project.open(copy.root, root=root)
    assert Project.open(copy.root)


def test_the_wrong_root_is_refused_also_at_first_sight(copy: Project, other: Project) -> None:
    root = Project.open(other.root).state().charter.root
    with pytest.raises(Tampered, match="root"):
        Project.open(copy.root, root=root)
    assert pinned_root(copy.root) is None


def test_a_pin_of_an_earlier_version_counts(copy: Project, other: Project) -> None:
    """It stood under the resolved path, as one of the two does now."""
    pin_root(copy.root.resolve(), Project.open(other.root).state().charter.root)
    with pytest.raises(Tampered, match="root"):
        Project.open(copy.root)


def test_a_machine_that_cannot_remember_says_so(copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StepFailed(f"{path} cannot be written: Read-only file system.")

    assert not any("cannot remember" in note for note in copy.verify().notes)
    shutil.rmtree(state_folder() / "projects")
    monkeypatch.setattr("sdk.files.store.write_atomic", full)
    assert any("cannot remember the project" in note for note in copy.verify().notes)
    assert copy.state().find_latest(Release)
