"""Reading a log, proving it whole, proving one event of it, and naming what is wrong with it.

What is proven, in this order, and named in one error with all its faults:

1. the folder holds segments, checkpoint and lock, and nothing else
2. the checkpoint is this log's, signed by its key
3. the segments follow each other and hold as many events as the checkpoint counts
4. the root of the tree over their lines is the checkpoint's: no event was altered, moved, removed, added or doubled
5. beyond the checkpoint stands at most what one commit can leave that a crash cut off
6. every holder's checkpoint is of a beginning of this very log
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sdk.audit.checkpoint import Checkpoint, read_body, read_checkpoint, write_proof
from sdk.audit.event import Event, parse, places
from sdk.audit.lock import LOCK, read_lock
from sdk.audit.segments import (
    CHECKPOINT,
    START,
    Place,
    leftover_faults,
    list_segments,
    read_leftover,
    read_lines,
    read_part,
    segment_name,
)
from sdk.audit.tree import Frontier, Range, consistency_ranges, inclusion_ranges, leaf_hashes, range_frontiers
from sdk.errors import InvalidInput, Remedy, StepFailed, Tampered
from sdk.files.regular_files import NOTE_BYTES, read_if_there
from sdk.files.store import ASIDE
from sdk.wording import counted


class Files(NamedTuple):
    """What stood on the disk at one moment, under the lock."""

    note: bytes
    segments: dict[int, int]  # first event -> bytes
    holders: dict[Path, bytes | None]  # None: there is none yet


class Verification(NamedTuple):
    """What was proven of a log."""

    checkpoint: Checkpoint
    holders: dict[Path, int | None]  # events that each holder's checkpoint counts; None: there is none yet
    leftover: int  # bytes of a commit that a crash cut off before anybody was told of it

    def notes(self) -> list[str]:
        """Say what is no fault, but worth knowing."""
        notes = []
        for path, size in self.holders.items():
            if size is None:
                notes.append(f"{path} holds no checkpoint; the next event puts one there.")
            elif size < self.checkpoint.size:
                notes.append(
                    f"{path} holds a checkpoint of {size} of {counted(self.checkpoint.size, 'event')}: "
                    f"it was put back, or its last copy failed."
                )
        if self.leftover:
            notes.append(
                f"{counted(self.leftover, 'byte')} beyond the checkpoint, never acknowledged; "
                "the next event removes what stands there."
            )
        return notes


class Proven(NamedTuple):
    """Where a proven log ends, so that it can be continued."""

    note: bytes
    signer: str  # public key of the note, PEM
    place: Place
    frontier: Frontier


class History(NamedTuple):
    """What was proven under one checkpoint: events by their lines, and the log's earlier sizes."""

    lines: list[bytes]
    inclusion: list[bytes]  # a C2SP tlog-proof for each line
    consistency: dict[int, list[bytes]]  # earlier size -> hashes


