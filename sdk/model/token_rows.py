"""Rows as tokens, in Arrow on the disk: a row takes a few bytes of memory, however long it is.

Tokens are customers' text. So the file has no name (`create_nameless`): nobody else can open it, and it is gone when
the run ends, whatever ends it.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow
from numpy.typing import NDArray

from sdk.files.durable import create_nameless, write_all
from sdk.model.chat import Encoded

_SCHEMA = pyarrow.schema([("input_ids", pyarrow.list_(pyarrow.int32())), ("in_loss", pyarrow.list_(pyarrow.bool_()))])
# Rows that are written together: few beside the memory, many for one description.
_GROUP_TOKENS, _GROUP_ROWS = 1 << 19, 1 << 13
_READ_ROWS = 256  # after which the pages that were read are given back


class TokenBatch(NamedTuple):
    """Rows one behind the other. places: of the row that each is a piece of."""

    input_ids: NDArray[np.int32]
    in_loss: NDArray[np.bool_]
    lengths: NDArray[np.int32]
    places: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[Encoded], places: Iterable[int]) -> TokenBatch:
        return cls(
            np.fromiter(chain.from_iterable(row.input_ids for row in rows), np.int32),
            np.fromiter(chain.from_iterable(row.in_loss for row in rows), np.bool_),
            np.fromiter((len(row.input_ids) for row in rows), np.int32, len(rows)),
            np.fromiter(places, np.int32, len(rows)),
        )


class TokenRow(NamedTuple):
    """A row as Encoded has it. The arrays are views of the file."""

    input_ids: NDArray[np.int32]
    in_loss: NDArray[np.bool_]


class TokenFile:
    """Takes batches of rows in their order, until rows() maps them."""

    def __init__(self, folder: Path) -> None:
        """Make the file in a folder; raises OSError, as append() does."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file: FileIO = create_nameless(folder)
        self._waiting: list[TokenBatch] = []
        self._groups: list[tuple[int, int]] = []  # where each begins, and how many rows it has
        self._lengths: list[NDArray[np.int32]] = []
        self._places: list[NDArray[np.int32]] = []

    def append(self, batch: TokenBatch) -> None:
        self._waiting.append(batch)
        self._lengths.append(batch.lengths)
        self._places.append(batch.places)
        tokens = sum(len(each.input_ids) for each in self._waiting)
        if tokens >= _GROUP_TOKENS or sum(len(each.lengths) for each in self._waiting) >= _GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Let the file go, unless rows() has mapped it."""
        self._file.close()

    def rows(self) -> TokenRows:
        """Return all rows. Nothing can be appended any more."""
        self._write()
        size = self._file.tell()
        # The map keeps the file: its descriptor is not needed.
        with self._file:
            mapped = mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ) if size else None
        lengths, places = (_joined(parts) for parts in (self._lengths, self._places))
        return TokenRows(_Groups(mapped, self._groups), lengths, places, np.arange(len(lengths), dtype=np.int32))

    def _write(self) -> None:
        if not self._waiting:
            return
        ids, in_loss, lengths = (np.concatenate([each[column] for each in self._waiting]) for column in range(3))
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        columns = [pyarrow.ListArray.from_arrays(ends, pyarrow.array(values)) for values in (ids, in_loss)]
        data = pyarrow.RecordBatch.from_arrays(columns, schema=_SCHEMA).serialize()
        self._groups.append((self._file.tell(), len(lengths)))
        write_all(self._file, memoryview(data))
        self._waiting = []


class _Groups:
    """The file, mapped into memory."""

    def __init__(self, mapped: mmap.mmap | None, groups: Sequence[tuple[int, int]]) -> None:
        self._map = mapped
        self._firsts: list[int] = []
        self._columns: list[tuple[NDArray[np.int32], NDArray[np.int32], Any]] = []
        self._read = count = 0
        whole = pyarrow.py_buffer(mapped or b"")
        for begin, rows in groups:
            group = pyarrow.ipc.read_record_batch(whole.slice(begin), _SCHEMA)
            ids, in_loss = group.columns
            self._columns.append((ids.offsets.to_numpy(), ids.values.to_numpy(), in_loss.values))
            self._firsts.append(count)
            count += rows

    def row(self, number: int) -> TokenRow:
        self._read += 1
        # Pages stay in the system's cache, but do not count as this process's memory, nor crowd it.
        if self._map is not None and self._read % _READ_ROWS == 0:
            self._map.madvise(mmap.MADV_DONTNEED)
        group = bisect_right(self._firsts, number) - 1
        ends, ids, in_loss = self._columns[group]
        place = number - self._firsts[group]
        begin, end = int(ends[place]), int(ends[place + 1])
        return TokenRow(ids[begin:end], in_loss.slice(begin, end - begin).to_numpy(zero_copy_only=False))


class TokenRows(Sequence[TokenRow]):
    """Rows of a file, or some of them. lengths: tokens of each; places: of the row that each is a piece of."""

    def __init__(
        self,
        groups: _Groups,
        lengths: NDArray[np.int32],
        places: NDArray[np.int32],
        numbers: NDArray[np.int32],
    ) -> None:
        self.lengths, self.places = lengths, places
        self._groups, self._numbers = groups, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> TokenRow: ...

    @overload
    def __getitem__(self, place: slice) -> TokenRows: ...

    def __getitem__(self, place: int | slice) -> TokenRow | TokenRows:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self._groups.row(int(self._numbers[place]))

    def __iter__(self) -> Iterator[TokenRow]:
        return (self[place] for place in range(len(self)))

    def take(self, chosen: NDArray[Any]) -> TokenRows:
        """Return the rows at these places, or those that a mask of all marks."""
        return TokenRows(self._groups, self.lengths[chosen], self.places[chosen], self._numbers[chosen])


def _joined(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.empty(0, np.int32)
