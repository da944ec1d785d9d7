"""The state of a project without its folder: fixed records, as if steps had finished with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sdk import crypto
from sdk.domain import Domain, read_domain
from sdk.files.store import Records, shipped
from sdk.policy import Policy, read_policy
from sdk.project.state import ProjectState
from sdk.records import Charter, Package, sha256
from tests.registry_records import advice, ref, run, scrubbed

A, B, C = sha256(b"a"), sha256(b"b"), sha256(b"c")


def charter() -> Charter:
    return Charter(
        name="claims",
        base="embedded",
        base_name="embedded",
        base_from_hub=False,
        base_digest=A,
        domain="finance@1",
        domain_files=(ref("domain.yaml"),),
        domain_source="finance",
        domain_data=(ref("train.jsonl"),),
        policy="default@1",
        policy_file=ref("policy.yaml"),
        root=A,
        ring=B,
        signing_key="file:keys/signing.pem",
        log_key="file:keys/log.pem",
        owner_key="file:keys/owner.pem",
        encryption_key="file:keys/encryption.key",
        wrapped_secret="c2VjcmV0",
        secret_id=A,
        heads=(),
    )


class FixedState(ProjectState):
    """Advice, scrubbed rows, a run and a package have been made; nothing is read but what the test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = Records(root / "records")
        self.events = []
        self.charter = charter()
        self.advice = self.finish("advise", advice(), data=A)
        self.scrubbed = self.finish("scrub", scrubbed(), train=A)
        self.run = self.finish(
            "train", run(3), advice=self.advice.digest, scrubbed=self.scrubbed.digest, base=A, domain=B
        )
        self.package = self.finish("seal", package(), run=self.run.digest, scrubbed=self.scrubbed.digest)

    def finish(self, step: str, record: Any, **inputs: str) -> Any:
        record = record.model_copy(update={"inputs": inputs})
        objects = {**inputs, "record": self.records.put(record)}
        self.events.append(SimpleNamespace(action=step, phase="finished", objects=objects))
        return record

    def policy(self) -> Policy:
        return read_policy(shipped("policies") / "default.yaml")

    def domain(self) -> Domain:
        return read_domain(shipped("domains") / "finance")

    def domain_digest(self) -> str:
        return B

    def domain_data(self) -> Path:
        return shipped("domains") / "finance"

    def secret(self) -> crypto.Secret:
        return crypto.Secret(bytes(range(32)))


def package() -> Package:
    return Package(
        package=A,
        package_id="0" * 32,
        version=1,
        signed_by="Ada",
        key_fingerprint=B,
        encrypted=True,
        policy="default@1",
        domain="finance@1",
    )
