"""The package: its folder, model.sig and the manifest."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

from sdk import crypto
from sdk.crypto import dsse
from sdk.errors import Refused, Tampered
from sdk.records import canonical_json, sha256
from sdk.seal import oms
from tests.clean_releases import (
    Link,
    Release,
    Tree,
    hex_of,
    manifest_of,
    sign_package,
    tensors,
)
from tests.tampering.kit import (
    FILES,
    FLOE,
    MANIFEST,
    PACKAGE_FILES,
    SIG,
    Bench,
    another,
    content,
    double_a_key,
    other_base64,
    other_json,
    tampers,
)

# -- the package's folder ---------------------------------------------------------------------------------------------


def _one(draw: Random) -> str:
    return draw.choice(PACKAGE_FILES)


@tampers("release")
def a_file_of_the_package_removed(case: Release, draw: Random, bench: Bench) -> None:
    del case.tree[_one(draw)]


@tampers("release")
def a_file_of_the_package_emptied(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[_one(draw)] = b""


@tampers("release", word="is no file of a package")
def a_file_added(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(["evil.py", "pytorch_model.bin", "README.md", "._bom.json", hex_of(draw, 8), "\u202ex.json"])
    case.tree[f"package/{name}"] = draw.randbytes(draw.randrange(50))


@tampers("release", word="is not among the signed files")
def a_tokenizer_file_added(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(["special_tokens_map.json", "chat_template.jinja"])
    case.tree[f"package/{name}"] = draw.randbytes(draw.randrange(50))


@tampers("release")
def a_file_of_another_package_in_its_place(case: Release, draw: Random, bench: Bench) -> None:
    path = _one(draw)
    case.tree[path] = bench.older.tree[path]


@tampers("release")
def two_files_exchanged(case: Release, draw: Random, bench: Bench) -> None:
    one, other = draw.sample(PACKAGE_FILES, 2)
    case.tree[one], case.tree[other] = case.tree[other], case.tree[one]


def _twin(name: str, draw: Random) -> str:
    """A name that a reader or another file system takes for this one."""
    places = [place for place, letter in enumerate(name) if letter.isalpha()]
    place = draw.choice(places)
    letter = name[place]
    other = draw.choice([letter.upper(), chr(ord(letter) - 0x20 + 0xFF00), "ſ" if letter == "s" else letter.upper()])
    return name[:place] + other + name[place + 1 :]


@tampers("release", word="looks like")
def a_file_renamed_to_its_twin_by_case_or_normal_form(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(FILES)
    case.tree[f"package/{_twin(name, draw)}"] = case.tree.pop(f"package/{name}")


@tampers("release", word="looks like")
def a_twin_beside_a_file(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(FILES)
    case.tree[f"package/{_twin(name, draw)}"] = case.tree[f"package/{name}"]


@tampers("release", word="is a link")
def a_link_to_the_same_bytes(case: Release, draw: Random, bench: Bench) -> None:
    path = _one(draw)
    name = path.removeprefix("package/")
    case.tree[f"aside/{name}"] = case.tree[path]
    case.tree[path] = Link(draw.choice([f"../aside/{name}", str(case.folder / "release/aside" / name)]))


@tampers("release", word="is a link")
def the_package_folder_a_link_to_the_same_files(case: Release, draw: Random, bench: Bench) -> None:
    for path in [path for path in case.tree if path.startswith("package/")]:
        case.tree[f"aside/{path}"] = case.tree.pop(path)
    case.tree["package"] = Link("aside/package")


@tampers("release", word="is a link")
def a_link_that_leads_nowhere_or_outside(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[_one(draw)] = Link(draw.choice(["/etc/hostname", "/proc/self/environ", "nowhere", ".", "/dev/zero"]))


@tampers("release", word="is no file of a package")
def a_hidden_git_file(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice([".git", ".gitignore", ".gitattributes", ".github/", ".git/config", ".git/hooks/post-checkout"])
    case.tree[f"package/{name}"] = b"" if name.endswith("/") else draw.randbytes(20)


@tampers("release", word="is not a regular file")
def a_folder_in_place_of_a_file(case: Release, draw: Random, bench: Bench) -> None:
    path = _one(draw)
    data = case.tree.pop(path)
    case.tree[draw.choice([f"{path}/", f"{path}/{path.rpartition('/')[2]}"])] = data


@tampers("release", word="is no file of a package")
def a_folder_added(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[f"package/{draw.choice(['package', 'adapter', '__pycache__'])}/{draw.choice(['', 'x.py'])}"] = b""


@tampers("release", word="is no file of a package")
def folders_nested_deep(case: Release, draw: Random, bench: Bench) -> None:
    case.tree["package/" + draw.choice(["a/", "package/"]) * draw.choice([2, 100, 400])] = b""


@tampers("release", word="both there")
def plain_weights_beside_the_sealed(case: Release, draw: Random, bench: Bench) -> None:
    case.tree["package/adapter_model.safetensors"] = tensors(draw, 1000)


@tampers("release", word="is missing")
def plain_weights_in_place_of_the_sealed(case: Release, draw: Random, bench: Bench) -> None:
    del case.tree[FLOE]
    case.tree["package/adapter_model.safetensors"] = tensors(draw, 1000)


@tampers("release", Refused, Tampered)
def the_whole_package_of_another_release(case: Release, draw: Random, bench: Bench) -> None:
    source = draw.choice([bench.older, bench.plain]).tree
    for path in [path for path in case.tree if path.startswith("package/")]:
        del case.tree[path]
    case.tree |= {path: data for path, data in source.items() if path.startswith("package/")}


# -- model.sig --------------------------------------------------------------------------------------------------------


def bundle_of(tree: Tree) -> Any:
    return json.loads(content(tree, SIG))


def put_bundle(tree: Tree, bundle: Any) -> None:
    tree[SIG] = canonical_json(bundle)


def _signed(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else canonical_json(payload)


def _sign_payload(tree: Tree, payload: Any, signer: crypto.Signer, hint: bool = True) -> None:
    """The bundle over another payload by this key; `hint`: it says so."""
    bundle, data = bundle_of(tree), _signed(payload)
    bundle["dsseEnvelope"]["payload"] = crypto.b64(data)
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = crypto.b64(signer.sign(dsse.pae(dsse.INTOTO, data)))
    if hint:
        bundle["verificationMaterial"]["publicKey"]["hint"] = sha256(signer.public_pem.encode())
    put_bundle(tree, bundle)


def _payload(tree: Tree) -> Any:
    return json.loads(base64.b64decode(bundle_of(tree)["dsseEnvelope"]["payload"]))


@tampers("release", word="another key")
def the_signature_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    sign_package(case.tree, bench.keys.stranger)


@tampers("release", word="does not match")
def the_signature_by_a_stranger_in_the_trainers_name(case: Release, draw: Random, bench: Bench) -> None:
    _sign_payload(case.tree, _payload(case.tree), bench.keys.stranger, hint=False)


def _resign(case: Release, signer: crypto.Signer, **changes: object) -> None:
    """The manifest changed and everything signed again by this key, which the manifest names."""
    fields = json.loads(content(case.tree, MANIFEST)) | changes
    case.tree[MANIFEST] = canonical_json(fields | {"signing_key": signer.fingerprint})
    sign_package(case.tree, signer)


@tampers("release", word="no trainer's in the key ring")
def signed_again_by_a_key_that_is_no_trainers(case: Release, draw: Random, bench: Bench) -> None:
    keys = bench.keys
    _resign(case, draw.choice([keys.stranger, keys.owner, keys.first, keys.reviewer, keys.left]))


@tampers("release", word="does not match")
def files_to_ignore_named_in_the_signature(case: Release, draw: Random, bench: Bench) -> None:
    bundle, payload = bundle_of(case.tree), _payload(case.tree)
    payload["predicate"]["serialization"]["ignore_paths"].append(draw.choice(["model.sig", "tokenizer.json", "*", ""]))
    bundle["dsseEnvelope"]["payload"] = crypto.b64(canonical_json(payload))
    put_bundle(case.tree, bundle)


@tampers("release", word="in the one form")
def files_to_ignore_named_and_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    payload = _payload(case.tree)
    payload["predicate"]["serialization"]["ignore_paths"] = draw.choice([[], ["*"], ["model.sig", hex_of(draw, 8)]])
    _sign_payload(case.tree, payload, bench.keys.trainer)


@tampers("release", word="not those that were signed")
def another_digest_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    names = [path.removeprefix("package/") for path in PACKAGE_FILES if path != SIG]
    digests = {name: sha256(content(case.tree, f"package/{name}")) for name in names}
    digests[draw.choice(names)] = hex_of(draw)
    case.tree[SIG] = oms.sign(digests, bench.keys.trainer)


@tampers("release")
def another_digest_in_the_signature(case: Release, draw: Random, bench: Bench) -> None:
    bundle, payload = bundle_of(case.tree), _payload(case.tree)
    draw.choice(payload["predicate"]["resources"])["digest"] = hex_of(draw)
    if draw.random() < 0.5:
        whole = b"".join(bytes.fromhex(each["digest"]) for each in payload["predicate"]["resources"])
        payload["subject"][0]["digest"]["sha256"] = sha256(whole)
    bundle["dsseEnvelope"]["payload"] = crypto.b64(canonical_json(payload))
    put_bundle(case.tree, bundle)


@tampers("release")
def a_key_twice_in_the_signature(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[SIG] = double_a_key(content(case.tree, SIG), draw)


@tampers("release")
def the_payload_or_signature_of_another_package(case: Release, draw: Random, bench: Bench) -> None:
    bundle, other = bundle_of(case.tree), bundle_of(bench.older.tree)
    part = draw.choice(["payload", "signatures"])
    bundle["dsseEnvelope"][part] = other["dsseEnvelope"][part]
    put_bundle(case.tree, bundle)


@tampers("release")
def the_signature_in_another_json(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[SIG] = other_json(content(case.tree, SIG), draw)


@tampers("release")
def base64_of_the_signature_in_another_form(case: Release, draw: Random, bench: Bench) -> None:
    bundle = bundle_of(case.tree)
    envelope = bundle["dsseEnvelope"]
    holder, name = draw.choice([(envelope, "payload"), (envelope["signatures"][0], "sig")])
    holder[name] = other_base64(holder[name], draw)
    put_bundle(case.tree, bundle)


@tampers("release", word="model.sig")
def another_field_in_the_signature(case: Release, draw: Random, bench: Bench) -> None:
    bundle = bundle_of(case.tree)
    envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
    holder, name, value = draw.choice(
        [
            (envelope["signatures"][0], "keyid", bench.keys.trainer.fingerprint),
            (envelope, "signatures", envelope["signatures"] * 2),
            (envelope, "signatures", []),
            (envelope, "payloadType", "application/json"),
            (material, "tlogEntries", [{}]),
            (material, "certificate", {"rawBytes": ""}),
            (material["publicKey"], "hint", hex_of(draw)),
            (bundle, "mediaType", "application/vnd.dev.sigstore.bundle.v0.2+json"),
            (bundle, "extra", None),
        ]
    )
    holder[name] = value
    put_bundle(case.tree, bundle)


@tampers("release", word="does not match")
def a_file_taken_out_of_signature_and_folder_alike(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(["tokenizer.json", "tokenizer_config.json"])
    del case.tree[f"package/{name}"]
    payload = _payload(case.tree)
    resources = [each for each in payload["predicate"]["resources"] if each["name"] != name]
    payload["predicate"]["resources"] = resources
    whole = b"".join(bytes.fromhex(each["digest"]) for each in resources)
    payload["subject"][0]["digest"]["sha256"] = sha256(whole)
    bundle = bundle_of(case.tree)
    bundle["dsseEnvelope"]["payload"] = crypto.b64(canonical_json(payload))
    put_bundle(case.tree, bundle)


@tampers("release", word="does not match")
def the_signature_proper_in_another_encoding(case: Release, draw: Random, bench: Bench) -> None:
    bundle = bundle_of(case.tree)
    raw = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    padded = b"\x30" + bytes([raw[1] + 1, 2, raw[3] + 1, 0]) + raw[4:]
    zero = bytes.fromhex("3006020100020100")
    ones = bytes.fromhex("3006020101020101")
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = crypto.b64(
        draw.choice([raw + b"\0", padded, b"\x30\x81" + raw[1:], zero, ones, raw[4 : 4 + raw[3]][-32:].rjust(32) * 2])
    )
    put_bundle(case.tree, bundle)


# -- manifest ---------------------------------------------------------------------------------------------------------


def _changed_field(tree: Tree, draw: Random) -> dict[str, Any]:
    fields = json.loads(content(tree, MANIFEST))
    name = draw.choice([name for name in sorted(fields) if name != "signing_key"])
    return {name: another(name, fields[name], draw)}


@tampers("release")
def a_field_of_the_manifest(case: Release, draw: Random, bench: Bench) -> None:
    fields = json.loads(content(case.tree, MANIFEST))
    case.tree[MANIFEST] = canonical_json(fields | _changed_field(case.tree, draw))


@tampers("release", word="no trainer's in the key ring")
def a_field_of_the_manifest_signed_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.stranger, **_changed_field(case.tree, draw))


@tampers("release", Tampered, Refused)
def a_field_of_the_manifest_signed_by_the_trainer_after_approval(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.trainer, **_changed_field(case.tree, draw))


@tampers("release", word="is not the sealing of this package")
def the_version_lowered_by_the_trainer_after_approval(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.trainer, version=draw.choice([1, 2]))


@tampers("release", word="no trainer's in the key ring")
def the_version_lowered_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.stranger, version=draw.choice([1, 2]))


@tampers("release", word="is not the sealing of this package")
def another_base_named_by_the_trainer_after_approval(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.trainer, base_digest=hex_of(draw))


@tampers("release", word="is not the sealing of this package")
def another_wrapped_key_by_the_trainer_after_approval(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.trainer, wrapped_data_key=manifest_of(bench.older.tree).wrapped_data_key)


@tampers("release")
def the_wrapped_key_of_another_package(case: Release, draw: Random, bench: Bench) -> None:
    fields = json.loads(content(case.tree, MANIFEST))
    fields["wrapped_data_key"] = manifest_of(bench.older.tree).wrapped_data_key
    case.tree[MANIFEST] = canonical_json(fields)


@tampers("release", word="canonical")
def the_manifest_in_another_json_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    data = content(case.tree, MANIFEST)
    case.tree[MANIFEST] = draw.choice([other_json, double_a_key])(data, draw)
    sign_package(case.tree, bench.keys.trainer)


@tampers("release", word="not the manifest of a package")
def an_unknown_field_in_the_manifest_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    _resign(case, bench.keys.trainer, **{draw.choice(["extra", "Version", "version "]): draw.choice([1, None, "x"])})


@tampers("release", word="bill of materials")
def another_bill_of_materials_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    data = content(bench.older.tree, "package/bom.json")
    case.tree["package/bom.json"] = data
    files = json.loads(content(case.tree, MANIFEST))["files"]
    for each in files:
        if each["path"] == "bom.json":
            each |= {"size": len(data), "sha256": sha256(data)}
    _resign(case, bench.keys.trainer, files=files)
