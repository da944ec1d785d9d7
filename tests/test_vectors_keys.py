"""Known answers of C2SP's Wycheproof, through our functions where these take them, else through the calls in them.

What is left out is counted below with its reason; the counts are part of the test.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sdk import crypto
from sdk.errors import Tampered

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "data" / "vectors" / "wycheproof"
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the public test vectors are not on this machine")


def cases(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, test); bytes are hex in both."""
    file = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    pairs = [(group, test) for group in file["testGroups"] for test in group["tests"]]
    assert len(pairs) == file["numberOfTests"]
    yield from pairs


def octets(test: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(test[name]) for name in names]


def test_aes_gcm(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    for group, test in cases("aes_gcm_test"):
        key, nonce, aad, message, ciphertext, tag = octets(test, "key", "iv", "aad", "msg", "ct", "tag")
        if group["ivSize"] != 96:
            counts["skipped: our nonces have 96 bits"] += 1
        elif group["keySize"] != 256:
            counts["skipped: our keys have 256 bits"] += 1
        elif test["result"] == "valid":
            secret = crypto.Secret(key)
            monkeypatch.setattr("sdk.crypto.secret.secrets.token_bytes", lambda _, nonce=nonce: nonce)
            assert secret.encrypt(message, aad) == nonce + ciphertext + tag
            assert secret.decrypt(nonce + ciphertext + tag, aad, "it") == message
            counts["valid"] += 1
        else:
            with pytest.raises(Tampered):
                crypto.Secret(key).decrypt(nonce + ciphertext + tag, aad, "it")
            counts["invalid"] += 1
    assert counts == {
        "valid": 39,
        "invalid": 27,
        "skipped: our nonces have 96 bits": 119,
        "skipped: our keys have 256 bits": 131,
    }


def test_aes_key_wrap() -> None:
    """All through the library's calls; with keys of 256 bits through ours, which take nothing but 32 bytes."""
    counts: Counter[str] = Counter()
    for group, test in cases("aes_wrap_test"):
        key, message, wrapped = octets(test, "key", "msg", "ct")
        counts[test["result"]] += 1
        if test["result"] == "valid":
            assert aes_key_wrap(key, message) == wrapped
            assert aes_key_unwrap(key, wrapped) == message
        else:  # the acceptable ones wrap 8 bytes, which RFC 3394 does not allow
            with pytest.raises((InvalidUnwrap, ValueError)):
                aes_key_unwrap(key, wrapped)
        if group["keySize"] != 256:
            continue
        secret = crypto.Secret(key)
        if test["result"] == "valid" and len(message) == 32:
            assert secret.wrap(crypto.Secret(message)) == crypto.b64(wrapped)
            assert secret.unwrap(crypto.b64(wrapped)).expose() == message
            counts["valid, through ours"] += 1
        else:
            with pytest.raises(Tampered):
                secret.unwrap(crypto.b64(wrapped))
            counts["refused, through ours"] += 1
    assert counts == {
        "valid": 36,
        "invalid": 126,
        "acceptable": 3,
        "valid, through ours": 4,
        "refused, through ours": 64,
    }


@pytest.mark.parametrize(
    ("name", "valid", "invalid"), [("ecdsa_secp256r1_sha256_test", 174, 310), ("ed25519_test", 88, 63)]
)
def test_signatures(name: str, valid: int, invalid: int) -> None:
    counts: Counter[str] = Counter()
    for group, test in cases(name):
        message, signature = octets(test, "msg", "sig")
        try:
            crypto.verify(group["publicKeyPem"], message, signature, "it")
            assert test["result"] == "valid", test["tcId"]
        except Tampered:
            assert test["result"] == "invalid", test["tcId"]
        counts[test["result"]] += 1
    assert counts == {"valid": valid, "invalid": invalid}


def test_ed25519_signs_as_rfc_8032_says() -> None:
    """RFC 8032, 7.1, TEST 2: Wycheproof's file gives no private keys."""
    private = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signed = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = crypto.LogKey(ed25519.Ed25519PrivateKey.from_private_bytes(private))
    assert key.sign(b"\x72").hex() == signed


def hkdf(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, from its text."""
    pseudorandom = hmac.digest(salt or bytes(32), key, hashlib.sha256)
    block, okm = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([number]), hashlib.sha256)
        okm += block
    return okm[:size]


def test_hkdf_and_the_keys_we_derive() -> None:
    """Ours has a fixed salt, size and beginning of `info`, so it is held to RFC 5869's text, which is held to these."""
    counts: Counter[str] = Counter()
    for _, test in cases("hkdf_sha256_test"):
        key, salt, info, okm = octets(test, "ikm", "salt", "info", "okm")
        counts[test["result"]] += 1
        if test["result"] == "valid":
            assert HKDF(hashes.SHA256(), test["size"], salt=salt, info=info).derive(key) == okm
            assert hkdf(key, salt, info, test["size"]) == okm
        else:
            with pytest.raises(ValueError, match="larger than 8160"):
                HKDF(hashes.SHA256(), test["size"], salt=salt, info=info)
    assert counts == {"valid": 83, "invalid": 3}
    for purpose in ("", "tokens", 'wrap {"package":"é"}'):
        secret = crypto.Secret.random()
        info = b"domain-adaptation-sdk " + purpose.encode()
        assert secret.derive(purpose).expose() == hkdf(secret.expose(), b"", info, 32)
