"""A project that this user cannot write to: an auditor's read-only mount, or a folder of somebody else's.

What is done there and must be recorded is recorded by this machine, in a log of its own in its state folder, under a
key of its own: reading the events, and loading the model. Nothing else is done there, because everything else writes
into the project. docs/decisions/0014 says why a log elsewhere is as good.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sdk import crypto
from sdk.audit import Audit, Event, Phase
from sdk.errors import InvalidInput, StepFailed, Unrecorded
from sdk.files.store import held_checkpoint, locked, log_origin, state_folder, write_atomic
from sdk.project.state import DECISIONS, ProjectState

KEY = "log.pem"


def is_read_only(root: Path) -> bool:
    """Tell whether this user can write neither to the project's folder nor to its log, by mode or by mount.

    A folder of which only a part cannot be written to is a fault, and what is done there fails as it does.
    """
    folders = (root, root / "audit")
    return all(os.path.isdir(folder) and not os.access(folder, os.W_OK) for folder in folders)


def machine_log(root: str) -> Path:
    """Return the folder of this machine's own log about a project, by the project's root."""
    return state_folder() / "read-only" / root


class ReadOnlyState(ProjectState):
    """A reading of such a project, which is verified as any other; its events go to this machine's log."""

    def append(
        self,
        action: str,
        phase: Phase,
        objects: Mapping[str, str],
        detail: Mapping[str, str],
        actor: tuple[str, str] | None = None,
    ) -> Event:
        folder = machine_log(self.charter.root)
        try:
            key = _open_key(folder)
            log = Audit(folder / "audit", f"{log_origin(self.charter.root)}/read-only")
            decision = DECISIONS[phase]
            event = log.append(key, action, phase, objects, self.charter.policy, detail, actor, decision=decision)
            # as the project's own events do, so that this machine notices when the project's log is cut or forked
            write_atomic(held_checkpoint(self.charter.root), self.audit.checkpoint())
            return event
        except (StepFailed, InvalidInput) as error:
            raise Unrecorded(f"{error.message} Nothing is done without a record.") from error

    @property
    def recorded_in(self) -> Path:
        return machine_log(self.charter.root) / "audit"

    def check_keys(self) -> None:
        """Compare the keys in the folder, unless it is somebody else's, whose keys nobody else can open."""
        if not self._is_anothers:
            super().check_keys()

    def notes(self) -> list[str]:
        notes = [f"this user cannot write to {self.root}; loads and readings are recorded in {self.recorded_in}."]
        if self._is_anothers:
            notes.append(f"{self.root} belongs to another user, so the keys in it were not compared with the key ring.")
        return [*super().notes(), *notes]

    @property
    def _is_anothers(self) -> bool:
        return self.root.stat().st_uid != os.geteuid()


def _open_key(folder: Path) -> crypto.Signer:
    """Open the key of this machine's log, which is made with its first event."""
    if not (folder / KEY).exists():
        with locked(folder / "making.lock"):
            if not (folder / KEY).exists():
                key = crypto.LogKey.random()
                crypto.save_key(key, folder / KEY)
                crypto.save_public_key(key, folder / f"{KEY}.pub")
    return crypto.open_signer(f"file:{KEY}", folder)
