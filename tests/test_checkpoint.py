"""Checkpoints, proofs and proofs of consistency: what is just accepted, and what is just not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sdk import crypto
from sdk.audit import (
    Checkpoint,
    Event,
    check_continues,
    read_body,
    read_checkpoint,
    read_consistency,
    read_index,
    verify_proof,
    write_consistency,
)
from sdk.audit.checkpoint import MAX_NOTE_BYTES, PROOF_HEAD, write_checkpoint, write_proof
from sdk.crypto import b64
from sdk.errors import InvalidInput, Tampered
from tests.clean_releases import grown, prove, tree_root

KEY, WITNESS = crypto.LogKey.random(), crypto.LogKey.random()
ORIGIN = "domain-adaptation-sdk/0123456789abcdef"
NOTE = write_checkpoint(Checkpoint(4, bytes(32)), ORIGIN, KEY)
BODY, _, OURS = NOTE.decode().partition("\n\n")
HINT = crypto.from_b64(OURS.split()[2])[:4]
SIGNED = b64(HINT + bytes(64))


def read(note: str) -> Checkpoint:
    return read_checkpoint(note.encode(), ORIGIN, KEY.public_pem, "note")


def refused(note: str, message: str) -> None:
    with pytest.raises(Tampered, match=message):
        read(note)


# -- notes ------------------------------------------------------------------------------------------------------------


def test_a_note_says_size_and_root() -> None:
    assert read_body(NOTE, ORIGIN, "note") == read(NOTE.decode()) == Checkpoint(4, bytes(32))
    assert read_body(write_checkpoint(Checkpoint(0, bytes(32)), ORIGIN, KEY), ORIGIN, "note").size == 0
    with pytest.raises(Tampered, match="of another log than other/log"):
        read_body(NOTE, "other/log", "note")


@pytest.mark.parametrize("size", ["", "-1", "-2", "+4", "04", " 4", "4 ", "1_0", "9" * 20, "four", "٤"])
def test_a_size_has_one_form(size: str) -> None:
    note = NOTE.decode().replace("\n4\n", f"\n{size}\n", 1)
    with pytest.raises(Tampered, match="note is not a signed checkpoint"):
        read_body(note.encode(), ORIGIN, "note")


@pytest.mark.parametrize("root", [bytes(31), bytes(33), b""])
def test_a_root_is_a_sha_256(root: bytes) -> None:
    with pytest.raises(Tampered, match="note is not a signed checkpoint"):
        read_body(write_checkpoint(Checkpoint(4, root), ORIGIN, KEY), ORIGIN, "note")


def test_a_note_has_sixteen_signatures_and_no_more() -> None:
    witness = f"— witness.example {b64(bytes(68))}\n"
    assert read(NOTE.decode() + witness * 15)
    refused(NOTE.decode() + witness * 16, "is not a signed checkpoint")


def test_a_note_has_128_kibibytes_and_no_more() -> None:
    room = 128 * 1024 - len(NOTE) - len("— witness.example \n".encode())
    name = "x" * (room % 4)  # base64 comes in fours
    largest = NOTE.decode() + f"— witness.example{name} {b64(bytes(room // 4 * 3))}\n"
    assert len(largest.encode()) == MAX_NOTE_BYTES == 131_072
    assert read(largest)
    refused(largest.replace("witness.example", "witness.examples"), "is not a signed checkpoint")


@pytest.mark.parametrize(
    "line",
    [
        f"- witness.example {SIGNED}",
        f"—  {SIGNED}",
        "— witness.example ",
        f"— witness.example {b64(HINT)}",
        "— witness.example not-base64",
        "—",
        "",
    ],
    ids=["another dash", "no name", "no signature", "a hint alone", "not base64", "a dash alone", "nothing"],
)
def test_a_malformed_signature_line(line: str) -> None:
    refused(f"{NOTE.decode()}{line}\n", "malformed signature line")


def test_signatures_of_others_are_passed_over_whatever_they_are() -> None:
    for line in (
        f"— witness.example {b64(HINT + b'x')}",  # our key's hint under another name
        f"— {ORIGIN} {b64(bytes(4) + b'x')}",  # another key's hint under our name
    ):
        assert read(f"{NOTE.decode()}{line}\n")
        refused(f"{BODY}\n\n{line}\n", "is not signed by the log's key")
    refused(f"{NOTE.decode()}— {ORIGIN} {SIGNED}\n", "does not match")


def test_only_an_ed25519_key_is_one_of_a_log() -> None:
    other = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    lines = KEY.public_pem.strip().splitlines()
    longer = "\n".join([lines[0], b64(crypto.from_b64(lines[1]) + b"x"), lines[2]])
    for pem in (other.decode(), longer, crypto.SigningKey.random().public_pem, "no key", ""):
        with pytest.raises(InvalidInput, match="not an Ed25519 key"):
            read_checkpoint(NOTE, ORIGIN, pem, "note")


# -- proofs -----------------------------------------------------------------------------------------------------------


def line(seq: int) -> bytes:
    return Event(
        seq=seq,
        time="2026-11-01T09:00:00.000+00:00",
        actor="Olga",
        authentication="os-user",
        host="host",
        action="train",
        phase="started",
        decision="",
        objects={},
        policy="default@1",
        detail={},
    ).to_bytes()


def test_an_event_stands_at_its_own_number() -> None:
    lines = [line(seq) for seq in (0, 1, 5, 3)]
    for place in (0, 1, 3):
        event, size = verify_proof(lines[place], prove(lines, place, ORIGIN, KEY), ORIGIN, KEY.public_pem, "proof")
        assert (event.seq, size) == (place, 4)
    with pytest.raises(Tampered, match="event 5 stands at the place of event 2"):
        verify_proof(lines[2], prove(lines, 2, ORIGIN, KEY), ORIGIN, KEY.public_pem, "proof")


def test_a_proof_has_as_many_hashes_as_the_deepest_tree_and_no_more() -> None:
    assert read_index(write_proof(7, [bytes(32)] * 63, NOTE), "proof") == (7, NOTE)
    for more in (64, 65, 1000):
        with pytest.raises(Tampered, match="proof is not a proof"):
            read_index(write_proof(7, [bytes(32)] * more, NOTE), "proof")


def test_the_head_of_a_proof_has_128_kibibytes_and_no_more() -> None:
    start = f"{PROOF_HEAD}\nindex 7\n"
    room = 128 * 1024 - len(start)
    start = start.replace("7", "7" * (1 + room % 4))
    largest = start + b64(bytes(room // 4 * 3))
    assert len(largest) == MAX_NOTE_BYTES
    assert read_index(f"{largest}\n\n".encode() + NOTE, "proof")[1] == NOTE
    with pytest.raises(Tampered, match="proof is not a proof"):
        read_index(f"{largest.replace('index ', 'index 7')}\n\n".encode() + NOTE, "proof")


@pytest.mark.parametrize(
    "head",
    [
        "",
        PROOF_HEAD,
        f"{PROOF_HEAD}\nindex",
        f"{PROOF_HEAD}\nindex 07",
        f"{PROOF_HEAD}\nindex -1",
        f"{PROOF_HEAD}\nplace 7",
        f"{PROOF_HEAD[:-1]}2\nindex 7",
        f"{PROOF_HEAD}\nindex 7\nnot base64",
        f"{PROOF_HEAD}\nindex 7\n\N{EM DASH}",
    ],
)
def test_what_is_no_proof(head: str) -> None:
    assert read_index(f"{PROOF_HEAD}\nindex 7\n\n".encode() + NOTE, "proof") == (7, NOTE)
    with pytest.raises(Tampered, match="proof is not a proof"):
        read_index(f"{head}\n\n".encode() + NOTE, "proof")
    with pytest.raises(Tampered, match="proof is not a proof"):
        read_index(f"{PROOF_HEAD}\nindex 7\n".encode(), "proof")


# -- proofs of consistency --------------------------------------------------------------------------------------------

LINES = [b"%d" % number for number in range(9)]


def at(size: int) -> Checkpoint:
    return Checkpoint(size, tree_root(LINES[:size]))


def test_a_log_goes_on_from_what_it_was() -> None:
    for size in range(1, 10):
        proofs = read_consistency(write_consistency({size: grown(LINES, size)}), "proofs") if size < 9 else {}
        check_continues(at(size), at(9), proofs, "log")
    with pytest.raises(Tampered, match="the log has fewer events than it had"):
        check_continues(at(9), at(8), {}, "log")
    with pytest.raises(Tampered, match="nothing shows that the log of 9 events goes on from that of 5"):
        check_continues(at(5), at(9), {4: grown(LINES, 4)}, "log")
    with pytest.raises(Tampered, match="no continuation"):
        check_continues(Checkpoint(5, bytes(32)), at(9), {5: grown(LINES, 5)}, "log")
    with pytest.raises(Tampered, match="two histories of the same 9 events"):
        check_continues(Checkpoint(9, bytes(32)), at(9), {}, "log")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"5":1}',
        b'{"05":[]}',
        b'{"-5":[]}',
        b'{"5":[1]}',
        b'{"5":["x"]}',
        b'{"5": []}',
        b'{"5":[]}\n',
        write_consistency({5: [bytes(32)] * 65}),
        b"[" * 100_000,
    ],
)
def test_what_is_no_file_of_such_proofs(data: bytes) -> None:
    with pytest.raises(Tampered, match="proofs holds no proofs of consistency"):
        read_consistency(data, "proofs")


def test_the_longest_proof_of_consistency_is_read() -> None:
    longest = {5: [bytes(32)] * 64}
    assert read_consistency(write_consistency(longest), "proofs") == longest
