"""Loading a release in its own project, and what a machine without the project must know to load it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import Refused
from sdk.project.gather import find_release, gather
from sdk.project.perform import recorded
from sdk.project.state import ProjectState
from sdk.project.verify import verify_project
from sdk.records import Package, Release
from sdk.seal import PACKAGE

if TYPE_CHECKING:  # both load torch: what is refused by the log alone needs none
    from sdk.model.adapted import AdaptedModel
    from sdk.serve.admit import Admitted, Trust


def load_release(state: ProjectState, release: Release | str | None, package: Path | None) -> AdaptedModel:
    """Load a release (the champion by default) after the whole project has been verified. An event.

    package: a copy of the package elsewhere, to be used in place of the project's own. Raises Refused where the release
    was never promoted.
    """
    promotions = state.finished("promote")
    chosen = None if release is None else find_release(state, release)
    objects = {"release": chosen.digest, "package": chosen.package} if chosen else {}
    with recorded(state, "load", objects or (dict(promotions[-1].objects) if promotions else {})):
        if chosen is None and not promotions:
            raise Refused("No release has been approved yet; have it approved with `sdk approve`.")
        chosen = chosen or state.records.get(Release, promotions[-1].objects["release"])
        with admitted_release(state, chosen, package) as parts:
            return parts.load()


@contextmanager
def admitted_release(state: ProjectState, release: Release, package: Path | None = None) -> Iterator[Admitted]:
    """Give out what a release's model is made of, after the whole project has been verified and it may be served."""
    promotions = [event for event in state.finished("promote") if event.objects["release"] == release.digest]
    if not promotions:
        raise Refused(f"Package {release.package[:12]} was never promoted; see `sdk explain`.")
    verify_project(state, registry=state.charter.tracking_uri is None)
    from sdk.serve.admit import admitted

    sealed = state.lineage(Package, release, "package")
    folder = package or state.folder(sealed) / PACKAGE
    with admitted(folder, gather(state, release, promotions[-1]), trust_of(state), sealed.package) as parts:
        yield parts


def trust_of(state: ProjectState) -> Trust:
    """Return what a machine that serves the project's model must know beforehand."""
    from sdk.serve.admit import Trust

    return Trust(
        root=state.charter.root,
        base=state.charter.base,
        encryption_key=state.charter.encryption_key,
        keys=state.root.resolve(),
        ring=state.ring.digest,
        served=None,
    )
