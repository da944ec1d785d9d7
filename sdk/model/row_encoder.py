"""Rows to tokens, one batch after the other: here, and in processes of their own where there are many."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from sdk.data import Row, conversation
from sdk.model.chat import Chat, Learned, NamedChat, Unusable, encode_chats, pieces_of
from sdk.model.token_rows import TokenBatch, TokenFile, TokenRows
from sdk.processes.pool import AHEAD, Pool, serve
from sdk.records import OnProgress

ROWS, CHARACTERS = 256, 200_000  # in a batch at most; in one, from which it is full
# From here on others help. They take some five seconds of processor time until they begin.
HELPED_ROWS = 20_000
MOST_HELPERS = 3  # one process reads the rows, and keeps no more than these busy
_REMEDY = "Run the same command again, with more memory or fewer cores."
_LOOK = "a file of fewer rows, which needs none, shows where."


class EncodingSetup(NamedTuple):
    """max_length: tokens that text is cut to, and a conversation may have at most."""

    prompt: str
    max_length: int
    learned: Learned
    processes: int  # that may work at once, this one among them


class _Batch(NamedTuple):
    tokens: TokenBatch  # places count from the batch's first row
    rows: int
    unusable: Unusable


class RowEncoder:
    """Takes rows in their order and keeps their tokens in a file without a name. A context manager.

    The longer the queue of its processes, the more it does itself, so none of them waits for another.
    """

    def __init__(self, chat: Chat, setup: EncodingSetup, folder: Path, on_progress: OnProgress) -> None:
        """Encode with `chat`; the file is made in the folder."""
        self.count = 0
        self._work = _Work(chat, setup.max_length, setup.learned)
        self._prompt, self._on_progress = setup.prompt, on_progress
        self._helpers = min(MOST_HELPERS, setup.processes - 1)
        self._file = TokenFile(folder)
        self._taken: list[NamedChat] = []
        self._size = self._written = 0
        self._waiting: deque[Future[_Batch]] = deque()
        self._unusable = Unusable()
        self._opened = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> RowEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
        self._file.close()

    def add(self, row: Row) -> None:
        self._taken.append(NamedChat(row.id, conversation(row, self._prompt)))
        self._size += sum(len(message.content) for message in row.messages)
        self.count += 1
        if len(self._taken) == ROWS or self._size >= CHARACTERS:
            self._encode()

    def rows(self) -> TokenRows:
        """Return all rows. Raises InvalidInput that lists, by id, every one that cannot be trained."""
        self._encode()
        while self._waiting:
            self._write(self._waiting.popleft().result())
        self._opened.close()
        self._unusable.refuse(self.count)
        return self._file.rows()

    def _encode(self) -> None:
        if not self._taken:
            return
        taken, self._taken, self._size = self._taken, [], 0
        if self._pool is None and self._helpers and self.count > HELPED_ROWS:
            self._pool = self._opened.enter_context(
                Pool(__name__, self._helpers, self._work, "A process that makes tokens of rows", _REMEDY, _LOOK)
            )
        if self._pool is not None and sum(not one.done() for one in self._waiting) < self._pool.count * AHEAD:
            self._waiting.append(self._pool.submit(taken))
        else:
            here: Future[_Batch] = Future()
            here.set_result(self._work(taken))
            self._waiting.append(here)
        while self._waiting and self._waiting[0].done():
            self._write(self._waiting.popleft().result())

    def _write(self, batch: _Batch) -> None:
        self._unusable.add(batch.unusable)
        if not self._unusable.faults:
            self._file.append(batch.tokens._replace(places=batch.tokens.places + self._written))
        self._written += batch.rows
        if self._pool is not None:
            self._on_progress("rows to tokens", self._written, None, {})


class _Work(NamedTuple):
    """What is done with each batch; it is sent to those that help."""

    chat: Chat
    max_length: int
    learned: Learned

    def __call__(self, taken: Sequence[NamedChat]) -> _Batch:
        encoded, unusable = encode_chats(self.chat, taken, self.max_length, self.learned)
        if unusable.faults:  # then nothing is trained
            return _Batch(TokenBatch.of([], []), len(taken), unusable)
        pieces = [
            (piece, place)
            for place, (row, whole) in enumerate(zip(taken, encoded, strict=True))
            for piece in (pieces_of(whole, self.max_length) if row.is_text else [whole])
        ]
        tokens = TokenBatch.of([piece for piece, _ in pieces], [place for _, place in pieces])
        return _Batch(tokens, len(taken), unusable)


if __name__ == "__main__":
    serve(lambda work: work)
