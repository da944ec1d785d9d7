"""The names of columns: those that layouts know, and how a file's own become them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sdk.data.arrow_values import as_json
from sdk.data.rows import Faults, Layout, Place, json_value
from sdk.errors import InvalidInput
from sdk.records import Columns

METADATA = ("id", "language", "topic", "spans", "metadata", "patient")
LAYOUTS: dict[Layout, tuple[str, ...]] = {
    "alpaca": ("instruction", "input", "output"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
KNOWN = "; ".join(f"{layout}: {', '.join(columns)}" for layout, columns in LAYOUTS.items())
REMEDY = "name them with --map or --form, or leave them out with --drop"
_OPTIONAL = ("input", *METADATA)  # a row may have none
_LISTS = ("messages", "conversations", "spans")
_TEXTS = ("instruction", "input", "output", "prompt", "completion", "text")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")
_ABSENT = object()
# What data sets of the field call the parts of a row, the surest name first.
_QUESTION = ("question", "instruction", "query", "prompt", "problem", "sentence", "text")
_CONTEXT = ("context", "contexts", "passage", "abstract", "article", "document", "background", "input")
_ANSWER = (
    "final_decision",
    "long_answer",
    "best answer",
    "answer",
    "answers",
    "answerkey",
    "response",
    "output",
    "completion",
    "canonical_solution",
    "solution",
    "target",
    "label",
    "summary",
)
_CHOICE = re.compile(r"(choice|option|op)s?_?([0-9]|[a-e])?")
_LETTERS = "ABCDEFGHIJ"
_IDS = ("pubid", "task_id", "idx", "question_id", "example_id")
_INSIDE = ("contexts", "text", "texts", "content")  # where a column that is an object has its text


def shown(name: str) -> str:
    """Return the name if it can only be a column's. Any other is not repeated: it may be customers' text."""
    return name if _NAME.fullmatch(name) else "(a name that is not shown)"


def find_layout(columns: Iterable[str], faults: Faults) -> Layout | None:
    """Return the one layout whose columns these are; None, and a fault, if there is none or more than one."""
    layout, found = _layout_of(tuple(columns))
    faults += found
    return layout


@lru_cache(maxsize=256)
def _layout_of(columns: tuple[str, ...]) -> tuple[Layout | None, tuple[str, ...]]:
    """Return the layout and the faults; nearly all rows of a file have the same columns."""
    found = [layout for layout, names in LAYOUTS.items() if set(names) & set(columns)]
    if len(found) > 1 and "text" in found:
        found.remove("text")  # beside columns of a conversation it is one more column, as in Alpaca's own files
    if len(found) > 1:
        several = f"columns of several layouts ({', '.join(found)}); keep one, and leave the rest out with --drop"
        return None, (several,)
    known = {*METADATA, *(LAYOUTS[found[0]] if found else ())}
    unknown = [shown(column) for column in columns if column not in known]
    if unknown:
        expected = ", ".join([*LAYOUTS[found[0]], *METADATA]) if found else f"{', '.join(METADATA)}; {KNOWN}"
        faults: tuple[str, ...] = (f"unknown columns {', '.join(unknown)}; {REMEDY}; known are {expected}",)
    else:
        faults = () if found else (f"no column with text; known are {KNOWN}",)
    return found[0] if found else None, faults


class _Value(NamedTuple):
    """A text made of a column. exact: it is the column's own text, so offsets in it stay what they were."""

    text: str
    exact: bool


class _Form:
    """A text with columns in braces; braces of the text itself stand twice."""

    def __init__(self, form: str) -> None:
        self.pieces: list[tuple[str, bool]] = []  # text, and whether it names a column
        end = 0
        for found in _PIECES.finditer(form):
            self.pieces.append((form[end : found.start()], False))
            if found[0] in ("{", "}"):
                raise InvalidInput(f"A brace stands alone in the form {form!r}; columns are {{name}}, a brace is {{{{.")
            self.pieces.append((found[1], True) if found[1] else (found[0][0], False))
            end = found.end()
        self.pieces.append((form[end:], False))

    @property
    def paths(self) -> list[str]:
        return [text for text, column in self.pieces if column]


