"""The verdict over a package: a table of cases, most of which must not pass, and what no change of a byte may do."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import yaml

from sdk import crypto
from sdk.approve import (
    Case,
    Decision,
    Digests,
    InForceWhenSealed,
    Verdict,
    decide,
    judge,
    read_decision,
    require_allowed,
    sign_decision,
)
from sdk.approve.decision import PREDICATE_TYPE, to_statement
from sdk.crypto import dsse, keyring
from sdk.crypto.keyring import Member, Ring, timestamp
from sdk.errors import InvalidInput, Refused, Tampered
from sdk.files.store import shipped
from sdk.policy import Policy
from sdk.records import canonical_json

START = datetime(2020, 11, 1, tzinfo=UTC)  # long ago, whatever the clock says
NOW = START + timedelta(days=100)
PACKAGE, REPORT, OTHER = "a" * 64, "b" * 64, "c" * 64
PEOPLE = {  # label of a key -> (person, roles)
    "olga": ("Olga", ["owner"]),
    "tom": ("Tom", ["trainer"]),
    "tom2": ("Tom", ["reviewer", "approver"]),
    "ada": ("Ada", ["approver"]),
    "ada2": ("Ada", ["approver"]),
    "bob": ("Bob", ["approver"]),
    "rita": ("Rita", ["reviewer"]),
    "rolf": ("Rolf", ["reviewer"]),
    "both": ("Bea", ["reviewer", "approver"]),
    "late": ("Lea", ["approver"]),
    "until": ("Uli", ["approver"]),
    "log": ("Tom", ["log"]),
}
KEYS = {label: crypto.LogKey.random() if label == "log" else crypto.SigningKey.random() for label in PEOPLE}
STRANGER = crypto.SigningKey.random()
ALLOWED = InForceWhenSealed(None, None)  # the owner had put the policy in force, and none before it


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def enroll(label: str) -> Member:
    person, roles = PEOPLE[label]
    begins = day(50 if label == "late" else 0)
    ends = day(50) if label == "until" else None
    return keyring.signing_member(person, roles, KEYS[label].public_pem, begins, ends)  # type: ignore[arg-type]


MEMBERS = {label: enroll(label) for label in PEOPLE}
RING = keyring.create_ring("claims", [*MEMBERS.values(), keyring.wrapping_member("Tom", "wrapping-key", START)], START)


def policy(start: str = "finance", **changes: Any) -> Policy:
    document = yaml.safe_load((shipped("policies") / f"{start}.yaml").read_text())
    document["approve"] |= {"valid_days": None, **changes}
    return Policy.model_validate(document)


FINANCE, TWO, REVIEWED = policy(), policy(approvals=2), policy(approvals=2, reviews=1)
LAB, TRAINER_MAY, THIRTY = (
    policy("unsafe-lab"),
    policy(trainer_may_approve=True, separate_duties=False),
    policy(valid_days=30),
)
GOOD = "The scores, the findings and the lineage were looked at."


def say(
    who: str,
    what: str = "approve",
    at: float = 10,
    *,
    under: Policy = FINANCE,
    reason: str = GOOD,
    expires: float | None = None,
    key: Any = None,
    **digests: str,
) -> bytes:
    said = Decision(
        decision=what,  # type: ignore[arg-type]
        reason=reason,
        person=MEMBERS[who].name,
        policy=under.name,
        time=timestamp(day(at)),
        expires=None if expires is None else timestamp(day(expires)),
    )
    over = {"package": PACKAGE, "policy": under.digest, "report": REPORT} | digests
    return sign_decision(said, Digests(**over), key or KEYS[who])


def case(*decisions: bytes, under: Policy | None = FINANCE, rings: Ring | None = RING, **fields: Any) -> Case:
    given = Case(PACKAGE, under, ALLOWED, REPORT, rings, decisions, KEYS["tom"].fingerprint, NOW)
    return replace(given, **fields)


def revoked(label: str, reason: str, at: float) -> Ring:
    return keyring.revoke(RING, KEYS[label].fingerprint, reason, day(at))  # type: ignore[arg-type]


def reviewed(*decisions: tuple[Any, ...], under: Policy = REVIEWED) -> Case:
    """(who, what, day) in the order of the log."""
    return case(*(say(who, what, at, under=under) for who, what, at in decisions), under=under)


class Row(NamedTuple):
    case: Case
    against: tuple[str, ...] = ()  # rules that do not hold; none: allowed
    text: str = ""  # somewhere in the reasons


APPROVAL = ("approve.approvals",)
REVIEW = ("approve.reviews", "approve.approvals")

TABLE = {
    # -- allowed ----------------------------------------------------------------------------------------------------
    "one approval": Row(case(say("ada"))),
    "two people where one is needed": Row(case(say("ada"), say("bob"))),
    "two people where two are needed": Row(case(say("ada", under=TWO), say("bob", under=TWO), under=TWO)),
    "a review, then two approvals": Row(reviewed(("rita", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3))),
    "nothing is needed": Row(case(under=LAB)),
    "an approval that has not expired": Row(case(say("ada", expires=101))),
    "an approval within the policy's days": Row(case(say("ada", at=71, under=THIRTY), under=THIRTY)),
    "rejected, then approved by the same person": Row(case(say("ada", "reject", 10), say("ada", "approve", 11))),
    "rejected, then withdrawn, approved by another": Row(
        case(say("ada", "reject", 10), say("ada", "withdraw", 11), say("bob", "approve", 9))
    ),
    "approved, withdrawn, approved again": Row(case(say("ada", at=10), say("ada", "withdraw", 11), say("ada", at=12))),
    "the trainer, where the policy lets them": Row(
        case(say("tom2", under=TRAINER_MAY), under=TRAINER_MAY), text="approve by Tom: counts"
    ),
    "a key that is superseded later": Row(case(say("ada", at=10), rings=revoked("ada", "superseded", 11))),
    "somebody who leaves later": Row(case(say("ada", at=10), rings=revoked("ada", "left", 11))),
    "a key that is valid by then": Row(case(say("late", at=50))),
    "a key that was valid then": Row(case(say("until", at=49.9))),
    "the trainer's key is superseded later": Row(case(say("ada"), rings=revoked("tom", "superseded", 20))),
    "an approval that is dated now": Row(case(say("ada", at=100))),
    "a reason of just the length": Row(case(say("ada", reason="x" * 20))),
    "beside one over another package": Row(case(say("bob", package=OTHER), say("ada")), text="over another package"),
    "a rejection of another package": Row(case(say("bob", "reject", package=OTHER), say("ada"))),
    "an approval without the role beside a good one": Row(case(say("rita"), say("ada")), text="has no role for it"),
    "the same decision signed twice": Row(case(say("ada"), say("ada")), text="repeats an earlier one"),
    "withdrawn by somebody who never decided": Row(case(say("bob", "withdraw"), say("ada"))),
    # -- nothing is given -------------------------------------------------------------------------------------------
    "nobody decided": Row(case(), APPROVAL, "0 of 1 approvals"),
    "no policy": Row(case(say("ada"), under=None), ("policy",)),
    "no ring": Row(case(say("ada"), rings=None), ("ring", "trainer")),
    "no ring where nothing is needed": Row(case(under=LAB, rings=None), ("ring", "trainer")),
    "an empty ring where nothing is needed": Row(
        case(under=LAB, rings=RING.model_copy(update={"members": ()})), ("ring", "trainer")
    ),
    "no policy and no ring": Row(case(under=None, rings=None), ("policy", "ring", "trainer")),
    "a trainer whom nobody knows": Row(case(under=LAB, trainer="0" * 64), ("trainer",)),
    "a package signed by an approver": Row(case(under=LAB, trainer=KEYS["ada"].fingerprint), ("trainer",)),
    "the trainer's key is compromised": Row(case(under=LAB, rings=revoked("tom", "compromised", 20)), ("trainer",)),
    "a package that is not a digest": Row(case(under=LAB, package="latest"), ("digests",)),
    "a report that is missing": Row(case(under=LAB, report=""), ("digests",)),
    "a policy that was not in force": Row(
        case(say("ada"), in_force=InForceWhenSealed("no owner signed it", None)), ("in force",), "no owner signed it"
    ),
    "a time without a zone": Row(case(say("ada"), now=datetime(2021, 3, 1)), ("now",)),
    # -- too few ----------------------------------------------------------------------------------------------------
    "one approval where two are needed": Row(case(say("ada", under=TWO), under=TWO), APPROVAL, "1 of 2"),
    "one person twice": Row(case(say("ada", at=1, under=TWO), say("ada", at=2, under=TWO), under=TWO), APPROVAL),
    "one person with two keys": Row(
        case(say("ada", at=1, under=TWO), say("ada2", at=2, under=TWO), under=TWO), APPROVAL
    ),
    "the same decision signed twice where two are needed": Row(
        case(say("ada", under=TWO), say("ada", under=TWO), under=TWO), APPROVAL, "repeats"
    ),
    "the same envelope twice where two are needed": Row(
        case(*[say("ada", under=TWO)] * 2, under=TWO), APPROVAL, "repeats"
    ),
    # -- who may not ------------------------------------------------------------------------------------------------
    "the trainer with their training key": Row(case(say("tom")), APPROVAL, "has no role for it"),
    "the trainer under another key of theirs": Row(case(say("tom2")), APPROVAL, "approve.trainer_may_approve"),
    "a reviewer approves": Row(case(say("rita")), APPROVAL, "has no role for it"),
    "an owner approves": Row(case(say("olga")), APPROVAL, "has no role for it"),
    "the log's key approves": Row(case(say("log")), APPROVAL, "has no role for it"),
    "a review is no approval": Row(case(say("both", "review")), APPROVAL),
    # -- when -------------------------------------------------------------------------------------------------------
    "superseded before": Row(case(say("ada", at=12), rings=revoked("ada", "superseded", 11)), APPROVAL, "superseded"),
    "superseded at that moment": Row(case(say("ada", at=11), rings=revoked("ada", "superseded", 11)), APPROVAL),
    "left before": Row(case(say("ada", at=12), rings=revoked("ada", "left", 11)), APPROVAL, "(left)"),
    "compromised before": Row(case(say("ada", at=12), rings=revoked("ada", "compromised", 11)), APPROVAL),
    "compromised later": Row(
        case(say("ada", at=10), rings=revoked("ada", "compromised", 90)), APPROVAL, "nothing that"
    ),
    "not yet valid": Row(case(say("late", at=49.9)), APPROVAL, "valid only from"),
    "no longer valid": Row(case(say("until", at=50)), APPROVAL, "was valid until"),
    "dated after now": Row(case(say("ada", at=100.1)), APPROVAL, "dated after now"),
    "expired": Row(case(say("ada", expires=99)), APPROVAL, "expired on"),
    "expires now": Row(case(say("ada", expires=100)), APPROVAL, "expired on"),
    "older than the policy's days": Row(case(say("ada", at=70, under=THIRTY), under=THIRTY), APPROVAL, "expired on"),
    "a long expiry does not outlast the policy's days": Row(
        case(say("ada", at=70, under=THIRTY, expires=1000), under=THIRTY), APPROVAL
    ),
    "the last one has expired, an earlier one would not have": Row(
        case(say("ada", at=10), say("ada", at=11, expires=12)), APPROVAL
    ),
    # -- over what --------------------------------------------------------------------------------------------------
    "another package": Row(case(say("ada", package=OTHER)), APPROVAL, "over another package"),
    "another policy": Row(case(say("ada", under=TWO)), APPROVAL, "over another policy"),
    "another report": Row(case(say("ada", report=OTHER)), APPROVAL, "over another report"),
    "all three others": Row(
        case(say("ada", package=OTHER, policy=OTHER, report=OTHER)), APPROVAL, "package and policy and report"
    ),
    "one digest in another's place": Row(case(say("ada", package=REPORT, report=PACKAGE)), APPROVAL),
    # -- why --------------------------------------------------------------------------------------------------------
    "a reason that is too short": Row(case(say("ada", reason="x" * 19)), APPROVAL, "approve.min_reason_length"),
    "a reason of spaces": Row(case(say("ada", reason=" " * 40)), APPROVAL, "approve.min_reason_length"),
    # -- against ----------------------------------------------------------------------------------------------------
    "rejected by another": Row(case(say("ada"), say("bob", "reject")), ("rejection",), "rejected by Bob"),
    "rejected by another before": Row(case(say("bob", "reject"), say("ada")), ("rejection",)),
    "rejected by a reviewer": Row(case(say("ada"), say("rita", "reject")), ("rejection",)),
    "rejected where nothing is needed": Row(case(say("ada", "reject", under=LAB), under=LAB), ("rejection",)),
    "rejected with hardly a reason": Row(case(say("ada"), say("bob", "reject", reason="x")), ("rejection",)),
    "rejected by the trainer under another key": Row(case(say("ada"), say("tom2", "reject")), ("rejection",)),
    "a rejection does not expire": Row(case(say("ada"), say("bob", "reject", expires=20)), ("rejection",)),
    "a rejection outlasts the policy's days": Row(
        case(say("bob", "reject", 1, under=THIRTY), say("ada", at=90, under=THIRTY), under=THIRTY), ("rejection",)
    ),
    "a rejection stays when its key is found compromised": Row(
        case(say("bob", "reject"), say("ada"), rings=revoked("bob", "compromised", 20)), ("rejection",)
    ),
    "a rejection by somebody who left later": Row(
        case(say("bob", "reject"), say("ada"), rings=revoked("bob", "left", 20)), ("rejection",)
    ),
    "approved, then rejected by the same person": Row(
        case(say("ada", at=10), say("ada", "reject", 11)), ("approve.approvals", "rejection")
    ),
    "approved, then rejected by the same person with another key": Row(
        case(say("ada", at=10), say("ada2", "reject", 11)), ("approve.approvals", "rejection")
    ),
    "a rejection is not lifted with a revoked key": Row(
        case(say("bob", "reject", 10), say("bob", "withdraw", 12), say("ada"), rings=revoked("bob", "left", 11)),
        ("rejection",),
    ),
    "a rejection is not lifted with hardly a reason": Row(
        case(say("bob", "reject", 10), say("bob", at=11, reason="ok"), say("ada")), ("rejection",)
    ),
    "a rejection is not lifted by another person": Row(
        case(say("bob", "reject", 10), say("ada", "withdraw", 11), say("ada", at=12)), ("rejection",)
    ),
    "a rejection is not lifted by what was said before it": Row(
        case(say("bob", "reject", 10), say("bob", at=9), say("ada")), ("rejection",), "not dated after"
    ),
    "a rejection is not lifted by what was said at the same time": Row(
        case(say("bob", "reject", 10), say("bob", at=10), say("ada")), ("rejection",), "not dated after"
    ),
    "a rejection with a revoked key is not lifted by what was said before it": Row(
        case(say("ada", "reject", 12), say("ada2", at=10), say("bob"), rings=revoked("ada", "left", 11)), ("rejection",)
    ),
    "a rejection with a revoked key is lifted with the new one": Row(
        case(say("ada", "reject", 12), say("ada2", at=13), rings=revoked("ada", "superseded", 11))
    ),
    "a rejection that is dated after now stands": Row(
        case(say("ada", "reject", 200), say("ada", at=20), say("bob")), ("rejection",)
    ),
    "withdrawn": Row(
        case(say("ada", at=10), say("ada", "withdraw", 11)),
        APPROVAL,
        "approve by Ada: a later decision of the same person stands instead",
    ),
    "withdrawn with hardly a reason": Row(case(say("ada", at=10), say("ada", "withdraw", 11, reason="x")), APPROVAL),
    "withdrawn with another key": Row(case(say("ada", at=10), say("ada2", "withdraw", 11)), APPROVAL),
    "withdrawn, and the approval replayed": Row(
        case(say("ada", at=10), say("ada", "withdraw", 11), say("ada", at=10)), APPROVAL, "repeats"
    ),
    "withdrawn, and the two put in another order": Row(
        case(say("ada", "withdraw", 11), say("ada", at=10)), APPROVAL, "not dated after"
    ),
    # -- order ------------------------------------------------------------------------------------------------------
    "no review": Row(reviewed(("ada", "approve", 2), ("bob", "approve", 3)), REVIEW),
    "the review comes last": Row(
        reviewed(("ada", "approve", 2), ("bob", "approve", 3), ("rita", "review", 4)), APPROVAL, "before the reviews"
    ),
    "the review comes between": Row(
        reviewed(("ada", "approve", 2), ("rita", "review", 3), ("bob", "approve", 4)), APPROVAL, "1 of 2"
    ),
    "the review stands first in the audit log and was made last": Row(
        reviewed(("rita", "review", 4), ("ada", "approve", 2), ("bob", "approve", 3)), APPROVAL
    ),
    "the review was made at the time of the approvals": Row(
        reviewed(("rita", "review", 2), ("ada", "approve", 2), ("bob", "approve", 2)), APPROVAL, "before the reviews"
    ),
    "the review is by who approves": Row(
        reviewed(("both", "review", 1), ("both", "approve", 2), ("ada", "approve", 3)), REVIEW
    ),
    "the review is by an approver": Row(
        reviewed(("ada", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3)), REVIEW, "has no role for it"
    ),
    "the review is by the trainer": Row(
        reviewed(("tom2", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3)), REVIEW
    ),
    "the review is withdrawn": Row(
        reviewed(("rita", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3), ("rita", "withdraw", 4)), REVIEW
    ),
    "the review is made again after the approvals": Row(
        reviewed(("rita", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3), ("rita", "review", 4)), APPROVAL
    ),
    "another review after the approvals does no harm": Row(
        reviewed(("rita", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3), ("rolf", "review", 4))
    ),
}


def against(verdict: Verdict) -> tuple[str, ...]:
    return tuple(reason.rule for reason in verdict.reasons if not reason.holds)


@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str) -> None:
    row = TABLE[name]
    verdict = judge(row.case)
    assert sorted(against(verdict)) == sorted(row.against), verdict
    assert verdict.allowed is (row.against == ())
    assert row.text in "\n".join(reason.text for reason in verdict.reasons)
    if row.against:
        with pytest.raises(Refused) as caught:
            require_allowed(verdict)
        assert caught.value.faults[: len(row.against)] == tuple(
            f"{one.rule}: {one.text}" for one in verdict.reasons if not one.holds
        )
        assert all("does not count" in fault for fault in caught.value.faults[len(row.against) :])
    else:
        require_allowed(verdict)


@pytest.mark.parametrize("name", TABLE)
def test_a_verdict_is_a_function_of_its_case_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = judge(TABLE[name].case)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    for forbidden in ("builtins.open", "os.getenv", "time.time", "socket.socket"):
        monkeypatch.setattr(forbidden, _never)
    assert judge(TABLE[name].case) == before


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a verdict looks at nothing but its case")


def test_the_empty_verdict_allows_nothing() -> None:
    with pytest.raises(Refused):
        require_allowed(Verdict(package=PACKAGE, allowed=True, reasons=()))
    with pytest.raises(Refused):
        require_allowed(Verdict(package=PACKAGE, allowed=False, reasons=judge(TABLE["one approval"].case).reasons))


def test_of_two_policies_the_stricter_counts_for_approvals_and_a_looser_one_is_said() -> None:
    looser = judge(case(say("ada"), in_force=InForceWhenSealed(None, TWO)))
    assert against(looser) == ("approve.approvals",)
    (said,) = [reason for reason in looser.reasons if reason.rule == "looser policy"]
    assert (said.holds, "approve.approvals: 2, now 1" in said.text) == (True, True)
    two = [say("ada", under=TWO), say("bob", under=TWO)]
    for before in (None, TWO, FINANCE):
        stricter = judge(case(*two, under=TWO, in_force=InForceWhenSealed(None, before)))
        assert stricter.allowed
        assert "looser policy" not in {reason.rule for reason in stricter.reasons}
    nothing = judge(case(under=None, in_force=InForceWhenSealed(None, TWO)))
    assert "looser policy" not in {reason.rule for reason in nothing.reasons}


def test_a_refusal_names_the_decisions_that_do_not_count() -> None:
    with pytest.raises(Refused) as caught:
        require_allowed(judge(case(say("rita"), say("ada", "withdraw"))))
    assert caught.value.faults[1:] == ("decision 1: approve by Rita: does not count, its key has no role for it",)


def test_counts_name_who_is_counted() -> None:
    verdict = judge(reviewed(("rita", "review", 1), ("ada", "approve", 2), ("bob", "approve", 3)))
    texts = {reason.rule: reason.text for reason in verdict.reasons}
    assert texts["approve.reviews"] == "1 of 1 review: Rita"
    assert texts["approve.approvals"] == "2 of 2 approvals: Ada, Bob"
    none = {reason.rule: reason.text for reason in judge(case()).reasons}
    assert none["approve.reviews"] == "0 of 0 reviews"
    assert none["approve.separate_duties"] == "owner and trainer are two persons"
    assert none["rejection"] == "nobody rejects it"
    assert none["ring"] == "there is a key ring"


def with_owner(label: str) -> Ring:
    """The key ring in which this key is an owner's, too."""
    owners = {**MEMBERS, label: MEMBERS[label].model_copy(update={"roles": (*MEMBERS[label].roles, "owner")})}
    return keyring.create_ring("claims", list(owners.values()), START)


