"""Which rules govern a package, from files alone: by the log that owners saw, and the sealing's place in it.

Whoever holds the trainer's, the log's and the encryption key can write events, but not the owner's signatures: a log
that was rewritten does not lead on from the roots in the key rings, and a package that is sealed later stands later.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from sdk.approve import InForceWhenSealed
from sdk.audit import (
    Checkpoint,
    Event,
    check_continues,
    read_body,
    read_checkpoint,
    read_consistency,
    read_index,
    verify_proof,
)
from sdk.crypto.keyring import Ring, find_term, first_that_holds, require_terms, require_within_limit
from sdk.errors import Refused, Remedy, Tampered, another
from sdk.files.regular_files import NOTE_BYTES, read_if_there
from sdk.files.store import write_atomic
from sdk.records import canonical_json, sha256
from sdk.seal import Manifest
from sdk.serve.evidence import (
    BEFORE,
    CONSISTENCY,
    LINE,
    PROOF,
    PUBLISHED,
    RECORD,
    SEALING,
    SEALING_PROOF,
    Evidence,
    Sealing,
    read_policy_bytes,
)


class ProvenLog(NamedTuple):
    """The log as the release's checkpoint shows it, and which key has signed that."""

    origin: str
    key: str  # PEM
    note: bytes
    head: Checkpoint


def prove_promotion(evidence: Evidence, rings: tuple[Ring, ...], origin: str) -> tuple[Event, ProvenLog]:
    """Prove the promotion's event by a key of the log that counts for as many events as its checkpoint has."""
    name = f"{LINE} with {PROOF}"
    note = read_index(evidence.proof, PROOF)[1]
    head = read_body(note, origin, PROOF)

    def check(pem: str) -> tuple[Event, str]:
        event, _ = verify_proof(evidence.line, evidence.proof, origin, pem, name)
        return event, pem

    event, pem = first_that_holds(rings[-1].log_keys(), check)
    require_within_limit(rings, pem, head.size, PROOF)
    return event, ProvenLog(origin, pem, note, head)


def prove_rules(
    evidence: Evidence, rings: tuple[Ring, ...], log: ProvenLog, manifest: Manifest, identity: str
) -> InForceWhenSealed:
    """Prove that the package's policy was in force when it was sealed. Refused where it was not, or none ever was."""
    require_terms(rings)
    if evidence.sealing is None:
        raise Tampered(f"The release lacks {SEALING} and what belongs to it.", remedy=Remedy.RELEASE)
    proofs = read_consistency(evidence.sealing.consistency, CONSISTENCY)
    for ring in rings:
        if ring.log is not None:
            seen = Checkpoint(ring.log.size, bytes.fromhex(ring.log.root))
            check_continues(seen, log.head, proofs, f"{CONSISTENCY}, from version {ring.version} of the key ring")
    sealed = _prove_sealing(evidence.sealing, log, identity)
    try:
        before = find_term(rings, manifest.policy_digest, manifest.domain_digest, sealed.seq).before
    except Refused as refused:
        return InForceWhenSealed(refused.message, None)
    if before is None:
        return InForceWhenSealed(None, None)
    if evidence.policy_before is None:
        raise Tampered(f"The release lacks {BEFORE}, {before.policy}.", remedy=Remedy.RELEASE)
    meant = "its own policy replaced"
    return InForceWhenSealed(None, read_policy_bytes(evidence.policy_before, before.policy_digest, BEFORE, meant))


def _prove_sealing(sealing: Sealing, log: ProvenLog, identity: str) -> Event:
    """Prove the event that recorded the package's sealing, under the promotion's checkpoint."""
    if read_body(read_index(sealing.proof, SEALING_PROOF)[1], log.origin, SEALING_PROOF) != log.head:
        raise Tampered(f"{SEALING_PROOF} and {PROOF} are of different checkpoints.", remedy=Remedy.RELEASE)
    event, _ = verify_proof(sealing.line, sealing.proof, log.origin, log.key, f"{SEALING} with {SEALING_PROOF}")
    try:
        record = json.loads(sealing.record)
        package = record["package"] if record["kind"] == "package" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Tampered(f"{RECORD} is not a package's record.", remedy=Remedy.RELEASE) from None
    pairs = (
        ("action", "seal finished", f"{event.action} {event.phase}"),
        ("record", event.objects.get("record"), sha256(sealing.record)),
        ("package", package, identity),
    )
    faults = [another(what, named, here) for what, named, here in pairs if named != here]
    if faults:
        raise Tampered(f"{SEALING} is not the sealing of this package.", faults, remedy=Remedy.RELEASE)
    return event


# -- what a machine remembers -----------------------------------------------------------------------------------------


class Served(NamedTuple):
    """What a machine that serves remembers of the release that it served last."""

    note: bytes  # the checkpoint
    promotion: int  # number of its event; -1: not known
    rings: int  # how many versions of the key ring it had
    ring: str | None  # digest of the newest


def read_served(path: Path) -> Served | None:
    """Read what was served last; None: nothing yet. 0.1.0 remembered the checkpoint only."""
    data = read_if_there(path, NOTE_BYTES)
    if data is None:
        return None
    if not data.startswith(b"{"):
        return Served(data, -1, 0, None)
    try:
        fields = json.loads(data)
        return Served(
            str(fields["checkpoint"]).encode(), int(fields["promotion"]), int(fields["rings"]), fields["ring"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Tampered(f"{path} is not what this machine remembered of a release.", remedy=Remedy.COPY) from None


def write_served(path: Path, log: ProvenLog, promotion: Event, rings: tuple[Ring, ...]) -> None:
    served = {
        "checkpoint": log.note.decode(),
        "promotion": promotion.seq,
        "rings": len(rings),
        "ring": rings[-1].digest,
    }
    write_atomic(path, canonical_json(served))


def check_fresh(path: Path, evidence: Evidence, rings: tuple[Ring, ...], log: ProvenLog, promotion: Event) -> None:
    """Tampered unless log, key rings and promotion go on from what this machine has served last.

    The key of the remembered checkpoint may have been found compromised since: this machine checked it when it counted.
    """
    served = read_served(path)
    if served is None:
        return
    keys = rings[-1].log_keys(also_compromised=True)
    seen = first_that_holds(keys, lambda pem: read_checkpoint(served.note, log.origin, pem, str(path)))
    older = [
        another(what, f"{least} or later", f"{found}")
        for what, least, found in (
            ("log", seen.size, log.head.size),
            ("promotion", served.promotion, promotion.seq),
            ("key ring", served.rings, len(rings)),
        )
        if found < least
    ]
    if older or (seen.size == log.head.size and served.promotion < 0 and served.note != log.note):
        raise Tampered(
            "The release is older than one that this machine has served: it is not the newest.",
            older,
            remedy=Remedy.RELEASE,
        )
    if served.ring is not None:
        brought = rings[served.rings - 1].digest
        if brought != served.ring:
            raise Tampered(
                "The release brings other key rings than one that this machine has served.",
                remedy=Remedy.RELEASE,
                expected=served.ring,
                found=brought,
            )
    proofs = read_consistency(evidence.sealing.published, PUBLISHED) if evidence.sealing else {}
    check_continues(seen, log.head, proofs, f"{PUBLISHED}, from the release that this machine served last")
