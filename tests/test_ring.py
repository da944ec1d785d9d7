"""The key ring: who may sign the next version, what a version may change, and when a key counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from sdk import crypto
from sdk.crypto import dsse, keyring
from sdk.crypto.keyring import Member, Ring, open_rings, sign_ring, timestamp, why_not_valid
from sdk.errors import InvalidInput, Refused, Tampered
from sdk.records import canonical_json

START = datetime(2026, 11, 1, 9, tzinfo=UTC)
OWNER, TRAINER, ADA, STRANGER = (crypto.SigningKey.random() for _ in range(4))
LOG = crypto.LogKey.random()


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def first() -> Ring:
    members = [
        keyring.signing_member("Olga", ["owner"], OWNER.public_pem, START),
        keyring.signing_member("Tom", ["trainer"], TRAINER.public_pem, START),
        keyring.signing_member("Tom", ["log"], LOG.public_pem, START),
        keyring.wrapping_member("Tom", "wrapping-key-1", START),
    ]
    return keyring.create_ring("claims", members, START)


def ada(at: datetime = START, **options: object) -> Member:
    return keyring.signing_member("Ada", ["reviewer", "approver"], ADA.public_pem, at, **options)  # type: ignore[arg-type]


def changed(start: Ring, **fields: object) -> Ring:
    return Ring.model_validate(start.model_dump() | fields)


def edited(start: Ring, **fields: object) -> Ring:
    """The ring with Ada's entry changed."""
    return changed(start, members=[m.model_dump() | (fields if m.name == "Ada" else {}) for m in start.members])


# -- versions ---------------------------------------------------------------------------------------------------------


def test_versions_follow_one_another_from_a_pinned_root() -> None:
    one = first()
    two = keyring.add(one, ada(day(1)), day(1))
    three = keyring.revoke(two, ADA.fingerprint, "left", day(2))
    envelopes = [sign_ring(each, OWNER) for each in (one, two, three)]
    assert open_rings(envelopes, one.digest, "ring") == (one, two, three)
    assert [each.previous for each in (one, two, three)] == [None, one.digest, two.digest]
    assert three.find(ADA.fingerprint) is not None
    assert three.with_role("approver") == three.with_role("reviewer") != ()


def test_the_signature_is_one_that_public_tools_check() -> None:
    envelope = json.loads(sign_ring(first(), OWNER))
    payload = crypto.from_b64(envelope["payload"])
    assert json.loads(payload)["version"] == 1
    signed = dsse.pae("application/vnd.domain-adaptation-sdk.ring+json", payload)
    crypto.verify(OWNER.public_pem, signed, crypto.from_b64(envelope["signatures"][0]["sig"]), "ring")


def test_a_new_owner_signs_the_version_after_the_one_that_names_them() -> None:
    one = first()
    new = keyring.signing_member("Oskar", ["owner"], STRANGER.public_pem, day(1))
    two = keyring.add(one, new, day(1))
    three = keyring.revoke(two, OWNER.fingerprint, "left", day(2))
    four = keyring.add(three, ada(day(3)), day(3))
    good = [sign_ring(one, OWNER), sign_ring(two, OWNER), sign_ring(three, STRANGER), sign_ring(four, STRANGER)]
    assert open_rings(good, one.digest, "ring")[-1] == four
    with pytest.raises(Tampered, match=r"version 2 is not signed by who may: .* no owner's"):
        open_rings([good[0], sign_ring(keyring.add(one, ada(), day(1)), TRAINER)], one.digest, "ring")
    with pytest.raises(Tampered, match="version 2"):  # an owner only by the version that they sign themselves
        open_rings([good[0], sign_ring(two, STRANGER)], one.digest, "ring")
    with pytest.raises(Tampered, match=r"version 4 .* is revoked"):
        open_rings([*good[:3], sign_ring(four, OWNER)], one.digest, "ring")


def test_an_owner_whose_key_has_expired_signs_no_more() -> None:
    owner = keyring.signing_member("Olga", ["owner"], OWNER.public_pem, START, valid_until=day(2))
    one = keyring.create_ring("claims", [owner], START)
    in_time, late = keyring.add(one, ada(), day(1)), keyring.add(one, ada(), day(2))
    open_rings([sign_ring(one, OWNER), sign_ring(in_time, OWNER)], None, "ring")
    with pytest.raises(Tampered, match="was valid until"):
        open_rings([sign_ring(one, OWNER), sign_ring(late, OWNER)], None, "ring")


def test_version_1_is_signed_by_an_owner_of_its_own() -> None:
    with pytest.raises(Refused, match="no owner's"):
        sign_ring(first(), TRAINER)
    forged = dsse.sign_envelope(keyring.PAYLOAD_TYPE, first().to_bytes(), TRAINER)
    with pytest.raises(Tampered, match="no owner's"):
        open_rings([forged], None, "ring")


