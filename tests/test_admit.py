"""Each step of admission, from clean releases whose files are made anew with the right keys; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import sdk.serve.admit
from sdk import crypto
from sdk.crypto import keyring
from sdk.errors import InvalidInput, SDKError, Tampered
from sdk.records import Quantization, canonical_json, sha256
from sdk.seal import MANIFEST, PACKAGE
from sdk.serve.admit import Trust, admit, read_trust, trust_from_environment
from tests.clean_releases import Maker, Release, manifest_of, prove, tensors
from tests.shared import folder_in_memory

A = "a" * 64


@pytest.fixture
def maker() -> Iterator[Maker]:
    with folder_in_memory() as folder:
        made = Maker(folder, Random(16))
        made.shown = 99
        yield made


def release(maker: Maker, **options: Any) -> Release:
    return maker.release(1, tensors(maker.draw, 1000), **options)


def promoted(maker: Maker, phase: str = "finished", decisions: int = 3, **objects: str | None) -> Release:
    """A release whose promotion names something else; None: it does not name it."""
    tree, identity = maker.package(1, tensors(maker.draw, 1000))
    said = maker.decisions(identity)
    named = {**maker.objects(identity, said), **objects}
    tree |= maker.governance(
        identity, said[:decisions], {name: value for name, value in named.items() if value is not None}, phase
    )
    served = maker.checkpoint(maker.lines)
    return Release(tree, maker.rings[0].digest, served, maker.base, maker.folder, maker.folder)


def refused(case: Release, *texts: str, error: type[SDKError] = Tampered) -> None:
    with pytest.raises(error) as caught:
        case.check()
    told = "\n".join([caught.value.message, *caught.value.faults])
    for text in texts:
        assert text in told


# -- what a machine is told beforehand --------------------------------------------------------------------------------


def test_the_trust_file_is_the_one_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trust.json"
    path.write_text(json.dumps({"root": A, "base": "embedded", "encryption_key": "file:key"}))
    monkeypatch.setenv("SDK_TRUST", str(path))
    assert trust_from_environment() == read_trust(path)
    assert read_trust(path).keys == tmp_path
    monkeypatch.delenv("SDK_TRUST")
    with pytest.raises(InvalidInput, match="SDK_TRUST"):
        trust_from_environment()
    path.write_text("{}")
    with pytest.raises(InvalidInput, match="is not a file that `sdk keys trust` wrote"):
        read_trust(path)


def test_a_machine_with_the_whole_log_remembers_nothing_and_another_begins_with_its_first_release(maker: Maker) -> None:
    case = release(maker)
    assert case.check()
    with (
        patch.object(sdk.serve.admit, "load_adapted", lambda *given: "loaded"),
        patch.object(sdk.serve.admit, "write_served") as remembered,
    ):
        trust = Trust(root=case.root, base=str(case.base), encryption_key="file:key", keys=case.keys, served=None)
        assert admit(case.folder / "release", trust) == "loaded"
        assert not remembered.called
        first = trust.model_copy(update={"served": case.folder / "never-served"})
        assert admit(case.folder / "release", first) == "loaded"
        assert remembered.called


def test_a_base_that_would_come_from_a_hub_is_not_fetched(maker: Maker) -> None:
    case = release(maker)
    with patch.object(sdk.serve.admit, "locate_base", lambda base: "org/model"):
        refused(case, "must be a folder on this machine", error=InvalidInput)


def test_the_key_ring_that_the_trust_file_names_comes_along(maker: Maker) -> None:
    case = release(maker)
    for ring in maker.rings:
        case.ring = ring.digest
        assert case.check()
    case.ring = A
    refused(case, "lacks the key ring that was in force when the trust file")


# -- the package ------------------------------------------------------------------------------------------------------


def test_a_package_in_plain_is_served_and_so_is_one_whose_data_key_was_wrapped_anew(maker: Maker) -> None:
    assert release(maker, plain=True).check()
    case = release(maker)
    manifest, new = manifest_of(case.tree), crypto.Secret.random()
    context = {"package": manifest.package_id}
    key = crypto.LocalWrapper(maker.keys.secret).unwrap(str(manifest.wrapped_data_key), context)
    case.tree["governance/data-key.json"] = canonical_json({"wrapped": crypto.LocalWrapper(new).wrap(key, context)})
    (maker.folder / "key").write_text(new.expose().hex() + "\n")
    assert case.check()
    del case.tree["governance/data-key.json"]
    with pytest.raises(SDKError):
        case.check()


@pytest.mark.parametrize("data", [b"{}", b"[]", b"", b'{"signing_key":'])
def test_a_package_that_names_no_signing_key(maker: Maker, data: bytes) -> None:
    case = release(maker)
    case.tree[f"{PACKAGE}/{MANIFEST}"] = data
    refused(case, f"The package has no {MANIFEST} that names its signing key")


def test_files_that_are_missing_and_others_that_were_not_signed_are_all_named(maker: Maker) -> None:
    case = release(maker)
    del case.tree[f"{PACKAGE}/tokenizer.json"]
    refused(case, "are not those that were signed", "tokenizer.json is missing.")
    case.tree[f"{PACKAGE}/chat_template.jinja"] = b""
    refused(case, "tokenizer.json is missing.", "chat_template.jinja is not among the signed files.")


def test_a_method_that_this_version_lacks(maker: Maker) -> None:
    facts = maker.facts(1).model_copy(update={"method": "telepathy"})
    with patch.object(maker, "facts", lambda version: facts):
        refused(release(maker), "lacks the method that trained the package: telepathy", error=InvalidInput)


def test_a_base_is_loaded_as_it_was_quantized_for_the_training(maker: Maker) -> None:
    options = {"bnb_4bit_quant_type": "fp4", "keep_16bit": "mlp"}
    facts = maker.facts(1).model_copy(update={"method": "qlora-4bit", "quantization": options})
    with patch.object(maker, "facts", lambda version: facts):
        case = release(maker)
    assert case.check()  # which writes it
    trust = Trust(root=case.root, base=str(case.base), encryption_key="file:key", keys=case.keys, served=None)
    with patch.object(sdk.serve.admit, "load_adapted") as loaded:
        admit(case.folder / "release", trust)
    assert loaded.call_args.args[1] == Quantization(method="qlora-4bit", **options)


def test_the_key_of_a_trainer_who_left_before_the_promotion(maker: Maker) -> None:
    at = maker.start + timedelta(minutes=2)
    honest = release(maker)
    assert honest.check()
    ring = keyring.revoke(maker.rings[-1], maker.keys.trainer.fingerprint, "left", at, maker.head())
    maker.rings = (*maker.rings, ring)
    refused(release(maker), "The key of Tess, who signed the package, does not count")


# -- the promotion ----------------------------------------------------------------------------------------------------


def test_the_promotion_names_what_is_served(maker: Maker) -> None:
    assert promoted(maker).check()


@pytest.mark.parametrize("name", ["package", "policy", "report", "ring"])
@pytest.mark.parametrize("value", [A, None])
def test_the_promotion_of_something_else(maker: Maker, name: str, value: str | None) -> None:
    refused(promoted(maker, **{name: value}), "the promotion of something else", f"{name} is another one")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_promotion_by_any_ring_that_was_in_force(maker: Maker, place: int) -> None:
    assert promoted(maker, ring=maker.rings[place].digest).check()


def test_a_promotion_over_other_decisions(maker: Maker) -> None:
    refused(
        promoted(maker, **{"decision.0002": A}),
        f"list of decisions is another one: expected {A[:12]}",
    )
    with pytest.raises(SDKError, match="approvals"):  # one that it names is left out, and is needed
        promoted(maker, decisions=2).check()
    case = promoted(maker, **{"decision.0004": A})
    refused(case, f"list of decisions is another one: expected {A[:12]}, found none")
    assert promoted(maker, **{"decision.0003": None}).check()  # one that came after the promotion


@pytest.mark.parametrize("phase", ["started", "refused", "failed"])
def test_a_promotion_that_did_not_end_well(maker: Maker, phase: str) -> None:
    refused(promoted(maker, phase), f"is the event of another action (promote {phase})")


def test_another_action_than_a_promotion(maker: Maker) -> None:
    case = promoted(maker)
    line = maker.lines[-2].replace(b'"action":"promote"', b'"action":"publish"')
    maker.lines[-2] = line
    case.tree |= {"governance/promotion.json": line, **maker.proofs(next(iter(maker.sealed)), len(maker.lines) - 2)}
    case.served = maker.checkpoint(maker.lines)
    refused(case, "is the event of another action (publish finished)")


# -- the sealing ------------------------------------------------------------------------------------------------------


def test_a_sealing_that_is_proven_under_another_checkpoint(maker: Maker) -> None:
    case = release(maker)
    place, _ = maker.sealed[manifest_identity(case)]
    case.tree["governance/sealing.proof"] = prove(maker.lines[:-1], place, maker.origin, maker.keys.log)
    refused(case, "sealing.proof and promotion.proof are of different checkpoints")


def manifest_identity(case: Release) -> str:
    return sha256(case.tree[f"{PACKAGE}/{MANIFEST}"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda record: {**record, "kind": "run"}, "package is another one"),
        (lambda record: {**record, "package": A}, "package is another one"),
        (lambda record: {"kind": "package"}, "package.json is not a package's record"),
        (lambda record: [], "package.json is not a package's record"),
    ],
)
def test_a_sealing_of_another_record(maker: Maker, change: Callable[[dict[str, Any]], Any], text: str) -> None:
    """Recorded as it is, so that the event names it."""
    tree, identity = maker.package(1, tensors(maker.draw, 1000))
    place, record = maker.sealed[identity]
    maker.sealed[identity] = place, canonical_json(change(json.loads(record)))
    maker.lines[place] = maker.event(place, "seal", "finished", {"record": sha256(maker.sealed[identity][1])})
    tree |= maker.governance(identity, maker.decisions(identity))
    served = maker.checkpoint(maker.lines)
    refused(Release(tree, maker.rings[0].digest, served, maker.base, maker.folder, maker.folder), text)


@pytest.mark.parametrize(("action", "phase"), [("seal", "started"), ("seal", "failed"), ("train", "finished")])
def test_another_event_than_a_sealing_that_ended_well(maker: Maker, action: str, phase: str) -> None:
    tree, identity = maker.package(1, tensors(maker.draw, 1000))
    place, record = maker.sealed[identity]
    maker.lines[place] = maker.event(place, action, phase, {"record": sha256(record)})
    tree |= maker.governance(identity, maker.decisions(identity))
    served = maker.checkpoint(maker.lines)
    case = Release(tree, maker.rings[0].digest, served, maker.base, maker.folder, maker.folder)
    refused(case, "is not the sealing of this package", f"found {action} {phase}")


# -- what a machine has served ----------------------------------------------------------------------------------------


def remember(case: Release, **changes: Any) -> dict[str, Any]:
    """Serve it; what the machine remembers then, and what it would with changes."""
    assert case.check()
    remembered = json.loads((case.folder / "served").read_bytes())
    case.served = canonical_json({**remembered, **changes})
    return dict(remembered)


def test_the_same_release_again_and_a_later_one_are_served(maker: Maker) -> None:
    first = release(maker)
    remembered = remember(first)
    assert first.check()
    assert remembered["promotion"] == len(maker.lines) - 2
    assert (remembered["rings"], remembered["ring"]) == (3, maker.rings[-1].digest)
    later = release(maker)
    later.served = first.served
    assert later.check()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"promotion": 1000}, "promotion is another one: expected 1000 or later"),
        ({"rings": 4}, "key ring is another one: expected 4 or later, found 3"),
        ({"ring": A}, "brings other key rings than one that this machine has served. Expected: aaaaaaaaaaaa"),
        ({"rings": 2}, "brings other key rings"),
    ],
)
def test_an_older_release_or_other_key_rings(maker: Maker, changes: dict[str, Any], text: str) -> None:
    case = release(maker)
    remember(case, **changes)
    refused(case, text)


def test_a_longer_log_was_served(maker: Maker) -> None:
    first, second = release(maker), release(maker)
    remember(second)
    first.served = second.served
    refused(first, "The release is older", "log is another one", "promotion is another one")


def test_what_0_1_0_remembered_is_the_checkpoint_alone(maker: Maker) -> None:
    case = release(maker)
    case.served = remember(case)["checkpoint"].encode()
    assert case.check()
    again = release(maker)
    again.served = case.served
    assert again.check()
    # of one size of the log, another note: whether it was of an older promotion, nothing says
    case.served += f"— witness.example {crypto.b64(bytes(68))}\n".encode()
    refused(case, "is not the newest")
    assert again.check()


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"checkpoint":"","promotion":"x","ring":null,"rings":1}'])
def test_what_the_machine_remembers_is_malformed(maker: Maker, data: bytes) -> None:
    case = release(maker)
    case.served = data
    refused(case, "is not what this machine remembered of a release")
