"""What every verb of a project has: its folder, one worker at a time, and the way to change its charter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdk.charter import write_ring
from sdk.errors import OutOfOrder
from sdk.perform import recorded
from sdk.records import OnProgress, canonical_json, sha256
from sdk.ring import Ring
from sdk.store import locked, pin_root, pinned_root
from sdk.trail import Trail

LOCK = "project.lock"


def _quiet(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
    pass


def settings_digest(**settings: Any) -> str:
    return sha256(canonical_json(settings))


def common(trail: Trail) -> dict[str, str]:
    return {"policy": trail.policy().digest, "domain": trail.domain_digest()}


class Base:
    """A folder in which one model is adapted under one policy. Make one with `create`, come back with `open`.

    pinned: digest of the project's first key ring, where the caller knows it from elsewhere.
    """

    def __init__(self, root: Path, on_progress: OnProgress | None = None, pinned: str | None = None) -> None:
        self.root = root
        self._on_progress = on_progress or _quiet
        self._pinned = pinned

    def trail(self) -> Trail:
        return Trail(self.root, self._pinned)

    @contextmanager
    def _working(self) -> Iterator[Trail]:
        if not self.root.is_dir():
            raise OutOfOrder(f"{self.root} is not a project; make one with `sdk init`.")
        with locked(self.root / LOCK):
            trail = self.trail()
            if pinned_root(self.root) is None:
                pin_root(self.root, trail.charter.root)
            yield trail

    def _amend(self, trail: Trail, action: str, changes: Mapping[str, Any], ring: Ring | None = None) -> None:
        """A new charter and, where given, a new key ring that an owner signs; an event, if anything changes."""
        if ring is not None:
            changes = {**changes, "ring": ring.digest}
        charter = trail.charter.model_copy(update=dict(changes))
        if charter == trail.charter:
            return
        with recorded(trail, action, {"ring": ring.digest} if ring else {}) as made:
            if ring is not None:
                write_ring(self.root, ring, trail.owner())
                trail.rings = (*trail.rings, ring)
            made["charter"] = trail.records.put(charter)
            trail.charter = charter
