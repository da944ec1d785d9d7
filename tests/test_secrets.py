"""Planted personal data and secrets are in nothing that the flow writes: files, MLflow, terminal, errors, logs."""

import base64
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sdk import InvalidInput, Project
from sdk.cli import main
from sdk.data import read_rows
from sdk.files.store import shipped
from sdk.records import Run, Scrubbed
from sdk.train import Job, train
from tests.warm import context
from tests.workshop import REASON, Workshop, rows, write_policy

MARKED = {  # value -> how it stands in a sentence
    "Zebulon Quarrington": "Customer {} asks: what is a bond?",
    "zq.marked.8841@example.com": "Write to {} about the bond.",
    "4539 1488 0343 6467": "My card 4539 1488 0343 6467 was charged. What is a fee?",
    "GB33BUKB20201555555555": "Transfer to IBAN GB33BUKB20201555555555 please. What is a transfer?",
    "536-90-4399": "My SSN is 536-90-4399. What is a credit score?",
    "13987654321": "客户电话13987654321问:什么是债券?",
    "11010519491231002X": "身份证号11010519491231002X,请问什么是基金?",
    "203.0.113.77": "Login from 203.0.113.77 failed. What is a token?",
}


def forms(value: str) -> Iterator[bytes]:
    """A value as it stands, without separators, escaped, in base64 at each alignment, and in UTF-16."""
    for text in {value, re.sub(r"[\s-]", "", value)}:
        yield text.encode()
        yield json.dumps(text).strip('"').encode()
        yield text.encode("utf-16-le")
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + text.encode())[4 if shift else 0 : -4]
            if len(encoded) >= 8:  # fewer stand in some picture by chance
                yield encoded


def leaks(folder: Path, values: dict[str, str] | list[str]) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path.name}: {value[:3]}…" for value in values for form in forms(value) if form in data]
    return found


