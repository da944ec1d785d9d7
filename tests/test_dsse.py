"""An envelope says one thing, by one key, in one form."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from sdk import crypto
from sdk.crypto import dsse
from sdk.errors import SDKError, Tampered
from sdk.records import canonical_json

KEYS = [crypto.SigningKey.random(), crypto.LogKey.random()]
KIND = "application/vnd.example+json"
PAYLOAD = b'{"a":1}'
DIGEST = "0" * 64


def known(*keys: crypto.Signer) -> dict[str, str]:
    return {key.fingerprint: key.public_pem for key in keys}


def refused(data: bytes, *keys: crypto.Signer, kind: str = KIND) -> None:
    with pytest.raises(Tampered, match=r"decision\.json"):
        dsse.open_envelope(data, kind, known(*keys), "decision.json")


def test_the_pre_authentication_encoding_is_the_specification_s() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@pytest.mark.parametrize("key", KEYS)
def test_an_envelope_comes_back_with_its_signer(key: crypto.Signer) -> None:
    data = dsse.sign_envelope(KIND, PAYLOAD, key)
    assert dsse.open_envelope(data, KIND, known(*KEYS), "decision.json") == (PAYLOAD, key.fingerprint)
    assert rfc8785.dumps(json.loads(data)) == data


@pytest.mark.parametrize("key", KEYS)
def test_every_flipped_bit_is_refused(key: crypto.Signer) -> None:
    data = dsse.sign_envelope(KIND, PAYLOAD, key)
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            refused(bytes(flipped), *KEYS)


def test_another_type_an_unknown_key_and_a_borrowed_key_id_are_refused() -> None:
    key, other = KEYS
    data = dsse.sign_envelope(KIND, PAYLOAD, key)
    refused(data, *KEYS, kind=dsse.INTOTO)
    refused(data)
    refused(data, other)
    borrowed = json.loads(data)
    borrowed["signatures"][0]["keyid"] = other.fingerprint
    refused(canonical_json(borrowed), *KEYS)
    # a signature for one type is none for another, even if the envelope says so
    moved = json.loads(data)
    moved["payloadType"] = dsse.INTOTO
    refused(canonical_json(moved), *KEYS, kind=dsse.INTOTO)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no signature": lambda each: each.update(signatures=[]),
    "two signatures": lambda each: each.update(signatures=each["signatures"] * 2),
    "a signature without a key id": lambda each: each["signatures"][0].pop("keyid"),
    "a field more": lambda each: each.update(more=1),
    "a field more in the signature": lambda each: each["signatures"][0].update(more=1),
    "no payload": lambda each: each.pop("payload"),
    "a payload that is no text": lambda each: each.update(payload=1),
    "URL-safe base64": lambda each: each.update(payload=crypto.b64(b"\xff\xff\xff").replace("/", "_")),
    "base64 without padding": lambda each: each.update(payload=each["payload"].rstrip("=") + "A"),
    "base64 with a line end": lambda each: each.update(payload=each["payload"] + "\n"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_structures_are_refused(name: str) -> None:
    envelope = json.loads(dsse.sign_envelope(KIND, PAYLOAD, KEYS[0]))
    CHANGES[name](envelope)
    refused(canonical_json(envelope), *KEYS)


def test_other_forms_of_the_same_envelope_are_refused() -> None:
    data = dsse.sign_envelope(KIND, PAYLOAD, KEYS[0])
    value = json.loads(data)
    for other in (
        json.dumps(value).encode(),
        json.dumps(value, indent=1).encode(),
        data + b"\n",
        b"\xef\xbb\xbf" + data,
        data.decode().encode("utf-16"),
        json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode(),
        data.replace(b'{"payload"', b'{"payload":"","payload"', 1),
        data.replace(b"/", b"\\/"),
    ):
        refused(other, *KEYS)


@pytest.mark.parametrize(
    "data", [b"", b"[", b"[" * 100_000, b"1", b"null", b'"\\ud800"', b"NaN", b"1e999", b"\xff", b"9" * 5000, b"[1.0e2]"]
)
def test_what_is_not_an_envelope_is_refused(data: bytes) -> None:
    refused(data, *KEYS)


def test_a_statement_comes_back() -> None:
    predicate = {"decision": "approve"}
    payload = dsse.statement("urn:x", predicate, {"policy": "1" * 64, "package": DIGEST})
    assert dsse.read_statement(payload, "urn:x", "decision.json") == (
        predicate,
        {"package": DIGEST, "policy": "1" * 64},
    )
    assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"
    with pytest.raises(Tampered, match="not an in-toto statement of type urn:y"):
        dsse.read_statement(payload, "urn:y", "decision.json")


STATEMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda each: each.update(_type="https://in-toto.io/Statement/v0.1"),
    "no predicate": lambda each: each.pop("predicate"),
    "a field more": lambda each: each.update(more=1),
    "a subject twice": lambda each: each.update(subject=each["subject"] * 2),
    "another order": lambda each: each["subject"].reverse(),
    "a digest that is none": lambda each: each["subject"][0]["digest"].update(sha256="0" * 63),
    "a second digest": lambda each: each["subject"][0]["digest"].update(sha512="0" * 128),
    "a subject without a name": lambda each: each["subject"][0].pop("name"),
    "subjects that are no list": lambda each: each.update(subject={}),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_other_statements_are_refused(name: str) -> None:
    fields = json.loads(dsse.statement("urn:x", {}, {"a": DIGEST, "b": DIGEST}))
    STATEMENTS[name](fields)
    with pytest.raises(Tampered, match=r"decision\.json"):
        dsse.read_statement(canonical_json(fields), "urn:x", "decision.json")


def test_random_changes_are_refused_and_never_break_the_reader() -> None:
    dice = random.Random(3)
    data = dsse.sign_envelope(KIND, dsse.statement("urn:x", {}, {"a": DIGEST}), KEYS[0])
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(changed))
            changed[place : place + dice.randrange(4)] = dice.choice([b"", b'"', b"{", b"[", b"\\", dice.randbytes(2)])
        if bytes(changed) == data:
            continue
        with pytest.raises(SDKError):
            dsse.open_envelope(bytes(changed), KIND, known(*KEYS), "decision.json")


def _document(dice: random.Random, depth: int = 0) -> Any:
    kinds = ["text", "count", "truth", "none"] + ["list", "object"] * (depth < 4)
    match dice.choice(kinds):
        case "text":
            return "".join(chr(_code_point(dice)) for _ in range(dice.randrange(12)))
        case "count":
            return dice.randrange(-(2**53) + 1, 2**53)
        case "truth":
            return dice.random() < 0.5
        case "none":
            return None
        case "list":
            return [_document(dice, depth + 1) for _ in range(dice.randrange(5))]
    # keys below the surrogates, where code points and UTF-16 units have one order
    keys = {"".join(chr(dice.randrange(0xD800)) for _ in range(dice.randrange(6))) for _ in range(dice.randrange(6))}
    return {key: _document(dice, depth + 1) for key in keys}


def _code_point(dice: random.Random) -> int:
    found = dice.choice([dice.randrange(0x80), dice.randrange(0xD800), dice.randrange(0xE000, 0x110000)])
    return found


def test_canonical_json_is_rfc_8785_for_everything_but_floats_and_rare_keys() -> None:
    dice = random.Random(8785)
    for _ in range(5000):
        value = _document(dice)
        assert canonical_json(value) == rfc8785.dumps(value)
