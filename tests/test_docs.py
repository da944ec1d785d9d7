"""Every example in the documentation runs, every command and option in it exists, and nothing public is left out.

A block that cannot run is preceded by `<!-- not run: reason -->`; the commands in it are still parsed.

    python tests/test_docs.py    writes docs/command-line.md anew
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin
from unittest import mock

import pytest
import yaml
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

import sdk.cli.commands
import sdk.cli.flow
import sdk.cli.key_commands
from sdk import processes
from sdk.cli import main
from sdk.cli.app import EXIT_CODES, app
from sdk.cli.old_forms import renew
from sdk.domain import DATA, SETTINGS, Domain
from sdk.policy import RULES, Policy
from sdk.records import TrainSettings
from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COMMAND_LINE = DOCS / "command-line.md"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MORE_PAGES = sorted([*(ROOT / "policies").glob("*.md"), *(ROOT / "domains").glob("*/*.md")])
CLI: Any = get_command(app)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]{10,}) -->\n\Z")
SHELL = ("sh", "console", "bash", "shell")


class Block(NamedTuple):
    language: str
    code: str
    line: int
    runs: bool


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(found[1], found[2], line, runs=not NOT_RUN.search(text[: found.start()]))


def shell_lines(block: Block) -> list[str]:
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in block.code.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, offline, with the `sdk` command on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "sdk"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from sdk.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return desk


def run_shell(line: str) -> None:
    """`sdk …`, `cd …` and lines of these with && and > run in this process, where everything is imported already.

    So does one behind `NAME=value`. Any other line runs in a shell. The folder that it leads to counts until its end.
    """
    plain = re.fullmatch(r"([A-Z_]+=\w+ )?(sdk|cd) [^|&;<>$]+(> \S+)?( && (sdk|cd) [^|&;<>$]+(> \S+)?)*", line)
    before = Path.cwd()
    try:
        if plain:
            for command in line.split(" && "):
                run_here(command)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True)
    finally:
        os.chdir(before)


def run_here(command: str) -> None:
    command, _, target = command.partition(">")
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words[:1] if "=" in word)
    program, *arguments = words[len(variables) :]
    if program == "cd":
        os.chdir(*arguments)
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, variables))
        if target:
            stack.enter_context(
                contextlib.redirect_stdout(stack.enter_context(open(target.strip(), "w", encoding="utf-8")))
            )
        ended = stack.enter_context(pytest.raises(SystemExit))
        main(arguments)
    assert not ended.value.code, f"`{command}` ended with exit code {ended.value.code}"


def run_examples(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.runs and block.language == "python":
            # the empty lines bring the page's line numbers into tracebacks
            exec(compile("\n" * (block.line - 1) + block.code, name(page), "exec"), namespace)
        elif block.runs and block.language in SHELL:
            for line in shell_lines(block):
                run_shell(line)


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_examples_run(page: Path, desk: Path) -> None:
    if page.name == "tutorial.md":
        from tests.tiny import make_base  # imports torch

        make_base(desk / "models" / "our-base", positions=1024)
    with mock.patch.dict(os.environ):
        run_examples(page)  # the README's: in test_demo.py, where what they leave is looked at


def test_readme_shows_how_to_begin() -> None:
    first, *others = blocks(ROOT / "README.md")
    assert [line.split()[:2] for line in shell_lines(first)] == [["make", "demo"], ["make", "test"]]
    example = next(block for block in others if block.language == "python")
    assert example.runs
    assert len([line for line in example.code.splitlines() if line.strip() and "import" not in line]) <= 10


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=name)
def test_blocks_are_marked_properly(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    marked = [block for block in blocks(page) if not block.runs]
    assert text.count("<!-- not run") == len(marked), "a marker without a reason, or not right before its block"
    assert all(block.language for block in blocks(page)), "a block without a language is never checked"


def test_examples_folder_quickstart(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "ledger", "--max-steps", "4"])
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"package sha256:[0-9a-f]{64} is ledger version 1\n", printed)
    assert "approved by Alice" in printed
    assert "the audit log verifies" in printed


def test_examples_folder_own_domain(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_domain.py", "work"])
    runpy.run_path(str(ROOT / "examples" / "own_domain.py"), run_name="__main__")
    assert "customer numbers removed: 3 of 3\n" in capsys.readouterr().out
    assert "KD-1002003" in (desk / "work/letters/train.jsonl").read_text(encoding="utf-8")
    written = [path for path in (desk / "work/project").rglob("*") if path.is_file()]
    assert [path for path in written if b"KD-1002003" in path.read_bytes()] == []


def test_every_example_script_is_run() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"quickstart.py", "own_domain.py"}


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words after `sdk` begin with, and the words left."""
    command, left = CLI, list(words)
    while isinstance(command, TyperGroup) and left:
        assert left[0] in command.commands, f"there is no command {left[0]}"
        command = command.commands[left.pop(0)]
    return command, left


