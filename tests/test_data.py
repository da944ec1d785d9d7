"""Every layout in every container becomes the same rows; every kind of bad row is named and its text is not."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from sdk.data import (
    Message,
    Planted,
    QuestionHashes,
    Row,
    RowsFile,
    ToolCall,
    answer,
    conversation,
    each_row,
    each_written_row,
    normalized,
    open_rows,
    question,
    read_rows,
    refuse_overlap,
    spoken,
    write_rows,
)
from sdk.data import source as data_source
from sdk.errors import InvalidInput, Tampered

SECRET = "Zanzibar-Quill"  # stands in every bad row; no error may repeat it
ASKED, ANSWERED = "What does ROE stand for?", "return on equity"
CHAT = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
LAYOUTS: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": ASKED, "output": ANSWERED},
    "messages": {"messages": CHAT},
    "sharegpt": {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
    "prompt-completion": {"prompt": ASKED, "completion": ANSWERED},
}
EXPECTED = (Message(role="user", content=ASKED), Message(role="assistant", content=ANSWERED))


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    for row in rows:
        cells = {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
        writer.writerow(cells)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def as_jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


WRITERS = {
    "a.jsonl": as_jsonl,
    "a.json": lambda rows: json.dumps(rows).encode(),
    "data.json": lambda rows: json.dumps({"data": rows}).encode(),
    "bom.json": lambda rows: b"\xef\xbb\xbf" + json.dumps(rows).encode(),
    "BOM.JSONL": lambda rows: b"\xef\xbb\xbf" + as_jsonl(rows),
    "crlf.jsonl": lambda rows: as_jsonl(rows).replace(b"\n", b"\r\n") + b"\r\n",
    "a.csv": as_csv,
    "bom.csv": lambda rows: b"\xef\xbb\xbf" + as_csv(rows),
    "a.parquet": as_parquet,
}


def save(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_in_every_container(tmp_path: Path, name: str, layout: str) -> None:
    data = WRITERS[name]([LAYOUTS[layout], {"id": "x-2", "language": "zh", "topic": "ratios", **LAYOUTS[layout]}][::-1])
    table = read_rows(save(tmp_path, name, data))
    assert (table.layout, table.container) == (layout, name.lower().rpartition(".")[2])
    assert table.sha256 == hashlib.sha256(data).hexdigest()
    assert [row.messages for row in table.rows] == [EXPECTED, EXPECTED]
    assert [(r.id, r.language, r.topic) for r in table.rows] == [("x-2", "zh", "ratios"), ("row-2", "en", None)]


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("fields", "contents"),
    [
        ({"instruction": "Sum up.", "input": "A long text.", "output": "Text."}, ["Sum up.\n\nA long text.", "Text."]),
        ({"instruction": "Sum up.", "input": " ", "output": "Text."}, ["Sum up.", "Text."]),
        ({"instruction": "Sum up.", "input": None, "output": "Text."}, ["Sum up.", "Text."]),
        ({"messages": [SYSTEM, *CHAT, *CHAT]}, ["Be brief.", ASKED, ANSWERED, ASKED, ANSWERED]),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, [ASKED, ANSWERED]),
        ({"prompt": [SYSTEM, CHAT[0]], "completion": CHAT[1:]}, ["Be brief.", ASKED, ANSWERED]),
        ({"prompt": " padded ", "completion": "kept \u2028 as it is\n"}, [" padded ", "kept \u2028 as it is\n"]),
    ],
)
def test_contents(tmp_path: Path, fields: dict[str, Any], contents: list[str]) -> None:
    row = read_rows(save(tmp_path, "a.jsonl", as_jsonl([fields]))).rows[0]
    assert [message.content for message in row.messages] == contents
    assert answer(row) == contents[-1]


def span(**fields: Any) -> dict[str, Any]:
    return {"start": 9, "end": 20, "entity_type": "PERSON", **fields}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"instruction": "Customer Anna Keller asks", "output": "ok", "spans": [span(field="instruction")]},
            (0, 9, 20),
        ),
        (
            {"instruction": "Answer.", "input": "Customer Anna Keller", "output": "ok", "spans": [span(field="input")]},
            (0, 18, 29),
        ),
        ({"prompt": "who?", "completion": "That was Anna Keller.", "spans": [span(field="completion")]}, (1, 9, 20)),
        ({"messages": [SYSTEM, *CHAT], "spans": [span(message=1)]}, (1, 9, 20)),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_spans_follow_their_text(tmp_path: Path, name: str, fields: dict[str, Any], expected: tuple[int, ...]) -> None:
    row = read_rows(save(tmp_path, name, WRITERS[name]([fields]))).rows[0]
    assert row.spans == (Planted(message=expected[0], start=expected[1], end=expected[2], entity_type="PERSON"),)
    if "Anna Keller" in json.dumps(fields):
        assert row.messages[expected[0]].content[expected[1] : expected[2]] == "Anna Keller"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What does ROE stand for?", "en"),
        ("ROE 是什么意思?", "zh"),
        ("EBITDA margin 怎么算", "zh"),
        ("EPS diluted basic 怎么", "zh"),
        ("Customer 张伟 asks what the ratio of debt to equity tells a reader", "en"),
        ("1 + 1", "en"),
    ],
)
def test_language_is_detected(tmp_path: Path, text: str, language: str) -> None:
    data = as_jsonl([{"instruction": text, "output": "42"}])
    assert read_rows(save(tmp_path, "a.jsonl", data)).rows[0].language == language


GOOD = {"instruction": ASKED, "output": ANSWERED}
U, A = {"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}
BAD_ROWS: dict[str, tuple[Any, str]] = {
    "unknown column": (
        {**GOOD, "label": SECRET},
        "unknown columns label; name them with --map or --form, or leave them out with --drop; known are instruction",
    ),
    "unknown column that may be text": ({**GOOD, SECRET + " !": 1}, "unknown columns (a name that is not shown)"),
    "no known column": ({"note": SECRET}, "unknown columns note"),
    "metadata only": ({"topic": SECRET}, "no column with text; known are alpaca: instruction"),
    "two layouts in one row": ({**GOOD, "prompt": SECRET}, "columns of several layouts (alpaca, prompt-completion)"),
    "another layout": ({"prompt": SECRET, "completion": SECRET}, "layout prompt-completion, but line 1 has alpaca"),
    "answer missing": ({"instruction": SECRET}, "column output is missing"),
    "answer null": ({"instruction": SECRET, "output": None}, "column output is missing"),
    "answer empty": ({"instruction": SECRET, "output": " \n\u3000"}, "output is empty"),
    "question empty": ({"instruction": "\t", "output": SECRET}, "instruction is empty"),
    "answer a number": ({"instruction": SECRET, "output": 7}, "output must be a string"),
    "input a list": ({**GOOD, "input": [SECRET]}, "input must be a string"),
    "id a list": ({**GOOD, "id": [SECRET]}, "id must be a number or a string of 1 to 200"),
    "id true": ({**GOOD, "id": True}, "id must be a number or a string"),
    "id empty": ({**GOOD, "id": ""}, "id must be a number or a string"),
    "id with line break": ({**GOOD, "id": "a\nb"}, "id must be a number or a string"),
    "language": ({**GOOD, "language": SECRET}, "language must be en or zh"),
    "topic": ({**GOOD, "topic": {SECRET: 1}}, "topic must be a string"),
    "not an object": ([SECRET], "must be a JSON object"),
    "surrogate": ({**GOOD, "output": SECRET + "\ud800"}, "output holds half of a surrogate pair"),
    "surrogate deep": ({"messages": [U, {**A, "content": "\udc00"}]}, "messages holds half of a surrogate pair"),
    "nul": ({**GOOD, "instruction": SECRET + "\0"}, "instruction holds a NUL character"),
    "spans no list": ({**GOOD, "spans": SECRET}, "spans must be a list"),
    "span no object": ({**GOOD, "spans": [SECRET]}, "spans[0] must be an object with field (one of instruction, input"),
    "span extra key": ({**GOOD, "spans": [span(field="output", text=SECRET)]}, "spans[0] must be an object"),
    "span unknown field": ({**GOOD, "spans": [span(field=SECRET)]}, "spans[0] must be an object with field (one of"),
    "span outside": ({**GOOD, "spans": [span(field="output", end=17)]}, "start < end <= length (16)"),
    "span reversed": ({**GOOD, "spans": [span(field="output", start=3, end=3)]}, "0 <= start < end"),
    "span negative": ({**GOOD, "spans": [span(field="output", start=-1)]}, "0 <= start < end"),
    "span fraction": ({**GOOD, "spans": [span(field="output", start=1.0)]}, "must be whole numbers"),
    "span bool": ({**GOOD, "spans": [span(field="output", start=True)]}, "must be whole numbers"),
    "span kind": (
        {**GOOD, "spans": [span(field="output", end=12, entity_type=SECRET)]},
        "entity_type must be in capital",
    ),
    "span of absent input": ({**GOOD, "spans": [span(field="input")]}, "<= length (0)"),
}
BAD_CHATS: dict[str, tuple[Any, str]] = {
    "messages no list": (SECRET, "messages must be a list of messages"),
    "messages empty": ([], "messages must be a list of messages, and not empty"),
    "message no object": ([SECRET], "messages[0] must be an object with the strings role and content"),
    "message with more": ([{**U, "weight": SECRET}, A], "messages[0] must be an object"),
    "content a list": ([{**U, "content": [SECRET]}, A], "messages[0] must be an object with the strings"),
    "content null": ([U, {"role": "assistant", "content": None}], "messages[1] must be an object"),
    "role unknown": ([{**U, "role": SECRET}, A], "messages[0].role must be one of system, user, assistant"),
    "role tool": ([U, {**A, "role": "tool"}, A], "roles out of order; a tool"),
    "content empty": ([U, {**A, "content": " "}], "messages[1].content is empty"),
    "no assistant": ([U], "no message of the assistant"),
    "last is the user's": ([U, A, U], "the last message must be the assistant's"),
    "begins with assistant": ([A], "roles out of order"),
    "two users": ([U, U, A], "roles out of order"),
    "system in the middle": ([U, A, {**U, "role": "system"}, A], "roles out of order"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named(tmp_path: Path, case: str) -> None:
    row, expected = BAD_ROWS[case]
    data = b"".join(json.dumps(item).encode() + b"\n" for item in (GOOD, row, GOOD))
    faults = refused(save(tmp_path, "rows.jsonl", data))
    assert any(fault.startswith("line 2") and expected in fault for fault in faults), faults
    assert all(fault.startswith("line 2") or "layout" in fault for fault in faults)


@pytest.mark.parametrize("case", BAD_CHATS)
def test_bad_chat_is_named(tmp_path: Path, case: str) -> None:
    messages, expected = BAD_CHATS[case]
    faults = refused(save(tmp_path, "rows.json", json.dumps([{"messages": CHAT}, {"messages": messages}]).encode()))
    assert [fault[:7] for fault in faults] == ["row 2: "]
    assert expected in faults[0]


def refused(path: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_rows(path)
    text = "\n".join([caught.value.message, *caught.value.faults])
    assert str(path) in text
    assert SECRET not in text
    assert SECRET.lower() not in text.lower()
    return caught.value.faults or (caught.value.message,)


def line(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


BAD_FILES: dict[str, tuple[str, bytes, list[str]]] = {
    "every bad row": (
        "a.jsonl",
        b"\n".join(
            [line(id="a"), line(id="b", output=" "), b"", line(output=7), line(id="a"), b'{"id": "Zanzibar-Quill']
        ),
        [
            "line 2, id b: output is empty",
            "line 4: output must be",
            "line 5, id a: the same id as line 1",
            "line 6: not valid",
        ],
    ),
    "given id equal to a made one": (
        "a.jsonl",
        line() + b"\n" + line(id="row-1"),
        ["line 2, id row-1: the same id as line 1"],
    ),
    "ids 1 and '1'": ("a.json", b"[" + line(id=1) + b"," + line(id="1") + b"]", ["row 2, id 1: the same id as row 1"]),
    "broken UTF-8": (
        "a.jsonl",
        line() + b"\n" + line()[:-3] + b'\xff"}\n' + "中".encode()[:2] + b"\n",
        ["line 2: not UTF-8 at byte", "line 3: not UTF-8 at byte 1"],
    ),
    "gzip": ("a.jsonl", gzip.compress(line()), ["it is compressed with gzip; unpack it first"]),
    "gzip in CSV": ("a.csv", gzip.compress(b"prompt,completion\na,b\n"), ["it is compressed with gzip"]),
    "spreadsheet": ("a.csv", b"PK\x03\x04\xff", ["save the sheet as CSV"]),
    "Parquet by another name": ("a.json", b"PAR1\xff", ["name it .parquet"]),
    "UTF-16": ("a.jsonl", line().decode().encode("utf-16"), ["line 1: not UTF-8 at byte 1"]),
    "broken UTF-8 in JSON": ("a.json", b"[\n" + line() + b",\n" + b'"\xe4"]', ["line 3: not UTF-8 at byte 2"]),
    "broken UTF-8 in CSV": ("a.csv", b"prompt,completion\na,b\nc,\xe4\n", ["line 3: not UTF-8"]),
    "truncated JSON": ("a.json", b"[\n" + line() + b",\n" + line()[:-5], ["line 3 column"]),
    "JSONL named JSON": ("a.json", line() + b"\n" + line(), ["name the file .jsonl"]),
    "top level a string": ("a.json", b'"Zanzibar-Quill"', ["the top level must be a list"]),
    "data beside other keys": ("a.json", b'{"data": [], "Zanzibar-Quill": 1}', ["the top level must be a list"]),
    "data twice": ("a.json", b'{"data": [], "data": []}', ["the top level must be a list"]),
    "a row no object": ("a.json", b"[" + line() + b", null]", ["row 2: must be an object"]),
    "key twice": ("a.jsonl", b'{"instruction": "a", "output": "b", "output": "c"}', ["line 1: a key is given twice"]),
    "key twice, deep": (
        "a.jsonl",
        b'{"messages": [{"role": "user", "role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        ["line 1: messages: a key is given twice"],
    ),
    "nested too deeply": ("a.jsonl", b'{"messages": ' + b"[" * 200_000, ["line 1: not valid JSON"]),
    "number too long": ("a.jsonl", b'{"id": ' + b"1" * 5000 + b"}", ["line 1: not valid JSON"]),
    "empty": ("a.jsonl", b"", ["is empty"]),
    "blank": ("a.csv", b" \n\n", ["is empty"]),
    "no rows in JSON": ("a.json", b"[]", ["holds no rows"]),
    "no rows in CSV": ("a.csv", b"prompt,completion\n", ["holds no rows"]),
    "unknown extension": ("a.docx", b"Zanzibar-Quill", ["use one of .jsonl, .json, .csv, .parquet"]),
    "no extension": ("rows", b"Zanzibar-Quill", ["use one of .jsonl"]),
    "CSV without header": ("a.csv", b"Zanzibar-Quill,b\nc,d\n", ["line 1: none of the columns that hold text"]),
    "CSV unknown column": ("a.csv", b"prompt,completion,label\na,b,c\n", ["line 1: unknown columns label"]),
    "CSV column twice": ("a.csv", b"prompt,completion,prompt\na,b,c\n", ["line 1: column prompt stands there twice"]),
    "CSV ragged": (
        "a.csv",
        b'prompt,completion\n"a\nb",c\nd\ne,f,Zanzibar-Quill\n',
        ["line 4: 1 cell, the header has 2", "line 5: 3 cells"],
    ),
    "CSV open quote": ("a.csv", b'prompt,completion\na,b\nc,"Zanzibar-Quill\n', ["line 3: not valid CSV"]),
    "CSV bad rows": (
        "a.csv",
        b'id,prompt,completion,spans\n1,a,b,\n1,"a\nb",\n'[:-1] + b",\n3,a,b,[Zanzibar-Quill\n",
        [
            "line 3, id 1: completion is empty",
            "line 3, id 1: the same id as line 2",
            "line 5: spans must be a list written as",
        ],
    ),
    "CSV nul": ("a.csv", b"prompt,completion\na,b\0\n", ["line 2: completion holds a NUL"]),
    "Parquet cut off": ("a.parquet", as_parquet([GOOD])[:-9], ["not a whole Parquet file"]),
    "Parquet bytes": (
        "a.parquet",
        as_parquet([GOOD | {"output": b"Zanzibar-Quill"}]),
        ["row 1: output must be a string"],
    ),
    "Parquet unknown column": ("a.parquet", as_parquet([GOOD | {"label": "x"}]), ["header: unknown columns label"]),
    "Parquet null": (
        "a.parquet",
        as_parquet([GOOD | {"id": "p"}, {"id": "q", "instruction": "a", "output": None}]),
        ["row 2, id q: column output is missing"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_names_every_fault(tmp_path: Path, case: str) -> None:
    name, data, expected = BAD_FILES[case]
    faults = refused(save(tmp_path, name, data))
    assert len(faults) == len(expected), faults
    for text in expected:
        assert any(text in fault for fault in faults), (text, faults)


def test_parquet_with_broken_utf8_names_the_row(tmp_path: Path) -> None:
    raw = pyarrow.array([b"fine", b"\xff" + SECRET.encode()]).cast(pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": raw, "completion": ["a", "b"]}), path)
    assert any(fault.startswith("row 2: prompt is not UTF-8") for fault in refused(path))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.jsonl")[0]
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv holds no files" in refused(tmp_path / "folder.csv")[0]


def test_written_rows_read_back(tmp_path: Path) -> None:
    rows = [
        Row(
            id="中-1",
            language="zh",
            topic="比率",
            messages=(Message(role="user", content="什么是 ROE?\u2028"), EXPECTED[1]),
        ),
        Row(
            id="b", language="en", messages=EXPECTED, spans=(Planted(message=0, start=0, end=4, entity_type="PERSON"),)
        ),
    ]
    path = tmp_path / "out.jsonl"
    path.write_text("what was there before")
    size, digest = write_rows(path, iter(rows))
    data = path.read_bytes()
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
    assert read_rows(path).rows == (rows[0], rows[1].model_copy(update={"spans": ()}))
    assert b"PERSON" not in data
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What does ROE stand for?", "what does ROE stand for", True),
        ("What does ROE stand for?", "WHAT  does\nR.O.E. stand for ?!", True),
        ("什么是ROE?", "什么是\u3000ROE?", True),
        ("Straße", "STRASSE", True),
        ("a\u200bb", "ab", True),
        ("5 > 3", "5 < 3", False),
        ("What does ROE stand for?", "What does ROA stand for?", False),
    ],
)
def test_normalized(one: str, other: str, same: bool) -> None:
    assert (normalized(one) == normalized(other)) is same


def test_overlap_is_refused_with_every_row(tmp_path: Path) -> None:
    train = read_rows(
        save(tmp_path, "t.jsonl", as_jsonl([{"id": "t1", **GOOD}, {"id": "t2", **GOOD, "instruction": "???"}]))
    )
    chat = [SYSTEM, {"role": "user", "content": ASKED.upper() + "!"}, CHAT[1]]
    clean = {"id": "e2", "messages": [{"role": "user", "content": "What is ROA?"}, CHAT[1]]}
    nothing = {"id": "e4", "messages": [{"role": "user", "content": "!!!"}, CHAT[1]]}
    rows = [{"id": "e1", "messages": chat}, clean, {"id": "e3", "messages": CHAT}, nothing]
    evaluation = read_rows(save(tmp_path, "e.jsonl", as_jsonl(rows)))
    with pytest.raises(InvalidInput) as caught:
        refuse_overlap(train, evaluation)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["id e1", "id e3"]
    assert "training row t1" in caught.value.faults[0]
    assert ASKED not in str(caught.value)
    refuse_overlap(train, read_rows(save(tmp_path, "ok.jsonl", as_jsonl([clean]))))


def test_training_rows_are_read_again_only_where_a_question_may_stand_in_both(tmp_path: Path) -> None:
    path = save(tmp_path, "t.jsonl", as_jsonl([{"id": "t1", **GOOD}]))
    hashes = QuestionHashes()
    train = each_row(path, hashes.add)
    chat = [{"role": "user", "content": ASKED.upper() + "!"}, CHAT[1]]
    same = read_rows(save(tmp_path, "same.jsonl", as_jsonl([{"id": "e1", "messages": chat}])))
    with pytest.raises(InvalidInput, match="stand in the training data"):
        refuse_overlap(train, same, hashes)
    path.unlink()
    other = [{"role": "user", "content": "What is ROA?"}, CHAT[1]]
    refuse_overlap(train, read_rows(save(tmp_path, "other.jsonl", as_jsonl([{"messages": other}]))), hashes)


def test_rows_that_were_written_are_read_as_they_were_and_from_their_own_file_alone(tmp_path: Path) -> None:
    called = {"function": {"name": "rate", "arguments": '{"of": [1, 2.50]}'}, "id": "c", "type": "function"}
    tools = [
        {"role": "user", "content": "利率是多少？ \\u00e9 é"},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": "2.5", "name": "rate", "tool_call_id": "c"},
        {"role": "assistant", "content": "2.5 %"},
    ]
    rows = [
        {"id": "a", "messages": tools, "metadata": {"n": 12345678901234567890123, "x": [0.1, None, {"y": 1e300}]}},
        {"messages": CHAT, "topic": "rates"},
        {"messages": [{"role": "text", "content": "Running text.\u2028It goes on."}]},
    ]
    checked = read_rows(save(tmp_path, "given.jsonl", as_jsonl(rows))).rows
    path = tmp_path / "written.jsonl"
    _, digest = write_rows(path, checked)
    taken: list[Row] = []
    each_written_row(RowsFile(path, digest, written=True), taken.append)
    assert taken == list(checked)
    path.write_bytes(path.read_bytes().replace(b"2.5 %", b"2.6 %"))
    with pytest.raises(Tampered):
        each_written_row(RowsFile(path, digest, written=True), taken.append)
    assert len(taken) == len(checked), "a row was handed over before the digest was compared"


def test_question_is_every_message_of_the_user(tmp_path: Path) -> None:
    path = save(
        tmp_path, "a.jsonl", as_jsonl([{"messages": [SYSTEM, *CHAT, {"role": "user", "content": "And ROA?"}, CHAT[1]]}])
    )
    assert question(read_rows(path).rows[0]) == f"{ASKED}\nAnd ROA?"


# -- structured rows --------------------------------------------------------------------------------------------------

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"who": "Anna"}'}}
TOOLS = {
    "id": "t1",
    "messages": [
        {"role": "user", "content": "Find her.", "name": "bob"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "[]", "tool_call_id": "c1", "name": "find"},
        {"role": "tool", "content": "[1]", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Nobody."},
    ],
    "metadata": {"ward": "Elm", "visits": [1, 2.5], "contact": {"phone": "x", "none": None}},
    "patient": 7,
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_tool_calls_and_metadata_in_every_container(tmp_path: Path, name: str) -> None:
    given = {
        key: json.dumps(value) if name == "a.csv" and isinstance(value, dict) else value for key, value in TOOLS.items()
    }
    row = read_rows(save(tmp_path, name, WRITERS[name]([given]))).rows[0]
    assert [message.role for message in row.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert row.messages[1] == Message(role="assistant", content="", tool_calls=(ToolCall.model_validate(CALL),))
    assert (row.messages[0].name, row.messages[2].name, row.messages[2].tool_call_id) == ("bob", "find", "c1")
    assert row.patient == "7"
    assert row.metadata is not None
    assert row.metadata["contact"] == {"phone": "x", "none": None}
    write_rows(tmp_path / "out.jsonl", [row])
    again = read_rows(tmp_path / "out.jsonl").rows[0]
    assert again == row.model_copy(update={"patient": None})
    assert b"patient" not in (tmp_path / "out.jsonl").read_bytes()


def test_templates_get_the_arguments_as_an_object(tmp_path: Path) -> None:
    row = read_rows(save(tmp_path, "a.jsonl", as_jsonl([TOOLS]))).rows[0]
    messages = conversation(row, "Be brief.")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert messages[2]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": {"who": "Anna"}}}
    ]
    assert messages[3] == {"role": "tool", "content": "[]", "name": "find", "tool_call_id": "c1"}
    assert '"who":"Anna"' in spoken(messages[2])
    last = {"messages": [CHAT[0], {"role": "assistant", "tool_calls": [CALL]}]}
    assert '"who":"Anna"' in answer(read_rows(save(tmp_path, "b.jsonl", as_jsonl([last]))).rows[0])


def called(**changes: Any) -> list[Any]:
    return [U, {"role": "assistant", "tool_calls": [{**CALL, **changes}]}, {"role": "tool", "content": SECRET}, A]


BAD_CALLS: dict[str, tuple[Any, str]] = {
    "calls no list": (
        [U, {"role": "assistant", "tool_calls": SECRET}, A],
        "messages[1].tool_calls must be a list of calls",
    ),
    "a call no object": (
        [U, {"role": "assistant", "tool_calls": [SECRET]}, A],
        "messages[1].tool_calls[0] must be an object",
    ),
    "a call with more": (called(text=SECRET), "messages[1].tool_calls[0] must be an object"),
    "no function": (called(function=SECRET), "messages[1].tool_calls[0] must be an object"),
    "no name": (called(function={"arguments": "{}"}), "messages[1].tool_calls[0] must be an object"),
    "another type": (called(type=SECRET), "messages[1].tool_calls[0] must be an object"),
    "id a number": (called(id=3), "messages[1].tool_calls[0] must be an object"),
    "arguments no JSON": (
        called(function={"name": "f", "arguments": SECRET}),
        "arguments must be an object, or JSON text",
    ),
    "arguments a list": (
        called(function={"name": "f", "arguments": '["Zanzibar-Quill"]'}),
        "must be an object, or JSON",
    ),
    "a key twice": (called(function={"name": "f", "arguments": '{"a": 1, "a": 2}'}), "arguments: a key is given twice"),
    "surrogate": (
        called(function={"name": "f", "arguments": '{"a": "\\ud800"}'}),
        "arguments holds half of a surrogate",
    ),
    "not finite": (
        called(function={"name": "f", "arguments": '{"a": NaN}'}),
        "arguments holds a number that is not finite",
    ),
    "too deep": (
        called(function={"name": "f", "arguments": '{"a": ' * 70 + "1" + "}" * 70}),
        "arguments is nested more than 64",
    ),
    "calls of the user": ([{**U, "tool_calls": [CALL]}, A], "messages[0] must be an object"),
    "a tool first": ([{"role": "tool", "content": SECRET}, A], "roles out of order"),
    "calls without an answer": ([U, {"role": "assistant", "tool_calls": [CALL]}, A], "roles out of order; a tool's"),
    "the tool's last": ([*called()[:3]], "the last message must be the assistant's"),
    "empty name": ([{**U, "name": ""}, A], "messages[0].name must be a string"),
    "tool_call_id of the user": ([{**U, "tool_call_id": SECRET}, A], "messages[0] must be an object"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_tool_call_is_named(tmp_path: Path, case: str) -> None:
    messages, expected = BAD_CALLS[case]
    faults = refused(save(tmp_path, "rows.jsonl", as_jsonl([{"messages": CHAT}, {"messages": messages}])))
    assert expected in faults[0]
    assert all(fault.startswith("line 2") for fault in faults)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"metadata": SECRET}, "metadata must be an object"),
        ({"metadata": [SECRET]}, "metadata must be an object"),
        ({"metadata": {"a": [float("nan")]}}, "metadata holds a number that is not finite"),
        ({"metadata": {SECRET: "\ud800"}}, "metadata holds half of a surrogate pair"),
        ({"patient": [SECRET]}, "patient must be a number or a string"),
        ({"patient": ""}, "patient must be a number or a string"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, fields: dict[str, Any], expected: str) -> None:
    faults = refused(
        save(tmp_path, "rows.jsonl", b"".join(json.dumps(r).encode() + b"\n" for r in (GOOD, {**GOOD, **fields})))
    )
    assert [fault[: 8 + len(expected)] for fault in faults] == [f"line 2: {expected}"]


# -- read again and again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "bom.csv", "crlf.jsonl"])
def test_a_source_is_read_from_any_row_on(tmp_path: Path, name: str) -> None:
    rows = [
        {"prompt": f"question {n}", "completion": "x", **({"id": f"i{n}"} if n % 2 else {"id": None})}
        for n in range(600)
    ]
    path = save(tmp_path, name, WRITERS[name](rows))
    whole, source = read_rows(path), open_rows(path)
    assert (source.count, source.sha256, source.layout, source.languages) == (
        600,
        whole.sha256,
        whole.layout,
        {"en": 600},
    )
    assert tuple(source.rows) == tuple(source.rows) == whole.rows
    for first in (0, 1, 255, 256, 257, 599, 600):
        assert tuple(source.rows_from(first)) == whole.rows[first:]


def test_rows_of_many_groups_are_found(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "completion": "x"} for n in range(90)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=20)
    source = open_rows(tmp_path / "a.parquet")
    for first in (19, 20, 21, 80, 89):
        assert next(source.rows_from(first)).messages[0].content == f"question {first}"


@pytest.mark.parametrize("after", [line() + b"\n", line(output="other words") + b"\n", b"{broken\n"])
def test_a_file_that_changes_between_two_readings_is_refused(tmp_path: Path, after: bytes) -> None:
    path = save(tmp_path, "a.jsonl", line() + b"\n" + line() + b"\n")
    source = open_rows(path)
    path.write_bytes(line() + b"\n" + after + (b"" if b"other" in after else line() + b"\n"))
    with pytest.raises(InvalidInput, match="was changed while it was read"):
        list(source.rows)


def test_rows_that_repeat_another_are_counted(tmp_path: Path) -> None:
    rows = [{**GOOD}, {**GOOD}, {**GOOD, "id": "x"}, {**GOOD, "output": "other"}, {**GOOD, "metadata": {"a": 1}}]
    assert open_rows(save(tmp_path, "a.jsonl", as_jsonl(rows))).duplicates == 2


def test_ids_are_told_apart_when_their_hashes_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_source, "hash", lambda value: 1, raising=False)
    assert open_rows(save(tmp_path, "a.jsonl", as_jsonl([{**GOOD, "id": n} for n in range(5)]))).count == 5
    faults = refused(save(tmp_path, "b.jsonl", as_jsonl([{**GOOD, "id": n % 4} for n in range(5)])))
    assert faults == ("line 5, id 0: the same id as line 1; give each row an id of its own",)


# -- files as other programs write them -------------------------------------------------------------------------------

ZONE = datetime.timezone(datetime.timedelta(hours=2))
ARROW_VALUES: dict[str, tuple[Any, Any]] = {
    "timestamp": (datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=ZONE), "2024-05-06T07:08:09+02:00"),
    "nanoseconds": (pyarrow.scalar(1714979289123456789, pyarrow.timestamp("ns")), "2024-05-06T07:08:09.123456789"),
    "date": (datetime.date(2024, 5, 6), "2024-05-06"),
    "time": (datetime.time(7, 8, 9), "07:08:09"),
    "duration": (datetime.timedelta(days=1, seconds=1.5), 86401.5),
    "decimal": (decimal.Decimal("10.10"), "10.10"),
    "whole decimal": (decimal.Decimal("7"), 7),
    "float": (1.5, 1.5),
    "list of dates": ([datetime.date(2024, 5, 6)], ["2024-05-06"]),
    "map": (pyarrow.scalar([("a", 1)], pyarrow.map_(pyarrow.string(), pyarrow.int64())), {"a": 1}),
    "categorical": (pyarrow.array(["x"]).dictionary_encode()[0], "x"),
}


@pytest.mark.parametrize("kind", ARROW_VALUES)
def test_structs_of_parquet_become_what_json_has(tmp_path: Path, kind: str) -> None:
    value, expected = ARROW_VALUES[kind]
    inner = pyarrow.array([value.as_py() if isinstance(value, pyarrow.Scalar) else value], getattr(value, "type", None))
    table = pyarrow.table(
        {
            "prompt": [ASKED],
            "completion": [ANSWERED],
            "metadata": pyarrow.StructArray.from_arrays([inner], ["seen"]),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    row = read_rows(tmp_path / "a.parquet").rows[0]
    assert row.metadata == {"seen": expected}
    write_rows(tmp_path / "b.jsonl", [row])
    assert read_rows(tmp_path / "b.jsonl").rows[0] == row


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SECRET.encode(), "metadata holds bytes, which JSON has no text for"),
        (pyarrow.scalar(1 << 60, pyarrow.timestamp("us")), "metadata holds a value that no calendar or map has"),
        (pyarrow.scalar([("a", 1), ("a", 2)], pyarrow.map_(pyarrow.string(), pyarrow.int64())), "no calendar or map"),
    ],
)
def test_values_that_json_has_no_text_for_are_named(tmp_path: Path, value: Any, expected: str) -> None:
    inner = pyarrow.array([value]) if isinstance(value, bytes) else pyarrow.repeat(value, 1)
    metadata = pyarrow.StructArray.from_arrays([inner], ["seen"])
    table = pyarrow.table({"prompt": [ASKED], "completion": [ANSWERED], "metadata": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (fault,) = refused(tmp_path / "a.parquet")
    assert fault.startswith("row 1: ")
    assert expected in fault


def calls_of(*given: dict[str, Any]) -> list[dict[str, Any]]:
    calls = [{"function": {"name": "find", "arguments": arguments}} for arguments in given]
    return [CHAT[0], {"role": "assistant", "content": "", "tool_calls": calls}, *map(answer_of, given), CHAT[1]]


def answer_of(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "content": str(len(arguments))}


def test_arguments_that_arrow_filled_in_are_not_trained(tmp_path: Path) -> None:
    """All structs of a column have the same keys: {"who": …, "year": null} is what Parquet makes of {"who": …}."""
    given = ({"who": "Anna"}, {"year": 2024, "deep": {"a": 1}}, {"deep": {"b": [None, 2]}})
    path = save(tmp_path, "a.parquet", as_parquet([{"messages": calls_of(*given)}]))
    calls = read_rows(path).rows[0].messages[1].tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == list(given)


OPENAI = {"annotations": [], "refusal": None, "audio": None, "function_call": None, "tool_calls": []}
AS_LOGGED: dict[str, list[dict[str, Any]]] = {
    "empty keys": [CHAT[0], {**CHAT[1], **OPENAI}],
    "developer": [{"role": "developer", "content": "Be brief."}, *CHAT],
    "content parts": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, CHAT[1]],
    "two parts": [{"role": "user", "content": [{"type": "text", "text": part} for part in ("What", "now?")]}, CHAT[1]],
    "no arguments": [
        CHAT[0],
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": {"name": "now", "arguments": ""}}]},
        {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
        CHAT[1],
    ],
}


@pytest.mark.parametrize("case", AS_LOGGED)
def test_logs_of_an_api_are_read(tmp_path: Path, case: str) -> None:
    row = read_rows(save(tmp_path, "a.jsonl", as_jsonl([{"messages": AS_LOGGED[case]}]))).rows[0]
    assert row.messages[-1].content == ANSWERED
    assert row.messages[0].content == {"developer": "Be brief.", "two parts": "What\nnow?"}.get(case, ASKED)
    assert row.messages[0].role == ("system" if case == "developer" else "user")
    if case == "no arguments":
        assert conversation(row, "")[1]["tool_calls"][0]["function"] == {"name": "now", "arguments": {}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {**A, "reasoning_content": SECRET},
            "nothing else but name, tool_calls (the assistant's)",
        ),
        ({**A, "reasoning_content": SECRET, "weight": 1}, "; remove reasoning_content, weight"),
        ({**A, "annotations": [{"url": SECRET}]}, "; remove annotations"),
        (
            {**A, "content": [{"type": "image_url", "image_url": SECRET}]},
            "messages[1].content[0] is no part of type text",
        ),
        ({**A, "content": [{"type": "text", "text": 7}]}, "messages[1].content[0] is no part of type text"),
    ],
)
def test_what_is_no_text_in_a_log_is_named(tmp_path: Path, message: dict[str, Any], expected: str) -> None:
    faults = refused(save(tmp_path, "a.jsonl", as_jsonl([{"messages": [U, message]}])))
    assert any(expected in fault for fault in faults), faults


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_countries_are_read(tmp_path: Path, delimiter: str) -> None:
    data = as_csv([{"id": "1.0", "prompt": "a; b,\tc", "completion": ANSWERED}])
    rows = csv.reader(io.StringIO(data.decode()))
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    row = read_rows(save(tmp_path, "a.csv", out.getvalue().encode())).rows[0]
    assert (row.id, row.messages[0].content) == ("1", "a; b,\tc")


def test_a_cell_may_hold_a_whole_document(tmp_path: Path) -> None:
    text = "word " * 60_000
    assert (
        read_rows(save(tmp_path, "a.csv", as_csv([{"prompt": text, "completion": "b"}]))).rows[0].messages[0].content
        == text
    )


def test_numbers_of_rows_that_pandas_wrote_are_no_columns(tmp_path: Path) -> None:
    frame = pandas.DataFrame([{"id": 1.0, **GOOD}, {"id": None, **GOOD}], index=[4, 9])
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "twice.csv")
    pandas.read_csv(tmp_path / "twice.csv").to_csv(tmp_path / "twice.csv", index=False)
    for name in ("a.csv", "a.parquet", "twice.csv"):
        assert [row.id for row in read_rows(tmp_path / name).rows] == ["1", "row-2"]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", json.dumps([GOOD] * 300, indent=1).encode(), "one list over several lines; name the file .json"),
        ("a.jsonl", b"\n".join(json.dumps(GOOD, indent=1).encode() for _ in range(300)), "write each on one line (jq"),
        ("a.jsonl.gz", b"\x1f\x8b", "unpack it first"),
        ("a.zip", b"PK", "unpack it first"),
    ],
)
def test_a_file_of_another_form_is_one_fault(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (fault,) = refused(save(tmp_path, name, data))
    assert expected in fault


def test_a_folder_of_datasets_is_told_how_to_become_a_file(tmp_path: Path) -> None:
    datasets.Dataset.from_list([GOOD]).save_to_disk(tmp_path / "set")
    datasets.DatasetDict({"train": datasets.Dataset.from_list([GOOD])}).save_to_disk(tmp_path / "sets")
    for name, way in (("set", "load_from_disk(...).to_parquet"), ("sets", 'load_from_disk(...)["train"].to_parquet')):
        (message,) = refused(tmp_path / name)
        assert way in message


def test_one_cause_in_many_rows_is_told_once(tmp_path: Path) -> None:
    rows = [{**GOOD, "output": " "} if number % 2 else {**GOOD, "label": SECRET} for number in range(1200)]
    path = save(tmp_path, "a.jsonl", as_jsonl(rows))
    faults = refused(path)
    assert len(faults) == 10
    assert faults[0].startswith("line 1: unknown columns label")
    assert any(
        fault.startswith("output is empty") and "596 more rows, the last is line 1200" in fault for fault in faults
    )
    with pytest.raises(InvalidInput, match="1,200 faults"):
        open_rows(path)
