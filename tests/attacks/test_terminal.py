"""What others wrote reaches a terminal as text: no markup, no control character, in no view of any command."""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
import yaml
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import sdk
from sdk import InvalidInput, OutOfOrder, Project, Refused, StepFailed, Tampered, records
from sdk.approve import Verdict
from sdk.audit import Event
from sdk.cli.app import app
from sdk.cli.progress import Bars
from sdk.cli.review_rows import reviewed
from sdk.cli.terminal import Terminal, escape_json, styled
from sdk.crypto.keyring import Member, Revocation
from sdk.documents.dossier import Dossier
from sdk.documents.write import write
from sdk.domain import Domain
from sdk.errors import MissingExtra, Remedy, SDKError, Unrecorded
from sdk.files.store import shipped
from sdk.policy import Policy
from sdk.registry import Adaptation
from sdk.registry.model_report import CAPTIONS, render
from sdk.wording import is_unseen, visible
from tests.attacks.hostile_values import ESCAPES, HOSTILE, MARKUP, TIME, hostile
from tests.test_cli import here
from tests.workshop import Workshop

CLI = sorted((Path(sdk.__file__).parent / "cli").glob("*.py"))
TAG = re.compile(r"\[(?:/[a-z_ ]*|(?:bold|dim|italic|red|green|yellow|blue|cyan|magenta)[a-z_ ]*)\]")


def steering(text: str) -> list[str]:
    """Characters of what was printed that do something, or hide."""
    return sorted({ascii(each) for each in text if each not in "\n" and is_unseen(each)})


# -- the one function -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ESCAPES)
def test_each_character_that_cannot_be_seen_is_shown_as_its_escape(character: str) -> None:
    assert visible(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"


@pytest.mark.parametrize("text", ["plain", "Grüße, 李雷", "a b\u00a0c", "⠋ █▓", "½ → −3 %"])
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text


def test_half_a_character_is_shown_and_not_a_traceback() -> None:
    out = io.StringIO()
    with mock.patch("sys.stdout", out):
        Terminal(80).print("half \udc80")
    assert out.getvalue() == "half \\udc80\n"


def test_a_template_gives_its_style_and_a_value_cannot() -> None:
    text = styled("[bold]{}[/] is {:.1f} [dim]{}", HOSTILE, 2.0, Text("own", "green"))
    assert text.plain == f"{visible(HOSTILE)} is 2.0 own"
    assert {str(span.style) for span in text.spans} == {"bold", "dim", "green"}
    with pytest.raises(ValueError, match="zip"):
        styled("{} {}", "too few")


@pytest.mark.parametrize("interactive", [True, False])
def test_no_renderable_lets_anything_through(interactive: bool) -> None:
    """Also what a view made of strings without asking: cells, titles, Text, nested."""
    table = Table(HOSTILE, title=Text(HOSTILE))
    table.add_row(HOSTILE)
    table.add_row(Group(Text(HOSTILE), HOSTILE))
    out = io.StringIO()
    with mock.patch("sys.stdout", out):
        console = Terminal(100)
        console._force_terminal = interactive
        console.print(table, Panel(Text(HOSTILE), title=Text(HOSTILE)), HOSTILE, Text(HOSTILE))
        console.rule(Text(HOSTILE))
    said = out.getvalue()
    assert "\x1b[31m" not in said
    assert steering(re.sub(r"\x1b\[[\d;]*m", "", said) if interactive else said) == []  # the styles of views
    assert MARKUP[:10] in said


def test_a_progress_bar_shows_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    with mock.patch("sys.stderr", out):
        console = Terminal(160, stderr=True)
        console.is_interactive = True
        console._force_terminal = True
        with Bars(console) as bars:
            bars(HOSTILE, 1, 2, {HOSTILE: 3.0})
            bars("train", 1, 2, {"loss": 3.0})
            bars._progress.refresh()
    said = out.getvalue()
    assert visible(HOSTILE)[:20] in said
    left = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said)  # what rich itself moves and colours
    assert steering(left.replace("\r", "")) == []
    assert "\x1b[31m" not in said
    assert "\x1b]0" not in said


