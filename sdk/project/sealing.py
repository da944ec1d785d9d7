"""Sealing: the evaluated adapter becomes a package, and its plain files go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from sdk.data.base_folder import private_copy
from sdk.errors import OutOfOrder, Refused
from sdk.files.regular_files import CONFIG_BYTES
from sdk.files.store import read_ref
from sdk.non_inferiority import held_against
from sdk.policy import BeforeRegister, LeaksChecked, LeaksUnchecked, Moment, Policy, require
from sdk.project.inputs import common_inputs, settings_digest
from sdk.project.perform import Request, perform, recorded
from sdk.project.state import ProjectState
from sdk.records import (
    SAFETY,
    Advice,
    Behaviour,
    BenchmarkResult,
    Benchmarks,
    FileRef,
    Leaks,
    Package,
    Run,
    Scores,
    Scrubbed,
    StepRecord,
)
from sdk.seal import ADAPTER, BEHAVIOUR, DescribedFacts, Recorded, lock_digest, seal

BENCHMARKS = "benchmarks-"  # what the names of a package's inputs that are benchmarks begin with
MEASURED = ("leaks", BENCHMARKS)  # likewise, of all that a release is refused for


class Evaluated(NamedTuple):
    """A run, and what led to it and was measured of it."""

    advice: Advice
    scrubbed: Scrubbed
    run: Run
    scores: Scores
    leaks: Leaks | None
    benchmarks: tuple[Benchmarks, ...] = ()

    @property
    def results(self) -> dict[str, BenchmarkResult]:
        """Return benchmark -> its newest result."""
        return {name: result for each in self.benchmarks for name, result in each.results.items()}

    @property
    def digests(self) -> dict[str, str]:
        """Return name -> digest of each record that there is."""
        single = {name: record for name, record in self._asdict().items() if isinstance(record, StepRecord)}
        numbered = {f"{BENCHMARKS}{number}": record for number, record in enumerate(self.benchmarks, 1)}
        return {name: record.digest for name, record in {**single, **numbered}.items()}


def find_evaluated(state: ProjectState) -> Evaluated:
    """Find the newest scores and their run. Raises OutOfOrder where a newer run has not been evaluated."""
    scores = state.latest(Scores)
    run = state.lineage(Run, scores, "run")
    if state.latest(Run).digest != run.digest:
        raise OutOfOrder("The newest training run has not been evaluated; run `sdk evaluate` first.")
    scrubbed, advice = state.lineage(Scrubbed, run, "scrubbed"), state.lineage(Advice, run, "advice")
    checks = [leaks for leaks in state.all(Leaks) if leaks.inputs["run"] == run.digest]
    return Evaluated(advice, scrubbed, run, scores, checks[-1] if checks else None, benchmarks_of(state, run))


def benchmarks_of(state: ProjectState, run: Run) -> tuple[Benchmarks, ...]:
    """Return the run's benchmarks, oldest first; none of which all were measured anew."""
    newest = {name: each for each in state.all(Benchmarks) if each.inputs["run"] == run.digest for name in each.results}
    return tuple(each for each in state.distinct(Benchmarks) if each in newest.values())


def require_measured(state: ProjectState, evaluated: Evaluated) -> None:
    """Refuse, with an event, where the policy asks of leaks or of benchmarks what is not there or not shown."""
    policy = state.policy()
    try:
        require(policy, leak_facts(evaluated.leaks))
        require(policy, retention_facts(policy, evaluated.results))
    except Refused as refused:
        measured = {name: digest for name, digest in evaluated.digests.items() if name.startswith(MEASURED)}
        with recorded(state, "register", {"run": evaluated.run.digest, **measured}):
            raise refused from None


def retention_facts(policy: Policy, results: Mapping[str, BenchmarkResult]) -> BeforeRegister:
    """Return what the policy judges of benchmarks by base and adapted model. results: the newest of each."""
    changes = held_against(policy.evaluate.forgetting or {}, results)
    told = {name: _unmeasured(name) if change is None else change.text() for name, change in changes.items()}
    return BeforeRegister(
        not_kept="; ".join(
            f"{name}: {told[name]}" for name, change in changes.items() if change is None or change.outcome != "kept"
        )
    )


def _unmeasured(name: str) -> str:
    return f"not measured; run `sdk benchmark {name if name == SAFETY else f'{name}={name}.jsonl'}`"


