"""Evidence: what shows, from files alone, that a release was approved and promoted.

provenance.dsse.json      how the package came about, by the trainer's key
ring/0001.dsse.json …     every key ring, each signed by an owner of the one before
policy.json               the policy that the package was sealed under, canonical JSON
policy-before.json        the policy that this one replaced, where it did
report.sha256             digest of the report that the deciders saw
decisions/0001.dsse.json … every decision over the package, in the order of the log
promotion.json            the promotion's line of the audit log
promotion.proof           proof that the line is in the log, with a signed checkpoint (C2SP tlog-proof)
package.json              the package's record, which the sealing's event names
sealing.json, .proof      the sealing's line of the audit log, and its proof under the same checkpoint
consistency.json          proofs that the log of this checkpoint goes on from what it was when owners signed key rings
published.json            the same from what it was when releases were published: for machines that have served one
data-key.json             the package's data key under the encryption key in force, where that is not the manifest's
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.crypto.keyring import Member, Ring
from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.files.regular_files import ENVELOPE_BYTES, read_if_there, read_regular
from sdk.files.store import RINGS, write_atomic
from sdk.policy import Policy
from sdk.records import canonical_json, sha256

POLICY, REPORT, LINE, PROOF, DATA_KEY = (
    "policy.json",
    "report.sha256",
    "promotion.json",
    "promotion.proof",
    "data-key.json",
)
BEFORE, RECORD, SEALING, SEALING_PROOF, CONSISTENCY, PUBLISHED = (
    "policy-before.json",
    "package.json",
    "sealing.json",
    "sealing.proof",
    "consistency.json",
    "published.json",
)
DECISIONS = "decisions"


@dataclass(frozen=True)
class Sealing:
    """What shows when a package was sealed, and that the log has only grown since what others have seen of it."""

    record: bytes  # the package's, canonical JSON
    line: bytes
    proof: bytes
    consistency: bytes
    published: bytes


@dataclass(frozen=True)
class Evidence:
    rings: tuple[bytes, ...]
    policy: bytes
    report: str
    decisions: tuple[bytes, ...]
    line: bytes
    proof: bytes
    data_key: bytes | None = None
    sealing: Sealing | None = None  # None: published by 0.1.0
    policy_before: bytes | None = None


def find_trainer(ring: Ring, fingerprint: str, name: str) -> Member:
    """Find who signed the package that is called `name`: one of the key ring's trainers, then or now."""
    member = ring.find(fingerprint)
    if member is None or "trainer" not in member.roles:
        raise Tampered(
            f"{name} is signed by a key that is no trainer's in the key ring.",
            remedy=Remedy.COPY,
            expected="a trainer's key",
            found=fingerprint if re.fullmatch("[0-9a-f]{64}", fingerprint) else "no fingerprint",
        )
    return member


def _files(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    yield from ((f"{RINGS}/{i:04}.dsse.json", data) for i, data in enumerate(evidence.rings, 1))
    yield from ((f"{DECISIONS}/{i:04}.dsse.json", data) for i, data in enumerate(evidence.decisions, 1))
    yield POLICY, evidence.policy
    yield REPORT, evidence.report.encode()
    yield LINE, evidence.line
    yield PROOF, evidence.proof
    if evidence.data_key is not None:
        yield DATA_KEY, evidence.data_key
    if evidence.policy_before is not None:
        yield BEFORE, evidence.policy_before
    if evidence.sealing is not None:
        sealing = evidence.sealing
        yield from ((RECORD, sealing.record), (SEALING, sealing.line), (SEALING_PROOF, sealing.proof))
        yield from ((CONSISTENCY, sealing.consistency), (PUBLISHED, sealing.published))


def write_evidence(evidence: Evidence, folder: Path) -> None:
    for name, data in _files(evidence):
        write_atomic(folder / name, data)


def _read(path: Path) -> bytes:
    return read_regular(path, ENVELOPE_BYTES, Remedy.RELEASE)


def _numbered(folder: Path) -> tuple[bytes, ...]:
    files = sorted(folder.iterdir()) if not folder.is_symlink() and folder.is_dir() else []
    if [file.name for file in files] != [f"{number:04}.dsse.json" for number in range(1, len(files) + 1)]:
        raise Tampered(
            f"{folder} does not hold 0001.dsse.json to the last one, and nothing else.", remedy=Remedy.RELEASE
        )
    return tuple(_read(file) for file in files)


def read_evidence(folder: Path) -> Evidence:
    """Read the files as they are; `admit` checks what they say. Tampered: one is missing."""
    report = _read(folder / REPORT)
    try:
        digest = report.decode("ascii")
    except UnicodeDecodeError:
        raise Tampered(f"{folder / REPORT} is not a digest.", remedy=Remedy.RELEASE) from None
    return Evidence(
        rings=_numbered(folder / RINGS),
        policy=_read(folder / POLICY),
        report=digest,
        decisions=_numbered(folder / DECISIONS),
        line=_read(folder / LINE),
        proof=_read(folder / PROOF),
        data_key=read_if_there(folder / DATA_KEY, ENVELOPE_BYTES, Remedy.RELEASE),
        sealing=_read_sealing(folder),
        policy_before=read_if_there(folder / BEFORE, ENVELOPE_BYTES, Remedy.RELEASE),
    )


def _read_sealing(folder: Path) -> Sealing | None:
    """Read the files about the sealing: all, or none, as 0.1.0 published."""
    names = (RECORD, SEALING, SEALING_PROOF, CONSISTENCY, PUBLISHED)
    if not any(os.path.lexists(folder / name) for name in names):
        return None
    return Sealing(*(_read(folder / name) for name in names))


def read_policy_bytes(data: bytes, digest: str, name: str, meant: str) -> Policy:
    """Read the policy with this digest; Tampered: it is another one. meant: which one it should be, for messages."""
    if sha256(data) != digest:
        raise Tampered(
            f"{name} is not the policy that {meant}.",
            remedy=Remedy.RELEASE,
            expected=digest,
            found=sha256(data),
        )
    try:
        return Policy.model_validate_json(data)
    except ValueError:
        raise InvalidInput(f"{name} was written by another version of this package.") from None


def read_wrapped(data: bytes, name: str) -> str:
    """Read a package's data key as a rotation of the encryption key has wrapped it; it is not opened here."""
    try:
        fields = json.loads(data)
        if canonical_json(fields) != data or set(fields) != {"wrapped"} or not isinstance(fields["wrapped"], str):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise Tampered(f"{name} is not a wrapped data key.", remedy=Remedy.RELEASE) from None
    return str(fields["wrapped"])