def test_json_means_the_same_and_steers_nothing() -> None:
    text = escape_json(json.dumps({HOSTILE: HOSTILE + "\U000e0001é"}, ensure_ascii=False, indent=2))
    assert json.loads(text) == {HOSTILE: HOSTILE + "\U000e0001é"}
    assert "é" in text
    assert steering(text) == []


# -- the source -------------------------------------------------------------------------------------------------------


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in CLI:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_markup_stands_in_literal_templates_alone() -> None:
    """No string outside a `styled` looks like markup, and none that is given to it is made of values."""
    faults, templates = [], 0
    for path, tree in trees():
        literal = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "styled":
                first = node.args[0]
                templates += 1
                if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                    faults.append(f"{path.name}:{node.lineno}: the template is not a literal")
                literal.add(id(first))
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in literal and TAG.search(node.value):
                faults.append(f"{path.name}:{node.lineno}: {node.value[:40]}")
    assert faults == []
    assert templates > 60


def test_only_one_module_makes_consoles_and_reads_markup() -> None:
    names = re.compile(r"\b(from_markup|Console\(|rich\.markup|markup=|TextColumn|print_json|render_markup)")
    for path in CLI:
        code = path.read_text(encoding="utf-8")
        assert bool(names.search(code)) == (path.name == "terminal.py"), path.name


def test_nothing_is_written_past_the_terminal() -> None:
    """But JSON, which `escape_json` has made harmless."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("print", "typer.echo", "typer.secho", "click.echo"), f"{path.name}:{node.lineno}"
            if called.endswith(".write"):
                said = ast.unparse(node)
                assert "json_text" in said or "escape_json" in said, f"{path.name}:{node.lineno}"


# -- every command ----------------------------------------------------------------------------------------------------

OWN_ANSWERS: dict[str, Callable[[], Any]] = {  # where a method's type does not say what a view needs
    "state": lambda: State(),
    "history": lambda: [hostile(Event), hostile(Event).model_copy(update={"objects": {}})],
    "load": lambda: mock.Mock(generate=lambda questions: [HOSTILE for _ in questions]),
    "preview": lambda: [[(HOSTILE, True), (HOSTILE, False)]],
    "sample_questions": lambda: [(HOSTILE, HOSTILE)],
    "ui_command": lambda: (["true"], {}),
    "export_log": lambda: (json.dumps({"reason": HOSTILE}) + "\n").encode(),
    "enroll": lambda: member(),
    "rotate": lambda: member(),
    "revoke": lambda: (member(),),
    "members": lambda: (member(), member()),
}


class Hostile:
    """A project whose answers are of the types that Project's are, with an attack in every text."""

    def __init__(self, root: Path = Path("project"), on_progress: Any = None) -> None:
        self.root = root / EVIL_NAME

    @classmethod
    def open(cls, *given: Any, **options: Any) -> Hostile:
        return cls()

    create = open

    def __getattr__(self, name: str) -> Any:
        if name in OWN_ANSWERS:
            return lambda *given, **options: OWN_ANSWERS[name]()
        said = inspect.signature(getattr(Project, name)).return_annotation
        kind = eval(said, {**vars(builtins), **vars(records), "Verdict": Verdict, "Path": Path})
        return lambda *given, **options: hostile(kind)


class State:
    """As much of a ProjectState as views ask."""

    def __init__(self) -> None:
        self.charter = hostile(records.Charter)
        self.events = OWN_ANSWERS["history"]()
        self.audit = mock.Mock(origin=HOSTILE, checkpoint=HOSTILE.encode)
        self.recorded_in = Path(EVIL_NAME)
        self.policy = lambda: hostile(Policy)
        self.domain = lambda: hostile(Domain)
        self.find_latest = lambda kind: hostile(kind)
        self.folder = lambda record: Path(EVIL_NAME)
        self.notes = lambda: [HOSTILE]
        self.keep_until = lambda: HOSTILE