class Arrangement:
    """How a file's own columns become those of a layout, or are filled into a form."""

    def __init__(self, columns: Columns) -> None:
        """Check what was asked for. Raises InvalidInput with every fault of it."""
        self._map, self._labels, self._dropped = dict(columns.map), columns.labels, set(columns.drop)
        self.by_form = columns.form is not None
        faults = list(_contradictions(columns))
        answer = columns.answer or ""
        self._form = _Form(columns.form or "")
        self._answer = _Form(answer if "{" in answer else f"{{{answer}}}" if answer else "")
        if self.by_form and not self._form.paths:
            faults.append("the form names no column; write {question}, say, where the column's text shall stand")
        self._answer_may_be_number = "{" in answer
        self._paths = [*self._map.values(), *self._form.paths, *self._answer.paths]
        faults += [f"drop: {name} is asked for, too" for name in columns.drop if name in self._paths]
        faults += [
            f"labels: {name} stands in no map, form or answer" for name in self._labels if name not in self._paths
        ]
        if faults:
            raise InvalidInput("These columns cannot be made rows of.", faults)

    def named(self, columns: Sequence[str]) -> set[str]:
        """Return which of these columns are named anywhere."""
        return {root for root in (_root(columns, path) for path in self._paths) if root} | self._dropped

    def dropped(self, column: str) -> bool:
        return column in self._dropped

    @property
    def texts(self) -> set[str]:
        """Columns, or places in them, that become text."""
        return {path for target, path in self._map.items() if target in _TEXTS} | {
            *self._form.paths,
            *self._answer.paths,
        }

    def renamed(self, columns: Sequence[str], faults: Faults) -> list[str]:
        """Return what columns are called afterwards; those that stand for nothing keep their name."""
        missing = [path for path in self._paths if _root(columns, path) is None]
        optional = {path for target, path in self._map.items() if target in _OPTIONAL}
        faults += [f"column {path} is missing" for path in dict.fromkeys(missing) if path not in optional]
        named = self.named(columns)
        kept = [name for name in columns if name not in named]
        faults += [_taken(name, self._map[name]) for name in kept if name in self._map]
        return [*self._map, *(name for name in kept if name not in self._map)]

    def layout(self, columns: Sequence[str], faults: Faults) -> Layout | None:
        """Return the layout of columns that are renamed already."""
        if not self.by_form:
            return find_layout(columns, faults)
        unknown = [shown(name) for name in columns if name not in METADATA]
        if unknown:
            faults.append(
                f"columns {', '.join(unknown)} stand in no form; add them to it, or leave them out with --drop"
            )
        return "form"

    def arrange(self, fields: Mapping[str, Any], faults: Faults) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the row by the names that layouts know, and those names by the columns whose text they are."""
        arranged: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for target, path in self._map.items():
            value = _reach(fields, path)
            if value is _ABSENT or value is None:
                if target not in _OPTIONAL:
                    faults.append(f"column {path} is missing; every row needs it")
                continue
            if target in _TEXTS and not _is_chat(value):
                made = self._text(path, value, False, faults)
                arranged[target] = made.text
                if made.exact:
                    sources[path] = target
            elif made_value := _read(value, target):
                arranged[target] = made_value[0]
        named = self.named(list(fields))
        for name, value in fields.items():
            if name in named:
                continue
            if name in self._map:
                faults.append(_taken(name, self._map[name]))
            arranged.setdefault(name, value)
            sources.setdefault(name, name)
        return arranged, sources

    def fill(self, fields: Mapping[str, Any], faults: Faults) -> tuple[str, str, dict[str, Place], set[str]]:
        """Return question, answer, where each column's text ended up in them, and the columns that have no one place.

        A form stands for one question of the user and one answer. Numbers are written as JSON writes them.
        """
        places: dict[str, Place] = {}
        unplaced: set[str] = set()
        texts = []
        for message, form in enumerate((self._form, self._answer)):
            numbers = message == 0 or self._answer_may_be_number
            text = ""
            for piece, column in form.pieces:
                if not column:
                    text += piece
                    continue
                value = _reach(fields, piece)
                if value is _ABSENT or value is None:
                    faults.append(f"column {piece} is missing; every row needs it")
                    continue
                made = self._text(piece, value, numbers, faults)
                if piece in places or not made.exact:
                    unplaced.add(piece)
                places[piece] = (message, len(text), len(made.text))
                text += made.text
            if not text.strip():
                faults.append(f"the {('question', 'answer')[message]} is empty; fill it or remove the row")
            texts.append(text)
        return texts[0], texts[1], {path: at for path, at in places.items() if path not in unplaced}, unplaced

    def _text(self, path: str, value: Any, numbers: bool, faults: Faults) -> _Value:
        """Return a column's text: labels by name, lists of strings a line each, numbers where they are asked for."""
        if path in self._labels:
            return _Value(self._label(path, value, faults), False)
        if isinstance(value, str):
            return _Value(value, True)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return _Value("\n".join(value), False)
        plain = _plain(value)
        if plain is None:
            faults.append(f"{path} is no text, and no list of texts; name what in it is meant, as {path}.text")
        elif not numbers:
            faults.append(
                f"{path} is a number; say what each is called (--labels {shlex.quote(path)}=no,yes), "
                "or have it written as it is (--form, --answer '{…}')"
            )
        return _Value(plain or "", False)

    def _label(self, path: str, value: Any, faults: Faults) -> str:
        names = self._labels[path]
        plain = _plain(value) if not isinstance(value, str) else value.strip()
        number = int(plain) if plain is not None and re.fullmatch(r"[0-9]{1,6}", plain) else -1
        if not 0 <= number < len(names):
            faults.append(f"{path} must be a number from 0 to {len(names) - 1}, one for each of its labels")
            return ""
        return names[number]


