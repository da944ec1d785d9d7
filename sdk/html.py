"""Parts of the reports: HTML files without scripts or anything from outside, also for MLflow's sandboxed viewer."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from sdk.wording import visible

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f6f9; color: #243b53;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Arial, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC",
  sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 10px; } .quiet { color: #62748a; }
section { background: #fff; border: 1px solid #e3e8ee; border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin-top: 18px; }
.card { background: #fff; border: 1px solid #e3e8ee; border-radius: 10px; padding: 12px 16px; }
.card b { display: block; font-size: 23px; color: #0b6e99; } .card span { color: #62748a; font-size: 13px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 18px; }
img, svg { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: #62748a; font-weight: 600; } th, td { padding: 5px 10px 5px 0; vertical-align: top; }
tr + tr td, thead + tbody td { border-top: 1px solid #e3e8ee; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 12.5px ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
td:first-child code { overflow-wrap: normal; }
.yes { color: #14794a; } .no { color: #b4432a; }
.wide { overflow-x: auto; }
ul { margin: 0; padding-left: 20px; }
details summary { cursor: pointer; font-weight: 600; }
"""


def escape(text: str) -> str:
    """Write text so that it means nothing to HTML, and no character of it can hide or turn the line around."""
    return html.escape(visible(text, keep="\n\t"))


def page(title: str, parts: Iterable[str]) -> bytes:
    """Return a whole page as UTF-8. parts: its HTML, escaped by whoever made them."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    ).encode()


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table. rows: cells of HTML; numbers: columns that are set to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        shown = (
            f'<{tag} class="number">{cell}</{tag}>' if index in numbers else f"<{tag}>{cell}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    shown = f"<table><thead>{line([escape(h) for h in head], 'th')}</thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{shown}</div>'  # where the window is narrower, it scrolls and the page does not


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """Return figures as cards: (the figure, what it is)."""
    shown = "".join(
        f'<div class="card"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in figures
    )
    return f'<div class="cards">{shown}</div>'


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def quiet(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'