def member() -> Member:
    return hostile(Member).model_copy(update={"revoked": Revocation(time=TIME, reason="left")})  # type: ignore[no-any-return]


EVIL_NAME = HOSTILE.replace("/", "").replace("\0", "")
COMMANDS = """
advise; advise --probe --pilot; advise --model llama-3.1-8b; estimate llama-3.1-8b; probe; pilot; compare; predictions
init NEW; init --adopt EVIL; init --domain-from NEW; adopt; domain copy EVIL NEW; completion bash
scrub; scrub EVIL; scrub --data EVIL; review; reveal <X_1> --reason EVIL; evaluate; register
export NEW --to merged --reason EVIL; check-export EVIL
approve --key env:EVIL --reason EVIL; explain; promote; load EVIL; generate EVIL; history; verify; ui
doctor; leaks; train; documents; prepare mmlu EVIL; benchmark mmlu=EVIL
run NEW; run NEW --approver-key env:EVIL --reason EVIL; audit tail; audit verify; audit export; audit export --to NEW
audit prove 1 --to FOLDER; keys new NEW; keys new NEW --kind encryption; keys enroll EVIL NEW
keys revoke EVIL --reason left; keys rotate log EVIL
keys list; keys trust NEW; policy check POLICY; policy diff POLICY finance; policy explain POLICY
policy check BROKEN; policy test CASES
"""
CASES = [case.strip() for case in re.split(r"[;\n]", COMMANDS) if case.strip()]
WITHOUT_JSON = ("ui", "audit export", "reveal", "completion")


def names_of(command: Any, before: tuple[str, ...] = ()) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from names_of(inner, (*before, name))
    else:
        yield " ".join(before)


def test_every_command_is_walked() -> None:
    for name in names_of(typer.main.get_command(app)):
        assert any(f"{case} ".startswith(f"{name} ") for case in CASES), name


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command among hostile values and files; returns all that it printed."""
    for name in ("app", "commands", "flow", "founding_commands", "scrub_commands", "key_commands", "audit_commands"):
        monkeypatch.setattr(f"sdk.cli.{name}.Project", Hostile)
    monkeypatch.setattr("sdk.cli.doctor.Project", Hostile)
    monkeypatch.setattr("sdk.cli.founding_commands.copy_domain", lambda *given: None)
    monkeypatch.setattr("sdk.cli.advise.estimate", lambda *given, **options: hostile(records.Advice))
    monkeypatch.setattr("sdk.cli.commands.run_in_front", lambda *given: 0)
    review = hostile(records.Review)
    shown = review.model_dump(mode="json"), reviewed(review)
    monkeypatch.setattr("sdk.cli.scrub_commands.ask", lambda project, out, *given: out.result(*shown))
    folder = tmp_path / EVIL_NAME
    folder.mkdir()
    policy = yaml.safe_load((shipped("policies") / "default.yaml").read_text())
    policy |= {"title": HOSTILE, "note": HOSTILE}
    files = {"POLICY": folder / "p.yaml", "BROKEN": folder / "b.yaml", "CASES": folder / "c.yaml"}
    files["POLICY"].write_text(yaml.safe_dump(policy))
    files["BROKEN"].write_text(yaml.safe_dump({**policy, HOSTILE: 1, "title": 7}))
    files["CASES"].write_text(yaml.safe_dump({"policy": HOSTILE, "cases": [{HOSTILE: 1}]}))
    number = count()

    def run(case: str, *more: str) -> str:
        words = {
            **files,
            "NEW": folder / f"new{next(number)}",
            "FOLDER": folder,
            "EVIL": EVIL_NAME,
            "env:EVIL": "env:EVIL",
        }
        done = here(*(words.get(word, word) for word in case.split()), *more)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("case", CASES)
def test_no_command_prints_what_steers_a_terminal(case: str, walk: Callable[..., str]) -> None:
    said = walk(case)
    assert steering(said) == []
    assert len(said) > 10
    if not case.startswith(WITHOUT_JSON):
        text = walk(case, "--json").partition("note:")[0]  # which an old form gets on standard error
        assert steering(text) == []
        json.loads(text[text.index(text.lstrip()[0]) :])


ERRORS = [InvalidInput, OutOfOrder, MissingExtra, Refused, StepFailed, Unrecorded]


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.startswith(("policy", "keys new", "completion", "prepare"))]
)
def test_no_error_prints_what_steers_a_terminal(
    case: str, walk: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[SDKError] = [kind(HOSTILE, [HOSTILE] * 2) for kind in ERRORS]
    errors.append(Tampered(HOSTILE, [HOSTILE], remedy=Remedy.LOG, expected=HOSTILE, found=HOSTILE))

    def fail(*given: Any, **options: Any) -> None:
        raise errors[0]

    for name in ("open", "create"):
        monkeypatch.setattr(Hostile, name, fail)
    monkeypatch.setattr("sdk.cli.advise.estimate", fail)
    monkeypatch.setattr("sdk.cli.founding_commands.copy_domain", fail)
    while errors:
        said = walk(case)
        assert steering(said) == []
        assert visible(HOSTILE)[:8] in said
        assert "\n" + HOSTILE[:4] not in said  # a line end in a message begins no line of its own
        errors.pop(0)


@pytest.fixture
def copied(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The finished project, on a machine that has not seen the other."""
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(finished.root, tmp_path / "p")
    return Project(tmp_path / "p")