def leak_facts(leaks: Leaks | None) -> Moment:
    """Return what the policy judges of a leak check. None: there was none."""
    if leaks is None:
        return LeaksUnchecked()
    leakage = leaks.adapted
    return LeaksChecked(
        exposure_bits=leakage.exposure.value,
        extracted=leakage.extracted,
        canaries=len(leakage.kinds),
        auc=leakage.auc.value,
        tpr=leakage.tpr.value,
    )


def seal_request(state: ProjectState, evaluated: Evaluated) -> Request[Package]:
    """Ask for the package of an evaluated run, signed by the trainer's key and encrypted if the policy says so."""
    run, policy = evaluated.run, state.policy()
    signer = state.signer()
    holder = state.ring.find(signer.fingerprint)
    facts = _facts(state, evaluated)
    inputs = {
        **common_inputs(state),
        **evaluated.digests,
        "base": run.inputs["base"],
        "settings": settings_digest(key=signer.fingerprint),
    }

    def work(folder: Path) -> Package:
        shutil.rmtree(folder, ignore_errors=True)  # what an interruption left was encrypted under a lost data key
        wrapper = state.wrapper() if policy.seal.encrypt else None
        signed_by = holder.name if holder else ""
        adapter = state.folder(run) / ADAPTER
        known = Recorded(run.adapter, measured_behaviour(state, evaluated.scores))
        # The package's tokenizer is that of the recorded base, whatever lies in the base's folder by now.
        with state.opened_base() as opened, private_copy(opened) as tokenizer:
            return seal(adapter, tokenizer, facts, signer, signed_by, wrapper, folder, known)

    return Request(Package, inputs, work)


def behaviour_ref(scores: Scores) -> FileRef | None:
    """Return the file of an evaluation that says how both models behave. None: an earlier version evaluated."""
    return next((ref for ref in scores.files if ref.path == BEHAVIOUR), None)


def measured_behaviour(state: ProjectState, scores: Scores) -> Behaviour | None:
    """Read how both models of an evaluation behave. None: an earlier version evaluated."""
    ref = behaviour_ref(scores)
    return Behaviour.from_bytes(read_ref(state.folder(scores), ref, CONFIG_BYTES)) if ref is not None else None


def _facts(state: ProjectState, evaluated: Evaluated) -> DescribedFacts:
    run, scrubbed, domain, policy = evaluated.run, evaluated.scrubbed, state.domain(), state.policy()
    return DescribedFacts(
        project=state.charter.name,
        base=run.base,
        base_digest=run.inputs["base"],
        base_source=state.charter.base_source,
        base_license=state.charter.base_license,
        method=run.settings.method,
        quantization=run.settings.unusual(),
        records=evaluated.digests,
        data={split: ref.sha256 for split, ref in scrubbed.data.items()},
        package_id=uuid4().hex,
        version=len({package.package for package in state.all(Package)}) + 1,
        policy=policy.name,
        policy_digest=policy.digest,
        domain=state.charter.domain,
        domain_digest=state.domain_digest(),
        prompt=domain.prompt,
        max_new_tokens=domain.max_new_tokens,
        code=run.versions,
        base_revision=_base_revision(state),
        scores=_figures(evaluated.scores),
        lock=lock_digest(),
        template=state.charter.template.sha256 if state.charter.template else None,
    )


def _base_revision(state: ProjectState) -> str | None:
    """Return the hub's commit, by which it names the folder that it fetches a model to."""
    name = Path(state.charter.base).name
    return name if state.charter.base_from_hub and re.fullmatch("[0-9a-f]{40}", name) else None


def _figures(scores: Scores) -> dict[str, str]:
    return {
        f"{who}.{metric}.{language}": f"{found.value:.4f}"
        for who, by_language in (("base", scores.base), ("adapted", scores.adapted))
        for language, metrics in by_language.items()
        for metric, found in (metrics.shares or {"perplexity": metrics.of("perplexity")}).items()
    }


def seal_evaluated(state: ProjectState) -> Package:
    """Seal the newest evaluated run. From then on its weights exist in the package only.

    A checkpoint stays beside it only where it is protected as the package is: trained under the package's policy.
    """
    evaluated = find_evaluated(state)
    require_measured(state, evaluated)
    package = perform(state, seal_request(state, evaluated))
    training = state.folder(evaluated.run)
    protected = evaluated.run.inputs["policy"] == state.policy().digest
    shutil.rmtree(training / ADAPTER if protected else training, ignore_errors=True)
    return package
