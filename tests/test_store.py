"""Files are whole or absent, and read back only as they were written."""

import multiprocessing
from pathlib import Path

import pytest

from sdk.errors import InvalidInput, OutOfOrder, StepFailed, Tampered
from sdk.files.store import Records, check_ref, file_ref, folder_refs, locked, shipped, write_atomic
from sdk.records import FileRef, LossPoint, Recall, Record, Run, canonical_json
from tests.waiting import SECONDS


class Note(Record):
    text: str


def test_records_are_named_by_their_digest_and_come_back_equal(tmp_path: Path) -> None:
    records = Records(tmp_path)
    note = Note(text="Grüße 你好", inputs={"a": "0" * 64})
    digest = records.put(note)
    assert records.get(Note, digest) == note
    assert digest == note.digest


def test_a_record_with_a_flipped_byte_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    records = Records(tmp_path)
    digest = records.put(Note(text="x"))
    path = tmp_path / f"{digest}.json"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(Tampered, match=digest):
            records.get(Note, digest)
    path.write_bytes(data)
    with pytest.raises(Tampered, match="not of run"):
        records.get(Run, digest)
    path.unlink()
    with pytest.raises(Tampered, match="missing"):
        records.get(Note, digest)


def test_file_refs_notice_size_bytes_links_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.bin"
    write_atomic(path, b"abc")
    ref = file_ref(path, tmp_path)
    assert check_ref(tmp_path, ref) == path
    for data in (b"abd", b"ab", b""):
        path.write_bytes(data)
        with pytest.raises(Tampered, match=r"a\.bin"):
            check_ref(tmp_path, ref)
    path.unlink()
    with pytest.raises(Tampered, match="missing"):
        check_ref(tmp_path, ref)
    (tmp_path / "b.bin").write_bytes(b"abc")
    path.symlink_to(tmp_path / "b.bin")
    with pytest.raises(Tampered, match="missing"):
        check_ref(tmp_path, ref)
    with pytest.raises(InvalidInput, match="links"):
        folder_refs(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a//b", "./a", "a\\b"])
def test_file_refs_stay_inside_their_folder(path: str) -> None:
    with pytest.raises(ValueError, match="stays inside"):
        FileRef(path=path, size=0, sha256="0" * 64)


def test_a_disk_that_cannot_be_written_is_a_step_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StepFailed, match="cannot be written"):
        write_atomic(tmp_path / "file" / "below", b"x")


def test_canonical_json_is_one_form_for_equal_values_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
    with pytest.raises(ValueError, match="finite"):
        LossPoint(step=1, loss=float("nan"), learning_rate=0.1)
    assert Recall(planted=1, found=1).model_dump() == {"planted": 1, "found": 1}


def _try_lock(path: Path, answer: "multiprocessing.Queue[str]") -> None:
    try:
        with locked(path):
            answer.put("got it")
    except OutOfOrder as error:
        answer.put(str(error))


def test_a_second_process_is_told_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[str] = context.Queue()
    with locked(tmp_path / "lock"):
        other = context.Process(target=_try_lock, args=(tmp_path / "lock", answer))
        other.start()
        assert "Another process" in answer.get(timeout=SECONDS)
        other.join()
    other = context.Process(target=_try_lock, args=(tmp_path / "lock", answer))
    other.start()
    assert answer.get(timeout=SECONDS) == "got it"
    other.join()


def test_shipped_folders_are_there() -> None:
    assert (shipped("policies") / "default.yaml").is_file()
    assert (shipped("domains") / "finance" / "domain.yaml").is_file()