def marked_rows(path: Path) -> Path:
    lines = [
        {"id": f"m{i}", "instruction": text.format(value), "output": f"answer {i}"}
        for i, (value, text) in enumerate(MARKED.items())
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def call(commands: list[list[str]], environment: dict[str, str], work: Path, output: Path, codes: Path) -> None:
    """Commands one after another in a process of its own; what they print and their exit codes go to files."""
    for number in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(work)
    ended = []
    for command in commands:
        try:
            main(command)
        except SystemExit as end:
            ended.append(end.code or 0)
            codes.write_text(json.dumps(ended))


def test_marked_values_are_nowhere_after_the_whole_way(workshop: Workshop, tmp_path: Path) -> None:
    data = marked_rows(tmp_path / "marked.jsonl")
    # every value stands in the input, so a search that finds nothing afterwards means something
    assert {entry.split(": ")[1] for entry in leaks(tmp_path, MARKED)} == {f"{value[:3]}…" for value in MARKED}
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    work.mkdir()
    temporary.mkdir()
    policy = write_policy(
        work / "policy.yaml",
        "gdpr",
        scrub__default_action="token",
        scrub__min_recall=0.9,
        evaluate__domain_floors=False,
        evaluate__must_improve=False,
        evaluate__min_questions=1,
        approve__approvals=1,
        leaks__required=False,
    )
    key = work / "ada.pem"
    environment = {"TMPDIR": str(temporary), "MLFLOW_TRACKING_PASSWORD": "marked-password-5150"}
    project = str(work / "p")
    commands = [
        ["init", project, "--domain", str(workshop.domain), "--base", str(workshop.base), "--policy", str(policy)],
        ["keys", "new", str(key)],
        ["keys", "enroll", "Ada", f"{key}.pub", "-p", project],
        ["advise", "-p", project],
        ["scrub", "-p", project, "--data", str(data), "--eval", str(data)],  # refused: the same questions
        ["scrub", "-p", project, "--data", str(data)],
        ["train", "-p", project, "--max-steps", "3"],
        ["evaluate", "-p", project, "--json"],
        ["register", "-p", project],
        ["documents", "-p", project],
        ["audit", "export", "--format", "ocsf", "-p", project],
        ["approve", "-p", project, "--key", f"file:{key}", "--reason", REASON],
        ["load", "-p", project, "What is a bond?"],
        ["history", "-p", project],
        ["verify", "-p", project],
        ["doctor", "-p", project],
    ]
    codes, printed = tmp_path / "codes.json", tmp_path / "printed"
    process = context().Process(target=call, args=(commands, environment, work, printed, codes))
    process.start()
    process.join()
    output = printed.read_bytes()
    expected = [2 if command[0] == "scrub" and "--eval" in command else 0 for command in commands]
    assert process.exitcode == 0, output[-4000:]
    assert json.loads(codes.read_bytes()) == expected, output[-4000:]
    secret = [(work / "p" / "keys" / "encryption.key").read_text().strip(), "marked-password-5150"]
    assert leaks(work / "p", MARKED) == []
    assert leaks(temporary, MARKED) == []
    assert [value for value in [*MARKED, *secret] if any(form in output for form in forms(value))] == []
    assert {entry.split(":")[0] for entry in leaks(work, secret)} <= {"encryption.key"}
    private = key.read_text().splitlines()[1]
    assert {entry.split(":")[0] for entry in leaks(work, [private])} == {"ada.pem"}


def test_no_row_is_in_what_training_writes(finished: Project, workshop: Workshop, tmp_path: Path) -> None:
    """Not even a scrubbed one, in the spool, in a checkpoint that is not encrypted, in the adapter."""
    run, scrubbed = finished.state().latest(Run), finished.state().latest(Scrubbed)
    data = finished.state().folder(scrubbed) / scrubbed.data["train"].path
    written: dict[str, bytes] = {}

    def look(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        written.update({path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})

    train(Job(data, str(workshop.base), "brief", run.settings, tmp_path, checkpoint_seconds=0), look)
    look("", 0, None, {})
    assert {"spool.jsonl", "checkpoint.json", "optimizer.safetensors", "adapter_model.safetensors"} <= set(written)
    texts = {message.content for row in read_rows(data).rows for message in row.messages if len(message.content) > 6}
    assert len(texts) >= 20
    everything = b"\0".join(written.values())
    assert [text for text in texts if any(form in everything for form in forms(text))] == []


def test_the_domains_planted_values_are_not_in_the_project(finished: Project, workshop: Workshop) -> None:
    values = {
        str(row[span["field"]])[span["start"] : span["end"]]
        for name in ("train.jsonl", "eval.jsonl")
        for row in rows(workshop.domain / name)
        for span in row["spans"]  # type: ignore[attr-defined]
    }
    long_enough = sorted(value for value in values if len(value) >= 8)
    assert len(long_enough) >= 20
    assert leaks(finished.root, long_enough) == []


@pytest.mark.parametrize("layout", ["jsonl", "csv", "json"])
def test_errors_about_bad_rows_do_not_quote_them(tmp_path: Path, workshop: Workshop, layout: str) -> None:
    bad = tmp_path / f"bad.{layout}"
    value = "Zebulon Quarrington"
    text = {
        "jsonl": f'{{"instruction": "{value}", "output": ""}}\n{{"instruction": "{value}", "{value}": 1}}\n{{"instr',
        "csv": f"instruction,output\n{value},\n{value},{value},{value}\n",
        "json": f'[{{"instruction": "{value}", "output": 5}}, "{value}"]',
    }[layout]
    bad.write_text(text)
    project = Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    with pytest.raises(InvalidInput) as caught:
        project.scrub(bad)
    assert value not in str(caught.value)
    assert leaks(tmp_path / "p", [value]) == []


def test_shipped_evaluation_rows_are_not_in_the_training_rows() -> None:
    for domain in ("finance", "medical"):
        asked = {row["instruction"] for row in rows(shipped("domains") / domain / "train.jsonl")}
        assert not asked & {row["instruction"] for row in rows(shipped("domains") / domain / "eval.jsonl")}
