"""From which event to which rules were in force, and for how many events a key of the log counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from sdk import crypto
from sdk.crypto import keyring
from sdk.crypto.keyring import (
    InForce,
    LogHead,
    Ring,
    Term,
    find_term,
    open_rings,
    require_within_limit,
    sign_ring,
    terms,
)
from sdk.errors import InvalidInput, Refused, Remedy, Tampered

AT = datetime(2026, 11, 1, 9, tzinfo=UTC)
OWNER, OLD, NEW = crypto.SigningKey.random(), crypto.LogKey.random(), crypto.LogKey.random()
POLICY, LATER, DOMAIN, OTHER = "a" * 64, "b" * 64, "c" * 64, "d" * 64
FIRST = InForce(policy="finance@1", policy_digest=POLICY, domain="cards@1", domain_digest=DOMAIN)
SECOND = InForce(policy="finance@2", policy_digest=LATER, domain="cards@1", domain_digest=DOMAIN)
THIRD = SECOND.model_copy(update={"domain": "cards@2", "domain_digest": OTHER})


def head(size: int) -> LogHead:
    return LogHead(size=size, root="e" * 64)


def start(rules: InForce | None = FIRST) -> Ring:
    members = [
        keyring.signing_member("Olga", ["owner"], OWNER.public_pem, AT),
        keyring.signing_member("log", ["log"], OLD.public_pem, AT),
    ]
    return keyring.create_ring("claims", members, AT, rules)


def then(rings: tuple[Ring, ...], rules: InForce, size: int) -> tuple[Ring, ...]:
    return (*rings, keyring.put_in_force(rings, rules, AT, head(size)))


def enrolled(rings: tuple[Ring, ...], key: str, size: int | None) -> tuple[Ring, ...]:
    log = None if size is None else head(size)
    return (*rings, keyring.add(rings[-1], keyring.wrapping_member("encryption", key, AT), AT, log))


HISTORY = then(then(enrolled(then((start(),), SECOND, 10), "key", 12), THIRD, 20), FIRST, 30)
# as a project of 0.1.0 was taken over: its key rings said nothing of rules or log
TAKEN_OVER = then(enrolled((start(None),), "key", None), FIRST, 10)


def test_terms_follow_one_another_without_a_gap() -> None:
    assert terms(HISTORY) == [
        Term(FIRST, 0, 10, None),
        Term(SECOND, 10, 20, FIRST),
        Term(THIRD, 20, 30, FIRST),  # another domain: the policy that it replaced is still the one before
        Term(FIRST, 30, None, THIRD),
    ]


def test_the_first_rules_count_from_the_beginning_also_where_they_came_later() -> None:
    assert terms(TAKEN_OVER) == [Term(FIRST, 0, None, None)]
    assert terms(TAKEN_OVER[:2]) == []
    with pytest.raises(Refused, match="names no policy that is in force"):
        find_term(TAKEN_OVER[:2], POLICY, DOMAIN, 5)


@pytest.mark.parametrize(
    ("policy", "domain", "sealed", "number"),
    [
        (POLICY, DOMAIN, 0, 0),
        (POLICY, DOMAIN, 9, 0),
        (LATER, DOMAIN, 10, 1),
        (LATER, DOMAIN, 19, 1),
        (LATER, OTHER, 20, 2),
        (LATER, OTHER, 29, 2),
        (POLICY, DOMAIN, 30, 3),
        (POLICY, DOMAIN, 99, 3),
    ],
)
def test_a_package_is_sealed_within_the_term_of_its_rules(policy: str, domain: str, sealed: int, number: int) -> None:
    assert find_term(HISTORY, policy, domain, sealed) == terms(HISTORY)[number]


@pytest.mark.parametrize(
    ("policy", "domain", "sealed", "message"),
    [
        (OTHER, DOMAIN, 5, "No owner has ever put the policy dddddddddddd"),
        (POLICY, DOMAIN, 10, "finance@1 was not in force .*: event 10, not of 0 to 9, 30 to now"),
        (POLICY, DOMAIN, 29, "event 29, not of 0 to 9, 30 to now"),
        (LATER, DOMAIN, 9, "finance@2 was not in force .*: event 9, not of 10 to 19, 20 to 29"),
        (LATER, OTHER, 30, "event 30, not of"),
        (LATER, OTHER, 19, "was not in force then, but cards@1"),
        (LATER, DOMAIN, 20, "was not in force then, but cards@2"),
    ],
)
def test_rules_do_not_count_outside_of_their_term(policy: str, domain: str, sealed: int, message: str) -> None:
    with pytest.raises(Refused, match=message):
        find_term(HISTORY, policy, domain, sealed)


def rotated(size: int | None) -> tuple[Ring, ...]:
    """The log's key is replaced by a version that says how far the log had come, or by one of 0.1.0, which does not."""
    new = keyring.signing_member("log", ["log"], NEW.public_pem, AT)
    log = None if size is None else head(size)
    first = start(FIRST if size is not None else None)
    return first, keyring.replace(first, OLD.fingerprint, new, AT, log)


@pytest.mark.parametrize(
    ("rings", "limit"),
    [
        (rotated(10), 10),
        (enrolled(rotated(10), "key", 15), 10),  # the version that revoked it, and no later one
        (then(rotated(None), FIRST, 15), 15),  # the first that says how far the log had come
    ],
)
def test_a_key_that_was_replaced_counts_up_to_what_the_owner_saw(rings: tuple[Ring, ...], limit: int) -> None:
    require_within_limit(rings, OLD.public_pem, limit, "the note")
    with pytest.raises(Tampered, match=f"at most {limit} events. Found: {limit + 1} events"):
        require_within_limit(rings, OLD.public_pem, limit + 1, "the note")
    require_within_limit(rings, NEW.public_pem, limit + 1, "the note")


