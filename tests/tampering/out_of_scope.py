"""What is accepted, and why."""

from __future__ import annotations

import base64
import json
from random import Random

from sdk import crypto
from sdk.crypto import keyring
from sdk.records import canonical_json, sha256
from tests.clean_releases import (
    Log,
    Release,
    manifest_of,
)
from tests.tampering.evidence import decide, decisions_of, enroll, rings_of, set_decisions, set_rings
from tests.tampering.kit import LINE, MANIFEST, PROOF, Bench, accepted, content, flip
from tests.tampering.log import put_back
from tests.tampering.package import bundle_of, put_bundle

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def negate(signature: bytes) -> bytes:
    """The other ECDSA signature of the same message: (r, n - s)."""
    r_end = 4 + signature[3]
    s = P256_ORDER - int.from_bytes(signature[r_end + 2 :], "big")
    raw = s.to_bytes(33, "big").lstrip(b"\0")
    raw = raw if raw[0] < 128 else b"\0" + raw
    body = signature[2:r_end] + b"\x02" + bytes([len(raw)]) + raw
    return b"\x30" + bytes([len(body)]) + body


@accepted("release", "ECDSA has two signatures of one message; what is signed is the same, and nothing is named by it")
def the_other_ecdsa_signature_in_model_sig(case: Release, draw: Random, bench: Bench) -> None:
    bundle = bundle_of(case.tree)
    signature = bundle["dsseEnvelope"]["signatures"][0]
    signature["sig"] = crypto.b64(negate(base64.b64decode(signature["sig"])))
    put_bundle(case.tree, bundle)


@accepted("release", "as in model.sig; a key ring is named by its payload")
def the_other_ecdsa_signature_in_a_key_ring(case: Release, draw: Random, bench: Bench) -> None:
    rings, place = rings_of(case), draw.randrange(3)
    envelope = json.loads(rings[place])
    signature = envelope["signatures"][0]
    signature["sig"] = crypto.b64(negate(base64.b64decode(signature["sig"])))
    rings[place] = canonical_json(envelope)
    set_rings(case, rings)


@accepted("release", "admission does not read it; `sdk verify` compares it with what was registered")
def the_provenance_beside_the_package(case: Release, draw: Random, bench: Bench) -> None:
    path = "governance/provenance.dsse.json"
    case.tree[path] = flip(content(case.tree, path), draw)


@accepted("release", "MLflow's own files and others beside package/ and governance/ are not read by our loader")
def files_beside_package_and_governance(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[draw.choice(["MLmodel", "registered_model_meta", "evil.py", "governance/extra.txt"])] = draw.randbytes(9)


@accepted("release", "it opens the same weights under the same key")
def the_manifests_own_wrapped_key_beside_the_package(case: Release, draw: Random, bench: Bench) -> None:
    wrapped = manifest_of(case.tree).wrapped_data_key
    case.tree["governance/data-key.json"] = canonical_json({"wrapped": wrapped})


@accepted("release", "signed-note asks to pass over signatures of unknown keys, so that witnesses can add theirs")
def a_signature_of_an_unknown_key_under_the_proof(case: Release, draw: Random, bench: Bench) -> None:
    case.tree[PROOF] = content(case.tree, PROOF) + f"— witness {crypto.b64(draw.randbytes(68))}\n".encode()


@accepted("release", "a later proof of the same promotion is as good")
def a_proof_in_a_longer_log(case: Release, draw: Random, bench: Bench) -> None:
    lines = bench.maker.lines
    package = sha256(content(case.tree, MANIFEST))
    case.tree |= bench.maker.proofs(package, lines.index(content(case.tree, LINE)))


@accepted(
    "release",
    "files tell of no later one: whoever withholds a rejection after the promotion hides it, until a "
    "newer release is served; `sdk verify` and Project.load have the log",
)
def a_rejection_after_the_promotion_withheld(case: Release, draw: Random, bench: Bench) -> None:
    rejection = decide(bench, case, "reject", "Rita", bench.keys.reviewer, 60 + draw.random())
    shown = decisions_of(case)
    set_decisions(case, [*shown, rejection])
    set_decisions(case, shown)
    case.tree["aside"] = rejection


@accepted("release", "it does not count, and what the promotion names stands before it")
def a_decision_repeated_behind_those_of_the_promotion(case: Release, draw: Random, bench: Bench) -> None:
    decisions = decisions_of(case)
    set_decisions(case, [*decisions, draw.choice(decisions)])


@accepted("release", "as above: a key ring after the one that the promotion names can be withheld from a machine")
def a_key_ring_after_the_promotion_withheld(case: Release, draw: Random, bench: Bench) -> None:
    case.tree["withheld"] = keyring.sign_ring(enroll(bench, draw), bench.keys.owner)


@accepted("release", "a machine that has served nothing newer cannot know of it")
def an_older_release_where_nothing_newer_was_served(case: Release, draw: Random, bench: Bench) -> None:
    case.tree = dict(bench.older.tree)


@accepted("log", "what lies beyond the checkpoint was never acknowledged, does not count and is removed")
def a_well_formed_event_beyond_the_checkpoint(case: Log, draw: Random, bench: Bench) -> None:
    last = max(path for path in case.tree if path.startswith("audit/events-"))
    event = bench.maker.event(len(bench.maker.lines), "approve", "finished")
    case.tree[last] = content(case.tree, last) + event + draw.choice([b"", b"\n"])


@accepted("log", "an unfinished write of a crash, as above")
def bytes_without_a_line_end_beyond_the_checkpoint(case: Log, draw: Random, bench: Bench) -> None:
    last = max(path for path in case.tree if path.startswith("audit/events-"))
    case.tree[last] = content(case.tree, last) + draw.randbytes(20).replace(b"\n", b"")


@accepted("log", "without a newer checkpoint held elsewhere it is a log as it was")
def a_whole_older_copy_where_only_an_older_checkpoint_is_held(case: Log, draw: Random, bench: Bench) -> None:
    case.held = bench.maker.checkpoint(bench.maker.lines[:1])
    put_back(case, draw.randrange(1, len(bench.maker.lines)), bench)


@accepted("log", "as in a proof, so that witnesses can sign")
def a_signature_of_an_unknown_key_under_the_checkpoint(case: Log, draw: Random, bench: Bench) -> None:
    path = "audit/checkpoint"
    case.tree[path] = content(case.tree, path) + f"— witness {crypto.b64(draw.randbytes(68))}\n".encode()


@accepted("log", "what a holder lost says nothing; the log reports that it holds none")
def a_holder_emptied_or_zeroed(case: Log, draw: Random, bench: Bench) -> None:
    case.held = bytes(draw.choice([0, len(case.held)]))
