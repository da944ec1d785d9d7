"""Progress of long steps: one rich bar with its figures, or lines of text where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from sdk.wording import visible

GAP = "  "
NARROW = 100  # columns
LINE_SECONDS = 5.0  # between two lines of a log


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# In the order in which they stand; the last number says which goes first where the line is too short: the highest.
FIGURES: dict[str, tuple[Callable[[float], str], int]] = {
    "loss": (lambda value: f"loss {value:.3f}", 0),
    "learning_rate": (lambda value: f"lr {value:.1e}".replace("e-0", "e-"), 6),
    "grad_norm": (lambda value: f"grad {value:.2f}", 9),
    "tokens_per_second": (lambda value: f"{_number(value)} tok/s", 3),
    "mb_per_s": (lambda value: f"{value:.3g} MB/s", 3),
    "mfu": (lambda value: f"MFU {value:.0%}", 4),
    "memory_gib": (lambda value: f"{value:.3g} GiB", 5),
    "gpu_temperature_c": (lambda value: f"{value:.0f} °C", 7),
    "gpu_power_w": (lambda value: f"{value:.0f} W", 8),
    "seconds_left": (lambda value: f"{_clock(value)} left", 1),
}
# Shown in MLflow, where there is room.
UNSHOWN = {"host_memory_gib", "gpu_memory_allocated_gib", "gpu_memory_reserved_gib", "gpu_utilization_percent"}


class Figures:
    """As many figures as fit into one line, whole ones, the most important first."""

    def __init__(self, figures: Mapping[str, float]) -> None:
        known = [name for name in FIGURES if name in figures]
        others = [name for name in figures if name not in FIGURES and name not in UNSHOWN]
        self._parts = {name: FIGURES[name][0](figures[name]) for name in known}
        self._parts |= {name: f"{visible(name)} {_number(figures[name])}" for name in others}
        self._leaving = sorted(self._parts, key=lambda name: FIGURES[name][1] if name in FIGURES else len(FIGURES))

    def fitting(self, width: int) -> str:
        shown = list(self._leaving)
        while shown and len(self._line(shown)) > width:
            shown.pop()
        return self._line(shown)

    def _line(self, names: list[str]) -> str:
        return GAP.join(part for name, part in self._parts.items() if name in names)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.fitting(options.max_width), style="dim", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, min(len(self._line(self._leaving)), options.max_width))


class _WhatColumn(ProgressColumn):
    """What is going on; other processes and other people's file names have a part in it."""

    def __init__(self, width: int) -> None:
        super().__init__(Column(no_wrap=True))
        self._width = width

    def render(self, task: Task) -> Text:
        return Text(visible(task.description).ljust(self._width), style="bold")


class _FiguresColumn(ProgressColumn):
    def render(self, task: Task) -> Figures:
        return Figures(task.fields["figures"])


class Progress:
    """What a command tells of its progress, here nothing: a context manager; call it as an OnProgress."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        pass


def progress(console: Console, quiet: bool) -> Progress:
    """Choose how progress is told on a console."""
    if quiet:
        return Progress()
    return Bars(console) if console.is_interactive else Lines(console)


class Lines(Progress):
    """For logs: a line whenever something is told, but none within seconds of the one before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._said = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._said < LINE_SECONDS:
            return
        self._said = now
        count = str(done) if total is None else f"{done}/{total}"
        told = GAP.join((_clock(now - self._began), visible(what), count))
        shown = Figures(figures).fitting(self._console.width - len(told) - len(GAP))
        self._console.print(Text(GAP.join(filter(None, (told, shown)))), soft_wrap=True)


class Bars(Progress):
    """For a terminal: a bar for each thing that goes on."""

    def __init__(self, console: Console) -> None:
        wide = console.width >= NARROW
        self._progress = rich_progress.Progress(
            SpinnerColumn(table_column=Column(no_wrap=True)),
            _WhatColumn(10 if wide else 0),
            BarColumn(bar_width=16 if wide else 10, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            _FiguresColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, figures={})
        self._progress.update(self._tasks[what], completed=done, total=total, figures=figures)
