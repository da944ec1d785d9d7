"""Progress of long steps as one rich bar with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

UNITS = {"tokens_per_second": "tok/s", "memory_gib": "GiB", "seconds_left": "s left"}


def _figures(figures: Mapping[str, float]) -> str:
    parts = []
    for name, value in figures.items():
        text = f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"
        parts.append(f"{text} {UNITS[name]}" if name in UNITS else f"{name} {text}")
    return "  ".join(parts)


class Bars:
    """A context manager; call it as an OnProgress."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description:<10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, figures="")
        self._progress.update(self._tasks[what], completed=done, total=total, figures=_figures(figures))
