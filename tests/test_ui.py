"""What a reviewer sees of a promoted release in MLflow's own pages, in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from sdk.records import Release, sha256
from sdk.registry import Adaptation, Tracking, publish, ui_command, ui_variables
from sdk.registry.register import register
from tests.registry_records import adaptation, make_governance, standing
from tests.servers import free_port, serving
from tests.waiting import SECONDS

VIEW = "?workflowType=machine_learning"
BROWSER = (
    "chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --virtual-time-budget=60000 --window-size=1400,1000"
)

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")


@dataclass(frozen=True)
class Site:
    address: str
    folder: Path
    release: Release
    made: Adaptation

    @property
    def run(self) -> str:
        return f"#/experiments/{self.release.experiment_id}/runs/{self.release.run_id}"

    def open(self, page: str) -> str:
        """The page's HTML once its scripts have come to rest."""
        command = [*BROWSER.split(), f"--user-data-dir={self.folder}/browser", "--dump-dom", f"{self.address}/{page}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def text(page: str) -> str:
    """What can be read of it."""
    bare = re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style).*?</\1>", "", page))
    return re.sub(r"\s+", " ", unescape(bare))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    tracking, made = Tracking(folder), adaptation(folder / "package")
    release = register(made, folder / "package", {}, tracking, folder / "out", lambda *told: None)
    publish(tracking, release, made, standing(), make_governance(folder / "proofs"), {})
    for address in serving(ui_command(tracking, port), port, folder, ui_variables(tracking)):
        yield Site(address, folder, release, made)


def test_the_versions_page_shows_status_decisions_checks_and_digests(site: Site) -> None:
    page = site.open(f"#/models/claims/versions/1{VIEW}")
    shown = text(page)
    expected = [
        "Champion: it is the one that is served",
        *(f"{check.removeprefix('yes: ')} yes" for check in standing().checks),
        "decision by on why counts review Ada 2026‑11‑26 The scores hold. yes approve Tom",
        "approve Bob 2026‑11‑26 Fit for use. yes",
        'load_release("models:/claims@champion")',
        f"package {site.made.package.package}",
        f"policy {sha256(b'policy')} finance@1",
        f"report {next(ref.sha256 for ref in site.release.artifacts if ref.path == 'report.html')}",
        *("sdk.status", "sdk.approvals", "sdk.checks", "5 of 5 hold", "@ champion"),
    ]
    assert [piece for piece in expected if piece not in shown] == []
    assert "How do I get started" not in shown  # what MLflow's assistant says where it opens
    hidden = re.findall(r"<style>([^<]*)\{display:none!important\}</style>", page)
    assert hidden == ["[data-assistant-ui]"]
    assert re.findall(r"<[^>]*data-assistant-ui[^>]*>", page)  # its button, which thereby is not seen
    links = re.findall(r'href="([^"]*)">Open the report', page)
    assert links == [f"{site.run}/artifacts/report.html{VIEW}"]


def test_the_report_opens_in_a_frame_that_can_do_nothing_outside(site: Site) -> None:
    page = site.open(f"{site.run}/artifacts/report.html{VIEW}")
    assert "report.html" in text(page)
    (frame,) = re.findall(r"<iframe[^>]*>", page)
    assert "blob:" in frame
    assert "allow-same-origin" not in frame
    assert "sandbox=" in frame
