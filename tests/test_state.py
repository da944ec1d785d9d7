"""What a project's state says of its folder, and which folders it refuses. Nothing is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdk import Project, crypto
from sdk.crypto import keyring
from sdk.crypto.keyring import Ring, sign_ring, timestamp
from sdk.errors import OutOfOrder, SDKError, StepFailed, Tampered, Unrecorded
from sdk.files.store import held_checkpoint, shipped
from sdk.policy import read_policy
from sdk.project.state import ProjectState
from sdk.records import Run, Scrubbed, sha256
from tests.fixed_state import A, B, C, FixedState
from tests.registry_records import run, scrubbed
from tests.tiny import make_base


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three key rings, whose log's key was replaced; a checkpoint of its log is held elsewhere, too."""
    folder = tmp_path_factory.mktemp("state")
    base = make_base(folder / "base")
    project = Project.create(folder / "claims", base=str(base), heads=[folder / "head"])
    crypto.save_key(crypto.SigningKey.random(), folder / "ada.pem")
    crypto.save_key(crypto.LogKey.random(), project.root / "keys/log-2.pem")
    project.enroll("Ada", f"file:{folder / 'ada.pem'}")
    project.rotate("log", "file:keys/log-2.pem")
    return project.root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    (made.parent / "head").write_bytes((made / "audit/checkpoint").read_bytes())  # the copy before went on from it
    return shutil.copytree(made, tmp_path / "claims")


def refused(root: Path, text: str, error: type[SDKError] = Tampered) -> None:
    with pytest.raises(error, match=text):
        ProjectState(root)


def put_ring(root: Path, ring: Ring) -> Ring:
    owner = crypto.open_signer("file:keys/owner.pem", root)
    (root / f"ring/{ring.version:04}.dsse.json").write_bytes(sign_ring(ring, owner))
    return ring


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_project_is_opened_under_the_key_of_its_log_that_is_in_force(root: Path) -> None:
    state = ProjectState(root)
    assert [ring.version for ring in state.rings] == [1, 2, 3]
    assert state.ring == state.rings[2]
    assert state.charter.root == state.rings[0].digest
    assert state.log_head().size == len(state.events) == 6
    held_checkpoint(state.charter.root).write_bytes(state.audit.checkpoint())
    assert state.notes() == []
    assert state.base_folder() == Path(state.charter.base)
    state.check_checkpoint(state.audit.checkpoint(), "held elsewhere")
    state.check_keys()


def test_a_folder_without_a_log_is_no_project(root: Path) -> None:
    shutil.rmtree(root / "audit")
    refused(root, "is not a project", OutOfOrder)


@pytest.mark.parametrize(
    "change",
    [
        lambda rings: shutil.rmtree(rings),
        lambda rings: [file.unlink() for file in rings.iterdir()],
        lambda rings: (rings / "0001.dsse.json").unlink(),
        lambda rings: (rings / "0002.dsse.json").unlink(),
        lambda rings: (rings / "0003.dsse.json").rename(rings / "0004.dsse.json"),
        lambda rings: (rings / "0000.dsse.json").write_bytes(b""),
        lambda rings: (rings / "notes").write_bytes(b""),
    ],
)
def test_the_files_of_the_key_rings_are_there_without_a_gap_and_alone(
    change: Callable[[Path], Any], root: Path
) -> None:
    change(root / "ring")
    refused(root, "does not hold the key rings 0001 to the newest")


def test_another_root_than_the_caller_knows(root: Path) -> None:
    assert ProjectState(root, ProjectState(root).charter.root)
    with pytest.raises(Tampered, match="not the project's root"):
        ProjectState(root, "0" * 64)
    state = ProjectState(root)
    state.charter = state.charter.model_copy(update={"root": "0" * 64})
    state.pin()
    refused(root, "not the project's root")


def test_a_key_ring_of_a_change_that_was_cut_off_does_not_count(root: Path) -> None:
    state = ProjectState(root)
    at, head = datetime.now(UTC), state.log_head()
    left = keyring.add(state.ring, keyring.wrapping_member("encryption", "key-2", at), at, head)
    put_ring(root, left)
    assert ProjectState(root).ring == state.ring
    put_ring(root, keyring.add(left, keyring.wrapping_member("encryption", "key-3", at), at, head))
    refused(root, "holds key rings that the audit log does not name")


