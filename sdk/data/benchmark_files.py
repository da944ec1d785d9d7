"""Public benchmarks as local files: from the forms in which people have them to one file each, which a digest pins.

That file is JSONL. Its first line names the benchmark; each other one is a question or an example, with the fields that
lm-evaluation-harness reads, its split (`test` is asked; `train` and `dev` are shown before) and its subset.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
import pyarrow.parquet

from sdk.data.arrow_values import as_json
from sdk.data.rows import json_value
from sdk.errors import InvalidInput, by_cause
from sdk.files.regular_files import MIB, ROWS_BYTES, decoded, read_regular
from sdk.records import canonical_json, sha256
from sdk.wording import counted

Split = Literal["test", "dev", "train"]
Fields = dict[str, Any]
FORMAT = 1
UNPACKED_BYTES = 2 * ROWS_BYTES  # of a compressed file
_LETTERS = "ABCD"
_SPLITS: dict[str, Split] = {"test": "test", "validation": "test", "val": "test", "dev": "dev", "train": "train"}
_HEADERLESS = ("question", *_LETTERS, "answer")  # MMLU's own files


class BenchmarkRow(NamedTuple):
    """A question or an example. id: unique in its file."""

    id: str
    split: Split
    subset: str
    fields: Fields


class BenchmarkFile(NamedTuple):
    """A prepared benchmark as it was read, once."""

    name: str
    sha256: str
    rows: tuple[BenchmarkRow, ...]

    @property
    def asked(self) -> list[BenchmarkRow]:
        """The questions, in the order of the file."""
        return [row for row in self.rows if row.split == "test"]


class _Line(NamedTuple):
    """A row of somebody's file: where it stands, its columns, and what the file's name says of it."""

    where: str
    columns: Fields
    split: Split
    stem: str


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is made of. read: somebody's row as (subset, fields), or what is wrong with it.

    types: field -> what it must be, in the prepared file too; text: of the fields, what a question says.
    """

    types: Mapping[str, Callable[[Any], bool]]
    read: Callable[[_Line], tuple[str, Fields] | str]
    text: Callable[[Fields], str]
    forms: str
    subsets: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_text, value))


def _are_four(value: Any) -> bool:
    return _are_texts(value) and len(value) == len(_LETTERS)


def _is_place(value: Any) -> bool:
    return type(value) is int and 0 <= value < len(_LETTERS)


def _are_targets(value: Any) -> bool:
    if not isinstance(value, dict) or not _are_texts(value.get("choices")):
        return False
    labels = value.get("labels")
    return isinstance(labels, list) and len(labels) == len(value["choices"]) and set(labels) == {0, 1}


def _one_of(*allowed: str) -> Callable[[Any], bool]:
    return lambda value: value in allowed


def _picked(columns: Fields, names: Iterable[str]) -> Fields | str:
    missing = [name for name in names if columns.get(name) is None]
    return f"no {' and no '.join(missing)}" if missing else {name: columns[name] for name in names}


def _mmlu(line: _Line) -> tuple[str, Fields] | str:
    columns = line.columns
    choices = columns.get("choices") or [columns.get(name) for name in ("choice0", "choice1", "choice2", "choice3")]
    if None in choices:
        choices = [columns.get(letter) for letter in _LETTERS]
    answer = columns.get("answer")
    if isinstance(answer, str) and len(answer) == 1:
        answer = _LETTERS.index(answer) if answer in _LETTERS else int(answer) if answer in "0123" else answer
    subject = columns.get("subject") or re.sub(r"[_-](test|dev|val|train)([_-].*)?$", "", line.stem)
    return subject, {"question": columns.get("question"), "choices": choices, "answer": answer}


def _cmmlu(line: _Line) -> tuple[str, Fields] | str:
    fields = _picked(line.columns, ("Question", *_LETTERS, "Answer"))
    return fields if isinstance(fields, str) else (line.columns.get("subject") or line.stem, fields)


