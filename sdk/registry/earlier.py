"""What versions up to 0.2.0 told MLflow of a package. Such pages stay as they are, and are told from altered ones.

A run keeps what it was told; a model version's page is written anew by the next `sdk promote`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sdk.records import METRICS, Leaks, Release
from sdk.registry.entry import (
    MAX_DESCRIPTION,
    PACKAGE_TAG,
    REPORT,
    TRAIN_TAG,
    Adaptation,
    Value,
    artifact_link,
    curve,
    judged,
    nameable,
    primary,
    values,
)
from sdk.registry.standing import APPROVALS_TAG, CHECKS_TAG, MAX_TAG, STATUS_TAG, Standing, code, cut, plain

LOSS = "train/loss"  # by this metric a run of theirs is known
PROVED_BY = "the signed package and the audit {} prove."
LOGS = ("log", "trail")  # what the log is called in 0.2.0 and in 0.1.0


def run_tags(adaptation: Adaptation, more_tags: Mapping[str, str]) -> dict[str, str]:
    package = adaptation.package
    return {
        **more_tags,
        PACKAGE_TAG: package.package,
        TRAIN_TAG: adaptation.run.request,
        "sdk.policy": adaptation.policy,
        "sdk.domain": adaptation.domain,
        "sdk.signed_by": package.signed_by,
        **{f"sdk.record.{kind}": digest for kind, digest in adaptation.digests.items()},
    }


def version_tags(adaptation: Adaptation, more_tags: Mapping[str, str], standing: Standing) -> dict[str, str]:
    decisions = "; ".join(standing.decisions) or "none yet"
    said = {STATUS_TAG: standing.status, APPROVALS_TAG: decisions, CHECKS_TAG: standing.summary()}
    return run_tags(adaptation, more_tags) | {key: cut(value, MAX_TAG) for key, value in said.items()}


def metrics(adaptation: Adaptation) -> tuple[Value, ...]:
    losses = curve(LOSS, adaptation.run.losses)
    rates = curve("train/learning_rate", adaptation.run.losses, "learning_rate")
    return (*losses, *rates, *(Value(nameable(key), 0, value) for key, value in values(adaptation).items()))


def pages(adaptation: Adaptation, release: Release, standing: Standing) -> set[str]:
    """Write the model version's description as either version has it."""
    report = next((ref.sha256 for ref in release.artifacts if ref.path == REPORT), "")
    rows = {
        "Status": f"**{standing.status}**",
        "Decisions": "<br>".join(map(plain, standing.decisions)) or "none yet",
        "Checks": "<br>".join(map(plain, standing.checks)) or "none yet",
        **{name.capitalize(): digest for name, digest in judged(adaptation).items()},
        "Report": code(report),
    }
    table = ["### Governance", "", "| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in rows.items())]
    above = ["\n".join(table), f"[Open the report]({artifact_link(release, REPORT)})"]
    return {
        cut("\n\n".join([*above, _description(adaptation, PROVED_BY.format(log))]), MAX_DESCRIPTION) for log in LOGS
    }


def _description(adaptation: Adaptation, proved_by: str) -> str:
    run, scrubbed, scores, package = adaptation.run, adaptation.scrubbed, adaptation.scores, adaptation.package
    settings = run.settings
    kinds = ", ".join(f"{code(kind)} {count}" for kind, count in sorted(scrubbed.counts.items())) or "none"
    rows = [
        f"| {language} | {primary(scores, 'base', language).text()} | {primary(scores, 'adapted', language).text()} |"
        for language in scores.adapted
    ]
    weights = "encrypted" if package.encrypted else "not encrypted"
    return "\n".join(
        [
            f"Adapter of project {code(adaptation.project)} for the domain {code(adaptation.domain)}, "
            f"on the base model {code(run.base)}.",
            "",
            f"**Method** {settings.method}, rank {settings.lora_r}, alpha {settings.lora_alpha}, "
            f"{run.trainable_parameters:,} trained parameters, {run.steps} steps, seed {settings.seed}.",
            "",
            f"**{METRICS[scores.metric].title.capitalize()}** on {scores.adapted['all'].questions} questions, "
            "with 95 % bootstrap interval:",
            "",
            "| language | base | adapted |",
            "|---|---|---|",
            *rows,
            "",
            f"**Personal data removed** from {scrubbed.rows_changed} rows: {kinds}. On planted personal data "
            f"{scrubbed.recall_planted.found} of {scrubbed.recall_planted.planted} were found.",
            "",
            *(_leaks_said(adaptation.leaks) if adaptation.leaks else ()),
            f"**Package** {code(package.package)}, signed by {code(package.signed_by)}, weights {weights}, "
            f"under the policy {code(adaptation.policy)}.",
            "",
            "**To check and to use it**, in the project's folder: `sdk verify`, then `sdk approve` as the policy asks, "
            f"then `sdk load`. This page shows; {proved_by}",
        ]
    )


def _leaks_said(leaks: Leaks) -> tuple[str, str]:
    adapted, control = leaks.adapted, leaks.control
    return (
        f"**Leak check** with {len(adapted.kinds)} canaries: mean exposure {adapted.exposure.text()} bits, "
        f"{adapted.extracted} given word for word, AUC {adapted.auc.text()}, true positive rate {adapted.tpr.text()} "
        f"at 1 % false positives; a control trained in plain: {control.exposure.value:.2f} bits, {control.extracted}, "
        f"{control.auc.value:.2f}, {control.tpr.value:.2f}.",
        "",
    )
