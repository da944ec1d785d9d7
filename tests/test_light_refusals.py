"""What is refused by files alone is refused before torch, transformers, mlflow or presidio are imported.

Importing them takes six seconds, which somebody would wait to read that a word was misspelt.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk import Project, crypto
from tests.test_requests import VERBS
from tests.workshop import Workshop

HEAVY = ("torch", "transformers", "mlflow", "presidio_analyzer", "peft", "trl", "datasets", "spacy", "matplotlib")

# Project, verb, arguments -> the error. `new` was only made, `done` is approved, `altered` has a byte more in a record.
# Where a verb is repeated, its record is there and nothing is to be done: it answers.
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("new", "create", {"folder": "new"}, "InvalidInput"),
    ("new", "create", {"folder": "another", "domain": "nowhere"}, "InvalidInput"),
    ("new", "create", {"folder": "another", "base": "./nowhere"}, "InvalidInput"),
    ("new", "create", {"folder": "another", "template": "nowhere"}, "InvalidInput"),
    ("nowhere", "open", {}, "OutOfOrder"),
    ("nowhere", "state", {}, "OutOfOrder"),
    ("new", "scrub", {"data": "nowhere.jsonl"}, "InvalidInput"),
    ("new", "scrub", {"detect": False}, "Refused"),
    ("new", "foresee", {"data": "nowhere.jsonl"}, "InvalidInput"),
    ("new", "borrowed", {"data": "nowhere.jsonl"}, "answers"),
    ("new", "review", {"judge": None}, "OutOfOrder"),
    ("new", "reveal", {"token": "<PERSON:0000>", "reason": ""}, "InvalidInput"),
    ("new", "advise", {"data": "nowhere.jsonl"}, "InvalidInput"),
    ("new", "probe", {"data": "nowhere.jsonl"}, "InvalidInput"),
    ("new", "pilot", {}, "OutOfOrder"),
    ("new", "compare_training_methods", {}, "OutOfOrder"),
    ("done", "compare_training_methods", {"methods": ["lora", "qlora-5bit"]}, "InvalidInput"),
    ("new", "train", {}, "OutOfOrder"),
    ("done", "train", {"lora_r": 0}, "InvalidInput"),
    ("done", "train", {"resume": "0000"}, "InvalidInput"),
    ("done", "train", {"max_steps": 3}, "answers"),
    ("new", "renew_advice", {}, "OutOfOrder"),
    ("done", "renew_advice", {}, "answers"),
    ("new", "preview", {}, "OutOfOrder"),
    ("new", "evaluate", {}, "OutOfOrder"),
    ("done", "evaluate", {}, "answers"),
    ("new", "benchmark", {"files": {"mmlu": "nowhere.jsonl"}}, "OutOfOrder"),
    ("done", "benchmark", {"files": {"mmlu": "nowhere.jsonl"}}, "InvalidInput"),
    ("done", "benchmark", {"files": {}, "limit": 0}, "InvalidInput"),
    ("new", "forgetting", {}, "OutOfOrder"),
    ("done", "forgetting", {}, "answers"),
    ("new", "power_of_leak_check", {"settings": {}}, "OutOfOrder"),
    ("new", "sample_questions", {"count": 1}, "OutOfOrder"),
    ("new", "check_leaks", {}, "OutOfOrder"),
    ("new", "register", {}, "OutOfOrder"),
    ("done", "register", {}, "answers"),
    ("new", "approve", {"key": "file:key.pem", "reason": "why"}, "OutOfOrder"),
    ("done", "approve", {"key": "file:stranger.pem", "reason": "why"}, "Refused"),
    ("new", "explain", {}, "OutOfOrder"),
    ("new", "promote", {}, "OutOfOrder"),
    ("new", "load", {}, "Refused"),
    ("done", "load", {"release": "0000"}, "InvalidInput"),
    ("altered", "load", {}, "Tampered"),
    ("new", "export_model", {"folder": "out", "to": "peft", "reason": "why"}, "OutOfOrder"),
    ("done", "export_model", {"folder": "out", "to": "peft", "reason": " "}, "InvalidInput"),
    ("done", "export_model", {"folder": "new", "to": "peft", "reason": "why"}, "InvalidInput"),
    ("done", "export_model", {"folder": "out", "to": "gguf", "reason": "why"}, "InvalidInput"),
    ("done", "check_export", {"folder": "nowhere"}, "InvalidInput"),
    ("altered", "verify", {}, "Tampered"),
    ("nowhere", "trust", {}, "OutOfOrder"),
    ("nowhere", "save_trust", {"path": "trust.json"}, "OutOfOrder"),
    ("new", "adopt", {"policy": "nowhere"}, "InvalidInput"),
    ("new", "enroll", {"name": "Bob", "key": "nowhere.pem"}, "InvalidInput"),
    ("new", "revoke", {"key": "0000", "reason": "left"}, "InvalidInput"),
    ("new", "rotate", {"kind": "signing", "key": "file:nowhere.pem"}, "InvalidInput"),
    ("nowhere", "members", {}, "OutOfOrder"),
    ("nowhere", "predictions", {}, "OutOfOrder"),
    ("nowhere", "history", {}, "OutOfOrder"),
    ("nowhere", "export_log", {"form": "jsonl"}, "OutOfOrder"),
    ("new", "prove", {"seq": 99}, "InvalidInput"),
    ("new", "documents", {}, "OutOfOrder"),
    ("nowhere", "policy", {}, "OutOfOrder"),
    ("nowhere", "latest", {"kind": None}, "OutOfOrder"),
    ("new", "findings", {}, "OutOfOrder"),
    ("nowhere", "to_pandas", {"table": "losses"}, "OutOfOrder"),
    ("nowhere", "plot", {"what": "loss"}, "OutOfOrder"),
    ("new", "ui_command", {"port": 0}, "InvalidInput"),
]

# One process for all of them, so that it stays cheap; the first that imports something is named with all after it.
WALK = f"""
import json, os, sys
from pathlib import Path
from sdk import Project, SDKError
for name, verb, arguments, _ in json.loads(sys.stdin.read()):
    os.environ["SDK_STATE_HOME"] = os.path.abspath(f"{{name}}.state")  # the copies' logs go on apart from each other
    if "path" in arguments: arguments["path"] = Path(arguments["path"])
    try:
        if verb == "open": Project.open(name)
        elif verb == "create": Project.create(**arguments)
        else: getattr(Project(Path(name)), verb)(**arguments)
        error = "answers"
    except SDKError as raised:
        error = type(raised).__name__
    print(json.dumps([name, verb, error, [module for module in {HEAVY!r} if module in sys.modules]]))
