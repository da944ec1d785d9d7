"""What is scrubbed in place of all rows as they lie, where somebody chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sdk.data import RowSource
from sdk.records import Texts


class Selection(NamedTuple):
    train: RowSource
    evaluation: RowSource | None  # None: a file of its own was named
    mixed: RowSource | None  # rows that become training rows as well
    texts: Texts

    @property
    def rows(self) -> dict[str, RowSource]:
        """Split -> its rows, of those that were chosen."""
        return {"train": self.train, **({"eval": self.evaluation} if self.evaluation else {})}


Selector = Callable[[RowSource, RowSource | None], Selection]  # of the training rows, beside an evaluation file
