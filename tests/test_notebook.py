"""The notebook in examples/ runs as people run it, in a kernel, and prints little."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.waiting import SECONDS
from tests.workshop import Workshop
from tools.notebook_page import NOTEBOOK, to_markdown

ROOT = NOTEBOOK.parents[1]
MOST_CHARACTERS = 20_000  # of all outputs but the images; a run alone once printed 43,000


def shown(notebook: NotebookNode) -> list[dict[str, str]]:
    """What a person sees of each output, by MIME type."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [dict(output.get("data") or {"text/plain": output.get("text", "")}) for output in outputs]


@pytest.fixture(scope="module")
def executed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The notebook after a run with few rows and steps."""
    folder = tmp_path_factory.mktemp("notebook")
    command = folder / "programs" / "sdk"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from sdk.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\ndomain, policy = {str(workshop.domain)!r}, {str(workshop.policy)!r}"
    parameters.source += "\nsettings = {'max_steps': 4}"
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(notebook, timeout=int(SECONDS), resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def test_the_notebook_runs_and_prints_little(executed: NotebookNode) -> None:
    texts = [text for output in shown(executed) for kind, text in output.items() if kind != "image/png"]
    assert sum(map(len, texts)) <= MOST_CHARACTERS
    assert any("champion" in text for text in texts)
    assert sum("image/png" in output for output in shown(executed)) == 3


def test_progress_stands_below_the_cells_and_goes_away(executed: NotebookNode) -> None:
    (cell,) = (cell for cell in executed.cells if "project.train(" in cell.source)
    line, result = cell.outputs
    assert line.output_type == "display_data"
    assert line.data == {"text/plain": "", "text/html": ""}
    assert result.data["text/html"].startswith("<div><strong>Run ")


def test_the_notebook_as_it_lies_there_was_executed_in_order_and_is_small() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert Path(NOTEBOOK).stat().st_size < 300_000
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "error"
    ]


def test_the_page_of_the_notebook_has_its_outputs() -> None:
    page = to_markdown(nbformat.read(NOTEBOOK, as_version=4))
    assert page.count("data:image/png;base64,") == 3
    assert "<strong>Advice " in page
    assert "<script" not in page
