"""A package is what was signed, to the byte; weights come back only with the right key, in memory."""

import io
import json
import os
import random
import shutil
import socket
import unicodedata
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import rfc8785
import torch
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from model_signing import verifying
from pydantic import ValidationError
from safetensors.torch import save_file

from sdk import crypto
from sdk.crypto import floe
from sdk.errors import InvalidInput, Tampered
from sdk.files.store import file_ref
from sdk.records import Behaviour, Package, Probe, ProbeText, sha256
from sdk.seal import (
    ADAPTER,
    BEHAVIOUR,
    PACKAGE,
    PROVENANCE,
    SEALED_WEIGHTS,
    DescribedFacts,
    Manifest,
    Recorded,
    check_provenance,
    key_context,
    lock_digest,
    oms,
    open_package,
    read_adapter,
    read_behaviour,
    seal,
    unseal,
    wipe,
)
from sdk.seal.tensors import read_tensors

KEY, WRAPPER = crypto.SigningKey.random(), crypto.LocalWrapper(crypto.Secret.random())
DIGEST = "0" * 64


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header, place = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(data)]}
        place += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


WEIGHTS = safetensors({"a.lora_A": ("F32", [7, 20], b"MARKED-WEIGHTS" * 40), "a.lora_B": ("BF16", [3], b"123456")})


SEEN = Behaviour(
    bits=16,
    texts=(ProbeText(messages=({"role": "text", "content": "One two."},), ids=(1, 2), asked=0),),
    probes=(Probe(text=0, place=1, tokens=(2, 3), base=(-100, -2400), adapted=(-2400, -100)),),
)


def facts(number: int = 1) -> DescribedFacts:
    return DescribedFacts(
        package_id=f"{number:032x}",
        version=number,
        project="claims",
        base="embedded",
        base_revision=None,
        base_digest=DIGEST,
        method="lora",
        records={"run": DIGEST},
        data={"train": DIGEST, "eval": "1" * 64},
        scores={"exact_match": "0.8125", "f1": "0.9"},
        policy="default@1",
        policy_digest=DIGEST,
        domain="finance@1",
        domain_digest=DIGEST,
        prompt="Answer.",
        max_new_tokens=8,
        code={"python": "3.11.9", "torch": "2.13.0+cpu"},
        lock=lock_digest(),
    )


def make(folder: Path, encrypt: bool = True, number: int = 1, weights: bytes = WEIGHTS) -> tuple[Path, Package]:
    adapter, base = folder / "run" / ADAPTER, folder / "base"
    adapter.mkdir(parents=True)
    base.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    (base / "tokenizer.json").write_text('{"version": "1.0"}')
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "config.json").write_text("{}")
    assert read_adapter(folder / "run") == ({"r": 8}, weights)
    out, wrapper = folder / "out", WRAPPER if encrypt else None
    known = Recorded(behaviour=SEEN)
    return out / PACKAGE, seal(adapter, base, facts(number), KEY, "trainer", wrapper, out, known)


def data_key(manifest: Manifest) -> crypto.Secret | None:
    wrapped = manifest.wrapped_data_key
    return WRAPPER.unwrap(wrapped, key_context(manifest.package_id)) if wrapped else None


def refused(folder: Path, package: Package | None, match: str) -> None:
    with pytest.raises(Tampered, match=match):
        open_package(folder, package, KEY.public_pem, None)


def test_a_manifest_counts_from_one() -> None:
    for name in ("version", "max_new_tokens"):
        assert DescribedFacts.model_validate(facts().model_dump() | {name: 1})
        with pytest.raises(ValidationError, match=name):
            DescribedFacts.model_validate(facts().model_dump() | {name: 0})


def test_the_lock_is_over_every_distribution_that_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n\nVersion: 2\n" for name in ("B", "a", "a")]
    named = [SimpleNamespace(read_text={"METADATA": text}.get) for text in (*texts, "Metadata-Version: 2.1\n")]
    monkeypatch.setattr("sdk.seal.manifest.distributions", lambda: named)
    assert lock_digest() == sha256(b"a==1\nb==1\n")


