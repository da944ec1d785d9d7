"""What MLflow is told: parameters, metrics, tags, datasets and description, all from the records and a `Standing`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sdk.errors import short
from sdk.policy import Demand
from sdk.records import (
    ALL,
    METRICS,
    Advice,
    BenchmarkResult,
    Benchmarks,
    Interval,
    Leaks,
    LossPoint,
    Package,
    PairedChange,
    Release,
    Run,
    Scores,
    Scrubbed,
    ValidationPoint,
)
from sdk.registry.standing import CANDIDATE, Standing, code, cut, rows
from sdk.wording import capitalized

PACKAGE_TAG = "sdk.package"
TRAIN_TAG = "sdk.train"
REPORT = "report.html"
SCRUB_REPORT = "scrub/report.html"
LOSS = "Loss/train"  # MLflow sorts its sections of curves as ASCII, so that a capital comes before all others
VALIDATION = "Loss/validation"
MAX_PARAM = 6000  # characters; MLflow's MAX_PARAM_VAL_LENGTH
MAX_DESCRIPTION = 5000  # characters; the column of MLflow's registry, which PostgreSQL enforces
MAX_DATA_DIGEST = 32  # hex digits of MLflow's 36; the whole SHA-256 is in the dataset's source
SOURCE = "sdk train"  # what a run came from
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
    sealed: str = ""  # when the package was, UTC, ISO 8601; for the report
    demands: tuple[Demand, ...] = ()  # what the policy asks of the model; for the report
    benchmarks: tuple[Benchmarks, ...] = ()  # oldest first
    forgetting: Mapping[str, PairedChange] = field(
        default_factory=dict
    )  # of those that the policy bounds; for the report

    @property
    def digests(self) -> dict[str, str]:
        records = (self.advice, self.scrubbed, self.run, self.scores, self.package, self.leaks)
        numbered = {f"{each.kind}.{number}": each.digest for number, each in enumerate(self.benchmarks, 1)}
        return {record.kind: record.digest for record in records if record is not None} | numbered

    @property
    def benchmark_results(self) -> dict[str, BenchmarkResult]:
        """Benchmark -> its newest result."""
        return {name: result for each in self.benchmarks for name, result in each.results.items()}


@dataclass(frozen=True)
class Value:
    key: str
    step: int
    value: float


@dataclass(frozen=True)
class DataShown:
    """Rows that a run used, as MLflow shows them: counts and digests."""

    name: str
    digest: str
    source: str  # JSON
    profile: str  # JSON
    context: str  # what it was for

    source_type = "sdk"


@dataclass(frozen=True)
class Entry:
    """All that MLflow is told of a package, besides files."""

    project: str
    model_name: str
    run_name: str
    package: str
    run_tags: dict[str, str]
    version_tags: dict[str, str]
    params: dict[str, str]
    metrics: tuple[Value, ...]
    datasets: tuple[DataShown, ...]
    standing: Standing
    judged: dict[str, str]  # what decisions are taken over, besides the report; Markdown, as the following
    description: str  # without the governance
    use: str  # how it is checked and used

    def page(self, release: Release) -> str:
        """Write the model version's description, Markdown."""
        report = next((ref.sha256 for ref in release.artifacts if ref.path == REPORT), "")
        shown = {ref.path for ref in release.artifacts}
        links = [f"[{name}]({artifact_link(release, path)})" for path, name in LINKS.items() if path in shown]
        parts = [
            self.standing.section({**self.judged, "report": code(report)}),
            " · ".join(links),
            self.use,
            self.description,
        ]
        return cut("\n\n".join(parts), MAX_DESCRIPTION)


LINKS = {
    REPORT: "Open the report",
    SCRUB_REPORT: "what scrubbing did",
    "scrub/review.json": "the review of scrubbed rows",
}


def artifact_link(release: Release, path: str) -> str:
    return f"#/experiments/{release.experiment_id}/runs/{release.run_id}/artifacts/{path}?workflowType=machine_learning"


def judged(adaptation: Adaptation) -> dict[str, str]:
    """Return what decisions are taken over, besides the report -> its digest; Markdown."""
    package = adaptation.package
    return {
        "package": code(package.package),
        "policy": f"{code(package.inputs.get('policy', ''))} {code(adaptation.policy)}",
    }


