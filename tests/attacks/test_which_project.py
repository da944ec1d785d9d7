"""Which project lies in a folder, and whose files are read: after a move, a copy, a link, another one in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdk import InvalidInput, Project, SDKError, StepFailed, Tampered
from sdk.cli.app import app
from sdk.records import Release
from sdk.store import pin_root, pinned_root, state_folder
from tests.servers import free_port, serving
from tests.workshop import Workshop


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


def test_an_auditor_verifies_a_read_only_mount_and_loads_nothing_unrecorded(mounted_read_only: Path) -> None:
    assert Project(mounted_read_only).verify().packages == 1
    with pytest.raises(StepFailed, match="read-only"):
        Project(mounted_read_only).load()


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
    monkeypatch.setattr("sdk.store.write_atomic", full)
    assert any("cannot remember the project" in note for note in copy.verify().notes)
    assert copy.state().find_latest(Release)
