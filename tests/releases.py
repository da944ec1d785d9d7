"""Releases made from an approved one, with the right keys: other people, decisions, policies and events."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sdk import crypto
from sdk.approve import Decision, Digests, sign_decision
from sdk.audit import Audit, read_body, write_consistency
from sdk.crypto import keyring
from sdk.files.store import log_origin
from sdk.records import canonical_json, sha256
from sdk.seal import oms
from sdk.serve.admit import Trust

GOOD = "The scores, the findings and the lineage were looked at."
TRAINER = "the trainer"  # whoever the project's trainer is


class Keys(NamedTuple):
    owner: crypto.Signer
    trainer: crypto.Signer
    log: crypto.Signer


class Bench(NamedTuple):
    """An approved release as MLflow gives it out, who is trusted, and the keys to make others like it."""

    release: Path
    audit: Path
    trust: Trust
    keys: Keys

    @property
    def rings(self) -> tuple[keyring.Ring, ...]:
        files = sorted((self.release / "governance/ring").iterdir())
        return keyring.open_rings([file.read_bytes() for file in files], self.trust.root, "the ring")


class Said(NamedTuple):
    """A decision, as it is to be signed."""

    key: str
    decision: str = "approve"
    after: float = 0.001  # seconds after the key ring; the past is where its keys are valid already
    reason: str = GOOD
    ends: float | None = None
    person: str | None = None  # None: who holds the key
    report: str | None = None


# label of a key -> (person, roles)
PEOPLE = {
    "ada": ("Ada", ["approver"]),
    "ada2": ("Ada", ["approver"]),
    "bob": ("Bob", ["approver"]),
    "rita": ("Rita", ["reviewer"]),
    "rolf": ("Rolf", ["reviewer"]),
    "bea": ("Bea", ["reviewer", "approver"]),
    "tom": (TRAINER, ["reviewer", "approver"]),
    "olga": ("Olga", ["owner"]),
    "new": ("Ned", ["approver"]),
}
SIGNERS = {label: crypto.SigningKey.random() for label in [*PEOPLE, "stranger"]}


class Plan(NamedTuple):
    """How a release is to be made; the default is one that is approved."""

    said: tuple[Said, ...] = (Said("bob"),)
    approve: dict[str, object] = {}  # noqa: RUF012 - changes of the policy
    revoked: dict[str, tuple[str, float]] = {}  # noqa: RUF012 - label -> reason, seconds after the key ring
    objects: dict[str, str | None] = {}  # noqa: RUF012 - changes of what the promotion names; None: takes it out
    later: tuple[Said, ...] = ()  # decisions after the promotion
    action: tuple[str, str] = ("promote", "finished")
    ring_by: str = "owner"
    sealed_by: str = "trainer"


def enroll(bench: Bench, start: datetime) -> list[keyring.Member]:
    trainer = bench.rings[-1].find(bench.keys.trainer.fingerprint)
    assert trainer
    found = []
    for label, (person, roles) in PEOPLE.items():
        begins = start + timedelta(days=1) if label == "new" else start - timedelta(days=20)
        name = trainer.name if person is TRAINER else person
        found.append(keyring.signing_member(name, roles, SIGNERS[label].public_pem, begins))  # type: ignore[arg-type]
    return found


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_all(folder: Path, envelopes: Iterable[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for number, envelope in enumerate(envelopes, 1):
        write(folder / f"{number:04}.dsse.json", envelope)


def reseal(package: Path, signer: crypto.Signer, **changes: object) -> str:
    """Change the manifest and sign again; the new identity."""
    manifest = json.loads((package / "manifest.json").read_bytes()) | changes
    write(package / "manifest.json", canonical_json(manifest))
    names = [path.name for path in package.iterdir() if path.name != "model.sig"]
    digests = {name: sha256((package / name).read_bytes()) for name in names}
    write(package / "model.sig", oms.sign(digests, signer))
    return digests["manifest.json"]


def head_of(log: Audit) -> keyring.LogHead:
    """What an owner sees of a log."""
    size, root = read_body(log.checkpoint(), log.origin, "the checkpoint")
    return keyring.LogHead(size=size, root=root.hex())


def in_force(bench: Bench, policy: dict[str, Any]) -> keyring.InForce:
    """The policy with the domain of the bench's release."""
    rules = bench.rings[0].rules
    assert rules
    named = {"policy": f"{policy['id']}@{policy['version']}", "policy_digest": sha256(canonical_json(policy))}
    return rules.model_copy(update=named)


