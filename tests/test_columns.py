"""Files with columns of their own become rows, by a map, a form or a data.yaml; what is not named is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from sdk import Columns, Project
from sdk.cli import main
from sdk.cli.own_columns import read_columns
from sdk.data import open_rows, read_rows, rows_digest
from sdk.data.columns import suggest
from sdk.errors import InvalidInput
from sdk.records import SourceFile
from tests.workshop import Workshop

SECRET = "Zanzibar-Quill"
# As public data sets have them: PubMedQA, GSM8K, HumanEval, ARC, MMLU.
PUBMED = {
    "QUESTION": "Do plants sleep?",
    "CONTEXTS": ["They fold their leaves.", "At night."],
    "LABELS": ["A", "B"],
    "LONG_ANSWER": "They rest.",
    "final_decision": "yes",
}
GSM = {"question": "2+2?", "answer": "4 #### 4"}
NESTED = {"question": "Why?", "context": {"contexts": ["a", "b"], "labels": ["x", "y"]}, "label": 1}
ARC = {"question": "Which?", "choices": {"text": ["stone", "glass"], "label": ["A", "B"]}, "answerKey": "B"}


def save(path: Path, *rows: Any) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        lines = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text("".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows[0]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def contents(path: Path, columns: Columns | None = None) -> list[list[str]]:
    return [[message.content for message in row.messages] for row in read_rows(path, columns).rows]


def faults(path: Path, columns: Columns | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_rows(path, columns)
    return "\n".join([caught.value.message, *caught.value.faults])


CASES: dict[str, tuple[dict[str, Any], Columns, list[str]]] = {
    "map": (GSM, Columns(map={"instruction": "question", "output": "answer"}), ["2+2?", "4 #### 4"]),
    "list of strings": (
        PUBMED,
        Columns(
            map={"instruction": "QUESTION", "input": "CONTEXTS", "output": "final_decision"},
            drop=("LABELS", "LONG_ANSWER"),
        ),
        ["Do plants sleep?\n\nThey fold their leaves.\nAt night.", "yes"],
    ),
    "form": (
        PUBMED,
        Columns(form="Q: {QUESTION}\n{{A}}: {CONTEXTS.1}", answer="LONG_ANSWER", drop=("LABELS", "final_decision")),
        ["Q: Do plants sleep?\n{A}: At night.", "They rest."],
    ),
    "dots": (
        NESTED,
        Columns(form="{context.contexts} {question}", answer="label", labels={"label": ("no", "yes")}),
        ["a\nb Why?", "yes"],
    ),
    "number": (NESTED, Columns(form="{question}", answer="{label}!", drop=("context",)), ["Why?", "1!"]),
    "choices": (
        ARC,
        Columns(form="{question} {choices.label.0}: {choices.text.0}; {choices.text.1}", answer="answerKey"),
        ["Which? A: stone; glass", "B"],
    ),
}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("case", CASES)
def test_own_columns_become_rows(tmp_path: Path, case: str, suffix: str) -> None:
    fields, columns, expected = CASES[case]
    path = save(tmp_path / f"rows.{suffix}", fields, fields)
    assert contents(path, columns) == [expected, expected]
    source = open_rows(path, columns)
    assert [row.id for row in source.rows_from(1)] == ["row-2"]
    assert source.sha256 == rows_digest(path, columns) != rows_digest(path)


def test_csv_has_numbers_for_labels_and_names_with_spaces(tmp_path: Path) -> None:
    path = save(
        tmp_path / "rows.csv", {"The question": "Which bone?", "choice0": "hip", "choice1": "rib", "answer": "1"}
    )
    columns = Columns(form="{The question}\nA. {choice0}\nB. {choice1}", answer="answer", labels={"answer": ("A", "B")})
    assert contents(path, columns) == [["Which bone?\nA. hip\nB. rib", "B"]]
    path.write_text(path.read_text().replace(",", ";"))
    assert contents(path, columns) == [["Which bone?\nA. hip\nB. rib", "B"]]


def test_rows_under_their_ids(tmp_path: Path) -> None:
    path = save(tmp_path / "rows.json", {"21645374": GSM, "2": GSM})
    columns = Columns(map={"instruction": "question", "output": "answer"})
    assert [row.id for row in read_rows(path, columns).rows] == ["21645374", "2"]


def test_names_that_a_layout_knows_may_change_places_and_metadata_may_be_named(tmp_path: Path) -> None:
    path = save(
        tmp_path / "rows.jsonl",
        {"prompt": "four", "completion": "2+2?", "key": "k", "more": {"year": 2020}, "chat": ""},
    )
    columns = Columns(
        map={"prompt": "completion", "completion": "prompt", "id": "key", "metadata": "more"}, drop=("chat",)
    )
    (row,) = read_rows(path, columns).rows
    assert [message.content for message in row.messages] == ["2+2?", "four"]
    assert (row.id, row.metadata) == ("k", {"year": 2020})


REFUSED: dict[str, tuple[dict[str, Any], Columns, str]] = {
    "column left": (GSM | {"label": 1}, CASES["map"][1], "unknown columns label; name them with --map or --form"),
    "column left by a form": (
        GSM | {"label": 1},
        Columns(form="{question}", answer="answer"),
        "columns label stand in no",
    ),
    "missing": (GSM, Columns(form="{question} {context}", answer="answer"), "column context is missing"),
    "null": (GSM | {"answer": None}, CASES["map"][1], "column answer is missing"),
    "empty": (GSM | {"question": " "}, Columns(form="{question}", answer="answer"), "the question is empty"),
    "number": (GSM | {"answer": 4}, CASES["map"][1], "answer is a number; say what each is called (--labels answer="),
    "object": (
        NESTED,
        Columns(form="{context}", answer="question", drop=("label",)),
        "context is no text, and no list",
    ),
    "label": (
        NESTED | {"label": 2},
        Columns(form="{question}", answer="label", labels={"label": ("no", "yes")}, drop=("context",)),
        "label must be a number from 0 to 1",
    ),
    "name taken": (GSM | {"output": "x"}, CASES["map"][1], "column output has a name that map gives to answer"),
    "not text": (GSM | {"question": "a\0"}, Columns(form="{question}", answer="answer"), "question holds a NUL"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_row_is_named_and_its_text_is_not(tmp_path: Path, case: str) -> None:
    fields, columns, expected = REFUSED[case]
    text = faults(save(tmp_path / "rows.jsonl", fields | {"topic": SECRET}), columns)
    assert expected in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (Columns(map={"questoin": "a"}), "map: no layout has questoin"),
        (Columns(map={"prompt": "a"}, form="{a}", answer="b"), "map: prompt, beside a form"),
        (Columns(form="{a}"), "form without answer"),
        (Columns(answer="a"), "answer without form"),
        (Columns(form="no column", answer="a"), "the form names no column"),
        (Columns(form="{a", answer="b"), "A brace stands alone"),
        (Columns(form="{a}", answer="b", drop=("a",)), "drop: a is asked for, too"),
        (Columns(form="{a}", answer="b", labels={"c": ("x", "y")}), "labels: c stands in no map"),
        (Columns(), "nothing is asked for"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused_before_the_file_is_read(columns: Columns, expected: str) -> None:
    assert expected in faults(Path("is-not-there.jsonl"), columns)


def spanned(**more: Any) -> dict[str, Any]:
    spans = [{"field": "context", "start": 3, "end": 6, "entity_type": "PERSON"}]
    return {"question": "Who?", "context": "By Ann.", "answer": "Ann", "spans": spans, **more}


@pytest.mark.parametrize(
    "columns",
    [
        Columns(map={"instruction": "question", "input": "context", "output": "answer"}),
        Columns(form="Text: {context} {question}", answer="{answer}."),
    ],
    ids=["map", "form"],
)
def test_spans_follow_their_text(tmp_path: Path, columns: Columns) -> None:
    (row,) = read_rows(save(tmp_path / "rows.jsonl", spanned()), columns).rows
    (span,) = row.spans
    assert row.messages[span.message].content[span.start : span.end] == "Ann"


@pytest.mark.parametrize(
    ("row", "form"),
    [(spanned(context=["By Ann."]), "{context} {question}"), (spanned(), "{context} {question} {context}")],
    ids=["list", "twice"],
)
def test_spans_that_cannot_follow_are_refused_with_the_reason(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    text = faults(save(tmp_path / "rows.jsonl", row), Columns(form=form, answer="answer"))
    assert "spans[0] lies in context, whose text does not stand once and as it is" in text
    assert "--drop spans" in text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (GSM, "--map instruction=question,output=answer"),
        (NESTED | {"answer": "x"}, "--map instruction=question,input=context.contexts,output=answer --drop label"),
        (PUBMED, "--map instruction=QUESTION,input=CONTEXTS,output=final_decision --drop LABELS,LONG_ANSWER"),
        (
            {"task_id": "H/0", "prompt": "def f", "canonical_solution": "pass", "test": "f()"},
            "--map instruction=prompt,output=canonical_solution,id=task_id --drop test",
        ),
        ({"text": "good", "label": 1}, "--form '{text}' --answer '{label}'"),
        (
            {"question": "Which?", "choice0": "hip", "choice1": "rib", "answer": 1},
            r"--form '{question}\nA. {choice0}\nB. {choice1}' --answer answer --labels answer=A,B",
        ),
        (ARC, r"--form '{question}\nA. {choices.text.0}\nB. {choices.text.1}' --answer answerKey"),
        ({"instruction": "a", "output": "b", "source": "c"}, "--drop source"),
        ({"instruction": "a", "output": "b"}, None),
        ({"alpha": "a", "beta": "b"}, None),
    ],
)
def test_the_refusal_has_the_options_ready_and_they_work(
    tmp_path: Path, fields: dict[str, Any], expected: str | None
) -> None:
    assert suggest(fields) == expected
    if expected is None:
        return
    path = save(tmp_path / "rows.jsonl", fields)
    assert f"for these columns, say: {expected}" in faults(path)
    words = iter(shlex.split(expected))
    named = {option.removeprefix("--"): value for option, value in zip(words, words, strict=True)}
    lists = {name: [named[name]] if name in named else None for name in ("map", "labels", "drop")}
    columns = read_columns(lists["map"], named.get("form"), named.get("answer"), lists["labels"], lists["drop"])
    assert len(contents(path, columns)) == 1


def test_options_are_read_as_a_shell_passes_them_on() -> None:
    assert read_columns(None, None, None, None, None) is None
    assert read_columns(["a=b, c=d", "e=f"], r"{x}\n{y}\\n", "{z}", ["z=no,yes"], ["q, r"]) == Columns(
        map={"a": "b", "c": "d", "e": "f"},
        form="{x}\n{y}\\n",
        answer="{z}",
        labels={"z": ("no", "yes")},
        drop=("q", "r"),
    )
    with pytest.raises(InvalidInput) as caught:
        read_columns(["a", "b=c,b=d"], None, None, ["z"], None)
    assert caught.value.faults == (
        "--map a: write NAME=COLUMN",
        "--map: b is given twice",
        "--labels z: write COLUMN=A,B",
    )


def test_what_is_dropped_of_parquet_is_not_read(tmp_path: Path) -> None:
    image = bytes(1 << 21)  # more than a row may have
    path = save(tmp_path / "rows.parquet", GSM | {"image": image, "image.size": 1})
    columns = Columns(map=CASES["map"][1].map, drop=("image", "image.size"))
    assert contents(path, columns) == [["2+2?", "4 #### 4"]]
    assert "row group 1" in faults(path, Columns(map={**columns.map, "topic": "image"}, drop=("image.size",)))


def listed(folder: Path, text: str) -> Path:
    path = folder / "data.yaml"
    path.write_text(text)
    return path


def test_a_list_of_files_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    save(tmp_path / "gsm.jsonl", *({"question": f"{n}+1?", "answer": f"{n + 1}"} for n in range(400)))
    save(tmp_path / "more/a.parquet", PUBMED, PUBMED)
    save(tmp_path / "more/b.parquet", PUBMED)
    path = listed(
        tmp_path,
        """
