"""The log: what is done to it is found and named, a crash is not taken for damage, and no event is lost."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

import sdk.audit.group
import sdk.audit.lock
import sdk.audit.log
from sdk import crypto
from sdk.audit import Audit, Event, clock_faults, keep_until, read_checkpoint, verify_proof
from sdk.audit.checkpoint import write_checkpoint
from sdk.audit.export import to_jsonl, to_ocsf, to_ocsf_jsonl
from sdk.errors import InvalidInput, StepFailed, Tampered
from sdk.policy import AuditRules
from tests.audit_faults import FAULTS, TOO_LATE, Fault

KEY = crypto.LogKey.random()
ORIGIN = "domain-adaptation-sdk/0123456789abcdef"
RUN = {"run": "0" * 64}
DOCS = Path(__file__).resolve().parents[1] / "docs"


def add(audit: Audit, number: int = 0, key: crypto.LogKey = KEY, phase: str = "started") -> Event:
    return audit.append(key, "train", phase, RUN, "default@1", {"number": str(number)})


def log(folder: Path, events: int = 4, holders: int = 2) -> Audit:
    audit = Audit(folder / "audit", ORIGIN, [folder / f"holder-{number}" for number in range(holders)])
    for number in range(events):
        add(audit, number)
    return audit


def again(audit: Audit) -> Audit:
    """As another process sees it."""
    return Audit(audit.folder, audit.origin, audit.holders)


def segment(audit: Audit) -> Path:
    return sorted(audit.folder.glob("events-*.jsonl"))[-1]


def lines(audit: Audit) -> list[bytes]:
    return segment(audit).read_bytes().splitlines(keepends=True)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three events fill one."""
    monkeypatch.setattr(sdk.audit.log, "SEGMENT_BYTES", 700)


# what is written


def test_events_come_back_in_order_and_verified(tmp_path: Path) -> None:
    audit = log(tmp_path)
    events = again(audit).check(KEY.public_pem)
    assert [event.detail["number"] for event in events] == ["0", "1", "2", "3"]
    assert [event.seq for event in events] == [0, 1, 2, 3]
    assert events == audit.events()
    assert audit.verify(KEY.public_pem).notes() == []


