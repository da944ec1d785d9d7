"""What a project's own rows ask of the domain's settings: what its user set, and what follows from the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdk.domain import Domain
from sdk.errors import InvalidInput
from sdk.policy import validation_faults
from sdk.project.charter import DomainChoice, is_shipped
from sdk.records import Columns, OwnRows, as_written, default_floors, floors_text

if TYPE_CHECKING:
    from sdk.data import Row, RowSource
    from sdk.project.state import ProjectState

ROOM, MOST = 16, 4096  # tokens of an answer: the step that room is given in, and what domain.yaml takes
BY_USER = "as you set it"


def own_rows(data: str | Path | None, evaluation: str | Path | None, columns: Columns | None) -> OwnRows | None:
    """Return the files that a project is made for; None where none is named."""
    own_columns = named_columns({"train": data, "eval": evaluation}, columns)
    if data is None and evaluation is None:
        return None
    return OwnRows(train=_absolute(data), eval=_absolute(evaluation), columns=own_columns)


def _absolute(path: str | Path | None) -> str:
    return "" if path is None else str(Path(path).resolve())


def named_columns(files: Mapping[str, str | Path | None], columns: Columns | None) -> dict[str, Columns]:
    """Return for each split that has a file of its own what its columns stand for; of a data.yaml nothing."""
    if columns is None:
        return {}
    from sdk.data import DATA_LISTS

    named = {split: columns for split, file in files.items() if file and Path(file).suffix.lower() not in DATA_LISTS}
    if not named:
        raise InvalidInput(
            "Columns are those of a file that is named: name the data, too; a data.yaml says of each file which it has."
        )
    return named


def open_own(rows: OwnRows | None) -> dict[str, RowSource]:
    """Open a project's own files by split; every row is checked. InvalidInput lists all faults of one."""
    from sdk.data import open_rows

    files = {} if rows is None else rows.files
    return {split: open_rows(Path(path), columns) for split, (path, columns) in files.items()}


def own_texts(rows: OwnRows | None) -> bool:
    """Tell whether a project's own training rows are running text."""
    from sdk.data import holds_texts

    train = rows.files.get("train") if rows else None
    return train is not None and holds_texts(Path(train[0]), train[1])


def read_settings(domain: Domain, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the user set as domain.yaml has it. InvalidInput lists everything that cannot stand there."""
    try:
        changed = Domain.model_validate({**domain.model_dump(), **changes})
    except ValidationError as error:
        raise InvalidInput("These settings cannot be used.", validation_faults(error)) from None
    return {key: as_written(changed.floors) if key == "floors" else getattr(changed, key) for key in changes}


def settle_settings(
    choice: DomainChoice,
    source: Path,
    domain: Domain,
    opened: Mapping[str, RowSource],
    base: Path,
    template: str | None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the project's domain.yaml says otherwise than the domain's, and why.

    opened: the user's own rows by split; base: folder of the base, with whose tokens answers are counted.
    """
    changes = read_settings(domain, choice.settings)
    why = dict.fromkeys(changes, BY_USER)
    opened = {split: rows for split, rows in opened.items() if not rows.texts}  # nothing answers in texts
    metric = changes.get("metric", domain.metric)
    others = ("eval" in opened and is_shipped(source)) or metric != domain.metric
    if others and "floors" not in changes and domain.floors != default_floors(metric):
        changes["floors"] = as_written(default_floors(metric))
        why["floors"] = f"none was set, and those of the domain {domain.name} are for its own questions and metric"
    if opened and "max_new_tokens" not in changes:
        from sdk.data.lengths import longest_answer

        longest = longest_answer(_rows(opened), base, template)
        room = -(-(longest * 5 // 4 + 1) // ROOM) * ROOM
        least = 0 if len(opened) == 2 else domain.max_new_tokens  # the domain's own rows have to fit, too
        changes["max_new_tokens"] = min(MOST, max(room, least))
        why["max_new_tokens"] = f"room for the longest answer of your rows, {longest:,} tokens"
    return changes, why


def _rows(opened: Mapping[str, RowSource]) -> Iterator[Row]:
    return chain.from_iterable(source.rows for source in opened.values())


def settings_in_force(state: ProjectState) -> list[tuple[str, str, str]]:
    """List (setting, value, where it is from) of a project with rows or settings of its own; nothing of others.

    Where documents are held out nobody asks anything: they are judged by their perplexity, whatever the domain says.
    """
    from sdk.project.measure_requests import asked_floors

    domain, charter = state.domain(), state.charter
    if not charter.rows and not charter.own_settings:
        return []
    files = {split: Path(path).name for split, (path, _) in charter.rows.files.items()} if charter.rows else {}
    domains = f"the domain {charter.domain}"
    of = {"prompt": domains, "metric": domains, "max_new_tokens": domains, "floors": domains, **charter.own_settings}
    rows = [("training rows", files.get("train", "train.jsonl"), "yours" if "train" in files else domains)]
    prompt = ("prompt", domain.prompt or "none", of["prompt"])
    if "eval" not in files and own_texts(charter.rows):
        asked = asked_floors(state, "", texts=True)
        metric = of["metric"] if domain.metric == "perplexity" else asked.origin
        return [
            *rows,
            ("evaluation", "documents held out", "yours"),
            prompt,
            ("metric", "perplexity", metric),
            ("floors", floors_text(asked.floors), of["floors"] if domain.metric == "perplexity" else asked.origin),
        ]
    return [
        *rows,
        ("questions", files.get("eval", "eval.jsonl"), "yours" if "eval" in files else domains),
        prompt,
        ("metric", ", beside it ".join(filter(None, (domain.metric, ", ".join(domain.metrics)))), of["metric"]),
        ("max_new_tokens", str(domain.max_new_tokens), of["max_new_tokens"]),
        ("floors", floors_text(domain.floors), of["floors"]),
    ]
