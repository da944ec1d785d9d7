"""Progress in a notebook: one line below the cell that is replaced as a verb goes on, and taken away at its end."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from sdk.html import escape

SECONDS = 0.25  # between two drawings
FIGURES: dict[str, Callable[[float], str]] = {  # those that a person waits with; MLflow has the others
    "loss": lambda value: f"loss {value:.3f}",
    "tokens_per_second": lambda value: f"{value:,.0f} tokens/s",
    "seconds_left": lambda value: f"{int(value) // 60}:{int(value) % 60:02} left",
}


def in_notebook() -> bool:
    """Tell whether this process is a notebook's kernel, without importing IPython where nobody has."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookProgress:
    """Call it as an OnProgress; `close` takes the line away."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = -SECONDS
        # tqdm, which libraries import and of which nothing is shown here, misses widgets for its own bars
        warnings.filterwarnings("ignore", message="IProgress not found")

    def __call__(self, what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._drawn < SECONDS and done != total:
            return
        self._drawn = now
        count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        said = ", ".join(
            [f"{what}: {count}", *(write(figures[one]) for one, write in FIGURES.items() if one in figures)]
        )
        bar = "" if total is None else f'<progress value="{done}" max="{total}"></progress> '
        self._show({"text/plain": said, "text/html": bar + escape(said)})

    def close(self) -> None:
        if self._handle is not None:
            self._show({"text/plain": "", "text/html": ""})
            self._handle, self._drawn = None, -SECONDS

    def _show(self, shown: Mapping[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
