"""The main job on the embedded base, with the shipped domains, policies and settings as `make demo` runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdk import Project
from sdk.store import shipped


@pytest.mark.parametrize("domain", ["finance", "medical"])
def test_the_demo_teaches_the_domain_in_both_languages(domain: str, tmp_path: Path) -> None:
    command = "from sdk.cli import main; main()"
    arguments = ["run", str(tmp_path / domain), "--domain", domain, "--play-approver", "--json"]
    done = subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout)
    scores = result["scores"]
    for language in ("all", "en", "zh"):
        assert scores["base"][language]["exact_match"]["value"] <= 0.05
        assert scores["adapted"][language]["exact_match"]["value"] >= 0.6, scores["adapted"]
    assert result["scrubbed"]["recall_planted"]["found"] >= 0.95 * result["scrubbed"]["recall_planted"]["planted"]
    assert result["run"]["losses"][-1]["loss"] < result["run"]["losses"][0]["loss"] / 3
    assert {"question", "reference", "answer"} == set(result["answers"][0])
    project = Project.open(tmp_path / domain)
    assert project.verify().approvals == 1
    planted = {
        row["instruction"][span["start"] : span["end"]]
        for row in map(json.loads, (shipped("domains") / domain / "train.jsonl").read_text("utf-8").splitlines())
        for span in row["spans"]
        if span["field"] == "instruction"
    }
    written = b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())
    assert [value for value in planted if len(value) >= 8 and value.encode() in written] == []