def test_the_lock_has_the_names_and_versions_of_importlib() -> None:
    lines = {f"{each.metadata['Name'].lower()}=={each.version}\n" for each in distributions() if each.metadata["Name"]}
    assert len(lines) > 100
    assert lock_digest() == sha256("".join(sorted(lines)).encode())


@pytest.mark.parametrize("encrypt", [True, False])
def test_weights_come_back_and_are_plain_only_where_the_policy_allows(tmp_path: Path, encrypt: bool) -> None:
    folder, package = make(tmp_path, encrypt)
    manifest = open_package(folder, package, KEY.public_pem, package.package)
    config, weights = unseal(folder, manifest, data_key(manifest))
    assert (config, bytes(weights)) == ({"r": 8}, WEIGHTS)
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert (b"MARKED-WEIGHTS" in stored) is not encrypt
    assert package.encrypted is encrypt
    wipe(weights)
    assert weights == bytes(len(WEIGHTS))


def test_a_manifest_says_what_the_package_is_made_of(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    manifest = open_package(folder, None, KEY.public_pem, package.package)
    assert [ref.path for ref in manifest.files] == [
        "adapter_config.json",
        "adapter_model.safetensors.floe",
        "behaviour.json",
        "bom.json",
        "chat_template.jinja",
        "tokenizer.json",
    ]
    assert [(each.name, each.dtype, each.shape) for each in manifest.tensors] == [
        ("a.lora_A", "F32", (7, 20)),
        ("a.lora_B", "BF16", (3,)),
    ]
    assert manifest.weights_sha256 == sha256(WEIGHTS)
    assert manifest.signing_key == KEY.fingerprint == package.key_fingerprint
    assert (manifest.key_id, package.package_id, package.version) == (WRAPPER.key_id, f"{1:032x}", 1)
    data = (folder / "manifest.json").read_bytes()
    assert sha256(data) == package.package
    assert rfc8785.dumps(json.loads(data)) == data


@pytest.mark.parametrize("encrypt", [True, False])
def test_the_reference_verifier_of_openssf_accepts_a_package(tmp_path: Path, encrypt: bool) -> None:
    folder, _ = make(tmp_path, encrypt)
    (tmp_path / "key.pem").write_text(KEY.public_pem)
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pem")
    verifier.verify(folder, folder / "model.sig")
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ValueError, match="Hash mismatch"):
        verifier.verify(folder, folder / "model.sig")


def test_every_flipped_byte_of_every_file_is_refused(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    for path in sorted(folder.iterdir()):
        with path.open("r+b", buffering=0) as file:
            for place, byte in enumerate(path.read_bytes()):
                os.pwrite(file.fileno(), bytes([byte ^ 1]), place)
                refused(folder, package, path.name.replace(".", r"\."))
                os.pwrite(file.fileno(), bytes([byte]), place)
    open_package(folder, package, KEY.public_pem, None)


def test_a_missing_a_cut_and_a_longer_file_are_refused(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        name = path.name.replace(".", r"\.")
        path.unlink()
        refused(folder, package, f"{name}.* is missing|adapter_model.* is missing")
        path.write_bytes(data[:-1])
        refused(folder, package, name)
        path.write_bytes(data + b"\n")
        refused(folder, package, name)
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("extra.bin", "extra.bin is no file of a package"),
        (".gitignore", ".gitignore is no file"),
        (".gitattributes", ".gitattributes is no file"),
        ("Manifest.json", "looks like manifest.json"),
        ("TOKENIZER.JSON", "looks like tokenizer.json"),
        ("adapter_conﬁg.json", "looks like adapter_config.json"),
        ("ｍodel.sig", "looks like model.sig"),
        (unicodedata.normalize("NFD", "modèl.sig"), "is no file of a package"),
        ("pytorch_model.bin", "is no file of a package"),
        ("adapter_model.safetensors", "both there"),
        ("tokenizer_config.json", "not among the signed files"),
    ],
)
def test_added_files_and_twins_are_refused(tmp_path: Path, name: str, words: str) -> None:
    folder, package = make(tmp_path)
    (folder / name).write_bytes(b"x")
    refused(folder, package, words)


