"""The whole way, its order, its repetition and its interruption."""

import os
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sdk import InvalidInput, OutOfOrder, Project, Refused, Tampered
from sdk.audit import Event, account
from sdk.documents import documents
from sdk.project.showing import dossier, people_of
from sdk.records import Package, Release, Run, Scrubbed
from tests import warm
from tests.waiting import SECONDS, wait_until
from tests.workshop import Workshop, raised, whole_way


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


def test_documents_name_persons_and_no_place_of_this_machine(finished: Project, workshop: Workshop) -> None:
    state = finished.state()
    known = dossier(state)
    (trainer,) = (member.name for member in finished.members() if "trainer" in member.roles)
    assert known.people == {account(): trainer}  # who sealed with whose key
    texts = documents(replace(known, people=people_of(state, dict.fromkeys((account(), trainer), "Theo Trainer"))))
    for text in texts.values():
        assert [place for place in (workshop.folder, finished.root, workshop.base) if str(place) in text] == []
        assert re.findall(rf"\| (?:account )?{account()} \|", text) == []
    assert "signed by | Theo Trainer, key" in texts["model-card.md"]
    assert re.search(r"^\| `train` \|.*\| Theo Trainer \|$", texts["sr-26-2.md"], re.MULTILINE)


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


@pytest.mark.parametrize("steps", [1, 2])
def test_a_smoke_test_of_a_step_or_two_goes_the_whole_way(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(finished.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    assert project.train(max_steps=steps).steps == steps
    assert project.evaluate().adapted["all"].questions
    assert project.register().version == "2"


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
    with pytest.raises(Tampered, match=r"policy\.yaml.*sdk adopt"):
        project.advise()
    with pytest.raises(InvalidInput, match="raise the policy's version"):
        project.adopt()
    path.write_text(raised(path.read_text()))
    project.adopt()
    assert project.state().policy().approve.approvals == 2
    assert project.advise()
    assert [event.action for event in project.history()].count("init") == 4
    described = project.root / "domain" / "domain.yaml"
    described.write_text(described.read_text() + "keep: {terms: [Rankin], patterns: ['NCT[0-9]{8}']}\n")
    with pytest.raises(Tampered, match=r"domain\.yaml.*sdk adopt"):
        project.advise()
    project.adopt()
    kept = project.state().domain().keep
    assert kept.holds("NCT01234567")
    assert [event.detail["keep"] for event in project.history() if "keep" in event.detail] == [kept.brief()]
    assert "Rankin" not in kept.brief()


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


class Hold:
    """on_progress that stops there for good, once it says so by a file."""

    def __init__(self, what: str, done: int, reached: Path) -> None:
        self.what, self.done, self.reached = what, done, reached

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if what == self.what and done >= self.done:
            self.reached.touch()
            while True:
                signal.pause()


STEPS = 12
# step -> the progress at which its process is held; sealing tells none, so the next step's first
HELD = {
    "scrub": ("scrub", 1),
    "train": ("train", STEPS // 2),
    "evaluate": ("generate (adapted)", 0),
    "seal": ("run", 0),
    "register": ("artifacts", 3),
}


def calls(root: Path, hold: Hold) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without it
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    project = Project.open(root, on_progress=hold)
    project.advise()
    project.scrub()
    project.train(max_steps=STEPS)
    project.evaluate()
    project.register()


def stop_in(step: str, project: Project, reached: Path, how: signal.Signals) -> None:
    """Make the calls in a process of their own, and send it a signal in the middle of the step."""
    process = warm.context().Process(target=calls, args=(project.root, Hold(*HELD[step], reached)))
    process.start()
    begun, log = f'"action":"{step}"'.encode(), project.root / "audit"

    def there() -> bool:
        return reached.exists() or (step == "seal" and any(begun in path.read_bytes() for path in log.glob("events-*")))

    wait_until(there, process.is_alive)
    assert process.pid
    os.kill(process.pid, how)
    process.join(SECONDS)
    assert process.exitcode, f"the process ended before it could be stopped in {step}"


@pytest.mark.parametrize("step", HELD)
def test_killed_anywhere_the_same_calls_go_on(workshop: Workshop, tmp_path: Path, step: str) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    stop_in(step, project, tmp_path / "reached", signal.SIGKILL)
    project.advise()
    project.scrub()
    run = project.train(max_steps=STEPS)
    project.evaluate()
    release = project.register()
    assert run.steps == STEPS
    assert project.verify().packages == 1
    versions = client(project).search_model_versions("name='p'")
    assert [str(version.version) for version in versions] == [release.version] == ["1"]
    runs = client(project).search_runs([release.experiment_id])
    assert [found.info.run_id for found in runs] == [release.run_id]
    losses = client(project).get_metric_history(release.run_id, "Loss/train")
    assert len({point.step for point in losses}) == len(losses) == len(run.losses)


def test_ctrl_c_is_recorded_and_the_step_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    stop_in("train", project, tmp_path / "reached", signal.SIGINT)
    last = project.history()[-1]
    assert (last.action, last.phase, last.detail) == ("train", "failed", {"error": "KeyboardInterrupt"})
    assert project.train(max_steps=STEPS).steps == STEPS


class Swallowed:
    """on_progress into which Ctrl-C falls once, and which drops it."""

    def __init__(self) -> None:
        self.came = 0

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if not self.came:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                signal.sigtimedwait([], 5)  # it is told of between two lines
            except KeyboardInterrupt:
                self.came += 1


def test_ctrl_c_that_is_dropped_ends_the_step(workshop: Workshop, tmp_path: Path) -> None:
    root = tmp_path / "p"
    Project.create(root, domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for step in ("scrub", "train", "evaluate"):
            swallowed = Swallowed()
            project = Project.open(root, on_progress=swallowed)
            call = partial(getattr(project, step), **({"max_steps": 4} if step == "train" else {}))
            with pytest.raises(KeyboardInterrupt):
                call()
            assert swallowed.came == 1
            last = project.history()[-1]
            assert (last.action, last.phase, last.detail) == (step, "failed", {"error": "KeyboardInterrupt"})
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if step == "scrub":
                call()
                project.advise()
            elif step == "train":
                assert call().steps == 4
    finally:
        signal.signal(signal.SIGINT, before)


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
