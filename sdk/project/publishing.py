"""What MLflow is told of a release: what it is made of, where it stands, and which one is the champion."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.approve import COUNTS, Verdict, require_allowed
from sdk.audit import Event
from sdk.non_inferiority import held_against
from sdk.project.gather import decisions_on, gather, judge_release, last_promotion, objects_of
from sdk.project.inputs import settings_digest
from sdk.project.perform import Request, perform, recorded
from sdk.project.sealing import BENCHMARKS
from sdk.project.state import ProjectState
from sdk.records import (
    Advice,
    Approval,
    Benchmarks,
    Decision,
    Export,
    Leaks,
    Package,
    Publication,
    Release,
    Run,
    Scores,
    Scrubbed,
    StandingDecision,
    Status,
)
from sdk.serve.evidence import write_evidence

if TYPE_CHECKING:  # which loads mlflow: each function that tells it something imports it
    from sdk.registry import Adaptation, Standing

BASE_TAG = "sdk.base"
HEAD_TAG = "sdk.audit_head"
COUNTED: Mapping[str, Decision] = {"approve.reviews": "review", "approve.approvals": "approve"}
UNSAID = frozenset({"policy", "ring", "digests", "now"})  # what a verdict must have anyhow


def adaptation(state: ProjectState, package: Package) -> Adaptation:
    """Gather what MLflow is told of a package from the records."""
    from sdk.registry import Adaptation

    measured = tuple(state.lineage(Benchmarks, package, name) for name in package.inputs if name.startswith(BENCHMARKS))
    bounds = state.policy_of(package.inputs["policy"]).evaluate.forgetting or {}
    changes = held_against(bounds, {name: result for each in measured for name, result in each.results.items()})
    return Adaptation(
        project=state.charter.name,
        model_name=state.charter.name,
        domain=package.domain,
        policy=package.policy,
        advice=state.lineage(Advice, package, "advice"),
        scrubbed=state.lineage(Scrubbed, package, "scrubbed"),
        run=state.lineage(Run, package, "run"),
        scores=state.lineage(Scores, package, "scores"),
        package=package,
        leaks=state.lineage(Leaks, package, "leaks") if "leaks" in package.inputs else None,
        base_source=state.charter.base_source,
        base_license=state.charter.base_license,
        benchmarks=measured,
        forgetting={name: change for name, change in changes.items() if change},
    )


def release_tags(state: ProjectState, package: Package) -> dict[str, str]:
    """Return the tags beside the package's own: the base, and a checkpoint, so that MLflow holds the log's head too."""
    return {BASE_TAG: package.inputs["base"], HEAD_TAG: state.audit.checkpoint().decode()}


def standing_of(publication: Publication) -> Standing:
    from sdk.registry import Standing

    return Standing(publication.status, publication.decisions, publication.checks, publication.decided)


def publish_request(state: ProjectState, release: Release, again: bool = False) -> Request[Publication]:
    """Ask that MLflow be told where a release stands, with the proofs that loaders need if it was promoted last.

    Also when it may no longer be served: loaders find the rejection or the revocation among the proofs.
    again: MLflow is told even if nothing has changed.
    """
    champion = last_promotion(state)
    publication = _where_it_stands(state, release, judge_release(state, release), champion)
    inputs = {
        "release": release.digest,
        "ring": state.charter.ring,
        "settings": settings_digest(
            said=publication.model_dump(mode="json"),
            promoted=champion.seq if champion else None,
            turn=len(state.finished(Publication.step)) if again else 0,
        ),
    }

    def work(folder: Path) -> Publication:
        from sdk.registry import Tracking, publish

        shutil.rmtree(folder, ignore_errors=True)
        if champion is not None and champion.objects["release"] == release.digest:
            write_evidence(gather(state, release, champion), folder)
        package = state.lineage(Package, release, "package")
        publish(
            Tracking(state.root, state.charter.tracking_uri),
            release,
            adaptation(state, package),
            standing_of(publication),
            {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()},
            release_tags(state, package),
        )
        exports = exports_of(state, release)
        if exports:
            from sdk.registry.exports import log_exports

            folders = {record.digest: state.folder(record) for record in exports}
            log_exports(Tracking(state.root, state.charter.tracking_uri), release, exports, folders, publication.status)
        return publication

    return Request(Publication, inputs, work)


def exports_of(state: ProjectState, release: Release) -> list[Export]:
    """Return what of a release has left in plain, oldest first."""
    return [record for record in state.distinct(Export) if record.release == release.digest]


def _where_it_stands(state: ProjectState, release: Release, verdict: Verdict, champion: Event | None) -> Publication:
    decisions = decisions_on(state, release.package)
    last = {approval.approver: approval for approval in decisions}
    decided = _decided(verdict, decisions)
    is_champion = champion is not None and champion.objects["release"] == release.digest
    status: Status = "candidate"
    if any(reason.rule == "rejection" and not reason.holds for reason in verdict.reasons):
        status = "rejected"
    elif verdict.allowed:
        status = "champion" if is_champion else "approved"
    elif is_champion:
        status = "withdrawn"
    return Publication(
        release=release.digest,
        package=release.package,
        status=status,
        decisions=tuple(f"{one.decision} by {one.approver}, {one.time[:10]}: {one.reason}" for one in last.values()),
        checks=tuple(_checks(verdict, decided)),
        decided=decided,
    )


def _decided(verdict: Verdict, decisions: Sequence[Approval]) -> tuple[StandingDecision, ...]:
    """Return every decision with what the verdict says of it: counts, or why not."""
    said = {reason.rule: reason.text for reason in verdict.reasons}
    decided = []
    for number, one in enumerate(decisions, 1):
        text = said.get(f"decision {number}", "")
        note = text.removeprefix(f"{one.decision} by {one.approver}: ")
        facts = {"decision": one.decision, "person": one.approver, "time": one.time, "reason": one.reason}
        decided.append(StandingDecision.model_validate({**facts, "counts": note == COUNTS, "note": note}))
    return tuple(decided)


def _checks(verdict: Verdict, decided: Sequence[StandingDecision]) -> Iterator[str]:
    """Say what a reviewer asks: how many approved, who, when and why; that nobody rejects it; under which rules.

    What goes without saying is told where it does not hold: that there is a policy, a key ring, a time. Decisions
    have a table of their own.
    """
    for reason in verdict.reasons:
        if not reason.holds:
            yield f"no: {reason.text}"
        elif reason.rule in COUNTED:
            counted = [one for one in decided if one.counts and one.decision == COUNTED[reason.rule]]
            number = reason.text.partition(":")[0]
            who = "; ".join(f"{one.person} on {one.time[:10]}: {one.reason}" for one in counted)
            if who or not number.startswith("0 of 0"):
                yield f"yes: {number}" + (f" by {who}" if who else "")
        elif reason.rule not in UNSAID and not reason.rule.startswith("decision "):
            yield f"yes: {reason.text}"


def promote_release(state: ProjectState, release: Release, again: bool = False) -> Publication:
    """Make a release the champion, if its verdict allows it, and tell MLflow of it and of the champion before it.

    A promotion on the same grounds is not repeated. again: MLflow is told even if nothing has changed.
    """
    objects = objects_of(state, release)
    champion = last_promotion(state)
    if champion is None or dict(champion.objects) != objects:
        before = state.records.get(Release, champion.objects["release"]) if champion else None
        with recorded(state, "promote", objects):
            require_allowed(judge_release(state, release))
        if before is not None and before.digest != release.digest:
            perform(state, publish_request(state, before))
    return perform(state, publish_request(state, release, again))


def follow_up(state: ProjectState, release: Release) -> None:
    """Promote the newest release, after a registration or a decision, if it may be; tell MLflow in any case."""
    newest = state.latest(Release).digest == release.digest
    if newest and judge_release(state, release).allowed:
        promote_release(state, release)
    else:
        perform(state, publish_request(state, release))
