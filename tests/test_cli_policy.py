"""`sdk policy`: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import sdk.cli  # noqa: F401 - the commands register themselves
from sdk.cli.app import app
from sdk.files.store import shipped
from sdk.policy import KEYS

POLICIES = shipped("policies")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["policy", *map(str, arguments)], env={"COLUMNS": "200"})


def broken(path: Path) -> Path:
    document = yaml.safe_load((POLICIES / "default.yaml").read_text())
    del document["seal"]["encrypt"]
    document["approve"]["approvers"] = 2
    document["leaks"]["max_auc"] = 2
    path.write_text(yaml.safe_dump(document))
    return path


def test_check_names_every_policy_that_is_well_formed() -> None:
    done = run("check", "gdpr", "sr-11-7", POLICIES / "hipaa.yaml")
    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["gdpr@6", "finance@7", "hipaa@6"]
    assert json.loads(run("check", "--json", "gdpr").stdout) == ["gdpr@6"]


def test_check_lists_every_fault_of_every_file(tmp_path: Path) -> None:
    one, two = broken(tmp_path / "one.yaml"), tmp_path / "two.yaml"
    two.write_text("id: [")
    done = run("check", "gdpr", one, two, tmp_path / "three.yaml")
    assert done.exit_code == 2
    for part in ("one.yaml", "seal.encrypt", "approve.approvers", "leaks.max_auc", "two.yaml", "three.yaml"):
        assert part in done.stderr


def test_diff_says_what_is_stricter_and_what_is_looser() -> None:
    done = run("diff", "gdpr", "eu-ai-act")
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("approve.reviews")]
    assert line.split() == ["approve.reviews", "0", "1", "stricter"]
    found: list[dict[str, Any]] = json.loads(run("diff", "eu-ai-act", "gdpr", "--json").stdout)
    (days,) = [each for each in found if each["key"] == "approve.valid_days"]
    assert days == {"key": "approve.valid_days", "before": 365, "after": None, "change": "looser"}


def test_diff_of_the_same_policy_is_empty() -> None:
    assert "No key differs" in run("diff", "finance", "sr-11-7").stdout
    assert json.loads(run("diff", "finance", "finance", "--json").stdout) == []


def test_explain_shows_every_key_its_reader_and_the_rule() -> None:
    done = run("explain", "finance")
    assert done.exit_code == 0
    for key, known in KEYS.items():
        assert f"\n{key}: " in done.stdout
        assert f"read by {known.steps}" in done.stdout
    assert "follows from 17 CFR 240.17a-4(a), (f)" in done.stdout
    assert "Not covered" in done.stdout
    shown = json.loads(run("explain", "finance", "--json").stdout)
    assert (shown["policy"], [each["key"] for each in shown["keys"]]) == ("finance@7", list(KEYS))


def test_explain_shows_text_that_looks_like_markup_as_it_is(tmp_path: Path) -> None:
    document = yaml.safe_load((POLICIES / "default.yaml").read_text())
    document["note"] = "see [bold]chapter 3[/bold] [red]"
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    assert document["note"] in run("explain", path).stdout


def test_the_shipped_cases_pass() -> None:
    done = run("test", *sorted((POLICIES / "tests").glob("*.yaml")))
    assert done.exit_code == 0, done.stderr
    assert "gdpr@6: 31 cases as expected." in done.stdout


def test_a_case_that_fails_is_named_and_the_exit_code_is_3(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((POLICIES / "gdpr.yaml").read_text())
    cases = [
        {"name": "one is enough", "facts": {"approvals": 1}, "violates": []},
        {"name": "none", "facts": {"approvals": 0}, "violates": ["approve.approvals"]},
    ]
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump({"policy": "mine.yaml", "cases": cases}))
    done = run("test", path)
    assert done.exit_code == 3
    assert "gdpr@6: one is enough: violates approve.approvals: 1 of 2" in " ".join(done.stderr.split())
    assert "none:" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("check", "no-such"), ("diff", "gdpr", "no-such"), ("explain", "no-such"), ("test", "no-such.yaml")]
)
def test_a_file_that_is_not_there_is_bad_input(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "no-such" in done.stderr
