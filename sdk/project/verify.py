"""The long check over everything that a project's folder holds. It raises Tampered at the first thing that is wrong.

1. the key rings and the audit log: its tree, its signed checkpoint, every holder of an earlier one
2. every policy that was in force, the domain, and the project's keys are those of the charter
3. every record that the log names is there, unaltered, and none besides
4. every file in a step's folder is the recorded one, and none is there besides; a sealed run's plain adapter is gone
5. every package: signature, manifest, files, provenance, and that the behaviour in it is the one that was measured; of
   what was exported the papers that are kept here
6. every decision: what its record says is what its envelope signs, by a key of the key ring
7. what was promoted was sealed under rules that the owner had put in force
8. the base model is the one that was adapted
9. every release: MLflow says what its record says and nothing besides; the model's aliases point to what was promoted
   and registered last
10. what lies in the folder besides: nothing in a link's place or in artifacts/; elsewhere it is named in a note

Steps 8 and 9 load torch and mlflow, and hash what may be many gigabytes: they come after all that small files answer.
"""

from __future__ import annotations

from sdk.approve import read_decision
from sdk.crypto.keyring import Term, terms
from sdk.errors import Remedy, Tampered, another
from sdk.files.regular_files import ENVELOPE_BYTES, read_regular
from sdk.files.store import ASIDE, POLICIES, check_ref
from sdk.policy import loosened
from sdk.project.export_papers import check_exports
from sdk.project.gather import in_force_when_sealed, trainer_pem
from sdk.project.inventory import check_inventory, unnamed
from sdk.project.publishing import BASE_TAG, HEAD_TAG, adaptation, exports_of, standing_of
from sdk.project.sealing import behaviour_ref
from sdk.project.state import ProjectState
from sdk.records import (
    STEP_RECORDS,
    Approval,
    Charter,
    FileRef,
    Package,
    Publication,
    Release,
    Scores,
    StepRecord,
    Verified,
    sha256,
)
from sdk.seal import ADAPTER, BEHAVIOUR, PACKAGE, PROVENANCE, Manifest, check_provenance, open_package


def check_records(state: ProjectState) -> list[StepRecord]:
    """Check step 3. Return every finished record."""
    records = [record for kind in STEP_RECORDS for record in state.distinct(kind)]
    named = named_records(state, records)
    for digest in sorted(named - {record.digest for record in records}):
        state.records.get(Charter, digest)
    present = {path.name.removesuffix(".json") for path in state.records.folder.iterdir() if path.suffix != ASIDE}
    # a record is stored just before its event; a crash between the two leaves one that nobody was told of
    extra = sorted(f"{name}.json" for name in present - named)
    if len(extra) > 1:
        raise Tampered(
            f"{state.records.folder} holds records that the audit log does not name.", extra, remedy=Remedy.PROJECT
        )
    missing = sorted(f"{state.records.folder / name}.json is missing" for name in named - present)
    if missing:
        raise Tampered("Records are missing.", missing, remedy=Remedy.PROJECT)
    return records


def named_records(state: ProjectState, records: list[StepRecord]) -> set[str]:
    """Return the digests of the steps' records and of every charter."""
    charters = {event.objects["charter"] for event in state.events if "charter" in event.objects}
    return charters | {record.digest for record in records}


def _left(record: StepRecord, sealed_under: set[str]) -> tuple[FileRef, ...]:
    """Return the files that are left: a sealed run keeps its checkpoint only, if trained under the package's policy."""
    if not sealed_under:
        return record.files
    if sealed_under != {record.inputs["policy"]}:
        return ()
    return tuple(ref for ref in record.files if not ref.path.startswith(f"{ADAPTER}/"))


def check_files(state: ProjectState, records: list[StepRecord]) -> int:
    """Check step 4. Return how many files were compared."""
    sealed = {(package.inputs["run"], package.inputs["policy"]) for package in state.distinct(Package)}
    checked = 0
    for record in records:
        folder = state.folder(record)
        refs = _left(record, {policy for run, policy in sealed if run == record.digest})
        expected = {check_ref(folder, ref) for ref in refs}
        checked += len(refs)
        present = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
        extra = sorted(str(path) for path in present - expected if path.suffix != ASIDE)
        if extra:
            raise Tampered(f"{folder} holds files that its record does not name.", extra, remedy=Remedy.PROJECT)
    return checked


