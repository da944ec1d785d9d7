"""Signed checkpoints and proofs, in the formats of C2SP: tlog-checkpoint, signed-note, tlog-proof.

A checkpoint says how many events the log has and what their tree's root is. It is a signed note of these lines:

ORIGIN                      the log's name
SIZE                        how many events, in decimal
ROOT                        of their tree, base64
(an empty line)
— ORIGIN SIGNATURE          one line for each signer: base64 of 4 bytes of key hash and the signature of the lines above

A proof is a text file: its head, `index N`, the hashes of the path in base64, an empty line, a checkpoint. It shows one
event to be in the log of that checkpoint; whoever has the log's public key and origin checks it without the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from sdk.audit.event import Event, parse
from sdk.audit.tree import HASH_BYTES, check_inclusion, leaf_hashes
from sdk.crypto import Signer, b64, fingerprint, from_b64, verify
from sdk.errors import InvalidInput, Remedy, Tampered

ED25519_NOTE = b"\1"  # signature type of signed-note
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")  # what precedes the 32 bytes in SubjectPublicKeyInfo, RFC 8410
MAX_SIGNATURES = 16  # signed-note: what a verifier must at least accept
MAX_NOTE_BYTES = 128 * 1024  # 16 signatures of the largest kind
MAX_PROOF_HASHES = 63  # the depth of a tree of 2**63 leaves
PROOF_HEAD = "c2sp.org/tlog-proof@v1"
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(NamedTuple):
    size: int
    root: bytes


def _public_bytes(public_pem: str) -> bytes:
    """Return the 32 bytes of an Ed25519 key; InvalidInput for a key of another kind."""
    body = "".join(public_pem.strip().splitlines()[1:-1])
    try:
        spki = from_b64(body)
    except ValueError:
        spki = b""
    if len(spki) != len(ED25519_SPKI) + 32 or not spki.startswith(ED25519_SPKI):
        raise InvalidInput("The log's key is not an Ed25519 key; make one with `sdk keys new`.")
    return spki[len(ED25519_SPKI) :]


def _key_hash(origin: str, public_pem: str) -> bytes:
    """Return signed-note's key ID: a hint of 4 bytes that says which signature to check, and proves nothing."""
    return sha256(origin.encode() + b"\n" + ED25519_NOTE + _public_bytes(public_pem)).digest()[:4]


def write_checkpoint(checkpoint: Checkpoint, origin: str, key: Signer) -> bytes:
    """Sign a checkpoint, as a note; StepFailed when the key's holder does not sign."""
    body = f"{origin}\n{checkpoint.size}\n{b64(checkpoint.root)}\n"
    signature = _key_hash(origin, key.public_pem) + key.sign(body.encode())
    return f"{body}\n— {origin} {b64(signature)}\n".encode()


def read_body(note: bytes, origin: str, name: str) -> Checkpoint:
    """Read what the note says, unproven; Tampered when it is not a checkpoint of this origin."""
    return _read(note, origin, name)[0]


def _read(note: bytes, origin: str, name: str) -> tuple[Checkpoint, bytes, list[str]]:
    """Return the checkpoint, its signed bytes and its signature lines.

    The format allows extension lines; we write none and accept none, so a note has one meaning only.
    """
    try:
        text = note.decode() if len(note) <= MAX_NOTE_BYTES else ""
        named, size, root, empty, *signatures, end = text.split("\n")
        checkpoint = Checkpoint(int(size) if SIZE.fullmatch(size) else -1, from_b64(root))
    except ValueError:
        raise Tampered(f"{name} is not a signed checkpoint.", remedy=Remedy.LOG) from None
    if empty or end or checkpoint.size < 0 or len(checkpoint.root) != HASH_BYTES or len(signatures) > MAX_SIGNATURES:
        raise Tampered(f"{name} is not a signed checkpoint.", remedy=Remedy.LOG)
    if named != origin:
        raise Tampered(f"{name} is a checkpoint of another log than {origin}.", remedy=Remedy.LOG)
    return checkpoint, text.partition("\n\n")[0].encode() + b"\n", signatures


def read_checkpoint(note: bytes, origin: str, public_pem: str, name: str) -> Checkpoint:
    """Read what the note says, proven by its signature; Tampered names `name`.

    Signatures by other keys are passed over, as signed-note asks: a witness may add its own. One that claims to be by
    this key and does not verify is an error, also where another one verifies.
    """
    checkpoint, body, signatures = _read(note, origin, name)
    ours, proven = _key_hash(origin, public_pem), False
    for line in signatures:
        mark, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        try:
            signature = from_b64(encoded)
        except ValueError:
            signature = b""
        if mark != "—" or not signer or len(signature) <= len(ours):
            raise Tampered(f"{name} has a malformed signature line.", remedy=Remedy.LOG)
        if signer == origin and signature.startswith(ours):
            verify(public_pem, body, signature[len(ours) :], name)
            proven = True
    if not proven:
        raise Tampered(
            f"{name} is not signed by the log's key.", remedy=Remedy.LOG, expected=f"key {fingerprint(public_pem)}"
        )
    return checkpoint


def write_proof(index: int, hashes: Sequence[bytes], note: bytes) -> bytes:
    """Write the proof that event `index` is in the log of a checkpoint. `hashes`: from the leaf's sibling upwards."""
    lines = [PROOF_HEAD, f"index {index}", *map(b64, hashes), "", ""]
    return "\n".join(lines).encode() + note


def verify_proof(line: bytes, proof: bytes, origin: str, public_pem: str, name: str) -> tuple[Event, int]:
    """Prove without the log that an event is in it. Returns the event, and how many events the log had then.

    line: the event's bytes without the line end; proof: as `Audit.prove` writes it; Tampered names `name`.
    """
    number, hashes, note = _read_proof(proof, name)
    checkpoint = read_checkpoint(note, origin, public_pem, name)
    check_inclusion(leaf_hashes([line])[0], number, checkpoint.size, hashes, checkpoint.root, name)
    event = parse(line, name)
    if event.seq != number:
        raise Tampered(f"{name}: event {event.seq} stands at the place of event {number}.", remedy=Remedy.PROOF)
    return event, checkpoint.size


def read_index(proof: bytes, name: str) -> tuple[int, bytes]:
    """Return which event a proof is about, and the note with its checkpoint; nothing is proven yet."""
    number, _, note = _read_proof(proof, name)
    return number, note


def _read_proof(proof: bytes, name: str) -> tuple[int, list[bytes], bytes]:
    """Return the event's number, the hashes from its sibling upwards, and the checkpoint's note."""
    head, separator, note = proof.partition(b"\n\n")
    if not separator or len(head) > MAX_NOTE_BYTES:
        raise Tampered(f"{name} is not a proof.", remedy=Remedy.PROOF)
    try:
        first, index, *encoded = head.decode("ascii").split("\n")
        hashes = [from_b64(text) for text in encoded[: MAX_PROOF_HASHES + 1]]
    except ValueError:
        raise Tampered(f"{name} is not a proof.", remedy=Remedy.PROOF) from None
    word, _, number = index.partition(" ")
    if first != PROOF_HEAD or word != "index" or not SIZE.fullmatch(number) or len(hashes) > MAX_PROOF_HASHES:
        raise Tampered(f"{name} is not a proof.", remedy=Remedy.PROOF)
    return int(number), hashes, note
