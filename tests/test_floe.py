"""FLOE opens what five other implementations wrote, and nothing that has been touched."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sdk.crypto import Secret, floe
from sdk.errors import StepFailed, Tampered

VECTORS = Path(__file__).parents[2] / "shared" / "data" / "vectors" / "floe"
KEY, AAD = Secret.random(), b"This is AAD"
SMALL = floe.Parameters(segment=64, rotation=2)


def encrypt(plaintext: bytes, key: Secret = KEY, aad: bytes = AAD, parameters: floe.Parameters = floe.DEFAULT) -> bytes:
    return b"".join(map(bytes, floe.encrypt(floe.take_from(plaintext), len(plaintext), key, aad, parameters)))


def decrypt(sealed: bytes, key: Secret = KEY, aad: bytes = AAD, parameters: floe.Parameters = floe.DEFAULT) -> bytes:
    return bytes(floe.decrypt(floe.take_from(sealed), len(sealed), key, aad, "weights", parameters))


def _parameters(name: str) -> floe.Parameters:
    """As the reference implementations' tests name them; the rotation of their test is 2 bits."""
    if "rotation" in name:
        return floe.Parameters(segment=40, rotation=2)
    return floe.Parameters(segment=4096 if "4K" in name else 64 if "_64_" in name else 40)


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the known answers of FLOE are not here")
def test_known_answers_of_five_implementations() -> None:
    found = sorted(VECTORS.glob("*_ct.txt"))
    for path in found:
        sealed = bytes.fromhex(path.read_text().strip())
        plaintext = bytes.fromhex(path.with_name(path.name.replace("_ct", "_pt")).read_text().strip())
        assert decrypt(sealed, Secret(bytes(32)), AAD, _parameters(path.name)) == plaintext, path.name
    assert len(found) == 17


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 127, 128, 129, 640, 1000])
def test_every_size_comes_back(size: int) -> None:
    plaintext = random.Random(size).randbytes(size)
    sealed = encrypt(plaintext, parameters=SMALL)
    assert decrypt(sealed, parameters=SMALL) == plaintext
    assert floe.plain_size(len(sealed), "weights", SMALL) == size


def test_segments_of_a_mebibyte_with_a_fresh_iv_each() -> None:
    plaintext = bytes(3 * floe.DEFAULT.payload)
    sealed = encrypt(plaintext)
    assert sealed[:10] == bytes.fromhex("0000 00100000 00000020".replace(" ", ""))
    assert len(sealed) == floe.HEADER_BYTES + 3 * (1 << 20)
    nonces = {sealed[floe.HEADER_BYTES + place * (1 << 20) :][4:16] for place in range(3)}
    assert len(nonces) == 3
    assert encrypt(plaintext)[:74] != sealed[:74]


def test_keys_rotate_after_the_segments_of_the_mask() -> None:
    state = floe._State(KEY, bytes(32), AAD, SMALL)
    keys = [state.aead(position) for position in range(9)]
    assert len({id(key) for key in keys}) == 3
    assert state.aead(8) is keys[8]


@pytest.mark.parametrize(("size", "parameters"), [(100, SMALL), (0, SMALL), (64, SMALL)])
def test_every_flipped_bit_and_every_cut_is_refused(size: int, parameters: floe.Parameters) -> None:
    sealed = encrypt(bytes(size), parameters=parameters)
    for place in range(len(sealed)):
        for bit in range(8):
            flipped = bytearray(sealed)
            flipped[place] ^= 1 << bit
            with pytest.raises(Tampered, match="weights"):
                decrypt(bytes(flipped), parameters=parameters)
        with pytest.raises(Tampered, match="weights"):
            decrypt(sealed[:place], parameters=parameters)
    with pytest.raises(Tampered, match="weights"):
        decrypt(sealed + b"\0", parameters=parameters)


def _parts(sealed: bytes) -> tuple[bytes, list[bytes]]:
    body = sealed[floe.HEADER_BYTES :]
    return sealed[: floe.HEADER_BYTES], [body[start : start + 64] for start in range(0, len(body), 64)]


REARRANGED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "swapped": lambda parts: [parts[1], parts[0], *parts[2:]],
    "first left out": lambda parts: parts[1:],
    "middle left out": lambda parts: [parts[0], *parts[2:]],
    "last left out": lambda parts: parts[:-1],
    "last twice": lambda parts: [*parts, parts[-1]],
    "first twice": lambda parts: [parts[0], *parts],
    "last first": lambda parts: [parts[-1], *parts[:-1]],
    "a key's segments before": lambda parts: [*parts[4:8], *parts[:4], *parts[8:]],
    "last said to be in the middle": lambda parts: [*parts[:-1], b"\xff" * 4 + parts[-1][4:]],
    "middle said to be the last": lambda parts: [*parts[:2], struct.pack(">I", 64) + parts[2][4:]],
    "none": lambda parts: [],
}


