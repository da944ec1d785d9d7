"""What the answers of a project are judged by: its domain's metrics, with what these need, and whether they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sdk.domain import Domain
from sdk.project.state import ProjectState
from sdk.records import ALWAYS, Metric

if TYPE_CHECKING:  # both bring libraries that advice does without
    from sdk.data import RowsFile
    from sdk.data.measures import Measures, Scorer

OWN_CODE: Final = "entry_point"


def runs_own_code(domain: Domain) -> bool:
    return OWN_CODE in domain.measured


def measures_of(state: ProjectState, own_code: bool = False) -> Measures:
    """Return the domain's metrics. own_code: with its own function, which is run; the policy has allowed that.

    Raises InvalidInput where the JSON schema is none.
    """
    from sdk.data.measures import Measures

    domain = state.domain()
    judges: dict[Metric, Scorer] = {}
    if "json_schema" in domain.measured:
        from sdk.data.json_answers import schema_judge

        judges["json_schema"] = schema_judge(domain.scoring.json_schema)
    if own_code and runs_own_code(domain):
        from sdk.evaluate.sandbox import own_function_judge  # whose room loads torch

        file, _, function = domain.scoring.entry_point.partition(":")
        judges[OWN_CODE] = own_function_judge(state.domain_module(file), function, f"domain/{file}")
    metrics = [metric for metric in domain.measured if own_code or metric != OWN_CODE]
    return Measures(metrics, domain.scoring, judges)


def require_metrics_fit(state: ProjectState, questions: RowsFile, measures: Measures | None = None) -> None:
    """Raise InvalidInput with every question that the domain's metrics cannot judge; nothing is said of texts.

    measures: None: all but the domain's own function.
    """
    if set(state.domain().measured) <= set(ALWAYS):
        return  # which judge whatever stands there
    from sdk.data import read_rows

    rows = read_rows(questions).rows
    if not rows[0].is_text:
        (measures or measures_of(state)).require_fit(rows, questions.path.name)