def parse(line: str) -> None:
    words = shlex.split(re.split(r"\s(?:\|\|?|&&|>|<|;)\s", line)[0])
    command, left = find_command(renew(words[1:]))
    command.make_context("sdk", left)


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=name)
def test_commands_in_blocks_parse(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in blocks(page):
        for line in shell_lines(block) if block.language in SHELL else []:
            if line.startswith("sdk "):
                parse(line)
            if line.startswith("make "):
                assert line.split()[1] in targets


def test_what_does_not_parse_is_noticed() -> None:
    for line in ("sdk advise --modle llama-3.1-8b", "sdk advise --accuracy hgh", "sdk promote --no", "sdk keys new"):
        with pytest.raises(TyperException):
            parse(line)
    with pytest.raises(AssertionError):
        parse("sdk advice")


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=name)
def test_commands_and_options_in_running_text_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`(sdk [a-z][^`]*)`", text):
        words, history = shlex.split(code)[1:], page.name == "changelog.md"
        command, left = find_command(renew(words) if history else words)
        assert {word for word in left if word.startswith("-")} <= options(command, hidden=history), code


def options(command: Any, hidden: bool = False) -> set[str]:
    """What a command takes today; hidden: and what it took in the version before."""
    shown = [parameter for parameter in command.params if hidden or not getattr(parameter, "hidden", False)]
    return {option for parameter in shown for option in parameter.opts} | {"--help"}


def every_option() -> set[str]:
    return {option for _, command in every_command() for option in options(command)}


def commands_named(path: Path) -> Iterator[str]:
    """Every `sdk …` in backticks in a module's strings; what is filled in stands as X."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        yield from re.findall(r"`(sdk [a-z][^`]*)`", re.sub(r"\{\w*\}", "X", text))


@pytest.mark.parametrize("path", [*sorted((ROOT / "sdk").rglob("*.py")), DOCS / "verify_release.py"], ids=name)
def test_commands_in_messages_exist(path: Path) -> None:
    for code in commands_named(path):
        words = shlex.split(code.replace("…", "X"))
        if words[1:2] == ["X"]:  # a command's name is filled in
            continue
        command, left = find_command(words[1:])
        assert {word for word in left if word.startswith("-")} <= options(command), code


def test_commands_in_messages_are_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('x = f"see `sdk scrub --review {y}`" + "or `sdk nothing`"\n')
    assert sorted(commands_named(path)) == ["sdk nothing", "sdk scrub --review X"]
    assert "--review" not in options(find_command(["scrub"])[0])


def test_old_forms_stand_in_no_page() -> None:
    """A page's blocks parse in either form, since the old ones work still."""
    for page in [*PAGES, *MORE_PAGES, *(ROOT / "examples").glob("*.py"), DOCS / "verify_release.py"]:
        for line in re.findall(r"\bsdk ([a-z][^\n`]*)", page.read_text(encoding="utf-8")):
            words = line.split()
            old = renew(words) != words or {"--probe", "--pilot"} & set(words)
            assert page.name == "changelog.md" or not old, f"{page}: {line}"


def test_options_in_steps_exist() -> None:
    text = (DOCS / "steps.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(--[a-z0-9-]+)", text)) <= every_option()


# -- links, and the site ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *MORE_PAGES], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [
        target
        for target in targets
        if not re.match(r"[a-z]+:", target) and not (page.parent / target.split("#")[0]).exists()
    ]
    assert missing == []


def test_images_have_text_beside_them() -> None:
    for page in PAGES:
        for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert len(alternative) > 10, target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return site


def test_the_site_builds_and_fetches_nothing(site: Path) -> None:
    built = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} <= built
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>", text) == [], (
            page
        )


def test_the_drawing_on_the_home_page_leads_to_the_steps(site: Path) -> None:
    links = re.findall(r'<a href="(steps\.html)#([\w-]+)"><rect', (site / "index.html").read_text(encoding="utf-8"))
    assert len(links) == 9
    steps = (site / "steps.html").read_text(encoding="utf-8")
    assert [anchor for _, anchor in links if f'id="{anchor}"' not in steps] == []


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    assert [name for name in sdk.__all__ if not re.search(rf'id="sdk\.[\w.]+\.{name}"', page)] == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_site_searches_when_it_is_opened_from_a_folder(site: Path, tmp_path: Path) -> None:
    browser = f"chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=20000 --user-data-dir={tmp_path}"
    for word, found in (("checkpoint", True), ("zzyzx", False)):
        command = [*browser.split(), "--dump-dom", f"{(site / 'index.html').as_uri()}?q={word}"]
        page = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
        assert re.search(r"\d+ matching documents" if found else "No matching documents", page)


