"""Keys hide, signatures bind, ciphertexts fail closed. What outsiders say about them: test_vectors_keys.py."""

import errno
import json
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from sdk import crypto
from sdk.crypto.keyfile import open_secret
from sdk.errors import InvalidInput, SDKError, StepFailed, Tampered
from sdk.records import canonical_json, sha256

Key = crypto.SigningKey | crypto.LogKey | crypto.Secret
KINDS = [crypto.SigningKey, crypto.LogKey, crypto.Secret]
SIGNERS = [crypto.SigningKey, crypto.LogKey]
PASSPHRASE = b"four words of no meaning"


def identity(key: Key | crypto.Signer) -> str:
    return key.key_id if isinstance(key, crypto.Secret) else key.fingerprint


def open_like(key: Key, uri: str, folder: Path = Path()) -> str:
    """The identity of the key at the URI, opened as the kind that `key` is of."""
    return identity(open_secret(uri, folder) if isinstance(key, crypto.Secret) else crypto.open_signer(uri, folder))


@pytest.mark.parametrize("kind", KINDS)
def test_keys_never_show_or_travel(kind: type[Key]) -> None:
    key = kind.random()
    hidden = key.expose().hex() if isinstance(key, crypto.Secret) else "PRIVATE"
    assert hidden not in repr(key) + str(key) + f"{key}"
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("kind", KINDS)
def test_key_files_are_private_and_never_overwritten(tmp_path: Path, kind: type[Key]) -> None:
    path = tmp_path / "keys" / "a.key"
    key = kind.random()
    crypto.save_key(key, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="never overwritten"):
        crypto.save_key(kind.random(), path)
    assert open_like(key, "file:keys/a.key", tmp_path) == identity(key)
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="chmod 600"):
        open_like(key, f"file:{path}")


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "passphrase"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_of_a_key_file_is_noticed(
    tmp_path: Path, kind: type[Key], protected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crypto.PASSPHRASE, PASSPHRASE.decode())
    path = tmp_path / "key"
    key = kind.random()
    crypto.save_key(key, path, PASSPHRASE if protected else None)
    data = path.read_bytes()
    altered = [bytes([*data[:i], byte ^ 1, *data[i + 1 :]]) for i, byte in enumerate(data)]
    for wrong in [*altered, data[:-1], data + b"\n", b"\n" + data, data + data, b""]:
        path.write_bytes(wrong)
        try:
            opened = open_like(key, f"file:{path}")
        except (Tampered, InvalidInput):
            continue
        assert opened != identity(key)
        assert not protected


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StepFailed, match="No space left"):
        crypto.save_key(crypto.Secret.random(), tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StepFailed, match="cannot be written"):
        crypto.save_key(crypto.Secret.random(), tmp_path / "file" / "key")


# -- passphrases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_passphrase_opens_what_it_protects(tmp_path: Path, kind: type[Key], monkeypatch: pytest.MonkeyPatch) -> None:
    path, key = tmp_path / "key", kind.random()
    crypto.save_key(key, path, PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = path.read_bytes()
    assert b"PRIVATE" not in data
    monkeypatch.delenv(crypto.PASSPHRASE, raising=False)
    with pytest.raises(InvalidInput, match=f"set {crypto.PASSPHRASE}"):
        open_like(key, f"file:{path}")
    monkeypatch.setenv(crypto.PASSPHRASE, PASSPHRASE.decode() + " ")
    with pytest.raises(InvalidInput, match="does not open with this passphrase") as raised:
        open_like(key, f"file:{path}")
    assert PASSPHRASE.decode() not in str(raised.value)
    monkeypatch.setenv(crypto.PASSPHRASE, PASSPHRASE.decode())
    assert open_like(key, f"file:{path}") == identity(key)
    monkeypatch.setenv("A_KEY", data.decode().removesuffix("\n"))
    assert open_like(key, "env:A_KEY") == identity(key)


def test_a_protected_key_opens_by_its_description_alone(tmp_path: Path) -> None:
    """The file says all that somebody without us needs: RFC 9106's second recommended option, AES-256-GCM."""
    key = crypto.Secret.random()
    crypto.save_key(key, tmp_path / "key", PASSPHRASE)
    body = json.loads((tmp_path / "key").read_bytes())
    digest = body.pop("sha256")
    assert digest == sha256(canonical_json(body))
    ciphertext = crypto.from_b64(body.pop("ciphertext"))
    assert body["kdf"] == {"name": "argon2id", "iterations": 3, "lanes": 4, "memory_kib": 65536}
    salt, nonce = crypto.from_b64(body["salt"]), crypto.from_b64(body["nonce"])
    assert (len(salt), len(nonce)) == (16, 12)
    derived = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536).derive(PASSPHRASE)
    plain = AESGCM(derived).decrypt(nonce, ciphertext, canonical_json(body))
    assert plain == key.expose().hex().encode() + b"\n"


