"""The command: help that teaches, JSON, exit codes by error class, no traceback for what a user can mend."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import pytest
import typer

import sdk
from sdk import InvalidInput, Project, copy_domain
from sdk.cli import main, progress, show
from sdk.cli.app import WAY, app
from sdk.cli.old_forms import renew
from sdk.cli.terminal import Terminal
from sdk.project.foreseeing import borrowed
from sdk.records import floors_text
from sdk.wording import counted
from tests.workshop import Workshop

COMMANDS = (
    "init", "advise", "scrub", "train", "evaluate", "leaks", "register", "approve", "load", "history", "verify", "ui",
    "run", "doctor", "keys", "adopt", "domain", "estimate", "probe", "pilot", "compare", "predictions", "review",
    "reveal", "explain", "promote", "completion",
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
    shown = call("estimate", "--help", env={**os.environ, "COLUMNS": "120"})
    assert shown.returncode == 0
    assert "rtx 4090" in shown.stdout
    assert "--accuracy" in shown.stdout


def test_help_lists_commands_in_the_order_of_the_way() -> None:
    group = typer.main.get_command(app)
    assert list(group.commands) == [name for names in WAY.values() for name in names]  # type: ignore[attr-defined]
    shown = here("--help").stdout
    way = (
        "init",
        "estimate",
        "advise",
        "scrub",
        "review",
        "train",
        "evaluate",
        "register",
        "approve",
        "load",
        "verify",
    )
    places = [re.search(rf"^│ {name} ", shown, re.MULTILINE) for name in way]
    assert all(places)
    assert places == sorted(places, key=lambda place: place.start() if place else 0)


@pytest.mark.parametrize(
    "command", [[], ["scrub"], ["estimate"], ["train"], ["keys"], ["keys", "new"], ["domain", "copy"]]
)
def test_help_names_no_type_of_an_option_without_a_value(command: list[str]) -> None:
    shown = here(*command, "--help").stdout
    assert "--help" in shown
    assert "<bool>" not in shown


# -- forms of the version before --------------------------------------------------------------------------------------

OLD_FORMS = {
    "scrub --data rows.jsonl --eval e.jsonl": "scrub rows.jsonl --eval e.jsonl",
    "scrub --data=rows.jsonl -p p": "scrub rows.jsonl -p p",
    "scrub --review": "review",
    "scrub --review 59 --reviewer Ada": "review 59 --reviewer Ada",
    "scrub --reason why --reveal <X_1>": "reveal <X_1> --reason why",
    "init --domain-from mine": "domain copy finance mine",
    "init --domain medical --domain-from mine --json": "domain copy medical mine --json",
    "init --adopt": "adopt",
    "init claims --adopt": "adopt --project claims",
    "init --adopt --policy gdpr claims --json": "adopt --policy gdpr --project claims --json",
    "init --adopt --domain=letters claims": "adopt --domain=letters --project claims",
    "advise --history -p p": "predictions -p p",
    "approve 12ab --explain": "explain 12ab",
}


@pytest.mark.parametrize("old", OLD_FORMS)
def test_an_old_form_is_renewed_and_a_new_one_stays(old: str) -> None:
    new = OLD_FORMS[old].split()
    assert renew(old.split()) == new
    assert renew(new) == new


def test_an_old_form_works_and_names_the_new_one_on_standard_error(tmp_path: Path) -> None:
    done = here("init", "--domain", "medical", "--domain-from", tmp_path / "cardiology", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"domain": str(tmp_path / "cardiology")})
    (note,) = done.stderr.splitlines()
    assert f"is `sdk domain copy medical {tmp_path / 'cardiology'} --json` now" in note
    assert "name: cardiology" in (tmp_path / "cardiology" / "domain.yaml").read_text()
    assert here("domain", "copy", "medical", tmp_path / "neurology").stderr == ""


# -- for scripts and logs ---------------------------------------------------------------------------------------------


def test_the_version_is_said(tmp_path: Path) -> None:
    said = f"domain-adaptation-sdk {version('domain-adaptation-sdk')}"
    assert here("--version").stdout.strip() == said
    assert sdk.__version__ == version("domain-adaptation-sdk")
    done = subprocess.run(
        [sys.executable, "-m", "sdk", "--version"], capture_output=True, text=True, cwd=Path(sdk.__file__).parents[1]
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_code_that_was_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sdk.cli.doctor.version", missing)
    assert here("--version").stdout.strip() == "domain-adaptation-sdk not installed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scrub", "--jsno"], "--jsno"),
        (["train", "--max-steps", "many"], "--max-steps"),
        (["reveal", "<X_1>"], "--reason"),
        (["no-such-command"], "no-such-command"),
        (["keys", "no-such-command"], "no-such-command"),
        (["keys", "rotate", "nothing", "file:x"], "nothing"),
    ],
)
def test_a_usage_error_is_json_where_json_was_asked_for(arguments: list[str], said: str) -> None:
    done = here(*arguments, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, done.stderr, error["type"], error["faults"]) == (2, "", "InvalidInput", [])
    assert said in error["message"]
    plain = here(*arguments)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert said in plain.stderr


def test_a_shell_completes_with_the_script(tmp_path: Path) -> None:
    script = here("completion", "bash").stdout
    command = tmp_path / "sdk"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sdk "$@"\n')
    command.chmod(0o755)
    asked = f"{script}\nCOMP_WORDS=(sdk pred); COMP_CWORD=1; _sdk_completion sdk; echo ${{COMPREPLY[@]}}"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(sdk.__file__).parents[1])}
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("predictions", "")
    for shell in ("zsh", "fish", "powershell"):
        assert "_SDK_COMPLETE" in here("completion", shell).stdout


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, errors = Clock(), io.StringIO()
    monkeypatch.setattr(progress, "time", clock)
    with contextlib.redirect_stderr(errors), progress.progress(Terminal(100, stderr=True), quiet=False) as told:
        for step in range(1, 31):
            clock.now += 1
            told("train", step, 30, {"loss": 2.5, "seconds_left": 30 - step})
        clock.now += 60
        told("measure \x1b[31mrows", 7, None, {})
    lines = errors.getvalue().splitlines()
    assert lines[0] == "0:05  train  5/30  loss 2.500  0:25 left"
    assert [line.split()[2] for line in lines[:-1]] == ["5/30", "10/30", "15/30", "20/30", "25/30", "30/30"]
    assert lines[-1] == "1:30  measure \\x1b[31mrows  7"


def test_quiet_prints_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, errors = Clock(), io.StringIO()
    monkeypatch.setattr(progress, "time", clock)
    with contextlib.redirect_stderr(errors), progress.progress(Terminal(100, stderr=True), quiet=True) as told:
        clock.now += 60
        told("train", 1, 30, {})
    assert errors.getvalue() == ""


# In a process that has imported nothing yet: what libraries print, they print mostly when they are imported. On a CPU
# Liger is not there; these are the words that it writes at the first forward pass on a GPU.
IN_FOUR_BITS = """
import logging, sys
from sdk.cli import main