def test_another_first_version_is_not_the_root() -> None:
    mine, theirs = first(), changed(first(), time=timestamp(day(1)))
    with pytest.raises(Tampered, match="not the project's root"):
        open_rings([sign_ring(theirs, OWNER)], mine.digest, "ring")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: changed(r, version=4), "does not follow"),
        (lambda r: changed(r, previous="0" * 64), "does not follow"),
        (lambda r: changed(r, project="other"), "does not follow"),
        (lambda r: changed(r, version=1, previous=None), "does not follow"),
        (lambda r: changed(r, time=timestamp(START - timedelta(days=1))), "older than the version before"),
        (lambda r: changed(r, members=[m.model_dump() for m in r.members if m.name != "Ada"]), "takes out or changes"),
        (lambda r: edited(r, name="Bob"), "takes out or changes"),
        (lambda r: edited(r, roles=["approver"]), "takes out or changes"),
        (lambda r: edited(r, valid_from=timestamp(START - timedelta(days=9))), "takes out or changes"),
        (lambda r: edited(r, valid_until=timestamp(day(99))), "takes out or changes"),
        (lambda r: changed(r, members=[m.model_dump() | {"revoked": None} for m in r.members]), "takes back the revoc"),
    ],
)
def test_a_version_that_rewrites_what_was_is_refused(change: Callable[[Ring], Ring], message: str) -> None:
    one = keyring.add(first(), ada(), day(1))
    one = changed(one, version=1, previous=None)
    two = keyring.revoke(one, ADA.fingerprint, "left", day(2))
    three = keyring.add(two, keyring.signing_member("Zoe", ["approver"], STRANGER.public_pem, day(3)), day(3))
    before = [sign_ring(one, OWNER), sign_ring(two, OWNER)]
    open_rings([*before, sign_ring(three, OWNER)], one.digest, "ring")
    forged = dsse.sign_envelope(keyring.PAYLOAD_TYPE, change(three).to_bytes(), OWNER)
    with pytest.raises(Tampered, match=message):
        open_rings([*before, forged], one.digest, "ring")


def test_versions_left_out_reordered_or_repeated_are_refused() -> None:
    one = first()
    two = keyring.add(one, ada(), day(1))
    three = keyring.revoke(two, ADA.fingerprint, "left", day(2))
    a, b, c = (sign_ring(each, OWNER) for each in (one, two, three))
    for wrong in ([], [b], [a, c], [b, a], [a, a], [a, b, b], [c, b, a]):
        with pytest.raises(Tampered):
            open_rings(wrong, None, "ring")
    assert open_rings([a, b], one.digest, "ring")[-1] == two  # an older state: freshness is for the log to say


def test_every_changed_byte_of_an_envelope_is_tampered_with() -> None:
    one = first()
    envelope = sign_ring(one, OWNER)
    assert open_rings([envelope], one.digest, "ring") == (one,)
    for place in range(0, len(envelope), 3):
        with pytest.raises(Tampered):
            open_rings([envelope[:place] + bytes([envelope[place] ^ 1]) + envelope[place + 1 :]], one.digest, "ring")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 5000,
        b'{"payload":1}',
        b'{"payload":"AAA="}',
        canonical_json({"payload": "", "payloadType": keyring.PAYLOAD_TYPE, "signatures": []}),
        dsse.sign_envelope(keyring.PAYLOAD_TYPE, b"{}", OWNER),
        dsse.sign_envelope(keyring.PAYLOAD_TYPE, b"[" * 5000, OWNER),
        dsse.sign_envelope(keyring.PAYLOAD_TYPE, b"\xff\xfe", OWNER),
        dsse.sign_envelope(keyring.PAYLOAD_TYPE, json.dumps(first().model_dump(mode="json")).encode(), OWNER),
        dsse.sign_envelope(keyring.PAYLOAD_TYPE, first().to_bytes() + b"\n", OWNER),
        dsse.sign_envelope(dsse.INTOTO, first().to_bytes(), OWNER),
        json.dumps(json.loads(sign_ring(first(), OWNER)), indent=1).encode(),
    ],
)
def test_what_is_no_ring_is_tampered_with(data: bytes) -> None:
    with pytest.raises(Tampered):
        open_rings([data], None, "ring")