def _truthfulqa(line: _Line) -> tuple[str, Fields] | str:
    columns = line.columns
    question = columns.get("question") or columns.get("Question")
    if "mc1_targets" in columns:
        targets = {
            name: value if "choices" in value else {"choices": [*value], "labels": [*value.values()]}
            for name in ("mc1_targets", "mc2_targets")
            if isinstance(value := columns.get(name), dict)
        }
        return "", {"question": question, **targets}
    answers = _picked(columns, ("Best Answer", "Correct Answers", "Incorrect Answers"))
    if isinstance(answers, str):
        return answers
    best = answers["Best Answer"].strip()
    right, wrong = (_several(answers[name]) for name in ("Correct Answers", "Incorrect Answers"))
    right = [best, *(each for each in right if each != best)]
    return "", {
        "question": question,
        "mc1_targets": _targets([best], wrong),
        "mc2_targets": _targets(right, wrong),
    }


def _several(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


def _targets(right: list[str], wrong: list[str]) -> Fields:
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}


def _plain(*names: str) -> Callable[[_Line], tuple[str, Fields] | str]:
    def read(line: _Line) -> tuple[str, Fields] | str:
        fields = _picked(line.columns, names)
        return fields if isinstance(fields, str) else ("", fields)

    return read


def _hellaswag(line: _Line) -> tuple[str, Fields] | str:
    fields = _picked(line.columns, ("activity_label", "ctx_a", "ctx_b", "endings", "label"))
    return fields if isinstance(fields, str) else ("", {**fields, "label": str(fields["label"])})


def _with_choices(fields: Fields, choices: Iterable[str]) -> str:
    return "\n".join([fields.get("question") or fields["Question"], *choices])


