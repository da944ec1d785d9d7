"""Clean releases and logs in memory, made with our own functions and real keys in milliseconds; nothing is trained.

A `Maker` is a project: keys, three key rings, a log. `release` seals a package, has it reviewed and approved, promotes
it and gives the release's files as a `Tree`. `Release.check` is admission up to the model itself.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml
from cryptography.hazmat.backends.openssl import backend

import sdk.serve.admit
from sdk import crypto
from sdk.approve import Decision, Digests, sign_decision
from sdk.audit import Audit, Checkpoint, Event, write_consistency
from sdk.audit.checkpoint import write_checkpoint, write_proof
from sdk.audit.segments import segment_name
from sdk.audit.tree import Frontier, consistency_ranges, inclusion_ranges, leaf_hashes, range_frontiers
from sdk.crypto import floe, keyring
from sdk.files.store import log_origin, shipped
from sdk.model import base_digest
from sdk.model.adapter import check_config
from sdk.policy import Policy
from sdk.records import canonical_json, sha256
from sdk.seal import MANIFEST, PACKAGE, SEALED_WEIGHTS, DescribedFacts, Manifest, oms, seal
from sdk.serve.admit import Trust, admit

SMALL = floe.Parameters(segment=96)  # of files whose encryption is looked at alone; ours have segments of 1 MiB
REASON = "Scores, lineage and findings were looked at."
CONFIG = {
    "base_model_name_or_path": "tiny",
    "bias": "none",
    "inference_mode": True,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "peft_type": "LORA",
    "r": 4,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}


class Link(NamedTuple):
    target: str


Tree = dict[str, "bytes | Link"]  # path -> what lies there; a path that ends with / is an empty folder


def write_tree(tree: Tree, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folders = {folder / (path if path.endswith("/") else path.rpartition("/")[0]) for path in tree}
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    for path, content in tree.items():
        if isinstance(content, Link):
            (folder / path).symlink_to(content.target)
        elif not path.endswith("/"):
            (folder / path).write_bytes(content)


def read_tree(folder: Path, below: str) -> Tree:
    return {f"{below}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def numbered(below: str, envelopes: Sequence[bytes]) -> Tree:
    return {f"governance/{below}/{number:04}.dsse.json": data for number, data in enumerate(envelopes, 1)}


def hex_of(draw: Random, digits: int = 64) -> str:
    return f"{draw.getrandbits(4 * digits):0{digits}x}"


def tensors(draw: Random, size: int) -> bytes:
    """A safetensors file of exactly `size` bytes, which are 10 or more."""
    names = [f"layers.{number}.weight" for number in range(draw.randrange(4))] if size > 1000 else []
    room, start, entries = size - 8 - 400, 0, {}
    for name in names:
        end = start + 4 * draw.randrange(room // 4 // len(names) + 1)
        entries[name] = {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}
        start = end
    header = json.dumps(entries).encode()
    header += b" " * (size - 8 - start - len(header))
    return len(header).to_bytes(8, "little") + header + draw.randbytes(start)


def tree_root(lines: Sequence[bytes]) -> bytes:
    frontier = Frontier()
    frontier.extend(leaf_hashes(list(lines)))
    return frontier.root()


def prove(lines: Sequence[bytes], index: int, origin: str, key: crypto.Signer) -> bytes:
    path, whole = inclusion_ranges(index, len(lines)), (0, len(lines))
    frontiers = range_frontiers([leaf_hashes(list(lines))], {whole, *path})
    note = write_checkpoint(Checkpoint(len(lines), frontiers[whole].root()), origin, key)
    return write_proof(index, [frontiers[part].root() for part in path], note)


def grown(lines: Sequence[bytes], size: int) -> list[bytes]:
    """The hashes that show that the log goes on from its first `size` events."""
    parts = consistency_ranges(size, len(lines)) if size < len(lines) else []
    frontiers = range_frontiers([leaf_hashes(list(lines))], parts)
    return [frontiers[part].root() for part in parts]


@dataclass
class Keys:
    owner: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)
    trainer: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)
    reviewer: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)
    first: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)  # approver
    second: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)  # approver
    left: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)  # owner and approver, revoked
    stranger: crypto.SigningKey = field(default_factory=crypto.SigningKey.random)
    log: crypto.LogKey = field(default_factory=crypto.LogKey.random)
    other_log: crypto.LogKey = field(default_factory=crypto.LogKey.random)  # in no ring
    secret: crypto.Secret = field(default_factory=crypto.Secret.random)


@dataclass
class Release:
    """What a loader is given and knows; one that tampers changes a copy."""

    tree: Tree
    root: str
    served: bytes  # checkpoint that the machine has seen
    base: Path
    keys: Path
    folder: Path  # in memory: where the files are put
    ring: str | None = None  # the key ring that the machine's trust file names

    def copy(self) -> Release:
        return replace(self, tree=dict(self.tree))

    def check(self) -> str:
        """SHA-256 of the weights after every step of admission but the attaching of the adapter."""
        write_tree(self.tree, self.folder / "release")
        served = self.folder / "served"
        served.write_bytes(self.served)
        trust = Trust(
            root=self.root,
            base=str(self.base),
            encryption_key="file:key",
            keys=self.keys,
            ring=self.ring,
            served=served,
        )
        with patch.object(sdk.serve.admit, "load_adapted", _not_loaded):
            return str(admit(self.folder / "release", trust))


def _not_loaded(base: str, method: str, config: Any, weights: bytes, *more: object) -> str:
    check_config(config)
    return sha256(weights)


@dataclass
class Log:
    """A log's folder, the checkpoint of it that is held elsewhere, and the public key and origin it is checked by."""

    tree: Tree
    held: bytes
    pem: str
    origin: str
    folder: Path

    def copy(self) -> Log:
        return replace(self, tree=dict(self.tree))

    def check(self) -> str:
        write_tree(self.tree, self.folder / "log")
        (self.folder / "held").write_bytes(self.held)
        events = Audit(self.folder / "log/audit", self.origin, [self.folder / "held"]).check(self.pem)
        return tree_root([event.to_bytes() for event in events]).hex()


