"""A project's records as pandas DataFrames, tidy: one row for each thing that was measured, with its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from sdk.project.showing import findings
from sdk.project.state import ProjectState
from sdk.records import Run, Scores, StepRecord, TableName


def to_pandas(state: ProjectState, table: TableName) -> pd.DataFrame:
    """Return one of the tables; without rows, and so without columns, where nothing was made yet."""
    return pd.DataFrame(TABLES[table](state))


def _of_run(record: StepRecord) -> str:
    return (record.digest if isinstance(record, Run) else record.inputs["run"])[:12]


def _losses(state: ProjectState) -> Iterator[dict[str, Any]]:
    for run in state.distinct(Run):
        held = {point.step: point.loss for point in run.validation}
        points = {point.step: {"loss": point.loss, "learning_rate": point.learning_rate} for point in run.losses}
        for step in sorted(points.keys() | held.keys()):
            yield {"run": _of_run(run), "step": step, **points.get(step, {}), "validation_loss": held.get(step)}


def _scores(state: ProjectState) -> Iterator[dict[str, Any]]:
    for scores in state.distinct(Scores):
        for model, languages in (("base", scores.base), ("adapted", scores.adapted)):
            for language, metrics in languages.items():
                of = {"run": _of_run(scores), "model": model, "language": language, "questions": metrics.questions}
                for metric, found in metrics.shares.items():
                    yield {**of, "metric": metric, **found.model_dump()}
                interval = metrics.perplexity_interval
                yield {
                    **of,
                    "metric": "perplexity",
                    "value": metrics.perplexity,
                    **(interval.model_dump() if interval else {}),
                }
        for language, score in scores.majority.items():
            of = {"run": _of_run(scores), "model": "majority answer", "language": language}
            for name, value in score.values.items():
                yield {**of, "questions": scores.adapted[language].questions, "metric": name, "value": value}


def _outcomes(state: ProjectState) -> Iterator[dict[str, Any]]:
    for scores in state.distinct(Scores):
        for outcome in (*scores.outcomes, *scores.texts):
            values = outcome.model_dump()
            for who in ("base", "adapted"):
                values |= {f"{who}_{metric}": value for metric, value in values.pop(f"{who}_scores", {}).items()}
            yield {"run": _of_run(scores), **values}


def _findings(state: ProjectState) -> Iterator[dict[str, Any]]:
    return (finding.model_dump() for finding in findings(state))


def _history(state: ProjectState) -> Iterator[dict[str, Any]]:
    return ({**vars(event), "time": pd.Timestamp(event.time)} for event in state.events)


TABLES: dict[TableName, Callable[[ProjectState], Iterator[dict[str, Any]]]] = {
    "losses": _losses,
    "scores": _scores,
    "outcomes": _outcomes,
    "findings": _findings,
    "history": _history,
}