def _contradictions(columns: Columns) -> Iterator[str]:
    known = {*METADATA, *(name for names in LAYOUTS.values() for name in names)}
    unknown = [name for name in columns.map if name not in known]
    if unknown:
        yield f"map: no layout has {', '.join(unknown)}; known are {', '.join(METADATA)}; {KNOWN}"
    texts = [name for name in columns.map if name in known and name not in METADATA]
    if columns.form is not None and texts:
        yield f"map: {', '.join(texts)}, beside a form, which is the question; leave one of them out"
    if columns.form is not None and columns.answer is None:
        yield "form without answer: name the column of the answer, too"
    if columns.form is None and columns.answer is not None:
        yield "answer without form: write the question's form, too, as '{question}'"
    if not columns.map and columns.form is None and not columns.drop:
        yield "nothing is asked for: give map, form or drop"
    for name, labels in columns.labels.items():
        if len(labels) < 2:
            yield f"labels: {name} has {len(labels)}; name one for each number from 0 on"


def _taken(name: str, path: str) -> str:
    return f"column {name} has a name that map gives to {path}; leave it out with --drop {name}"


def _root(columns: Iterable[str], path: str) -> str | None:
    """Return the column in which a path begins: columns may have dots in their names."""
    columns = set(columns)
    parts = path.split(".")
    ways = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((way for way in ways if way in columns), None)


def _reach(value: Any, path: str) -> Any:
    """Return what stands at the path; _ABSENT where nothing does."""
    if isinstance(value, dict | Mapping):
        root = _root(value, path)
        if root is None:
            return _ABSENT
        return value[root] if root == path else _reach(value[root], path[len(root) + 1 :])
    if isinstance(value, list):
        head, _, rest = path.partition(".")
        if re.fullmatch(r"[0-9]{1,6}", head):
            if int(head) >= len(value):
                return _ABSENT
            return _reach(value[int(head)], rest) if rest else value[int(head)]
        items = [_reach(item, path) for item in value]
        return items if items and _ABSENT not in items else _ABSENT
    return _ABSENT


