"""A key of the log that was replaced signs for no more than the owner saw; a log that a machine has seen is not forked.

Each attack is played from a clean release, with real keys and files, by who holds the old or the new key of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random

import pytest

from sdk import Project, crypto
from sdk.audit import Audit, write_consistency
from sdk.audit.checkpoint import Checkpoint, write_checkpoint
from sdk.crypto import keyring
from sdk.errors import SDKError, Tampered
from tests.clean_releases import Maker, Release, grown, numbered, tensors, tree_root
from tests.shared import folder_in_memory
from tests.workshop import Workshop


@pytest.fixture
def maker() -> Iterator[Maker]:
    with folder_in_memory() as folder:
        made = Maker(folder, Random(15))
        made.shown = 99
        yield made


def rotate(maker: Maker, reason: str = "superseded") -> crypto.Signer:
    """The owner replaces the log's key, over the log as it is; the old key is returned."""
    old, new, at = maker.keys.log, crypto.LogKey.random(), maker.start + timedelta(hours=1)
    member = keyring.signing_member("the log", ["log"], new.public_pem, at)
    ring = keyring.replace(maker.rings[-1], old.fingerprint, member, at, maker.head())
    maker.rings = (*maker.rings, ring)
    if reason == "left":
        members = tuple(
            one.model_copy(update={"revoked": keyring.Revocation(time=keyring.timestamp(at), reason="left")})
            if one.key_id == old.fingerprint
            else one
            for one in ring.members
        )
        maker.rings = (*maker.rings[:-1], ring.model_copy(update={"members": members}))
    maker.keys.log = new
    return old


def release(maker: Maker) -> Release:
    return maker.release(1, tensors(maker.draw, 1000))


def refused(attack: Release, text: str) -> None:
    with pytest.raises(Tampered) as caught:
        attack.check()
    assert text in "\n".join([caught.value.message, *caught.value.faults])


def remember(case: Release) -> None:
    """The machine serves it; what it remembers then is what it knows at the next release."""
    assert case.check()
    case.served = (case.folder / "served").read_bytes()


@pytest.mark.parametrize("reason", ["superseded", "left"])
def test_a_promotion_signed_with_the_old_key_after_it_was_replaced(maker: Maker, reason: str) -> None:
    new = rotate(maker, reason), maker.keys.log
    assert release(maker).check()
    maker.keys.log = new[0]  # type: ignore[assignment]
    refused(release(maker), "was replaced before the log had so many events")


def test_what_the_old_key_signed_before_counts(maker: Maker) -> None:
    before = release(maker)
    rotate(maker)
    before.tree |= numbered("ring", maker.ring_files())
    consistency = {ring.log.size: grown(maker.lines, ring.log.size) for ring in maker.rings if ring.log}
    del consistency[len(maker.lines)]
    before.tree["governance/consistency.json"] = write_consistency(consistency)
    assert before.check()


def test_one_event_more_than_the_owner_saw(maker: Maker) -> None:
    old, new = rotate(maker), maker.keys.log
    maker.record("read", "finished")
    maker.keys.log = old  # type: ignore[assignment]
    attack = release(maker)
    refused(attack, "was replaced before")
    maker.keys.log = new
    assert release(maker).check()


def test_a_log_that_was_cut_off_before_the_key_was_replaced(maker: Maker) -> None:
    """The old key may sign for few events, but the newest key ring has seen more."""
    attack = release(maker)
    maker.record("read", "finished")
    rotate(maker)
    attack.tree |= numbered("ring", maker.ring_files())
    refused(attack, "the log has fewer events than it had")


@pytest.mark.parametrize("place", [2, 5, 8])
def test_a_fork_by_the_old_key_up_to_what_it_may_sign(maker: Maker, place: int) -> None:
    kept, events, honest = list(maker.lines), len(maker.lines), release(maker)
    events = len(maker.lines) - events  # of one release
    while len(maker.lines) < 25:
        maker.record("read", "finished")
    limit, old = len(maker.lines), rotate(maker)
    assert honest.check()
    maker.lines, maker.keys.log = kept[:place], old  # type: ignore[assignment]
    while len(maker.lines) < limit - events:
        maker.record("read", "started")
    attack = release(maker)
    assert len(maker.lines) == limit
    refused(attack, "no continuation" if place < 4 else "two histories")


def test_a_promotion_signed_with_a_compromised_key(maker: Maker) -> None:
    old = rotate(maker)
    at = maker.start + timedelta(hours=2)
    worse = keyring.revoke(maker.rings[-1], old.fingerprint, "compromised", at, maker.head())
    maker.rings = (*maker.rings, worse)
    assert release(maker).check()
    maker.keys.log = old  # type: ignore[assignment]
    refused(release(maker), "not signed by the log's key")