def check_packages(state: ProjectState) -> int:
    """Check step 5. Return how many packages there are."""
    packages = state.distinct(Package)
    for package in packages:
        folder, pem = state.folder(package), trainer_pem(state, package)
        manifest = open_package(folder / PACKAGE, package, pem, None)
        _require_measured(state, package, manifest)
        path = folder / PROVENANCE
        check_provenance(read_regular(path, ENVELOPE_BYTES, Remedy.PROJECT), manifest, package.package, pem, str(path))
    return len(packages)


def _require_measured(state: ProjectState, package: Package, manifest: Manifest) -> None:
    measured = behaviour_ref(state.lineage(Scores, package, "scores"))
    sealed = {ref.path: ref.sha256 for ref in manifest.files}.get(BEHAVIOUR)
    if sealed is not None and (measured is None or measured.sha256 != sealed):
        raise Tampered(
            f"Package {package.package[:12]} holds another {BEHAVIOUR} than its evaluation left.",
            remedy=Remedy.PROJECT,
            expected=measured.sha256 if measured else "none",
            found=sealed,
        )


def check_approvals(state: ProjectState) -> int:
    """Check step 6. Return how many decisions there are. Whether one counts is the verdict's matter."""
    approvals = state.distinct(Approval)
    for approval in approvals:
        name = f"the decision by {approval.approver}"
        said, digests, member = read_decision(approval.envelope.encode(), state.ring, name)
        signed = {**said.model_dump(), **digests.model_dump(), "key": member.key_id, "policy digest": digests.policy}
        recorded = {
            "decision": approval.decision,
            "person": approval.approver,
            "reason": approval.reason,
            "time": approval.time,
            "expires": approval.expires,
            "package": approval.package,
            "report": approval.inputs["report"],
            "policy digest": approval.inputs["policy"],
            "key": approval.key_fingerprint,
        }
        faults = [
            # a reason is a person's free text: an error shows its digest
            another(what, *(sha256(str(one).encode()) if what == "reason" else one for one in (signed[what], value)))
            for what, value in recorded.items()
            if signed[what] != value
        ]
        if faults:
            raise Tampered(f"{name} is not what its envelope signs.", faults, remedy=Remedy.PROJECT)
    return len(approvals)


def check_promoted(state: ProjectState) -> None:
    """Check step 7. What 0.1.0 promoted, before the owner had signed any rules, is for the notes."""
    signed = [ring for ring in state.rings if ring.rules is not None]
    if not signed:
        return
    first = signed[0].log.size if signed[0].log is not None else 0
    for event in state.finished("promote"):
        release = state.records.get(Release, event.objects["release"])
        fault = in_force_when_sealed(state, state.lineage(Package, release, "package")).fault
        if fault is not None and event.seq >= first:
            raise Tampered(f"Event {event.seq} promotes a package that must not be. {fault}", remedy=Remedy.LOG)


def _note_on_term(state: ProjectState, term: Term) -> str | None:
    """Say in what a policy is looser than the one that it replaced. None if it is not."""
    if term.before is None:
        return None
    policy, before = state.policy_of(term.rules.policy_digest), state.policy_of(term.before.policy_digest)
    looser = "; ".join(loosened(before, policy))
    return looser and (
        f"{policy.name}, in force from event {term.begin}, is looser than {before.name}, which it replaced: {looser}. "
        f"What was sealed under it needs of approvals what the stricter of the two asks."
    )