# -- what a ring may hold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"algorithm": "ed25519"}, "is of ecdsa-p256"),
        ({"key_id": "0" * 64}, "fingerprint"),
        ({"public_key": "no key"}, "PEM"),
        ({"public_key": None}, "has a public key"),
        ({"algorithm": "wrapping"}, "key of its own"),
        ({"algorithm": "wrapping", "public_key": None}, "key of its own"),
        ({"roles": []}, "at least 1"),
        ({"roles": ["approver", "approver"]}, "twice"),
        ({"roles": ["admin"]}, "Input should be"),
        ({"roles": ["log"]}, "key of its own"),
        ({"roles": ["encryption"]}, "key of its own"),
        ({"roles": ["approver", "encryption"]}, "key of its own"),
        ({"valid_from": "2026-11-01"}, "must be UTC"),
        ({"valid_from": "2026-11-01T09:00:00.000+01:00"}, "must be UTC"),
        ({"valid_from": "2026-11-01T09:00:00+00:00"}, "must be UTC"),
        ({"valid_from": "2026-13-01T09:00:00.000+00:00"}, "month"),
        ({"valid_from": "0001-01-01T00:00:00.000+23:00"}, "must be UTC"),
        ({"valid_until": timestamp(START)}, "not after"),
        ({"name": ""}, "at least 1"),
        ({"name": "A" * 101}, "at most 100"),
        *(({"name": name}, "can be seen") for name in (" Ada", "Ada ", "Ada\n", "A\u200bda", "Ada\u00a0", "\x1b[2J")),
        ({"extra": 1}, "Extra"),
    ],
)
def test_a_member_that_does_not_hold_together_is_malformed(fields: dict[str, object], message: str) -> None:
    for name in ("Ada", "A", "A" * 100):
        Member.model_validate(ada().model_dump() | {"name": name})
    with pytest.raises(ValidationError, match=message):
        Member.model_validate(ada().model_dump() | fields)


def test_log_and_encryption_keys_do_nothing_else() -> None:
    with pytest.raises(InvalidInput, match="cannot be enrolled"):
        keyring.signing_member("Tom", ["trainer", "log"], LOG.public_pem, START)
    with pytest.raises(InvalidInput, match="cannot be enrolled"):
        keyring.signing_member("Tom", ["log"], TRAINER.public_pem, START)  # a checkpoint's signature is Ed25519


@pytest.mark.parametrize("name", ["tom", "TOM", "Ｔｏｍ", "Toⅿ"])
def test_two_spellings_of_a_name_are_not_two_people(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        keyring.add(first(), keyring.signing_member(name, ["approver"], ADA.public_pem, START), day(1))
    assert "one person" in str(caught.value)


def test_a_ring_without_an_owner_or_with_a_key_twice_is_malformed() -> None:
    with pytest.raises(InvalidInput, match="cannot be changed") as caught:
        keyring.revoke(first(), OWNER.fingerprint, "left", day(1))
    assert "no owner is left" in str(caught.value)
    with pytest.raises(InvalidInput) as caught:
        keyring.create_ring("claims", [*first().members, first().members[0]], START)
    assert "twice" in str(caught.value)
    with pytest.raises(InvalidInput):
        keyring.create_ring("claims", [], START)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: keyring.add(r, keyring.signing_member("Eve", ["approver"], OWNER.public_pem, START), day(1)),
        lambda r: keyring.revoke(r, "0" * 64, "left", day(1)),
        lambda r: keyring.revoke(
            keyring.revoke(r, TRAINER.fingerprint, "left", day(1)), TRAINER.fingerprint, "left", day(2)
        ),
        lambda r: keyring.add(r, ada(), START - timedelta(days=1)),
        lambda r: keyring.replace(r, TRAINER.fingerprint, ada(), day(1)),
        lambda r: keyring.replace(
            r, TRAINER.fingerprint, keyring.signing_member("Tom", ["approver"], ADA.public_pem, day(1)), day(1)
        ),
        lambda r: keyring.add(r, ada(datetime(2026, 1, 1)), day(1)),  # without a time zone
    ],
)
def test_a_change_that_makes_no_sense_is_invalid(change: Callable[[Ring], Ring]) -> None:
    with pytest.raises(InvalidInput):
        change(first())


