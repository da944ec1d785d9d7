"""What a project's folder says happened: its audit trail joined with its records.

audit.jsonl, audit.head     the events
records/DIGEST.json         the records that events name
policy.yaml, domain/        the policy and the domain's settings, as adopted
artifacts/STEP/REQUEST/     the files of one step's request
keys/                       the embedded default for the two keys
mlflow.db, mlartifacts/     the embedded default for MLflow
unsent/REQUEST.jsonl        figures of a training that MLflow has not got yet
review/*.enc                what reviewers have marked so far, sealed
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from sdk import crypto
from sdk.audit import Audit, Event, Phase
from sdk.domain import Domain, read_domain
from sdk.errors import OutOfOrder, Tampered
from sdk.policy import Policy, read_policy
from sdk.records import Charter, FileRef, Holder, Record, canonical_json, sha256
from sdk.store import EMBEDDED, Records, check_ref, embedded_base, folder_refs, refs_digest, shipped

R = TypeVar("R", bound=Record)

ADOPT = "If you changed it, adopt the change with `sdk init --adopt`."
VERB = {  # step -> the verb that does it
    "init": "init",
    "advise": "advise",
    "scrub": "scrub",
    "review": "scrub --review",
    "train": "train",
    "evaluate": "evaluate",
    "leaks": "leaks",
    "seal": "register",
    "register": "register",
    "approve": "approve",
    "promote": "approve",
    "probe": "advise --probe",
    "pilot": "advise --pilot",
}


class Trail:
    """One reading of the project's folder; its chain and signatures have been verified."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.audit = Audit(root / "audit.jsonl")
        self.records = Records(root / "records")
        if not self.audit.head_path.exists() and not self.audit.path.exists():
            raise OutOfOrder(f"{root} is not a project; make one with `sdk init`.")
        self.charter = self._charter(self.audit.events())
        self.events = self.audit.check(self.trainer.public_key)

    def _charter(self, events: list[Event]) -> Charter:
        for event in reversed(events):
            if event.phase == "finished" and "charter" in event.objects:
                return self.records.get(Charter, event.objects["charter"])
        raise OutOfOrder(f"The making of {self.root} was interrupted; delete it and run `sdk init` again.")

    @property
    def trainer(self) -> Holder:
        return next(holder for holder in self.charter.holders if holder.role == "trainer")

    @property
    def domain_folder(self) -> Path:
        return self.root / "domain"

    def base_folder(self) -> Path:
        return embedded_base() if self.charter.base == EMBEDDED else Path(self.charter.base)

    def policy(self) -> Policy:
        self._check_adopted()
        return read_policy(self.root / self.charter.policy_file.path)

    def domain(self) -> Domain:
        self._check_adopted()
        return read_domain(self.domain_folder)

    def domain_digest(self) -> str:
        return refs_digest((*self.charter.domain_files, *self.charter.domain_data))

    @property
    def domain_source(self) -> Path:
        inside = shipped("domains") / self.charter.domain_source
        return inside if inside.parent == shipped("domains") else Path(self.charter.domain_source)

    def domain_data(self) -> Path:
        """The folder of the domain's own rows, which are those that were adopted."""
        for ref in self.charter.domain_data:
            self._adopted(self.domain_source, ref)
        return self.domain_source

    def _check_adopted(self) -> None:
        self._adopted(self.root, self.charter.policy_file)
        for ref in self.charter.domain_files:
            self._adopted(self.domain_folder, ref)
        if folder_refs(self.domain_folder) != self.charter.domain_files:
            raise Tampered(f"{self.domain_folder} holds files that the project has not adopted. {ADOPT}")

    @staticmethod
    def _adopted(folder: Path, ref: FileRef) -> None:
        try:
            check_ref(folder, ref)
        except Tampered as error:
            raise Tampered(f"{error} {ADOPT}") from None

    def keys(self) -> tuple[crypto.SigningKey, crypto.Secret]:
        """The trainer's signing key and the project's secret; Tampered if either is not the charter's."""
        key = crypto.open_signing_key(self.charter.signing_key, self.root)
        secret = crypto.open_secret(self.charter.secret_key, self.root)
        if key.fingerprint != self.trainer.fingerprint:
            raise Tampered(f"Key {self.charter.signing_key} is not the project's signing key.")
        if secret.key_id != self.charter.secret_key_id:
            raise Tampered(f"Key {self.charter.secret_key} is not the project's secret key.")
        return key, secret

    def append(
        self,
        key: crypto.SigningKey,
        action: str,
        phase: Phase,
        objects: Mapping[str, str],
        detail: Mapping[str, str],
        actor: tuple[str, str] | None = None,
    ) -> None:
        self.events.append(self.audit.append(key, action, phase, objects, self.charter.policy, detail, actor))

    def finished(self, action: str) -> list[Event]:
        """The events that ended the action well, oldest first."""
        return [event for event in self.events if event.action == action and event.phase == "finished"]

    def all(self, kind: type[R], step: str) -> list[R]:
        """Every finished record of the step, oldest first."""
        return [self.records.get(kind, event.objects["record"]) for event in self.finished(step)]

    def latest(self, kind: type[R], step: str) -> R:
        found = self.find_latest(kind, step)
        if found is None:
            raise OutOfOrder(f"There is nothing from `sdk {VERB[step]}` yet; run it first.")
        return found

    def find_latest(self, kind: type[R], step: str) -> R | None:
        events = self.finished(step)
        return self.records.get(kind, events[-1].objects["record"]) if events else None

    def done(self, kind: type[R], step: str, inputs: Mapping[str, str]) -> R | None:
        """The finished record of this very request, if it was made."""
        for event in reversed(self.finished(step)):
            if self._asked(event.objects) == dict(inputs):
                return self.records.get(kind, event.objects["record"])
        return None

    @staticmethod
    def _asked(objects: Mapping[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in objects.items() if name != "record"}

    def folder(self, step: str, inputs: Mapping[str, str]) -> Path:
        request = sha256(canonical_json({"step": step, "inputs": dict(inputs)}))
        return self.root / "artifacts" / step / request[:16]

    def lineage(self, kind: type[R], record: Record, name: str) -> R:
        return self.records.get(kind, record.inputs[name])
