"""Nobody walks around it: keys, promotion, rollback, loading with and without the project, faults of the log."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from sdk import InvalidInput, OutOfOrder, Project, Refused, SDKError, StepFailed, Tampered, crypto, load_release
from sdk.files.store import held_checkpoint
from sdk.project.gather import gather
from sdk.records import Package, Release, Run
from sdk.serve.admit import admit
from sdk.serve.evidence import write_evidence
from tests.audit_faults import FAULTS
from tests.copies import copy_with_mlflow
from tests.workshop import NEXT_VERSION, REASON, Workshop, whole_way, write_policy

RELAXED = {"evaluate__domain_floors": False, "evaluate__must_improve": False, "evaluate__min_questions": 1}


def client(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root.resolve()}/mlflow.db")


def champion(project: Project) -> str:
    return str(client(project).get_model_version_by_alias(project.root.name, "champion").version)


@pytest.fixture(scope="module")
def made(workshop: Workshop) -> Project:
    return two_releases(workshop)


def two_releases(workshop: Workshop) -> Project:
    """Both approved, the second one the champion."""
    project = workshop.project("two")
    whole_way(project, workshop.approver("ada"))
    project.train(max_steps=4)
    project.evaluate()
    project.register()
    project.approve(key=workshop.approver("ada"), reason=REASON)
    return project


@pytest.fixture
def copied(made: Project, tmp_path: Path) -> Project:
    """A copy to do harm to."""
    return copy(made, tmp_path / "two")


def copy(project: Project, folder: Path) -> Project:
    copy_with_mlflow(project.root, folder)
    return Project.open(folder)


@pytest.fixture(autouse=True)
def _own_memory(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine remembers, as it is now: copies of one project share a root, and each goes its own way."""
    held = held_checkpoint(made.state().charter.root).read_bytes()
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    held_checkpoint(made.state().charter.root).write_bytes(held)


def release_folder(project: Project, folder: Path) -> Path:
    """As MLflow gives it out."""
    state = project.state()
    promoted = state.finished("promote")[-1]
    release = state.records.get(Release, promoted.objects["release"])
    sealed = state.folder(state.lineage(Package, release, "package"))
    shutil.copytree(sealed / "package", folder / "package")
    write_evidence(gather(state, release, promoted), folder / "governance")
    return folder


# -- promotion and rollback --------------------------------------------------------------------------------------------


def test_rollback_is_one_command_with_its_events(copied: Project) -> None:
    first, second = copied.state().all(Release)[:2]
    assert champion(copied) == second.version
    told = copied.promote(first.package[:12])
    assert (told.status, champion(copied)) == ("champion", first.version)
    events = [(event.action, event.phase) for event in copied.history()][-6:]
    assert events == [(step, phase) for step in ("promote", "publish", "publish") for phase in ("started", "finished")]
    tags = {v.version: v.tags["sdk.status"] for v in client(copied).search_model_versions("")}
    assert {str(version): status for version, status in tags.items()} == {
        first.version: "champion",
        second.version: "approved",
    }
    assert copied.load().generate("What is a bond?")
    assert copied.history()[-1].objects["package"] == first.package
    copied.promote(second)
    assert champion(copied) == second.version
    assert copied.verify().approvals == 2


def test_a_digest_that_names_nothing_lists_what_there_is(copied: Project) -> None:
    with pytest.raises(InvalidInput, match="version 1") as error:
        copied.promote("feed")
    assert len(error.value.faults) == 2


def test_an_alias_moved_by_hand_is_found_and_promoting_sets_it_back(copied: Project) -> None:
    first, second = copied.state().all(Release)[:2]
    client(copied).set_registered_model_alias("two", "champion", first.version)
    with pytest.raises(Tampered, match=f"version {first.version}.*version {second.version}"):
        copied.verify()
    with pytest.raises(Tampered, match="champion"):
        copied.load()
    copied.promote()
    assert champion(copied) == second.version
    assert copied.verify()


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "counts"), [("left", True), ("superseded", True), ("compromised", False)])
def test_a_revoked_approver(copied: Project, workshop: Workshop, reason: str, counts: bool) -> None:
    copied.revoke("Ada", reason=reason)  # type: ignore[arg-type]
    if counts:
        assert copied.load()
    else:
        with pytest.raises(Refused, match="compromised"):
            copied.load()
    with pytest.raises(Refused, match="revoked"):
        copied.approve(key=workshop.approver("ada"), reason="I would like to approve it once more.")
    assert copied.verify()