@pytest.mark.parametrize("name", REARRANGED)
@pytest.mark.parametrize("size", [320, 300])  # with a whole last segment, and with a short one
def test_segments_cannot_be_moved_left_out_or_added(name: str, size: int) -> None:
    header, parts = _parts(encrypt(bytes(range(250)) + bytes(size - 250), parameters=SMALL))
    assert decrypt(header + b"".join(parts), parameters=SMALL)
    with pytest.raises(Tampered, match="weights"):
        decrypt(header + b"".join(REARRANGED[name](parts)), parameters=SMALL)


def test_segments_of_two_files_under_one_key_cannot_be_mixed() -> None:
    (header, first), (_, second) = (_parts(encrypt(bytes(200), parameters=SMALL)) for _ in range(2))
    for place in range(len(first)):
        mixed = [*first[:place], second[place], *first[place + 1 :]]
        with pytest.raises(Tampered, match=f"segment {place}"):
            decrypt(header + b"".join(mixed), parameters=SMALL)


def test_another_key_other_data_and_other_parameters_are_refused() -> None:
    sealed = encrypt(bytes(100))
    for key, aad in ((Secret.random(), AAD), (KEY, b"other"), (KEY, b"")):
        with pytest.raises(Tampered, match="header"):
            decrypt(sealed, key, aad)
    for field in (b"\1" + sealed[1:], sealed[:1] + b"\1" + sealed[2:], sealed[:2] + b"\xff" * 4 + sealed[6:]):
        with pytest.raises(Tampered, match="header"):
            decrypt(field)
    with pytest.raises(Tampered, match="header"):
        decrypt(encrypt(bytes(10), parameters=SMALL))


def test_a_key_commits_to_its_ciphertext() -> None:
    """Plain AES-GCM opens a crafted ciphertext under two keys; FLOE's header tag keeps that from being tried."""
    sealed = bytearray(encrypt(bytes(50), parameters=SMALL))
    other = Secret.random()
    state = floe._State(other, bytes(sealed[10:42]), AAD, SMALL)
    sealed[74 + 16 :] = AESGCM(bytes(32)).encrypt(bytes(12), bytes(len(sealed) - 74 - 32), None)
    with pytest.raises(Tampered, match="header"):
        decrypt(bytes(sealed), other, AAD, SMALL)
    assert state.tag != bytes(sealed[42:74])


def test_a_failed_decryption_leaves_nothing_behind() -> None:
    sealed = bytearray(encrypt(b"secret " * 100, parameters=SMALL))
    sealed[-1] ^= 1  # the last of all, so that the rest has been decrypted
    out = bytearray(b"?" * 700)
    with pytest.raises(Tampered):
        floe.decrypt_into(floe.take_from(sealed), len(sealed), KEY, AAD, "weights", out, SMALL)
    assert out == bytes(700)


def test_a_file_that_becomes_shorter_is_a_failure_and_not_an_answer() -> None:
    sealed = encrypt(bytes(500), parameters=SMALL)
    left = bytearray(sealed[:-10])

    def read_into(buffer: memoryview) -> int:
        count = min(len(buffer), len(left), 17)  # a read may be short
        buffer[:count] = left[:count]
        del left[:count]
        return count

    with pytest.raises(StepFailed, match="became shorter"):
        floe.decrypt(floe.read_from(read_into, "weights"), len(sealed), KEY, AAD, "weights", SMALL)
    left[:] = sealed
    assert floe.decrypt(floe.read_from(read_into, "weights"), len(sealed), KEY, AAD, "weights", SMALL) == bytes(500)


def test_random_bytes_are_never_an_answer() -> None:
    dice = random.Random(7)
    for _ in range(3000):
        sealed = dice.randbytes(dice.randrange(400))
        if dice.random() < 0.5:
            sealed = floe.DEFAULT.encode() + sealed
        with pytest.raises(Tampered):
            decrypt(sealed)


@pytest.mark.parametrize("size", [0, 1, 5, (1 << 20) + 3])
def test_wiping_leaves_zeros(size: int) -> None:
    buffer = bytearray(b"\xff" * size)
    floe.wipe(buffer)
    assert buffer == bytes(size)