@dataclass
class Weights:
    """A ciphertext alone, without the signature over it."""

    data: bytes
    key: crypto.Secret
    package: str
    path: str
    version: int

    def copy(self) -> Weights:
        return replace(self)

    @property
    def aad(self) -> bytes:
        return canonical_json({"package": self.package, "path": self.path, "version": self.version})

    def check(self) -> str:
        take = floe.take_from(self.data)
        return sha256(bytes(floe.decrypt(take, len(self.data), self.key, self.aad, "the weights", SMALL)))


def encrypted(draw: Random, plain: bytes) -> Weights:
    case = Weights(b"", crypto.Secret(draw.randbytes(32)), hex_of(draw, 32), SEALED_WEIGHTS, draw.randrange(1, 1000))
    case.data = b"".join(map(bytes, floe.encrypt(floe.take_from(plain), len(plain), case.key, case.aad, SMALL)))
    return case


class Maker:
    """A project in memory and what it makes; `folder` should be in memory, too."""

    def __init__(self, folder: Path, draw: Random) -> None:
        self.folder, self.draw, self.keys = folder, draw, Keys()
        self.start = datetime.now(UTC) - timedelta(days=draw.randrange(2, 1000))
        self.lines: list[bytes] = []
        self._make_base()
        document = yaml.safe_load((shipped("policies") / "default.yaml").read_text())
        document["approve"] |= {"reviews": 1, "approvals": 2}
        self.policy = Policy.model_validate(document)
        self.domain = hex_of(draw)
        self.sealed: dict[str, tuple[int, bytes]] = {}  # package -> event of its sealing, its record
        self.seen: list[int] = []  # events in the log when releases were begun
        self.shown = 1  # of how many of these later releases bring a proof
        self.rings = self._found()
        self.origin = log_origin(self.rings[0].digest)
        self.report = hex_of(draw)
        for number in range(draw.randrange(2, 7)):
            self.record(f"step-{number}", draw.choice(["started", "finished", "refused", "failed"]))

    def _make_base(self) -> None:
        self.base = self.folder / "base"
        files = {
            "config.json": b'{"model_type":"llama"}',
            "model.safetensors": tensors(self.draw, 2000),
            "tokenizer.json": b"{}",
            "tokenizer_config.json": b'{"chat_template":"{{ messages }}"}',
        }
        write_tree({f"base/{name}": data for name, data in files.items()}, self.folder)
        write_tree({"adapter/adapter_config.json": canonical_json(CONFIG)}, self.folder / "trained")
        path = self.folder / "key"
        path.write_text(self.keys.secret.expose().hex() + "\n")
        path.chmod(0o600)

    def _found(self) -> tuple[keyring.Ring, ...]:
        keys, start = self.keys, self.start
        members = [
            keyring.signing_member("Olga", ["owner"], keys.owner.public_pem, start),
            keyring.signing_member("Tess", ["trainer", "approver"], keys.trainer.public_pem, start),
            keyring.signing_member("the log", ["log"], keys.log.public_pem, start),
            keyring.wrapping_member("the key", keys.secret.key_id, start),
            keyring.signing_member("Leo", ["owner", "approver"], keys.left.public_pem, start),
        ]
        rules = self.in_force(self.policy)
        first = keyring.create_ring("project", members, start, rules)
        self.record("init", "started")
        self.record("init", "finished")
        second, seen = first, self.head()
        for name, role, key in (
            ("Rita", "reviewer", keys.reviewer),
            ("Ada", "approver", keys.first),
            ("Bob", "approver", keys.second),
        ):
            member = keyring.signing_member(name, [role], key.public_pem, start)  # type: ignore[list-item]
            second = keyring.Ring(
                **{**keyring.add(second, member, start, seen).model_dump(), "version": 2, "previous": first.digest}
            )
        self.record("enroll", "finished")
        at = start + timedelta(minutes=1)
        return first, second, keyring.revoke(second, keys.left.fingerprint, "left", at, self.head())

    def in_force(self, policy: Policy, domain: str | None = None) -> keyring.InForce:
        return keyring.InForce(
            policy=policy.name,
            policy_digest=policy.digest,
            domain="finance@1",
            domain_digest=domain or self.domain,
        )

    def head(self) -> keyring.LogHead:
        """The log as an owner sees it now."""
        return keyring.LogHead(size=len(self.lines), root=tree_root(self.lines).hex())

    def ring_files(self) -> list[bytes]:
        return [keyring.sign_ring(each, self.keys.owner) for each in self.rings]

    # -- the log ------------------------------------------------------------------------------------------------------

    def event(self, seq: int, action: str, phase: str, objects: dict[str, str] | None = None) -> bytes:
        return Event(
            seq=seq,
            time=keyring.timestamp(self.start + timedelta(hours=1, minutes=seq)),
            actor="Olga",
            authentication="os-user",
            host="host",
            action=action,
            phase=phase,  # type: ignore[arg-type]
            decision="",
            objects=objects or {},
            policy=self.policy.name,
            detail={"note": hex_of(self.draw, self.draw.randrange(1, 40))},
        ).to_bytes()

    def record(self, action: str, phase: str, objects: dict[str, str] | None = None) -> None:
        self.lines.append(self.event(len(self.lines), action, phase, objects))

    def checkpoint(self, lines: Sequence[bytes], key: crypto.Signer | None = None) -> bytes:
        return write_checkpoint(Checkpoint(len(lines), tree_root(lines)), self.origin, key or self.keys.log)

    def log(self, segment: int = 7) -> Log:
        """Of so many events a segment; the holder has the newest checkpoint or one before."""
        tree: Tree = {"audit/checkpoint": self.checkpoint(self.lines), "audit/lock": b""}
        for first in range(0, len(self.lines), segment):
            lines = self.lines[first : first + segment]
            tree[f"audit/{segment_name(first)}"] = b"".join(line + b"\n" for line in lines)
        held = self.checkpoint(self.lines[: self.draw.randrange(1, len(self.lines) + 1)])
        return Log(tree, held, self.keys.log.public_pem, self.origin, self.folder)

    # -- a release ----------------------------------------------------------------------------------------------------

    def facts(self, version: int) -> DescribedFacts:
        draw = self.draw
        return DescribedFacts(
            package_id=hex_of(draw, 32),
            version=version,
            project="project",
            base="tiny",
            base_revision=draw.choice([None, hex_of(draw, 40)]),
            base_digest=base_digest(self.base),
            method="lora",
            records={name: hex_of(draw) for name in ("run", "scores", "scrubbed", "advice")},
            data={"train": hex_of(draw), "eval": hex_of(draw)},
            scores={"exact_match": f"0.{draw.randrange(1000):03}"},
            policy=self.policy.name,
            policy_digest=self.policy.digest,
            domain="finance@1",
            domain_digest=self.domain,
            prompt="Answer in short.",
            max_new_tokens=draw.randrange(1, 500),
            code={"python": "3.11.7", "torch": "2.9.0"},
            lock=hex_of(draw),
        )

    def package(self, version: int, weights: bytes, plain: bool = False) -> tuple[Tree, str]:
        """The package's files and its identity."""
        trained, out = self.folder / "trained/adapter", self.folder / "sealed"
        (trained / "adapter_model.safetensors").write_bytes(weights)
        shutil.rmtree(out, ignore_errors=True)
        wrapper = None if plain else crypto.LocalWrapper(self.keys.secret)
        made = seal(trained, self.base, self.facts(version), self.keys.trainer, "Tess", wrapper, out)
        tree = read_tree(out / PACKAGE, PACKAGE)
        tree["governance/provenance.dsse.json"] = (out / "provenance.dsse.json").read_bytes()
        self.record("seal", "started")
        self.sealed[made.package] = len(self.lines), made.to_bytes()
        self.record("seal", "finished", {"record": made.digest})
        return tree, made.package

    def decide(
        self, package: str, decision: str, person: str, key: crypto.Signer, minutes: float, ends: float | None = None
    ) -> bytes:
        """`minutes`, `ends`: after the key rings were made."""
        expires = None if ends is None else keyring.timestamp(self.start + timedelta(minutes=ends))
        said = Decision(
            decision=decision,  # type: ignore[arg-type]
            reason=REASON,
            person=person,
            policy=self.policy.name,
            time=keyring.timestamp(self.start + timedelta(minutes=minutes)),
            expires=expires,
        )
        return sign_decision(said, Digests(package=package, policy=self.policy.digest, report=self.report), key)

    def decisions(self, package: str) -> list[bytes]:
        return [
            self.decide(package, "review", "Rita", self.keys.reviewer, 2),
            self.decide(package, "approve", "Ada", self.keys.first, 3),
            self.decide(package, "approve", "Bob", self.keys.second, 4),
        ]

    def objects(self, package: str, decisions: Sequence[bytes]) -> dict[str, str]:
        """What the event of a promotion names."""
        return {
            "release": hex_of(self.draw),
            "package": package,
            "policy": self.policy.digest,
            "report": self.report,
            "ring": self.rings[-1].digest,
            **{f"decision.{i:04}": sha256(envelope) for i, envelope in enumerate(decisions, 1)},
        }

    def governance(
        self, package: str, decisions: Sequence[bytes], objects: dict[str, str] | None = None, phase: str = "finished"
    ) -> Tree:
        """The evidence of a promotion, and the promotion at the end of the log."""
        objects = self.objects(package, decisions) if objects is None else objects
        self.record("promote", "started", objects)
        self.record("promote", phase, objects)
        promotion = len(self.lines) - 1
        self.record("publish", "started")
        return {
            **numbered("ring", self.ring_files()),
            **numbered("decisions", decisions),
            "governance/policy.json": canonical_json(self.policy.model_dump(mode="json")),
            "governance/report.sha256": self.report.encode(),
            "governance/promotion.json": self.lines[promotion],
            **self.proofs(package, promotion),
        }

    def proofs(self, package: str, promotion: int, lines: Sequence[bytes] | None = None) -> Tree:
        """What is proven under one checkpoint: promotion, sealing, and that the log only grew."""
        lines, (sealing, record) = lines or self.lines, self.sealed[package]
        sizes = {ring.log.size for ring in self.rings if ring.log}
        return {
            "governance/promotion.proof": prove(lines, promotion, self.origin, self.keys.log),
            "governance/package.json": record,
            "governance/sealing.json": lines[sealing],
            "governance/sealing.proof": prove(lines, sealing, self.origin, self.keys.log),
            "governance/consistency.json": write_consistency({size: grown(lines, size) for size in sizes}),
            "governance/published.json": write_consistency(
                {size: grown(lines, size) for size in self.seen[: self.shown]}
            ),
        }

    def release(self, version: int, weights: bytes, plain: bool = False) -> Release:
        served = self.checkpoint(self.lines)
        self.seen.append(len(self.lines))
        tree, identity = self.package(version, weights, plain)
        tree |= self.governance(identity, self.decisions(identity))
        return Release(tree, self.rings[0].digest, served, self.base, self.folder, self.folder)