def test_only_an_owner_changes_the_ring(copied: Project, workshop: Workshop, tmp_path: Path) -> None:
    (copied.root / "keys" / "owner.pem").rename(tmp_path / "away.pem")
    with pytest.raises(InvalidInput, match="owner"):
        copied.enroll("Eve", workshop.approver("eve"))
    shutil.copy(workshop.folder / "ada.pem", copied.root / "keys" / "owner.pem")
    with pytest.raises(Tampered, match="is not a key of the project's owner in the key ring"):
        copied.enroll("Eve", workshop.approver("eve"))
    assert copied.state().ring.find(crypto.open_signer(workshop.approver("eve")).fingerprint) is None


@pytest.mark.parametrize("kind", ["signing", "log", "encryption", "owner"])
def test_every_key_of_the_project_can_be_rotated(
    copied: Project, workshop: Workshop, tmp_path: Path, kind: str
) -> None:
    new = {"log": crypto.LogKey, "encryption": crypto.Secret}.get(kind, crypto.SigningKey).random()
    crypto.save_key(new, tmp_path / "new.key")
    weights = {path: path.read_bytes() for path in copied.root.rglob("*.floe")}
    before = copied.state().secret().key_id
    member = copied.rotate(kind, f"file:{tmp_path / 'new.key'}")  # type: ignore[arg-type]
    assert copied.state().secret().key_id == before
    old = [one for one in copied.members() if one.roles == member.roles and one.key_id != member.key_id]
    assert [one.revoked.reason for one in old if one.revoked] == ["superseded"]
    assert copied.verify()
    assert copied.load().generate("What is a bond?")
    copied.enroll("Bob", workshop.approver("bob"))
    if kind in ("signing", "encryption"):
        copied.train(max_steps=5)
        copied.evaluate()
        third = copied.register()
        copied.approve(key=workshop.approver("ada"), reason=REASON)
        assert (champion(copied), copied.verify().packages) == (third.version, 3)
    assert {path: path.read_bytes() for path in weights} == weights
    if kind == "encryption":  # the old key is of no use any more, and the project does not need it
        (copied.root / "keys" / "encryption.key").unlink()
        assert copied.load()
        assert copied.verify()


@pytest.mark.parametrize("kind", ["log", "encryption"])
def test_a_key_that_the_project_needs_is_rotated_before_it_is_revoked(
    copied: Project, tmp_path: Path, kind: str
) -> None:
    old = next(one for one in copied.members() if kind in one.roles)
    with pytest.raises(InvalidInput, match=f"rotate {kind}"):
        copied.revoke(old.key_id, reason="compromised")
    crypto.save_key((crypto.LogKey if kind == "log" else crypto.Secret).random(), tmp_path / "new.key")
    copied.rotate(kind, f"file:{tmp_path / 'new.key'}")  # type: ignore[arg-type]
    copied.revoke(old.key_id, reason="compromised")
    assert copied.load()
    assert copied.verify()


def test_a_second_owner_takes_over_when_the_first_key_is_lost(copied: Project, workshop: Workshop) -> None:
    copied.enroll("Olga", workshop.approver("olga"), roles=["owner"])
    (copied.root / "keys" / "owner.pem").unlink()
    with pytest.raises(InvalidInput, match="owner"):
        copied.enroll("Bob", workshop.approver("bob"))
    copied.rotate("owner", workshop.approver("olga"))
    copied.enroll("Bob", workshop.approver("bob"))
    copied.revoke("owner", reason="left")
    assert copied.load()
    assert copied.verify()


def test_without_the_wrapping_key_a_package_stays_closed(copied: Project) -> None:
    """Crypto-shredding."""
    (copied.root / "keys" / "encryption.key").unlink()
    with pytest.raises(SDKError, match="encryption"):
        copied.load()
    crypto.save_key(crypto.Secret.random(), copied.root / "keys" / "encryption.key")
    with pytest.raises(Tampered, match="encryption"):
        copied.load()


# -- the whole project replaced or turned back -------------------------------------------------------------------------