def test_a_key_that_nobody_revoked_and_one_that_no_version_limits_count_for_all() -> None:
    require_within_limit(HISTORY, OLD.public_pem, 99, "the note")
    require_within_limit(rotated(None), OLD.public_pem, 99, "the note")


# -- the keys of the log ----------------------------------------------------------------------------------------------


def test_the_newest_key_of_the_log_is_tried_first_and_a_compromised_one_where_it_is_asked_for() -> None:
    ring = rotated(10)[-1]
    assert ring.log_keys() == [NEW.public_pem, OLD.public_pem]
    worse = keyring.revoke(ring, OLD.fingerprint, "compromised", AT, head(11))
    assert worse.log_keys() == [NEW.public_pem]
    assert worse.log_keys(also_compromised=True) == [NEW.public_pem, OLD.public_pem]


def test_the_first_key_that_a_check_holds_under_counts() -> None:
    def check(key: str) -> str:
        if key in faults:
            raise Tampered(f"not by {key}.", remedy=Remedy.LOG)
        return key

    faults: set[str] = set()
    assert keyring.first_that_holds(["new", "old"], check) == "new"
    faults = {"new"}
    assert keyring.first_that_holds(["new", "old"], check) == "old"
    faults = {"new", "old"}
    with pytest.raises(Tampered, match="not by new"):
        keyring.first_that_holds(["new", "old"], check)
    with pytest.raises(Tampered, match="names no key that may sign the audit log"):
        keyring.first_that_holds([], check)


# -- what a version may say of rules and log --------------------------------------------------------------------------


def opened(rings: tuple[Ring, ...]) -> tuple[Ring, ...]:
    return open_rings([sign_ring(ring, OWNER) for ring in rings], rings[0].digest, "ring")


def test_versions_with_rules_and_log_open() -> None:
    assert opened(HISTORY) == HISTORY
    assert opened(TAKEN_OVER) == TAKEN_OVER
    assert opened(enrolled(HISTORY, "again", 30)) == enrolled(HISTORY, "again", 30)  # the log has not grown meanwhile


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": None}, "names no rules any more"),
        ({"rules": None, "log": None}, "names no rules any more"),
        ({"log": head(29)}, "a shorter log .* Expected: 30 events or more. Found: 29 events"),
        ({"rules": FIRST.model_copy(update={"policy_digest": OTHER})}, "calls another policy finance@1"),
        ({"rules": SECOND.model_copy(update={"policy_digest": OTHER})}, "calls another policy finance@2"),
    ],
)
def test_a_version_that_takes_back_rules_or_log_is_refused(changes: dict[str, object], message: str) -> None:
    *_, last = enrolled(HISTORY, "again", 30)
    with pytest.raises(Tampered, match=message):
        opened((*HISTORY, last.model_copy(update=changes)))


def test_a_version_that_says_nothing_of_the_log_any_more_is_refused() -> None:
    first = start(None)
    rings = enrolled(enrolled((first,), "key", 10), "another", None)
    with pytest.raises(Tampered, match=r"Expected: 10 events or more\. Found: none"):
        opened(rings)


@pytest.mark.parametrize(
    ("rules", "refused"),
    [(SECOND, False), (THIRD, False), (FIRST, False), (SECOND.model_copy(update={"policy_digest": POLICY}), True)],
)
def test_a_policys_name_stands_for_one_text(rules: InForce, refused: bool) -> None:
    keyring.require_same_text(TAKEN_OVER, SECOND)
    if refused:
        with pytest.raises(InvalidInput, match="since version 2 of the key ring"):
            keyring.require_same_text(HISTORY, rules)
    else:
        keyring.require_same_text(HISTORY, rules)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"log": {"size": 1, "root": "e" * 64}}, "before there is a log"),
        ({"version": 2, "previous": "e" * 64}, "names the log, too"),
        ({"version": 0, "previous": "e" * 64, "log": head(1), "rules": None}, "greater than or equal to 1"),
        ({"version": 0, "rules": None}, "greater than or equal to 1"),
        ({"previous": "e" * 64}, "has none before it"),
        ({"version": 2, "log": head(1)}, "has none before it"),
        ({"project": ""}, "at least 1"),
        ({"members": ()}, "at least 1 item"),
        ({"rules": FIRST.model_dump() | {"domain": ""}}, "at least 1"),
    ],
)
def test_a_ring_that_does_not_hold_together_is_malformed(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Ring.model_validate(start().model_dump() | fields)


def test_the_smallest_and_the_largest_that_a_ring_may_hold() -> None:
    small = start().model_dump() | {"project": "p", "rules": FIRST.model_dump() | {"domain": "d"}}
    assert Ring.model_validate(small)
    for size in (1, 2**63 - 1):
        assert head(size).size == size
    for size in (0, 2**63):
        with pytest.raises(ValidationError):
            head(size)
    keys = [keyring.wrapping_member("encryption", f"key-{number}", AT) for number in range(keyring.MAX_MEMBERS - 2)]
    members = [*start().members, *keys]
    assert len(keyring.create_ring("claims", members, AT).members) == keyring.MAX_MEMBERS == 1000
    with pytest.raises(InvalidInput) as caught:
        keyring.create_ring("claims", [*members, keyring.wrapping_member("encryption", "key", AT)], AT)
    assert "at most 1000" in str(caught.value)


def test_what_0_1_0_did_not_know_is_left_out_where_there_is_none() -> None:
    known = {"project", "version", "previous", "time", "members"}
    assert json.loads(start(None).to_bytes()).keys() == known
    assert json.loads(start().to_bytes()).keys() == {*known, "rules"}
    assert json.loads(HISTORY[1].to_bytes()).keys() == {*known, "rules", "log"}