def entry_for(adaptation: Adaptation, more_tags: Mapping[str, str], standing: Standing = CANDIDATE) -> Entry:
    """Write all that MLflow is told. The same records give the same texts, so that they can be compared later.

    Tags are short enough to be read in a list: of a digest its beginning, but for the two by which runs are found.
    more_tags: what the model version is told besides, as it is.
    """
    package = adaptation.package
    tags = {
        PACKAGE_TAG: package.package,
        TRAIN_TAG: adaptation.run.request,
        "sdk.policy": adaptation.policy,
        "sdk.domain": adaptation.domain,
        "sdk.signed_by": package.signed_by,
        **{f"sdk.record.{kind}": short(digest) for kind, digest in adaptation.digests.items()},
    }
    description = _description(adaptation)
    shown = {
        "mlflow.user": package.signed_by,
        "mlflow.source.name": SOURCE,
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": cut(description, MAX_DESCRIPTION),
    }
    return Entry(
        project=adaptation.project,
        model_name=adaptation.model_name,
        run_name=f"{adaptation.project}-{package.package[:12]}",
        package=package.package,
        run_tags=tags | shown,
        version_tags={**more_tags, **tags, **standing.tags},
        params=_params(adaptation),
        metrics=_metrics(adaptation),
        datasets=tuple(_datasets(adaptation)),
        standing=standing,
        judged=judged(adaptation),
        description=description,
        use=_use(adaptation),
    )


def _of_base(adaptation: Adaptation) -> dict[str, str]:
    return {"base.source": adaptation.base_source, "base.license": adaptation.base_license}


def _datasets(adaptation: Adaptation) -> Iterator[DataShown]:
    scrubbed = adaptation.scrubbed
    for split, ref in scrubbed.data.items():
        yield DataShown(
            name=f"{split}, scrubbed",
            digest=ref.sha256[:MAX_DATA_DIGEST],
            source=json.dumps({"sha256": ref.sha256}),  # MLflow keeps one entry for the same rows, whoever brings them
            profile=json.dumps({"rows": scrubbed.rows[split], "bytes": ref.size}),
            context={"train": "training", "eval": "evaluation"}.get(split, split),
        )


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
    return {nameable(key): cut(str(value), MAX_PARAM) for key, value in values.items()}


def _metrics(adaptation: Adaptation) -> tuple[Value, ...]:
    """List every metric. MLflow shows what stands before a slash as a section of its own."""
    run, scrubbed, leaks = adaptation.run, adaptation.scrubbed, adaptation.leaks
    figures = {
        **values(adaptation),
        "personal_data/findings": scrubbed.findings,
        **{f"personal_data/action.{action}": count for action, count in scrubbed.actions.items()},
        **({"leaks/most_bits": leaks.adapted.most_bits} if leaks else {}),
    }
    return (
        *curve(LOSS, run.losses),
        *curve(VALIDATION, run.validation),
        *curve("train/learning_rate", run.losses, "learning_rate"),
        *(Value(nameable(key), 0, value) for key, value in figures.items()),
    )


def curve(key: str, points: Sequence[LossPoint | ValidationPoint], figure: str = "loss") -> list[Value]:
    return [Value(key, point.step, getattr(point, figure)) for point in points]


def values(adaptation: Adaptation) -> dict[str, float]:
    """Return the metrics that have one value each."""
    run, scrubbed = adaptation.run, adaptation.scrubbed
    return {
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
        **dict(_benchmark_values(adaptation.benchmark_results)),
    }


def _score_values(scores: Scores) -> Iterator[tuple[str, float]]:
    for who, by_language in (("base", scores.base), ("adapted", scores.adapted)):
        for language, metrics in by_language.items():
            for name, interval in metrics.shares.items():
                yield from _interval_values(f"{who}/{name}", language, interval)
            if metrics.perplexity_interval:
                yield from _interval_values(f"{who}/perplexity", language, metrics.perplexity_interval)
            else:
                yield f"{who}/perplexity.{language}", metrics.perplexity
    for kind, forgotten in scores.forgetting.items():
        yield f"base/forgetting_perplexity.{kind}", forgotten.base
        yield f"adapted/forgetting_perplexity.{kind}", forgotten.adapted
    for language, score in scores.majority.items():
        for metric, value in score.values.items():
            yield f"majority/{metric}.{language}", value


def _leak_values(leaks: Leaks) -> Iterator[tuple[str, float]]:
    for who, leakage in (("adapted", leaks.adapted), ("control", leaks.control)):
        for name, interval in (("exposure_bits", leakage.exposure), ("auc", leakage.auc), ("tpr", leakage.tpr)):
            yield from _interval_values(f"leaks/{name}", who, interval)
        yield f"leaks/extracted.{who}", leakage.extracted
        yield f"leaks/canaries.{who}", len(leakage.kinds)


def _benchmark_values(results: Mapping[str, BenchmarkResult]) -> Iterator[tuple[str, float]]:
    for name, result in results.items():
        for metric in result.metrics:
            scores = result.scores[metric][ALL]
            for who, interval in (("base", scores.base), ("adapted", scores.adapted)):
                yield from _interval_values(f"benchmark_{name}/{metric}", who, interval)
        yield f"benchmark_{name}/contamination", result.overlap.share