def _link(path: Path, moved: Path) -> None:
    path.symlink_to(moved)


def _folder(path: Path, moved: Path) -> None:
    path.mkdir()


def _pipe(path: Path, moved: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, moved: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("replace", [_link, _folder, _pipe, _socket])
def test_links_folders_and_special_files_are_refused(tmp_path: Path, replace: Callable[[Path, Path], None]) -> None:
    folder, package = make(tmp_path)
    config, moved = folder / "adapter_config.json", tmp_path / "elsewhere.json"
    config.rename(moved)
    replace(config, moved)
    refused(folder, package, r"adapter_config\.json is (a link|not a regular file)")


def test_a_linked_a_missing_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    refused(tmp_path / "link", package, "is a link")
    refused(tmp_path / "nowhere", package, "is not a package")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", package, "does not hold the files")


def test_another_signer_another_package_and_another_record_are_refused(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    with pytest.raises(Tampered, match="another key"):
        open_package(folder, package, crypto.SigningKey.random().public_pem, None)
    with pytest.raises(Tampered, match="another package lies there"):
        open_package(folder, None, KEY.public_pem, "1" * 64)
    for change in ({"version": 2}, {"package_id": "f" * 32}, {"key_fingerprint": DIGEST}, {"encrypted": False}):
        refused(folder, package.model_copy(update=change), "says something else")
    assert open_package(folder, None, KEY.public_pem, None).version == 1


def _resign(folder: Path) -> None:
    """What an insider with the trainer's key could do."""
    digests = {path.name: sha256(path.read_bytes()) for path in folder.iterdir() if path.name != "model.sig"}
    (folder / "model.sig").write_bytes(oms.sign(digests, KEY))


def _edit(path: Path, **changes: object) -> None:
    path.write_bytes(rfc8785.dumps({**json.loads(path.read_bytes()), **changes}))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("manifest.json", {"signing_key": DIGEST}, "names another signing key"),
        ("manifest.json", {"files": []}, "lists other files"),
        ("manifest.json", {"wrapped_data_key": None}, "lists other files"),
        ("manifest.json", {"version": 0}, "is not the manifest of a package"),
        ("manifest.json", {"surplus": 1}, "is not the manifest of a package"),
        ("manifest.json", {"weights_sha256": DIGEST}, "is not the bill of materials"),
        ("bom.json", {"serialNumber": "urn:uuid:00000000-0000-0000-0000-000000000002"}, "lists other files"),
    ],
)
def test_even_signed_contradictions_are_refused(
    tmp_path: Path, name: str, changes: dict[str, object], words: str
) -> None:
    folder, _ = make(tmp_path)
    _edit(folder / name, **changes)
    _resign(folder)
    refused(folder, None, words)