for arguments in (["train", "--method", "qlora-4bit", "--max-steps", "1"], ["evaluate"]):
    try:
        main([*arguments, "--project", sys.argv[1], "--quiet", "--json"])
    except SystemExit as ended:
        assert not ended.code, ended.code
logging.getLogger("liger_kernel.backends.registry").warning("Backend impl for op 'rope' could not be imported")
logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load CPU gemm_4bit_forward")
"""


def test_nothing_that_libraries_print_reaches_the_terminal(finished: Project, tmp_path: Path) -> None:
    shutil.copytree(finished.root, tmp_path / "copy")
    command = [sys.executable, "-c", IN_FOUR_BITS, str(tmp_path / "copy")]
    environment = {**os.environ, "SDK_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    decoder = json.JSONDecoder()
    trained, end = decoder.raw_decode(done.stdout)
    scores = json.loads(done.stdout[end:])  # two documents and nothing else
    assert (trained["settings"]["method"], "adapted" in scores) == ("qlora-4bit", True)


def test_what_is_learned_is_marked_without_colour() -> None:
    console = Terminal(80)
    with console.capture() as captured:
        console.print(show.preview([[("user: why? ", False), ("because", True), (" end", False)]]))
    assert "user: why? >>>because<<< end" in captured.get()
    assert "loss between >>> and <<<" in captured.get()


def test_key_ids_are_whole_at_80_columns(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = here("keys", "list", "-p", finished.root).stdout.splitlines()
    members = finished.members()
    assert {member.key_id for member in members} <= {line.strip() for line in lines}
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("number", "said"), [(0, "0 faults"), (1, "1 fault"), (2, "2 faults"), (1204, "1,204 faults")])
def test_a_noun_agrees_with_its_number(number: int, said: str) -> None:
    assert counted(number, "fault") == said


def test_one_fault_is_one(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": 7, "output": "b"}\n')
    done = here("estimate", "embedded", "--data", tmp_path / "rows.jsonl")
    said = " ".join(done.stderr.split())  # the terminal breaks lines
    assert (done.returncode, "rows.jsonl: 1 fault; mend it and run again." in said) == (2, True), done.stderr


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
    made = here("domain", "copy", "medical", tmp_path / "cardiology")
    assert made.returncode == 0, made.stderr
    assert "name: cardiology" in (tmp_path / "cardiology" / "domain.yaml").read_text()
    project = Project.create(tmp_path / "p", domain=tmp_path / "cardiology")
    assert project.state().charter.domain == "cardiology@1"
    assert here("domain", "copy", "finance", tmp_path / "cardiology").returncode == 2


def test_rows_of_ones_own(workshop: Workshop, tmp_path: Path) -> None:
    """In a copy of the domain that has none: they are named once, and their user sets what the domain leaves open."""
    mine, made = tmp_path / "mine", tmp_path / "p"
    assert here("domain", "copy", "general", mine).returncode == 0
    planted = (mine / "planted.jsonl").read_text("utf-8").splitlines(keepends=True)
    (mine / "planted.jsonl").write_text("".join(planted[::20]), "utf-8")
    for name, count in (("rows", 8), ("asked", 4)):
        lines = [json.dumps({"q": f"{name} {n}?", "a": "yes" if n % 4 else "no"}) for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    project = ("init", made, "--domain", mine, "--base", workshop.base, "--policy", workshop.policy)
    lacking = here(*project)
    assert lacking.returncode == 2
    assert [option in lacking.stderr for option in ("--data", "--eval")] == [True, True]
    rows = ("--data", tmp_path / "rows.jsonl", "--eval", tmp_path / "asked.jsonl", "--map", "instruction=q,output=a")
    wrong = here(*project, *rows, "--floor", "fr=.1", "--json")
    assert json.loads(wrong.stdout)["error"]["faults"] == [
        "floors: must name 'all', 'slices' or a language of the domain, not fr"
    ]
    assert not made.exists()
    chosen = ("--prompt", "Say yes or no.", "--floor", "zh=.1", "--floor", "base+.05", "--floor", "majority")
    done = here(*project, *rows, *chosen)
    assert done.returncode == 0, done.stderr
    for line in (
        r"training rows +rows\.jsonl +yours",
        r"prompt +Say yes or no\. +as you set it",
        r"metric +f1 +the domain mine@1",
        r"max_new_tokens +16 +room for the longest answer",  # the rest stands on further lines of a narrow terminal
        r"floors +all base\+0\.05, majority\+0;",
        r"zh 0\.1",
    ):
        assert re.search(line, done.stdout), done.stdout
    opened = Project.open(made)
    domain = opened.state().domain()
    assert (domain.prompt, domain.max_new_tokens) == ("Say yes or no.", 16)
    advice = opened.advise()
    scrubbed = opened.scrub()
    assert scrubbed.rows == {"train": 8, "eval": 4}
    assert scrubbed.planted_in.keys() == {"measured"}
    assert advice.inputs["data"] == scrubbed.inputs["train"]
    assert Project.open(made).foresee() == ()


def test_a_shipped_domains_floors_and_room_are_not_those_of_other_questions(workshop: Workshop, tmp_path: Path) -> None:
    said = " ".join(["word"] * 90)
    for name in ("rows", "asked"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"instruction": f"{name}?", "output": said}))
    options = {"data": tmp_path / "rows.jsonl", "base": str(workshop.base)}
    made = Project.create(tmp_path / "p", evaluation=tmp_path / "asked.jsonl", policy="hipaa", **options)
    domain, charter = made.state().domain(), made.state().charter
    assert floors_text(domain.floors) == "all majority+0"
    assert charter.own_settings.keys() == {"floors", "max_new_tokens"}
    assert domain.max_new_tokens > 90
    assert domain.prompt.startswith("Answer with the exact term")
    (line,) = made.foresee()
    assert "evaluate.min_questions: 1 evaluation questions, 100 are needed" in line
    with_their_questions = Project.create(tmp_path / "q", max_new_tokens=7, **options).state()
    assert floors_text(with_their_questions.domain().floors) == "all 0.6; en 0.6; zh 0.6"
    assert with_their_questions.domain().max_new_tokens == 7
    later = Project.create(tmp_path / "r", base=str(workshop.base)).state()
    assert borrowed(later, None, None) == ()
    (note,) = borrowed(later, tmp_path / "rows.jsonl", tmp_path / "asked.jsonl")
    assert "prompt 'Answer with the exact term, figure or phrase that finance uses, and nothing else.'" in note
    assert re.search(r"up to 48 tokens, of which the longest reference has \d+, floors all majority\+0", note)
    assert borrowed(made.state(), tmp_path / "rows.jsonl", None) == ()
    made.adopt(domain=workshop.domain)
    assert made.state().charter.own_settings == {}


BAD_PATTERN = r"""
  - name: Customer numbers
    supported_entity: CUSTOMER_NUMBER
    patterns: [{name: seven digits, regex: 'KD-([0-9]{7}', score: 0.8}]