def make(bench: Bench, plan: Plan, folder: Path) -> Path:
    """A release of its own log: the project's package under a changed policy, with these people and decisions."""
    release, governance = Path(shutil.copytree(bench.release, folder / "release")), folder / "release/governance"
    start = datetime.fromisoformat(bench.rings[-1].time)
    log = Audit(folder / "audit", log_origin(bench.trust.root))
    (folder / "audit").mkdir()
    for number in range(5):
        log.append(bench.keys.log, f"step-{number}", "started", {}, "default@5", {})
    rings, head = [bench.rings[0]], head_of(log)
    policy = json.loads((governance / "policy.json").read_bytes())
    policy["approve"] |= plan.approve
    for _ in range(2):  # the second takes the place of one that asks for the same, so that it alone counts
        write(governance / "policy-before.json", canonical_json(policy))
        policy["version"] += 1
        rings.append(keyring.put_in_force(rings, in_force(bench, policy), start, head))
    for member in enroll(bench, start):
        rings.append(keyring.add(rings[-1], member, start, head))
    named = {"trainer": bench.keys.trainer, "log": bench.keys.log, **SIGNERS}
    for label, (reason, after) in plan.revoked.items():
        at = start + timedelta(seconds=after)
        changed = keyring.revoke(rings[-1], named[label].fingerprint, reason, max(at, start), head)  # type: ignore[arg-type]
        members = [one.model_dump(mode="json") for one in changed.members]
        for one in members:
            if one["key_id"] == named[label].fingerprint:
                one["revoked"]["time"] = keyring.timestamp(at)
        rings.append(keyring.Ring.model_validate({**changed.model_dump(mode="json"), "members": members}))
    by = {"owner": bench.keys.owner, **named}[plan.ring_by]
    before = [sorted((governance / "ring").iterdir())[0].read_bytes()]
    write_all(governance / "ring", [*before, *(keyring.sign_ring(each, by) for each in rings[1:])])
    write(governance / "policy.json", canonical_json(policy))
    signer = {"trainer": bench.keys.trainer, **SIGNERS}[plan.sealed_by]
    changes = {"policy_digest": sha256(canonical_json(policy)), "signing_key": signer.fingerprint}
    identity = reseal(release / "package", signer, **changes)
    report = (governance / "report.sha256").read_text()
    digests = Digests(package=identity, policy=sha256(canonical_json(policy)), report=report)
    people = {one.key_id: one.name for one in rings[-1].members}

    def sign(said: Said) -> bytes:
        at, key = start + timedelta(seconds=said.after), SIGNERS[said.key]
        decision = Decision(
            decision=said.decision,  # type: ignore[arg-type]
            reason=said.reason,
            person=said.person or people.get(key.fingerprint, "Nobody"),
            policy="default@5",
            time=keyring.timestamp(at),
            expires=None if said.ends is None else keyring.timestamp(start + timedelta(seconds=said.ends)),
        )
        return sign_decision(decision, digests.model_copy(update={"report": said.report or report}), key)

    decisions = [sign(said) for said in plan.said]
    objects = {**digests.model_dump(), "ring": rings[-1].digest}
    objects |= {f"decision.{i:04}": sha256(envelope) for i, envelope in enumerate(decisions, 1)}
    wanted = {name: value for name, value in {**objects, **plan.objects}.items() if value is not None}
    record = canonical_json({**json.loads((governance / "package.json").read_bytes()), "package": identity})
    sealing = log.append(bench.keys.log, "seal", "finished", {"record": sha256(record)}, "default@5", {})
    action, phase = plan.action
    event = log.append(bench.keys.log, action, phase, wanted, "default@5", {})  # type: ignore[arg-type]
    log.append(bench.keys.log, "publish", "started", {}, "default@5", {})
    history = log.prove_history([event.seq, sealing.seq], [head.size])
    for name, line, proof in zip(("promotion", "sealing"), history.lines, history.inclusion, strict=True):
        write(governance / f"{name}.json", line)
        write(governance / f"{name}.proof", proof)
    write(governance / "package.json", record)
    write(governance / "consistency.json", write_consistency(history.consistency))
    write(governance / "published.json", write_consistency({}))
    write_all(governance / "decisions", [*decisions, *(sign(said) for said in plan.later)])
    return release
