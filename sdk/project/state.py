"""What a project's folder says happened: its audit log joined with its records.

audit/                      the events, and the signed checkpoint over them
ring/0001.dsse.json …       every key ring that was in force, each signed by an owner of the one before
records/DIGEST.json         the records that events name
policies/DIGEST.json        every policy that was in force, as canonical JSON
policy.yaml, domain/        the policy and the domain's settings, as adopted
artifacts/STEP/REQUEST/     the files of one step's request
keys/                       the embedded default for the four keys
mlflow.db, mlartifacts/     the embedded default for MLflow
unsent/REQUEST.jsonl        figures of a training that MLflow has not got yet
review/*.enc                what reviewers have marked so far, sealed
unrecorded/REQUEST/         runs that could not be recorded; nothing goes on from them
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import ValidationError

from sdk import crypto
from sdk.audit import Audit, Checkpoint, Event, Phase, clock_faults, keep_until, read_body
from sdk.crypto.keyring import LogHead, Ring, first_that_holds, open_rings, require_within_limit
from sdk.domain import DATA, PLANTED, SETTINGS, Domain, parse_domain
from sdk.errors import InvalidInput, OutOfOrder, Remedy, StepFailed, Tampered, Unrecorded
from sdk.files.regular_files import (
    ENVELOPE_BYTES,
    POLICY_BYTES,
    RECOGNIZERS_BYTES,
    YAML_BYTES,
    FileBytes,
    read_regular,
)
from sdk.files.store import (
    ASIDE,
    EMBEDDED,
    POLICIES,
    RINGS,
    SECRET_CONTEXT,
    Records,
    check_ref,
    embedded_base,
    held_checkpoint,
    log_origin,
    pin_root,
    pinned_root,
    read_named,
    read_ref,
    refs_digest,
    require_no_link,
    shipped,
)
from sdk.policy import Policy, parse_policy
from sdk.records import Charter, Record, Scrubbed, StepRecord, canonical_json, sha256

if TYPE_CHECKING:  # both bring Arrow, which advice does without
    from sdk.data import RowsFile
    from sdk.data.base_folder import BaseFolder, PinnedBase

R = TypeVar("R", bound=StepRecord)
T = TypeVar("T")

# what the policy said, by how an action stands
DECISIONS: Mapping[Phase, Literal["", "permit", "deny"]] = {
    "started": "",
    "finished": "permit",
    "refused": "deny",
    "failed": "",
}


def read_rings(folder: Path, root: str | None) -> tuple[Ring, ...]:
    """Read every key ring, oldest first, each by an owner of the one before. root: digest of the first, if known."""
    return open_rings(read_ring_files(folder), root, str(folder))


def read_ring_files(folder: Path) -> tuple[bytes, ...]:
    """Read the signed files of all key rings, oldest first. Tampered unless they are there without a gap, and alone."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    expected = [f"{number:04}.dsse.json" for number in range(1, len(files) + 1)]
    if not files or [file.name for file in files] != expected:
        raise Tampered(
            f"{folder} does not hold the key rings 0001 to the newest, and nothing else.", remedy=Remedy.PROJECT
        )
    return tuple(read_regular(file, ENVELOPE_BYTES, Remedy.PROJECT) for file in files)


def _seen_by_owners(rings: Sequence[Ring], folder: Path) -> dict[str, Checkpoint]:
    """Return what the audit log was when owners signed key rings: it must have gone on from there."""
    return {
        f"{folder} version {ring.version}": Checkpoint(ring.log.size, bytes.fromhex(ring.log.root))
        for ring in rings
        if ring.log is not None
    }