def test_where_duties_are_separate_no_owner_trains() -> None:
    for label in ("tom", "tom2"):  # the key that signed the package, and another one of the same person
        verdict = judge(case(say("ada"), rings=with_owner(label)))
        assert against(verdict) == ("approve.separate_duties",)
        assert "the same person is owner and trainer" in "\n".join(reason.text for reason in verdict.reasons)
        shared = judge(case(say("ada", under=TRAINER_MAY), under=TRAINER_MAY, rings=with_owner(label)))
        assert "approve.separate_duties" not in {reason.rule for reason in shared.reasons}
        assert shared.allowed
    unknown = judge(case(under=FINANCE, trainer="0" * 64))
    assert "approve.separate_duties" not in {reason.rule for reason in unknown.reasons}


def test_where_duties_are_separate_no_owner_approves() -> None:
    for label in ("ada", "ada2"):
        verdict = judge(case(say("ada"), rings=with_owner(label)))
        assert against(verdict) == APPROVAL
        assert "the same person is owner and approver" in "\n".join(reason.text for reason in verdict.reasons)
        assert judge(case(say("ada", under=TRAINER_MAY), under=TRAINER_MAY, rings=with_owner(label))).allowed


def test_every_decision_has_a_reason_that_names_its_person() -> None:
    decisions = (say("ada"), say("bob", "reject"), say("rita"), say("tom2"), b"rubbish")
    verdict = judge(case(*decisions))
    texts = {reason.rule: reason.text for reason in verdict.reasons if reason.rule.startswith("decision ")}
    assert list(texts) == [f"decision {number}" for number in range(1, 6)]
    for text, person in zip(texts.values(), ("Ada", "Bob", "Rita", "Tom", "decision 5"), strict=True):
        assert person in text


