"""Columns of names: fields of structured rows whose values are mostly names of people are names whole.

A name alone in its field has no sentence around it, so many a one is missed; what stands beside it in the column tells.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from sdk.data import RowSource
from sdk.policy import ScrubRules
from sdk.scrub.fields import SHOWN, TEXT, FieldRules, Leaf, rebuild
from sdk.scrub.find.detector import Detector

SAMPLED = 500  # rows of each file
KEPT = 60  # different values of a column
LEAST = 4  # different values that a column needs to be judged
SHARE = 0.6  # of the values that must be names
WHOLE = 0.8  # of a value's characters that a name must cover
LONGEST = 80  # characters of a name
NAME = "PERSON"


def name_columns(detector: Detector, rules: ScrubRules, sources: Sequence[RowSource]) -> dict[str, str]:
    """Return path of the column -> PERSON, judged by the first rows of each file."""
    fields = FieldRules(rules.fields, {*detector.kinds, *rules.actions})
    values: dict[str, dict[tuple[str, str], None]] = {}

    def visit(leaf: Leaf) -> str:
        if (
            leaf.column
            and leaf.treatment.kind == TEXT
            and len(leaf.text) <= LONGEST
            and any(map(str.isalpha, leaf.text))
        ):
            seen = values.setdefault(leaf.column, {})
            if len(seen) < KEPT:
                seen[leaf.text, language] = None
        return leaf.text

    for source in sources:
        for row in islice(source.rows, SAMPLED):
            if row.metadata is not None or any(message.tool_calls for message in row.messages):
                language = row.language
                rebuild(row, fields, visit)
    return {
        column: NAME
        for column, seen in sorted(values.items())
        if len(seen) >= LEAST and _count_names(detector, list(seen)) >= SHARE * len(seen)
    }


def safe_paths(detector: Detector, columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns' paths as a record may hold them: a key that may be personal data is `*`."""
    keys = sorted({part for column in columns for part in column.split(".")})
    texts = [(key.replace("_", " "), language) for key in keys for language in sorted(detector.languages)]
    each = len(detector.languages)
    found = detector.find_many(texts)
    safe = {
        key
        for place, key in enumerate(keys)
        if SHOWN.fullmatch(key) and not any(found[place * each : (place + 1) * each])
    }
    paths = (".".join(part if part in safe else "*" for part in column.split(".")) for column in columns)
    return tuple(sorted(paths))


def _count_names(detector: Detector, values: Sequence[tuple[str, str]]) -> int:
    count = 0
    for (text, _), found in zip(values, detector.find_many(values), strict=True):
        if not isinstance(found, Exception):
            covered = sum(span.end - span.start for span in found if span.entity_type == NAME)
            count += covered >= WHOLE * len(text.strip())
    return count
