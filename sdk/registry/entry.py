"""What MLflow is told: parameters, metrics, tags and description, all of it from the records and a `Standing`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sdk.records import Advice, Interval, Leaks, Package, Release, Run, Scores, Scrubbed
from sdk.registry.standing import CANDIDATE, Standing, code, cut

PACKAGE_TAG = "sdk.package"
TRAIN_TAG = "sdk.train"
REPORT = "report.html"
MAX_PARAM = 6000  # characters; MLflow's MAX_PARAM_VAL_LENGTH
MAX_DESCRIPTION = 5000  # characters; the column of MLflow's registry, which PostgreSQL enforces
SHARE = {"exact_match": "exact match", "f1": "token F1"}
PROVED_BY = "the signed package and the audit {} prove."
# What the log is called there, and what 0.1.0 called it, whose pages stay as they are until the next `sdk promote`.
LOG, EARLIER = "log", ("trail",)
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_./-]")


@dataclass(frozen=True)
class Adaptation:
    """Everything that a reviewer of one package is shown."""

    project: str
    model_name: str
    domain: str  # name@version
    policy: str  # id@version
    advice: Advice
    scrubbed: Scrubbed
    run: Run
    scores: Scores
    package: Package
    leaks: Leaks | None = None  # None: the model was not asked for canaries
    base_source: str = ""  # empty, as the licence: of a project that a version before 0.2.0 made
    base_license: str = ""

    @property
    def digests(self) -> dict[str, str]:
        records = (self.advice, self.scrubbed, self.run, self.scores, self.package, self.leaks)
        return {record.kind: record.digest for record in records if record is not None}


@dataclass(frozen=True)
class Value:
    key: str
    step: int
    value: float


@dataclass(frozen=True)
class Entry:
    """All that MLflow is told of a package, besides files."""

    project: str
    model_name: str
    run_name: str
    package: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: tuple[Value, ...]
    standing: Standing
    judged: dict[str, str]  # what decisions are taken over, besides the report; Markdown, as the following
    description: str  # without the governance

    @property
    def version_tags(self) -> dict[str, str]:
        """The tags of the run, and the standing's, which a run has not: its tags do not change any more."""
        return {**self.tags, **self.standing.tags}

    def page(self, release: Release) -> str:
        """Write the model version's description, Markdown."""
        report = next((ref.sha256 for ref in release.artifacts if ref.path == REPORT), "")
        run = f"#/experiments/{release.experiment_id}/runs/{release.run_id}"
        parts = [
            self.standing.section({**self.judged, "Report": code(report)}),
            f"[Open the report]({run}/artifacts/{REPORT}?workflowType=machine_learning)",
            self.description,
        ]
        return cut("\n\n".join(parts), MAX_DESCRIPTION)

    def is_page(self, release: Release, description: str) -> bool:
        """Tell whether this is the page, in the words of this version or of an earlier one."""
        page, now = self.page(release), PROVED_BY.format(LOG)
        return description in {page, *(page.replace(now, PROVED_BY.format(then)) for then in EARLIER)}


def entry_for(adaptation: Adaptation, more_tags: Mapping[str, str], standing: Standing = CANDIDATE) -> Entry:
    """Write all that MLflow is told. The same records give the same texts, so that they can be compared later."""
    package = adaptation.package
    return Entry(
        project=adaptation.project,
        model_name=adaptation.model_name,
        run_name=f"{adaptation.project}-{package.package[:12]}",
        package=package.package,
        tags={
            **more_tags,
            PACKAGE_TAG: package.package,
            TRAIN_TAG: adaptation.run.request,
            "sdk.policy": adaptation.policy,
            "sdk.domain": adaptation.domain,
            "sdk.signed_by": package.signed_by,
            **{f"sdk.record.{kind}": digest for kind, digest in adaptation.digests.items()},
        },
        params=_params(adaptation),
        metrics=_metrics(adaptation),
        standing=standing,
        judged={
            "Package": code(package.package),
            "Policy": f"{code(package.inputs.get('policy', ''))} {code(adaptation.policy)}",
        },
        description=_description(adaptation),
    )


def _of_base(adaptation: Adaptation) -> dict[str, str]:
    return {"base.source": adaptation.base_source, "base.license": adaptation.base_license}