class LogReader:
    """The log in one folder. `events` reads; `check` and `verify` prove; `prove` shows one event."""

    def __init__(self, folder: Path, origin: str, holders: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.origin = origin
        self.holders = tuple(holders)
        self.checkpoint_path = folder / CHECKPOINT

    def exists(self) -> bool:
        """Tell whether there is anything of a log, whole or not."""
        before = (LOCK, CHECKPOINT + ASIDE)  # what an interrupted beginning leaves
        return self.folder.is_dir() and any(path.name not in before for path in self.folder.iterdir())

    def checkpoint(self) -> bytes:
        """Return the newest signed checkpoint: what is to be kept elsewhere. Tampered when there is none."""
        return self._look().note

    def events(self) -> list[Event]:
        """Read every event that the checkpoint counts, in order; nothing is proven of them."""
        files = self._look()
        size = read_body(files.note, self.origin, str(self.checkpoint_path)).size
        events: list[Event] = []
        for _, name, lines in read_lines(self.folder, files.segments, size):
            events += [parse(line, f"{self.folder / name} line {number}") for number, line in enumerate(lines, 1)]
        for number, event in enumerate(events):
            if event.seq != number:
                raise Tampered(
                    f"{self.folder}: event {event.seq} stands where event {number} belongs.", remedy=Remedy.LOG
                )
        return events

    def check(self, public_pem: str, signed: Mapping[str, Checkpoint] | None = None) -> list[Event]:
        """Read every event, after all that `verify` proves. Tampered names every fault.

        signed: name -> what the log was once, as others have signed it; each must be a beginning of it, as a holder's.
        """
        lines: list[bytes] = []
        self._proven(self._look(), public_pem, lines, signed)
        return [parse(line, f"{self.folder} event {number}") for number, line in enumerate(lines)]

    def verify(self, public_pem: str) -> Verification:
        """Prove the log by its hashes, without reading what the events say. Tampered names every fault."""
        files = self._look()
        proven = self._proven(files, public_pem)
        held = {
            path: None if note is None else read_body(note, self.origin, str(path)).size
            for path, note in files.holders.items()
        }
        leftover = self._leftover(files, proven.place)
        return Verification(Checkpoint(proven.frontier.size, proven.frontier.root()), held, len(leftover))

    def prove(self, seq: int) -> tuple[bytes, bytes]:
        """Return the event's line, and the proof for `verify_proof` that it is in the log (a C2SP tlog-proof)."""
        proven = self.prove_history([seq], [])
        return proven.lines[0], proven.inclusion[0]

    def prove_history(self, seqs: Sequence[int], sizes: Iterable[int]) -> History:
        """Prove events, and that the log goes on from what it was at earlier sizes, all under one checkpoint."""
        files = self._look()
        checkpoint = read_body(files.note, self.origin, str(self.checkpoint_path))
        unknown = [seq for seq in seqs if not 0 <= seq < checkpoint.size]
        if unknown:
            raise InvalidInput(
                f"There is no event {unknown[0]}; the log has {counted(checkpoint.size, 'event')}, counted from 0."
            )
        wanted: dict[int, bytes] = {}

        def hashes() -> Iterator[list[bytes]]:
            for place, _, lines in read_lines(self.folder, files.segments, checkpoint.size):
                first = place.size - len(lines)
                wanted.update({seq: lines[seq - first] for seq in seqs if first <= seq < place.size})
                yield leaf_hashes(lines)

        whole = (0, checkpoint.size)
        paths = [inclusion_ranges(seq, checkpoint.size) for seq in seqs]
        grown = {size: consistency_ranges(size, checkpoint.size) for size in sizes if 0 < size < checkpoint.size}
        frontiers = range_frontiers(hashes(), {whole, *chain(*paths, *grown.values())})
        if frontiers[whole].root() != checkpoint.root:
            raise Tampered(
                f"{self.folder} has been altered: the root of its events is not the checkpoint's.",
                remedy=Remedy.LOG,
                expected=checkpoint.root.hex(),
                found=frontiers[whole].root().hex(),
            )

        def roots(parts: Sequence[Range]) -> list[bytes]:
            return [frontiers[part].root() for part in parts]

        return History(
            [wanted[seq] for seq in seqs],
            [write_proof(seq, roots(path), files.note) for seq, path in zip(seqs, paths, strict=True)],
            {size: roots(parts) for size, parts in grown.items()},
        )

    def check_holder(self, note: bytes, public_pem: str, name: str) -> Checkpoint:
        """Tampered, naming `name`, unless this checkpoint, kept anywhere, is of a beginning of the log.

        For holders that are no files; public_pem is the key that signed it, which may since have been replaced.
        """
        held = {name: read_checkpoint(note, self.origin, public_pem, name)}
        files = self._look()
        checkpoint = read_body(files.note, self.origin, str(self.checkpoint_path))
        known, end = self._frontiers(files, checkpoint.size, held)
        faults = _holder_faults(held, checkpoint, known, self._leftover(files, end))
        if faults:
            raise self._tampered(faults)
        return held[name]

    def _look(self) -> Files:
        """Read what stands on the disk. StepFailed when it cannot be read: then nothing is known of it."""
        try:
            with read_lock(self.folder):
                return self._files()
        except OSError as error:
            raise StepFailed(f"{error.filename or self.folder} cannot be read: {error.strerror}.") from error

    def _files(self) -> Files:
        """Read as `_look`, for whoever holds the lock. Tampered when there is no checkpoint."""
        segments = list_segments(self.folder) if self.folder.is_dir() else {}
        note = read_file(self.checkpoint_path)
        holders = {path: read_holder(path) for path in self.holders}
        if note is None:
            named = [f"{path} holds a checkpoint of it" for path, held in holders.items() if held]
            raise Tampered(f"{self.checkpoint_path} is missing.", named, remedy=Remedy.LOG)
        return Files(note, segments, holders)

    def _proven(
        self,
        files: Files,
        public_pem: str,
        keep: list[bytes] | None = None,
        signed: Mapping[str, Checkpoint] | None = None,
    ) -> Proven:
        """Prove steps 2 to 6 of the module's list; `keep` gets every line of the log."""
        checkpoint = read_checkpoint(files.note, self.origin, public_pem, str(self.checkpoint_path))  # 2
        held, faults = self._held(files, public_pem)
        held |= signed or {}
        try:
            known, end = self._frontiers(files, checkpoint.size, held, keep)  # 3
        except Tampered as error:
            raise self._tampered([error.finding, *self._line_faults(files), *faults]) from None
        if known[checkpoint.size].root() != checkpoint.root:  # 4
            faults += self._line_faults(files) or [_altered(checkpoint.size, held, known)]
        leftover = self._leftover(files, end)
        faults += leftover_faults(self.folder, leftover, checkpoint.size)  # 5
        faults += _holder_faults(held, checkpoint, known, leftover)  # 6
        if faults:
            raise self._tampered(faults)
        return Proven(files.note, public_pem, end, known[checkpoint.size])

    def _frontiers(
        self, files: Files, size: int, held: Mapping[str, Checkpoint], keep: list[bytes] | None = None
    ) -> tuple[dict[int, Frontier], Place]:
        """Compute the tree of the first `size` events and of as many as each holder counts, in one pass.

        Returns number of events -> frontier, and where the last event ends.
        """
        end = START

        def hashes() -> Iterator[list[bytes]]:
            nonlocal end
            for place, _, lines in read_lines(self.folder, files.segments, size):
                end = place
                if keep is not None:
                    keep.extend(lines)
                yield leaf_hashes(lines)

        sizes = {size, *(min(count, size) for count, _ in held.values())}
        frontiers = range_frontiers(hashes(), {(0, count) for count in sizes})
        return {count: frontiers[0, count] for count in sizes}, end

    def _held(self, files: Files, public_pem: str) -> tuple[dict[str, Checkpoint], list[str]]:
        """Return the holders' checkpoints, and what is wrong with those that are none of this log."""
        held, faults = {}, []
        for path, note in files.holders.items():
            try:
                if note is not None:
                    held[str(path)] = read_checkpoint(note, self.origin, public_pem, str(path))
            except Tampered as error:
                faults.append(error.finding)
        return held, faults

    def _leftover(self, files: Files, place: Place) -> bytes:
        return read_leftover(self.folder, files.segments, place)

    def _tampered(self, faults: list[str]) -> Tampered:
        return Tampered(f"{self.folder} does not verify.", faults, remedy=Remedy.LOG)

    def _line_faults(self, files: Files) -> list[str]:
        """List what the lines themselves tell: their form, and the numbers in them."""
        faults, seq = [], 0
        for first, size in files.segments.items():
            path = self.folder / segment_name(first)
            wrong, seq = places(read_part(path, 0, size).split(b"\n")[:-1], seq, str(path))
            faults += wrong
        return faults


def read_file(path: Path) -> bytes | None:
    return read_if_there(path, NOTE_BYTES, Remedy.LOG)


def read_holder(path: Path) -> bytes | None:
    """Read a holder's checkpoint, or None. Of what was not synced a power cut can leave nothing, or zeros."""
    return (read_file(path) or b"").strip(b"\0") or None


def _altered(size: int, held: Mapping[str, Checkpoint], known: Mapping[int, Frontier]) -> str:
    """Say between which events one was altered, as far as the holders tell: its form is right, the root is not.

    A holder whose older root still fits shows that everything before it is as it was.
    """
    sound = [n for n, root in held.values() if n < size and known[n].root() == root]
    return f"an event from {max(sound, default=0)} to {size - 1} was altered: its form is right, the root is not."


def _holder_faults(
    held: Mapping[str, Checkpoint], checkpoint: Checkpoint, known: Mapping[int, Frontier], leftover: bytes
) -> list[str]:
    """List every holder whose checkpoint is not of a beginning of the log, and what that means.

    A holder may count more events than the checkpoint where a crash came between the two, or where an older checkpoint
    was put back: then the lines left over, added to the tree, lead to the holder's root.
    """
    size, faults = checkpoint.size, []
    for name, (count, root) in held.items():
        if count > size:
            longer = known[size].copy()
            longer.extend(leaf_hashes(leftover.split(b"\n")[: count - size]))
            if (longer.size, longer.root()) == (count, root):
                meaning = f"an older checkpoint was put back; the events are there: put a copy of {name} in its place"
            else:
                meaning = "the newest events were cut off, or an older copy of the log was put back"
            faults.append(f"{name} holds a checkpoint of {counted(count, 'event')}, the log counts {size}: {meaning}.")
        elif root != (checkpoint.root if count == size else known[count].root()):
            faults.append(
                f"{name} holds another root of the first {counted(count, 'event')}: "
                "the log was forked, replaced or altered."
            )
    return faults
