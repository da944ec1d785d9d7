"""The whole way, its order, its repetition and its interruption."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from workshop import Workshop, whole_way

from sdk import InvalidInput, OutOfOrder, Project, Refused, Tampered
from sdk.records import Package, Release, Run, Scrubbed


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root.resolve()}/mlflow.db")


def test_the_whole_way_leaves_what_it_promises(finished: Project) -> None:
    phases = [(event.action, event.phase) for event in finished.history()]
    steps = ["init", "advise", "scrub", "train", "evaluate", "seal", "register", "enroll", "approve", "promote"]
    assert phases[: 2 * len(steps)] == [(step, phase) for step in steps for phase in ("started", "finished")]
    trail = finished.trail()
    package, release = trail.latest(Package, "seal"), trail.latest(Release, "register")
    assert package.encrypted
    version = client(finished).get_model_version_by_alias("finished", "champion")
    assert str(version.version) == release.version
    assert version.tags["sdk.package"] == package.package
    assert {"candidate", "champion"} <= set(version.aliases)
    run = client(finished).get_run(release.run_id)
    assert run.info.status == "FINISHED"
    assert "path" not in run.data.params
    assert not list(finished.root.rglob("adapter_model.safetensors"))
    assert finished.verify().approvals == 1


def test_a_loaded_model_answers_and_loading_is_an_event(finished: Project) -> None:
    answers = finished.load().generate(["What is a bond?", "什么是债券?"])
    assert len(answers) == 2
    assert [event.phase for event in finished.history() if event.action == "load"][-2:] == ["started", "finished"]


def test_the_same_command_again_does_nothing_again(finished: Project, workshop: Workshop) -> None:
    before = [event for event in finished.history() if event.action != "load"]
    versions = client(finished).search_model_versions("")
    whole_way(finished, workshop.approver("ada"))
    assert [event for event in finished.history() if event.action != "load"] == before
    assert [v.version for v in client(finished).search_model_versions("")] == [v.version for v in versions]


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("train", "sdk advise"),
        ("evaluate", "sdk train"),
        ("register", "sdk evaluate"),
        ("preview", "sdk advise"),
        ("load", "sdk approve"),
    ],
)
def test_a_step_without_its_input_names_the_verb(workshop: Workshop, tmp_path: Path, verb: str, missing: str) -> None:
    project = Project.create(tmp_path / "new", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    with pytest.raises((OutOfOrder, Refused), match=missing):
        getattr(project, verb)()


def test_folders_that_are_no_projects(tmp_path: Path, finished: Project) -> None:
    with pytest.raises(OutOfOrder, match="sdk init"):
        Project.open(tmp_path)
    with pytest.raises(InvalidInput, match="not empty"):
        Project.create(finished.root)
    with pytest.raises(InvalidInput, match="finance"):
        Project.create(tmp_path / "x", domain="nothing")
    with pytest.raises(InvalidInput, match="hipaa"):
        Project.create(tmp_path / "x", policy="nothing")
    with pytest.raises(InvalidInput, match="credentials"):
        Project.create(tmp_path / "x", tracking_uri="http://me:word@127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


def test_edits_count_after_they_were_adopted(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    path = project.root / "policy.yaml"
    path.write_text(path.read_text().replace("approvals: 1", "approvals: 2"))
    with pytest.raises(Tampered, match=r"policy\.yaml.*--adopt"):
        project.advise()
    project.adopt()
    assert project.trail().policy().approve.approvals == 2
    assert project.advise()
    assert [event.action for event in project.history()].count("init") == 4


def test_a_setting_asked_for_again_becomes_the_newest_again(workshop: Workshop) -> None:
    project = workshop.project("again")
    project.advise()
    project.scrub()
    first = project.train(max_steps=3)
    second = project.train(max_steps=4)
    assert project.trail().latest(Run, "train") == second
    assert project.train(max_steps=3) == first
    assert project.trail().latest(Run, "train") == first
    with pytest.raises(InvalidInput, match="lora_r"):
        project.train(lora_r=0)
    project.evaluate()
    project.train(max_steps=4)
    with pytest.raises(OutOfOrder, match="sdk evaluate"):
        project.register()


CALLS = """
import sys
from sdk import Project
project = Project.open(sys.argv[1])
project.advise(); project.scrub(); project.train(max_steps=40); project.evaluate(); project.register()
"""


def stop_in(step: str, delay: float, how: int, project: Project) -> None:
    """Run the calls in a process of their own and stop it so long after the step began."""
    process = subprocess.Popen([sys.executable, "-c", CALLS, str(project.root)], stderr=subprocess.DEVNULL)
    begun = f'"action":"{step}"'.encode()
    while process.poll() is None and begun not in project.trail().audit.path.read_bytes():
        time.sleep(0.01)
    time.sleep(delay)
    assert process.poll() is None, f"the process ended before it could be stopped in {step}"
    process.send_signal(how)
    process.wait(timeout=120)


@pytest.mark.parametrize(
    ("step", "delay"), [("scrub", 0.5), ("train", 0.7), ("evaluate", 0.05), ("seal", 0.0), ("register", 0.15)]
)
def test_killed_anywhere_the_same_calls_go_on(workshop: Workshop, tmp_path: Path, step: str, delay: float) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    stop_in(step, delay, signal.SIGKILL, project)
    project.advise()
    project.scrub()
    run = project.train(max_steps=40)
    project.evaluate()
    release = project.register()
    assert run.steps == 40
    assert project.verify().packages == 1
    versions = client(project).search_model_versions("name='p'")
    assert [str(version.version) for version in versions] == [release.version] == ["1"]
    runs = client(project).search_runs([release.experiment_id])
    assert [found.info.run_id for found in runs] == [release.run_id]
    losses = client(project).get_metric_history(release.run_id, "train/loss")
    assert len({point.step for point in losses}) == len(losses) == len(run.losses)


def test_ctrl_c_is_recorded_and_the_step_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    stop_in("train", 0.7, signal.SIGINT, project)
    last = project.history()[-1]
    assert (last.action, last.phase, last.detail) == ("train", "failed", {"error": "KeyboardInterrupt"})
    assert project.train(max_steps=40).steps == 40


def test_users_own_rows_are_scrubbed_and_recall_is_still_measured(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    data = tmp_path / "mine.csv"
    data.write_text("instruction,output\nWhat is a REIT?,a trust\nMr. John Carter asks about bonds,a loan\n")
    scrubbed = project.scrub(data)
    assert scrubbed.rows["train"] == 2
    assert scrubbed.formats["train"] == "alpaca in CSV"
    assert scrubbed.counts["PERSON"] >= 1
    assert scrubbed.recall_planted.planted > 0
    assert project.trail().latest(Scrubbed, "scrub") == scrubbed