BENCHMARKS: dict[str, Benchmark] = {
    "mmlu": Benchmark(
        {"question": _is_filled, "choices": _are_four, "answer": _is_place},
        _mmlu,
        lambda fields: _with_choices(fields, fields["choices"]),
        "a folder with dev and test: CSV files, one a subject, or Parquet files with a column subject",
        subsets=True,
    ),
    "cmmlu": Benchmark(
        {"Question": _is_filled, **dict.fromkeys(_LETTERS, _is_text), "Answer": _one_of(*_LETTERS)},
        _cmmlu,
        lambda fields: _with_choices(fields, [fields[letter] for letter in _LETTERS]),
        "a folder with dev and test, each with CSV files, one a subject",
        subsets=True,
    ),
    "truthfulqa": Benchmark(
        {"question": _is_filled, "mc1_targets": _are_targets, "mc2_targets": _are_targets},
        _truthfulqa,
        lambda fields: str(fields["question"]),
        "TruthfulQA.csv, mc_task.json, or the Parquet file of its multiple choice",
    ),
    "gsm8k": Benchmark(
        {"question": _is_filled, "answer": lambda value: _is_text(value) and "#### " in value},
        _plain("question", "answer"),
        lambda fields: str(fields["question"]),
        "train.jsonl and test.jsonl, or the Parquet files",
    ),
    "humaneval": Benchmark(
        dict.fromkeys(("task_id", "prompt", "canonical_solution", "test", "entry_point"), _is_filled),
        _plain("task_id", "prompt", "canonical_solution", "test", "entry_point"),
        lambda fields: str(fields["prompt"]),
        "HumanEval.jsonl.gz, unpacked or not, or the Parquet file",
    ),
    "hellaswag": Benchmark(
        {
            **dict.fromkeys(("activity_label", "ctx_a", "ctx_b"), _is_text),
            "endings": _are_four,
            "label": _one_of("0", "1", "2", "3"),
        },
        _hellaswag,
        lambda fields: f"{fields['ctx_a']} {fields['ctx_b']}",
        "hellaswag_val.jsonl, or the Parquet file of the validation split",
    ),
    "pubmedqa": Benchmark(
        {"QUESTION": _is_filled, "CONTEXTS": _are_texts, "final_decision": _one_of("yes", "no", "maybe")},
        _plain("QUESTION", "CONTEXTS", "final_decision"),
        lambda fields: str(fields["QUESTION"]),
        "ori_pqal.json, with test_ground_truth.json where only the official test half is to be asked",
    ),
}


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of this name. Raises InvalidInput, which lists those that there are."""
    if name not in BENCHMARKS:
        raise InvalidInput(f"There is no benchmark {name[:64]!r}; known are {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]


# -- preparing --------------------------------------------------------------------------------------------------------


def prepare(name: str, sources: Sequence[Path]) -> bytes:
    """Return the content of a prepared file, made from somebody's files or folders of this benchmark.

    The same questions give the same bytes, whatever the form and the order of the files. Raises InvalidInput with every
    row that is of another layout.
    """
    benchmark = find_benchmark(name)
    faults: list[str] = []
    rows: list[BenchmarkRow] = []
    chosen: set[str] | None = None
    for path in _files(sources):
        table = list(_read(path))
        if name == "pubmedqa" and table and set(table[0].columns) == {"id", "value"}:
            chosen = {line.columns["id"] for line in table}
            continue
        for line in table:
            read = benchmark.read(line)
            if isinstance(read, str):
                faults.append(f"{line.where}: {read}")
                continue
            subset, fields = read
            wrong = _wrong(benchmark, fields)
            faults += [f"{line.where}: {wrong}"] if wrong else []
            number = line.columns.get("id", line.columns.get("task_id", ""))
            rows.append(BenchmarkRow(str(number), line.split, subset, fields))
    if faults:
        raise InvalidInput(
            f"{counted(len(faults), 'row')} cannot be {name}, of which people have {benchmark.forms}.", by_cause(faults)
        )
    if chosen is not None:
        rows = [row for row in rows if row.id in chosen]
    if not any(row.split == "test" for row in rows):
        raise InvalidInput(f"There is nothing to ask for {name}, of which people have {benchmark.forms}.")
    head = canonical_json({"benchmark": name, "format": FORMAT})
    lines = [
        canonical_json({"id": row.id, "split": row.split, "subset": row.subset, "fields": row.fields})
        for row in _numbered(sorted(rows, key=lambda row: (row.subset, row.split)))
    ]
    return b"\n".join([head, *lines, b""])


def _numbered(rows: Sequence[BenchmarkRow]) -> Iterator[BenchmarkRow]:
    """Name each row that has no id of its own, by subset, split and number."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.subset, row.split)
        counts[key] = counts.get(key, 0) + 1
        name = "/".join(part for part in (row.subset, row.split, str(counts[key] - 1)) if part)
        yield row._replace(id=row.id or name)


def _wrong(benchmark: Benchmark, fields: Fields) -> str:
    wrong = [name for name, fits in benchmark.types.items() if not fits(fields.get(name))]
    return f"{' and '.join(wrong)} not as it should be" if wrong else ""


