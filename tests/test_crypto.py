"""Keys hide, signatures bind, ciphertexts fail closed; known answers come from outside."""

import base64
import json
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from sdk import crypto
from sdk.errors import InvalidInput, Tampered


def test_keys_never_show_or_travel() -> None:
    secret = crypto.Secret(bytes(range(32)))
    key = crypto.SigningKey.random()
    hidden = bytes(range(32)).hex()
    assert hidden not in repr(secret) + str(secret) + f"{secret}"
    assert "PRIVATE" not in repr(key) + str(key)
    for value in (secret, key):
        with pytest.raises(TypeError):
            pickle.dumps(value)


def test_key_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    key = crypto.SigningKey.random()
    crypto.save_key(key, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="never overwritten"):
        crypto.save_key(crypto.SigningKey.random(), path)
    assert crypto.open_signing_key("file:keys/signing.pem", tmp_path).fingerprint == key.fingerprint
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="chmod 600"):
        crypto.open_signing_key(f"file:{path}")


@pytest.mark.parametrize("kind", ["signing", "secret"])
def test_every_flipped_byte_of_a_key_file_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    key: crypto.SigningKey | crypto.Secret
    key = crypto.SigningKey.random() if kind == "signing" else crypto.Secret.random()
    crypto.save_key(key, path)
    data = path.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1
        path.write_bytes(bytes(flipped))
        try:
            if isinstance(key, crypto.SigningKey):
                assert crypto.open_signing_key(f"file:{path}").fingerprint != key.fingerprint
            else:
                assert crypto.open_secret(f"file:{path}").key_id != key.key_id
        except (Tampered, InvalidInput):
            continue


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    key = crypto.SigningKey.random()
    monkeypatch.setenv("A_KEY", key.private_pem().decode())
    assert crypto.open_signing_key("env:A_KEY").fingerprint == key.fingerprint
    with pytest.raises(InvalidInput, match="NOT_SET"):
        crypto.open_signing_key("env:NOT_SET")
    with pytest.raises(InvalidInput, match="file:PATH or env:NAME"):
        crypto.open_signing_key("awskms:alias/x")


def test_signatures_bind_key_and_bytes() -> None:
    key = crypto.SigningKey.random()
    signature = key.sign(b"manifest")
    crypto.verify(key.public_pem, b"manifest", signature, "the manifest")
    for pem, data, sig in [
        (key.public_pem, b"manifesu", signature),
        (crypto.SigningKey.random().public_pem, b"manifest", signature),
        (key.public_pem, b"manifest", key.sign(b"other")),
        (key.public_pem, b"manifest", "not base64!"),
        (key.public_pem, b"manifest", ""),
    ]:
        with pytest.raises(Tampered, match="the manifest"):
            crypto.verify(pem, data, sig, "the manifest")


def test_no_character_of_a_signature_can_be_changed() -> None:
    for _ in range(20):  # the length of a DER signature, and so base64's unused bits, vary
        key = crypto.SigningKey.random()
        signature = key.sign(b"manifest")
        for place in range(len(signature)):
            changed = signature[:place] + chr(ord(signature[place]) ^ 1) + signature[place + 1 :]
            with pytest.raises(Tampered):
                crypto.verify(key.public_pem, b"manifest", changed, "the manifest")


def test_encryption_is_gcm_and_binds_its_context() -> None:
    key = crypto.Secret.random()
    sealed = key.encrypt(b"weights", b"context")
    assert AESGCM(key.expose()).decrypt(sealed[:12], sealed[12:], b"context") == b"weights"
    assert key.decrypt(sealed, b"context", "file") == b"weights"
    assert key.encrypt(b"weights", b"context") != sealed
    damaged = [bytes([*sealed[:i], sealed[i] ^ 1, *sealed[i + 1 :]]) for i in range(len(sealed))]
    wrong = [*((data, b"context") for data in damaged), (sealed, b"other"), (sealed[:-1], b"context"), (b"", b"")]
    for data, context in wrong:
        with pytest.raises(Tampered, match="file"):
            key.decrypt(data, context, "file")


def test_data_keys_are_wrapped_by_rfc_3394() -> None:
    wrapping, data_key = crypto.Secret.random(), crypto.Secret.random()
    wrapped = wrapping.wrap(data_key)
    assert aes_key_unwrap(wrapping.expose(), base64.b64decode(wrapped)) == data_key.expose()
    assert wrapping.unwrap(wrapped).expose() == data_key.expose()
    with pytest.raises(Tampered):
        crypto.Secret.random().unwrap(wrapped)


def test_what_is_sealed_opens_with_its_key_and_context_and_is_other_bytes_each_time() -> None:
    secret = crypto.Secret.random()
    sealed = secret.seal(b"text", b"here")
    assert secret.unseal(sealed, b"here", "f") == b"text"
    assert b"text" not in sealed
    assert secret.seal(b"text", b"here") != sealed
    with pytest.raises(Tampered):
        secret.unseal(sealed, b"there", "f")
    with pytest.raises(Tampered):
        crypto.Secret.random().unseal(sealed, b"here", "f")
    for place in range(len(sealed)):
        for bit in (1, 128):
            altered = bytearray(sealed)
            altered[place] ^= bit
            with pytest.raises(Tampered):
                secret.unseal(bytes(altered), b"here", "f")


def test_derived_keys_differ_by_purpose() -> None:
    secret = crypto.Secret(bytes(32))
    purposes = ["tokens", "wrap", "key id"]
    assert len({secret.derive(purpose).expose() for purpose in purposes} | {secret.expose()}) == 4


VECTORS = Path(os.environ.get("SDK_VECTORS", Path(__file__).resolve().parents[2] / "shared" / "data" / "vectors"))


@pytest.mark.skipif(not VECTORS.is_dir(), reason="public test vectors are not on this machine")
def test_wycheproof_ecdsa_p256() -> None:
    files = sorted(VECTORS.glob("wycheproof/*ecdsa*p256*"))
    assert files
    checked = 0
    for group in json.loads(files[0].read_text())["testGroups"]:
        pem = group.get("publicKeyPem") or group["keyPem"]
        for case in group["tests"]:
            if group["sha"] != "SHA-256":
                continue
            signature = base64.b64encode(bytes.fromhex(case["sig"])).decode()
            accepted = True
            try:
                crypto.verify(pem, bytes.fromhex(case["msg"]), signature, "case")
            except Tampered:
                accepted = False
            assert accepted == (case["result"] == "valid") or case["result"] == "acceptable", case["tcId"]
            checked += 1
    assert checked > 300
