"""model.sig is what the reference tool accepts, and less: every looser form of it is refused."""

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from model_signing import hashing, signing, verifying
from referencing import Registry, Resource

from sdk import crypto
from sdk.crypto import dsse
from sdk.errors import InvalidInput, Tampered
from sdk.records import canonical_json, sha256
from sdk.seal import oms

VECTORS = Path(__file__).parents[2] / "shared" / "data" / "vectors" / "oms"
KEY = crypto.SigningKey.random()
FILES = {"adapter_config.json": b"{}", "manifest.json": b'{"a":1}', "weights.bin": b"\0" * 3000}
with_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors of OpenSSF Model Signing are not here")


def write(folder: Path) -> Path:
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "model.sig").write_bytes(oms.sign(digests(folder), KEY))
    (folder.parent / "key.pem").write_text(KEY.public_pem)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in folder.iterdir() if path.name != "model.sig"}


def check(folder: Path) -> None:
    oms.check((folder / "model.sig").read_bytes(), KEY.public_pem, digests(folder), "model.sig")


def reference(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(folder / "model.sig"), "--public_key", str(folder.parent / "key.pem")]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def accepted_by_reference(folder: Path) -> bool:
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=folder.parent / "key.pem").verify(
            folder, folder / "model.sig"
        )
    except Exception:  # noqa: BLE001
        return False
    return True


def test_the_reference_tool_accepts_what_we_sign_and_we_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    check(folder)
    found = reference(folder)
    assert found.returncode == 0, found.stdout + found.stderr
    (folder / "weights.bin").write_bytes(b"\1" * 3000)
    assert reference(folder).returncode != 0


def test_what_the_reference_signs_is_read_and_is_no_package_of_ours(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    (folder / "model.sig").unlink()
    (tmp_path / "private.pem").write_bytes(KEY.private_pem())
    config = signing.Config().use_elliptic_key_signer(private_key=tmp_path / "private.pem")
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=True))
    config.sign(folder, folder / "model.sig")
    data = (folder / "model.sig").read_bytes()
    assert oms.verify(data, KEY.public_pem, "model.sig").files == digests(folder)
    with pytest.raises(Tampered, match="one form"):
        check(folder)


@with_vectors
def test_the_specification_s_bundles_by_a_key_are_read_and_all_others_refused() -> None:
    valid = oms.read((VECTORS / "test-vectors/v1.0/valid/key.bundle.json").read_bytes(), "key.bundle.json")
    assert sorted(valid.statement.files) == ["signme-1", "signme-2"]
    others = sorted(path for path in VECTORS.rglob("*.bundle.json") if path.name != "key.bundle.json")
    assert len(others) == 7
    for path in others:  # certificates and Sigstore's are valid, and not what a package is signed with
        with pytest.raises(Tampered, match="is not a signature"):
            oms.read(path.read_bytes(), path.name)


@with_vectors
def test_what_we_write_follows_the_specification_s_schemas() -> None:
    schemas = {path.name: json.loads(path.read_bytes()) for path in (VECTORS / "schemas/v1.0").glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()
    )
    bundle = json.loads(oms.sign({"a": "0" * 64}, KEY))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    Draft202012Validator(schemas["bundle.schema.json"], registry=registry).validate(bundle)
    Draft202012Validator(schemas["statement.schema.json"], registry=registry).validate(statement)


def test_an_altered_a_missing_and_an_added_file_are_all_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    (folder / "weights.bin").write_bytes(b"\1" * 3000)
    (folder / "manifest.json").unlink()
    (folder / "extra").write_bytes(b"")
    with pytest.raises(Tampered) as caught:
        check(folder)
    assert [fault.split()[0] for fault in caught.value.faults] == ["manifest.json", "extra", "weights.bin"]


def test_two_files_that_change_their_names_are_refused(tmp_path: Path) -> None:
    """The format's digest of the whole does not cover names; ours does by the form of the file."""
    folder = write(tmp_path / "package")
    first, second = folder / "adapter_config.json", folder / "manifest.json"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    with pytest.raises(Tampered, match="not those that were signed"):
        check(folder)


def test_what_the_reference_ignores_is_not_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    (folder / ".gitattributes").write_text("x")
    assert accepted_by_reference(folder)
    with pytest.raises(Tampered, match="gitattributes is not among"):
        check(folder)


def _signed(folder: Path, **changes: Any) -> None:
    """The holder of the key signs another statement."""
    payload = json.loads(_envelope(json.loads((folder / "model.sig").read_bytes())))
    payload["predicate"]["serialization"].update(changes)
    data = canonical_json(payload)
    (folder / "model.sig").write_bytes(oms._bundle(KEY.public_pem, data, KEY.sign(dsse.pae(dsse.INTOTO, data))))


