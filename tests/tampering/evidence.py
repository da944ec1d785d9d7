"""Promotions of what may not be promoted, decisions and key rings."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

from sdk import crypto
from sdk.crypto import dsse, keyring
from sdk.errors import Refused, Tampered
from sdk.records import canonical_json, sha256
from tests.clean_releases import (
    Release,
    hex_of,
    numbered,
)
from tests.tampering.kit import (
    MANIFEST,
    Bench,
    another,
    content,
    other_base64,
    other_json,
    tampers,
)

# -- a consistent release by people who may not, or not yet: everything but one thing is right ------------------------


def _promoted(case: Release, bench: Bench, decisions: list[bytes], **changes: Any) -> None:
    """The same package with other decisions, promoted in the log, which is put back as it was."""
    package = sha256(content(case.tree, MANIFEST))
    kept = list(bench.maker.lines)
    for path in [path for path in case.tree if path.startswith("governance/decisions/")]:
        del case.tree[path]
    try:
        objects = bench.maker.objects(package, decisions) | changes.pop("objects", {})
        case.tree |= bench.maker.governance(package, decisions, objects, **changes)
    finally:
        bench.maker.lines[:] = kept


def decide(bench: Bench, case: Release, decision: str, person: str, key: crypto.Signer, *at: float) -> bytes:
    return bench.maker.decide(sha256(content(case.tree, MANIFEST)), decision, person, key, *at)


def decisions_of(case: Release) -> list[bytes]:
    return [content(case.tree, path) for path in sorted(case.tree) if path.startswith("governance/decisions/")]


@tampers("release", Refused, word="does not count here")
def promoted_with_an_approval_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    person = draw.choice(["Ada", "Bob", "Eve"])
    forged = decide(bench, case, "approve", person, bench.keys.stranger, 5 + draw.random())
    _promoted(case, bench, [*decisions_of(case)[:2], forged])


@tampers("release", Refused, word="who trained")
def promoted_with_an_approval_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    own = decide(bench, case, "approve", "Tess", bench.keys.trainer, 5 + draw.random())
    _promoted(case, bench, [*decisions_of(case)[:2], own])


@tampers("release", Refused, word="it expired")
def promoted_with_an_approval_that_has_expired(case: Release, draw: Random, bench: Bench) -> None:
    short = decide(bench, case, "approve", "Bob", bench.keys.second, 5, 6 + 600 * draw.random())
    _promoted(case, bench, [*decisions_of(case)[:2], short])


@tampers("release", Refused, word="approve.approvals")
def promoted_with_an_approval_too_few(case: Release, draw: Random, bench: Bench) -> None:
    decisions = decisions_of(case)
    del decisions[draw.randrange(1, 3)]
    _promoted(case, bench, decisions)


@tampers("release", Refused, word="approve.reviews")
def promoted_without_a_review(case: Release, draw: Random, bench: Bench) -> None:
    _promoted(case, bench, decisions_of(case)[draw.choice([1, 1, 2]) :])


@tampers("release", Refused, word="revoked")
def promoted_with_an_approval_by_who_has_left(case: Release, draw: Random, bench: Bench) -> None:
    late = decide(bench, case, "approve", "Leo", bench.keys.left, 5 + draw.random())
    _promoted(case, bench, [*decisions_of(case)[:2], late])


@tampers("release", Refused, word="rejected by")
def promoted_over_a_rejection(case: Release, draw: Random, bench: Bench) -> None:
    person, key = draw.choice([("Rita", bench.keys.reviewer), ("Bob", bench.keys.second)])
    _promoted(case, bench, [*decisions_of(case), decide(bench, case, "reject", person, key, 5 + draw.random())])


@tampers("release", Refused, word="somebody else")
def promoted_with_an_approval_in_anothers_name(case: Release, draw: Random, bench: Bench) -> None:
    forged = decide(bench, case, "approve", "Bob", bench.keys.first, 5 + draw.random())
    _promoted(case, bench, [*decisions_of(case)[:2], forged])


@tampers("release", Refused, word="over another package")
def promoted_with_approvals_of_another_package(case: Release, draw: Random, bench: Bench) -> None:
    others = decisions_of(draw.choice([bench.older, bench.plain]))
    decisions = decisions_of(case)
    place = draw.randrange(3)
    _promoted(case, bench, [*decisions[:place], others[place], *decisions[place + 1 :]])


@tampers("release", word="another one")
def the_promotion_names_something_else(case: Release, draw: Random, bench: Bench) -> None:
    name = draw.choice(["package", "policy", "report", "ring", "decision.0001", "decision.0002", "decision.0004"])
    _promoted(case, bench, decisions_of(case), objects={name: hex_of(draw)})


@tampers("release", word="another action")
def the_promotion_did_not_end_well(case: Release, draw: Random, bench: Bench) -> None:
    _promoted(case, bench, decisions_of(case), phase=draw.choice(["started", "refused", "failed"]))


# -- decisions --------------------------------------------------------------------------------------------------------


def set_decisions(case: Release, decisions: list[bytes]) -> None:
    for path in [path for path in case.tree if path.startswith("governance/decisions/")]:
        del case.tree[path]
    case.tree |= numbered("decisions", decisions)


@tampers("release", Refused)
def a_decision_on_another_package_in_its_place(case: Release, draw: Random, bench: Bench) -> None:
    decisions, place = decisions_of(case), draw.randrange(3)
    decisions[place] = decisions_of(draw.choice([bench.older, bench.plain]))[place]
    set_decisions(case, decisions)


@tampers("release", Refused)
def subjects_of_a_decision_changed(case: Release, draw: Random, bench: Bench) -> None:
    path = draw.choice([path for path in sorted(case.tree) if path.startswith("governance/decisions/")])
    envelope = json.loads(content(case.tree, path))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    if draw.random() < 0.5:
        draw.choice(statement["subject"])["digest"]["sha256"] = hex_of(draw)
    else:
        name = draw.choice(sorted(statement["predicate"]))
        statement["predicate"][name] = another(name, statement["predicate"][name], draw)
    envelope["payload"] = crypto.b64(canonical_json(statement))
    case.tree[path] = canonical_json(envelope)


@tampers("release", Refused)
def a_decision_signed_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    decisions, place = decisions_of(case), draw.randrange(3)
    payload = base64.b64decode(json.loads(decisions[place])["payload"])
    decisions[place] = dsse.sign_envelope(dsse.INTOTO, payload, bench.keys.stranger)
    set_decisions(case, decisions)


@tampers("release", Refused)
def a_decision_signed_by_the_trainer(case: Release, draw: Random, bench: Bench) -> None:
    decisions, place = decisions_of(case), draw.randrange(3)
    payload = base64.b64decode(json.loads(decisions[place])["payload"])
    decisions[place] = dsse.sign_envelope(dsse.INTOTO, payload, bench.keys.trainer)
    set_decisions(case, decisions)


@tampers("release", Refused, Tampered)
def a_decision_dropped(case: Release, draw: Random, bench: Bench) -> None:
    decisions = decisions_of(case)
    del decisions[draw.randrange(len(decisions))]
    set_decisions(case, decisions)


@tampers("release", word="does not hold 0001")
def a_decision_dropped_and_its_number_left_out(case: Release, draw: Random, bench: Bench) -> None:
    del case.tree[f"governance/decisions/{draw.randrange(1, 3):04}.dsse.json"]


@tampers("release", Refused, Tampered)
def decisions_in_another_order(case: Release, draw: Random, bench: Bench) -> None:
    decisions = decisions_of(case)
    draw.shuffle(decisions)
    set_decisions(case, decisions)


@tampers("release", Tampered, Refused)
def a_decision_twice(case: Release, draw: Random, bench: Bench) -> None:
    decisions = decisions_of(case)
    place = draw.randrange(2)
    decisions.insert(draw.randrange(3), decisions[place])
    set_decisions(case, decisions)


@tampers("release", Tampered, Refused)
def a_rejection_hidden_that_the_promotion_names(case: Release, draw: Random, bench: Bench) -> None:
    rejection = decide(bench, case, "reject", "Rita", bench.keys.reviewer, 5 + draw.random())
    decisions = decisions_of(case)
    _promoted(case, bench, [*decisions, rejection])
    set_decisions(case, decisions)


@tampers("release", Refused, word="rejected by")
def a_rejection_after_the_promotion(case: Release, draw: Random, bench: Bench) -> None:
    person, key = draw.choice([("Rita", bench.keys.reviewer), ("Ada", bench.keys.first), ("Bob", bench.keys.second)])
    set_decisions(case, [*decisions_of(case), decide(bench, case, "reject", person, key, 60 + draw.random())])


@tampers("release", Refused, word="approve.approvals")
def an_approval_withdrawn_after_the_promotion(case: Release, draw: Random, bench: Bench) -> None:
    person, key = draw.choice([("Ada", bench.keys.first), ("Bob", bench.keys.second)])
    set_decisions(case, [*decisions_of(case), decide(bench, case, "withdraw", person, key, 60 + draw.random())])


@tampers("release", Refused)
def signatures_of_two_decisions_exchanged(case: Release, draw: Random, bench: Bench) -> None:
    decisions = [json.loads(data) for data in decisions_of(case)]
    one, other = draw.sample(range(3), 2)
    decisions[one]["signatures"], decisions[other]["signatures"] = (
        decisions[other]["signatures"],
        decisions[one]["signatures"],
    )
    set_decisions(case, [canonical_json(each) for each in decisions])


@tampers("release", Refused)
def a_decision_in_another_json_or_base64(case: Release, draw: Random, bench: Bench) -> None:
    decisions, place = decisions_of(case), draw.randrange(3)
    envelope = json.loads(decisions[place])
    envelope["payload"] = other_base64(envelope["payload"], draw)
    decisions[place] = draw.choice([canonical_json(envelope), other_json(decisions[place], draw)])
    set_decisions(case, decisions)


# -- key rings --------------------------------------------------------------------------------------------------------


def rings_of(case: Release) -> list[bytes]:
    return [content(case.tree, path) for path in sorted(case.tree) if path.startswith("governance/ring/")]


def set_rings(case: Release, envelopes: list[bytes]) -> None:
    for path in [path for path in case.tree if path.startswith("governance/ring/")]:
        del case.tree[path]
    case.tree |= numbered("ring", envelopes)


@tampers("release")
def a_version_of_the_key_ring_skipped(case: Release, draw: Random, bench: Bench) -> None:
    rings = rings_of(case)
    del rings[draw.randrange(2)]
    set_rings(case, rings)


@tampers("release", Tampered, Refused)
def the_last_key_ring_dropped_that_the_promotion_names(case: Release, draw: Random, bench: Bench) -> None:
    set_rings(case, rings_of(case)[: draw.choice([1, 2])])


@tampers("release")
def key_rings_in_another_order_or_twice(case: Release, draw: Random, bench: Bench) -> None:
    rings = rings_of(case)
    one, other = draw.sample(range(3), 2)
    if draw.random() < 0.5:
        rings[one], rings[other] = rings[other], rings[one]
    else:
        rings.insert(draw.randrange(4), rings[one])
    set_rings(case, rings)


def enroll(bench: Bench, draw: Random) -> keyring.Ring:
    """The next key ring, in which a stranger may approve and train."""
    last = bench.maker.rings[-1]
    at = bench.maker.start.fromisoformat(last.time)
    roles = draw.choice([["approver"], ["trainer"], ["owner"], ["reviewer", "approver"]])
    return keyring.add(last, keyring.signing_member("Eve", roles, bench.keys.stranger.public_pem, at), at, last.log)


@tampers("release", word="is not signed by who may")
def a_key_ring_by_one_who_is_no_owner(case: Release, draw: Random, bench: Bench) -> None:
    keys = bench.keys
    by = draw.choice([keys.trainer, keys.first, keys.second, keys.reviewer, keys.left])
    set_rings(case, [*rings_of(case), keyring.sign_ring(enroll(bench, draw), by)])


@tampers("release", word="does not count here")
def a_key_ring_by_a_stranger(case: Release, draw: Random, bench: Bench) -> None:
    set_rings(case, [*rings_of(case), keyring.sign_ring(enroll(bench, draw), bench.keys.stranger)])


@tampers("release", word="another one")
def the_last_key_ring_forked_by_an_owner(case: Release, draw: Random, bench: Bench) -> None:
    second, at = bench.maker.rings[1], bench.maker.start.fromisoformat(bench.maker.rings[2].time)
    why = draw.choice(["superseded", "compromised"])
    fork = keyring.revoke(second, bench.keys.left.fingerprint, why, at, bench.maker.rings[2].log)  # type: ignore[arg-type]
    set_rings(case, [*rings_of(case)[:2], keyring.sign_ring(fork, bench.keys.owner)])


@tampers("release", word="takes")
def a_revocation_or_a_key_taken_back_by_an_owner(case: Release, draw: Random, bench: Bench) -> None:
    last = bench.maker.rings[-1]
    fields = {**last.model_dump(mode="json"), "version": last.version + 1, "previous": last.digest}
    if draw.random() < 0.5:
        for member in fields["members"]:
            member["revoked"] = None
    else:
        del fields["members"][draw.randrange(1, len(fields["members"]))]
    later = keyring.Ring.model_validate(fields)
    set_rings(case, [*rings_of(case), keyring.sign_ring(later, bench.keys.owner)])


@tampers("release", word="is not the project's root")
def another_root(case: Release, draw: Random, bench: Bench) -> None:
    case.root = draw.choice([hex_of(draw), *(each.digest for each in bench.maker.rings[1:])])


@tampers("release", word="is not the project's root")
def key_rings_of_a_project_of_ones_own(case: Release, draw: Random, bench: Bench) -> None:
    stranger = bench.keys.stranger
    first = bench.maker.rings[0]
    own = keyring.signing_member("Olga", ["owner", "trainer"], stranger.public_pem, bench.maker.start)
    fields = {**first.model_dump(), "members": (own, *first.members[1:])}
    set_rings(case, [keyring.sign_ring(keyring.Ring.model_validate(fields), stranger)])


@tampers("release")
def a_key_ring_in_another_json_or_base64(case: Release, draw: Random, bench: Bench) -> None:
    rings, place = rings_of(case), draw.randrange(3)
    envelope = json.loads(rings[place])
    envelope["payload"] = other_base64(envelope["payload"], draw)
    rings[place] = draw.choice([canonical_json(envelope), other_json(rings[place], draw)])
    set_rings(case, rings)
