"""Registering a package in MLflow as a release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sdk.files.store import check_ref, write_atomic
from sdk.policy import Demand, demands
from sdk.project.gather import sealing_event
from sdk.project.inputs import reviews_of, settings_digest
from sdk.project.measure_requests import score_facts
from sdk.project.perform import Request, perform
from sdk.project.publishing import adaptation, release_tags
from sdk.project.scrub_requests import scrub_facts
from sdk.project.sealing import leak_facts, retention_facts
from sdk.project.state import ProjectState
from sdk.project.streaming import unsent
from sdk.project.train_requests import train_facts
from sdk.records import NO_GROUPS, Leaks, OnProgress, Package, Release, Run, Scores, Scrubbed
from sdk.scrub import REPORTS

MIN_K = "scrub.min_k"


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
            replace(
                adaptation(state, package),
                sealed=sealing_event(state, package).time,
                demands=tuple(_demands(state, package)),
            ),
            state.folder(package),
            release_tags(state, package),
            Tracking(state.root, state.charter.tracking_uri),
            folder,
            on_progress,
            figures if figures.exists() else None,
            _scrubbing_proofs(state, scrubbed, folder),
        )

    return Request(Release, inputs, work)


def _demands(state: ProjectState, package: Package) -> list[Demand]:
    """Return what the policy of a package asks of its data, training, scores, leaks and weights. Approvals follow."""
    policy = state.policy_of(package.inputs["policy"])
    run, scrubbed = state.lineage(Run, package, "run"), state.lineage(Scrubbed, package, "scrubbed")
    scores = state.lineage(Scores, package, "scores")
    leaks = state.lineage(Leaks, package, "leaks") if "leaks" in package.inputs else None
    results = adaptation(state, package).benchmark_results
    facts = (
        scrub_facts(scrubbed, detect=policy.scrub.required or bool(scrubbed.counts)),
        train_facts(state, scrubbed, run.settings),
        score_facts(state, scores),
        retention_facts(policy, results),
        leak_facts(leaks),
    )
    asked = [demand for fact in facts for demand in demands(policy, fact)]
    if not policy.scrub.quasi_identifiers:
        asked = [one.model_copy(update={"found": NO_GROUPS}) if one.rule == MIN_K else one for one in asked]
    return asked


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
