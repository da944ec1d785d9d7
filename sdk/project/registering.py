"""Registering a package in MLflow as a release."""

from __future__ import annotations

from pathlib import Path

from sdk.project.inputs import reviews_of, settings_digest
from sdk.project.perform import Request, perform
from sdk.project.publishing import adaptation, release_tags
from sdk.project.state import ProjectState
from sdk.project.streaming import unsent
from sdk.records import OnProgress, Package, Release, Run, Scrubbed
from sdk.scrub import REPORTS
from sdk.store import check_ref, write_atomic


def register_request(state: ProjectState, package: Package, on_progress: OnProgress) -> Request[Release]:
    """Ask for the registration of a package, with its scrubbing's proofs and the figures that MLflow has not got."""
    run, scrubbed = state.lineage(Run, package, "run"), state.lineage(Scrubbed, package, "scrubbed")
    figures = unsent(state.root, run.request)
    inputs = {
        "package": package.digest,
        "settings": settings_digest(tracking_uri=state.charter.tracking_uri),
    }

    def work(folder: Path) -> Release:
        from sdk.registry import Tracking  # which loads mlflow, and matplotlib the other
        from sdk.registry.register import register

        return register(
            adaptation(state, package),
            state.folder(package),
            release_tags(state, package),
            Tracking(state.root, state.charter.tracking_uri),
            folder,
            on_progress,
            figures if figures.exists() else None,
            _scrubbing_proofs(state, scrubbed, folder),
        )

    return Request(Release, inputs, work)


def _scrubbing_proofs(state: ProjectState, scrubbed: Scrubbed, out: Path) -> dict[str, Path]:
    """Return what proves the scrubbing: artifact path -> file. The newest review is written to `out`."""
    folder = state.folder(scrubbed)
    proofs = {f"scrub/{ref.path}": check_ref(folder, ref) for ref in scrubbed.files if ref.path in REPORTS}
    reviews = reviews_of(state, scrubbed)
    if reviews:
        path = out / "review.json"
        write_atomic(path, reviews[-1].to_bytes() + b"\n")
        proofs[f"scrub/{path.name}"] = path
    return proofs


def register_package(state: ProjectState, package: Package, on_progress: OnProgress) -> Release:
    """Register a package; what its training had not sent to MLflow is sent then, and goes."""
    release = perform(state, register_request(state, package, on_progress))
    unsent(state.root, state.lineage(Run, package, "run").request).unlink(missing_ok=True)
    return release
