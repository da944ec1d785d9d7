"""Decisions are counted once a person, for one digest, under one policy."""

import pytest

from sdk import crypto
from sdk.approve import check_approval, decide, find_holder, tally
from sdk.charter import make_holder
from sdk.errors import Refused, Tampered
from sdk.records import Approval

PACKAGE, OTHER, POLICY = "a" * 64, "b" * 64, "c" * 64
KEYS = {name: crypto.SigningKey.random() for name in ("tom", "ada", "bob")}
HOLDERS = [
    make_holder("tom", "trainer", KEYS["tom"].public_pem),
    make_holder("ada", "approver", KEYS["ada"].public_pem),
    make_holder("bob", "approver", KEYS["bob"].public_pem),
]


def decision(who: str, what: str = "approve", package: str = PACKAGE, policy: str = POLICY) -> Approval:
    holder = find_holder(HOLDERS, KEYS[who].fingerprint)
    return decide(package, what, "looked at it", holder, KEYS[who], "default@1", {"policy": policy})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([], (0, 0, False)),
        ([decision("ada")], (1, 0, False)),
        ([decision("ada"), decision("ada")], (1, 0, False)),
        ([decision("ada"), decision("bob")], (2, 0, False)),
        ([decision("ada"), decision("ada", "reject")], (0, 1, False)),
        ([decision("ada", "reject"), decision("ada")], (1, 0, False)),
        ([decision("ada", package=OTHER), decision("bob", policy=OTHER)], (0, 0, False)),
        ([decision("tom"), decision("ada")], (2, 0, True)),
    ],
)
def test_tally(decisions: list[Approval], expected: tuple[int, int, bool]) -> None:
    facts = tally(decisions, HOLDERS, PACKAGE, POLICY)
    assert (facts["approvals"], facts["rejections"], facts["approver_is_trainer"]) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"package": OTHER},
        {"reason": "looked at it."},
        {"decision": "reject"},
        {"policy": "default@2"},
        {"time": "2020-01-01T00:00:00+00:00"},
        {"inputs": {"policy": OTHER}},
        {"approver": "bob"},
        {"key_fingerprint": KEYS["bob"].fingerprint, "approver": "bob"},
        {"signature": KEYS["ada"].sign(b"other")},
    ],
)
def test_a_changed_decision_is_tampered_with(change: dict[str, object]) -> None:
    approval = decision("ada")
    check_approval(approval, HOLDERS)
    with pytest.raises(Tampered):
        check_approval(approval.model_copy(update=change), HOLDERS)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(Refused, match="sdk keys enroll"):
        find_holder(HOLDERS, crypto.SigningKey.random().fingerprint)
