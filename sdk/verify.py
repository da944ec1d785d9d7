"""The long check over everything that a project's folder holds. It raises Tampered at the first thing that is wrong.

1. the audit trail: its chain, every signature, its head
2. the policy, the domain and the two keys are those of the charter
3. every record that the trail names is there, unaltered, and none besides
4. every file in a step's folder is the recorded one, and none is there besides; a sealed run's plain adapter is gone
5. the base model is the one that was adapted
6. every package: identity, signature, files
7. every approval: its signature, by a key that the project knows
8. every release: MLflow says what its record says
"""

from __future__ import annotations

from sdk.approve import check_approval
from sdk.errors import Refused, Tampered
from sdk.model import base_digest
from sdk.records import (
    Advice,
    Approval,
    Calibration,
    Charter,
    FileRef,
    Leaks,
    Package,
    Pilot,
    Record,
    Release,
    Review,
    Run,
    Scores,
    Scrubbed,
    Verified,
)
from sdk.registry import Adaptation, Tracking, check_release, read_version
from sdk.seal import ADAPTER, open_package
from sdk.store import ASIDE, check_ref
from sdk.trail import Trail

KINDS: dict[str, type[Record]] = {
    "advise": Advice,
    "scrub": Scrubbed,
    "review": Review,
    "train": Run,
    "evaluate": Scores,
    "leaks": Leaks,
    "seal": Package,
    "register": Release,
    "approve": Approval,
    "probe": Calibration,
    "pilot": Pilot,
}


BASE_TAG = "sdk.base"
HEAD_TAG = "sdk.audit_head"


def check_records(trail: Trail) -> dict[str, list[Record]]:
    """Step 3: step -> its finished records."""
    named = {event.objects["charter"] for event in trail.events if "charter" in event.objects}
    for digest in sorted(named):
        trail.records.get(Charter, digest)
    records: dict[str, list[Record]] = {}
    for step, kind in KINDS.items():
        records[step] = list({record.digest: record for record in trail.all(kind, step)}.values())
        named |= {record.digest for record in records[step]}
    found = {path.name.removesuffix(".json") for path in trail.records.folder.iterdir() if path.suffix != ASIDE}
    # a record is stored just before its event; a crash between the two leaves one that nobody was told of
    extra = sorted(f"{name}.json" for name in found - named)
    if len(extra) > 1:
        raise Tampered(f"{trail.records.folder} holds records that the trail does not name.", extra)
    missing = sorted(f"{trail.records.folder / name}.json is missing" for name in named - found)
    if missing:
        raise Tampered("Records are missing.", missing)
    return records


def _left(record: Record, sealed_under: set[str]) -> tuple[FileRef, ...]:
    """A sealed run keeps its checkpoint alone, and that only where it was trained under the policy of the package."""
    if not sealed_under:
        return record.files
    if sealed_under != {record.inputs["policy"]}:
        return ()
    return tuple(ref for ref in record.files if not ref.path.startswith(f"{ADAPTER}/"))


def check_files(trail: Trail, records: dict[str, list[Record]]) -> int:
    """Step 4: how many files were compared."""
    sealed = {(package.inputs["run"], package.inputs["policy"]) for package in records["seal"]}
    checked = 0
    for step, made in records.items():
        for record in made:
            folder = trail.folder(step, record.inputs)
            refs = _left(record, {policy for run, policy in sealed if run == record.digest})
            expected = {check_ref(folder, ref) for ref in refs}
            checked += len(refs)
            present = {path for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
            extra = sorted(str(path) for path in present - expected if path.suffix != ASIDE)
            if extra:
                raise Tampered(f"{folder} holds files that its record does not name.", extra)
    return checked


def check_packages(trail: Trail, packages: list[Record]) -> None:
    """Step 6."""
    for package in packages:
        assert isinstance(package, Package)
        open_package(trail.folder("seal", package.inputs), package, trail.trainer.public_key)


def check_approvals(trail: Trail, approvals: list[Record]) -> None:
    """Step 7."""
    for approval in approvals:
        assert isinstance(approval, Approval)
        try:
            check_approval(approval, trail.charter.holders)
        except Refused as error:
            raise Tampered(f"The approval by {approval.approver} cannot stand: {error}") from None


def check_base(trail: Trail) -> None:
    """Step 5."""
    folder = trail.base_folder()
    if base_digest(folder) != trail.charter.base_digest:
        raise Tampered(f"{folder} is not the base model that this project adapts: its digest differs.")


def adaptation(trail: Trail, package: Package) -> Adaptation:
    """What MLflow is told of a package, from the records."""
    return Adaptation(
        project=trail.charter.name,
        model_name=trail.charter.name,
        domain=package.domain,
        policy=package.policy,
        advice=trail.lineage(Advice, package, "advice"),
        scrubbed=trail.lineage(Scrubbed, package, "scrubbed"),
        run=trail.lineage(Run, package, "run"),
        scores=trail.lineage(Scores, package, "scores"),
        package=package,
        leaks=trail.lineage(Leaks, package, "leaks") if "leaks" in package.inputs else None,
    )


def check_registry(trail: Trail, release: Release) -> None:
    """Step 8. The head of the trail that MLflow holds must be one of the trail's events."""
    tracking = Tracking(trail.root, trail.charter.tracking_uri)
    package = trail.lineage(Package, release, "package")
    check_release(release, adaptation(trail, package), {BASE_TAG: package.inputs["base"]}, tracking)
    head = read_version(tracking, release.model_name, release.version).tags.get(HEAD_TAG)
    if head not in {event.hash for event in trail.events}:
        raise Tampered(
            f"{trail.audit.path} was cut or replaced: MLflow, {release.model_name} version {release.version}, "
            "holds the hash of an event that it lacks."
        )


def verify_project(trail: Trail, registry: bool) -> Verified:
    """Step 1 was done when the trail was read. registry=False leaves out step 8, where MLflow is another machine's."""
    trail.policy()
    trail.domain()
    trail.keys()
    records = check_records(trail)
    files = check_files(trail, records)
    check_base(trail)
    check_packages(trail, records["seal"])
    check_approvals(trail, records["approve"])
    if registry:
        for release in records["register"]:
            assert isinstance(release, Release)
            check_registry(trail, release)
    return Verified(
        events=len(trail.events),
        records=sum(map(len, records.values())),
        files=files,
        packages=len(records["seal"]),
        approvals=len(records["approve"]),
        head=trail.events[-1].hash,
    )