def _envelope(bundle: dict[str, Any]) -> bytes:
    return base64.b64decode(bundle["dsseEnvelope"]["payload"])


def test_a_signature_that_ignores_files_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    _signed(folder, ignore_paths=["model.sig", "payload.bin"])
    (folder / "payload.bin").write_bytes(b"x")
    assert accepted_by_reference(folder)
    with pytest.raises(Tampered, match=r"payload\.bin is not among"):
        check(folder)
    (folder / "payload.bin").unlink()
    with pytest.raises(Tampered, match="ignores files"):
        check(folder)


@pytest.mark.parametrize(
    "changes", [{"allow_symlinks": True}, {"method": "shards", "shard_size": 1}, {"hash_type": "blake2b"}, {"more": 1}]
)
def test_another_way_to_hash_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write(tmp_path / "package")
    _signed(folder, **changes)
    with pytest.raises(Tampered, match="is not a signature"):
        check(folder)


def _sig(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["dsseEnvelope"]["signatures"][0]
    return found


LOOSER: dict[str, Callable[[dict[str, Any]], object]] = {
    "another media type": lambda each: each.update(mediaType=each["mediaType"].replace("0.3", "0.2")),
    "a certificate beside the key": lambda each: each["verificationMaterial"].update(certificate={"rawBytes": "AA=="}),
    "a hint of another key": lambda each: each["verificationMaterial"]["publicKey"].update(hint="0" * 64),
    "no hint": lambda each: each["verificationMaterial"].update(publicKey={}),
    "an old key": lambda each: each["verificationMaterial"].update(publicKey={"rawBytes": "AA=="}),
    "a log entry": lambda each: each["verificationMaterial"].update(tlogEntries=[{"logIndex": "1"}]),
    "no list of log entries": lambda each: each["verificationMaterial"].pop("tlogEntries"),
    "a key id": lambda each: _sig(each).update(keyid="x"),
    "no key id": lambda each: _sig(each).pop("keyid"),
    "a null key id": lambda each: _sig(each).update(keyid=None),
    "no signature": lambda each: each["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda each: each["dsseEnvelope"].update(signatures=each["dsseEnvelope"]["signatures"] * 2),
    "another payload type": lambda each: each["dsseEnvelope"].update(payloadType="application/json"),
    "a field more": lambda each: each.update(more=1),
    "an empty signature": lambda each: _sig(each).update(sig=""),
    "an empty payload": lambda each: each["dsseEnvelope"].update(payload=""),
    "a signature with spaces": lambda each: _sig(each).update(sig=_sig(each)["sig"] + " "),
    "a signature in URL-safe base64": lambda each: _sig(each).update(
        sig=_sig(each)["sig"].replace("+", "-").replace("/", "_") + "="
    ),
    "a payload with a line end": lambda each: each["dsseEnvelope"].update(
        payload=each["dsseEnvelope"]["payload"] + "\n"
    ),
    "no envelope": lambda each: each.pop("dsseEnvelope"),
}


@pytest.mark.parametrize("name", LOOSER)
def test_looser_bundles_are_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "package")
    bundle = json.loads((folder / "model.sig").read_bytes())
    LOOSER[name](bundle)
    (folder / "model.sig").write_bytes(canonical_json(bundle))
    with pytest.raises(Tampered, match=r"model\.sig"):
        check(folder)


def test_other_forms_of_the_same_bundle_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    data = (folder / "model.sig").read_bytes()
    value = json.loads(data)
    (folder / "model.sig").write_text(json.dumps(value, indent=2))
    assert accepted_by_reference(folder)
    for other in (
        json.dumps(value).encode(),
        json.dumps(value, indent=2).encode(),
        data + b"\n",
        b"\xef\xbb\xbf" + data,
        data.replace(b'{"dsseEnvelope"', b'{"mediaType":"x","dsseEnvelope"', 1),
        data.replace(b"vnd.dev", b"vnd\\u002edev"),
    ):
        (folder / "model.sig").write_bytes(other)
        with pytest.raises(Tampered, match=r"model\.sig"):
            check(folder)


STATEMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a file twice": lambda each: each["predicate"]["resources"].append(each["predicate"]["resources"][0]),
    "another order": lambda each: each["predicate"]["resources"].reverse(),
    "another digest of the whole": lambda each: each["subject"][0]["digest"].update(sha256="0" * 64),
    "a second subject": lambda each: each["subject"].append(each["subject"][0]),
    "no subject": lambda each: each.update(subject=[]),
    "another name": lambda each: each["subject"][0].update(name="x"),
    "no name": lambda each: each["subject"][0].update(name=""),
    "a file without a name": lambda each: each["predicate"]["resources"][0].update(name=""),
    "another predicate": lambda each: each.update(predicateType="https://model_signing/Digests/v0.1"),
    "another statement": lambda each: each.update(_type="https://in-toto.io/Statement/v0.1"),
    "a path out of the folder": lambda each: each["predicate"]["resources"][0].update(name="../adapter_config.json"),
    "a second path to a file": lambda each: each["predicate"]["resources"][0].update(name="./adapter_config.json"),
    "a name in another case": lambda each: each["predicate"]["resources"][0].update(name="Adapter_config.json"),
    "a digest in another case": lambda each: each["predicate"]["resources"][1].update(
        digest=each["predicate"]["resources"][1]["digest"].upper()
    ),
    "another algorithm": lambda each: each["predicate"]["resources"][0].update(algorithm="blake3"),
    "a field more in a file": lambda each: each["predicate"]["resources"][0].update(size=2),
    "a file less": lambda each: each["predicate"]["resources"].pop(),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_other_statements_are_refused_even_if_they_are_signed(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "package")
    payload = json.loads(_envelope(json.loads((folder / "model.sig").read_bytes())))
    STATEMENTS[name](payload)
    data = canonical_json(payload)
    (folder / "model.sig").write_bytes(oms._bundle(KEY.public_pem, data, KEY.sign(dsse.pae(dsse.INTOTO, data))))
    with pytest.raises(Tampered, match=r"model\.sig"):
        check(folder)


def test_a_signature_by_another_key_or_moved_from_another_package_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "package")
    other = crypto.SigningKey.random()
    with pytest.raises(Tampered, match="another key"):
        oms.check((folder / "model.sig").read_bytes(), other.public_pem, digests(folder), "model.sig")
    ours = json.loads((folder / "model.sig").read_bytes())
    theirs = json.loads(oms.sign(digests(folder), other))
    _sig(ours)["sig"] = _sig(theirs)["sig"]
    (folder / "model.sig").write_bytes(canonical_json(ours))
    with pytest.raises(Tampered, match="does not match"):
        check(folder)


