"""From a trained adapter to a model in production: seal, register, decide, promote, publish, load."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sdk import crypto
from sdk.errors import InvalidInput, OutOfOrder, Refused
from sdk.policy import LeaksChecked, LeaksUnchecked, Moment, require
from sdk.project.base import Base, common, settings_digest
from sdk.project.perform import Request, perform, recorded
from sdk.project.rows import reviews_of
from sdk.project.state import ProjectState
from sdk.project.streaming import unsent
from sdk.records import Advice, Approval, Decision, Leaks, Package, Publication, Release, Run, Scores, Scrubbed, Status
from sdk.store import check_ref, write_atomic

if TYPE_CHECKING:
    from sdk.approve import Verdict
    from sdk.audit import Event
    from sdk.model.adapted import AdaptedModel
    from sdk.serve.admit import Trust


class Releasing(Base):
    def register(self) -> Release:
        """Seal the evaluated adapter and register the package in MLflow under the alias `candidate`."""
        from sdk.project.verify import adaptation, release_tags
        from sdk.registry import Tracking
        from sdk.registry.register import register

        with self._working() as state:
            scores = state.latest(Scores)
            run = state.lineage(Run, scores, "run")
            if state.latest(Run).digest != run.digest:
                raise OutOfOrder("The newest training run has not been evaluated; run `sdk evaluate` first.")
            scrubbed, advice = state.lineage(Scrubbed, run, "scrubbed"), state.lineage(Advice, run, "advice")
            leaks = _find_leaks(state, run)
            _require_no_leaks(state, run, leaks)
            package = self._seal(state, advice, scrubbed, run, scores, leaks)
            figures = unsent(self.root, run.request)
            inputs = {
                "package": package.digest,
                "settings": settings_digest(tracking_uri=state.charter.tracking_uri),
            }

            def work(folder: Path) -> Release:
                return register(
                    adaptation(state, package),
                    state.folder(package),
                    release_tags(state, package),
                    Tracking(self.root, state.charter.tracking_uri),
                    folder,
                    self._on_progress,
                    figures if figures.exists() else None,
                    self._proofs(state, scrubbed, folder),
                )

            release = perform(state, Request(Release, inputs, work))
            figures.unlink(missing_ok=True)
            self._stand(state, release)
            return release

    def approve(
        self,
        release: Release | str | None = None,
        *,
        key: str,
        reason: str,
        decision: Decision = "approve",
    ) -> Approval:
        """Sign a decision over a release (the newest): its package, the policy that it was sealed under, its report.

        release: also the beginning of the digest of its package. key: URI of the decider's key, whose holder and role
        the key ring names. Once everything that the policy asks for is there, the release becomes the champion; a
        rejection or a withdrawal makes `load` refuse the champion. Raises Refused where this person may not decide so.
        """
        from sdk.approve import decide, decision_facts, read_decision
        from sdk.project.gather import report_digest

        with self._working() as state:
            chosen = find_release(state, release)
            package = state.lineage(Package, chosen, "package")
            policy = state.policy_of(package.inputs["policy"])
            signer = crypto.open_signer(key)
            member = state.ring.find(signer.fingerprint)
            if member is None:
                raise Refused("This key belongs to nobody whom the project knows; add them with `sdk keys enroll`.")
            earlier = [
                approval
                for approval in state.all(Approval)
                if approval.package == chosen.package and approval.key_fingerprint == member.key_id
            ]
            repeated = bool(earlier) and (earlier[-1].decision, earlier[-1].reason) == (decision, reason)
            inputs = {
                "package": chosen.package,
                "release": chosen.digest,
                "policy": policy.digest,
                "report": report_digest(chosen),
                "settings": settings_digest(
                    decision=decision, reason=reason, key=member.key_id, turn=len(earlier) - repeated
                ),
            }

            def work(folder: Path) -> Approval:
                days = policy.approve.valid_days if decision in ("review", "approve") else None
                expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
                digests = chosen.package, policy.digest, inputs["report"]
                envelope = decide(*digests, policy.name, decision, reason, member, expires, signer)
                signed, _, _ = read_decision(envelope, state.ring, "the decision")
                return Approval(
                    package=chosen.package,
                    decision=decision,
                    approver=member.name,
                    key_fingerprint=member.key_id,
                    reason=reason,
                    policy=policy.name,
                    time=signed.time,
                    expires=signed.expires,
                    envelope=envelope.decode(),
                )

            trainers = {one.name for one in state.ring.with_role("trainer")}
            before = decision_facts(decision, reason, member.name in trainers)
            actor = (member.name, f"key:{member.key_id}")
            approval = perform(state, Request(Approval, inputs, work, before, actor=actor))
            self._stand(state, chosen)
            return approval

    def explain(self, release: Release | str | None = None) -> Verdict:
        """Whether a release (the newest) may be served now, with every reason for and against."""
        from sdk.project.gather import judge_release

        state = self.state()
        return judge_release(state, find_release(state, release))

    def promote(self, release: Release | str | None = None) -> Publication:
        """Make a release (the newest) the champion; one that was approved before is how production is rolled back.

        release: also the beginning of the digest of its package. Judged anew under the policy that it was sealed under;
        Refused with everything that is missing. MLflow is told in any case, so that what was changed there is set back.
        """
        with self._working() as state:
            return self._promote(state, find_release(state, release), again=True)

    def load(self, release: Release | str | None = None, *, package: Path | None = None) -> AdaptedModel:
        """The model of a release (the champion by default), after everything has been verified and approved.

        package: a copy of the package elsewhere, as MLflow gave it out, to be used in place of the project's own.
        """
        from sdk.project.gather import gather
        from sdk.project.verify import verify_project
        from sdk.seal import PACKAGE
        from sdk.serve.admit import admit_package

        with self._working() as state:
            promoted = state.finished("promote")
            chosen = None if release is None else find_release(state, release)
            objects = {"release": chosen.digest, "package": chosen.package} if chosen else {}
            with recorded(state, "load", objects or (dict(promoted[-1].objects) if promoted else {})):
                if chosen is None and not promoted:
                    raise Refused("No release has been approved yet; have it approved with `sdk approve`.")
                chosen = chosen or state.records.get(Release, promoted[-1].objects["release"])
                at = [event for event in promoted if event.objects["release"] == chosen.digest]
                if not at:
                    raise Refused(f"Package {chosen.package[:12]} was never promoted; see `sdk approve --explain`.")
                verify_project(state, registry=state.charter.tracking_uri is None)
                sealed = state.lineage(Package, chosen, "package")
                own = state.folder(sealed) / PACKAGE
                return admit_package(package or own, gather(state, chosen, at[-1]), self._trust(state), sealed.package)

    def trust(self) -> Trust:
        """What a machine that serves the model must know beforehand; save it there with `sdk keys trust FILE`."""
        return self._trust(self.state())

    # -- inside -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _trust(state: ProjectState) -> Trust:
        from sdk.serve.admit import Trust

        return Trust(
            root=state.charter.root,
            base=state.charter.base,
            encryption_key=state.charter.encryption_key,
            keys=state.root.resolve(),
            served=None,
        )

    def _promote(self, state: ProjectState, release: Release, again: bool = False) -> Publication:
        from sdk.approve import require_allowed
        from sdk.project.gather import judge_release, objects_of

        objects = objects_of(state, release)
        promoted = state.finished("promote")
        if not promoted or dict(promoted[-1].objects) != objects:
            before = state.records.get(Release, promoted[-1].objects["release"]) if promoted else None
            with recorded(state, "promote", objects):
                require_allowed(judge_release(state, release))
            if before is not None and before.digest != release.digest:
                self._publish(state, before)
        return self._publish(state, release, again)

    def _stand(self, state: ProjectState, release: Release) -> None:
        """After a decision: the release becomes the champion if it may, and MLflow is told where it stands."""
        from sdk.project.gather import judge_release

        newest = state.latest(Release).digest == release.digest
        if newest and judge_release(state, release).allowed:
            self._promote(state, release)
        else:
            self._publish(state, release)

    def _tell_of_champion(self, state: ProjectState) -> None:
        """After a change of the key ring: loaders get the newest one, and MLflow shows what became of the approvals."""
        champion = _last_promoted(state)
        if champion is not None:
            self._publish(state, state.records.get(Release, champion.objects["release"]))

    def _publish(self, state: ProjectState, release: Release, again: bool = False) -> Publication:
        """Tell MLflow where a release stands, with the proofs that loaders need where it was promoted last.

        Also when it may no longer be served: loaders find the rejection or the revocation among the proofs.
        """
        from sdk.project.gather import gather, judge_release
        from sdk.project.verify import adaptation, release_tags, standing_of
        from sdk.registry import Tracking, publish
        from sdk.serve.evidence import write_evidence

        champion = _last_promoted(state)
        said = _where_it_stands(state, release, judge_release(state, release), champion)
        inputs = {
            "release": release.digest,
            "ring": state.charter.ring,
            "settings": settings_digest(
                said=said.model_dump(mode="json"),
                promoted=champion.seq if champion else None,
                turn=len(state.finished("publish")) if again else 0,
            ),
        }

        def work(folder: Path) -> Publication:
            shutil.rmtree(folder, ignore_errors=True)
            if champion is not None and champion.objects["release"] == release.digest:
                write_evidence(gather(state, release, champion), folder)
            package = state.lineage(Package, release, "package")
            publish(
                Tracking(self.root, state.charter.tracking_uri),
                release,
                adaptation(state, package),
                standing_of(said),
                {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()},
                release_tags(state, package),
            )
            return said

        return perform(state, Request(Publication, inputs, work))

    @staticmethod
    def _proofs(state: ProjectState, scrubbed: Scrubbed, out: Path) -> dict[str, Path]:
        """What proves the scrubbing to a reviewer in MLflow: artifact path -> file. The newest review goes to `out`."""
        from sdk.scrub import REPORTS

        folder = state.folder(scrubbed)
        proofs = {f"scrub/{ref.path}": check_ref(folder, ref) for ref in scrubbed.files if ref.path in REPORTS}
        reviews = reviews_of(state, scrubbed)
        if reviews:
            path = out / "review.json"
            write_atomic(path, reviews[-1].to_bytes() + b"\n")
            proofs[f"scrub/{path.name}"] = path
        return proofs

    def _seal(
        self, state: ProjectState, advice: Advice, scrubbed: Scrubbed, run: Run, scores: Scores, leaks: Leaks | None
    ) -> Package:
        from sdk.seal import ADAPTER, Facts, lock_digest, seal

        signer = state.signer()
        holder = state.ring.find(signer.fingerprint)
        signed_by = holder.name if holder else ""
        policy = state.policy()
        records = {"advice": advice.digest, "scrubbed": scrubbed.digest, "run": run.digest, "scores": scores.digest}
        if leaks:
            records["leaks"] = leaks.digest
        inputs = {
            **common(state),
            **records,
            "base": run.inputs["base"],
            "settings": settings_digest(key=signer.fingerprint),
        }
        domain = state.domain()
        facts = Facts(
            project=state.charter.name,
            base=run.base,
            base_digest=run.inputs["base"],
            method=run.settings.method,
            records=records,
            data={split: ref.sha256 for split, ref in scrubbed.data.items()},
            package_id=uuid4().hex,
            version=len({one.package for one in state.all(Package)}) + 1,
            policy=policy.name,
            policy_digest=policy.digest,
            domain=state.charter.domain,
            domain_digest=state.domain_digest(),
            prompt=domain.prompt,
            max_new_tokens=domain.max_new_tokens,
            code=run.versions,
            base_revision=_revision(state),
            scores=_figures(scores),
            lock=lock_digest(),
        )
        training = state.folder(run)

        def work(folder: Path) -> Package:
            shutil.rmtree(folder, ignore_errors=True)  # what an interruption left was encrypted under a lost data key
            wrapper = state.wrapper() if policy.seal.encrypt else None
            return seal(training / ADAPTER, state.base_folder(), facts, signer, signed_by, wrapper, folder)

        package = perform(state, Request(Package, inputs, work))
        # From here on the weights exist in the package only, and in a checkpoint that is protected as the package is.
        protected = run.inputs["policy"] == policy.digest
        shutil.rmtree(training / ADAPTER if protected else training, ignore_errors=True)
        return package


def find_release(state: ProjectState, wanted: Release | str | None) -> Release:
    if isinstance(wanted, Release):
        return wanted
    if wanted is None:
        return state.latest(Release)
    digest = wanted.removeprefix("sha256:")
    found = [one for one in state.distinct(Release) if one.package.startswith(digest)]
    if len(found) != 1 or not digest:
        known = [f"{one.package[:12]}: version {one.version}" for one in state.all(Release)]
        raise InvalidInput(f"{len(found)} releases have a package of digest {digest[:64]}; name one of:", known)
    return found[0]


def _last_promoted(state: ProjectState) -> Event | None:
    events = state.finished("promote")
    return events[-1] if events else None


def _where_it_stands(state: ProjectState, release: Release, verdict: Verdict, champion: Event | None) -> Publication:
    from sdk.project.gather import decisions_on

    last = {approval.approver: approval for approval in decisions_on(state, release.package)}
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
        checks=tuple(f"{'yes' if reason.holds else 'no'}: {reason.text}" for reason in verdict.reasons),
    )


def _revision(state: ProjectState) -> str | None:
    """The hub's commit, by which it names the folder that it fetches a model to."""
    name = Path(state.charter.base).name
    return name if state.charter.base_from_hub and re.fullmatch("[0-9a-f]{40}", name) else None


