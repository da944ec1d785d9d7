"""The whole way, its order, its repetition and its interruption."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sdk import InvalidInput, OutOfOrder, Project, Refused, Tampered
from sdk.audit import Event
from sdk.records import Package, Release, Run, Scrubbed
from tests.workshop import Workshop, whole_way


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root.resolve()}/mlflow.db")


def test_the_whole_way_leaves_what_it_promises(finished: Project) -> None:
    phases = [(event.action, event.phase) for event in finished.history()]
    steps = ["init", "advise", "scrub", "train", "evaluate", "seal", "register", "publish", "enroll", "approve"]
    steps += ["promote", "publish"]
    assert phases[: 2 * len(steps)] == [(step, phase) for step in steps for phase in ("started", "finished")]
    state = finished.state()
    package, release = state.latest(Package), state.latest(Release)
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
    def done() -> list[Event]:  # looking at them is an event too
        return [event for event in finished.history() if event.action not in ("load", "read")]

    before = done()
    versions = client(finished).search_model_versions("")
    whole_way(finished, workshop.approver("ada"))
    kept = [(event.action, event.objects) for event in before]
    assert [(event.action, event.objects) for event in done()] == kept
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
    assert project.state().policy().approve.approvals == 2
    assert project.advise()
    assert [event.action for event in project.history()].count("init") == 4


def test_a_setting_asked_for_again_becomes_the_newest_again(workshop: Workshop) -> None:
    project = workshop.project("again")
    project.advise()
    project.scrub()
    first = project.train(max_steps=3)
    second = project.train(max_steps=4)
    assert project.state().latest(Run) == second
    assert project.train(max_steps=3) == first
    assert project.state().latest(Run) == first
    with pytest.raises(InvalidInput, match="lora_r"):
        project.train(lora_r=0)
    project.evaluate()
    project.train(max_steps=4)
    with pytest.raises(OutOfOrder, match="sdk evaluate"):
        project.register()


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes that have imported everything already: importing takes longer than the steps."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["sdk.scrub", "sdk.train.worker", "sdk.evaluate", "sdk.registry"])
    return made


def calls(root: Path | str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    project = Project.open(root)
    project.advise()
    project.scrub()
    project.train(max_steps=40)
    project.evaluate()
    project.register()


def kill_in(step: str, delay: float, project: Project, context: ForkServerContext) -> None:
    """Run the calls in a process of their own and kill it so long after the step began."""
    process = context.Process(target=calls, args=(project.root,))
    process.start()
    wait_for(step, project, process.is_alive)
    time.sleep(delay)
    assert process.is_alive(), f"the process ended before it could be stopped in {step}"
    process.kill()
    process.join(120)


def wait_for(step: str, project: Project, is_alive: Callable[[], bool]) -> None:
    begun, log = f'"action":"{step}"'.encode(), project.root / "audit"
    while is_alive() and not any(begun in path.read_bytes() for path in log.glob("events-*")):
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("step", "delay"), [("scrub", 0.2), ("train", 0.7), ("evaluate", 0.05), ("seal", 0.0), ("register", 0.15)]
)
def test_killed_anywhere_the_same_calls_go_on(
    workshop: Workshop, tmp_path: Path, context: ForkServerContext, step: str, delay: float
) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    kill_in(step, delay, project, context)
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
    call = f"from test_flow import calls; calls({str(project.root)!r})"
    process = subprocess.Popen([sys.executable, "-c", call], cwd=Path(__file__).parent)
    wait_for("train", project, lambda: process.poll() is None)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
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
    assert project.state().latest(Scrubbed) == scrubbed
