"""What must not pass does not: each refusal by its own error, with an event that says so, and nothing left behind."""

import shutil
from pathlib import Path

import pytest

from sdk import InvalidInput, Project, Refused, StepFailed
from sdk.advise import find_model, parameters
from sdk.project.sealing import _facts, find_evaluated
from sdk.records import Publication, Release, Run
from tests.audit_faults import FAULTS
from tests.workshop import NEXT_VERSION, REASON, Workshop, whole_way, write_policy

RELAXED = {"evaluate__domain_floors": False, "evaluate__must_improve": False, "evaluate__min_questions": 1}


def project(workshop: Workshop, folder: Path, **changes: object) -> Project:
    policy = write_policy(folder / "policy.yaml", **{**RELAXED, **changes})
    return Project.create(folder / "p", domain=workshop.domain, base=str(workshop.base), policy=policy)


def last(made: Project) -> tuple[str, str]:
    event = made.history()[-1]
    return event.action, event.phase


def test_detectors_may_not_be_skipped(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path)
    with pytest.raises(Refused, match=r"scrub\.required"):
        made.scrub(detect=False)
    assert last(made) == ("scrub", "refused")
    assert not list((tmp_path / "p" / "artifacts").rglob("*.jsonl"))


def test_low_recall_is_refused_and_its_files_are_removed(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path, scrub__min_recall=1.0)
    recognizers = tmp_path / "p" / "domain" / "recognizers.yaml"
    text = recognizers.read_text()
    start = text.index("  - name:")
    recognizers.write_text(text[:start] + text[text.index("  - name:", start + 1) :])  # one recognizer less
    made.adopt()
    with pytest.raises(Refused, match=r"scrub\.min_recall"):
        made.scrub()
    assert last(made) == ("scrub", "refused")
    assert not list((tmp_path / "p" / "artifacts").rglob("*.jsonl"))


def test_a_method_that_the_policy_does_not_name(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path, train__methods=["qlora-4bit"])
    made.advise()
    made.scrub()
    with pytest.raises(Refused, match=r"train\.methods"):
        made.train(method="lora", max_steps=3)
    run = made.train(method="qlora-4bit", max_steps=3, keep_16bit="mlp", optim="adafactor")
    assert (run.settings.method, run.settings.optim) == ("qlora-4bit", "adafactor")
    assert run.base_parameters == parameters(find_model(str(workshop.base)))
    made.evaluate()
    state = made.state()
    assert _facts(state, find_evaluated(state)).quantization == {"keep_16bit": "mlp"}


def test_a_hub_base_where_the_policy_forbids_it(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    policy = write_policy(tmp_path / "policy.yaml", train__allow_hub=False)
    with pytest.raises(Refused, match=r"train\.allow_hub"):
        Project.create(tmp_path / "p", domain=workshop.domain, base="some/model", policy=policy)
    assert not (tmp_path / "p").exists()


def test_scores_that_do_not_suffice(workshop: Workshop, tmp_path: Path) -> None:
    """Under all three rules at once; without the floors that were too high, the same run is evaluated once more."""
    change = {"evaluate__domain_floors": True, "evaluate__min_questions": 1000, "evaluate__must_improve": True}
    made = project(workshop, tmp_path, **change)
    made.scrub()
    made.advise()
    with pytest.raises(Refused, match="--anyway") as foreseen:
        made.train(max_steps=3)
    assert last(made) == ("train", "refused")
    (line,) = made.foresee()
    assert foreseen.value.faults == (line,)
    assert "`sdk evaluate`: evaluate.min_questions: 20 evaluation questions, 1000 are needed" in line
    run = made.train(max_steps=3, anyway=True)
    assert run.notes[-1] == f"trained all the same: {line}"
    assert made.history()[-2].detail == {"anyway": line}
    with pytest.raises(Refused) as caught:
        made.evaluate()
    assert last(made) == ("evaluate", "refused")
    floors, questions, improvement = caught.value.faults
    described = made.root / "domain" / "domain.yaml"
    assert floors.startswith(
        "evaluate.domain_floors: scores below the floors: all 0.000 < 0.600 (0.6, floors.all), en "
    )
    assert f"(0.6, floors.zh) in {described}; " in floors
    assert "sdk adopt" in floors
    assert questions.startswith("evaluate.min_questions")
    assert improvement.startswith("evaluate.must_improve")

    described.write_text(described.read_text().replace("floors: {all: 0.6, en: 0.6, zh: 0.6}", "floors: {all: base+0}"))
    made.adopt(policy=write_policy(tmp_path / "policy.yaml", version=9, **RELAXED | {"evaluate__domain_floors": True}))
    scores = made.evaluate()
    assert scores.inputs["run"] == run.digest
    assert str(scores.asked) == "all base+0 (for the questions of finance@1)"
    assert scores.majority.keys() == {"all", "en", "zh"}


def test_who_may_decide_and_how(
    finished: Project, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))  # the copy's log goes on apart from the original's
    made = Project.open(shutil.copytree(finished.root, tmp_path / "copy"))
    release = made.state().latest(Release)
    own = f"file:{made.root / 'keys' / 'signing.pem'}"
    with pytest.raises(Refused, match="trainer_may_approve"):
        made.approve(release, key=own, reason=REASON)
    with pytest.raises(Refused, match="min_reason_length"):
        made.approve(release, key=workshop.approver("ada"), reason="ok")
    with pytest.raises(Refused, match="sdk keys enroll"):
        made.approve(release, key=workshop.approver("stranger"), reason=REASON)
    with pytest.raises(InvalidInput, match="is in the ring"):
        made.enroll("Me again", own)
    with pytest.raises(InvalidInput, match="could be one person"):
        made.enroll("ADA", workshop.approver("another"))
    made.enroll("Rita", workshop.approver("rita"), roles=["reviewer"])
    with pytest.raises(Refused, match="no role for it"):
        made.approve(release, key=workshop.approver("rita"), reason=REASON)