# -- a machine that has served ----------------------------------------------------------------------------------------


def test_the_second_history_of_a_log_that_its_key_forked(maker: Maker) -> None:
    """The finding: a machine that served the first history accepted the second, which is longer."""
    shared, first = list(maker.lines), release(maker)
    remember(first)
    seen = len(maker.lines)
    maker.lines[:] = shared
    while len(maker.lines) < seen:
        maker.record("read", "started")
    fork = release(maker)
    assert fork.copy().check()
    fork.served = first.served
    refused(fork, "no continuation of the earlier one")


def test_a_longer_log_with_nothing_that_shows_its_beginning(maker: Maker) -> None:
    first = release(maker)
    remember(first)
    later = release(maker)
    later.served = first.served
    proof = later.tree["governance/published.json"]
    later.tree["governance/published.json"] = write_consistency({})
    refused(later, "nothing shows that the log")
    later.tree["governance/published.json"] = proof
    assert later.check()


def test_the_older_promotion_in_a_longer_log(maker: Maker) -> None:
    """Anybody who has the log can prove the older promotion anew, without any key."""
    older = release(maker)
    promotion = maker.lines.index(older.tree["governance/promotion.json"])  # type: ignore[arg-type]
    newer = release(maker)
    remember(newer)
    identity = next(iter(maker.sealed))
    older.tree |= maker.proofs(identity, promotion)
    older.served = newer.served
    refused(older, "older than one that this machine has served")
    assert newer.check()


def test_key_rings_that_the_machine_has_seen_are_not_taken_back(maker: Maker) -> None:
    before = maker.rings
    rotate(maker)
    newer = release(maker)
    remember(newer)
    maker.rings = before
    attack = release(maker)
    attack.served = newer.served
    refused(attack, "is not signed by the log's key")


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: b"{}", lambda data: data + b" x"])
def test_what_the_machine_remembers_altered(maker: Maker, change: Callable[[bytes], bytes]) -> None:
    first = release(maker)
    remember(first)
    assert first.check()
    first.served = change(first.served)
    with pytest.raises(SDKError):
        first.check()


# -- in the project ---------------------------------------------------------------------------------------------------


def rotated(workshop: Workshop, name: str) -> tuple[Project, crypto.Signer]:
    project = workshop.project(name)
    crypto.save_key(crypto.LogKey.random(), project.root / "keys/log-2.pem")
    old = crypto.open_signer("file:keys/log.pem", project.root)
    project.rotate("log", "file:keys/log-2.pem")
    return project, old


def test_the_log_of_a_project_goes_on_under_the_old_key(workshop: Workshop) -> None:
    project, old = rotated(workshop, "rotated")
    state = project.state()
    for holder in state.audit.holders:  # which would notice it by themselves
        holder.unlink()
    forger = Audit(project.root / "audit", state.audit.origin)
    forger.rotate(state.log_key().public_pem, old)
    forger.append(old, "promote", "finished", {}, state.charter.policy, {})
    with pytest.raises(Tampered, match="was replaced before the log had so many events"):
        Project.open(project.root)


def test_the_checkpoint_in_mlflow_by_the_old_key(workshop: Workshop) -> None:
    project, old = rotated(workshop, "tagged")
    state = project.state()
    head = state.log_head()
    note = write_checkpoint(Checkpoint(head.size, bytes.fromhex(head.root)), state.audit.origin, old)
    state.check_checkpoint(state.audit.checkpoint(), "the tag")
    with pytest.raises(Tampered, match="was replaced before the log had so many events"):
        state.check_checkpoint(note, "the tag")


def test_the_log_of_a_project_is_rewritten_by_its_key(workshop: Workshop) -> None:
    """By the current key, from before the owner signed a key ring: its root is not the one that they signed."""
    project = workshop.project("rewritten")
    project.enroll("Ada", workshop.approver("ada"))
    state = project.state()
    path = project.root / "audit/events-00000001.jsonl"
    lines = path.read_bytes().replace(b'"actor":"', b'"actor":"x').splitlines()
    path.write_bytes(b"\n".join(lines) + b"\n")
    note = write_checkpoint(Checkpoint(len(lines), tree_root(lines)), state.audit.origin, state.log_key())
    (project.root / "audit/checkpoint").write_bytes(note)
    for holder in state.audit.holders:
        holder.unlink()
    with pytest.raises(Tampered, match=r"(?s)ring version 2 holds another root of the first .* events"):
        Project.open(project.root)