def test_no_reason_repeats_what_somebody_wrote() -> None:
    secret = "patient Jane Roe was mentioned in row 7"
    verdict = judge(case(say("ada", reason=secret), say("bob", "reject", reason=secret)))
    assert secret not in verdict.model_dump_json()


# -- envelopes that are not what they should be -----------------------------------------------------------------------


def envelope_of(payload: bytes, key: Any = None) -> bytes:
    return dsse.sign_envelope(dsse.INTOTO, payload, key or KEYS["ada"])


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Ada's genuine decision, its envelope changed and written canonically again."""
    envelope = json.loads(say("ada"))
    change(envelope)
    return canonical_json(envelope)


def signed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Ada's decision, changed and then signed by her own key."""
    statement = json.loads(crypto.from_b64(json.loads(say("ada"))["payload"]))
    change(statement)
    return envelope_of(canonical_json(statement))


def loose_base64(text: str) -> str:
    """Other characters for the same bytes: the unused bits of the last one set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    other = body[:-1] + alphabet[alphabet.index(body[-1]) | 1] + "=" * (len(text) - len(body))
    assert base64.b64decode(other) == base64.b64decode(text)
    assert other != text
    return other


def padded_reason() -> dict[str, Any]:
    """An envelope whose payload's base64 ends in padding, so that it has a second spelling."""
    for extra in range(3):
        envelope: dict[str, Any] = json.loads(say("ada", reason=GOOD + "." * extra))
        if envelope["payload"].endswith("="):
            return envelope
    raise AssertionError


