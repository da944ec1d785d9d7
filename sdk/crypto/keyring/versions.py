"""The versions of a key ring as they are kept: signed by an owner, and each checked against the one before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sdk import crypto
from sdk.crypto import dsse
from sdk.crypto.keyring.member import why_not_valid
from sdk.crypto.keyring.ring import Ring
from sdk.errors import Refused, Remedy, Tampered, another
from sdk.wording import counted

PAYLOAD_TYPE = "application/vnd.domain-adaptation-sdk.ring+json"


def sign_ring(ring: Ring, owner: crypto.Signer) -> bytes:
    """Sign a ring, as a DSSE envelope. Version 1 must name the signer an owner.

    Who may sign a later version is said by the one before it, and `open_rings` checks it.
    """
    if ring.version == 1:
        _require_owner(ring, owner.fingerprint, ring)
    return dsse.sign_envelope(PAYLOAD_TYPE, ring.to_bytes(), owner)


def _require_owner(trusted: Ring, key_id: str, ring: Ring) -> None:
    """Refuse a key that is no owner's by the trusted ring, or was not valid when `ring` was made, or is revoked."""
    member = trusted.find(key_id)
    if member is None or "owner" not in member.roles:
        raise Refused(f"The key {key_id[:16]} is no owner's, and only owners sign the key ring.")
    if member.revoked is not None:
        raise Refused(f"The key {key_id[:16]} of {member.name} is revoked; another owner signs the key ring.")
    why = why_not_valid(member, datetime.fromisoformat(ring.time))
    if why is not None:
        raise Refused(f"The key {key_id[:16]} of {member.name} does not count: {why}.")


def open_rings(envelopes: Sequence[bytes], root: str | None, name: str) -> tuple[Ring, ...]:
    """Read every version, oldest first, each checked against the one before; Tampered names the first fault.

    `root` is the digest of version 1 as the caller holds it; None takes the first version as it comes, which is right
    only where something else binds it. `name` is what messages call the ring.
    """
    if not envelopes:
        raise Tampered(f"{name} is empty; a project has at least version 1 of its key ring.", remedy=Remedy.COPY)
    rings: list[Ring] = []
    for number, envelope in enumerate(envelopes, 1):
        where = f"{name} version {number}"
        before = rings[-1] if rings else None
        ring, signer = _open(envelope, before, where)
        if before is None:
            if ring.version != 1:
                raise Tampered(f"{where} says that it is version {ring.version}.", remedy=Remedy.COPY)
            if root is not None and ring.digest != root:
                raise Tampered(
                    f"{where} is not the project's root: this is another project, or it was put in its place.",
                    remedy=Remedy.COPY,
                    expected=root,
                    found=ring.digest,
                )
        else:
            _check_successor(before, ring, where)
            _check_rules(rings, ring, where)
        try:
            _require_owner(before or ring, signer, ring)
        except Refused as refused:
            raise Tampered(f"{where} is not signed by who may: {refused.message}", remedy=Remedy.COPY) from None
        rings.append(ring)
    return tuple(rings)


def _open(envelope: bytes, before: Ring | None, where: str) -> tuple[Ring, str]:
    """Return the ring and the fingerprint of who signed it.

    Version 1 brings its own keys and is read before it is verified: its signature proves that it is whole, the pinned
    root that it is the right one. Every later version is verified by keys of the one before, ahead of being read.
    """
    keys = (before or _read(_unverified_payload(envelope, where), where)).public_keys()
    payload, signer = dsse.open_envelope(envelope, PAYLOAD_TYPE, keys, where)
    return _read(payload, where), signer


def _unverified_payload(envelope: bytes, where: str) -> bytes:
    try:
        return crypto.from_b64(dsse.read_canonical(envelope, where)["payload"])
    except (ValueError, KeyError, TypeError):
        raise Tampered(f"{where} is not an envelope of a key ring.", remedy=Remedy.COPY) from None


def _read(payload: bytes, where: str) -> Ring:
    try:
        ring = Ring.model_validate_json(payload)
        if ring.to_bytes() == payload:
            return ring
    except ValueError:  # pydantic's, and what cannot be written back as UTF-8
        pass
    raise Tampered(f"{where} is not a key ring in canonical JSON.", remedy=Remedy.COPY)


def _check_successor(before: Ring, ring: Ring, where: str) -> None:
    """Tampered unless the ring follows the one before, and has all of its keys as they were or newly revoked."""
    pairs = (
        ("number", before.version + 1, ring.version),
        ("digest of the version before", before.digest, ring.previous),
        ("project", before.project, ring.project),
    )
    faults = [another(what, expected, found) for what, expected, found in pairs if expected != found]
    if faults:
        raise Tampered(f"{where} does not follow the version before it.", faults, remedy=Remedy.COPY)
    if ring.time < before.time:
        raise Tampered(
            f"{where} is older than the version before it.",
            remedy=Remedy.COPY,
            expected=f"{before.time} or later",
            found=ring.time,
        )
    for member in before.members:
        now = ring.find(member.key_id)
        if now is None or now.model_copy(update={"revoked": member.revoked}) != member:
            raise Tampered(
                f"{where} takes out or changes the key {member.key_id[:16]} of {member.name}.", remedy=Remedy.COPY
            )
        if member.revoked is not None and (
            now.revoked is None or (now.revoked != member.revoked and now.revoked.reason != "compromised")
        ):
            raise Tampered(
                f"{where} takes back the revocation of the key {member.key_id[:16]} of {member.name}.",
                remedy=Remedy.COPY,
            )


def _check_rules(rings: Sequence[Ring], ring: Ring, where: str) -> None:
    """Tampered unless rules stay named once they are, the log only grows, and a policy's name stands for one text."""
    before = rings[-1]
    if before.rules is not None and ring.rules is None:
        raise Tampered(f"{where} names no rules any more.", remedy=Remedy.COPY)
    if before.log is not None and (ring.log is None or ring.log.size < before.log.size):
        raise Tampered(
            f"{where} was signed over a shorter log than the version before it.",
            remedy=Remedy.COPY,
            expected=f"{counted(before.log.size, 'event')} or more",
            found="none" if ring.log is None else counted(ring.log.size, "event"),
        )
    if ring.rules is None:
        return
    for known in (each.rules for each in rings if each.rules is not None):
        if known.policy == ring.rules.policy and known.policy_digest != ring.rules.policy_digest:
            raise Tampered(
                f"{where} calls another policy {known.policy}, which stood for another text before.",
                remedy=Remedy.COPY,
                expected=known.policy_digest,
                found=ring.rules.policy_digest,
            )