def test_the_key_ring_in_force_is_missing(root: Path) -> None:
    state = ProjectState(root)
    state.rings = state.rings[:2]
    with pytest.raises(Tampered, match=r"lacks the key ring .* Found: 2 others"):
        state._in_force()


def test_the_charter_is_the_one_that_was_recorded_last(root: Path) -> None:
    state = ProjectState(root)
    newest = state.records.put(state.charter.model_copy(update={"name": "newest"}))
    events = [
        event("finished", charter=state.records.put(state.charter)),
        event("finished", charter=newest),
        event("failed", charter=A),
        event("finished", record=B),
    ]
    assert state._charter(events).name == "newest"
    with pytest.raises(OutOfOrder, match="was interrupted"):
        state._charter(events[2:])
    state.rings = state.rings[1:]
    with pytest.raises(Tampered, match=rf"another project.*Found: {state.rings[0].digest[:12]}"):
        state._charter(events)


def event(phase: str, action: str = "init", **objects: str) -> Any:
    return SimpleNamespace(action=action, phase=phase, objects=objects)


def test_a_log_that_was_turned_back_is_noticed_by_the_checkpoint_held_elsewhere(root: Path) -> None:
    before = shutil.copytree(root / "audit", root.with_name("audit-before"))
    state = ProjectState(root)
    state.append("read", "finished", {}, {})
    shutil.copytree(before, root / "audit", dirs_exist_ok=True)
    held_checkpoint(state.charter.root).unlink()
    refused(root, "head")


# -- policy and domain ------------------------------------------------------------------------------------------------


def with_rules(state: ProjectState, **changes: str) -> None:
    rules = state.ring.rules
    assert rules is not None
    newest = state.ring.model_copy(update={"rules": rules.model_copy(update=changes) if changes else None})
    state.rings = (*state.rings[:-1], newest)


def test_policy_and_domain_are_those_that_the_owner_signed(root: Path) -> None:
    state = ProjectState(root)
    assert state.policy().id == "finance"
    assert state.domain().name == "finance"
    with_rules(state, policy_digest=A)
    with pytest.raises(Tampered, match="is not the policy that the owner has put in force"):
        state.policy()
    assert state.domain()
    with_rules(state, domain_digest=A)
    with pytest.raises(Tampered, match="is not the domain that the owner has put in force"):
        state.domain()
    with_rules(state)  # as in a project of 0.1.0, whose key rings name no rules
    assert state.policy().id == "finance"
    assert state.domain().name == "finance"


def test_a_policy_of_before_is_read_by_its_digest(root: Path) -> None:
    state = ProjectState(root)
    assert state.policy_of(state.policy().digest) == state.policy()
    data = b"{}"
    (root / f"policies/{sha256(data)}.json").write_bytes(data)
    with pytest.raises(Tampered, match="policy of another version"):
        state.policy_of(sha256(data))


def test_a_file_that_was_not_adopted_is_named(root: Path) -> None:
    state, folder = ProjectState(root), root / "domain"
    (folder / "domain.yaml.aside").write_bytes(b"")  # what a process that ended was writing
    (folder / "more").mkdir()
    assert state.domain()
    (folder / "more/rows.jsonl").write_bytes(b"")
    (folder / "link").symlink_to(folder / "more")
    with pytest.raises(Tampered, match="has not adopted") as caught:
        state.domain()
    assert caught.value.faults == ("link", "more/rows.jsonl")


def test_a_shipped_domain_is_named_and_another_lies_where_it_was_taken_from(root: Path) -> None:
    state = FixedState(root)
    assert state.domain_source == shipped("domains") / "finance"
    state.charter = state.charter.model_copy(update={"domain_source": "/srv/cards"})
    assert state.domain_source == Path("/srv/cards")
    assert state.base_folder() != Path("embedded")


def test_checkpoints_are_sealed_where_the_policy_seals_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ProjectState(root)
    assert state.checkpoint_secret() is not None
    monkeypatch.setattr(state, "policy", lambda: read_policy(shipped("policies") / "unsafe-lab.yaml"))
    assert state.checkpoint_secret() is None


# -- keys -------------------------------------------------------------------------------------------------------------