def test_each_page_says_in_brief_what_it_is_about() -> None:
    for page in DOCS.glob("*.md"):
        if page.name in ("changelog.md", "notebook.md", "policies.md"):  # a list; what tools/ and policies/ hold
            continue
        text = page.read_text(encoding="utf-8")
        found = re.match(r"# [^\n]+\n\n\*\*In brief\.\*\* (.+?)\n\n", text, re.DOTALL)
        assert found, page
        assert 1 <= len(re.findall(r"[.!?](?:\s|$)", found[1])) <= 4, page


# -- nothing public is left out ---------------------------------------------------------------------------------------


def code_words(page: Path) -> set[str]:
    return set(re.findall(r"[A-Za-z_][\w.-]*", " ".join(re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")))))


def test_public_names_are_documented() -> None:
    assert set(sdk.__all__) <= code_words(DOCS / "python.md")


def test_verbs_of_a_project_are_documented() -> None:
    verbs = {verb for verb in dir(sdk.Project) if not verb.startswith("_")} - {"state", "ui_command"}
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    calls = {verb: "" if isinstance(getattr(sdk.Project, verb), property) else "(" for verb in sorted(verbs)}
    assert [verb for verb, call in calls.items() if f"roject.{verb}{call}" not in text] == []


def test_policies_and_their_keys_are_documented() -> None:
    words = code_words(ROOT / "policies" / "README.md")
    assert '--8<-- "policies/README.md"' in (DOCS / "policies.md").read_text(encoding="utf-8")
    shipped = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "policies").glob("*.yaml")]
    assert shipped
    for policy in shipped:
        assert {policy["id"], *policy["aliases"]} <= words
    sections = {key: field.annotation for key, field in Policy.model_fields.items()}
    keys = {
        f"{section}.{key}" if hasattr(kind, "model_fields") else section
        for section, kind in sections.items()
        for key in getattr(kind, "model_fields", {"": None})
    }
    assert keys | set(RULES) <= words
    named = {word for word in words if "." in word and word.split(".")[0] in sections}
    assert named <= keys


def test_domains_and_their_keys_are_documented() -> None:
    words = code_words(DOCS / "domains.md")
    assert {folder.name for folder in (ROOT / "domains").iterdir() if folder.is_dir()} <= words
    assert {*Domain.model_fields, *SETTINGS, *DATA} <= words


def strings(node: ast.AST, constants: dict[str, str]) -> set[str]:
    """The strings that an expression holds: literals, and constants of any module by their name."""
    names = {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in ast.walk(node)
        if hasattr(each, "ctx") and isinstance(each, ast.Name | ast.Attribute)
    }
    literals = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return literals | {constants[name] for name in names & constants.keys()}


def variables_of_the_code() -> set[str]:
    """Every name of an environment variable in an expression of sdk/ that has to do with the environment."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "sdk").rglob("*.py")]
    constants: dict[str, str] = {}
    for node in (node for text in texts for node in ast.parse(text).body if isinstance(node, ast.Assign)):
        targets, value = node.targets[0], node.value
        both = isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)
        for target, one in zip(targets.elts, value.elts, strict=False) if both else [(targets, value)]:
            if isinstance(target, ast.Name) and isinstance(one, ast.Constant | ast.Tuple | ast.Dict):
                constants[target.id] = " ".join(strings(one, {}))
    found = {*processes.INHERITED.values(), *processes._ACCESS.values()}
    of_several = ast.Call | ast.Subscript | ast.Compare | ast.BinOp | ast.DictComp | ast.ListComp
    for text in texts:
        for node in ast.walk(ast.parse(text)) if "environ" in text or "envvar" in text else ():
            if isinstance(node, of_several) and "environ" in ast.unparse(node):
                found |= strings(node, constants)
                found |= {key.arg for key in getattr(node, "keywords", ()) if key.arg}
            if isinstance(node, ast.keyword) and node.arg == "envvar":
                found |= strings(node, constants)
    name = r"[A-Z][A-Z0-9]+(_[A-Z0-9]+)*(_\*)?|[a-z]+_proxy"
    return {word for word in " ".join(found).split() if re.fullmatch(name, word)}


def test_environment_variables_are_documented() -> None:
    words = set(
        re.findall(
            r"[A-Za-z0-9_]+\*?",
            " ".join(re.findall(r"`([^`\n]+)`", (DOCS / "environment.md").read_text(encoding="utf-8"))),
        )
    )
    code = variables_of_the_code()
    assert {"SDK_PROJECT", "SDK_TRUST", "SDK_KEY_PASSPHRASE", "VAULT_ADDR", "RAY_USAGE_STATS_ENABLED"} <= code
    families = [word[:-1] for word in words if word.endswith("*")]
    missing = {word for word in code - words if not any(word.startswith(family) for family in families)}
    assert missing == set()
    own = {word for word in words if word.startswith("SDK_")}
    assert own <= code, "of this package, and read nowhere"


def test_methods_are_documented() -> None:
    assert set(get_args(TrainSettings.model_fields["method"].annotation)) <= code_words(DOCS / "steps.md")


def test_the_version_is_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## (\S+)$", (DOCS / "changelog.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == version


def test_the_licence_is_the_one_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


# -- the threat model -------------------------------------------------------------------------------------------------


def security_section(title: str) -> str:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    return section[1]


def rows_of_attacks() -> list[list[str]]:
    """The rows of every table of attacks, by cell."""
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| attack \| outcome \| test \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) == 8, "one for each attacker"
    return [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()]


def files_of_tests() -> dict[str, set[str]]:
    """The tests of each file below tests/, by the names that docs/security.md gives them."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len({file.stem for file in files}) == len(files), "a file's name alone must say which it is"
    return {
        file.stem: set(re.findall(r"^ *def test_(\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE))
        for file in files
    }


def test_each_attack_has_an_outcome_and_a_test_that_exists() -> None:
    tests, named = files_of_tests(), set()
    for row in rows_of_attacks():
        attack, outcome, shown = row
        assert attack
        assert re.match(r"prevented\b|detected\b|\*\*neither\*\*", outcome), row
        if shown == "no test":
            assert outcome.startswith("**neither**"), "what is prevented or detected has a test"
        else:
            assert re.fullmatch(r"`test_\w+::\w+`(, `test_\w+::\w+`)*", shown), row
            named |= set(re.findall(r"`(test_\w+)::(\w+)`", shown))
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(test_\w+)::(\w+)", text)) == named, "a test is named outside of the tables"
    assert [f"{file}::{test}" for file, test in sorted(named) if test not in tests.get(file, ())] == []


@pytest.mark.parametrize(
    ("title", "module"),
    [("Loading", "sdk/serve/admit.py"), ("What one changed byte does", "sdk/project/verify.py")],
)
def test_the_steps_of_a_check_are_those_of_its_module(title: str, module: str) -> None:
    described = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8"))) or ""
    steps = re.findall(r"^ ?(\d+)\. ", described, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    section = security_section(title)
    assert module in section
    assert re.findall(r"^(\d+)\. ", section, re.MULTILINE) == steps


# -- the page that is written by this file ----------------------------------------------------------------------------


def every_command(group: Any = None, path: str = "sdk") -> Iterator[tuple[str, Any]]:
    for word, command in (group or CLI).commands.items():
        if isinstance(command, TyperGroup):
            yield from every_command(command, f"{path} {word}")
        elif not command.hidden:
            yield f"{path} {word}", command


def _value(annotation: Any) -> str:
    """What may be given, for a reader."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        return f"{_value(get_args(annotation)[0])} …"
    named = {str: "text", Path: "path", int: "whole number", float: "number", bool: "", datetime: "a day (YYYY-MM-DD)"}
    return named[annotation]


def _row(parameter: Any) -> str:
    is_option = parameter.opts[0].startswith("-")
    shown = (
        ", ".join(f"`{option}`" for option in parameter.opts)
        if is_option
        else f"`{(parameter.metavar or parameter.name).upper()}`"
    )
    default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    default = "required" if parameter.required else "" if default in (None, False) else str(default)
    default = "here" if default == "." else default
    return f"| {shown} | {_value(parameter.type_descriptor.annotation)} | {default} | {parameter.help} |"


def command_line_page() -> str:
    parts = [
        "# Command line",
        "**In brief.** Every command with its options and defaults, in the words of its own `--help`; this page is "
        "written from the commands themselves. `SDK_PROJECT` in the environment stands for `--project`.",
        f"{EXIT_CODES}",
    ]
    for path, command in every_command():
        rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        table = "\n".join(["| option | value | default | meaning |", "|---|---|---|---|", *rows])
        parts += [f"## {path}", command.help, table]
    return "\n\n".join(parts) + "\n"


def test_the_command_line_page_is_up_to_date() -> None:
    assert COMMAND_LINE.read_text(encoding="utf-8") == command_line_page(), "run `python tests/test_docs.py`"


if __name__ == "__main__":
    COMMAND_LINE.write_text(command_line_page(), encoding="utf-8")