def _params(adaptation: Adaptation) -> dict[str, str]:
    run = adaptation.run
    values = {
        **run.settings.model_dump(mode="json"),
        "base": run.base,
        **{name: value for name, value in _of_base(adaptation).items() if value},
        "policy": adaptation.policy,
        "domain": adaptation.domain,
        "hardware": run.hardware.accelerator,
        "steps": run.steps,
        "trainable_parameters": run.trainable_parameters,
        **{f"rows.{split}": rows for split, rows in adaptation.scrubbed.rows.items()},
        **{f"version.{name}": version for name, version in run.versions.items()},
    }
    return {_nameable(key): cut(str(value), MAX_PARAM) for key, value in values.items()}


def _metrics(adaptation: Adaptation) -> tuple[Value, ...]:
    """List every metric. MLflow shows what stands before a slash as a section of its own."""
    run, scrubbed = adaptation.run, adaptation.scrubbed
    values = {
        "train/seconds": run.seconds,
        "train/tokens_per_second": run.tokens_per_second,
        "memory/predicted_gib": run.memory_predicted_gib,
        "memory/measured_gib": run.memory_measured_gib,
        "personal_data/recall_planted": scrubbed.recall_planted.found / max(1, scrubbed.recall_planted.planted),
        "personal_data/rows_changed": scrubbed.rows_changed,
        "adapted/tokens_per_second": adaptation.scores.tokens_per_second,
        **{f"personal_data/{kind}": count for kind, count in scrubbed.counts.items()},
        **dict(_score_values(adaptation.scores)),
        **(dict(_leak_values(adaptation.leaks)) if adaptation.leaks else {}),
    }
    curve = [Value(key="train/loss", step=point.step, value=point.loss) for point in run.losses]
    curve += [Value(key="train/learning_rate", step=point.step, value=point.learning_rate) for point in run.losses]
    return (*curve, *(Value(key=_nameable(key), step=0, value=value) for key, value in values.items()))


def _score_values(scores: Scores) -> Iterator[tuple[str, float]]:
    for who, by_language in (("base", scores.base), ("adapted", scores.adapted)):
        for language, metrics in by_language.items():
            for name, interval in (("exact_match", metrics.exact_match), ("f1", metrics.f1)):
                yield from _interval_values(f"{who}/{name}", language, interval)
            yield f"{who}/perplexity.{language}", metrics.perplexity


def _leak_values(leaks: Leaks) -> Iterator[tuple[str, float]]:
    for who, leakage in (("adapted", leaks.adapted), ("control", leaks.control)):
        for name, interval in (("exposure_bits", leakage.exposure), ("auc", leakage.auc), ("tpr", leakage.tpr)):
            yield from _interval_values(f"leaks/{name}", who, interval)
        yield f"leaks/extracted.{who}", leakage.extracted
        yield f"leaks/canaries.{who}", len(leakage.kinds)


def _interval_values(name: str, of: str, interval: Interval) -> Iterator[tuple[str, float]]:
    yield f"{name}.{of}", interval.value
    yield f"{name}_low.{of}", interval.low
    yield f"{name}_high.{of}", interval.high


def primary(scores: Scores, who: str, language: str) -> Interval:
    """Return the domain's own metric of `base` or `adapted`."""
    metrics = (scores.base if who == "base" else scores.adapted)[language]
    return metrics.exact_match if scores.metric == "exact_match" else metrics.f1


def _description(adaptation: Adaptation) -> str:
    """Write the Markdown for the model version's page."""
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
            f"on the base model {code(run.base)}"
            + (f" (licence: {code(adaptation.base_license)})." if adaptation.base_license else "."),
            "",
            f"**Method** {settings.method}, rank {settings.lora_r}, alpha {settings.lora_alpha}, "
            f"{run.trainable_parameters:,} trained parameters, {run.steps} steps, seed {settings.seed}.",
            "",
            f"**{SHARE[scores.metric].capitalize()}** on {scores.adapted['all'].questions} questions, "
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
            f"then `sdk load`. This page shows; {PROVED_BY.format(LOG)}",
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


def _nameable(key: str) -> str:
    return _UNNAMEABLE.sub("_", key)
