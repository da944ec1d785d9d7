"""Files that are one text each: plain text and Markdown as they are, HTML without what a reader does not see."""

from __future__ import annotations

import re

from lxml import etree

# What no browser shows as text.
_UNSEEN = frozenset("head script style template noscript iframe object svg canvas audio video select datalist".split())
# What begins and ends a line; the second stands a line apart.
_LINES = frozenset(
    "address article aside dd div dt fieldset figcaption footer form header li main nav section tr".split()
)
_APART = frozenset("blockquote dl figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul".split())
_CELLS = frozenset("td th".split())
_AS_WRITTEN = frozenset("pre textarea".split())
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")


def html_text(document: str) -> str:
    """Return what a reader sees of an HTML document: paragraphs a line apart, cells of a table with tabs between them.

    What stands in one line there stays in one line, so that a name is not cut where a part of it is bold.
    Raises ValueError where nothing can be read of it.
    """
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    try:
        root = etree.fromstring(document.encode(), parser)
    except etree.XMLSyntaxError:  # whose text quotes the document
        root = None
    if root is None:
        raise ValueError("no HTML can be read in it")
    if any(error.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log):  # and the rest was dropped
        raise ValueError("its HTML is nested more than 2,000 levels deep")
    shown = _Shown()
    _walk(root, shown)
    return "".join(shown.pieces).strip("\n \t")


def _walk(root: etree._Element, shown: _Shown) -> None:
    """Hand texts and what stands between them to `shown`. Not by recursion: documents may be nested deeply."""
    unseen = written = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = element.tag if isinstance(element.tag, str) else ""
        begins = event == "start"
        unseen += (name in _UNSEEN) * (1 if begins else -1)
        written += (name in _AS_WRITTEN) * (1 if begins else -1)
        if unseen:
            continue
        if name in _APART:
            shown.apart(2)
        elif name in _LINES:
            shown.apart(1)
        elif name == "br" and begins:
            shown.add("\n", written=True)
        elif name in _CELLS and not begins:
            shown.add("\t", written=True)
        shown.add((element.text if begins else element.tail) or "", bool(written))


class _Shown:
    """Text as it is put together: white space runs together but where it is written so."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._lines = 0  # that end before what comes next

    def apart(self, lines: int) -> None:
        self._lines = max(self._lines, lines)

    def add(self, text: str, written: bool) -> None:
        if not written:
            text = _SPACES.sub(" ", text)
            if self._lines or not self.pieces or self.pieces[-1][-1].isspace():
                text = text.removeprefix(" ")
        if not text:
            return
        if self._lines and self.pieces:
            self.pieces[-1] = self.pieces[-1].rstrip(" \t")
            self.pieces.append("\n" * self._lines)
        self._lines = 0
        self.pieces.append(text)