OPENED: dict[str, tuple[str, Callable[[ProjectState], object]]] = {
    "trainer": ("signing.pem", ProjectState.signer),
    "log": ("log-2.pem", ProjectState.log_key),
    "owner": ("owner.pem", ProjectState.owner),
    "encryption": ("encryption.key", ProjectState.wrapper),
}


def with_member(state: ProjectState, role: str, **changes: Any) -> None:
    """Change whoever has the role in the key ring in force; None: it is taken out."""
    members = [
        one.model_copy(update=changes) if role in one.roles and one.revoked is None else one
        for one in state.ring.members
    ]
    state.rings = (*state.rings[:-1], state.ring.model_copy(update={"members": tuple(members)}))


@pytest.mark.parametrize("role", OPENED)
@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": "0" * 64},
        {"roles": ("reviewer",)},
        {"revoked": keyring.Revocation(time=timestamp(datetime.now(UTC)), reason="superseded")},
    ],
    ids=["in no ring", "for another role", "revoked"],
)
def test_a_key_of_the_project_is_in_the_ring_for_its_role_and_not_revoked(
    role: str, changes: dict[str, Any], root: Path
) -> None:
    state = ProjectState(root)
    assert OPENED[role][1](state)
    with_member(state, role, **changes)
    with pytest.raises(Tampered, match=r"is not a key of the project's|is not the project's encryption key"):
        OPENED[role][1](state)


@pytest.mark.parametrize("role", OPENED)
def test_the_keys_that_lie_in_the_project_are_checked_and_others_not_before_they_are_used(
    role: str, root: Path
) -> None:
    state, (name, _) = ProjectState(root), OPENED[role]
    (root / "keys" / name).unlink()
    with pytest.raises(SDKError):
        state.check_keys()
    fields = {key: value.replace("keys/", "elsewhere/") for key, value in state.charter if key.endswith("_key")}
    state.charter = state.charter.model_copy(update=fields)
    state.check_keys()


def test_the_secret_is_the_charters_and_is_unwrapped_once(root: Path) -> None:
    state = ProjectState(root)
    state.charter = state.charter.model_copy(update={"secret_id": A})
    with pytest.raises(Tampered, match="is not the one of its charter"):
        state.secret()
    state = ProjectState(root)
    secret = state.secret()
    (root / "keys/encryption.key").unlink()
    assert state.secret() is secret


# -- the log ----------------------------------------------------------------------------------------------------------


def test_an_event_follows_under_the_key_in_force(root: Path) -> None:
    state = ProjectState(root)
    written = state.append("read", "finished", {"record": A}, {})
    assert (written.decision, state.events[-1]) == ("permit", written)
    assert ProjectState(root).events[-1] == written


def test_what_cannot_be_recorded_is_not_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ProjectState(root)

    def full(*given: object, **more: object) -> None:
        raise StepFailed("The disk is full.")

    monkeypatch.setattr(state.audit, "append", full)
    with pytest.raises(Unrecorded, match=r"The disk is full\. Nothing is done without a record"):
        state.append("read", "finished", {}, {})


def test_the_log_is_kept_for_as_long_as_its_last_event_must_be(root: Path) -> None:
    state = FixedState(root)
    state.events = [SimpleNamespace(time=f"{year}-03-01T09:00:00.000+00:00") for year in (2020, 2026)]  # type: ignore[misc]
    years = state.policy().audit.retention_years
    assert state.keep_until() == f"{2026 + years}-03-01"


def test_records_are_those_of_events_that_ended_well(root: Path) -> None:
    state = FixedState(root)
    first, second = state.run, state.finish("train", run(9), advice=A)
    for phase in ("started", "failed", "refused"):
        state.events.append(event(phase, "train", record=C))
    state.finish("evaluate", scrubbed())
    assert state.all(Run) == [first, second]
    assert state.latest(Run) == state.find_latest(Run) == second
    assert state.done(Run, first.inputs) == first
    assert state.done(Run, {"advice": B}) is None
    assert state.done(Scrubbed, {}) is None
    again = state.finish("train", run(3), **first.inputs)
    assert state.distinct(Run) == [again, second]
    assert state.rows(state.scrubbed, "train").path.parent == state.folder(state.scrubbed)


def test_the_folder_of_a_request_has_the_name_that_it_always_had(root: Path) -> None:
    """Else what a project has made would not be found."""
    assert FixedState(root).request_folder(Run, {"advice": A}) == root / "artifacts/train/777e554bedd311b2"
