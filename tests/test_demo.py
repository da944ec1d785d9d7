"""The main job on the embedded base with the shipped domains and policies, as `make demo` and the README run it."""

import json
import subprocess
import sys
from pathlib import Path

from sdk import Project
from sdk.files.store import shipped
from sdk.records import Run, Scores, Scrubbed
from tests.test_docs import ROOT, desk, run_examples  # noqa: F401 - desk is a fixture


def check(project: Project, domain: str) -> None:
    """It has learned the domain in both languages, and holds nothing that was planted."""
    state = project.state()
    scores, run = state.latest(Scores), state.latest(Run)
    for language in ("all", "en", "zh"):
        assert scores.base[language].exact_match.value <= 0.05
        assert scores.adapted[language].exact_match.value >= 0.6, scores.adapted
    recall = state.latest(Scrubbed).recall_planted
    assert recall.found >= 0.95 * recall.planted > 0
    assert run.losses[-1].loss < run.losses[0].loss / 3
    assert project.verify().approvals == 1
    planted = {
        row["instruction"][span["start"] : span["end"]]
        for row in map(json.loads, (shipped("domains") / domain / "train.jsonl").read_text("utf-8").splitlines())
        for span in row["spans"]
        if span["field"] == "instruction"
    }
    written = b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())
    assert [value for value in planted if len(value) >= 8 and value.encode() in written] == []


def test_the_readmes_examples_teach_finance(desk: Path) -> None:  # noqa: F811
    run_examples(ROOT / "README.md")
    check(Project.open(desk / "ledger"), "finance")


def test_the_demo_teaches_medicine_in_half_the_steps(tmp_path: Path) -> None:
    command = "from sdk.cli import main; main()"
    options = ["--domain", "medical", "--play-approver", "--json", "--max-steps", "240"]
    arguments = ["run", str(tmp_path / "medical"), *options]
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout)
    project = Project.open(tmp_path / "medical")
    check(project, "medical")
    assert result["scores"] == project.state().latest(Scores).model_dump(mode="json")
    assert {"question", "reference", "answer"} == set(result["answers"][0])