def test_the_signature_of_another_message_type_is_refused(tmp_path: Path) -> None:
    """The reference also takes signatures of an old, broken encoding of what is signed."""
    folder = write(tmp_path / "package")
    payload = _envelope(json.loads((folder / "model.sig").read_bytes()))
    old = f"DSSEV1 {len(dsse.INTOTO)} {dsse.INTOTO} {len(payload)} {payload!r}".encode()
    (folder / "model.sig").write_bytes(oms._bundle(KEY.public_pem, payload, KEY.sign(old)))
    assert accepted_by_reference(folder)
    with pytest.raises(Tampered, match="does not match"):
        check(folder)


def test_the_digest_of_the_whole_follows_from_the_files() -> None:
    payload = json.loads(_envelope(json.loads(oms.sign({"a": "0" * 64}, KEY))))
    payload["subject"][0]["digest"]["sha256"] = "1" * 64
    with pytest.raises(Tampered, match=r"digest of the whole does not follow .* Found: 111111111111"):
        oms.read(_bundle_of(payload), "model.sig")


def test_names_have_at_least_one_character() -> None:
    payload = json.loads(_envelope(json.loads(oms.sign({"a": "0" * 64}, KEY))))
    for place in (payload["subject"][0], payload["predicate"]["resources"][0]):
        assert oms.read(_bundle_of(payload), "model.sig").statement.files == {"a": "0" * 64}
        place["name"] = ""
        with pytest.raises(Tampered, match="is not a signature"):
            oms.read(_bundle_of(payload), "model.sig")
        place["name"] = "a"


def _bundle_of(payload: dict[str, Any]) -> bytes:
    return oms._bundle(KEY.public_pem, canonical_json(payload), b"read, and not verified")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"[" * 100_000, b'{"a":' * 50_000, b"\xff", b"null", b"1e999"])
def test_what_is_not_a_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(Tampered, match="is not a signature"):
        oms.read(data, "model.sig")


def test_random_changes_are_refused_and_never_break_the_reader() -> None:
    dice = random.Random(5)
    files = {"a": "0" * 64, "b": "1" * 64}
    data = oms.sign(files, KEY)
    for _ in range(3000):
        changed = bytearray(data)
        place = dice.randrange(len(changed))
        changed[place : place + dice.randrange(4)] = dice.choice([b"", b'"', b"{", b"[", b"\\", dice.randbytes(2)])
        if bytes(changed) != data:
            with pytest.raises(Tampered, match=r"model\.sig"):
                oms.check(bytes(changed), KEY.public_pem, files, "model.sig")


def test_only_a_key_on_p_256_signs() -> None:
    with pytest.raises(InvalidInput, match="P-256"):
        oms.sign({"a": "0" * 64}, crypto.LogKey.random())