def other_payload_spelling() -> bytes:
    envelope = padded_reason()
    return canonical_json(envelope | {"payload": loose_base64(envelope["payload"])})


def statement_bytes() -> bytes:
    return crypto.from_b64(json.loads(say("ada"))["payload"])


MALFORMED = {
    "nothing": b"",
    "no JSON": b"approved!",
    "not UTF-8": b"\xff\xfe",
    "cut": say("ada")[:-1],
    "a line end": say("ada") + b"\n",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "unsorted": json.dumps(dict(reversed(json.loads(say("ada")).items())), separators=(",", ":")).encode(),
    "spaces": json.dumps(json.loads(say("ada")), sort_keys=True).encode(),
    "a key twice": say("ada")[:-1] + b',"payloadType":"application/vnd.in-toto+json"}',
    "another key's signature": edited(
        lambda e: e["signatures"][0].update(json.loads(say("bob"))["signatures"][0], keyid=KEYS["ada"].fingerprint)
    ),
    "another key's id": edited(lambda e: e["signatures"][0].update(keyid=KEYS["bob"].fingerprint)),
    "signed in somebody else's name": say("ada", key=KEYS["bob"]),
    "a stranger's key": say("ada", key=STRANGER),
    "two signatures": edited(lambda e: e["signatures"].append(json.loads(say("bob"))["signatures"][0])),
    "no signature": edited(lambda e: e["signatures"].clear()),
    "an empty signature": edited(lambda e: e["signatures"][0].update(sig="")),
    "another payload type": edited(lambda e: e.update(payloadType="application/json")),
    "the type is a number": edited(lambda e: e.update(payloadType=1)),
    "the payload is a list": edited(lambda e: e.update(payload=[])),
    "a key id that is a list": edited(lambda e: e["signatures"][0].update(keyid=[])),
    "one more key": edited(lambda e: e.update(more=1)),
    "one more key in the signature": edited(lambda e: e["signatures"][0].update(cert="")),
    "base64 with spare bits": other_payload_spelling(),
    "base64 without its padding": canonical_json(padded_reason() | {"payload": padded_reason()["payload"].rstrip("=")}),
    "base64 for URLs": edited(lambda e: e.update(payload=e["payload"].replace("e", "-", 1))),
    "a ring": keyring.sign_ring(RING, KEYS["olga"]),
    "signed: no JSON": envelope_of(b"approved"),
    "signed: not UTF-8": envelope_of(b"\xff"),
    "signed: deep": envelope_of(b"[" * 100_000),
    "signed: null": envelope_of(b"null"),
    "signed: empty": envelope_of(b"{}"),
    "signed: spaces": envelope_of(json.dumps(json.loads(statement_bytes()), sort_keys=True).encode()),
    "signed: a lone surrogate": envelope_of(statement_bytes().replace(b"The scores", b"\\ud800 scores")),
    "signed: another predicate": signed(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")),
    "signed: another statement": signed(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
    "signed: one subject less": signed(lambda s: s["subject"].pop()),
    "signed: a subject twice": signed(lambda s: s["subject"].append(s["subject"][0])),
    "signed: subjects in another order": signed(lambda s: s["subject"].reverse()),
    "signed: a digest in capitals": signed(lambda s: s["subject"][0]["digest"].update(sha256="A" * 64)),
    "signed: a second digest": signed(lambda s: s["subject"][0]["digest"].update(sha512="a" * 128)),
    "signed: no reason": signed(lambda s: s["predicate"].pop("reason")),
    "signed: an empty reason": signed(lambda s: s["predicate"].update(reason="")),
    "signed: another meaning": signed(lambda s: s["predicate"].update(decision="APPROVE")),
    "signed: no expiry": signed(lambda s: s["predicate"].pop("expires")),
    "signed: an expiry that is none": signed(lambda s: s["predicate"].update(expires="never")),
    "signed: local time": signed(lambda s: s["predicate"].update(time="2026-11-11T00:00:00.000")),
    "signed: the first year": signed(lambda s: s["predicate"].update(time="0001-01-01T00:00:00.000+23:00")),
    "signed: a time that is a number": signed(lambda s: s["predicate"].update(time=1)),
    "signed: somebody else's name": signed(lambda s: s["predicate"].update(person="Bob")),
    "signed: one more field": signed(lambda s: s["predicate"].update(approved=True)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_or_forged_envelope_refuses_whatever_else_there_is(name: str) -> None:
    good = say("ada", at=20)
    assert judge(case(good)).allowed
    verdict = judge(case(MALFORMED[name], good))
    assert against(verdict) == ("decision 1",)
    assert "decision 1" in next(reason.text for reason in verdict.reasons if reason.rule == "decision 1")
    with pytest.raises(Tampered):
        read_decision(MALFORMED[name], RING, "decision 1")


def test_no_change_of_a_byte_leaves_a_package_allowed_that_the_rest_does_not_allow() -> None:
    chance = random.Random(6)
    decisions = [
        say("rita", "review", 1, under=REVIEWED),
        say("ada", "approve", 2, under=REVIEWED),
        say("bob", "approve", 3, under=REVIEWED, expires=500),
        say("both", "approve", 4, under=REVIEWED),
    ]
    assert judge(case(*decisions, under=REVIEWED)).allowed
    for _ in range(600):
        which = chance.randrange(len(decisions))
        changed = bytearray(decisions[which])
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del changed[chance.randrange(len(changed)) :]
        if bytes(changed) == decisions[which]:
            continue
        mutated = [*decisions[:which], bytes(changed), *decisions[which + 1 :]]
        verdict = judge(case(*mutated, under=REVIEWED))
        assert not verdict.allowed  # stricter than needed: what cannot be read refuses even beside enough others
        assert f"decision {which + 1}" in against(verdict)


def test_no_choice_or_order_of_decisions_allows_more_than_the_rules_say() -> None:
    """Against a second, blunter reading of the rules: who decided what last, by the audit log, with sound keys only."""
    chance = random.Random(7)
    who = ("ada", "ada2", "bob", "both", "both", "rita", "rita", "rolf", "tom2")
    meanings = ("review", "review", "review", "approve", "approve", "approve", "approve", "reject", "withdraw")
    allowed = 0
    for _ in range(300):
        said = []
        for turn in range(chance.randrange(3, 9)):
            label = chance.choice(who)
            said.append((label, chance.choice(meanings), float(turn + 1)))
        last: dict[str, tuple[str, float]] = {}
        for label, what, at in said:
            person, roles = PEOPLE[label]
            needed = {"review": {"reviewer"}, "approve": {"approver"}}.get(what, {"reviewer", "approver"})
            if needed & set(roles) and not (person == "Tom" and what in ("review", "approve")):
                last[person] = (what, at)
        reviews = [at for what, at in last.values() if what == "review"]
        approvals = [at for what, at in last.values() if what == "approve" and any(review < at for review in reviews)]
        expected = len(approvals) >= 2 and "reject" not in {what for what, _ in last.values()}
        verdict = judge(reviewed(*said))
        assert verdict.allowed is expected, (said, verdict)
        allowed += expected
    assert allowed > 4


# -- signing ----------------------------------------------------------------------------------------------------------


TODAY = keyring.signing_member("Ada", ["approver"], KEYS["ada"].public_pem, datetime.now(UTC))


def sign(what: str = "approve", **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "package": PACKAGE,
        "policy_digest": FINANCE.digest,
        "report": REPORT,
        "policy_name": FINANCE.name,
        "decision": what,
        "reason": GOOD,
        "member": TODAY,
        "expires": None,
        "signer": KEYS["ada"],
    }
    return decide(**given | changes)


def test_a_decision_counts_at_once_and_is_an_in_toto_statement() -> None:
    now = datetime.now(UTC)
    envelope = sign(expires=now + timedelta(days=1))
    members = [TODAY, *(m for label, m in MEMBERS.items() if label in ("olga", "tom"))]
    current = keyring.create_ring("claims", members, now)
    later = now + timedelta(seconds=5)
    assert judge(case(envelope, rings=current, now=later)).allowed
    assert not judge(case(envelope, rings=current, now=now + timedelta(days=2))).allowed
    statement = json.loads(crypto.from_b64(json.loads(envelope)["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == {
        "package": PACKAGE,
        "policy": FINANCE.digest,
        "report": REPORT,
    }
    said, digests, member = read_decision(envelope, current, "decision 1")
    assert to_statement(said, digests) == crypto.from_b64(json.loads(envelope)["payload"])
    assert (said.person, said.reason, member.key_id) == ("Ada", GOOD, KEYS["ada"].fingerprint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signer": KEYS["bob"]}, "another one"),
        ({"decision": "review"}, "no role"),
        ({"member": MEMBERS["until"], "signer": KEYS["until"]}, "was valid until"),
        (
            {"member": TODAY.model_copy(update={"revoked": keyring.Revocation(time=timestamp(START), reason="left")})},
            "revoked",
        ),
    ],
)
def test_who_may_not_decide_cannot_sign(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as caught:
        sign(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires": datetime(2090, 1, 1)},
        {"reason": ""},
        {"reason": "x" * 10_001},
        {"package": "latest"},
        {"report": "A" * 64},
        {"policy_digest": ""},
    ],
)
def test_a_decision_with_a_bad_field_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        sign(**changes)
