"""The readings of a text: in plain characters, then again as each of its encodings would be read.

Further readings leave out what is invisible, only spaces digits out or quotes a line; undo escapes (percent signs,
HTML entities, backslashes); look into Base64 that is text; and take letters for the digits that they look like.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

import regex

from sdk.scrub.spans import Span

# What joins or breaks words without being seen, and what turns a digit into a pictogram.
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}\u034f\u115f\u1160\u17b4\u17b5\u20e3\u3164]+")
_APART = regex.compile(r"(?<![0-9A-Za-z])[0-9](?:[ ][0-9]){7,}(?![0-9A-Za-z]| [0-9]{2})")  # 1 3 8 1 2 3 …
_QUOTED = regex.compile(r"(?<=\n)(?:[>|] ?){1,6}")  # lines of a mail that is answered
# The regex package matches these to an ASCII letter where case is ignored, and the prefilter counts in ASCII letters.
_LETTERS = {"\u0130": "I", "\u0131": "i", "\u017f": "s", "\u212a": "K"}


class _Folding(dict[int, str]):
    """Full-width forms, odd spaces and dashes, foreign digits -> ASCII, one character for one: offsets hold."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = _LETTERS.get(character) or unicodedata.normalize("NFKC", character)
        if unicodedata.decimal(character, None) is not None:
            folded = str(unicodedata.decimal(character))
        elif unicodedata.category(character) == "Pd" or character == "−":
            folded = "-"
        elif unicodedata.category(character) in ("Zs", "Cf"):
            folded = " "
        self[code] = folded if len(folded) == 1 else character
        return self[code]


_FOLDING = _Folding()


def fold(text: str) -> str:
    """Return the text in plain characters: as long as before, with its ASCII unchanged."""
    return text if text.isascii() else text.translate(_FOLDING)


@dataclass(frozen=True)
class View:
    """text: what is searched; places: where each of its characters stands in the original, None: at its own place."""

    text: str
    places: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None  # where each character ends in the original; None: one further on
    only: tuple[tuple[int, int], ...] = ()  # of the original: where finds count; empty: everywhere

    @property
    def is_plain(self) -> bool:
        """Tell whether every find stands in the original as it stands here."""
        return self.places is None and not self.only

    def original(self, span: Span) -> Span | None:
        """Return the span in the original text; None where finds of this view do not count."""
        if self.places is None:
            moved = span
        elif not 0 <= span.start < span.end <= len(self.places):
            return span  # no place in the text; whoever counts on it will say so
        else:
            last = span.end - 1
            moved = replace(
                span, start=self.places[span.start], end=self.ends[last] if self.ends else self.places[last] + 1
            )
        if self.only and not any(moved.start <= end and start <= moved.end for start, end in self.only):
            return None
        return moved


def views(text: str) -> Iterator[View]:
    """Yield the text as it stands, and the further readings that it gives cause for."""
    folded = fold(text)
    yield View(folded)
    if not text.isascii() and _INVISIBLE.search(text):
        yield _without(folded, [match.span() for match in _INVISIBLE.finditer(text)], ())
    runs = [match.span() for match in _APART.finditer(folded)]
    if runs:
        yield _without(folded, [(i, i + 1) for start, end in runs for i in range(start + 1, end, 2)], tuple(runs))
    marks = [match.span() for match in _QUOTED.finditer(folded)] if ">" in text or "|" in text else []
    if marks:
        yield _without(folded, marks, ())
    if "%" in text or "&" in text or "\\" in text:
        yield from _unescaped(folded)
    yield from _from_base64(folded)
    yield from _with_digits(folded)


def _without(text: str, gaps: list[tuple[int, int]], only: tuple[tuple[int, int], ...]) -> View:
    hidden = {i for start, end in gaps for i in range(start, end)}
    places = tuple(i for i in range(len(text)) if i not in hidden)
    return View("".join(text[i] for i in places), places, only=only)


# -- escapes

# Runs, so that the bytes of one character beyond ASCII are decoded together.
_ESCAPES = regex.compile(
    r"(?:%[0-9A-Fa-f]{2})+|&(?:#[0-9]{2,6}|#[xX][0-9A-Fa-f]{2,5}|[A-Za-z]{2,24});|(?:\\\\?u[0-9A-Fa-f]{4})+"
    r"|(?:\\\\?x[0-9A-Fa-f]{2})+"
)
DEEPEST = 3  # times that a text may be escaped over