class ProjectState:
    """One reading of the project's folder; its log has been verified.

    root: digest of the project's first key ring, where the caller knows it; else what was known under this path.
    """

    def __init__(self, root: Path, pinned: str | None = None) -> None:
        require_no_link(root)
        if os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK):
            raise InvalidInput(f"{root} cannot be looked into by this user; ask its owner to let you read it.")
        self.root = root
        self._unpinned = ""  # why this machine could not remember the project
        self.records = Records(root / "records")
        if not (root / "audit").exists():
            raise OutOfOrder(f"{root} is not a project; make one with `sdk init`.")
        self.rings = read_rings(root / RINGS, pinned or pinned_root(root))
        origin, held = log_origin(self.rings[0].digest), held_checkpoint(self.rings[0].digest)
        self.audit = Audit(root / "audit", origin, [held])
        # under the newest key of the log, or the one before where the log has not been taken over by the new one
        keys, seen = self.rings[-1].log_keys(), _seen_by_owners(self.rings, root / RINGS)
        self._log_pem, self.events = first_that_holds(keys, lambda pem: (pem, self.audit.check(pem, seen)))
        self.charter = self._charter(self.events)
        self.rings = self._in_force()
        require_within_limit(self.rings, self._log_pem, len(self.events), str(self.audit.checkpoint_path))
        if self.charter.heads:  # which only the events could name
            self.audit = Audit(root / "audit", origin, [held, *(Path(head) for head in self.charter.heads)])
            self.audit.verify(self._log_pem)
        self._opened: dict[str, crypto.Secret] = {}

    def pin(self) -> None:
        """Remember which project this is, so that another one in its place is noticed; a note where that fails."""
        try:
            pin_root(self.root, self.charter.root)
        except StepFailed as error:
            self._unpinned = f"this machine cannot remember the project: {error.message}"

    def _charter(self, events: list[Event]) -> Charter:
        for event in reversed(events):
            if event.phase == "finished" and "charter" in event.objects:
                charter = self.records.get(Charter, event.objects["charter"])
                break
        else:
            raise OutOfOrder(f"The making of {self.root} was interrupted; delete it and run `sdk init` again.")
        if charter.root != self.rings[0].digest:
            raise Tampered(
                f"{self.root / RINGS} holds the key rings of another project.",
                remedy=Remedy.PROJECT,
                expected=charter.root,
                found=self.rings[0].digest,
            )
        return charter

    def _in_force(self) -> tuple[Ring, ...]:
        """Return the key rings up to the one in force. One more may be left over, of a change that was cut off."""
        digests = [ring.digest for ring in self.rings]
        if self.charter.ring not in digests:
            raise Tampered(
                f"{self.root / RINGS} lacks the key ring {self.charter.ring[:12]}, which is in force.",
                remedy=Remedy.PROJECT,
                expected=self.charter.ring,
                found=f"{len(digests)} others, the newest {digests[-1]}",
            )
        rings = self.rings[: digests.index(self.charter.ring) + 1]
        if len(self.rings) > len(rings) + 1:
            raise Tampered(f"{self.root / RINGS} holds key rings that the audit log does not name.", remedy=Remedy.LOG)
        return rings

    def log_head(self) -> LogHead:
        """Return the audit log as it is now, for the owner to sign."""
        head = read_body(self.audit.checkpoint(), self.audit.origin, str(self.audit.checkpoint_path))
        return LogHead(size=head.size, root=head.root.hex())

    def check_checkpoint(self, note: bytes, name: str) -> None:
        """Raise Tampered, naming `name`, unless this checkpoint, kept anywhere, is of a beginning of the log.

        Also one by a key that was found compromised later: a forged one would be of another log.
        """
        keys = self.rings[-1].log_keys(also_compromised=True)
        pem, head = first_that_holds(keys, lambda pem: (pem, self.audit.check_holder(note, pem, name)))
        require_within_limit(self.rings, pem, head.size, name)

    def keep_until(self) -> str:
        """Return the day before which the policy lets nobody delete the log; ISO 8601."""
        return keep_until(self.events[-1], self.policy().audit).isoformat()

    def notes(self) -> list[str]:
        """Return what is no fault of the log, and should be known."""
        verification = first_that_holds(self.rings[-1].log_keys(), self.audit.verify)
        return [*verification.notes(), *clock_faults(self.events), *filter(None, [self._unpinned])]

    @property
    def ring(self) -> Ring:
        """Return the key ring in force."""
        return self.rings[-1]

    @property
    def domain_folder(self) -> Path:
        return self.root / "domain"

    def base_folder(self) -> Path:
        return embedded_base() if self.charter.base == EMBEDDED else Path(self.charter.base)

    def pinned_base(self) -> PinnedBase:
        """Return the base that this project adapts, with the digest that whoever loads it must find."""
        from sdk.data.base_folder import PinnedBase

        return PinnedBase(self.charter.base, self.charter.base_digest, self.template())

    @contextmanager
    def opened_base(self) -> Iterator[BaseFolder]:
        """Open the files of the base that this project adapts. Raises Tampered where it is another one.

        What a base must be was checked when its digest was taken; who loads its weights opens it by sdk.model.
        """
        from sdk.data.base_folder import BaseFolder

        with BaseFolder(self.base_folder()) as opened:
            opened.template = self.template()
            opened.require(self.charter.base_digest)
            yield opened

    def template(self) -> str | None:
        """Return the source of the chat template that is used instead of the base's own, if one was named."""
        return self.charter.template.source if self.charter.template else None

    def policy(self) -> Policy:
        """Return the policy in force, as the project adopted it and, if its key ring names one, the owner signed it."""
        ref = self.charter.policy_file
        data = read_ref(self.root, ref, YAML_BYTES, Remedy.ADOPT)
        self._check_domain()
        policy, signed = parse_policy(data, self.root / ref.path, adopted=True), self.ring.rules
        if signed is not None and policy.digest != signed.policy_digest:
            raise Tampered(
                f"{self.root / ref.path} is not the policy that the owner has put in force.",
                remedy=Remedy.ADOPT,
                expected=signed.policy_digest,
                found=policy.digest,
            )
        return policy

    def policy_of(self, digest: str) -> Policy:
        """Read a policy that is or was in force, by its digest."""
        path = self.root / POLICIES / f"{digest}.json"
        try:
            return Policy.model_validate_json(read_named(self.root / POLICIES, digest, POLICY_BYTES))
        except ValidationError:
            raise Tampered(f"{path} is a policy of another version of this package.", remedy=Remedy.PROJECT) from None

    def domain(self) -> Domain:
        """Return the domain in force, as the project adopted it and, if its key ring names one, the owner signed it."""
        read_ref(self.root, self.charter.policy_file, YAML_BYTES, Remedy.ADOPT)
        settings, signed = self._check_domain(), self.ring.rules
        if signed is not None and self.domain_digest() != signed.domain_digest:
            raise Tampered(
                f"{self.domain_folder} is not the domain that the owner has put in force.",
                remedy=Remedy.ADOPT,
                expected=signed.domain_digest,
                found=self.domain_digest(),
            )
        return parse_domain(settings["domain.yaml"])

    def recognizers(self) -> FileBytes:
        """Return the domain's recognizers.yaml, as it was adopted."""
        return self._check_domain()["recognizers.yaml"]

    def domain_module(self, name: str) -> str:
        """Return the text of the domain's own Python file, as it was adopted. InvalidInput: it is not there."""
        files = self._check_domain()
        if name not in files:
            raise InvalidInput(f"The domain has no {name}; put it beside domain.yaml and `sdk adopt` that.")
        try:
            return files[name].data.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{files[name].path} is not UTF-8.") from None

    def domain_digest(self) -> str:
        return refs_digest((*self.charter.domain_files, *self.charter.domain_data))

    @property
    def domain_source(self) -> Path:
        """Return where the domain came from: a shipped one by its name, another by its absolute path."""
        return shipped("domains") / self.charter.domain_source

    def domain_data(self) -> Path:
        """Return the folder of the domain's own rows. Raises Tampered unless they are those that were adopted."""
        for ref in self.charter.domain_data:
            check_ref(self.domain_source, ref, Remedy.ADOPT)
        return self.domain_source

    def source_of(self, split: str) -> RowsFile:
        """Return the rows of a split where no others are named: the project's own, else the domain's; no digest.

        Raises InvalidInput where there are none, Tampered where the domain's are not those that were adopted.
        """
        from sdk.data import RowsFile

        own = self.charter.rows.files if self.charter.rows else {}
        if split in own:
            return RowsFile(Path(own[split][0]), "", own[split][1])
        path = self.domain_data() / f"{split}.jsonl"
        if path.name not in {ref.path for ref in self.charter.domain_data}:
            raise InvalidInput(f"Domain {self.charter.domain} is for rows that you bring, and has no {path.name}.")
        return RowsFile(path, "")

    def planted_rows(self, without: Path) -> list[Path]:
        """Return the domain's files of rows with planted personal data, but for the one that is scrubbed itself."""
        folder, names = self.domain_data(), {ref.path for ref in self.charter.domain_data}
        return [folder / name for name in (DATA[0], PLANTED) if name in names and folder / name != without]

    def _check_domain(self) -> dict[str, FileBytes]:
        """Read the domain's settings by name. Tampered unless they are those that were adopted, and no others."""
        folder = self.domain_folder
        files = {
            ref.path: FileBytes(
                folder / ref.path, read_ref(folder, ref, SETTINGS.get(ref.path, RECOGNIZERS_BYTES), Remedy.ADOPT)
            )
            for ref in self.charter.domain_files
        }
        present = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        names = sorted(str(path.relative_to(folder)) for path in present if path.suffix != ASIDE)
        added = [name for name in names if name not in files]
        if added:
            raise Tampered(f"{folder} holds files that the project has not adopted.", added, remedy=Remedy.ADOPT)
        return files

    def _signer(self, uri: str, role: str) -> crypto.Signer:
        signer = crypto.open_signer(uri, self.root)
        member = self.ring.find(signer.fingerprint)
        if member is None or role not in member.roles or member.revoked is not None:
            raise Tampered(
                f"Key {uri} is not a key of the project's {role} in the key ring that is in force.",
                remedy=Remedy.KEY,
                found=signer.fingerprint,
            )
        return signer

    def signer(self) -> crypto.Signer:
        """Open the trainer's signing key. Raises Tampered where it is not one of the key ring."""
        return self._signer(self.charter.signing_key, "trainer")

    def log_key(self) -> crypto.Signer:
        return self._signer(self.charter.log_key, "log")

    def owner(self) -> crypto.Signer:
        return self._signer(self.charter.owner_key, "owner")

    def wrapper(self) -> crypto.Wrapper:
        wrapper = crypto.open_wrapper(self.charter.encryption_key, self.root)
        member = self.ring.find(wrapper.key_id)
        if member is None or "encryption" not in member.roles or member.revoked is not None:
            raise Tampered(
                f"Key {self.charter.encryption_key} is not the project's encryption key.",
                remedy=Remedy.KEY,
                found=f"key id {wrapper.key_id}",
            )
        return wrapper

    def secret(self) -> crypto.Secret:
        """Unwrap the project's secret, from which keys of tokens, checkpoints and others are derived."""
        wrapped = self.charter.wrapped_secret
        if wrapped not in self._opened:
            secret = self.wrapper().unwrap(wrapped, SECRET_CONTEXT)
            if secret.key_id != self.charter.secret_id:
                raise Tampered(
                    "The project's secret is not the one of its charter.",
                    remedy=Remedy.KEY,
                    expected=f"key id {self.charter.secret_id}",
                    found=f"key id {secret.key_id}",
                )
            self._opened[wrapped] = secret
        return self._opened[wrapped]

    def checkpoint_secret(self) -> crypto.Secret | None:
        """Derive the key that checkpoints are encrypted under. None where the policy leaves weights in plain."""
        return self.secret().derive("checkpoints") if self.policy().seal.encrypt else None

    def check_keys(self) -> None:
        """Raise Tampered where a key that lies in the project's folder is not the one of the key ring.

        Those that are kept elsewhere are checked when they are used, so that a machine that only serves needs none.
        """
        own: tuple[tuple[str, Callable[[], object]], ...] = (
            (self.charter.signing_key, self.signer),
            (self.charter.log_key, self.log_key),
            (self.charter.owner_key, self.owner),
            (self.charter.encryption_key, self.secret),
        )
        for uri, opened in own:
            if uri.startswith("file:keys/"):
                opened()

    def append(
        self,
        action: str,
        phase: Phase,
        objects: Mapping[str, str],
        detail: Mapping[str, str],
        actor: tuple[str, str] | None = None,
    ) -> Event:
        """Append one event, durably. Raises Unrecorded where it cannot be, and then the action must not happen."""
        decision: Literal["", "permit", "deny"] = DECISIONS[phase]
        try:
            key = self.log_key()
            if key.public_pem != self._log_pem:
                self.audit.rotate(self._log_pem, key)
                self._log_pem = key.public_pem
            event = self.audit.append(
                key, action, phase, objects, self.charter.policy, detail, actor, decision=decision
            )
        except (StepFailed, InvalidInput) as error:  # the log or its key is out of reach
            raise Unrecorded(f"{error.message} Nothing is done without a record.") from error
        self.events.append(event)
        return event

    @property
    def recorded_in(self) -> Path:
        """Return the folder of the log that events about this project go to."""
        return self.audit.folder

    def finished(self, action: str) -> list[Event]:
        """Return the events that ended the action well, oldest first."""
        return [event for event in self.events if event.action == action and event.phase == "finished"]

    def all(self, kind: type[R]) -> list[R]:
        """Return every finished record of the kind's step, oldest first; one asked for again stands there again."""
        return [self.records.get(kind, event.objects["record"]) for event in self.finished(kind.step)]

    def distinct(self, kind: type[R]) -> list[R]:
        """Return every finished record of the kind's step once, in the order in which they were made."""
        return list({record.digest: record for record in self.all(kind)}.values())

    def latest(self, kind: type[R]) -> R:
        """Return the record that the step finished last. Raises OutOfOrder, naming the verb, if there is none."""
        record = self.find_latest(kind)
        if record is None:
            raise OutOfOrder(f"There is nothing from `sdk {kind.verb}` yet; run it first.")
        return record

    def find_latest(self, kind: type[R]) -> R | None:
        """Return the record that the step finished last. None if there is none."""
        events = self.finished(kind.step)
        return self.records.get(kind, events[-1].objects["record"]) if events else None

    def done(self, kind: type[R], inputs: Mapping[str, str]) -> R | None:
        """Return the finished record of this very request, if it was made."""
        for event in reversed(self.finished(kind.step)):
            if {name: digest for name, digest in event.objects.items() if name != "record"} == dict(inputs):
                return self.records.get(kind, event.objects["record"])
        return None

    def rows(self, scrubbed: Scrubbed, split: str) -> RowsFile:
        """Return the scrubbed rows of a split, with the digest that whoever reads them compares."""
        from sdk.data import RowsFile

        ref = scrubbed.data[split]
        return RowsFile(self.folder(scrubbed) / ref.path, ref.sha256, written=True)

    def folder(self, record: StepRecord) -> Path:
        """Return where the files of a record are."""
        return self.request_folder(type(record), record.inputs)

    def request_folder(self, kind: type[StepRecord], inputs: Mapping[str, str]) -> Path:
        """Return where the files of a request are, or will be once it is done."""
        request = sha256(canonical_json({"step": kind.step, "inputs": dict(inputs)}))
        return self.root / "artifacts" / kind.step / request[:16]

    def lineage(self, kind: type[R], record: Record, name: str) -> R:
        """Return the record that another names as its input."""
        return self.records.get(kind, record.inputs[name])