def test_another_project_in_its_place_is_noticed(copied: Project, workshop: Workshop) -> None:
    root = copied.state().charter.root
    copied.promote()
    shutil.rmtree(copied.root)
    shutil.copytree(workshop.project("other-" + copied.root.parent.name).root, copied.root)
    with pytest.raises(Tampered, match="root"):
        Project.open(copied.root)
    with pytest.raises(Tampered, match="root"):
        Project.open(copied.root, root=root)


def test_a_log_that_was_turned_back_with_everything_else_is_noticed(copied: Project, tmp_path: Path) -> None:
    shutil.copytree(copied.root, tmp_path / "backup")
    first = copied.state().all(Release)[0]
    copied.promote(first)
    shutil.rmtree(copied.root)
    shutil.copytree(tmp_path / "backup", copied.root)
    with pytest.raises(Tampered, match="holds a checkpoint of"):
        copied.load()


def test_another_holder_elsewhere_notices_too(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    head = tmp_path / "elsewhere" / "head"
    project = Project.create(
        tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy, heads=[head]
    )
    project.advise()
    shutil.copytree(project.root / "audit", tmp_path / "audit")
    project.enroll("Bob", workshop.approver("bob"))
    held_checkpoint(project.state().charter.root).unlink()
    shutil.rmtree(project.root / "audit")
    shutil.copytree(tmp_path / "audit", project.root / "audit")
    with pytest.raises(Tampered, match="head"):
        project.history()


# -- loading without the project ---------------------------------------------------------------------------------------


def test_a_machine_without_the_project_serves_what_was_promoted(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied.save_trust(tmp_path / "trust.json")
    given = json.loads((tmp_path / "trust.json").read_bytes())
    given["encryption_key"] = f"file:{tmp_path / 'key'}"
    shutil.copy(copied.root / "keys" / "encryption.key", tmp_path / "key")
    (tmp_path / "trust.json").write_text(json.dumps(given))
    uri = f"sqlite:///{copied.root.resolve()}/mlflow.db"
    monkeypatch.setenv("SDK_TRUST", str(tmp_path / "trust.json"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert load_release("models:/two@champion").generate("What is a bond?")
    mlflow.set_tracking_uri(uri)
    assert len(mlflow.pyfunc.load_model("models:/two@champion").predict(["What is a bond?"])) == 1
    # a version that was approved but is not what the log says last is older than what was served
    first, second = copied.state().all(Release)[:2]
    with pytest.raises(Tampered, match="not the newest"):
        load_release(f"models:/two/{first.version}")
    copied.promote(first)
    assert load_release("models:/two@champion")
    with pytest.raises(Tampered, match="not the newest"):
        load_release(f"models:/two/{second.version}")


@pytest.mark.parametrize("how", ["rejected", "withdrawn", "compromised"])
def test_a_machine_without_the_project_learns_that_it_may_serve_no_more(
    copied: Project, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    copied.save_trust(tmp_path / "trust.json")
    monkeypatch.setenv("SDK_TRUST", str(tmp_path / "trust.json"))
    shutil.copytree(copied.root / "keys", tmp_path / "keys")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copied.root.resolve()}/mlflow.db")
    assert load_release("models:/two@champion")
    if how == "compromised":
        copied.revoke("Ada", reason="compromised")
    else:
        meaning = "reject" if how == "rejected" else "withdraw"
        copied.approve(key=workshop.approver("ada"), reason="A fault was found.", decision=meaning)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="may not be used"):
        load_release("models:/two@champion")


def test_with_the_project_an_alias_moved_by_hand_serves_nothing(
    copied: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = copied.state().all(Release)[:2]
    uri = f"sqlite:///{copied.root.resolve()}/mlflow.db"
    monkeypatch.setenv("SDK_PROJECT", str(copied.root))
    mlflow.set_tracking_uri(uri)
    assert mlflow.pyfunc.load_model("models:/two@champion").predict("What is a bond?")
    client(copied).set_registered_model_alias("two", "champion", first.version)
    with pytest.raises(Tampered):
        mlflow.pyfunc.load_model("models:/two@champion")
    client(copied).set_registered_model_alias("two", "champion", second.version)


def test_a_release_of_another_root_is_not_served(copied: Project, workshop: Workshop, tmp_path: Path) -> None:
    folder = release_folder(copied, tmp_path / "release")
    trust = copied.trust()
    assert admit(folder, trust)
    with pytest.raises(Tampered, match="root"):
        admit(folder, trust.model_copy(update={"root": "0" * 64}))
    with pytest.raises((Tampered, InvalidInput), match=r"base|tokenizer|folder"):
        admit(folder, trust.model_copy(update={"base": "embedded"}))


# -- what cannot be recorded -------------------------------------------------------------------------------------------


def test_ungoverned_training_goes_on_unrecorded_and_cannot_be_promoted(workshop: Workshop, tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "policy.yaml", **RELAXED, audit__unrecorded_training="continue")
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=policy)
    project.advise()
    project.scrub()
    fault = dict(FAULTS)["the disk is full"]
    for after in (0, 1):
        with fault(project.state().audit, after):
            run = project.train(max_steps=3 + after)
        assert "unrecorded" in run.notes[-1]
        assert project.state().find_latest(Run) is None
        with pytest.raises(OutOfOrder, match="sdk train"):
            project.evaluate()
    assert list((project.root / "unrecorded").iterdir())
    assert project.train(max_steps=3).notes == ()
    project.evaluate()
    assert project.register()


Act = Callable[[Project, Workshop, Path], object]
GOVERNED: dict[str, tuple[Act, str]] = {  # what is done, and the event that says that it was
    "scrub": (lambda p, w, out: p.scrub(out / "rows.jsonl"), "scrub"),
    "train": (lambda p, w, out: p.train(max_steps=6), "train"),
    "evaluate": (lambda p, w, out: p.evaluate(), "evaluate"),
    "register": (lambda p, w, out: p.register(), "register"),
    "approve": (lambda p, w, out: p.approve(key=w.approver("ada"), reason="Looked at once again."), "approve"),
    "promote": (lambda p, w, out: p.promote(p.state().all(Release)[0]), "promote"),
    "load": (lambda p, w, out: p.load(), "load"),
    "enroll": (lambda p, w, out: p.enroll("Bob", w.approver("bob")), "enroll"),
    "revoke": (lambda p, w, out: p.revoke("Ada", reason="left"), "revoke"),
    "rotate": (lambda p, w, out: p.rotate("signing", w.approver("new")), "rotate"),
    "adopt": (lambda p, w, out: p.adopt(policy=out / "policy.yaml"), "init"),
    "history": (lambda p, w, out: p.history(), "read"),
    "export_log": (lambda p, w, out: p.export_log("jsonl"), "read"),
    "prove": (lambda p, w, out: p.prove(3), "read"),
}


def done(project: Project, action: str) -> int:
    return len(project.state().finished(action))


def done_without_record(made: Project, workshop: Workshop, folder: Path, name: str) -> tuple[int, list[str]]:
    """Under each fault of the log, at the intent and at the outcome: how often it was tried, and what was done all the
    same."""
    write_policy(folder / "policy.yaml", version=NEXT_VERSION, **RELAXED, approve__min_reason_length=5)
    rows = (workshop.domain / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[1:]), encoding="utf-8")
    act, action = GOVERNED[name]
    held, checkpoint = held_checkpoint(made.state().charter.root), (made.root / "audit" / "checkpoint").read_bytes()
    tried, found = 0, []
    for fault_name, fault in FAULTS:
        for after in (0, 1):
            shutil.rmtree(folder / "copy", ignore_errors=True)
            held.write_bytes(checkpoint)
            project = copy(made, folder / "copy" / "two")
            if name in ("evaluate", "register"):
                project.train(max_steps=7)
            if name == "register":
                project.evaluate()
            before, acted = done(project, action), False
            with suppress(StepFailed, Tampered), fault(project.state().audit, after):
                act(project, workshop, folder)
                acted = True
            tried += 1
            if acted and done(project, action) == before:
                found.append(f"{name}, {fault_name}, after {after}")
    held.write_bytes(checkpoint)
    return tried, found


QUICK = ["enroll", "revoke", "rotate", "adopt", "history", "export_log", "prove", "load", "promote"]


@pytest.mark.parametrize("name", QUICK)
def test_no_governed_action_is_done_without_a_record(
    made: Project, workshop: Workshop, tmp_path: Path, name: str
) -> None:
    """tests/benchmarks/faults.py does it for the slow ones, too."""
    assert done_without_record(made, workshop, tmp_path, name) == (2 * len(FAULTS), [])