def _unescaped(text: str) -> Iterator[View]:
    """Yield the text with its escapes undone; where that makes new ones, these too."""
    places, ends = tuple(range(len(text))), tuple(range(1, len(text) + 1))
    only: list[tuple[int, int]] = []
    for _ in range(DEEPEST):
        out: list[str] = []
        new_places: list[int] = []
        new_ends: list[int] = []
        position, found = 0, False
        for match in _ESCAPES.finditer(text):
            plain = _plain(match.group())
            if plain is None:
                continue
            found = True
            out += (text[position : match.start()], plain)
            new_places += (*places[position : match.start()], *[places[match.start()]] * len(plain))
            new_ends += (*ends[position : match.start()], *[ends[match.end() - 1]] * len(plain))
            only.append((places[match.start()], ends[match.end() - 1]))
            position = match.end()
        if not found:
            return
        text = fold("".join([*out, text[position:]]))
        places, ends = (*new_places, *places[position:]), (*new_ends, *ends[position:])
        yield View(text, places, ends, tuple(only))
        if not _ESCAPES.search(text):
            return


def _plain(escape: str) -> str | None:
    """Return what an escape stands for; None where it is none."""
    try:
        if escape[0] == "%":
            plain = unquote_to_bytes(escape).decode("utf-8")
        elif escape[0] == "&":
            plain = html.unescape(escape)
        else:
            width = 4 if "u" in escape[:3] else 2
            codes = regex.findall(rf"[ux]([0-9A-Fa-f]{{{width}}})", escape)
            plain = "".join(chr(int(code, 16)) for code in codes).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeError:
        return None
    return None if plain == escape else plain


# -- Base64

SHORTEST, LONGEST = 12, 4_096  # characters of Base64 that are looked into; longer ones are data
# In this pattern and the other one the class that begins it stands before what looks behind it: `re` is faster so.
_LONG_WORD = re.compile(
    rf"[0-9A-Za-z+/_\-](?<![0-9A-Za-z+/_=\-].)[0-9A-Za-z+/_\-]{{{SHORTEST - 1},{LONGEST - 1}}}={{0,2}}"
    r"(?![0-9A-Za-z+/_=\-])"
)
_CAPITAL, _SMALL = re.compile("[A-Z]"), re.compile("[a-z]")
_TEXT = 0.9  # of the characters, above which what is decoded is text


def _from_base64(text: str) -> Iterator[View]:
    """Yield each run of Base64 that is text, as that text; what is found there is the whole run."""
    for match in _LONG_WORD.finditer(text):
        decoded = _decoded(match.group())
        if decoded:
            start, end = match.span()
            yield View(fold(decoded), (start,) * len(decoded), (end,) * len(decoded))


def _decoded(run: str) -> str | None:
    if run.islower() or run.isupper():  # as nearly every long word is
        return None
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1 or not (_CAPITAL.search(body) and _SMALL.search(body)):
        return None
    try:
        decoded = base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        return None
    plain = sum(character.isalnum() or character in " @.,:;-_/+()'\"\n\r\t{}[]=&?!#" for character in decoded)
    return decoded if plain >= _TEXT * len(decoded) and (decoded.isprintable() or "\n" in decoded) else None


# -- letters in place of digits, as a scanner reads them

_LIKE_DIGITS = str.maketrans("OolI|ZzSsB", "0011122558")
_LOOKALIKE = re.compile(r"[0-9OolI|ZzSsB](?<![0-9A-Za-z].)(?:[ \-./]?[0-9OolI|ZzSsB]){6,22}(?![0-9A-Za-z])")
_LOOKALIKE_LETTER = re.compile(r"[OolI|ZzSsB]")
AROUND = 64  # characters beside such a run in which a word for a number is looked for


def _with_digits(text: str) -> Iterator[View]:
    """Yield what stands around each run that is digits for the most part, with digits for its letters."""
    for match in _LOOKALIKE.finditer(text):
        run = match.group()
        letters = len(_LOOKALIKE_LETTER.findall(run))
        if letters and letters < sum(map(str.isdigit, run)):
            first, last = max(0, match.start() - AROUND), min(len(text), match.end() + AROUND)
            read = text[first : match.start()] + run.translate(_LIKE_DIGITS) + text[match.end() : last]
            yield View(read, tuple(range(first, last)), only=(match.span(),))
