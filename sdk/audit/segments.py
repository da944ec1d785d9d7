"""The log's files: lines in segments, read from any place on and appended by one write that is checked and synced.

A segment is named after its first event, counted from 1: events-00000001.jsonl. Everywhere else events are counted
from 0. A segment ends where a commit ended that brought it to SEGMENT_BYTES, so its name follows from the one before.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sdk.audit.event import places
from sdk.audit.group import MAX_COMMIT
from sdk.audit.lock import LOCK
from sdk.errors import Remedy, Tampered
from sdk.files.durable import fsync_folder, open_own
from sdk.files.regular_files import LOG_PART_BYTES, read_span
from sdk.files.store import ASIDE
from sdk.wording import counted

SEGMENT_BYTES = 64 * 2**20  # a segment that has reached it gets no more events
CHECKPOINT = "checkpoint"
_SEGMENT = re.compile(r"events-([0-9]{8,})\.jsonl")


class Place(NamedTuple):
    """A place between two events."""

    size: int = 0  # events before it
    first: int = 0  # the first event of its segment
    offset: int = 0  # bytes before it in its segment


START = Place()


def segment_name(first: int) -> str:
    return f"events-{first + 1:08d}.jsonl"


def list_segments(folder: Path) -> dict[int, int]:
    """Return first event -> bytes of every segment, in order. Tampered names every file that is no part of a log."""
    segments, strange = {}, []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _SEGMENT.fullmatch(entry.name)
            first = int(match[1]) - 1 if match else -1
            if not entry.is_file(follow_symlinks=False):
                strange.append(f"{entry.name} is not a file of the log")
            elif first >= 0 and segment_name(first) == entry.name:
                segments[first] = entry.stat().st_size
            elif entry.name not in (CHECKPOINT, CHECKPOINT + ASIDE, LOCK):
                strange.append(f"{entry.name} is not a file of the log")
    if strange:
        raise Tampered(
            f"{folder} holds what the log did not write; move it elsewhere.", sorted(strange), remedy=Remedy.LOG
        )
    return dict(sorted(segments.items()))


def read_part(path: Path, begin: int, end: int) -> bytes:
    """Read the bytes from `begin` to `end`. StepFailed when it cannot be read: then nothing is known of it."""
    if end - begin > LOG_PART_BYTES:
        raise Tampered(
            f"{path} is larger than a segment of the log can be.",
            remedy=Remedy.LOG,
            expected=f"at most {LOG_PART_BYTES} bytes",
            found=f"{end} bytes",
        )
    return read_span(path, begin, end, Remedy.LOG)


def read_lines(
    folder: Path, segments: Mapping[int, int], size: int, place: Place = START
) -> Iterator[tuple[Place, str, list[bytes]]]:
    """Read the lines from the place on to the first `size` events, segment by segment, each with the place after it.

    Tampered when there are fewer, or when a segment does not begin where the one before ends.
    """
    while place.size < size:
        name = segment_name(place.first)
        begun = place.first in segments
        *lines, rest = read_part(folder / name, place.offset, segments[place.first]).split(b"\n") if begun else [b""]
        after = place.size + len(lines)  # events before the next segment, and so the key under which it is listed
        if after < size and (after not in segments or after == place.first):
            raise Tampered(_gap(folder, segments, size, place, after), remedy=Remedy.LOG)
        if after < size and rest:
            raise Tampered(
                f"{folder / name} does not end with a line end; bytes were added or removed.", remedy=Remedy.LOG
            )
        del lines[size - place.size :]  # beyond the checkpoint: left over, and none of the log's events
        offset = place.offset + sum(map(len, lines)) + len(lines)
        place = Place(place.size + len(lines), place.first, offset)
        yield place, name, lines
        if place.size < size:
            place = Place(after, after, 0)


def _gap(folder: Path, segments: Mapping[int, int], size: int, place: Place, after: int) -> str:
    """Say what is wrong where the segment at `place` ends at event `after` and no segment goes on from there."""
    later = [first for first in segments if first > place.first]
    name = segment_name(place.first)
    if place.first not in segments:
        return f"{folder / name} is missing or was renamed: it holds the events from {place.first} on."
    if later:
        return (
            f"{folder / segment_name(later[0])} begins with event {later[0]}, but {name} ends before event {after}: "
            f"a segment is missing or was renamed, or lines were removed or inserted in {name}."
        )
    return (
        f"{folder / name} ends before event {after}, but the checkpoint counts {counted(size, 'event')}: "
        f"the last {size - after} were cut off."
    )


def read_leftover(folder: Path, segments: Mapping[int, int], place: Place) -> bytes:
    """Read what stands beyond the last event that the checkpoint counts."""
    firsts = [first for first in segments if first > place.first]
    begun = b"".join(read_part(folder / segment_name(first), 0, segments[first]) for first in firsts)
    if place.first not in segments:
        return begun
    return read_part(folder / segment_name(place.first), place.offset, segments[place.first]) + begun


def leftover_faults(folder: Path, leftover: bytes, size: int) -> list[str]:
    """List what no crash leaves beyond the checkpoint. A crash leaves one commit's events, of which nobody was told.

    The last may be cut short, and after a power cut there may be zeros where bytes never reached the disk.
    """
    if leftover.count(b"\n") > MAX_COMMIT:
        return [
            f"{folder} holds {leftover.count(bytes([10]))} lines beyond the {size} events that its checkpoint counts: "
            f"an older checkpoint was put back, or lines were added. Put the newest checkpoint from a holder in place."
        ]
    lines = leftover.partition(b"\0")[0].split(b"\n")[:-1]
    return places(lines, size, f"{folder}, beyond the {size} events that its checkpoint counts,")[0]


def write_lines(folder: Path, place: Place, data: bytes) -> None:
    """Make the lines durable at the place; what stood behind it goes. OSError if that fails."""
    path = folder / segment_name(place.first)
    with open_own(path, os.O_WRONLY | os.O_CREAT) as file:
        descriptor = file.fileno()
        if os.fstat(descriptor).st_size != place.offset:
            os.ftruncate(descriptor, place.offset)
        if os.pwrite(descriptor, data, place.offset) != len(data):  # a full disk is short before it is an error
            raise OSError(errno.ENOSPC, "the write stopped short")
        getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has only the latter
    if not place.offset:
        fsync_folder(folder)  # the new file's name
