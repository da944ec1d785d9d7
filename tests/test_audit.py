"""The trail: every damaged byte is noticed, a crash is not taken for damage."""

import json
from pathlib import Path

import pytest

from sdk import crypto
from sdk.audit import Audit
from sdk.errors import Tampered

KEY = crypto.SigningKey.random()


def trail(folder: Path, events: int = 4) -> Audit:
    audit = Audit(folder / "audit.jsonl")
    for number in range(events):
        audit.append(KEY, "train", "started", {"run": "0" * 64}, "default@1", {"number": str(number)})
    return audit


def test_events_come_back_in_order_and_verified(tmp_path: Path) -> None:
    events = trail(tmp_path).check(KEY.public_pem)
    assert [event.detail["number"] for event in events] == ["0", "1", "2", "3"]
    assert [event.seq for event in events] == [0, 1, 2, 3]
    assert events[2].previous == events[1].hash


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.head"])
def test_no_flipped_byte_is_accepted(tmp_path: Path, name: str) -> None:
    audit = trail(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1
        path.write_bytes(bytes(flipped))
        with pytest.raises(Tampered, match="audit"):
            audit.check(KEY.public_pem)
    path.write_bytes(data)
    assert len(audit.check(KEY.public_pem)) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],  # cut tail
        lambda lines: lines[1:],  # cut head
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],  # order
        lambda lines: [*lines, lines[-1]],  # one more
        lambda lines: [lines[0], lines[1], lines[3]],  # one less
        lambda lines: [],
    ],
)
def test_events_cannot_be_removed_added_or_moved(tmp_path: Path, change) -> None:
    audit = trail(tmp_path)
    lines = audit.path.read_bytes().splitlines(keepends=True)
    audit.path.write_bytes(b"".join(change(lines)))
    with pytest.raises(Tampered):
        audit.check(KEY.public_pem)


def test_an_event_by_another_key_is_refused(tmp_path: Path) -> None:
    audit = trail(tmp_path)
    audit.append(crypto.SigningKey.random(), "approve", "finished", {}, "default@1", {})
    with pytest.raises(Tampered, match="line 5"):
        audit.check(KEY.public_pem)


@pytest.mark.parametrize("keep", [1, 50, -1])
def test_a_line_that_a_crash_cut_short_is_dropped_and_the_trail_goes_on(tmp_path: Path, keep: int) -> None:
    audit = trail(tmp_path)
    head, log = audit.head_path.read_bytes(), audit.path.read_bytes()
    audit.append(KEY, "train", "finished", {}, "default@1", {})
    torn = audit.path.read_bytes()[len(log) :][:keep]
    audit.path.write_bytes(log + torn)
    audit.head_path.write_bytes(head)  # the crash came before the head moved
    assert len(audit.check(KEY.public_pem)) == 4
    audit.append(KEY, "train", "failed", {}, "default@1", {})
    assert [event.phase for event in audit.check(KEY.public_pem)][-2:] == ["started", "failed"]


def test_an_event_whose_head_was_not_yet_written_is_kept(tmp_path: Path) -> None:
    audit = trail(tmp_path)
    head = audit.head_path.read_bytes()
    audit.append(KEY, "train", "finished", {}, "default@1", {})
    audit.head_path.write_bytes(head)
    assert len(audit.check(KEY.public_pem)) == 5
    audit.append(KEY, "evaluate", "started", {}, "default@1", {})
    assert len(audit.check(KEY.public_pem)) == 6


def test_events_hold_who_when_and_where(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    audit.append(KEY, "approve", "finished", {}, "default@1", {}, actor=("Ada", f"key:{KEY.fingerprint}"))
    line = json.loads(audit.path.read_bytes())["event"]
    assert line["actor"] == "Ada"
    assert line["authentication"] == f"key:{KEY.fingerprint}"
    assert line["time"].endswith("+00:00")
