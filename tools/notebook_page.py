"""The text of docs/notebook.md: examples/quickstart.ipynb with the outputs that stand in it. A hook of mkdocs.

A plugin for notebooks would bring 35 packages, a look of its own and scripts from elsewhere.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"
PAGE = "notebook.md"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the notebook below what docs/notebook.md says of it."""
    if page.file.src_uri != PAGE:
        return markdown
    return markdown + "\n" + to_markdown(json.loads(NOTEBOOK.read_text(encoding="utf-8")))


def to_markdown(notebook: dict[str, Any]) -> str:
    """Write a notebook as Markdown: its text, its code, and of each output the richest form that needs no script."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts += [f"```python\n{source}\n```", *_outputs(cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _outputs(outputs: list[dict[str, Any]]) -> Iterator[str]:
    for output in outputs:
        data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
        text = "".join(output.get("text", "")) or data.get("text/plain", "")
        if "image/png" in data:
            image = data["image/png"].replace("\n", "")
            yield f'<img alt="{html.escape(text)}" src="data:image/png;base64,{image}">'
        elif "text/html" in data:
            table = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
            table = table.replace('<table border="1" class="dataframe">', "<table>")
            if lines := [line.strip() for line in table.splitlines() if line.strip()]:  # an empty one ends HTML
                yield "\n".join(lines)
        elif text.strip():
            yield f"```text\n{text.rstrip()}\n```"
