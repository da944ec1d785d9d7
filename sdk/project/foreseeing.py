"""What a policy will refuse whatever is done, as soon as the rows, questions, canaries and floors are known.

The rules are those of `require`, judged over the best that these can still come to: what does not hold even then is
refused for certain, by the step that has the last word on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sdk.data import RowSource, open_rows, rows_digest
from sdk.data.canaries import canary_rows, planted_kinds
from sdk.data.lengths import longest_answer
from sdk.errors import Refused
from sdk.intervals import rows_needed, upper_bound
from sdk.policy import KEYS, Contamination, Foreseen, Policy, policy_value, violations
from sdk.project.charter import is_shipped
from sdk.project.domain_metrics import measures_of, require_metrics_fit, runs_own_code
from sdk.project.inputs import EVAL
from sdk.project.measure_requests import asked_floors
from sdk.project.scrub_requests import contamination_facts, rows_to_scrub
from sdk.project.state import ProjectState
from sdk.records import AskedFloors, Columns, Scrubbed
from sdk.scrub.statistics import looked_up
from sdk.scrub.text_selection import held_out

TEXTS = {  # rule -> what is said; {limit} is the policy's value
    "scrub.min_recall": "no row has planted or marked personal data on which a recall of {limit} could be measured; "
    "add planted.jsonl to the domain",
    "scrub.min_k": "there are {rows} rows in all, and {limit} must share their quasi-identifiers",
    "scrub.max_miss_rate": "a review of {needed} rows could show a bound of {limit}, and there are {rows}",
    "evaluate.min_questions": "{questions} evaluation questions, {limit} are needed; add to the evaluation file",
    "evaluate.domain_floors": "no score can reach {below}",
    "evaluate.max_contamination": "of the questions, {limit} may nearly repeat a training row, and {contamination} do "
    "({repeated}); leave these rows out and scrub again",
    "evaluate.run_domain_code": "the domain's own function would score the answers; take entry_point out of the "
    "domain's metrics",
    "leaks.required": "the model must be asked for planted canaries, and the rows have none of this policy; set "
    "leaks.canaries (32 for a start), and scrub again",
}

HELD_OUT = (  # in place of questions
    "{questions} documents can be held out of {documents}, {limit} are needed; hand over {twice}, or name documents to "
    "measure on with --eval"
)


class Known(NamedTuple):
    """What is known of the rows, before or after they were scrubbed."""

    rows: int  # of both splits
    questions: int  # or documents to measure on, at most
    documents: int  # out of which they are held; 0: they are a file of their own
    recall: float  # on planted personal data, at best
    k: int  # of the smallest group, at best
    canaries: bool  # are or will be planted
    unreachable: str  # floors that no score can reach
    contamination: Contamination  # at best
    own_code: bool  # of the domain scores answers


def foresee(
    state: ProjectState,
    data: str | Path | None = None,
    evaluation: str | Path | None = None,
    columns: Columns | None = None,
) -> tuple[str, ...]:
    """Return what the policy will refuse for certain: one line each, with rule, demand and the step that refuses.

    Files are checked as scrubbing would take them, those of the project where none are named. Raises InvalidInput as
    scrubbing does.
    """
    sources, own_columns = rows_to_scrub(state, data, evaluation, columns)
    opened = {split: open_rows(path, own_columns.get(split)) for split, path in sources.items()}
    policy = state.policy()
    marked = any(source.labelled for source in opened.values()) or bool(state.planted_rows(sources["train"]))
    count = sum(source.count for source in opened.values())
    drawn = 0 if EVAL in opened else count
    asked = asked_floors(state, rows_digest(sources[EVAL], own_columns.get(EVAL)) if EVAL in sources else "")
    known = Known(
        rows=count,
        questions=held_out(drawn, policy.evaluate.min_questions) if drawn else opened[EVAL].count,
        documents=drawn,
        recall=1.0 if marked else 0.0,
        k=count,
        canaries=bool(
            canary_rows(bytes(32), policy.leaks.canaries, state.domain().languages, planted_kinds(policy.scrub))
        ),
        unreachable=_unreachable(asked, state, opened),
        contamination=Contamination(contamination=0.0, repeated=""),  # scrubbing compares them
        own_code=runs_own_code(state.domain()),
    )
    return (*_of_rows(policy, opened), *_lines(policy, known))


def borrowed(
    state: ProjectState, data: str | Path | None, evaluation: str | Path | None, columns: Columns | None = None
) -> tuple[str, ...]:
    """Return what rows that are named now get of a shipped domain that was made for others; none where it was settled.

    Raises InvalidInput as scrubbing does.
    """
    charter, domain = state.charter, state.domain()
    if charter.rows or not is_shipped(state.domain_source) or (data is None and evaluation is None):
        return ()
    sources, own_columns = rows_to_scrub(state, data, evaluation, columns)
    if EVAL not in sources:  # documents will be held out
        return ()
    questions = open_rows(sources[EVAL], own_columns.get(EVAL))
    if questions.texts:  # which nobody asks
        return ()
    asked = asked_floors(state, rows_digest(sources[EVAL], own_columns.get(EVAL)))
    longest = longest_answer(questions.rows, state.base_folder(), state.template())
    cut = f", of which the longest reference has {longest:,}" if longest > domain.max_new_tokens else ""
    return (
        f"your rows are asked and scored as {charter.domain} says: prompt {domain.prompt!r}, metric {domain.metric}, "
        f"answers of up to {domain.max_new_tokens} tokens{cut}, floors {asked}; change domain/domain.yaml and "
        "`sdk adopt`, or name rows and settings with `sdk init`",
    )


def foresee_of(state: ProjectState, scrubbed: Scrubbed) -> tuple[str, ...]:
    """Return the same of rows that were scrubbed."""
    policy = state.policy()
    asked = asked_floors(state, scrubbed.inputs[EVAL])
    opened = (
        {split: open_rows(state.rows(scrubbed, split).path) for split in scrubbed.data} if _needs_rows(asked) else {}
    )
    count = sum(scrubbed.rows.values())
    drawn = scrubbed.texts.documents if scrubbed.texts and scrubbed.texts.held_out else 0
    known = Known(
        rows=count,
        questions=scrubbed.rows[EVAL],
        documents=drawn,
        recall=1.0,  # this and the next one scrubbing has judged
        k=count,
        canaries=bool(scrubbed.canaries) and scrubbed.inputs["policy"] == policy.digest,
        unreachable=_unreachable(asked, state, opened),
        contamination=contamination_facts(scrubbed),
        own_code=runs_own_code(state.domain()),
    )
    return _lines(policy, known)


def require_use(state: ProjectState, scrubbed: Scrubbed) -> None:
    """Raise Refused where the policy will refuse, for certain, what is made of these rows; it lists why.

    Raises InvalidInput where the domain's metrics cannot judge the questions.
    """
    require_metrics_fit(state, state.rows(scrubbed, EVAL))
    lines = foresee_of(state, scrubbed)
    if lines:
        raise Refused(
            "What would come of this training is refused for certain, whatever is learned; mend that first, or train "
            "all the same with `--anyway`.",
            lines,
        )


def _lines(policy: Policy, known: Known) -> tuple[str, ...]:
    facts = Foreseen(
        scrubbed=True,
        recall=known.recall,
        k=known.k,
        miss_bound=upper_bound(0, known.rows) if known.rows else None,
        below_floor=known.unreachable,
        questions=known.questions,
        leaks_checked=known.canaries,
        runs_domain_code=known.own_code,
        **known.contamination.model_dump(),
    )
    return tuple(_line(policy, rule, known) for rule in violations(policy, facts))


def _line(policy: Policy, rule: str, known: Known) -> str:
    limit = policy_value(policy, rule)
    needed = rows_needed(limit) if rule == "scrub.max_miss_rate" else 0
    text = (HELD_OUT if rule == "evaluate.min_questions" and known.documents else TEXTS[rule]).format(
        limit=limit,
        needed=needed,
        rows=known.rows,
        questions=known.questions,
        documents=known.documents,
        twice=2 * limit if isinstance(limit, int) else limit,
        below=known.unreachable,
        **known.contamination.model_dump(),
    )
    return f"policy {policy.name} would refuse `sdk {KEYS[rule].steps.split(',')[0]}`: {rule}: {text}"


def _of_rows(policy: Policy, opened: Mapping[str, RowSource]) -> list[str]:
    """Say which rows scrubbing itself would refuse at its end, where the policy asks something of each."""
    rules = policy.scrub
    patients, known = 0, set[str]()
    by_patient = rules.token_scope == "patient"  # noqa: S105 - no password
    if by_patient or rules.quasi_identifiers:
        for source in opened.values():
            for row in source.rows:
                patients += row.patient is None
                known |= {name for name in rules.quasi_identifiers if looked_up(row.metadata or {}, name) is not None}
    lines = []
    if by_patient and patients:
        lines.append(f"scrub.token_scope: it is patient, and {patients:,} rows name none")
    lines += [
        f"scrub.quasi_identifiers: no row has the metadata field {name}"
        for name in rules.quasi_identifiers
        if name not in known
    ]
    return [f"policy {policy.name} would refuse `sdk scrub`: {line}" for line in lines]


def _needs_rows(asked: AskedFloors) -> bool:
    return any(floor.over == "majority" and floor.least for floors in asked.floors.values() for floor in floors)


def _unreachable(asked: AskedFloors, state: ProjectState, opened: Mapping[str, RowSource]) -> str:
    """Name the floors that lie above 1: so much above the majority answer's score, which texts have none of."""
    if not _needs_rows(asked) or EVAL not in opened or opened[EVAL].texts:
        return ""
    scores = measures_of(state).majority_scores(opened["train"].rows, [*opened[EVAL].rows])
    values = {name: score.values[state.domain().metric] for name, score in scores.items()}
    return ", ".join(
        f"{name} {floor}, where the majority answer scores {values[name]:.3f}"
        for name, floors in asked.floors.items()
        for floor in floors
        if floor.over == "majority" and values.get(name, 0.0) + floor.least > 1
    )