def _interval_values(name: str, of: str, interval: Interval) -> Iterator[tuple[str, float]]:
    yield f"{name}.{of}", interval.value
    yield f"{name}_low.{of}", interval.low
    yield f"{name}_high.{of}", interval.high


def primary(scores: Scores, who: str, language: str) -> Interval:
    """Return the domain's own metric of `base` or `adapted`."""
    return (scores.base if who == "base" else scores.adapted)[language].of(scores.metric)


def _description(adaptation: Adaptation) -> str:
    """Write what was made and measured, Markdown."""
    run, scrubbed, scores, package = adaptation.run, adaptation.scrubbed, adaptation.scores, adaptation.package
    settings, recall = run.settings, scrubbed.recall_planted
    scored = [
        (language, primary(scores, "base", language).text(), primary(scores, "adapted", language).text())
        for language in scores.adapted
    ]
    licence = f" (licence: {code(adaptation.base_license)})" if adaptation.base_license else ""
    weights = "encrypted" if package.encrypted else "not encrypted"
    return "\n\n".join(
        [
            f"Adapter of project {code(adaptation.project)} for the domain {code(adaptation.domain)}, on the base "
            f"model {code(run.base)}{licence}. {settings.method}, rank {settings.lora_r}, alpha {settings.lora_alpha}, "
            f"{_trained(run)}, {run.steps:,} steps, seed {settings.seed}.",
            f"**{capitalized(METRICS[scores.metric].title)}** on {scores.adapted['all'].questions:,} {scores.unit}, "
            f"{'lower is better' if scores.lower_is_better else 'from 0 to 1'}, with its 95 % interval:",
            rows(("language", "base", "adapted"), scored),
            *(
                f"**Forgetting**: perplexity on general {kind} {forgotten.brief()}."
                for kind, forgotten in scores.forgetting.items()
            ),
            f"**Personal data**: {scrubbed.findings:,} findings; {scrubbed.treatments_text()}. "
            f"{scrubbed.rows_changed:,} of {sum(scrubbed.rows.values()):,} rows were changed. Of {recall.planted:,} "
            f"planted values {recall.found:,} were found. {scrubbed.recall_scope()}",
            *_benchmarks_said(adaptation.benchmark_results),
            *(_leaks_said(adaptation.leaks) if adaptation.leaks else ("**Leak check**: none was made.",)),
            f"**Signed** by {code(package.signed_by)}, key {code(package.key_fingerprint[:16])}; weights {weights}; "
            f"policy {code(adaptation.policy)}.",
        ]
    )


def _trained(run: Run) -> str:
    return run.trained.replace(" parameters", " trained parameters")


def _benchmarks_said(results: Mapping[str, BenchmarkResult]) -> tuple[str, ...]:
    if not results:
        return ()
    lines = [(name, *line) for name, result in results.items() for line in benchmark_rows(result)]
    return (
        "**Public benchmarks**, base and adapted model, with 95 % intervals:",
        rows(("benchmark", "metric", "questions", "base", "adapted"), lines),
    )


def benchmark_rows(result: BenchmarkResult) -> list[tuple[str, str, str, str]]:
    """Return metric, questions, base and adapted score of each metric of a benchmark."""
    found = {metric: result.scores[metric][ALL] for metric in result.metrics}
    return [
        (metric, f"{scores.questions:,}", scores.base.text(), scores.adapted.text()) for metric, scores in found.items()
    ]


def _leaks_said(leaks: Leaks) -> tuple[str]:
    adapted, control = leaks.adapted, leaks.control
    return (
        f"**Leak check** with {len(adapted.kinds)} planted values: mean exposure {adapted.exposure.text()} of "
        f"{adapted.most_bits:.1f} bits (1.4 by chance), {adapted.extracted} given word for word, AUC "
        f"{adapted.auc.text()} (0.5 by chance). A control that learned its values in plain: "
        f"{control.exposure.value:.2f} bits, {control.extracted}, {control.auc.value:.2f}.",
    )


def _use(adaptation: Adaptation) -> str:
    """Say how a release is loaded. MLflow's own snippet on the page runs what the store names before any check."""
    return "\n".join(
        [
            "**To use it**, once it is served. `load_release` checks signatures, approvals and the log before it opens "
            "the weights; MLflow's own loader runs code that the store names first.",
            "",
            "```python",
            "from sdk import load_release",
            "",
            f'model = load_release("models:/{adaptation.model_name}@champion")',
            "```",
            "",
            "**To decide over it**, in the project's folder: `sdk verify`, then `sdk explain`. `sdk "
            "documents` writes model card, Annex IV, SR 26-2, HIPAA and data sheet. This page shows; the signed "
            "package and the audit log prove.",
        ]
    )


def nameable(key: str) -> str:
    return _UNNAMEABLE.sub("_", key)
