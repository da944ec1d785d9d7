"""Letting an approved release leave in plain: by the policy's leave, as an event with a reason, as a child release."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.approve import require_allowed
from sdk.errors import InvalidInput, OutOfOrder, Refused
from sdk.export.export_settings import ExportSettings
from sdk.export.target import note_of, require_free, staging
from sdk.files.regular_files import CONFIG_BYTES, read_regular
from sdk.files.store import write_atomic
from sdk.policy import AfterExport, BeforeExport
from sdk.project.domain_metrics import OWN_CODE, measures_of
from sdk.project.export_papers import signer_pem
from sdk.project.gather import find_release, judge_release, last_promotion
from sdk.project.inputs import EVAL, settings_digest
from sdk.project.loading import admitted_release
from sdk.project.perform import Request, perform
from sdk.project.publishing import publish_request
from sdk.project.state import ProjectState
from sdk.records import Export, Metric, OnProgress, Package, Parity, Release, Run, Scrubbed
from sdk.seal.exported import PAPERS, identity_of, manifest_of_export, open_export, sign_export
from sdk.seal.manifest import MANIFEST, TOKENIZER

if TYPE_CHECKING:  # both load torch
    from sdk.data import Row
    from sdk.data.measures import Measures
    from sdk.export.target import StagedFolder
    from sdk.serve.admit import Admitted

_LIKELIHOODS = "multiple_choice_likelihood"  # of choices, which engines do not give: their answers are judged instead


def export_release(
    state: ProjectState,
    wanted: Release | str | None,
    to: Path,
    settings: ExportSettings,
    reason: str,
    on_progress: OnProgress,
) -> Export:
    """Write a release (the champion by default) in plain to the folder `to`, which is new or empty.

    Nothing is there until everything is: what may not leave, or cannot be recorded, is wiped.
    """
    if not reason.strip():
        raise InvalidInput("An export needs a reason; it is kept in the audit log and in the record.")
    champion = last_promotion(state)
    if wanted is None and champion is None:
        raise OutOfOrder("No release has been approved yet; have it approved with `sdk approve`.")
    release = (
        state.records.get(Release, champion.objects["release"])
        if wanted is None and champion is not None
        else find_release(state, wanted)
    )
    require_free(to, state.root)
    settings.require_tools()
    with staging(to, note_of(state.charter.root)) as stage:
        record = perform(state, _export_request(state, release, stage, settings, reason.strip(), on_progress))
        stage.publish()
    perform(state, publish_request(state, release, again=True))
    return record


def _export_request(
    state: ProjectState,
    release: Release,
    stage: StagedFolder,
    settings: ExportSettings,
    reason: str,
    on_progress: OnProgress,
) -> Request[Export]:
    policy, package = state.policy(), state.lineage(Package, release, "package")
    inputs = {
        "policy": policy.digest,
        "release": release.digest,
        "package": package.package,
        "settings": settings_digest(
            format=settings.format,
            onto=settings.onto,
            dtype=settings.dtype,
            turn=sum(event.action == Export.step for event in state.events),  # no export stands for another
        ),
    }

    def work(folder: Path) -> Export:
        shutil.rmtree(folder, ignore_errors=True)
        with admitted_release(state, release) as parts:
            return _write(state, release, parts, stage.folder, folder, (settings, reason, on_progress))

    return Request(
        Export,
        inputs,
        work,
        BeforeExport(export_format=settings.format),
        lambda record: export_facts(record.parity),
        detail={"reason": reason, "format": settings.format, "declassifies": "plain weights leave the encryption"},
    )


def export_facts(parity: Parity) -> AfterExport:
    """Return what the policy judges of a certificate. Refused where the behaviour seal is not met."""
    check = parity.behaviour
    if check is not None and not check.passed:
        raise Refused(
            "The exported files were refused: they do not behave as the package's behaviour seal says.",
            [*check.faults, check.brief()],
        )
    return AfterExport(
        kl_mean=parity.kl_mean,
        kl_p99=parity.kl_p99,
        top1=parity.top1.value,
        same_answers=parity.same_answers.value,
        score_loss=max(0.0, -parity.score_change.low),
        perplexity_ratio=parity.perplexity_ratio,
    )


def _write(
    state: ProjectState,
    release: Release,
    parts: Admitted,
    out: Path,
    papers: Path,
    asked: tuple[ExportSettings, str, OnProgress],
) -> Export:
    from sdk.export.export_files import Source, export_files  # which loads torch

    settings, reason, on_progress = asked
    manifest, policy, signer = parts.manifest, state.policy(), state.signer()
    source = Source(
        base=parts.base,
        quantization=parts.quantization,
        config=parts.config,
        weights=parts.weights,
        tokenizer=[path for name in TOKENIZER if (path := parts.folder / name).is_file()],
        prompt=manifest.prompt,
        max_new_tokens=manifest.max_new_tokens,
        behaviour=parts.behaviour,
    )
    held = _held_out(state, state.lineage(Package, release, "package"))
    written, parity = export_files(source, settings, out, parts.load, held, on_progress)
    merged = settings.format in ("merged", "gguf")
    facts = {
        "parent": release.package,
        "format": settings.format,
        "onto": settings.onto if merged else None,
        "weight_type": written.weight_type,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "tools": written.tools,
    }
    files = sign_export(out, manifest_of_export(manifest, facts), parity, signer)
    for name in PAPERS:  # so that the project can show what left, wherever the weights are by now
        write_atomic(papers / name, read_regular(out / name, CONFIG_BYTES))
    holder = state.ring.find(signer.fingerprint)
    return Export(
        release=release.digest,
        package=release.package,
        identity=next(ref.sha256 for ref in files if ref.path == MANIFEST),
        format=settings.format,
        onto=settings.onto if merged else None,
        weight_type=written.weight_type,
        reason=reason,
        exported=files,
        parity=parity,
        tools=written.tools,
        notes=tuple(written.notes),
        signed_by=holder.name if holder else "",
        key_fingerprint=signer.fingerprint,
        seconds=written.seconds,
    )


def _held_out(state: ProjectState, package: Package) -> tuple[list[Row], Measures, Metric]:
    """Return the scrubbed rows that were not trained on, and what answers to them are judged by."""
    from sdk.data import read_rows

    run = state.lineage(Run, package, "run")
    rows = read_rows(state.rows(state.lineage(Scrubbed, run, "scrubbed"), EVAL)).rows
    own_code = state.policy().evaluate.run_domain_code is True
    metric = state.domain().metric
    if metric.startswith(_LIKELIHOODS) or (metric == OWN_CODE and not own_code) or metric == "perplexity":
        metric = "f1"
    return [*rows], measures_of(state, own_code), metric


def check_export(state: ProjectState, folder: Path) -> Export:
    """Check an exported folder against the log, and whether its parent may be served now.

    Raises Tampered where it is not what left, Refused where the log does not know it, or its parent has been withdrawn
    or rejected, or its approval has run out.
    """
    identity = identity_of(folder)
    record = next((one for one in state.distinct(Export) if one.identity == identity), None)
    if record is None:
        raise Refused(f"{folder} is no export that the log of this project knows.")
    open_export(folder, signer_pem(state, record), record)
    require_allowed(judge_release(state, state.records.get(Release, record.release)))
    return record
