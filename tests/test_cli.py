"""The command: help that teaches, JSON, exit codes by error class, no traceback for what a user can mend."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import typer

from sdk import Project
from sdk.cli import main
from sdk.cli.app import app
from tests.workshop import Workshop

COMMANDS = (
    "init", "advise", "scrub", "train", "evaluate", "leaks", "register", "approve", "load", "history", "verify", "ui",
    "run", "doctor", "keys",
)  # fmt: skip


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sdk.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def here(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    """The same in this process, where everything is imported already. What `call` shows as a traceback is raised."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        mock.patch("sys.stdin", io.StringIO(given)),
        pytest.raises(SystemExit) as ended,
    ):
        main([str(argument) for argument in arguments])
    code = ended.value.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def test_the_commands_are_these() -> None:
    group = typer.main.get_command(app)
    assert set(COMMANDS) <= set(group.commands)  # type: ignore[attr-defined]


def test_help_teaches() -> None:
    group = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.commands[name]  # type: ignore[attr-defined]
        assert len(command.help) > 40, name
        for parameter in command.params:
            assert getattr(parameter, "help", "x"), (name, parameter.name)
    shown = call("advise", "--help", env={**os.environ, "COLUMNS": "120"})
    assert shown.returncode == 0
    assert "rtx 4090" in shown.stdout
    assert "--accuracy" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--model", "llama-3.1-8b", "--gpu", "rtx 4090", "--accuracy", "high"], 0),
        (["--model", "llama-3.1-70b", "--gpu", "rtx 3060"], 1),
        (["--model", "no-such-model", "--gpu", "rtx 4090"], 2),
        (["--model", "llama-3.1-8b", "--gpu", "no such gpu"], 2),
        (["--model", "llama-3.1-8b", "--accuracy", "perfect"], 2),
    ],
)
def test_advise_answers_by_exit_code(arguments: list[str], code: int) -> None:
    done = here("advise", *arguments, "--json")
    assert done.returncode == code, done.stderr
    if code < 2:
        advice = json.loads(done.stdout)
        assert advice["fits"] is (code == 0)
        assert set(advice["reasons"]) <= set(advice["settings"])
        assert advice["memory_total_gib"] == pytest.approx(sum(advice["memory"].values()))
    elif "--accuracy" not in arguments:
        assert json.loads(done.stdout)["error"]["type"] == "InvalidInput"
    assert "Traceback" not in done.stderr


def test_exit_codes_by_error_class(workshop: Workshop, tmp_path: Path, finished: Project) -> None:
    new = tmp_path / "new"
    assert here("verify", "-p", tmp_path / "nothing").returncode == 2
    made = here(
        "init", new, "--domain", workshop.domain, "--base", workshop.base, "--policy", workshop.policy, "--json"
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["name"] == "new"
    assert here("init", new).returncode == 2
    order = here("train", "-p", new)
    assert (order.returncode, "sdk advise" in order.stderr) == (2, True)
    refused = here("load", "question", "-p", new, "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["type"]) == (3, "Refused")
    path = finished.root / "policy.yaml"
    text = path.read_text()
    try:
        path.write_text(text + "\n")
        tampered = here("verify", "-p", finished.root)
        assert (tampered.returncode, "policy.yaml" in tampered.stderr) == (4, True)
    finally:
        path.write_text(text)
    for done in (order, refused, tampered):
        assert "Traceback" not in done.stderr


def test_history_verify_and_load_speak_json(finished: Project) -> None:
    events = json.loads(here("history", "-p", finished.root, "--json").stdout)
    assert events[0]["action"] == "init"
    verified = json.loads(here("verify", "-p", finished.root, "--json").stdout)
    assert verified["packages"] == 1
    answered = json.loads(here("load", "What is a bond?", "-p", finished.root, "--json").stdout)
    assert answered[0]["question"] == "What is a bond?"
    piped = json.loads(here("generate", "-p", finished.root, "--json", given="What is a bond?\n\n").stdout)
    assert piped == answered


def test_ui_on_a_port_in_use_prints_no_link_to_it(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("sdk.cli.commands.run_in_front", lambda command, *_: started.append(command) or 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        named = here("ui", "-p", finished.root, "--port", port)
        assert (named.returncode, named.stdout, started) == (2, "", [])
        assert f"Port {port} of 127.0.0.1 cannot be used" in named.stderr
        monkeypatch.setattr("sdk.cli.commands.UI_PORT", port)
        usual = here("ui", "-p", finished.root)
    assert usual.returncode == 0
    assert f"Port {port} is in use, so this is another." in usual.stdout
    assert f"127.0.0.1:{port}" not in usual.stdout
    assert f"127.0.0.1:{started[0][-1]}" in usual.stdout


def test_doctor_says_what_a_report_needs_and_nothing_secret(finished: Project, tmp_path: Path) -> None:
    facts = json.loads(here("doctor", "-p", finished.root, "--json").stdout)
    assert facts["torch"] != "not installed"
    assert facts["project"] == "audit log verifies"
    assert (finished.root / "keys" / "encryption.key").read_text().strip() not in json.dumps(facts)
    assert json.loads(here("doctor", "-p", tmp_path, "--json").stdout)["project"].startswith("OutOfOrder")


def test_a_domain_of_ones_own(tmp_path: Path) -> None:
    made = here("init", "--domain", "medical", "--domain-from", tmp_path / "cardiology")
    assert made.returncode == 0, made.stderr
    assert "name: cardiology" in (tmp_path / "cardiology" / "domain.yaml").read_text()
    project = Project.create(tmp_path / "p", domain=tmp_path / "cardiology")
    assert project.state().charter.domain == "cardiology@1"
    assert here("init", "--domain-from", tmp_path / "cardiology").returncode == 2


def test_keys_are_made_and_enrolled(workshop: Workshop, tmp_path: Path) -> None:
    Project.create(tmp_path / "p", domain=workshop.domain, base=str(workshop.base), policy=workshop.policy)
    made = json.loads(here("keys", "new", tmp_path / "bob.pem", "--json").stdout)
    enrolled = json.loads(
        here("keys", "enroll", "Bob", tmp_path / "bob.pem.pub", "-p", tmp_path / "p", "--json").stdout
    )
    assert (enrolled["key_id"], enrolled["roles"]) == (made["fingerprint"], ["approver"])
    assert "PRIVATE" not in json.dumps(enrolled)
    assert here("keys", "new", tmp_path / "bob.pem").returncode == 2


def test_run_goes_on_to_the_approval_and_no_further_without_a_key(workshop: Workshop, tmp_path: Path) -> None:
    arguments = (
        "run", tmp_path / "p", "--domain", workshop.domain, "--base", workshop.base, "--policy", workshop.policy,
        "--max-steps", "3",
    )  # fmt: skip
    first = here(*arguments, "--json")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert result["approval"] is None
    assert result["release"]["version"] == "1"
    other = here("run", tmp_path / "p", "--domain", "medical", "--policy", "gdpr")
    assert (other.returncode, "--domain medical" in other.stderr, "--policy gdpr" in other.stderr) == (2, True, True)
    again = here(*arguments, "--play-approver")
    assert again.returncode == 0, again.stderr
    for text in ("Summary", "both trainer and approver", "sdk ui", result["release"]["package"][:40], "verifies"):
        assert text in again.stdout, text
