"""What every verb of a project has: its folder, one worker at a time, and the way to change its charter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdk.crypto.keyring import Ring
from sdk.errors import OutOfOrder
from sdk.project.charter import write_ring
from sdk.project.perform import recorded
from sdk.project.state import ProjectState
from sdk.records import OnProgress, canonical_json, sha256
from sdk.store import locked, pin_root, pinned_root

LOCK = "project.lock"


def _quiet(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    pass


def settings_digest(**settings: Any) -> str:
    return sha256(canonical_json(settings))


def common(state: ProjectState) -> dict[str, str]:
    return {"policy": state.policy().digest, "domain": state.domain_digest()}


class Base:
    """A folder in which one model is adapted under one policy. Make one with `create`, come back with `open`.

    pinned: digest of the project's first key ring, where the caller knows it from elsewhere.
    """

    def __init__(self, root: Path, on_progress: OnProgress | None = None, pinned: str | None = None) -> None:
        self.root = root
        self._on_progress = on_progress or _quiet
        self._pinned = pinned

    def state(self) -> ProjectState:
        return ProjectState(self.root, self._pinned)

    @contextmanager
    def _working(self) -> Iterator[ProjectState]:
        if not self.root.is_dir():
            raise OutOfOrder(f"{self.root} is not a project; make one with `sdk init`.")
        with locked(self.root / LOCK):
            state = self.state()
            if pinned_root(self.root) is None:
                pin_root(self.root, state.charter.root)
            yield state

    def _amend(self, state: ProjectState, action: str, changes: Mapping[str, Any], ring: Ring | None = None) -> None:
        """A new charter and, where given, a new key ring that an owner signs; an event, if anything changes."""
        if ring is not None:
            changes = {**changes, "ring": ring.digest}
        charter = state.charter.model_copy(update=dict(changes))
        if charter == state.charter:
            return
        with recorded(state, action, {"ring": ring.digest} if ring else {}) as made:
            if ring is not None:
                write_ring(self.root, ring, state.owner())
                state.rings = (*state.rings, ring)
            made["charter"] = state.records.put(charter)
            state.charter = charter
