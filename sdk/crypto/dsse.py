"""DSSE envelopes and the in-toto statements in them: one way to sign what is said about files.

Envelope and signature are those of DSSE 1.0 (secure-systems-lab/dsse, protocol.md and envelope.md), statements those of
in-toto v1 (in-toto/attestation, spec/v1/statement.md). Stricter than these: an envelope has one signature, the id of a
key is its fingerprint, and every file has only one form, canonical JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sdk.crypto.encoding import b64, from_b64
from sdk.crypto.signing import Signer, verify
from sdk.errors import Remedy, Tampered
from sdk.records import canonical_json

INTOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
_ENVELOPE = (
    rb'\{"payload":"([A-Za-z0-9+/=]*)","payloadType":%b,'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9+/=]+)"\}\]\}'
)


def read_canonical(data: bytes, name: str) -> Any:
    """Parse a JSON text. Tampered unless it is, to the byte, what canonical_json writes for its value."""
    try:
        value = json.loads(data)
        same = canonical_json(value) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise Tampered(f"{name} has been altered: it is not JSON in its canonical form.", remedy=Remedy.COPY)
    return value


def pae(payload_type: str, payload: bytes) -> bytes:
    """Encode what a signature of an envelope is over: DSSE's pre-authentication encoding, PAE.

    Both parts go in with their lengths, so that no other type and payload give the same bytes.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """Write the envelope of a payload, with one signature."""
    return canonical_json(
        {
            "payload": b64(payload),
            "payloadType": payload_type,
            "signatures": [{"keyid": signer.fingerprint, "sig": b64(signer.sign(pae(payload_type, payload)))}],
        }
    )


def open_envelope(data: bytes, payload_type: str, keys: Mapping[str, str], name: str) -> tuple[bytes, str]:
    """Return the payload and the fingerprint of the key that signed it. `keys`: fingerprint -> public key, PEM.

    Tampered unless the envelope is of this type and one of the keys signed it. Nothing is parsed before that is known:
    a pattern fixes the envelope's form to the byte, so no JSON parser sees what nobody has signed.
    """
    envelope = re.fullmatch(_ENVELOPE % re.escape(canonical_json(payload_type)), data)
    if not envelope:
        raise Tampered(
            f"{name} is not an envelope of type {payload_type} with one signature, in its canonical form.",
            remedy=Remedy.COPY,
        )
    encoded, key_id, signature = (part.decode() for part in envelope.groups())
    if key_id not in keys:
        raise Tampered(
            f"{name} is signed by a key that does not count here.",
            remedy=Remedy.COPY,
            expected=next(iter(keys)) if len(keys) == 1 else f"one of {len(keys)} keys",
            found=key_id,
        )
    try:
        payload, raw = from_b64(encoded), from_b64(signature)
    except ValueError:
        raise Tampered(f"{name} has been altered: its base64 is not canonical.", remedy=Remedy.COPY) from None
    verify(keys[key_id], pae(payload_type, payload), raw, name)
    return payload, key_id


def statement(predicate_type: str, predicate: Mapping[str, Any], subjects: Mapping[str, str]) -> bytes:
    """Write an in-toto statement. `subjects`: name -> SHA-256, hex."""
    return canonical_json(
        {
            "_type": STATEMENT,
            "predicate": dict(predicate),
            "predicateType": predicate_type,
            "subject": [{"digest": {"sha256": subjects[name]}, "name": name} for name in sorted(subjects)],
        }
    )


def read_statement(payload: bytes, predicate_type: str, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return predicate and subjects of a statement that `statement` wrote; Tampered for any other."""
    match read_canonical(payload, name):
        case {
            "_type": str(kind),
            "predicate": dict(predicate),
            "predicateType": str(predicate_kind),
            "subject": list(listed),
            **more,
        } if not more and kind == STATEMENT and predicate_kind == predicate_type:
            pass
        case _:
            raise Tampered(f"{name} is not an in-toto statement of type {predicate_type}.", remedy=Remedy.COPY)
    subjects: dict[str, str] = {}
    for each in listed:
        match each:
            case {"name": str(subject), "digest": {"sha256": str(digest), **others}, **more} if (
                not others and not more and re.fullmatch("[0-9a-f]{64}", digest)
            ):
                subjects[subject] = digest
            case _:
                raise Tampered(f"{name} names a subject by something else than name and SHA-256.", remedy=Remedy.COPY)
    if statement(predicate_type, predicate, subjects) != payload:
        raise Tampered(f"{name} names its subjects twice or in another order.", remedy=Remedy.COPY)
    return predicate, subjects