def notes_on_rules(state: ProjectState) -> list[str]:
    """Return what a reader of the project should know of the rules: none signed, loosened, or of a package's own."""
    if state.ring.rules is None:
        return [
            f"The key ring names no rules in force, as 0.1.0 left it: nothing shows that the owner allowed "
            f"{state.charter.policy}, and no release is served. The owner runs `sdk adopt --project {state.root}`, "
            "which signs the policy and the domain that the project works under, and publishes the champion again."
        ]
    notes = [note for term in terms(state.rings) if (note := _note_on_term(state, term))]
    for package in state.distinct(Package):
        fault = in_force_when_sealed(state, package).fault
        if fault is not None:
            notes.append(f"Package {package.package[:12]} cannot be served. {fault}")
    return notes


def check_policies(state: ProjectState, records: list[StepRecord]) -> list[str]:
    """Check step 2: every policy that something was done under, and the one in force, lies under its digest.

    Return those that nothing was done under: one that was adopted and replaced unused, or one that somebody added.
    """
    kept = {path.name.removesuffix(".json") for path in (state.root / POLICIES).iterdir() if path.suffix != ASIDE}
    used = {record.inputs["policy"] for record in records if "policy" in record.inputs} | {state.policy().digest}
    for digest in sorted(kept | used):
        state.policy_of(digest)
    return unnamed(state.root / POLICIES, used)


def check_base(state: ProjectState) -> None:
    """Check step 8."""
    from sdk.model import open_base

    with open_base(state.pinned_base()):
        pass  # opening it is the check


def check_registry(state: ProjectState, release: Release) -> None:
    """Check step 9 for a release. The checkpoints that MLflow holds must be of this very log, too."""
    from sdk.registry import Standing, Tracking, check_release, read_version

    tracking = Tracking(state.root, state.charter.tracking_uri)
    package = state.lineage(Package, release, "package")
    publications = [one for one in state.all(Publication) if one.release == release.digest]
    standing = standing_of(publications[-1]) if publications else Standing()
    governance = next((one.files for one in reversed(publications) if one.files), ())
    tags = {BASE_TAG: package.inputs["base"]}
    check_release(release, adaptation(state, package), tags, tracking, governance, standing, (HEAD_TAG,))
    exports = exports_of(state, release)
    if exports and publications:
        from sdk.registry.exports import check_exports_logged

        check_exports_logged(tracking, release, exports, publications[-1].status)
    version = read_version(tracking, release.model_name, release.version)
    name = f"MLflow, {release.model_name} version {release.version}"
    heads = [("tag", version.tags.get(HEAD_TAG, ""))]
    if version.earlier or HEAD_TAG in version.run_tags:
        heads.append(("the run's tag", version.run_tags.get(HEAD_TAG, "")))
    for what, head in heads:
        state.check_checkpoint(head.encode(), f"{name}, {what} {HEAD_TAG}")


def check_registered_model(state: ProjectState, releases: list[Release]) -> None:
    """Check step 9 for the model. Where none was promoted, or MLflow is yet to be told, no version is its champion."""
    from sdk.registry import Tracking, check_model

    champions = [one for one in state.all(Publication) if one.status == "champion"]
    version = state.records.get(Release, champions[-1].release).version if champions else None
    check_model(Tracking(state.root, state.charter.tracking_uri), releases, version)


def verify_project(state: ProjectState, registry: bool) -> Verified:
    """Check steps 2 to 10; step 1 was done when the log was read. registry=False leaves out step 9."""
    state.policy()
    state.domain()
    state.check_keys()
    records = check_records(state)
    unused = check_policies(state, records)
    added = check_inventory(state)
    files = check_files(state, records)
    packages, approvals, exports = check_packages(state), check_approvals(state), check_exports(state)
    check_promoted(state)
    check_base(state)
    releases = state.distinct(Release) if registry else []
    for release in releases:
        check_registry(state, release)
    if releases:
        check_registered_model(state, releases)
    return Verified(
        events=len(state.events),
        records=len(records),
        files=files,
        packages=packages,
        approvals=approvals,
        exports=exports,
        root=state.charter.root,
        checkpoint=state.audit.checkpoint().decode(),
        keep_until=state.keep_until(),
        notes=(
            *state.notes(),
            *notes_on_rules(state),
            *added,
            *unused,
            *unnamed(state.records.folder, named_records(state, records)),
        ),
    )
