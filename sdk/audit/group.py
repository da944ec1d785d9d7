"""Group commit: threads that wait for the disk at the same time share one commit.

The first to come leads: it commits what waits. Whoever comes meanwhile waits, and one of them leads the next commit.
So one sync of the disk does for up to MAX_COMMIT events, and a thread that is alone waits for nobody.

Invariants, all under the mutex: there is at most one leader, and `_led` says whether there is one; every request is
waiting, in the batch of the leader, or finished; a leader that goes, by return or by exception, names the next one.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from sdk.audit.event import UNRECORDED, Event
from sdk.crypto import Signer
from sdk.errors import SDKError, StepFailed

MAX_COMMIT = 64  # events that are made durable together, and so the most that a crash leaves beyond the checkpoint


class _Request:
    """One event that waits for a commit."""

    __slots__ = ("draft", "error", "event", "key", "leads", "woken")

    def __init__(self, key: Signer, draft: Event) -> None:
        self.key = key
        self.draft = draft
        self.event: Event | None = None
        self.error: SDKError | None = None
        self.leads = False
        self.woken = Lock()  # released once: when the event is durable, or has failed, or is to lead
        self.woken.acquire()

    @property
    def finished(self) -> bool:
        return self.event is not None or self.error is not None


class GroupCommit:
    """commit: makes the drafts durable under one key and returns the events, or raises and none of them counts."""

    def __init__(self, commit: Callable[[Signer, Sequence[Event]], list[Event]]) -> None:
        self._commit = commit
        self._mutex = Lock()  # of what follows, and of who leads
        self._waiting: deque[_Request] = deque()
        self._led = False

    def append(self, key: Signer, draft: Event) -> Event:
        """Wait for the event to be durable and return it. Raises the error of its commit, in a copy for each thread."""
        request = _Request(key, draft)
        with self._mutex:
            self._waiting.append(request)
            if not self._led:
                self._led = request.leads = True
        try:
            if not request.leads:
                request.woken.acquire()
            # a leader's own request may not be among the oldest: it goes on until that is done, too
            while not request.finished:
                self._lead(request)
        finally:
            self._leave(request)
        if request.event is None:
            error = request.error or StepFailed(f"An event was not recorded; {UNRECORDED}.")
            raise copy.copy(error) from error
        return request.event

    def _lead(self, leader: _Request) -> None:
        """Commit the oldest requests, all for one key, and wake who asked for them."""
        with self._mutex:
            batch = [self._waiting.popleft()]
            while self._waiting and len(batch) < MAX_COMMIT and self._waiting[0].key is batch[0].key:
                batch.append(self._waiting.popleft())
        error: SDKError = StepFailed(f"The writing of the log was interrupted; {UNRECORDED}.")
        try:
            events = self._commit(batch[0].key, [request.draft for request in batch])
            for request, event in zip(batch, events, strict=True):
                request.event = event
        except SDKError as failed:
            error = failed
        finally:
            for request in batch:
                if request.event is None:
                    request.error = error
                if request is not leader:
                    request.woken.release()

    def _leave(self, request: _Request) -> None:
        """Take the request out and hand the lead on.

        Also when the wait was interrupted: nobody may be left waiting for a leader that has gone.
        """
        with self._mutex:
            if request in self._waiting:
                self._waiting.remove(request)
            if request.leads and self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.release()
            elif request.leads:
                self._led = False
