"""A project that version 0.1.0 made still opens, verifies, is loaded and goes on.

tests/data/project-0.1.0.tar.xz: the embedded base under a weakened `default` policy, three steps of rank 1, approved
and promoted; its keys are in it and of no use elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from sdk import Project, Refused, Tampered
from sdk.project.gather import gather
from sdk.records import Advice, Approval, Package, Publication, Record, Release, Run, Scores, Scrubbed
from sdk.seal import PACKAGE
from sdk.serve.admit import Trust, admit_package

ARCHIVE = Path(__file__).parent / "data" / "project-0.1.0.tar.xz"
ROOT = "29725fd337d988040fbd9fdd5ce20a7f4876a06e75e453d5434a9b1ebbce89dc"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))  # of a machine that has never seen the project
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Project.open(tmp_path / "claims")


def test_its_log_its_records_and_its_files_verify(project: Project) -> None:
    verified = project.verify()  # MLflow too, whose database names the folder that it was made in
    assert verified.root == ROOT
    assert (verified.events, verified.records, verified.files, verified.packages, verified.approvals) == (
        24,
        9,
        36,
        1,
        1,
    )
    unseen, unsigned = verified.notes
    assert "holds no checkpoint" in unseen
    assert "names no rules in force" in unsigned
    assert f"sdk adopt --project {project.root}" in unsigned


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE metrics SET value = value + 1 WHERE key = 'train/loss' AND step = 1", "the metric train/loss"),
        ("UPDATE latest_metrics SET value = 0 WHERE key = 'adapted/f1.all'", "last value of the metric adapted/f1.all"),
        ("UPDATE model_versions SET description = replace(description, 'champion', 'approved')", "the description"),
        ("UPDATE model_version_tags SET value = '5 of 5 hold' WHERE key = 'sdk.checks'", "the tag sdk.checks"),
        ("UPDATE tags SET value = 'x' WHERE key = 'sdk.record.run'", "the run's tag sdk.record.run"),
        ("DELETE FROM tags WHERE key = 'sdk.audit_head'", "the run's tag sdk.audit_head"),
        ("INSERT INTO tags SELECT 'mlflow.user', 'Eve', run_uuid FROM runs", "the run's tag mlflow.user"),
    ],
)
def test_what_it_told_mlflow_is_still_compared(project: Project, change: str, named: str) -> None:
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database, database:
        assert database.execute(change).rowcount >= 1
    with pytest.raises(Tampered, match=named):
        project.verify()


@pytest.mark.parametrize("kind", [Advice, Approval, Package, Publication, Release, Run, Scores, Scrubbed])
def test_its_records_are_read_as_they_were_written(project: Project, kind: type[Record]) -> None:
    texts = {path.stem: path.read_bytes() for path in (project.root / "records").iterdir()}
    digests = [digest for digest, text in texts.items() if json.loads(text)["kind"] == kind.__name__.lower()]
    assert digests
    for digest in digests:
        assert project.state().records.get(kind, digest).to_bytes() == texts[digest]


def served(project: Project) -> str:
    """What the champion answers, admitted from files as a machine without the project does."""
    state = project.state()
    release, promotion = state.latest(Release), state.finished("promote")[-1]
    package = state.lineage(Package, release, "package")
    trust = Trust(
        root=state.charter.root,
        base=state.charter.base,
        encryption_key=state.charter.encryption_key,
        keys=state.root,
        served=None,
    )
    folder = state.folder(package) / PACKAGE
    model = admit_package(folder, gather(state, release, promotion), trust, package.package)
    return model.generate("What is the accounting equation?")


def test_its_release_is_served_from_files(project: Project) -> None:
    """Once the owner has signed the rules that it was sealed under, with one command."""
    with pytest.raises(Refused, match=r"names no policy that is in force.*sdk adopt"):
        served(project)
    project.adopt()
    state = project.state()
    assert (len(state.rings), state.ring.rules is not None, state.ring.log is not None) == (3, True, True)
    assert not any("names no rules" in note for note in project.verify().notes)
    assert served(project)
    project.adopt()  # nothing is left to sign
    assert len(project.state().rings) == 3


def test_its_rings_keep_their_digests(project: Project) -> None:
    assert project.state().rings[0].digest == ROOT


def test_its_policies_keep_their_digests(project: Project) -> None:
    names = [path.stem for path in (project.root / "policies").iterdir()]
    assert names
    assert [project.state().policy_of(name).digest for name in names] == names


def test_its_release_is_loaded_and_shown_where_it_lies_now(project: Project) -> None:
    project.adopt()
    assert project.load().generate("What is the accounting equation?")
    release = project.state().latest(Release)
    report = project.root / "mlartifacts" / release.run_id / "artifacts" / "report.html"
    report.write_bytes(report.read_bytes()[:-1])
    with pytest.raises(Tampered, match=r"report\.html has been altered"):
        project.load()


def test_its_training_goes_on(project: Project) -> None:
    before = project.state().latest(Run)
    after = project.train(resume=before, max_steps=4)
    assert (after.steps, after.inputs["resume"]) == (4, before.digest)
    assert project.state().latest(Run) == after
