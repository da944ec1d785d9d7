"""The append-only log of a project: events in segments, under the signed root of one Merkle tree.

An append writes the lines, makes them durable, publishes the checkpoint that counts them and hands it to the holders;
only then does it return. Threads that append at the same time share one such commit. Whatever fails, the events of
that commit do not count as done, and the log verifies and goes on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from sdk.audit.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sdk.audit.event import UNRECORDED, Decision, Event, Phase, draft, stamp
from sdk.audit.group import GroupCommit
from sdk.audit.lock import write_lock
from sdk.audit.reader import Files, LogReader, Proven, read_file, read_holder
from sdk.audit.segments import SEGMENT_BYTES, Place, read_lines, segment_name, write_lines
from sdk.audit.tree import EMPTY_ROOT, Frontier, leaf_hashes
from sdk.crypto import Signer
from sdk.errors import Remedy, StepFailed, Tampered
from sdk.files.durable import create_anew
from sdk.files.store import ASIDE, write_atomic

Opened = tuple[Path, Path, FileIO]  # a holder, and the open file that takes its place with its name


class Audit(LogReader):
    """The log in one folder, read as `LogReader` does, and written by `append`."""

    def __init__(self, folder: Path, origin: str, holders: Sequence[Path] = ()) -> None:
        super().__init__(folder, origin, holders)
        self._asides = [(path, path.with_name(path.name + ASIDE)) for path in self.holders]
        self._group = GroupCommit(self._commit)
        self._last: Proven | None = None  # what the last commit left; None: read again

    def append(
        self,
        key: Signer,
        action: str,
        phase: Phase,
        objects: Mapping[str, str],
        policy: str,
        detail: Mapping[str, str],
        actor: tuple[str, str] | None = None,
        decision: Decision = "",
    ) -> Event:
        """Make one event durable.

        StepFailed if it cannot be, and then the action must not happen; the line may still stand in the log when all
        that failed was a holder. Tampered if the log is not the one that its checkpoint or a holder knows.
        """
        return self._group.append(key, draft(action, phase, objects, policy, detail, actor, decision))

    def rotate(self, public_pem: str, key: Signer) -> None:
        """Let `key` sign from here on. Proves the log by the key until now, then signs its checkpoint anew."""
        with self._writing():
            proven = self._proven(self._files(), public_pem)
            self._last = None
            note = write_checkpoint(Checkpoint(proven.frontier.size, proven.frontier.root()), self.origin, key)
            with self._open_holders() as holders:
                write_atomic(self.checkpoint_path, note)
                _hand_out(holders, note)

    def _commit(self, key: Signer, drafts: Sequence[Event]) -> list[Event]:
        with self._writing():
            return self._write(key, drafts)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the write lock, and raise every failure as StepFailed."""
        try:
            with write_lock(self.folder):
                yield
        except OSError as error:
            place = error.filename or self.folder
            raise StepFailed(f"{place} cannot be written ({error.strerror}); {UNRECORDED}.") from error
        except StepFailed as error:
            raise StepFailed(f"{self.folder}: {UNRECORDED}. {error.message}", error.faults) from error

    def _write(self, key: Signer, drafts: Sequence[Event]) -> list[Event]:
        """Make one commit, under the lock: sign, write the lines, publish the checkpoint, hand it to the holders."""
        last, self._last = self._current(key), None  # after a failure the disk decides
        events = [stamp(event, last.place.size + number) for number, event in enumerate(drafts)]
        lines = [event.to_bytes() for event in events]
        frontier = last.frontier.copy()
        frontier.extend(leaf_hashes(lines))
        note = write_checkpoint(Checkpoint(frontier.size, frontier.root()), self.origin, key)
        data = b"".join(line + b"\n" for line in lines)
        place = last.place
        if place.offset >= SEGMENT_BYTES:
            place = Place(place.size, place.size, 0)
        with self._open_holders() as holders:
            write_lines(self.folder, place, data)
            write_atomic(self.checkpoint_path, note)
            _hand_out(holders, note)
        self._last = Proven(note, key.public_pem, Place(frontier.size, place.first, place.offset + len(data)), frontier)
        return events

    def _current(self, key: Signer) -> Proven:
        """Return where the log ends: as the last commit left it, or else proven from what stands on the disk."""
        last = self._last
        if last is not None and last.signer == key.public_pem and self._stands(last):
            return last
        if not self.exists():
            return self._begin(key)
        files = self._files()
        return self._grown(files, key) or self._settled(files, self._proven(files, key.public_pem))

    def _begin(self, key: Signer) -> Proven:
        """Begin a log with a checkpoint of no events, so that one without a checkpoint is never taken for a new one."""
        known = [f"{path} holds a checkpoint of it" for path in self.holders if read_holder(path)]
        if known:
            raise Tampered(f"{self.folder} is gone.", known, remedy=Remedy.LOG)
        note = write_checkpoint(Checkpoint(0, EMPTY_ROOT), self.origin, key)
        write_atomic(self.checkpoint_path, note)
        return Proven(note, key.public_pem, Place(), Frontier())

    def _stands(self, last: Proven) -> bool:
        """Tell whether nobody has written since. Altered older lines are found by `check`, not here."""
        try:
            size = os.stat(self.folder / segment_name(last.place.first)).st_size
        except FileNotFoundError:
            return False
        return size == last.place.offset and read_file(self.checkpoint_path) == last.note

    def _grown(self, files: Files, key: Signer) -> Proven | None:
        """Prove the log's end by what other processes added to what is known; None if that alone does not.

        The frontier of the last commit and the leaves since then give the root of the whole log, so that an append
        reads the new lines only. A holder with any other checkpoint needs roots of beginnings, and so the whole log.
        """
        last = self._last
        if last is None or any(note not in (None, files.note) for note in files.holders.values()):
            return None
        checkpoint = read_checkpoint(files.note, self.origin, key.public_pem, str(self.checkpoint_path))
        place, frontier = last.place, last.frontier.copy()
        try:
            for after, _, lines in read_lines(self.folder, files.segments, checkpoint.size, last.place):
                frontier.extend(leaf_hashes(lines))
                place = after
        except Tampered:
            return None  # the whole log is looked at, so that all faults are told
        whole = (frontier.size, frontier.root()) == checkpoint
        return (
            Proven(files.note, key.public_pem, place, frontier) if whole and not self._leftover(files, place) else None
        )

    def _settled(self, files: Files, proven: Proven) -> Proven:
        """Remove a segment that a crash left before its first commit; lines left over are cut off by the next write."""
        for first in files.segments:
            if first > proven.place.first:
                (self.folder / segment_name(first)).unlink()
        return proven

    @contextmanager
    def _open_holders(self) -> Iterator[list[Opened]]:
        """Open every holder before anything is written, so that one that cannot be written stops the commit early."""
        opened: list[Opened] = []
        try:
            for path, aside in self._asides:
                opened.append((path, aside, create_anew(aside)))
            yield opened
        finally:
            for _, _, file in opened:
                file.close()


def _hand_out(holders: Sequence[Opened], note: bytes) -> None:
    """Write the note to every holder. Not synced: a power cut takes the newest copy at most, and the log has it."""
    for path, aside, file in holders:
        try:
            if os.write(file.fileno(), note) != len(note):
                raise OSError(errno.ENOSPC, "the write stopped short")
            aside.rename(path)
        except OSError as error:
            raise StepFailed(
                f"{path} does not take the checkpoint ({error.strerror}); mend it or name another holder. "
                f"The event stands in the log but does not count as done."
            ) from error
