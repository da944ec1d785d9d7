"""Markdown to a self-contained page that a browser also prints to a good PDF."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from sdk.documents.gaps import SAID
from sdk.html import escape, page

_DIGEST = re.compile(r"[0-9a-f]{32,}")
_PART = re.compile(r"_(?=\w)")
FENCE = "---\n"  # around a model card's metadata
STYLE = """<style>
main { max-width: 860px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
section > :last-child { margin-bottom: 0; }
table { margin: 0 0 12px; } li { margin: 2px 0; }
.columns-2 td:first-child { width: 32%; } td code { font-size: 12px; }
.columns-2:has(th[style]), .columns-2:has(th[style]) td:first-child { width: auto; }
.columns-2 th[style], .columns-2 td[style] { padding-left: 40px; }
thead:not(:has(th:not(:empty))) { display: none; }
code { overflow-wrap: break-word; } code.digest { overflow-wrap: anywhere; }
.columns-3 td:first-child code { white-space: nowrap; }
.columns-5 td:first-child { width: 32%; } .columns-5 td:last-child { width: 24%; }
em { font-style: normal; background: #e8f3ec; border-radius: 4px; padding: 0 4px;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
a { color: #0b6e99; }
pre { background: #f3f6f9; border-radius: 6px; padding: 10px 12px; overflow-x: auto; margin: 0 0 10px; }
blockquote { margin: 0 0 12px; padding: 8px 14px; border-left: 4px solid #0b6e99; background: #eef5f9; }
blockquote p:last-child { margin: 0; }
strong.gap { color: #8a3b12; background: #fdf0d5; border-radius: 4px; padding: 0 5px; white-space: nowrap; }
@page { size: A4; margin: 17mm 15mm 19mm; @bottom-right { content: counter(page) " / " counter(pages);
  font: 9pt system-ui, Arial, sans-serif; color: #62748a; } }
@media print {
  body { background: #fff; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } table { font-size: 9pt; }
  section { border: 0; border-radius: 0; padding: 0; margin-top: 16px; }
  h1, h2, h3 { break-after: avoid; } thead { display: table-header-group; }
  code { font-size: 8pt; }
  tr, blockquote, table:not(:has(tbody tr:nth-child(8))) { break-inside: avoid; }
  p, li { orphans: 3; widows: 3; } pre { white-space: pre-wrap; }
}
</style>"""


def to_html(markdown: str, title: str, links: Collection[str] = ()) -> bytes:
    """Write the page, UTF-8: no script and no reference to anything outside; HTML in the Markdown is only shown.

    links: Markdown files whose pages lie beside this one. Any other link stays text.
    """
    metadata = ""
    if markdown.startswith(FENCE):
        metadata, _, markdown = markdown.removeprefix(FENCE).partition(f"\n{FENCE}")
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "autolink"])
    reader.validateLink = lambda url: url in links  # type: ignore[method-assign]
    reader.add_render_rule("strong_open", _strong)
    reader.add_render_rule("link_open", _link)
    reader.add_render_rule("code_inline", _code)
    reader.add_render_rule("table_open", _table)
    parts = [STYLE]
    for group in _by_section(reader.parse(markdown)):
        body = reader.renderer.render(group, reader.options, {})
        parts.append(f"<section>{body}</section>" if group[0].tag == "h2" else body)
    if metadata:
        parts.append(f"<section><h2>Metadata</h2><pre><code>{escape(metadata)}</code></pre></section>")
    return page(title, parts)


def _link(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Lead from a page to a page, as the Markdown leads from a file to a file."""
    return f'<a href="{escape(str(tokens[index].attrs["href"]).removesuffix(".md"))}.html">'


def _code(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Let a name break behind its parts, and a digest anywhere, so that neither pushes a table out of the page."""
    text = tokens[index].content
    if _DIGEST.fullmatch(text):
        return f'<code class="digest">{text}</code>'
    return f"<code>{_PART.sub('_<wbr>', escape(text))}</code>"


def _table(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Say how many columns a table has, by which they are set."""
    head = tokens[index : next(i for i in range(index, len(tokens)) if tokens[i].type == "thead_close")]
    return f'<table class="columns-{sum(token.type == "th_open" for token in head)}">'


def _by_section(tokens: Sequence[Token]) -> list[list[Token]]:
    """Cut the tokens before every heading of the second level."""
    groups: list[list[Token]] = []
    for token in tokens:
        if not groups or (token.type == "heading_open" and token.tag == "h2"):
            groups.append([])
        groups[-1].append(token)
    return groups


def _strong(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Mark what is not recorded, so that it is seen at a glance."""
    return '<strong class="gap">' if tokens[index + 1].content.startswith(SAID) else "<strong>"