def _figures(scores: Scores) -> dict[str, str]:
    return {
        f"{who}.{metric}.{language}": f"{getattr(found, metric).value:.4f}"
        for who, by_language in (("base", scores.base), ("adapted", scores.adapted))
        for language, found in by_language.items()
        for metric in ("exact_match", "f1")
    }


def open_adapter(state: ProjectState, run: Run) -> tuple[Mapping[str, Any], bytes]:
    """PEFT's configuration and the weights of a finished run, sealed or not, checked against its record."""
    from sdk.project.gather import data_key, trainer_pem
    from sdk.seal import PACKAGE, open_package, read_adapter, unseal

    if run.inputs["base"] != state.charter.base_digest:
        raise InvalidInput(
            f"Run {run.digest[:12]} was trained on another base ({run.base}); an adapter fits its own base only."
        )
    folder = state.folder(run)
    sealed = [package for package in state.all(Package) if package.inputs["run"] == run.digest]
    if sealed:
        folder = state.folder(sealed[-1]) / PACKAGE
        manifest = open_package(folder, sealed[-1], trainer_pem(state, sealed[-1]), None)
        config, weights = unseal(folder, manifest, data_key(state, sealed[-1], manifest))
        return config, bytes(weights)
    for ref in run.adapter:
        check_ref(folder, ref)
    return read_adapter(folder)


def _find_leaks(state: ProjectState, run: Run) -> Leaks | None:
    """The newest check of this very run."""
    found = [leaks for leaks in state.all(Leaks) if leaks.inputs["run"] == run.digest]
    return found[-1] if found else None


def _require_no_leaks(state: ProjectState, run: Run, leaks: Leaks | None) -> None:
    """Refused, and an event of it, where the policy asks for a check that is missing or found too much."""
    facts: Moment = LeaksUnchecked()
    if leaks:
        leakage = leaks.adapted
        facts = LeaksChecked(
            exposure_bits=leakage.exposure.value,
            extracted=leakage.extracted,
            canaries=len(leakage.kinds),
            auc=leakage.auc.value,
            tpr=leakage.tpr.value,
        )
    try:
        require(state.policy(), facts)
    except Refused as refused:
        with recorded(state, "register", {"run": run.digest, **({"leaks": leaks.digest} if leaks else {})}):
            raise refused from None