files:
  - path: gsm.jsonl
    map: {instruction: question, output: answer}
    share: 0.25
  - path: more/*.parquet
    form: "{QUESTION}"
    answer: final_decision
    drop: [CONTEXTS, LABELS, LONG_ANSWER]
""",
    )
    source, rows = open_rows(path), read_rows(path).rows
    taken = source.files[0].taken
    assert 70 < taken < 130  # a quarter, as by lot
    assert source.count == len(rows) == taken + 3
    assert len({row.id for row in rows}) == len(rows)
    assert source.formats == "alpaca in JSONL, form in PARQUET"
    assert rows[-1].messages[0].content == "Do plants sleep?"
    for first in (0, 1, taken - 1, taken, taken + 1, taken + 2, taken + 3):
        assert tuple(source.rows_from(first)) == rows[first:]
    assert source.sha256 == rows_digest(path)
    assert [(one.rows, one.share, one.columns is None) for one in source.asked] == [
        (taken, 0.25, False),
        (2, 1, False),
        (1, 1, False),
    ]
    before = rows_digest(path)
    path.write_text(path.read_text().replace("0.25", "0.26"))
    assert rows_digest(path) != before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("files: []", "files"),
        ("files: [{path: gsm.jsonl, columns: {}}]", "columns"),
        ("files: [{path: none.jsonl}]", "none.jsonl does not exist"),
        ("files: [{path: '*.csv'}]", "no file is named like *.csv"),
        ("files: [{path: gsm.jsonl, share: 0}]", "share"),
        ("files: [{path: gsm.jsonl}, {path: '*.jsonl'}]", "gsm.jsonl is listed twice"),
        ("files: [{path: data.yaml}]", "is a list itself"),
        ("files: [{path: gsm.jsonl, form: '{question}'}]", "gsm.jsonl: form without answer"),
        ("files: [{path: gsm.jsonl}, {path: other.json}]", "gsm.jsonl line 1: unknown columns question, answer"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(tmp_path: Path, text: str, expected: str) -> None:
    save(tmp_path / "gsm.jsonl", GSM)
    save(tmp_path / "other.json", [GSM])
    assert expected in faults(listed(tmp_path, text))


def test_ids_of_several_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jsonl", {"id": 1, "prompt": name, "completion": "x"})
    text = "files:\n  - path: a.jsonl\n  - path: b.jsonl\n"
    assert "b.jsonl line 1, id 1: the same id as a.jsonl line 1" in faults(listed(tmp_path, text))
    assert [row.id for row in read_rows(listed(tmp_path, text + "    drop: id\n")).rows] == ["1", "row-2"]


def test_scrubbing_records_what_was_taken_and_training_is_advised_for_it(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One project goes from advice on the domain's rows to longer ones of its own."""
    project: Project = workshop.project("columns", policy="unsafe-lab")
    first = project.advise(accuracy="high")
    long = " ".join(["ledger"] * 120)
    train = save(
        tmp_path / "train.jsonl",
        *({"question": f"What is {n}? {long}", "answer": "A number.", "score": 1} for n in range(12)),
    )
    asked = save(tmp_path / "eval.jsonl", {"question": "Is it?", "answer": "It is.", "score": 2})
    options = ["--map", "instruction=question,output=answer", "--drop", "score", "--project", str(project.root)]
    with pytest.raises(SystemExit) as ended:
        main(["scrub", str(train), "--eval", str(asked), "--skip-detectors", *options])
    assert not ended.value.code
    assert "columns left out: score" in capsys.readouterr().out
    columns = Columns(map={"instruction": "question", "output": "answer"}, drop=("score",))
    scrubbed = project.scrub(train, asked, detect=False, columns=columns)
    assert len(project.state().all(type(scrubbed))) == 1  # the same request
    assert scrubbed.sources["train"] == (SourceFile(sha256=rows_digest(train), rows=12, columns=columns),)
    assert scrubbed.inputs["train"] == rows_digest(train, columns)
    again = project.scrub(
        train,
        asked,
        detect=False,
        columns=columns.model_copy(update={"map": {"prompt": "question", "completion": "answer"}}),
    )
    assert again.digest != scrubbed.digest  # another map is another request
    renewed = project.renew_advice()
    assert renewed is not None
    assert renewed.inputs["data"] == again.inputs["train"]
    assert renewed.settings.max_length > first.settings.max_length
    assert renewed.needs.accuracy == first.needs.accuracy == "high"
    assert [event.phase for event in project.history() if event.action == "advise"] == ["started", "finished"] * 2
    assert project.renew_advice() is None


def test_a_length_that_was_stated_stays(workshop: Workshop, tmp_path: Path) -> None:
    project = workshop.project("stated", policy="unsafe-lab")
    project.advise(max_length=300)
    train = save(tmp_path / "train.jsonl", *({"prompt": f"What is {n}?", "completion": "No."} for n in range(4)))
    asked = save(tmp_path / "eval.jsonl", {"prompt": "Is it?", "completion": "It is."})
    project.scrub(train, asked, detect=False)
    renewed = project.renew_advice()
    assert renewed is not None
    assert renewed.settings.max_length == 300
    project.scrub(save(tmp_path / "long.jsonl", {"prompt": "ledger " * 200, "completion": "No."}), asked, detect=False)
    with pytest.raises(InvalidInput) as caught:
        project.train()
    assert "row row-1" in caught.value.faults[0]
    assert project.state().find_latest(type(renewed)) == renewed