def _plain(value: Any) -> str | None:
    """Return a number, truth value, date or time as text; None for anything else."""
    try:
        value = as_json(value, drop_nulls=False)
    except TypeError:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _read(value: Any, target: str) -> tuple[Any] | None:
    """Return, as one value, what belongs under a name that is no text; None for a blank cell.

    Lists and objects may be text of JSON, as they are in CSV and in columns that were written so.
    """
    if not isinstance(value, str):
        return (value,)
    if target in METADATA and not value.strip():
        return None
    if target in _LISTS or target == "metadata":
        try:
            return (json_value(value),)
        except ValueError:
            pass  # a fault of its own is found where it is read
    return (value,)


def suggest(fields: Mapping[str, Any] | Sequence[str]) -> str | None:
    """Return options that would make rows of these columns, as far as their names tell; None where they do not.

    fields: a row, or the names alone. A name that is not shown elsewhere is not shown here.
    """
    values = fields if isinstance(fields, Mapping) else dict.fromkeys(fields)
    whole = [layout for layout, names in LAYOUTS.items() if {*names} - {"input"} <= {*values}]
    question = _first(values, _QUESTION)
    answer = _first([name for name in values if name != question], _ANSWER)
    # A text beside what may be its answer (text, label) is a question rather than running text.
    if whole and not (whole == ["text"] and question and answer):
        known = {
            *METADATA,
            *(name for layout in whole if layout != "text" or len(whole) == 1 for name in LAYOUTS[layout]),
        }
        return _drop([name for name in values if name not in known]).strip() or None
    if question is None or answer is None:
        return None
    context = _first([name for name in values if name not in (question, answer)], _CONTEXT)
    row_id = None if "id" in values else _first(values, _IDS)
    choices = [name for name in values if _CHOICE.fullmatch(name.casefold())]
    pairs = {"instruction": question, "input": context, "output": answer, "id": row_id}
    paths = {target: _inside(name, values[name]) for target, name in pairs.items() if name is not None}
    rest = _drop([name for name in values if name not in {"id", *pairs.values(), *choices}])
    items = _choices({name: values[name] for name in choices})
    if not items and not isinstance(values[answer], int | float):
        return f"--map {_quoted(','.join(f'{target}={path}' for target, path in paths.items()))}{rest}"
    form = "\n\n".join(f"{{{paths[target]}}}" for target in ("instruction", "input") if target in paths)
    form += "".join(f"\n{letter}. {{{path}}}" for letter, path in items.items())
    said, value = paths["output"], values[answer]
    if items and (not isinstance(value, str) or value.strip().isdecimal()):
        rest = f" --labels {_quoted(said + '=' + ','.join(items))}{rest}"
    elif not isinstance(value, str | list):
        said = f"{{{said}}}"
    own_id = f" --map {_quoted(f'id={row_id}')}" if row_id else ""
    return f"--form {_quoted(form)} --answer {_quoted(said)}{own_id}{rest}"


def _choices(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return a letter for each of the answers to choose from, and where it stands."""
    if len(columns) > 1:
        return dict(zip(_LETTERS, columns, strict=False))
    name, value = next(iter(columns.items()), ("", None))
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        name, value = f"{name}.text", value["text"]
    if isinstance(value, list):
        return {letter: f"{name}.{number}" for number, letter in zip(range(len(value)), _LETTERS, strict=False)}
    if isinstance(value, dict) and {*value} <= {*_LETTERS}:
        return {letter: f"{name}.{letter}" for letter in value}
    return {}


def _drop(names: list[str]) -> str:
    """Return the option that leaves these columns out, behind a space."""
    visible = [name for name in names if shown(name) == name]
    option = f" --drop {_quoted(','.join(visible))}" if visible else ""
    return option + (", and --drop for the columns whose names are not shown" if len(visible) < len(names) else "")


def _first(names: Iterable[str], wanted: Sequence[str]) -> str | None:
    by_name = {name.casefold(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _inside(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return next((f"{name}.{key}" for key in _INSIDE if key in value), name)
    return name


def _quoted(text: str) -> str:
    return shlex.quote(text).replace("\n", "\\n")