def tom(at: float = 1) -> Member:
    return keyring.signing_member("Tom", ["trainer"], ADA.public_pem, day(at))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: keyring.add(r, r.members[1], day(1)), "enroll another key"),
        (lambda r: keyring.revoke(r, "0" * 64, "left", day(1)), "is not in the ring"),
        (lambda r: keyring.replace(r, TRAINER.fingerprint, r.members[1], day(1)), "rotate to a new key"),
        (lambda r: keyring.replace(r, TRAINER.fingerprint, ada(), day(1)), "one of the same name and roles"),
        (
            lambda r: keyring.replace(
                keyring.revoke(r, TRAINER.fingerprint, "left", day(1)), TRAINER.fingerprint, tom(), day(2)
            ),
            "enroll the new one instead",
        ),
        (
            lambda r: keyring.revoke(
                keyring.revoke(r, TRAINER.fingerprint, "compromised", day(1)),
                TRAINER.fingerprint,
                "compromised",
                day(2),
            ),
            r"revoked since .* \(compromised\)",
        ),
        (lambda r: keyring.add(r, ada(), START - timedelta(milliseconds=1)), "The clock stands before version 1"),
    ],
)
def test_what_is_wrong_with_a_change_is_said(change: Callable[[Ring], Ring], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        change(first())


def test_a_wrapping_key_may_have_an_end() -> None:
    assert keyring.wrapping_member("Tom", "key", START, day(9)).valid_until == timestamp(day(9))
    assert keyring.wrapping_member("Tom", "key", START).valid_until is None


def test_an_owner_revokes_their_own_key_as_their_last_act() -> None:
    one = keyring.add(first(), keyring.signing_member("Oskar", ["owner"], STRANGER.public_pem, START), START)
    one = changed(one, version=1, previous=None)
    two = keyring.revoke(one, OWNER.fingerprint, "left", day(1))
    assert open_rings([sign_ring(one, OWNER), sign_ring(two, OWNER)], one.digest, "ring") == (one, two)


def test_what_is_no_envelope_is_told_from_what_is_no_ring() -> None:
    with pytest.raises(Tampered, match="version 1 is not an envelope of a key ring"):
        open_rings([b'{"payload":1}'], None, "ring")
    with pytest.raises(Tampered, match="version 1 is not a key ring in canonical JSON"):
        open_rings([dsse.sign_envelope(keyring.PAYLOAD_TYPE, b"{}", OWNER)], None, "ring")
    with pytest.raises(Tampered, match="ring is empty"):
        open_rings([], None, "ring")


def test_a_revocation_is_not_moved() -> None:
    one = changed(keyring.add(first(), ada(), day(1)), version=1, previous=None)
    two = keyring.revoke(one, ADA.fingerprint, "left", day(2))
    three = keyring.add(two, keyring.wrapping_member("Tom", "key", day(3)), day(3))
    good = [sign_ring(ring, OWNER) for ring in (one, two, three)]
    assert open_rings(good, one.digest, "ring")[-1] == three
    for fields in ({"time": timestamp(day(3)), "reason": "left"}, {"time": timestamp(day(2)), "reason": "superseded"}):
        with pytest.raises(Tampered, match="takes back the revocation"):
            open_rings([*good[:2], sign_ring(edited(three, revoked=fields), OWNER)], one.digest, "ring")


def test_a_key_is_replaced_by_another_of_the_same_person() -> None:
    two = keyring.replace(
        first(), TRAINER.fingerprint, keyring.signing_member("Tom", ["trainer"], ADA.public_pem, day(5)), day(5)
    )
    old, new = two.find(TRAINER.fingerprint), two.find(ADA.fingerprint)
    assert old is not None
    assert new is not None
    assert (why_not_valid(old, day(4)), why_not_valid(new, day(5))) == (None, None)
    assert "superseded" in str(why_not_valid(old, day(5)))
    assert "valid only from" in str(why_not_valid(new, day(4)))


# -- when a key counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "at", "counts"),
    [
        (None, 0, True),
        (None, -0.001, False),
        (None, 9.999, True),
        (None, 10, False),
        ("left", 4.999, True),
        ("left", 5, False),
        ("superseded", 4.999, True),
        ("superseded", 5, False),
        ("compromised", 4, False),
        ("compromised", 6, False),
    ],
)
def test_a_key_counts_within_its_time_and_before_it_is_revoked(reason: str | None, at: float, counts: bool) -> None:
    member = ada(valid_until=day(10))
    if reason is not None:
        revoked = keyring.Revocation.model_validate({"time": timestamp(day(5)), "reason": reason})
        member = member.model_copy(update={"revoked": revoked})
    assert (why_not_valid(member, day(at)) is None) is counts


def test_what_was_superseded_can_still_be_found_compromised_and_not_the_other_way_round() -> None:
    one = keyring.add(first(), ada(), day(1))
    two = keyring.revoke(one, ADA.fingerprint, "superseded", day(2))
    three = keyring.revoke(two, ADA.fingerprint, "compromised", day(3))
    first_signed = changed(one, version=1, previous=None)
    chain = [first_signed]
    for reason, at in (("superseded", 2), ("compromised", 3)):
        chain.append(keyring.revoke(chain[-1], ADA.fingerprint, reason, day(at)))  # type: ignore[arg-type]
    assert open_rings([sign_ring(each, OWNER) for each in chain], None, "ring")[-1].find(ADA.fingerprint) == three.find(
        ADA.fingerprint
    )
    with pytest.raises(InvalidInput, match="revoked since"):
        keyring.revoke(three, ADA.fingerprint, "left", day(4))
