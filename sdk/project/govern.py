"""Who may do what, and who did: adopted files, the key ring, the audit log, verification."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdk import crypto
from sdk.audit import Event
from sdk.crypto.keyring import Member, RevocationReason, Role, add, replace, revoke, signing_member, wrapping_member
from sdk.errors import InvalidInput
from sdk.project.charter import (
    ENCRYPTION_NAME,
    adopt_domain,
    adopt_policy,
    find_domain,
    find_policy,
    read_public_pem,
    wrap_secret,
)
from sdk.project.perform import Request, perform
from sdk.project.release import Releasing
from sdk.project.state import ProjectState
from sdk.records import (
    Advice,
    Leaks,
    Package,
    Publication,
    Release,
    Review,
    Rewrapped,
    Run,
    Scores,
    Scrubbed,
    Verified,
)
from sdk.store import write_atomic

if TYPE_CHECKING:
    from sdk.documents import Format

Rotated = Literal["signing", "log", "encryption", "owner"]
ROLES: dict[Rotated, Role] = {"signing": "trainer", "log": "log", "encryption": "encryption", "owner": "owner"}


class Governing(Releasing):
    # -- files and keys -----------------------------------------------------------------------------------------------

    def adopt(self, *, domain: str | Path | None = None, policy: str | Path | None = None) -> None:
        """Take in changed files: another domain or policy, or edits made in the project's own copies. An event.

        What was sealed before stays under the policy that it was sealed under.
        """
        with self._working() as state:
            settings = find_domain(domain) if domain is not None else state.domain_folder
            source = settings if domain is not None else state.domain_source
            chosen = find_policy(policy) if policy is not None else self.root / state.charter.policy_file.path
            changes = {**adopt_domain(self.root, source, settings), **adopt_policy(self.root, chosen)}
            self._amend(state, "init", changes)

    def enroll(
        self, name: str, key: str, *, roles: Sequence[Role] = ("approver",), valid_until: datetime | None = None
    ) -> Member:
        """Let the holder of a key act in roles; the project's owner signs the key ring that says so.

        key: a key URI, or the path of a public key in PEM format. Raises InvalidInput where the key is in the ring.
        """
        with self._working() as state:
            public = crypto.open_signer(key).public_pem if ":" in key else read_public_pem(Path(key))
            known = state.ring.find(crypto.fingerprint(public))
            if known is not None and (known.name, set(known.roles), known.revoked) == (name, set(roles), None):
                return known
            at = datetime.now(UTC)
            member = signing_member(name, roles, public, at, valid_until)
            self._amend(state, "enroll", {}, add(state.ring, member, at))
            return member

    def revoke(self, key: str, *, reason: RevocationReason) -> list[Member]:
        """Revoke a key by the beginning of its id, or all keys of a person by name. An event; the owner signs.

        superseded, left: what was signed before still counts; compromised: nothing that the key signed counts. Raises
        InvalidInput for the log's or the encryption key in use: rotate first, then revoke the old one.
        """
        with self._working() as state:
            ring = state.ring
            named = [one for one in ring.members if one.name == key or one.key_id.startswith(key)]
            if len({one.name for one in named}) != 1:
                listed = [f"{one.name}: {one.key_id[:16]}" for one in ring.members]
                raise InvalidInput(f"{key} names {len(named)} keys of the key ring; name one person or key of:", listed)
            ids = [one.key_id for one in named if one.revoked is None or reason == "compromised"]
            for role in ("log", "encryption"):  # without one the project could not even record that it was revoked
                left = [one for one in ring.with_role(role) if one.revoked is None and one.key_id not in ids]
                if not left:
                    raise InvalidInput(
                        f"The project uses this key; put another in its place: `sdk keys rotate {role} URI`."
                    )
            for key_id in ids:
                self._amend(state, "revoke", {}, revoke(state.ring, key_id, reason, datetime.now(UTC)))
            self._tell_of_champion(state)
            return [one for one in state.ring.members if one.key_id in ids]

    def rotate(self, kind: Rotated, key: str) -> Member:
        """Put another key in the place of one of the project's own; the old one is revoked as superseded. An event.

        A key that the key ring knows in that role takes over as it is: a second owner or trainer, whose predecessor's
        key is lost or then revoked.

        key: URI. encryption: the project's secret and the data key of every package are wrapped anew, and no weights
        are touched; destroy the old key yourself when no backup needs it.
        """
        with self._working() as state:
            at = datetime.now(UTC)
            if kind == "encryption":
                member = self._rewrap(state, key, at)
            else:
                signer = crypto.open_signer(key, self.root)
                field = f"{kind}_key"
                known = state.ring.find(signer.fingerprint)
                if known is not None and ROLES[kind] in known.roles and known.revoked is None:
                    self._amend(state, "rotate", {field: key})  # somebody else who may, such as a second owner
                    return known
                old = state.ring.find(crypto.open_signer(getattr(state.charter, field), self.root).fingerprint)
                if old is None:
                    raise InvalidInput(f"The project's {kind} key is not in its key ring; enroll and revoke instead.")
                member = signing_member(old.name, old.roles, signer.public_pem, at)
                self._amend(state, "rotate", {field: key}, replace(state.ring, old.key_id, member, at))
            self._tell_of_champion(state)
            return member

    def _rewrap(self, state: ProjectState, key: str, at: datetime) -> Member:
        from sdk.project.gather import data_key, trainer_pem
        from sdk.seal import PACKAGE, key_context, open_package

        old, new, secret = state.wrapper(), crypto.open_wrapper(key, self.root), state.secret()
        member = wrapping_member(ENCRYPTION_NAME, new.key_id, at)
        ring = replace(state.ring, old.key_id, member, at)

        def work(folder: Path) -> Rewrapped:
            wrapped = {}
            for package in state.distinct(Package):
                place = state.folder(package) / PACKAGE
                manifest = open_package(place, package, trainer_pem(state, package), None)
                opened = data_key(state, package, manifest)
                if opened is not None:
                    wrapped[package.package] = new.wrap(opened, key_context(manifest.package_id))
            return Rewrapped(key_id=new.key_id, wrapped=wrapped)

        inputs = {"charter": state.charter.digest, "ring": ring.digest}
        perform(state, Request(Rewrapped, inputs, work))
        self._amend(state, "rotate", {"encryption_key": key, "wrapped_secret": wrap_secret(new, secret)}, ring)
        return member

    def members(self) -> tuple[Member, ...]:
        """Every key of the key ring in force, also those that are revoked."""
        return self.state().ring.members

    def save_trust(self, path: Path) -> None:
        """What a machine that serves the champion must know beforehand; nothing in it is secret."""
        from sdk.serve.admit import trust_bytes

        write_atomic(path, trust_bytes(self.trust()))

    # -- looking ------------------------------------------------------------------------------------------------------

    def predictions(self) -> list[Run]:
        """Every finished training run, oldest first, with what was predicted of it and what was measured."""
        return self.state().distinct(Run)

    def history(self) -> list[Event]:
        """The events of the audit log, oldest first. That they were read is an event of its own, the next one."""
        state = self.state()
        events = list(state.events)
        state.append("read", "finished", {}, {"what": "events"})
        return events

    def export(self, form: Literal["jsonl", "ocsf"]) -> bytes:
        """The audit log for other systems, a line for each event: as it is, or as OCSF for a SIEM. An event."""
        from sdk.audit.export import to_jsonl, to_ocsf_jsonl

        state = self.state()
        events = list(state.events)
        state.append("read", "finished", {}, {"what": f"export as {form}"})
        return b"".join((to_jsonl if form == "jsonl" else to_ocsf_jsonl)(events))

    def prove(self, seq: int) -> tuple[bytes, bytes]:
        """One event's line, and the proof that it is in the log (C2SP tlog-proof): enough to show it, and no other."""
        state = self.state()
        if not 0 <= seq < len(state.events):
            raise InvalidInput(f"The log holds the events 0 to {len(state.events) - 1}; there is no event {seq}.")
        state.append("read", "finished", {}, {"what": f"proof of event {seq}"})
        return state.audit.prove(seq)

    def documents(self, out: Path | None = None, form: Format = "both") -> tuple[Path, ...]:
        """Model card, Annex IV, SR 26-2, HIPAA and data sheet documents of the newest model, from its records alone.

        out: folder, by default `documents` in the project's. Raises OutOfOrder where nothing was scrubbed yet.
        """
        from sdk.documents import Decided, Dossier, write
        from sdk.project.gather import decisions_on

        state = self.state()
        release, run = state.find_latest(Release), state.find_latest(Run)
        package = state.lineage(Package, release, "package") if release else None
        run = state.lineage(Run, package, "run") if package else run
        scrubbed = state.lineage(Scrubbed, run, "scrubbed") if run else state.latest(Scrubbed)
        reviews = [one for one in state.all(Review) if one.inputs["scrubbed"] == scrubbed.digest]
        scores = [one for one in state.all(Scores) if run and one.inputs["run"] == run.digest]
        leaks = [one for one in state.all(Leaks) if run and one.inputs["run"] == run.digest]
        told = [one for one in state.all(Publication) if release and one.release == release.digest]
        decided = decisions_on(state, release.package) if release else []
        dossier = Dossier(
            project=state.charter.name,
            base_name=state.charter.base_name,
            base_digest=state.charter.base_digest,
            domain=state.domain(),
            policy=state.policy_of(package.inputs["policy"]) if package else state.policy(),
            standing=told[-1].status if told else "candidate",
            advice=state.lineage(Advice, run, "advice") if run else state.find_latest(Advice),
            scrubbed=scrubbed,
            review=reviews[-1] if reviews else None,
            run=run,
            scores=scores[-1] if scores else None,
            leaks=leaks[-1] if leaks else None,
            package=package,
            release=release,
            approvals=tuple(Decided(one.approver, one.decision, one.reason, one.time) for one in decided),
            events=state.events,
        )
        return write(dossier, out or self.root / "documents", form)

    def verify(self) -> Verified:
        """Check everything that the folder and MLflow hold; Tampered names the first thing that is wrong."""
        from sdk.project.verify import verify_project

        return verify_project(self.state(), registry=True)

    def ui_command(self, port: int) -> list[str]:
        """The command that serves the stock MLflow UI on this project, on 127.0.0.1 only."""
        from sdk.registry import Tracking, ui_command

        return ui_command(Tracking(self.root.resolve(), self.state().charter.tracking_uri), port)
