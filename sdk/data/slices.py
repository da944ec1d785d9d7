"""Groups of questions that are scored by themselves: what is good on the whole may be bad for some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sdk.data import Row, question
from sdk.data.measures import Measured
from sdk.errors import InvalidInput
from sdk.records import METRICS, SliceScore

LEAST_QUESTIONS = 10  # in a group; of fewer, hardly anything can be said
MOST_VALUES, LONGEST_VALUE = 50, 64  # of a field; what has more, or longer ones, is text and groups nothing
ABSENT = "not given"
Groups = dict[tuple[str, str], list[int]]


def group_questions(rows: Sequence[Row], fields: Sequence[str]) -> Groups:
    """Return the places of the rows in each group, by (field, value); groups below LEAST_QUESTIONS are left out.

    fields: topic, length (of the question, in thirds) or fields of the rows' metadata; the language is always one.
    Raises InvalidInput where a field of the metadata is in no row or does not group.
    """
    named: dict[str, list[str]] = {"language": [row.language for row in rows]}
    faults = []
    for field in dict.fromkeys(fields):
        if field == "length":
            named[field] = _thirds([len(question(row)) for row in rows])
        elif field == "topic":
            topics = [row.topic or ABSENT for row in rows]
            if _groups(topics):
                named[field] = topics
        else:
            values = [(row.metadata or {}).get(field) for row in rows]
            texts = [ABSENT if value is None else str(value) for value in values]
            if set(texts) == {ABSENT}:
                faults.append(f"no question has the metadata field {field}")
            elif not _groups(texts) or not all(isinstance(value, str | int | None) for value in values):
                faults.append(
                    f"{field} does not group: it has more than {MOST_VALUES} values, or some that are no short text"
                )
            named[field] = texts
    if faults:
        raise InvalidInput("Change `slices` in domain/domain.yaml and put it in force with `sdk adopt`.", faults)
    groups: Groups = defaultdict(list)
    for field, of_rows in named.items():
        for place, value in enumerate(of_rows):
            groups[field, value].append(place)
    # All questions together are no group of them.
    return {key: places for key, places in groups.items() if LEAST_QUESTIONS <= len(places) < len(rows)}


def score_slices(groups: Groups, before: Measured, after: Measured) -> tuple[SliceScore, ...]:
    """Score each group by a metric, before and after training; the worst first."""
    worst_first = -1 if METRICS[after.metric].lower_is_better else 1
    found = [
        SliceScore(
            by=by,
            value=value,
            questions=len(places),
            base=before.at(places).value(),
            adapted=after.at(places).interval(),
            change=after.at(places).change(before.at(places)),
        )
        for (by, value), places in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: (worst_first * each.adapted.value, each.by, each.value)))


def _groups(values: Sequence[str]) -> bool:
    return len(set(values)) <= MOST_VALUES and max(map(len, values)) <= LONGEST_VALUE


def _thirds(lengths: Sequence[int]) -> list[str]:
    """Name the third that each length is in, by its limits in characters."""
    low, high = (sorted(lengths)[len(lengths) * part // 3] for part in (1, 2))
    names = (f"under {low} characters", f"{low} to {high - 1} characters", f"{high} characters or more")
    return [names[(length >= low) + (length >= high)] for length in lengths]