def test_behaviour_is_read_as_it_was_sealed(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    manifest = open_package(folder, package, KEY.public_pem, None)
    assert read_behaviour(folder, manifest) == SEEN
    (folder / BEHAVIOUR).write_bytes(SEEN.to_bytes().replace(b"-100", b"-101", 1))
    with pytest.raises(Tampered, match=r"behaviour\.json has been altered since the package was opened"):
        read_behaviour(folder, manifest)


def test_a_signed_behaviour_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder, _ = make(tmp_path)
    (folder / BEHAVIOUR).write_text("{}")
    ref = file_ref(folder / BEHAVIOUR, folder)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    others = [each for each in manifest.files if each.path != BEHAVIOUR]
    with pytest.raises(Tampered, match=r"behaviour\.json is not the behaviour of a model"):
        read_behaviour(folder, manifest.model_copy(update={"files": (*others, ref)}))
    assert read_behaviour(folder, manifest.model_copy(update={"files": tuple(others)})) is None  # of an earlier version


def test_a_signed_manifest_in_another_form_is_refused(tmp_path: Path) -> None:
    folder, _ = make(tmp_path)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    _resign(folder)
    refused(folder, None, "canonical form")


def test_weights_of_another_key_package_and_version_do_not_decrypt(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    manifest = open_package(folder, package, KEY.public_pem, None)
    key = data_key(manifest)
    assert key
    for change in ({"package_id": "f" * 32}, {"version": 2}):
        with pytest.raises(Tampered, match="does not decrypt"):
            unseal(folder, manifest.model_copy(update=change), key)
    with pytest.raises(Tampered, match="does not decrypt"):
        unseal(folder, manifest, crypto.Secret.random())
    with pytest.raises(InvalidInput, match="is encrypted"):
        unseal(folder, manifest, None)
    with pytest.raises(Tampered, match="not those that were sealed"):
        unseal(folder, manifest.model_copy(update={"weights_sha256": DIGEST}), key)
    with pytest.raises(Tampered):
        WRAPPER.unwrap(manifest.wrapped_data_key or "", key_context("f" * 32))


@pytest.mark.parametrize("encrypt", [True, False])
def test_files_that_change_after_opening_are_refused(tmp_path: Path, encrypt: bool) -> None:
    folder, package = make(tmp_path, encrypt)
    manifest = open_package(folder, package, KEY.public_pem, None)
    path = folder / manifest.weights
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Tampered, match="adapter_model"):
        unseal(folder, manifest, data_key(manifest))
    path.unlink()
    path.symlink_to(tmp_path / "run" / ADAPTER / "adapter_model.safetensors")
    with pytest.raises(Tampered, match="adapter_model"):
        unseal(folder, manifest, data_key(manifest))
    path.unlink()
    path.write_bytes(data)
    (folder / "adapter_config.json").write_text('{"r": 9}')
    with pytest.raises(Tampered, match=r"adapter_config\.json"):
        unseal(folder, manifest, data_key(manifest))


def test_every_package_has_a_data_key_of_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folder, package = make(tmp_path / name)
        keys.add(open_package(folder, package, KEY.public_pem, None).wrapped_data_key)
    assert len(keys) == 2


def test_packages_of_one_signer_cannot_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, package = make(tmp_path / "a", number=1)
    second, _ = make(tmp_path / "b", number=2)
    for path in sorted(second.iterdir()):
        if path.read_bytes() != (first / path.name).read_bytes():
            mixed = tmp_path / f"mixed-{path.name}"
            shutil.copytree(first, mixed)
            shutil.copy(path, mixed)
            refused(mixed, package, path.name.replace(".", r"\."))
    refused(second, package, "another package lies there")


def test_the_bill_of_materials_is_one_of_cyclonedx(tmp_path: Path) -> None:
    folder, _ = make(tmp_path)
    text = (folder / "bom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"SHA-256"', '"SHA-257"')) is not None
    bom = json.loads(text)
    card = bom["metadata"]["component"]["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"][0] == {"type": "exact_match", "value": "0.8125"}
    assert [part["bom-ref"] for part in bom["components"]] == [
        "base",
        "data:eval",
        "data:train",
        "code:python",
        "code:torch",
    ]
    assert bom["components"][-1]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert rfc8785.dumps(bom) == text.encode()


def test_provenance_is_the_signer_s_about_this_manifest(tmp_path: Path) -> None:
    folder, package = make(tmp_path)
    manifest = open_package(folder, package, KEY.public_pem, None)
    data = (folder.parent / PROVENANCE).read_bytes()
    check_provenance(data, manifest, package.package, KEY.public_pem, PROVENANCE)
    with pytest.raises(Tampered, match="is not the provenance"):
        check_provenance(data, manifest, DIGEST, KEY.public_pem, PROVENANCE)
    other = manifest.model_copy(update={"base_digest": "1" * 64})
    with pytest.raises(Tampered, match="is not the provenance"):
        check_provenance(data, other, package.package, KEY.public_pem, PROVENANCE)
    with pytest.raises(Tampered, match="does not count"):
        check_provenance(data, manifest, package.package, crypto.SigningKey.random().public_pem, PROVENANCE)


@pytest.mark.parametrize("encrypt", [True, False])
def test_a_large_adapter_streams(tmp_path: Path, encrypt: bool) -> None:
    data = os.urandom(3 * floe.DEFAULT.payload + 5)
    weights = safetensors({"a": ("U8", [len(data)], data)})
    folder, package = make(tmp_path, encrypt, weights=weights)
    manifest = open_package(folder, package, KEY.public_pem, None)
    if encrypt:
        assert floe.plain_size((folder / SEALED_WEIGHTS).stat().st_size, SEALED_WEIGHTS) == len(weights)
    assert unseal(folder, manifest, data_key(manifest))[1] == weights


def _header(fields: object, data: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(fields).encode() if not isinstance(fields, bytes) else fields
    return len(text).to_bytes(8, "little") + text + data


_GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_TWICE = b'{"a":%b,"a":%b}' % ((json.dumps(_GOOD).encode(),) * 2)
MALFORMED = {
    "nothing": b"",
    "no length": b"\0" * 7,
    "a length beyond the file": (2**63).to_bytes(8, "little") + b"{}",
    "half an object": _header(b"{"),
    "no UTF-8": _header(b"\xff{}"),
    "a deep nest": _header(b"[" * 100_000),
    "a long number": _header(b'{"a":' + b"9" * 5000 + b"}"),
    "a list": _header([]),
    "no tensor for the data": _header({}),
    "an unknown dtype": _header({"a": {**_GOOD, "dtype": "OBJECT"}}),
    "a shape of another size": _header({"a": {**_GOOD, "shape": [3]}}),
    "a negative dimension": _header({"a": {**_GOOD, "shape": [-2]}}),
    "a dimension that is a truth value": _header({"a": {**_GOOD, "shape": [True, 2]}}),
    "a dimension that is a float": _header({"a": {**_GOOD, "shape": [2.0]}}),
    "a dimension beyond all files": _header({"a": {**_GOOD, "shape": [0, 2**60], "data_offsets": [0, 0]}}, b""),
    "offsets that run back": _header({"a": {**_GOOD, "data_offsets": [8, 0]}}),
    "a gap": _header({"a": {**_GOOD, "data_offsets": [1, 9]}}, b"\0" * 9),
    "a field more": _header({"a": {**_GOOD, "more": 1}}),
    "an overlap": _header({"a": _GOOD, "b": _GOOD}),
    "data after the tensors": _header({"a": _GOOD}, b"\0" * 9),
    "metadata that is no text": _header({"__metadata__": {"a": 1}, "a": _GOOD}),
    "a name twice": _header(_TWICE),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_weights_are_not_sealed(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a safetensors file"):
        make(tmp_path, weights=MALFORMED[name])


def test_random_headers_are_read_or_refused_and_nothing_else() -> None:
    dice = random.Random(11)
    read = 0
    for _ in range(5000):
        changed = bytearray(WEIGHTS)
        place = dice.randrange(150)
        changed[place : place + dice.randrange(3)] = dice.choice([b"", b"{", b'"', b"9", b"]", dice.randbytes(1)])
        try:
            read += bool(read_tensors(io.BytesIO(changed), len(changed), "weights"))
        except InvalidInput:
            continue
    assert 0 < read < 1500  # another letter in a name is another name


def test_safetensors_itself_reads_the_same_tensors(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"b": torch.ones(2, 3), "a": torch.zeros(4, dtype=torch.bfloat16)}, path, {"format": "pt"})
    with path.open("rb") as file:
        found = read_tensors(file, path.stat().st_size, str(path))
    assert {each.name: (each.dtype, each.shape) for each in found} == {"a": ("BF16", (4,)), "b": ("F32", (2, 3))}


def test_a_key_that_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    adapter = tmp_path / "run"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(InvalidInput, match="P-256"):
        seal(adapter, tmp_path, facts(), crypto.LogKey.random(), "trainer", None, tmp_path / "out")
    with pytest.raises(InvalidInput, match="cannot be read"):
        seal(tmp_path / "nothing", tmp_path, facts(), KEY, "trainer", None, tmp_path / "out")