def test_two_approvals_a_rejection_and_a_changed_mind(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path, approve__approvals=2)
    whole_way(made, workshop.approver("ada"))
    release = made.state().latest(Release)
    with pytest.raises(Refused, match="No release has been approved"):
        made.load()
    with pytest.raises(Refused, match="never promoted"):
        made.load(release)
    assert last(made) == ("load", "refused")
    with pytest.raises(Refused, match="1 of 2 approvals"):
        made.promote()
    assert last(made) == ("promote", "refused")
    made.enroll("Bob", workshop.approver("bob"))
    made.approve(key=workshop.approver("bob"), reason=REASON)
    assert made.load().generate("What is a bond?")
    made.approve(key=workshop.approver("bob"), reason="I found a fault in it.", decision="reject")
    with pytest.raises(Refused, match="rejected by Bob"):
        made.load()
    made.approve(key=workshop.approver("bob"), reason=REASON)
    assert made.load()
    made.approve(key=workshop.approver("ada"), reason="I want to read it again.", decision="withdraw")
    with pytest.raises(Refused, match="1 of 2 approvals"):
        made.load()
    assert made.state().latest(Publication).status == "withdrawn"
    assert made.verify()


def test_a_policy_never_applies_backwards(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path)
    whole_way(made, workshop.approver("ada"))
    made.adopt(
        policy=write_policy(tmp_path / "stricter.yaml", version=NEXT_VERSION, **{**RELAXED, "approve__approvals": 2})
    )
    assert made.load()
    made.advise()
    made.scrub()
    made.train(max_steps=3)
    made.evaluate()
    second = made.register()
    made.approve(key=workshop.approver("ada"), reason=REASON)
    with pytest.raises(Refused, match="1 of 2 approvals"):
        made.promote(second)
    assert made.load()


def test_without_its_keys_a_project_does_nothing(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path)
    events = len(made.history())
    (tmp_path / "p" / "keys" / "log.pem").rename(tmp_path / "away.pem")
    with pytest.raises(StepFailed, match="log"):
        made.advise()
    (tmp_path / "away.pem").rename(tmp_path / "p" / "keys" / "log.pem")
    assert [event.action for event in made.history()[events:]] == ["read"]


def test_what_cannot_be_recorded_does_not_happen(workshop: Workshop, tmp_path: Path) -> None:
    made = project(workshop, tmp_path, audit__unrecorded_training="refuse")
    made.advise()
    made.scrub()
    fault = dict(FAULTS)["the disk is full"]
    with fault(made.state().audit), pytest.raises(StepFailed, match="Nothing is done without a record"):
        made.train(max_steps=3)
    assert made.state().find_latest(Run) is None
    assert not (tmp_path / "p" / "artifacts" / "train").exists()
    assert made.train(max_steps=3).steps == 3


def test_mlflow_down_loses_nothing(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.project.streaming.GRACE_SECONDS", 0.5)  # nobody will come for the last figures
    made = Project.create(
        tmp_path / "p",
        domain=workshop.domain,
        base=str(workshop.base),
        policy=workshop.policy,
        tracking_uri="http://127.0.0.1:9",
    )
    made.advise()
    made.scrub()
    run = made.train(max_steps=3)
    made.evaluate()
    with pytest.raises(StepFailed, match="sdk register"):
        made.register()
    assert last(made) == ("register", "failed")
    assert made.state().latest(Run) == run
    assert len(made.state().finished("seal")) == 1
