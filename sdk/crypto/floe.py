"""FLOE: authenticated encryption of files of any size in segments that cannot be moved, left out or added.

The construction of https://c2sp.org/FLOE with its fixed choices: AES-256-GCM, HKDF-Expand-SHA-384, a 32-byte IV. What
is written here has segments of 1 MiB. All numbers are big-endian. A file is

header, 74 bytes    parameters (10: AEAD, KDF, segment length, IV length), the file's IV (32), header tag (32)
segments            length field (4), nonce (12), ciphertext, AES-GCM tag (16)

The header tag is derived from key, parameters, IV and additional data: it commits to them, so a file does not decrypt
to something else under another key. Each segment's number and whether it is the last are authenticated with it; all
but the last are of full length and have 0xFFFFFFFF as length field, the last has its own length. So segments cannot
change places, and a file that was cut at a segment does not decrypt. FLOE's comments below are the names of its text.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from sdk.crypto.secret import Secret
from sdk.errors import Remedy, StepFailed, Tampered

IV_BYTES = 32  # FLOE_IV_LEN
NONCE_BYTES = 12  # AEAD_IV_LEN
TAG_BYTES = 16  # AEAD_TAG_LEN
HEADER_TAG_BYTES = 32
MESSAGE_KEY_BYTES = 48  # KDF_KEY_LEN
HEADER_BYTES = 10 + IV_BYTES + HEADER_TAG_BYTES
LENGTH_BYTES = 4
NOT_LAST = 0xFFFFFFFF  # stands where the last segment has its length
OVERHEAD_BYTES = LENGTH_BYTES + NONCE_BYTES + TAG_BYTES  # of every segment

Buffer = bytes | bytearray | memoryview
Take = Callable[[int], memoryview]  # takes a count; returns so many of the next bytes, good until the next call


@dataclass(frozen=True)
class Parameters:
    """What of FLOE can vary. Other values than these are for known answers; no file of ours has them."""

    segment: int = 1 << 20  # ENC_SEG_LEN: bytes of an encrypted segment
    rotation: int = 20  # AEAD_ROTATION_MASK: 2**rotation segments share a key

    @property
    def payload(self) -> int:
        """Bytes of plaintext in every segment but the last."""
        return self.segment - OVERHEAD_BYTES

    def encode(self) -> bytes:
        """Encode for header and key derivation (PARAM_ENCODE); AES-256-GCM and HKDF-Expand-SHA-384 have number 0."""
        return struct.pack(">BBII", 0, 0, self.segment, IV_BYTES)


DEFAULT = Parameters()


def wipe(buffer: bytearray) -> None:
    """Overwrite with zeros. What the interpreter or the kernel copied before stays where it is."""
    zeros = memoryview(bytes(min(len(buffer), DEFAULT.segment)))
    with memoryview(buffer) as view:
        for start in range(0, len(view), len(zeros) or 1):
            part = view[start : start + len(zeros)]
            part[:] = zeros[: len(part)]


class _State:
    """The keys that follow from a key, an IV and additional data (startEncryption and startDecryption).

    Three levels: the caller's key; from it a message key for this file alone, by its random IV; from that a data key
    for every 2**rotation segments, an epoch. Nonces are random, so one key may serve a limited number of them only
    (SP 800-38D, 8.3); of the 2**20 of an epoch two are equal with a chance of less than 2**-56.
    """

    def __init__(self, key: Secret, iv: bytes, aad: bytes, parameters: Parameters) -> None:
        self._parameters, self._iv, self._aad = parameters, iv, aad
        self.tag = self._derive(key.expose(), b"HEADER_TAG:", HEADER_TAG_BYTES)
        self._message_key = self._derive(key.expose(), b"MESSAGE_KEY:", MESSAGE_KEY_BYTES)
        self._epoch = -1

    def _derive(self, key: bytes, purpose: bytes, length: int) -> bytes:
        info = self._parameters.encode() + self._iv + purpose + self._aad
        return HKDFExpand(hashes.SHA384(), length, info).derive(key)

    def aead(self, position: int) -> AESGCM:
        """Return the cipher of the segment at this position, counted from 0; its epoch's key is kept for the next."""
        epoch = position >> self._parameters.rotation
        if epoch != self._epoch:
            first = struct.pack(">Q", epoch << self._parameters.rotation)
            self._aead = AESGCM(self._derive(self._message_key, b"DEK:" + first, 32))
            self._epoch = epoch
        return self._aead


def _associated(position: int, last: bool) -> bytes:
    """Encode what a segment is authenticated with: its number, 8 bytes, and whether it is the last, 1 byte."""
    return struct.pack(">QB", position, last)


class _Encryptor:
    def __init__(self, key: Secret, aad: bytes, parameters: Parameters) -> None:
        iv = os.urandom(IV_BYTES)
        self._state = _State(key, iv, aad, parameters)
        self.header = parameters.encode() + iv + self._state.tag

    def segment(self, position: int, plaintext: memoryview, last: bool, out: memoryview) -> int:
        """Encrypt one segment into `out` (encryptSegment). Returns the number of bytes written."""
        length = len(plaintext) + OVERHEAD_BYTES
        nonce = os.urandom(NONCE_BYTES)
        struct.pack_into(">I12s", out, 0, length if last else NOT_LAST, nonce)
        aead = self._state.aead(position)
        aead.encrypt_into(nonce, plaintext, _associated(position, last), out[LENGTH_BYTES + NONCE_BYTES : length])
        return length


