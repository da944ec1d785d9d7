"""What ships: the wheel holds everything, runs elsewhere, and its data are what they say."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sdk.data import read_rows, refuse_overlap
from sdk.domain import read_domain
from sdk.files.store import embedded_base, shipped
from sdk.model import base_digest, check_base
from tests.workshop import rows

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = ("finance", "medical")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_code_base_policies_and_domains(wheel: Path) -> None:
    assert wheel.name.startswith("domain_adaptation_sdk-")
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in ROOT.joinpath("sdk").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.relative_to(ROOT).as_posix() in names
    for kind in ("policies", "domains"):
        for file in shipped(kind).rglob("*"):
            if file.is_file():
                assert f"sdk/_shipped/{kind}/{file.relative_to(shipped(kind)).as_posix()}" in names


def test_the_wheel_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    for name, count in (("train", 60), ("eval", 12)):  # all of them are asked and answered in test_demo.py
        lines = (site / "sdk/_shipped/domains/finance" / f"{name}.jsonl").read_text("utf-8").splitlines(keepends=True)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[:count]), "utf-8")
    code = (
        "import sdk, sys; assert sdk.__file__.startswith(sys.argv[1]), sdk.__file__\n"
        "from sdk.cli import main\n"
        "main('run p --domain finance --policy unsafe-lab --data train.jsonl --eval eval.jsonl --max-steps 3 '\n"
        "     '--play-approver'.split())"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(site)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Summary" in done.stdout


def test_the_embedded_base_is_small_whole_and_described() -> None:
    folder = embedded_base()
    check_base(folder)
    assert len(base_digest(folder)) == 64
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= 12e6
    card = (folder / "README.md").read_text()
    for word in ("not", "pretrain", "Apache"):
        assert word in card


@pytest.mark.parametrize("name", DOMAINS)
def test_domains_are_as_large_and_bilingual_as_they_say(name: str) -> None:
    folder = shipped("domains") / name
    domain = read_domain(folder)
    train, evaluation = read_rows(folder / "train.jsonl"), read_rows(folder / "eval.jsonl")
    assert len(train.rows) >= 400
    assert len(evaluation.rows) >= 100
    for table in (train, evaluation):
        share = sum(row.language == "zh" for row in table.rows) / len(table.rows)
        assert 0.4 <= share <= 0.6
    refuse_overlap(train, evaluation)
    assert not {row.id for row in train.rows} & {row.id for row in evaluation.rows}
    assert set(domain.floors) == {"all", "en", "zh"}
    start = (domain.adapter.lora_r, domain.adapter.lora_alpha, domain.adapter.lora_dropout)
    assert start == {"finance": (8, 32, 0.05), "medical": (16, 64, 0.1)}[name]


@pytest.mark.parametrize("name", DOMAINS)
def test_planted_spans_stand_where_they_say_and_cover_their_kinds(name: str) -> None:
    kinds: dict[str, int] = {}
    for row in rows(shipped("domains") / name / "train.jsonl"):
        for span in row["spans"]:  # type: ignore[attr-defined]
            value = str(row[span["field"]])[span["start"] : span["end"]]
            assert value
            assert value == value.strip()
            kinds[span["entity_type"]] = kinds.get(span["entity_type"], 0) + 1
    assert len(kinds) >= 18
    assert min(kinds.values()) >= 8