def _files(sources: Sequence[Path]) -> list[Path]:
    """List the files, those of folders in the order of their paths. Raises InvalidInput where one is missing."""
    found = []
    for source in sources:
        if not source.exists():
            raise InvalidInput(f"{source} does not exist.")
        inside = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        found += [path for path in inside if _suffix(path) in _READERS]
        if not source.is_dir() and _suffix(source) not in _READERS:
            raise InvalidInput(f"{source} is none of {', '.join(_READERS)}, each also as .gz.")
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _read(path: Path) -> Iterator[_Line]:
    data = read_regular(path, ROWS_BYTES)
    if path.name.endswith(".gz"):
        data = _unpacked(data, path)
    stem = Path(path.name.removesuffix(".gz")).stem
    try:
        for number, columns in enumerate(_READERS[_suffix(path)](data, path), 1):
            if not isinstance(columns, dict):
                raise InvalidInput(f"{path} row {number}: must be an object.")
            yield _Line(f"{path} row {number}", columns, _split_of(path, columns), stem)
    except (ValueError, csv.Error, pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as {_suffix(path)} ({type(error).__name__}).") from None


def _unpacked(data: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            whole = file.read(UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise InvalidInput(f"{path} is no whole gzip file.") from None
    if len(whole) > UNPACKED_BYTES:
        raise InvalidInput(f"{path} holds more than {UNPACKED_BYTES // MIB} MiB unpacked; no benchmark here does.")
    return whole


def _split_of(path: Path, columns: Fields) -> Split:
    """Tell the split by the file's name, then by its folder; what says nothing is asked."""
    for name in (path.name, path.parent.name):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return "test"


def _csv(data: bytes, path: Path) -> Iterator[Fields]:
    csv.field_size_limit(ROWS_BYTES)
    rows = list(csv.reader(io.StringIO(decoded(data, path).removeprefix("\ufeff"), newline=""), strict=True))
    header: Sequence[str] = rows[0] if rows else ()
    if len(header) == len(_HEADERLESS) and header[-1].strip() in {*_LETTERS} and "Question" not in header:
        header = _HEADERLESS
    else:
        rows = rows[1:]
    for row in rows:
        if len(row) != len(header):
            raise ValueError("cells")
        yield {name: cell for name, cell in zip(header, row, strict=True) if name}


def _jsonl(data: bytes, path: Path) -> Iterator[Any]:
    for line in decoded(data, path).split("\n"):
        if line.strip():
            yield json_value(line)


def _json(data: bytes, path: Path) -> Iterator[Any]:
    value = json_value(decoded(data, path))
    if isinstance(value, dict):  # each row, or value, under its id
        yield from ({"id": key, **(row if isinstance(row, dict) else {"value": row})} for key, row in value.items())
    elif isinstance(value, list):
        yield from value
    else:
        raise ValueError("no list")


def _parquet(data: bytes, path: Path) -> Iterator[Fields]:
    for row in pyarrow.parquet.read_table(io.BytesIO(data), use_threads=False).to_pylist():
        yield {
            name: as_json(value, drop_nulls=False) if isinstance(value, dict | list) else value
            for name, value in row.items()
        }


_READERS: dict[str, Callable[[bytes, Path], Iterator[Any]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
}


# -- reading ----------------------------------------------------------------------------------------------------------


def read_benchmark(name: str, path: Path, pinned: str | None = None) -> BenchmarkFile:
    """Read a prepared file. Raises InvalidInput where its digest is not the pinned one, or it is no such file."""
    benchmark = find_benchmark(name)
    data = read_regular(path, UNPACKED_BYTES)
    digest = sha256(data)
    if pinned is not None and pinned != digest:
        raise InvalidInput(f"{path} has the SHA-256 {digest}, and {pinned[:64]} was asked for; it is another file.")
    head, *lines = data.split(b"\n")
    try:
        heading = json.loads(head)
        known = isinstance(heading, dict) and heading.get("benchmark") in BENCHMARKS
    except ValueError:
        known = False
    if not known:
        raise InvalidInput(f"{path} was not made by `sdk prepare {name}`; run that first, on the files that you have.")
    if heading != {"benchmark": name, "format": FORMAT}:
        raise InvalidInput(
            f"{path} holds {heading['benchmark']} in format {str(heading.get('format'))[:9]}; {name} in format "
            f"{FORMAT} was asked for."
        )
    rows, faults = [], []
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        try:
            row = BenchmarkRow(**json.loads(line))
        except (ValueError, TypeError):
            faults.append(f"line {number}: no row of a prepared file")
            continue
        wrong = _wrong(benchmark, row.fields) if isinstance(row.fields, dict) else "fields not as they should be"
        if wrong or row.split not in _SPLITS.values() or not _is_filled(row.id) or not _is_text(row.subset):
            faults.append(f"line {number}: {wrong or 'split, id or subset not as it should be'}")
        rows.append(row)
    if len({row.id for row in rows}) < len(rows):
        faults.append("ids: several rows have the same")
    if faults:
        raise InvalidInput(f"{path} is of another layout; make it again with `sdk prepare {name}`.", by_cause(faults))
    return BenchmarkFile(name, digest, tuple(rows))