"""


def test_a_bad_pattern_is_refused_when_the_project_is_made(tmp_path: Path, workshop: Workshop) -> None:
    """With the user's own file, the entry and the pattern; nothing is left of the project."""
    copy_domain(workshop.domain, tmp_path / "letters")
    path = tmp_path / "letters" / "recognizers.yaml"
    sound = path.read_text()
    path.write_text(sound + BAD_PATTERN)
    done = here("init", tmp_path / "p", "--domain", tmp_path / "letters", "--base", workshop.base, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["type"]) == (2, "InvalidInput")
    assert error["message"].startswith(f"{path} is malformed")
    (fault,) = error["faults"]
    assert re.match(r"recognizer \d+, Customer numbers: pattern seven digits: no regular expression: missing \)", fault)
    assert not (tmp_path / "p").exists()
    with pytest.raises(InvalidInput, match=rf"{re.escape(str(path))} is malformed"):
        copy_domain(tmp_path / "letters", tmp_path / "more")
    assert not (tmp_path / "more").exists()
    path.write_text(sound)
    assert here("init", tmp_path / "p", "--domain", tmp_path / "letters", "--base", workshop.base).returncode == 0
    adopted = tmp_path / "p" / "domain" / "recognizers.yaml"
    adopted.write_text(sound + BAD_PATTERN)
    done = here("adopt", "-p", tmp_path / "p")
    assert (done.returncode, str(adopted) in done.stderr.replace("\n", "")) == (2, True), done.stderr


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
