"""Gather from a project's log and records a release, and what shows that it was approved and promoted."""

from __future__ import annotations

from datetime import UTC, datetime

from sdk import crypto
from sdk.approve import Case, InForceWhenSealed, Verdict, judge
from sdk.audit import Event, History, write_consistency
from sdk.crypto.keyring import find_term
from sdk.errors import InvalidInput, Refused
from sdk.files.store import RINGS
from sdk.project.state import ProjectState, read_ring_files
from sdk.records import Approval, Package, Publication, Release, Rewrapped, canonical_json, sha256
from sdk.seal import Manifest, key_context
from sdk.serve.evidence import Evidence, Sealing, find_trainer


def find_release(state: ProjectState, wanted: Release | str | None) -> Release:
    """Find a release by the beginning of its package's digest; None: the newest. Raises InvalidInput but for one."""
    if isinstance(wanted, Release):
        return wanted
    if wanted is None:
        return state.latest(Release)
    digest = wanted.removeprefix("sha256:")
    releases = [release for release in state.distinct(Release) if release.package.startswith(digest)]
    if len(releases) != 1 or not digest:
        known = [f"{release.package[:12]}: version {release.version}" for release in state.all(Release)]
        raise InvalidInput(f"{len(releases)} releases have a package of digest {digest[:64]}; name one of:", known)
    return releases[0]


def last_promotion(state: ProjectState) -> Event | None:
    """Return the event that made the champion."""
    promotions = state.finished("promote")
    return promotions[-1] if promotions else None


def report_digest(release: Release) -> str:
    """Return the SHA-256 of the report that a reviewer saw."""
    return next(ref.sha256 for ref in release.artifacts if ref.path == "report.html")


def decisions_on(state: ProjectState, package: str) -> list[Approval]:
    """Return every decision over a package, in the order of the log."""
    return [approval for approval in state.distinct(Approval) if approval.package == package]


def objects_of(state: ProjectState, release: Release) -> dict[str, str]:
    """Return what a promotion's event names, so that one line of the log proves what was decided on which grounds."""
    package = state.lineage(Package, release, "package")
    decided = decisions_on(state, release.package)
    return {
        "release": release.digest,
        "package": release.package,
        "policy": package.inputs["policy"],
        "report": report_digest(release),
        "ring": state.charter.ring,
        **{f"decision.{i:04}": sha256(one.envelope.encode()) for i, one in enumerate(decided, 1)},
    }


def sealing_event(state: ProjectState, package: Package) -> Event:
    """Return the event of a package's sealing: the first, where the same was asked for again."""
    return next(event for event in state.finished(Package.step) if event.objects["record"] == package.digest)


def in_force_when_sealed(state: ProjectState, package: Package) -> InForceWhenSealed:
    """Tell whether the owner had put a package's policy and domain in force when it was sealed."""
    digests = package.inputs["policy"], package.inputs["domain"]
    try:
        before = find_term(state.rings, *digests, sealing_event(state, package).seq).before
    except Refused as refused:
        return InForceWhenSealed(refused.message, None)
    return InForceWhenSealed(None, None if before is None else state.policy_of(before.policy_digest))


def judge_release(state: ProjectState, release: Release) -> Verdict:
    """Judge whether a release may be served now, with every reason for and against."""
    package = state.lineage(Package, release, "package")
    return judge(
        Case(
            package=release.package,
            policy=state.policy_of(package.inputs["policy"]),
            in_force=in_force_when_sealed(state, package),
            report=report_digest(release),
            ring=state.ring,
            decisions=tuple(one.envelope.encode() for one in decisions_on(state, release.package)),
            trainer=package.key_fingerprint,
            now=max(datetime.now(UTC), datetime.fromisoformat(state.events[-1].time)),
        )
    )


def trainer_pem(state: ProjectState, package: Package) -> str:
    """Return the public key, in PEM format, that signed a package."""
    return str(find_trainer(state.ring, package.key_fingerprint, f"Package {package.package[:12]}").public_key)


def rewrapped_key(state: ProjectState, package: Package) -> str | None:
    """Return the package's data key as a rotation of the encryption key has wrapped it. None: as in its manifest."""
    in_force = {member.key_id for member in state.ring.with_role("encryption") if member.revoked is None}
    for record in reversed(state.all(Rewrapped)):
        if record.key_id in in_force and package.package in record.wrapped:
            return record.wrapped[package.package]
    return None


def data_key(state: ProjectState, package: Package, manifest: Manifest) -> crypto.Secret | None:
    """Unwrap the package's data key. None if its weights are not encrypted."""
    wrapped = rewrapped_key(state, package) or manifest.wrapped_data_key
    return state.wrapper().unwrap(wrapped, key_context(manifest.package_id)) if wrapped else None


def gather(state: ProjectState, release: Release, promotion: Event) -> Evidence:
    """Gather the files that let a machine without the project see that this release was approved and promoted."""
    package = state.lineage(Package, release, "package")
    seen, published = {ring.log.size for ring in state.rings if ring.log is not None}, published_sizes(state)
    history = state.audit.prove_history([promotion.seq, sealing_event(state, package).seq], seen | published)
    rewrapped, before = rewrapped_key(state, package), in_force_when_sealed(state, package).before
    return Evidence(
        rings=read_ring_files(state.root / RINGS)[: len(state.rings)],
        policy=canonical_json(state.policy_of(package.inputs["policy"]).model_dump(mode="json")),
        report=report_digest(release),
        decisions=tuple(one.envelope.encode() for one in decisions_on(state, release.package)),
        line=history.lines[0],
        proof=history.inclusion[0],
        data_key=canonical_json({"wrapped": rewrapped}) if rewrapped else None,
        sealing=Sealing(
            record=package.to_bytes(),
            line=history.lines[1],
            proof=history.inclusion[1],
            consistency=_consistency(history, seen),
            published=_consistency(history, published),
        ),
        policy_before=None if before is None else canonical_json(before.model_dump(mode="json")),
    )


def _consistency(history: History, sizes: set[int]) -> bytes:
    return write_consistency({size: hashes for size, hashes in history.consistency.items() if size in sizes})


def published_sizes(state: ProjectState) -> set[int]:
    """Return how many events the log may have had when MLflow was told of a release: what a machine may have served.

    That is once the event of the beginning stood there, and before that of the end: others that only read may have
    written theirs in between.
    """
    sizes, begun = set(), None
    for event in state.events:
        if event.action != Publication.step:
            continue
        if begun is not None and event.phase != "started":
            sizes |= set(range(begun + 1, event.seq + 1))
        begun = event.seq if event.phase == "started" else None
        if begun is not None:
            sizes.add(begun + 1)
    return sizes
