"""Long texts are scanned by windows that overlap, so that the time of a scan has a bound and no value is cut.

What is found belongs to the window in whose middle part it begins. That part is MARGIN characters away from the
window's ends, so that a value is seen whole and with the words around it, as it would be in the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sdk.scrub.spans import Span, merged

MIDDLE = 40_000  # characters; a dense text of this size takes half a second
MARGIN = 1_000  # no value and no context is longer

Found = list[Span] | Exception
Find = Callable[[Sequence[tuple[str, str]]], list[Found]]


class _Window(NamedTuple):
    begin: int  # of the window
    end: int
    first: int  # of its middle part
    last: int


def find_in_long(find: Find, texts: Sequence[tuple[str, str]]) -> list[Found]:
    """Find in each (text, language) what `find` finds; one window that could not be scanned is an error of the text."""
    windows = [list(_windows(len(text))) for text, _ in texts]
    asked = [
        (text[window.begin : window.end], language)
        for (text, language), own in zip(texts, windows, strict=True)
        for window in own
    ]
    found = iter(find(asked))
    return [_joined(own, [next(found) for _ in own]) for own in windows]


def _windows(length: int) -> Iterator[_Window]:
    if length <= MIDDLE + 2 * MARGIN:
        yield _Window(0, length, 0, length + 1)
        return
    for first in range(0, length, MIDDLE):
        yield _Window(max(0, first - MARGIN), first + MIDDLE + MARGIN, first, first + MIDDLE)


def _joined(windows: Sequence[_Window], found: Sequence[Found]) -> Found:
    if len(windows) == 1:
        return found[0]
    spans: list[Span] = []
    for window, its in zip(windows, found, strict=True):
        if isinstance(its, Exception):
            return its
        moved = (replace(span, start=span.start + window.begin, end=span.end + window.begin) for span in its)
        spans += [span for span in moved if window.first <= span.start < window.last]
    return merged(spans)