class _Decryptor:
    def __init__(self, header: bytes, key: Secret, aad: bytes, parameters: Parameters, name: str) -> None:
        encoded, self._name = parameters.encode(), name
        if len(header) != HEADER_BYTES or not header.startswith(encoded):
            raise Tampered(
                f"{name} has been altered: its header is not the one of a file that this package encrypts.",
                remedy=Remedy.COPY,
            )
        self._state = _State(key, header[len(encoded) : -HEADER_TAG_BYTES], aad, parameters)
        # in constant time: who could measure how much of a tag is right would find a right one byte by byte
        if not constant_time.bytes_eq(self._state.tag, header[-HEADER_TAG_BYTES:]):
            raise Tampered(
                f"{name} does not decrypt: its header, its package or its key is not the one of sealing.",
                remedy=Remedy.COPY,
            )

    def segment(self, position: int, segment: memoryview, last: bool, out: memoryview) -> None:
        """Decrypt one segment into `out` (decryptSegment), which may hold part of it even if Tampered is raised."""
        length, nonce = struct.unpack_from(">I12s", segment)
        if length != (len(segment) if last else NOT_LAST):
            raise Tampered(
                f"{self._name} has been altered: segment {position} is not where it was or was cut.",
                remedy=Remedy.COPY,
            )
        aead = self._state.aead(position)
        try:
            aead.decrypt_into(nonce, segment[LENGTH_BYTES + NONCE_BYTES :], _associated(position, last), out)
        except InvalidTag:
            raise Tampered(
                f"{self._name} has been altered: segment {position} does not decrypt.", remedy=Remedy.COPY
            ) from None


def take_from(buffer: Buffer) -> Take:
    """Make a Take of what is in memory already; nothing is copied."""
    view, place = memoryview(buffer), 0

    def take(count: int) -> memoryview:
        nonlocal place
        place += count
        return view[place - count : place]

    return take


def read_from(read_into: Callable[[memoryview], int], name: str, parameters: Parameters = DEFAULT) -> Take:
    """Make a Take of a file, through one buffer. `read_into` fills what it can and returns how much, 0 at the end.

    StepFailed if the file ends early or cannot be read.
    """
    buffer = memoryview(bytearray(parameters.segment))

    def take(count: int) -> memoryview:
        done = 0
        while done < count:
            try:
                read = read_into(buffer[done:count])
            except OSError as error:
                raise StepFailed(f"{name} cannot be read: {error.strerror}.") from error
            if not read:
                raise StepFailed(f"{name} became shorter while it was read; repeat when nothing else writes to it.")
            done += read
        return buffer[:count]

    return take


def encrypt(take: Take, size: int, key: Secret, aad: bytes, parameters: Parameters = DEFAULT) -> Iterator[memoryview]:
    """Encrypt the next `size` bytes, in parts; asking for the next part overwrites the one before."""
    encryptor = _Encryptor(key, aad, parameters)
    yield memoryview(encryptor.header)
    out = memoryview(bytearray(parameters.segment))
    for position, start in enumerate(range(0, max(1, size), parameters.payload)):  # no bytes: one empty last segment
        part = take(min(size - start, parameters.payload))
        yield out[: encryptor.segment(position, part, start + len(part) == size, out)]


def plain_size(size: int, name: str, parameters: Parameters = DEFAULT) -> int:
    """Return the bytes of plaintext in `size` bytes of ciphertext; Tampered for a size that no ciphertext has."""
    body = size - HEADER_BYTES
    segments = -(-body // parameters.segment)
    if body < OVERHEAD_BYTES or body - (segments - 1) * parameters.segment < OVERHEAD_BYTES:
        raise Tampered(f"{name} has been altered: it ends within a segment.", remedy=Remedy.COPY)
    return body - segments * OVERHEAD_BYTES


def decrypt_into(
    take: Take, size: int, key: Secret, aad: bytes, name: str, out: bytearray, parameters: Parameters = DEFAULT
) -> None:
    """Decrypt the next `size` bytes into `out`, which has `plain_size` bytes.

    Tampered if a bit is off; then, and after any other error, `out` holds zeros.
    """
    try:
        decryptor = _Decryptor(bytes(take(HEADER_BYTES)), key, aad, parameters, name)
        with memoryview(out) as view:
            for position, start in enumerate(range(HEADER_BYTES, size, parameters.segment)):
                part = take(min(size - start, parameters.segment))
                begin = position * parameters.payload
                target = view[begin : begin + len(part) - OVERHEAD_BYTES]
                decryptor.segment(position, part, start + len(part) == size, target)
    except BaseException:
        wipe(out)
        raise


def decrypt(take: Take, size: int, key: Secret, aad: bytes, name: str, parameters: Parameters = DEFAULT) -> bytearray:
    """Decrypt as `decrypt_into`, into memory of its own. Fresh memory costs more time than decrypting into it."""
    out = bytearray(plain_size(size, name, parameters))
    decrypt_into(take, size, key, aad, name, out, parameters)
    return out