def test_events_hold_who_what_when_and_where(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", ORIGIN)
    before = time.time()
    actor = ("Ada", f"key:{KEY.fingerprint}")
    audit.append(KEY, "approve", "refused", RUN, "default@1", {"why": "no"}, actor=actor, decision="deny")
    line = json.loads(segment(audit).read_bytes())
    assert {**line, "time": "", "host": ""} == {
        "seq": 0,
        "time": "",
        "actor": "Ada",
        "authentication": f"key:{KEY.fingerprint}",
        "host": "",
        "action": "approve",
        "phase": "refused",
        "decision": "deny",
        "objects": RUN,
        "policy": "default@1",
        "detail": {"why": "no"},
    }
    assert line["host"]
    [event] = audit.events()
    assert to_ocsf(event)["time"] / 1000 == pytest.approx(before, abs=60)
    assert segment(audit).read_bytes() == event.to_bytes() + b"\n"


def test_what_is_malformed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    audit = log(tmp_path)
    before = lines(audit)
    with pytest.raises(InvalidInput, match=r"objects\.run") as caught:
        audit.append(KEY, "train", "began", {"run": "short"}, "default@1", {})
    assert len(caught.value.faults) == 2
    with pytest.raises(InvalidInput, match="surrogate"):
        audit.append(KEY, "train", "started", RUN, "default@1", {"name": "\ud800"})
    assert lines(audit) == before


def test_a_log_without_events_has_a_checkpoint_too(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", ORIGIN)
    assert not audit.exists()
    with pytest.raises(Tampered, match="missing"):
        audit.checkpoint()
    with _fault("the disk is full")(audit), pytest.raises(StepFailed):
        add(audit)
    assert audit.exists()
    assert audit.check(KEY.public_pem) == []
    assert read_checkpoint(audit.checkpoint(), ORIGIN, KEY.public_pem, "checkpoint").size == 0


def test_segments_follow_each_other(tmp_path: Path, small_segments: None) -> None:
    audit = log(tmp_path, 10)
    names = [path.name for path in sorted(audit.folder.glob("events-*"))]
    assert names == [f"events-{first:08d}.jsonl" for first in (1, 4, 7, 10)]
    assert len(again(audit).check(KEY.public_pem)) == 10
    for seq in range(10):
        line, proof = audit.prove(seq)
        assert verify_proof(line, proof, ORIGIN, KEY.public_pem, "proof") == (audit.events()[seq], 10)


def test_a_key_is_replaced_without_a_gap(tmp_path: Path) -> None:
    audit, new = log(tmp_path), crypto.LogKey.random()
    old_note = audit.checkpoint()
    with pytest.raises(Tampered, match="not signed by the log's key"):
        add(audit, key=new)
    with pytest.raises(Tampered, match="not signed by the log's key"):
        audit.rotate(new.public_pem, new)
    audit.rotate(KEY.public_pem, new)
    add(audit, 4, new)
    assert len(again(audit).check(new.public_pem)) == 5
    assert audit.check_holder(old_note, KEY.public_pem, "old copy").size == 4
    with pytest.raises(Tampered, match="not signed by the log's key"):
        audit.check(KEY.public_pem)


# who writes at the same time


def test_threads_share_commits_and_lose_nothing(tmp_path: Path) -> None:
    audit, told = log(tmp_path, 0), []
    commits = []
    with patch.object(audit._group, "_commit", lambda *given: commits.append(1) or audit._commit(*given)):
        writers = [threading.Thread(target=lambda: told.extend(add(audit) for _ in range(6))) for _ in range(16)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert sorted(event.seq for event in told) == list(range(96))
    assert sorted(told, key=lambda event: event.seq) == again(audit).check(KEY.public_pem)
    assert len(commits) < 96


def test_processes_take_turns(tmp_path: Path) -> None:
    first, second = log(tmp_path), again(log(tmp_path, 0))
    for number in range(4, 10):
        add((first, second)[number % 2], number)
    assert [event.detail["number"] for event in first.check(KEY.public_pem)] == [str(n) for n in range(10)]


def test_a_writer_that_was_interrupted_while_it_waited_leaves_no_gap(tmp_path: Path) -> None:
    audit = log(tmp_path)
    inside, go_on, caught = threading.Event(), threading.Event(), []

    class Interrupted:
        """A lock whose second acquisition, the wait, is interrupted."""

        def __init__(self) -> None:
            self.taken = False

        def acquire(self) -> None:
            if self.taken:
                raise KeyboardInterrupt
            self.taken = True

    def slow(*given: object) -> object:
        inside.set()
        go_on.wait(10)
        return audit._commit(*given)  # type: ignore[arg-type]

    def stopped() -> None:
        try:
            add(audit)
        except KeyboardInterrupt:
            caught.append(1)

    with patch.object(audit._group, "_commit", slow):
        leader = threading.Thread(target=add, args=(audit,))
        leader.start()
        inside.wait(10)
        with patch.object(sdk.audit.group, "Lock", Interrupted):
            follower = threading.Thread(target=stopped)
            follower.start()
            follower.join()
        go_on.set()
        leader.join()
    assert caught == [1]
    add(audit)
    assert len(audit.check(KEY.public_pem)) == 6


def test_who_holds_the_lock_forever_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = log(tmp_path)
    monkeypatch.setattr(sdk.audit.lock, "LOCK_SECONDS", 0.05)
    with sdk.audit.lock.write_lock(audit.folder), pytest.raises(StepFailed, match="held by another process"):
        add(audit)
    add(audit, 4)
    assert len(audit.check(KEY.public_pem)) == 5


# what fails


def _fault(name: str) -> Fault:
    return dict(FAULTS)[name]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
@pytest.mark.parametrize("segments", [1, 2])
def test_what_cannot_be_recorded_is_told_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: Fault, segments: int
) -> None:
    audit = log(tmp_path)
    if segments == 2:  # the fault meets the first event of a new segment
        monkeypatch.setattr(sdk.audit.log, "SEGMENT_BYTES", 1)
    with fault(audit), pytest.raises(StepFailed, match=r"nothing is done without a record|does not count as done"):
        add(audit, 98)
    with fault(audit, after=1):
        add(audit, 4)
        with pytest.raises(StepFailed):
            add(audit, 99)
    told = [event.detail["number"] for event in again(audit).check(KEY.public_pem)]
    assert [number for number in told if number not in ("98", "99")] == ["0", "1", "2", "3", "4"]
    assert ("98" in told) == (name in TOO_LATE and not (segments == 2 and "folder" in name))
    assert ("99" in told) == ("98" in told)
    add(audit, 5)
    add(again(audit), 6)
    events = again(audit).check(KEY.public_pem)
    assert [event.detail["number"] for event in events][-2:] == ["5", "6"]
    assert audit.verify(KEY.public_pem).notes() == []


def test_what_cannot_be_read_is_not_taken_for_damage(tmp_path: Path) -> None:
    audit = log(tmp_path)

    original = os.open

    def unreadable(path: Path, *given: object, **more: object) -> int:
        if Path(path).suffix == ".jsonl":
            raise OSError(5, "Input/output error")
        return original(path, *given, **more)  # type: ignore[arg-type]

    with patch.object(os, "open", unreadable):
        for read in (audit.events, lambda: audit.check(KEY.public_pem), lambda: audit.prove(1)):
            with pytest.raises(StepFailed, match=r"00000001\.jsonl cannot be read"):
                read()
    with _fault("the checkpoint cannot be read")(audit, after=-1), pytest.raises(StepFailed, match="cannot be read"):
        audit.checkpoint()


def test_a_failure_is_told_to_all_who_shared_the_commit(tmp_path: Path) -> None:
    audit, told = log(tmp_path), []

    def write() -> None:
        try:
            add(audit)
        except StepFailed as error:
            told.append(error)

    with _fault("the disk is full")(audit):
        writers = [threading.Thread(target=write) for _ in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert len(told) == len({id(error) for error in told}) == 8
    assert len(audit.check(KEY.public_pem)) == 4


def test_no_acknowledged_event_is_lost_by_a_kill(tmp_path: Path) -> None:
    """A small version of tests/benchmarks/auditing.py kills."""
    script = Path(__file__).parent / "benchmarks" / "auditing.py"
    command = [sys.executable, str(script), "kills", "--kills", "24", "--folder", str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["faults"] == []
    assert found["acknowledged"] > 0


class Disk:
    """What a power cut leaves of a folder: only bytes and names that were synced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.synced: dict[int, bytes] = {}  # inode -> bytes
        self.names: dict[str, int] = {}
        self.cuts: list[dict[str, bytes]] = []

    def sync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path == self.folder:
            self.names = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
        elif path.parent == self.folder:
            self.synced[os.fstat(descriptor).st_ino] = path.read_bytes()
        self.cut()

    def cut(self) -> None:
        self.cuts.append({name: self.synced.get(inode, b"") for name, inode in self.names.items()})

    @contextmanager
    def watched(self) -> Iterator[None]:
        with patch.object(os, "fsync", self.sync), patch.object(os, "fdatasync", self.sync):
            yield


def test_no_acknowledged_event_is_lost_by_a_power_cut(tmp_path: Path, small_segments: None) -> None:
    audit = log(tmp_path, 0, holders=0)
    disk, acknowledged = Disk(audit.folder), []
    with disk.watched():
        for number in range(8):
            add(audit, number)
            acknowledged += [number] * (len(disk.cuts) - len(acknowledged))
            disk.cut()
    for place, (cut, known) in enumerate(zip(disk.cuts, [*acknowledged, 8], strict=False)):
        left = tmp_path / f"cut-{place}" / "audit"
        left.mkdir(parents=True)
        for name, data in cut.items():
            (left / name).write_bytes(data)
        after = Audit(left, ORIGIN)
        events = after.check(KEY.public_pem) if after.exists() else []
        assert len(events) >= known, f"cut {place}: {sorted(cut)}"
        assert [event.detail["number"] for event in events] == [str(n) for n in range(len(events))]
        add(after)
        assert len(after.check(KEY.public_pem)) == len(events) + 1


@pytest.mark.parametrize("keep", [0, 1, 50, -1, None])
def test_what_a_crash_left_is_no_event_and_goes(tmp_path: Path, keep: int | None) -> None:
    audit = log(tmp_path)
    note, before = audit.checkpoint(), segment(audit).read_bytes()
    add(audit, 98)
    torn = segment(audit).read_bytes()[len(before) :][:keep]
    segment(audit).write_bytes(before + torn)
    for path in (audit.checkpoint_path, *audit.holders):
        path.write_bytes(note)  # the crash came before the checkpoint
    assert len(again(audit).check(KEY.public_pem)) == 4
    assert bool(audit.verify(KEY.public_pem).notes()) == bool(torn)
    add(audit, 4)
    assert [event.detail["number"] for event in audit.check(KEY.public_pem)] == ["0", "1", "2", "3", "4"]


def test_zeros_of_a_power_cut_are_no_event_and_go(tmp_path: Path) -> None:
    audit = log(tmp_path)
    with segment(audit).open("ab") as file:
        file.write(bytes(300) + b'":"1"}\n')
    assert len(audit.check(KEY.public_pem)) == 4
    add(audit)
    assert len(audit.check(KEY.public_pem)) == 5


# what somebody does to it


@pytest.mark.parametrize("name", ["events-00000001.jsonl", "checkpoint"])
def test_no_flipped_byte_is_accepted(tmp_path: Path, name: str) -> None:
    audit = log(tmp_path, 3)
    path = audit.folder / name
    data = path.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(Tampered, match=re.escape(str(audit.folder))):
            audit.check(KEY.public_pem)
    path.write_bytes(data)
    assert len(audit.check(KEY.public_pem)) == 3


def _edit(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda found: [line.replace(old, new) for line in found]


def _forged(found: list[bytes]) -> bytes:
    return found[-1].replace(b'"seq":5', b'"seq":6').replace(b'"number":"5"', b'"number":"forged"')


LINES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "the tail is cut": (lambda found: found[:-1], "ends before event 5.* last 1 were cut off"),
    "the tail is cut within a line": (lambda found: [*found[:-1], found[-1][:-9]], "last 1 were cut off"),
    "the beginning is cut": (lambda found: found[1:], "holds event 1 where event 0 belongs"),
    "everything is cut": (lambda found: [], "last 6 were cut off"),
    "an event is removed": (lambda found: [*found[:2], *found[3:]], "holds event 3 where event 2 belongs"),
    "two events change places": (
        lambda found: [*found[:2], found[3], found[2], *found[4:]],
        "line 3 holds event 3 where event 2 belongs",
    ),
    "an event is doubled": (lambda found: [*found[:3], *found[2:]], "line 4 holds event 2 where event 3 belongs"),
    "the last event is doubled": (lambda found: [*found, found[-1]], "holds event 5 where event 6 belongs"),
    "a line is inserted": (lambda found: [*found[:3], b"{}\n", *found[3:]], "line 4 is not an event"),
    "an empty line is added": (lambda found: [*found, b"\n"], "is not an event"),
    "an event is edited": (_edit(b'"number":"2"', b'"number":"7"'), "an event from 0 to 5 was altered"),
    "an event is written otherwise": (_edit(b'{"action"', b'{ "action"'), "line 1: the bytes of event 0"),
    "line ends are others": (_edit(b"\n", b"\r\n"), "the bytes of event 0 have been altered"),
    "a hundred lines are added": (
        lambda found: [*found, *[_forged(found)] * 100],
        "100 lines beyond the 6 events that its checkpoint counts",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_what_is_done_to_the_lines_is_found_and_named(tmp_path: Path, name: str) -> None:
    audit = log(tmp_path, 6)
    change, named = LINES[name]
    before = lines(audit)
    segment(audit).write_bytes(b"".join(change(before)))
    for judge in (lambda: audit.check(KEY.public_pem), lambda: audit.verify(KEY.public_pem), lambda: add(again(audit))):
        with pytest.raises(Tampered, match="Keep a copy of it as evidence") as caught:
            judge()
        assert re.search(named, str(caught.value)), str(caught.value)
    segment(audit).write_bytes(b"".join(before))
    assert len(audit.check(KEY.public_pem)) == 6


def test_an_edit_is_placed_between_what_the_holders_know(tmp_path: Path) -> None:
    audit = log(tmp_path, 3)
    old = audit.checkpoint()
    for number in range(3, 6):
        add(audit, number)
    audit.holders[0].write_bytes(old)
    segment(audit).write_bytes(segment(audit).read_bytes().replace(b'"number":"4"', b'"number":"5"'))
    with pytest.raises(Tampered, match="an event from 3 to 5 was altered"):
        audit.check(KEY.public_pem)


def test_a_forged_event_beyond_the_checkpoint_is_no_event_and_goes(tmp_path: Path) -> None:
    audit = log(tmp_path, 6)
    segment(audit).write_bytes(b"".join([*lines(audit), _forged(lines(audit))]))
    assert len(again(audit).check(KEY.public_pem)) == 6
    assert "never acknowledged" in audit.verify(KEY.public_pem).notes()[0]
    with pytest.raises(InvalidInput, match="no event 6"):
        audit.prove(6)
    add(audit)
    assert b"forged" not in segment(audit).read_bytes()


def _segments(audit: Audit) -> list[Path]:
    return sorted(audit.folder.glob("events-*.jsonl"))


FILES: dict[str, tuple[Callable[[Audit], object], str]] = {
    "the first segment is gone": (lambda a: _segments(a)[0].unlink(), r"00000001\.jsonl is missing or was renamed"),
    "a segment is gone": (lambda a: _segments(a)[1].unlink(), "begins with event 6, but events-00000001"),
    "the last segment is gone": (lambda a: _segments(a)[2].unlink(), "the last 2 were cut off"),
    "a segment is renamed": (
        lambda a: _segments(a)[1].rename(a.folder / "events-00000005.jsonl"),
        r"events-00000005\.jsonl begins with event 4, but events-00000001\.jsonl ends before event 3",
    ),
    "two segments are exchanged": (
        lambda a: [
            _segments(a)[0].rename(a.folder / "x"),
            _segments(a)[0].rename(a.folder / "events-00000001.jsonl"),
            (a.folder / "x").rename(a.folder / "events-00000004.jsonl"),
        ],
        "holds event 3 where event 0 belongs",
    ),
    "bytes stand between segments": (
        lambda a: _segments(a)[0].write_bytes(_segments(a)[0].read_bytes() + b"{"),
        "does not end with a line end",
    ),
    "a segment is added": (
        lambda a: (a.folder / "events-00000009.jsonl").write_bytes(b"{}\n"),
        "beyond the 8 events",
    ),
    "a file is added": (lambda a: (a.folder / "notes.txt").write_text("x"), "notes.txt is not a file of the log"),
    "a segment is named otherwise": (
        lambda a: (a.folder / "events-000000009.jsonl").write_text(""),
        "events-000000009.jsonl is not a file of the log",
    ),
    "a segment is a link": (
        lambda a: (a.folder / "events-00000009.jsonl").symlink_to(_segments(a)[0]),
        "events-00000009.jsonl is not a file of the log",
    ),
    "the checkpoint is gone": (lambda a: a.checkpoint_path.unlink(), "checkpoint is missing"),
    "all is gone but the holders": (lambda a: shutil.rmtree(a.folder), "holder-1 holds a checkpoint of it"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_done_to_the_files_is_found_and_named(tmp_path: Path, small_segments: None, name: str) -> None:
    audit = log(tmp_path, 8)
    change, named = FILES[name]
    change(audit)
    for judge in (lambda: audit.check(KEY.public_pem), lambda: add(again(audit))):
        with pytest.raises(Tampered) as caught:
            judge()
        assert re.search(named, str(caught.value)), str(caught.value)


def _note(size: int, root: bytes, origin: str = ORIGIN, key: crypto.LogKey = KEY) -> bytes:
    return write_checkpoint(sdk.audit.Checkpoint(size, root), origin, key)


NOTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda note: b"", "is not a signed checkpoint"),
    "no signature": (lambda note: note.partition(b"\n\n")[0] + b"\n\n", "not signed by the log's key"),
    "another size": (lambda note: note.replace(b"\n4\n", b"\n3\n"), "signature of .*checkpoint does not match"),
    "another form of the size": (lambda note: note.replace(b"\n4\n", b"\n04\n"), "not a signed checkpoint"),
    "an extension line": (lambda note: note.replace(b"\n\n", b"\nmore\n\n"), "not a signed checkpoint"),
    "another key": (lambda note: _note(4, bytes(32), key=crypto.LogKey.random()), "not signed by the log's key"),
    "another log": (lambda note: _note(4, bytes(32), "other/log"), "a checkpoint of another log"),
    "another root": (lambda note: _note(4, bytes(32)), "an event from 0 to 3 was altered"),
    "a hyphen for the dash": (lambda note: note.replace("—".encode(), b"-"), "malformed signature line"),
    "not text": (lambda note: note + b"\xff", "not a signed checkpoint"),
    "too long": (lambda note: note + b"x" * 200_000, "not a signed checkpoint"),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_done_to_the_checkpoint_is_found_and_named(tmp_path: Path, name: str) -> None:
    audit = log(tmp_path, holders=0)
    change, named = NOTES[name]
    audit.checkpoint_path.write_bytes(change(audit.checkpoint()))
    for judge in (lambda: audit.check(KEY.public_pem), lambda: add(again(audit))):
        with pytest.raises(Tampered) as caught:
            judge()
        assert re.search(named, str(caught.value)), str(caught.value)


def test_a_witness_may_add_its_signature(tmp_path: Path) -> None:
    audit = log(tmp_path)
    witness = _note(4, bytes(32), "witness.example/1", crypto.LogKey.random()).partition(b"\n\n")[2]
    audit.checkpoint_path.write_bytes(audit.checkpoint() + witness)
    assert len(audit.check(KEY.public_pem)) == 4


def test_an_older_checkpoint_that_was_put_back_is_found(tmp_path: Path) -> None:
    audit = log(tmp_path)
    old = audit.checkpoint()
    add(audit)
    audit.checkpoint_path.write_bytes(old)
    for judge in (lambda: audit.check(KEY.public_pem), lambda: add(again(audit)), lambda: add(audit)):
        with pytest.raises(Tampered, match="an older checkpoint was put back; the events are there") as caught:
            judge()
    assert len(caught.value.faults) == 2, "each holder says so"
    shutil.copy(audit.holders[0], audit.checkpoint_path)  # what the error says
    assert len(audit.check(KEY.public_pem)) == 5


def test_a_log_put_back_from_an_older_copy_is_found(tmp_path: Path) -> None:
    audit = log(tmp_path)
    shutil.copytree(audit.folder, tmp_path / "copy")
    add(audit)
    shutil.rmtree(audit.folder)
    (tmp_path / "copy").rename(audit.folder)
    for judge in (lambda: audit.check(KEY.public_pem), lambda: add(again(audit))):
        with pytest.raises(Tampered, match="holder-0 holds a checkpoint of 5 events, the log counts 4"):
            judge()


def test_a_fork_by_the_keys_holder_is_found(tmp_path: Path) -> None:
    """The key's holder writes another history of the same length, signed like the first."""
    audit = log(tmp_path)
    shutil.rmtree(audit.folder)
    forked = Audit(audit.folder, ORIGIN)
    for number in (0, 1, 2, 7):
        add(forked, number)
    for judge in (lambda: audit.check(KEY.public_pem), lambda: add(again(audit))):
        with pytest.raises(Tampered, match="another root of the first 4 events: the log was forked") as caught:
            judge()
        assert len(caught.value.faults) == 2
    with pytest.raises(Tampered, match="model version 3"):
        forked.check_holder(audit.holders[0].read_bytes(), KEY.public_pem, "model version 3")


def test_every_holder_is_asked(tmp_path: Path) -> None:
    audit = log(tmp_path)
    audit.holders[0].unlink()
    audit.holders[1].write_bytes(audit.holders[1].read_bytes() + bytes(9))  # of a power cut
    assert audit.verify(KEY.public_pem).holders == {audit.holders[0]: None, audit.holders[1]: 4}
    assert "holder-0 holds no checkpoint" in audit.verify(KEY.public_pem).notes()[0]
    audit.holders[1].write_bytes(b"something else")
    with pytest.raises(Tampered, match="holder-1 is not a signed checkpoint"):
        audit.check(KEY.public_pem)


def test_a_holder_that_lags_behind_is_reported_and_catches_up(tmp_path: Path) -> None:
    audit = log(tmp_path)
    old = audit.checkpoint()
    add(audit)
    audit.holders[0].write_bytes(old)
    assert "holds a checkpoint of 4 of 5 events" in audit.verify(KEY.public_pem).notes()[0]
    add(again(audit))
    assert audit.verify(KEY.public_pem).notes() == []


def test_a_checkpoint_kept_anywhere_can_be_asked(tmp_path: Path) -> None:
    audit = log(tmp_path)
    old = audit.checkpoint()
    add(audit)
    assert audit.check_holder(old, KEY.public_pem, "model version 3").size == 4
    with pytest.raises(Tampered, match="model version 3 holds another root"):
        audit.check_holder(_note(4, bytes(32)), KEY.public_pem, "model version 3")
    with pytest.raises(Tampered, match="model version 3 holds a checkpoint of 9 events"):
        audit.check_holder(_note(9, bytes(32)), KEY.public_pem, "model version 3")


def test_a_clock_that_went_back_is_recorded_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = log(tmp_path)
    real = sdk.audit.log.stamp
    monkeypatch.setattr(
        sdk.audit.log, "stamp", lambda *given: real(*given).model_copy(update={"time": "2001-01-01T00:00:00.000+00:00"})
    )
    add(audit)
    monkeypatch.undo()
    add(audit)
    events = audit.check(KEY.public_pem)
    [fault] = clock_faults(events)
    assert fault.startswith("event 4 says 2001-01-01T00:00:00.000+00:00, before the ")
    assert clock_faults(events[:4]) == []


@pytest.mark.parametrize(
    ("time", "years", "until"),
    [("2026-11-26", 1, "2027-11-26"), ("2026-11-26", 6, "2032-11-26"), ("2028-02-29", 10, "2038-03-01")],
)
def test_events_are_kept_for_as_long_as_the_policy_says(tmp_path: Path, time: str, years: int, until: str) -> None:
    event = add(log(tmp_path)).model_copy(update={"time": f"{time}T23:59:59.999+00:00"})
    rules = AuditRules(retention_years=years, unrecorded_training="refuse")
    assert keep_until(event, rules).isoformat() == until


# one event


def test_one_event_is_proven_without_the_log(tmp_path: Path) -> None:
    audit = log(tmp_path, 7)
    line, proof = audit.prove(4)
    shutil.rmtree(audit.folder)
    event, size = verify_proof(line, proof, ORIGIN, KEY.public_pem, "promotion")
    assert (event.detail["number"], size) == ("4", 7)
    for number in ("0", "3", "5"):
        assert f'"number":"{number}"'.encode() not in line + proof


def test_no_flipped_byte_of_a_proof_is_accepted(tmp_path: Path) -> None:
    audit = log(tmp_path, 7)
    line, proof = audit.prove(4)
    for part, data in enumerate((line, proof)):
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1
            given = [(bytes(flipped), proof), (line, bytes(flipped))][part]
            with pytest.raises(Tampered, match="promotion"):
                verify_proof(*given, ORIGIN, KEY.public_pem, "promotion")


def test_a_proof_is_of_this_event_this_log_and_this_key(tmp_path: Path) -> None:
    audit = log(tmp_path, 7)
    line, proof = audit.prove(4)
    other, other_proof = audit.prove(5)
    for given in [
        (other, proof, ORIGIN, KEY.public_pem),
        (line, other_proof, ORIGIN, KEY.public_pem),
        (line + b"\n", proof, ORIGIN, KEY.public_pem),
        (line, proof + b"\n", ORIGIN, KEY.public_pem),
        (line, proof.replace(b"\nindex", b"\nextra eA==\nindex"), ORIGIN, KEY.public_pem),
        (line, proof, "other/log", KEY.public_pem),
        (line, proof, ORIGIN, crypto.LogKey.random().public_pem),
        (line, b"", ORIGIN, KEY.public_pem),
    ]:
        with pytest.raises(Tampered, match="promotion"):
            verify_proof(*given, "promotion")
    with pytest.raises(InvalidInput, match="Ed25519"):
        verify_proof(line, proof, ORIGIN, crypto.SigningKey.random().public_pem, "promotion")


def test_an_altered_log_proves_nothing(tmp_path: Path) -> None:
    audit = log(tmp_path, 7)
    segment(audit).write_bytes(segment(audit).read_bytes().replace(b'"number":"2"', b'"number":"7"'))
    with pytest.raises(Tampered, match=r"root of its events is not the checkpoint's.*sdk audit verify"):
        audit.prove(4)


def test_checkpoints_are_those_of_the_specification() -> None:
    """The example of C2SP tlog-checkpoint: its signature by a key that we lack is passed over, its form is read."""
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    with pytest.raises(Tampered, match="not signed by the log's key"):
        read_checkpoint(note, "example.com/behind-the-sofa", KEY.public_pem, "note")
    with pytest.raises(Tampered, match="of another log"):
        read_checkpoint(note, ORIGIN, KEY.public_pem, "note")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_the_checkpoint(tmp_path: Path) -> None:
    audit = log(tmp_path)
    body, _, signatures = audit.checkpoint().partition(b"\n\n")
    (tmp_path / "body").write_bytes(body + b"\n")
    (tmp_path / "signature").write_bytes(crypto.from_b64(signatures.split()[2].decode())[4:])
    (tmp_path / "log.pub").write_text(KEY.public_pem)
    command = "openssl pkeyutl -verify -rawin -pubin -inkey log.pub -in body -sigfile signature".split()
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "body").write_bytes(body.replace(b"\n4\n", b"\n5\n") + b"\n")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


# export


def test_lines_are_exported_as_they_stand(tmp_path: Path) -> None:
    audit = log(tmp_path)
    assert list(to_jsonl(audit.events())) == lines(audit)


def test_ocsf_events_have_what_the_class_requires(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", ORIGIN)
    for phase, decision in [("started", "permit"), ("finished", "permit"), ("refused", "deny"), ("failed", "")]:
        audit.append(KEY, "train", phase, RUN, "default@1", {}, ("Ada", f"key:{KEY.fingerprint}"), decision)
    exported = [json.loads(line) for line in to_ocsf_jsonl(audit.events())]
    for event in exported:
        assert event["class_uid"] == 6003
        assert event["category_uid"] == event["class_uid"] // 1000
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["api"]["operation"] == "train"
        assert event["actor"]["user"] == {"name": "Ada", "credential_uid": KEY.fingerprint}
        assert event["src_endpoint"]["hostname"]
        assert {"version", "product"} <= set(event["metadata"])
        assert event["severity_id"] in (1, 3)
        assert isinstance(event["time"], int)
        assert event["resources"] == [{"name": "run", "uid": "0" * 64}]
    assert [event["status_id"] for event in exported] == [99, 1, 2, 2]
    assert [event["unmapped"]["decision"] for event in exported] == ["permit", "permit", "deny", ""]


# what the rules ask for


def _coverage() -> list[list[str]]:
    text = (DOCS / "audit.md").read_text(encoding="utf-8").partition("<!-- coverage -->")[2]
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_coverage_table_names_fields_and_tests_that_exist() -> None:
    tests = {
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    rows = _coverage()
    assert len(rows) >= 20
    for rule, asked, fields, named in rows:
        assert rule
        assert asked
        found = re.findall(r"`(\w+)`", fields)
        assert found or fields == "the log as a whole"
        assert set(found) <= set(Event.model_fields), f"{rule}: {fields}"
        names = re.findall(r"`(\w+)`", named)
        assert names, f"{rule}: no test"
        assert set(names) <= tests, f"{rule}: {set(names) - tests}"
    rules = " ".join(row[0] for row in rows)
    for regime in ("164.312(b)", "11.10(e)", "17a-4", "PCI DSS 10", "EU AI Act art. 12", "art. 19", "SR 26-2"):
        assert regime in rules
    covered = {field for row in rows for field in re.findall(r"`(\w+)`", row[2])}
    assert covered == set(Event.model_fields), "a field that no rule asks for"


# bytes from outside


def test_bytes_from_outside_raise_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(6)
    audit = log(tmp_path, 3)
    line, proof = audit.prove(1)
    note = audit.checkpoint()
    pieces = [
        b"",
        b"\n",
        b"\n\n",
        b"\0",
        b"\xff",
        "—".encode(),
        b"9" * 5000,
        b"[" * 2000,
        note,
        line,
        proof,
        b"index 0",
    ]
    for _ in range(3000):
        data = bytearray(rng.choice([note, proof, line]))
        for _ in range(rng.randint(1, 4)):
            begin = rng.randrange(len(data) + 1)
            data[begin : begin + rng.randrange(9)] = rng.choice([*pieces, rng.randbytes(3)])
        given = bytes(data)
        for read in (
            lambda given=given: read_checkpoint(given, ORIGIN, KEY.public_pem, "x"),
            lambda given=given: verify_proof(line, given, ORIGIN, KEY.public_pem, "x"),
            lambda given=given: verify_proof(given, proof, ORIGIN, KEY.public_pem, "x"),
        ):
            with suppress(Tampered):
                read()