"""


@pytest.fixture(scope="module")
def folder(workshop: Workshop, finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three projects, and with what this machine remembers of them."""
    folder = tmp_path_factory.mktemp("light")
    Workshop(folder, workshop.base, workshop.domain, workshop.policy).project("new")
    shutil.copytree(finished.root, folder / "done")
    shutil.copytree(finished.root, folder / "altered")
    record = min((folder / "altered" / "records").iterdir())
    record.write_bytes(record.read_bytes() + b" ")
    crypto.save_key(crypto.SigningKey.random(), folder / "stranger.pem")
    return folder


def test_no_refusal_by_files_alone_imports_a_heavy_library(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = [
            (name, verb, {"port": taken.getsockname()[1]} if verb == "ui_command" else arguments, error)
            for name, verb, arguments, error in CASES
        ]
        done = subprocess.run(
            [sys.executable, "-c", WALK], cwd=folder, input=json.dumps(cases), text=True,
            capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    walked = [json.loads(line) for line in done.stdout.splitlines()]
    assert walked == [[name, verb, error, []] for name, verb, _, error in cases]


def test_every_verb_is_walked() -> None:
    assert {verb for _, verb, _, _ in CASES} == {verb for verb in VERBS if verb not in ("root",)}


def test_a_refusal_by_the_policy_is_an_event_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(folder / "new.state"))
    events = Project.open(folder / "new").history()
    told = [(event.action, event.phase) for event in events if event.action in ("scrub", "load")]
    assert told == [("scrub", "started"), ("scrub", "refused"), ("load", "started"), ("load", "refused")]