def test_two_files_of_one_key_and_passphrase_have_nothing_in_common(tmp_path: Path) -> None:
    key = crypto.Secret.random()
    bodies = []
    for name in ("a", "b"):
        crypto.save_key(key, tmp_path / name, PASSPHRASE)
        bodies.append(json.loads((tmp_path / name).read_bytes()))
    for field in ("salt", "nonce", "ciphertext", "sha256"):
        assert bodies[0][field] != bodies[1][field]


def test_weaker_parameters_and_a_new_digest_do_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who alters a file and its digest gets no further: nothing is derived with parameters that are not ours."""
    monkeypatch.setenv(crypto.PASSPHRASE, PASSPHRASE.decode())
    path = tmp_path / "key"
    crypto.save_key(crypto.Secret.random(), path, PASSPHRASE)
    body = json.loads(path.read_bytes())
    del body["sha256"]
    for change in (
        {"kdf": {**body["kdf"], "iterations": 1}},
        {"kdf": {**body["kdf"], "memory_kib": 2**30}},
        {"kdf": None},
        {"format": "another"},
        {"more": 1},
        {"salt": ""},
        {"salt": crypto.b64(bytes(15))},
        {"nonce": crypto.b64(bytes(11))},
        {"nonce": 1},
        {"ciphertext": body["ciphertext"][:-4] + "AB=="},
    ):
        wrong = {**body, **change}
        path.write_bytes(canonical_json({**wrong, "sha256": sha256(canonical_json(wrong))}) + b"\n")
        with pytest.raises(Tampered, match="altered"):
            open_secret(f"file:{path}")
    wrong = {**body, "salt": crypto.b64(bytes(16))}
    path.write_bytes(canonical_json({**wrong, "sha256": sha256(canonical_json(wrong))}) + b"\n")
    with pytest.raises(InvalidInput, match="does not open"):
        open_secret(f"file:{path}")


def test_a_short_passphrase_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    for passphrase in (b"", b"seven c"):
        with pytest.raises(InvalidInput, match="at least 8 bytes"):
            crypto.save_key(crypto.Secret.random(), tmp_path / "key", passphrase)
    assert list(tmp_path.iterdir()) == []


# -- naming -----------------------------------------------------------------------------------------------------------


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in SIGNERS:
        key = kind.random()
        for text in (key.private_pem().decode(), key.private_pem().decode().removesuffix("\n")):
            monkeypatch.setenv("A_KEY", text)
            assert crypto.open_signer("env:A_KEY").fingerprint == key.fingerprint
    with pytest.raises(InvalidInput, match="NOT_SET"):
        crypto.open_signer("env:NOT_SET")


@pytest.mark.parametrize(
    "uri", ["", ":", "file", "file:", "env:", "https://host/key", "FILE:key", "awskms", "vault:", "pkcs11:"]
)
def test_uris_that_name_no_key(uri: str) -> None:
    for open_key in (crypto.open_signer, crypto.open_wrapper):
        with pytest.raises(SDKError):
            open_key(uri)


def test_a_key_of_another_kind_is_not_taken(tmp_path: Path) -> None:
    crypto.save_key(crypto.Secret.random(), tmp_path / "secret")
    crypto.save_key(crypto.SigningKey.random(), tmp_path / "signing")
    with pytest.raises(Tampered, match="not a private key"):
        crypto.open_signer("file:secret", tmp_path)
    with pytest.raises(Tampered, match="64 lower-case hex"):
        crypto.open_wrapper("file:signing", tmp_path)
    others = [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
    for number, other in enumerate(others):
        path = tmp_path / f"other{number}"
        path.touch(mode=0o600)
        pem, pkcs8, none = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(other.private_bytes(pem, pkcs8, none))
        with pytest.raises(InvalidInput, match="neither on the curve P-256 nor an Ed25519 key"):
            crypto.open_signer(f"file:{path}")
        public = other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(InvalidInput, match="neither on the curve P-256 nor an Ed25519 key"):
            crypto.fingerprint(public)
    with pytest.raises(InvalidInput, match="not in PEM format"):
        crypto.verify("-----BEGIN PUBLIC KEY-----", b"", b"", "x")


# -- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIGNERS)
def test_signatures_bind_key_and_bytes(kind: type[crypto.SigningKey | crypto.LogKey]) -> None:
    key = kind.random()
    signature = key.sign(b"manifest")
    crypto.verify(key.public_pem, b"manifest", signature, "the manifest")
    for pem, data, sig in [
        (key.public_pem, b"manifesu", signature),
        *((other.random().public_pem, b"manifest", signature) for other in SIGNERS),
        (key.public_pem, b"manifest", key.sign(b"other")),
        (key.public_pem, b"manifest", signature + b"\0"),
        (key.public_pem, b"manifest", signature[:-1]),
        (key.public_pem, b"manifest", b""),
    ]:
        with pytest.raises(Tampered, match="the manifest"):
            crypto.verify(pem, data, sig, "the manifest")


@pytest.mark.parametrize("kind", SIGNERS)
def test_no_bit_of_a_signature_can_be_changed(kind: type[crypto.SigningKey | crypto.LogKey]) -> None:
    for _ in range(5):  # the length of a DER signature varies
        key = kind.random()
        signature = key.sign(b"manifest")
        for place in range(len(signature)):
            for bit in range(8):
                changed = bytes([*signature[:place], signature[place] ^ 1 << bit, *signature[place + 1 :]])
                with pytest.raises(Tampered):
                    crypto.verify(key.public_pem, b"manifest", changed, "the manifest")


def test_signers_say_what_they_are() -> None:
    assert (crypto.SigningKey.random().algorithm, crypto.LogKey.random().algorithm) == ("ecdsa-p256", "ed25519")
    for kind in SIGNERS:
        key = kind.random()
        assert crypto.algorithm(key.public_pem) == key.algorithm
        der = serialization.load_pem_public_key(key.public_pem.encode()).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert key.fingerprint == crypto.fingerprint(key.public_pem) == sha256(der)
    assert len(crypto.LogKey.random().sign(b"")) == 64


def test_base64_has_one_form() -> None:
    for data in (b"", b"a", b"ab", b"abc", bytes(range(256))):
        assert crypto.from_b64(crypto.b64(data)) == data
    for text in ("YQ", "YR==", "YQ==\n", " YQ==", "YQ=", "Y Q==", "YQ==YQ==", "é", "-_-_", "\ud800"):
        with pytest.raises(ValueError, match=r".*"):
            crypto.from_b64(text)


# -- secrets ----------------------------------------------------------------------------------------------------------


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
    assert aes_key_unwrap(wrapping.expose(), crypto.from_b64(wrapped)) == data_key.expose()
    assert wrapping.unwrap(wrapped).expose() == data_key.expose()
    with pytest.raises(Tampered):
        crypto.Secret.random().unwrap(wrapped)


def test_what_is_sealed_opens_only_in_its_place() -> None:
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


# -- wrappers in this process -----------------------------------------------------------------------------------------


def test_a_wrapped_key_opens_only_with_its_key_and_context(tmp_path: Path) -> None:
    secret, data_key = crypto.Secret.random(), crypto.Secret.random()
    crypto.save_key(secret, tmp_path / "key")
    wrapper = crypto.open_wrapper("file:key", tmp_path)
    assert wrapper.key_id == secret.key_id
    context = {"package": "0" * 32, "version": "1"}
    wrapped = wrapper.wrap(data_key, context)
    assert wrapper.unwrap(wrapped, {"version": "1", "package": "0" * 32}).key_id == data_key.key_id
    for other in ({}, {"package": "0" * 32}, {**context, "version": "2"}, {**context, "more": ""}):
        with pytest.raises(Tampered):
            wrapper.unwrap(wrapped, other)
    with pytest.raises(Tampered):
        crypto.LocalWrapper(crypto.Secret.random()).unwrap(wrapped, context)
    for place in range(len(wrapped)):
        with pytest.raises(Tampered):
            wrapper.unwrap(wrapped[:place] + chr(ord(wrapped[place]) ^ 1) + wrapped[place + 1 :], context)
    for malformed in ("", "AAAA", wrapped + "\n", wrapped[:-4], "é", "\ud800"):
        with pytest.raises(Tampered):
            wrapper.unwrap(malformed, context)


def test_without_its_key_nothing_that_was_wrapped_opens(tmp_path: Path) -> None:
    path = tmp_path / "key"
    crypto.save_key(crypto.Secret.random(), path)
    wrapped = crypto.open_wrapper(f"file:{path}").wrap(crypto.Secret.random(), {})
    path.unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        crypto.open_wrapper(f"file:{path}")
    crypto.save_key(crypto.Secret.random(), path)  # another one in its place
    with pytest.raises(Tampered, match="does not open"):
        crypto.open_wrapper(f"file:{path}").unwrap(wrapped, {})


def test_a_context_is_not_a_purpose_of_another_kind() -> None:
    """A wrapping key is derived apart from every other use of the secret, and from the bare key wrap under it."""
    secret, data_key = crypto.Secret.random(), crypto.Secret.random()
    wrapped = crypto.LocalWrapper(secret).wrap(data_key, {})
    for other in (secret, secret.derive("tokens"), secret.derive("wrap"), secret.derive("key id")):
        with pytest.raises(Tampered):
            other.unwrap(wrapped)
    assert secret.derive("wrap {}").unwrap(wrapped).key_id == data_key.key_id
