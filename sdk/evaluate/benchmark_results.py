"""The result of one benchmark, from each question's scores by both models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdk.data.benchmark_files import BenchmarkFile, BenchmarkRow
from sdk.intervals import bootstrap, share_interval
from sdk.records import ALL, BenchmarkResult, Interval, MetricScores, Overlap, QuestionScores

Scored = dict[str, dict[str, float]]  # question -> metric -> score


def by_subset(rows: Sequence[BenchmarkRow]) -> dict[str, list[BenchmarkRow]]:
    """Return the rows of each subset, in the order of the file."""
    subsets = dict.fromkeys(row.subset for row in rows if row.subset)
    return {subset: [row for row in rows if row.subset == subset] for subset in subsets}


def benchmark_result(
    file: BenchmarkFile,
    before: Scored,
    after: Scored,
    overlap: Overlap,
    groups: Mapping[str, Sequence[BenchmarkRow]],
    *,
    version: str,
    num_fewshot: int = 0,
) -> BenchmarkResult:
    """Sum up what base and adapted model scored. groups: name -> its questions, beside all of them."""
    asked = [row for row in file.asked if row.id in before]
    metrics = tuple(dict.fromkeys(metric for scores in before.values() for metric in scores))
    return BenchmarkResult(
        sha256=file.sha256,
        version=version,
        num_fewshot=num_fewshot,
        metrics=metrics,
        scores={
            metric: {
                group: MetricScores(
                    questions=len(rows),
                    base=_interval([before[row.id][metric] for row in rows]),
                    adapted=_interval([after[row.id][metric] for row in rows]),
                )
                for group, rows in {ALL: asked, **groups}.items()
            }
            for metric in metrics
        },
        outcomes=tuple(
            QuestionScores(
                question=row.id,
                base=tuple(before[row.id][metric] for metric in metrics),
                adapted=tuple(after[row.id][metric] for metric in metrics),
            )
            for row in asked
        ),
        overlap=overlap,
    )


def _interval(scores: Sequence[float]) -> Interval:
    """Return the mean with its 95 % interval: exact where each score is right or wrong, else by bootstrap."""
    if set(scores) <= {0.0, 1.0}:
        return share_interval(int(sum(scores)), len(scores))
    return bootstrap(scores)
