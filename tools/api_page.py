"""The hook of mkdocs that fills docs/api.md with every public name: `sdk` gives them lazily, so no tool finds them."""

from __future__ import annotations

from typing import Any

import sdk

MARK = "<!-- every other public name -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name each public thing where it is defined, for mkdocstrings."""
    if page.file.src_uri != "api.md":
        return markdown
    names = [f"::: {home}.{name}" for name, home in sorted(sdk._HOME.items()) if name != "Project"]
    return markdown.replace(MARK, "\n\n".join(names))
