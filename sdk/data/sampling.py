"""Some rows of a large file, for what is only estimated: some drawn by lot, and the longest.

All are counted and sized, and no more than the chosen ones are parsed and checked. Where one of these has a fault, all
rows are checked, so that every fault is told.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdk.data.containers import BOM, CONTAINERS, Piece
from sdk.data.layouts import Builder
from sdk.data.rows import Raw, Row, json_value
from sdk.data.rows_files import Portion, RowsFile, joined_digest, portions
from sdk.data.source import read_rows, require_recorded
from sdk.files.regular_files import HashedFile

SAMPLED_ABOVE = 50_000  # rows
DRAWN, LONGEST = 6_000, 1_000


class RowsSample(NamedTuple):
    """rows: all, or those that were drawn, and behind them the longest of all.

    sizes: bytes of each; of_others: rows that are not among the longest, and their bytes, from which was drawn.
    """

    rows: tuple[Row, ...]
    drawn: int
    sizes: tuple[int, ...] = ()
    of_others: tuple[int, int] = (0, 0)

    @property
    def is_whole(self) -> bool:
        return not self.sizes


def sample_rows(file: Path | RowsFile) -> RowsSample:
    """Return all rows, of more than SAMPLED_ABOVE some. The choice is always the same.

    Raises what read_rows() raises; of a sample, with the faults of all rows if one that was chosen has any.
    """
    asked = file if isinstance(file, RowsFile) else RowsFile(file, "")
    taken = portions(asked.path, asked.columns)
    sizes, digests = _sizes(taken)
    if len(sizes) <= SAMPLED_ABOVE or not all(digests):
        return _whole(asked)
    require_recorded(asked, joined_digest(taken, digests))
    drawn, longest = _choose(np.frombuffer(sizes, np.int64))
    rows = _built(taken, digests, sorted([*drawn, *longest]))
    if rows is None:
        return _whole(asked)
    others = len(sizes) - len(longest), sum(sizes) - sum(sizes[number] for number in longest)
    order = [*drawn, *longest]
    return RowsSample(tuple(rows[n] for n in order), len(drawn), tuple(sizes[n] for n in order), others)


def _sizes(taken: Sequence[Portion]) -> tuple[array[int], list[str]]:
    """Return the bytes of each row, and each file's digest; empty for one of a kind that cannot be read."""
    sizes, digests, passed = array("q"), [], 0
    for portion in taken:
        if portion.kind is None:
            digests.append("")
            continue
        with HashedFile(portion.path) as opened:
            for place, (size, _) in enumerate(_sized(opened, portion), passed):
                if portion.takes(place):
                    sizes.append(size)
                passed = place + 1
            digests.append(opened.sha256)
    return sizes, digests


def _whole(file: RowsFile) -> RowsSample:
    rows = read_rows(file).rows
    return RowsSample(rows, len(rows))


def _choose(sizes: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Return the numbers of rows drawn by lot, and of the longest, among which none is drawn."""
    by_size = np.argsort(-sizes, kind="stable")
    others = np.sort(by_size[LONGEST:])
    places = random.Random(0).sample(range(len(others)), DRAWN)  # noqa: S311 - a sample, keeps no secret
    return np.sort(others[places]).tolist(), by_size[:LONGEST].tolist()


def _built(taken: Sequence[Portion], digests: Sequence[str], chosen: Sequence[int]) -> dict[int, Row] | None:
    """Build the rows with these numbers. None where one has a fault; InvalidInput where a file has changed."""
    rows: dict[int, Row] = {}
    wanted = iter(chosen)
    next_one = next(wanted, None)
    number = passed = 0  # rows that are taken; all rows
    for portion, digest in zip(taken, digests, strict=True):
        builder = Builder(None, passed, portion.arrangement)
        with HashedFile(portion.path) as opened:
            for _, found in _sized(opened, portion):
                if not portion.takes(builder.number):
                    builder.pass_over()
                    continue
                if number == next_one:
                    raw = _raw(found)
                    row = builder.build(raw)[1] if isinstance(raw, Raw) else None
                    if row is None:
                        return None
                    rows[number] = row
                    next_one = next(wanted, None)
                else:
                    builder.pass_over()
                number += 1
            opened.require(digest)
        passed = builder.number
    return rows


def _raw(found: bytes | Piece) -> Piece:
    if not isinstance(found, bytes):
        return found
    try:
        value = json_value(found.decode())
    except ValueError as error:
        return str(error)
    return Raw("", value) if isinstance(value, dict) else "no object"


def _sized(file: HashedFile, portion: Portion) -> Iterator[tuple[int, bytes | Piece]]:
    assert portion.kind is not None
    if portion.kind == "jsonl":
        for number, line in enumerate(file.lines()):
            text = line if number else line.removeprefix(BOM)
            if not text.isspace():
                yield len(text), text
        return
    for piece in CONTAINERS[portion.kind](file, 0, portion.arrangement):
        yield (sum(len(str(value)) for value in piece.fields.values()) if isinstance(piece, Raw) else 0), piece