def manifest_of(tree: Tree) -> Manifest:
    return Manifest.model_validate_json(bytes(tree[f"{PACKAGE}/{MANIFEST}"]))  # type: ignore[arg-type]


def sign_package(tree: Tree, signer: crypto.Signer) -> None:
    """model.sig anew over what is there."""
    names = [path for path in tree if path.startswith(f"{PACKAGE}/") and path != f"{PACKAGE}/model.sig"]
    digests = {path.removeprefix(f"{PACKAGE}/"): sha256(bytes(tree[path])) for path in names}  # type: ignore[arg-type]
    tree[f"{PACKAGE}/model.sig"] = oms.sign(digests, signer)


def random_size(draw: Random) -> int:
    """Bytes of a safetensors file: the smallest, a few KB, and at the bounds of segments of 1 MiB."""
    if draw.random() < 0.9:
        return draw.choice([10, 11, draw.randrange(10, 1000), draw.randrange(1000, 20_000)])
    return draw.choice([1, 2]) * floe.DEFAULT.payload + draw.choice([-1, 0, 1, draw.randrange(1, 1000)])


def surroundings() -> dict[str, dict[str, Any]]:
    """What a measurement ran on."""
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    named = {"processor": models[0].partition(":")[2].strip() if models else platform.machine()}
    packages = {name: version(name) for name in ("cryptography", "pydantic")}
    return {
        "machine": {**named, "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "openssl": backend.openssl_version_text(), **packages},
    }
