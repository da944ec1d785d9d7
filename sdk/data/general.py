"""General texts and answers that ship: what a model should read and say as before, whatever it was trained on.

Ten short texts of everyday knowledge and ten questions with answers in each language, written for this purpose, so that
no corpus that a base was trained on holds them. They are few: they show that something was forgotten, not what.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sdk.data.rows import Row
from sdk.files.regular_files import read_shipped


def general_rows(languages: Collection[str]) -> list[Row]:
    """Read those in these languages."""
    lines = read_shipped(Path(__file__).with_name("general.jsonl")).splitlines()
    return [row for row in map(Row.model_validate_json, lines) if row.language in languages]
