"""A package is what was signed, to the byte; weights come back only with the right key, in memory."""

import json
from pathlib import Path

import pytest

from sdk import crypto
from sdk.errors import Tampered
from sdk.records import Package
from sdk.seal import ADAPTER, Facts, open_package, read_adapter, seal, unseal

KEY, SECRET = crypto.SigningKey.random(), crypto.Secret.random()
WEIGHTS = b"MARKED-WEIGHTS" * 40
DIGEST = "0" * 64


def facts() -> Facts:
    return Facts(
        project="claims",
        base="embedded",
        base_digest=DIGEST,
        method="lora",
        records={"run": DIGEST},
        data={"train": DIGEST},
        policy="default@1",
        policy_digest=DIGEST,
        domain="finance@1",
        domain_digest=DIGEST,
        prompt="Answer.",
        max_new_tokens=8,
        code={"torch": "2"},
    )


def make(folder: Path, encrypt: bool = True) -> tuple[Path, Package]:
    adapter = folder / "run" / ADAPTER
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    (adapter / "adapter_model.safetensors").write_bytes(WEIGHTS)
    config, weights = read_adapter(folder / "run")
    assert (config, weights) == ({"r": 8}, WEIGHTS)
    return folder / "out", seal(adapter, facts(), encrypt, "trainer", KEY, SECRET, folder / "out")


@pytest.mark.parametrize("encrypt", [True, False])
def test_weights_come_back_and_are_plain_only_where_the_policy_allows(tmp_path: Path, encrypt: bool) -> None:
    out, package = make(tmp_path, encrypt)
    manifest = open_package(out, package, KEY.public_pem)
    assert unseal(out, manifest, SECRET) == ({"r": 8}, WEIGHTS)
    stored = b"".join(path.read_bytes() for path in out.iterdir())
    assert (b"MARKED-WEIGHTS" in stored) is not encrypt
    assert package.encrypted is encrypt


def test_every_flipped_byte_of_every_file_is_refused(tmp_path: Path) -> None:
    out, package = make(tmp_path)
    for path in sorted(out.iterdir()):
        data = path.read_bytes()
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1
            path.write_bytes(bytes(flipped))
            with pytest.raises(Tampered, match=path.name.replace(".", r"\.")):
                open_package(out, package, KEY.public_pem)
        path.write_bytes(data)
    open_package(out, package, KEY.public_pem)


def test_added_missing_and_linked_files_are_refused(tmp_path: Path) -> None:
    out, package = make(tmp_path)
    (out / "extra.bin").write_bytes(b"x")
    with pytest.raises(Tampered, match=r"extra\.bin"):
        open_package(out, package, KEY.public_pem)
    (out / "extra.bin").unlink()
    config = out / "adapter_config.json"
    moved = tmp_path / "elsewhere.json"
    config.rename(moved)
    with pytest.raises(Tampered, match=r"adapter_config\.json is missing"):
        open_package(out, package, KEY.public_pem)
    config.symlink_to(moved)
    with pytest.raises(Tampered, match=r"adapter_config\.json is missing"):
        open_package(out, package, KEY.public_pem)


def test_another_signer_key_and_place_are_refused(tmp_path: Path) -> None:
    out, package = make(tmp_path)
    with pytest.raises(Tampered, match="project's key"):
        open_package(out, package, crypto.SigningKey.random().public_pem)
    manifest = open_package(out, package, KEY.public_pem)
    with pytest.raises(Tampered):
        unseal(out, manifest, crypto.Secret.random())
    with pytest.raises(Tampered, match="does not decrypt"):  # the same ciphertext said to belong to another base
        unseal(out, manifest.model_copy(update={"base_digest": "1" * 64}), SECRET)


def test_every_package_has_a_data_key_of_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        out, _ = make(tmp_path / name)
        keys.add(json.loads((out / "manifest.json").read_text())["wrapped_data_key"])
    assert len(keys) == 2
