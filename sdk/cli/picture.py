"""Bars, stacks and intervals that fill the width they are given, and lose nothing where there is no colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text

EIGHTHS = " ▏▎▍▌▋▊▉█"
NARROWEST = 10  # cells


class Part(NamedTuple):
    """A part of a stack; its pattern tells it from its neighbours without colour."""

    value: float
    pattern: str
    style: str


class Band(NamedTuple):
    low: float
    expected: float
    high: float


class _Drawing:
    """Lines that are drawn once the width is known."""

    def lines(self, width: int) -> Sequence[Text]:
        raise NotImplementedError

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(options.max_width):
            line.no_wrap = True
            yield line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(NARROWEST, options.max_width), options.max_width)


class Bar(_Drawing):
    """value on a scale that ends at whole; never invisible, unless it is 0."""

    def __init__(self, value: float, whole: float, style: str = "cyan") -> None:
        self._share = value / whole if whole > 0 else 0.0
        self._style = style

    def lines(self, width: int) -> Sequence[Text]:
        eighths = max(round(self._share * width * 8), 1 if self._share > 0 else 0)
        full, rest = divmod(min(eighths, width * 8), 8)
        return [Text("█" * full + EIGHTHS[rest].strip(), style=self._style)]


class Stack(_Drawing):
    """Parts stacked on a scale from 0 to whole, the band of their sum below, and a mark at what can be used.

    Where the band goes beyond the whole, the scale does too and the end of the whole is marked.
    """

    def __init__(self, parts: Sequence[Part], band: Band, usable: float, whole: float, unit: str) -> None:
        self._parts, self._band, self._usable, self._whole, self._unit = parts, band, usable, whole, unit
        self._scale = max(*band, whole) or 1.0

    def lines(self, width: int) -> Sequence[Text]:
        return [self._axis(width), self._bar(width), self._under(width), self._label(width)]

    def _cell(self, value: float, width: int) -> int:
        return min(max(round(value / self._scale * width) - 1, 0), width - 1)

    def _axis(self, width: int) -> Text:
        end = f"{self._whole:.1f} {self._unit}"
        at = self._cell(self._whole, width)
        cells = list(f"{'0':<{width}}")
        start = max(at - len(end) + 1, 2)
        cells[start : start + len(end)] = end
        return Text("".join(cells[:width]), style="dim")

    def _bar(self, width: int) -> Text:
        bar, done = Text(), 0.0
        for part in self._parts:
            done += part.value
            # Rounding the sums rather than the parts keeps the end where it belongs.
            bar.append(part.pattern * (max(round(done / self._scale * width), len(bar)) - len(bar)), style=part.style)
        if not bar and done > 0:
            largest = max(self._parts)
            bar.append(largest.pattern, style=largest.style)
        whole = self._cell(self._whole, width)
        bar.append("·" * (whole + 1 - len(bar)), style="dim")
        return _over(bar, self._cell(self._usable, width), "┃", "bold")

    def _under(self, width: int) -> Text:
        low, expected, high = (self._cell(value, width) for value in self._band)
        line = Text(_interval(low, expected, high, width), style="bold")
        mark = self._cell(self._usable, width)
        return _over(line, mark, "┃" if low <= mark <= high else "╹", "bold")

    def _label(self, width: int) -> Text:
        mark = self._cell(self._usable, width)
        label = f"{self._usable:.1f} can be used"
        if mark > len(label):
            return Text(f"{label} ▲".rjust(mark + 1), style="bold")
        return Text(" " * mark + f"▲ {label}", style="bold")


class IntervalBar(_Drawing):
    """An interval on an axis that several share."""

    def __init__(self, band: Band, axis: tuple[float, float], style: str = "cyan") -> None:
        self._band, self._axis, self._style = band, axis, style

    def lines(self, width: int) -> Sequence[Text]:
        start, end = self._axis
        cells = [round((value - start) / ((end - start) or 1.0) * (width - 1)) for value in self._band]
        low, value, high = (min(max(cell, 0), width - 1) for cell in cells)
        return [Text(_interval(low, value, high, width).rstrip(), style=self._style)]


def axis(bands: Sequence[Band]) -> tuple[float, float]:
    """Return the axis that shows every band: from the lowest to the highest end."""
    return min(band.low for band in bands), max(band.high for band in bands)


def _interval(low: int, value: int, high: int, width: int) -> str:
    cells = [" "] * width
    cells[low : high + 1] = "─" * (high + 1 - low)
    cells[low], cells[high] = "├", "┤"
    cells[value] = "●"
    return "".join(cells)


def _over(line: Text, cell: int, mark: str, style: str) -> Text:
    """Replace one cell of the line."""
    line.pad_right(max(0, cell + 1 - len(line)))
    return Text.assemble(line[:cell], (mark, Style.parse(style)), line[cell + 1 :])