def test_history_survives_what_stands_in_the_log(copied: Project) -> None:
    """The log is append-only: what was written into it once is in every later view of it."""
    project = copied
    state = project.state()
    reason = HOSTILE.replace("\0", "")
    state.append("approve", "refused", {}, {"reason": reason}, (reason, "os-user"))
    for case in (["history"], ["audit", "tail"], ["audit", "verify"], ["verify"], ["doctor"]):
        done = here(*case, "-p", project.root)
        assert done.returncode == 0, done.stderr
        assert steering(done.stdout + done.stderr) == []
    assert MARKUP[:4] in here("history", "-p", project.root).stdout
    told = json.loads(here("history", "-p", project.root, "--json").stdout)
    assert reason in {event["actor"] for event in told}


def test_a_promotion_with_a_hostile_reason_is_reported(copied: Project, workshop: Workshop) -> None:
    project = copied
    reason = HOSTILE.replace("\0", "")
    decided = here("approve", "-p", project.root, "--key", workshop.approver("ada"), "--reason", reason)
    promoted = here("promote", "-p", project.root)
    for done in (decided, promoted):
        assert done.returncode == 0, done.stderr
        assert steering(done.stdout + done.stderr) == []
    assert MARKUP[:4] in decided.stdout


# -- pages ------------------------------------------------------------------------------------------------------------


def test_documents_show_what_they_are_given(tmp_path: Path) -> None:
    dossier = hostile(Dossier)
    dossier.scrubbed.rows.update(train=2, eval=2)
    dossier.scrubbed.data.update(dict.fromkeys(("train", "eval"), dossier.scrubbed.data["all"]))
    dossier.scrubbed.formats.update(train=HOSTILE, eval=HOSTILE)
    bounds = dossier.policy.evaluate.forgetting
    assert bounds is not None
    bounds.clear()  # names no others than benchmarks that there are
    bounds["mmlu"] = -0.02
    for path in write(dossier, tmp_path, "both"):
        text = path.read_text(encoding="utf-8")
        body = text.partition("\n---\n")[2] if path.suffix == ".md" and text.startswith("---") else text
        assert steering(body) == [], path.name
        assert path.suffix == ".md" or "<script" not in body, path.name
        assert "alert" in body, path.name


def test_the_models_report_shows_what_it_is_given() -> None:
    text = render(hostile(Adaptation), dict.fromkeys(CAPTIONS, b"")).decode()
    assert steering(text) == []
    assert "<script" not in text
    assert "alert" in text
