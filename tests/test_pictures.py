"""The pictures in the docs are no older than the code that draws what they show. No browser runs here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools import pictures
from tools.pictures import ASSETS, MANIFEST, PICTURES, Picture, code_digest, file_digest

PLOTS = {"advisor-memory.png", "advisor-peers.png", "training-h200.png"}  # of measurements, by tests/benchmarks
TAKEN = json.loads(MANIFEST.read_text(encoding="utf-8"))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_a_picture_is_as_new_as_the_code_that_draws_it(picture: Picture) -> None:
    taken = TAKEN[picture.file]
    assert taken["picture"] == file_digest(picture.file), "another file than `make pictures` left"
    assert taken["code"] == code_digest(picture.drawn_by), "drawn otherwise now: run `make pictures`, look, commit"


def test_every_picture_is_taken_and_used() -> None:
    files = {path.name for path in ASSETS.glob("*.png")}
    assert files == {picture.file for picture in PICTURES} | PLOTS
    assert TAKEN.keys() == {picture.file for picture in PICTURES}
    pages = [pictures.ROOT / "README.md", *pictures.ROOT.glob("docs/*.md")]
    shown = set(re.findall(r"assets/([\w-]+\.png)", "".join(page.read_text(encoding="utf-8") for page in pages)))
    assert shown == files
    assert sum((ASSETS / file).stat().st_size for file in files) < 2_000_000


def test_only_what_draws_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    (tmp_path / "view.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 2\n")
    places, before = ["view.py:one"], code_digest(["view.py:one"])
    (tmp_path / "view.py").write_text(
        "# Why.\ndef one():\n    # Because.\n    return 1\n\n\ndef two():\n    return 3\n"
    )
    assert code_digest(places) == before
    (tmp_path / "view.py").write_text("def one():\n    return 2\n")
    assert code_digest(places) != before
