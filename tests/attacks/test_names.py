"""Who is who: an account that names itself, names that look like another's, keys that nobody knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sdk import Project, crypto
from sdk.audit import account
from sdk.crypto.keyring import Member, Ring, add, create_ring, open_rings, revoke, sign_ring, signing_member
from sdk.errors import InvalidInput, Refused
from sdk.records import Approval
from tests.workshop import REASON, Workshop

AT = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
OWNER = crypto.SigningKey.random()


def member(name: str) -> Member:
    return signing_member(name, ("approver",), crypto.SigningKey.random().public_pem, AT)


def ring(*names: str) -> Ring:
    owner = signing_member("owner", ("owner",), OWNER.public_pem, AT)
    return create_ring("claims", (owner, *map(member, names)), AT)


# -- names ------------------------------------------------------------------------------------------------------------

LOOK_ALIKES = {
    "filler of Hangul": "Ada Lovelace\u3164",
    "filler of Hangul, half width": "Ada\uffa0 Lovelace",
    "filler of Hangul, first part": "Ada \u115fLovelace",
    "variation selector": "Ada Lovelace\ufe0f",
    "variation selector of the supplement": "Ada Lovelace\U000e0101",
    "grapheme joiner": "Ada\u034f Lovelace",
    "vowel of Khmer that is not drawn": "Ada\u17b4 Lovelace",
    "empty Braille pattern": "Ada\u2800Lovelace",
    "Mongolian separator": "Ada\u180b Lovelace",
    "accent": "Adá Lovelace",
    "accent by itself": "Ada\u0301 Lovelace",
    "mark that begins a word": "Ada \u0336Lovelace",
    "one letter of Cyrillic": "Ad\u0430 Lovelace",
    "one letter of Greek": "Ada L\u03bfvelace",
    "one letter of Armenian": "Ada L\u0585velace",
    "one letter of Cherokee": "\u13aada Lovelace",
    "full width": "\uff21da Lovelace",
    "letters of mathematics": "\U0001d400da Lovelace",
    "small capital": "\u1d00da Lovelace",
    "capital I for a small l": "Ada LoveIace",
    "digit for a letter": "Ada L0velace",
    "another case": "ada lovelace",
    "two spaces": "Ada  Lovelace",
}


@pytest.mark.parametrize("name", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_nobody_is_enrolled_as_somebody_who_looks_the_same(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        add(ring("Ada Lovelace"), member(name), AT)
    assert any(why in str(caught.value) for why in ("Ada Lovelace", "cannot be seen", "several alphabets"))
    assert all(fault.isprintable() for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("enrolled", "other"),
    [
        ("Bernd", "Bemd"),
        ("Aca", "\u0410\u0441\u0430"),
        ("TOM", "\u03a4\u039f\u039c"),
        ("Walter", "vvalter"),
        ("Il", "ll"),
    ],
)
def test_whole_words_of_another_alphabet_and_pairs_of_letters_are_found(enrolled: str, other: str) -> None:
    with pytest.raises(InvalidInput, match="could be one person"):
        add(ring(enrolled), member(other), AT)


@pytest.mark.parametrize("name", ["\u3164", "\u2800", "\ufe0f", "\u0301", "Ad\u0430", "x\u034f"])
def test_a_name_of_nothing_or_of_several_alphabets_is_refused_beside_anybody(name: str) -> None:
    with pytest.raises(InvalidInput):
        add(ring("Grace Hopper"), member(name), AT)


@pytest.mark.parametrize("name", ["Ada\u3164", "\u0430da"])
def test_the_first_ring_is_no_way_round(name: str) -> None:
    with pytest.raises(InvalidInput):
        ring("ada", name)


@pytest.mark.parametrize(
    "name",
    [
        "Grace Hopper",
        "Ada Byron",
        "李雷",
        "Жанна Д’Арк",
        "Ἀριστοτέλης",
        "राम",
        "محمد",
        "김철수",
        "José",
        "Renée-Anne",
        "uid:1234",
        "Ada",
    ],
)
def test_honest_names_are_enrolled(name: str) -> None:
    assert add(ring("Ada Lovelace"), member(name), AT).members[-1].name == name


def test_the_same_person_gets_a_further_key() -> None:
    assert [one.name for one in add(ring("Ada"), member("Ada"), AT).members] == ["owner", "Ada", "Ada"]


def test_a_ring_of_an_earlier_version_opens_and_goes_on() -> None:
    """What it holds by names that could not be enrolled now stays; only new names are held against the rule."""
    owner = signing_member("owner", ("owner",), OWNER.public_pem, AT)
    old = Ring(
        project="claims",
        version=1,
        previous=None,
        time=owner.valid_from,
        members=(owner, member("Ada"), member("Ad\u0430"), member("Ada\u3164")),
    )
    (opened,) = open_rings([sign_ring(old, OWNER)], old.digest, "ring")
    assert opened == old
    later = revoke(add(opened, member("Grace"), AT), old.members[2].key_id, "compromised", AT)
    assert later.members[2].compromised
    with pytest.raises(InvalidInput, match="could be one person"):
        add(opened, member("\u0410da"), AT)


# -- accounts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_account() -> Iterator[None]:
    account.cache_clear()
    yield
    account.cache_clear()


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
@pytest.mark.usefixtures("fresh_account")
def test_no_variable_says_who_acts(
    variable: str, monkeypatch: pytest.MonkeyPatch, workshop: Workshop, tmp_path: Path
) -> None:
    honest = account()
    account.cache_clear()
    monkeypatch.setenv(variable, "alice")
    assert account() == honest != "alice"
    if variable == "LOGNAME":  # it comes first where getpass is asked
        options = {"domain": workshop.domain, "base": str(workshop.base), "policy": workshop.policy}
        project = Project.create(tmp_path / "p", **options)  # type: ignore[arg-type]
        assert {event.actor for event in project.history()} == {honest}
        trainer = honest if os.geteuid() else "trainer"  # root is whoever starts a container
        assert [one.name for one in project.members() if "trainer" in one.roles] == [trainer]


@pytest.mark.usefixtures("fresh_account")
def test_an_account_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 987654)
    monkeypatch.setenv("LOGNAME", "alice")
    assert account() == "uid:987654"


# -- keys that nobody knows -------------------------------------------------------------------------------------------


def test_a_refused_approval_by_an_unknown_key_leaves_an_event(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(finished.root, tmp_path / "p")
    project = Project(tmp_path / "p")
    stranger = crypto.SigningKey.random()
    crypto.save_key(stranger, tmp_path / "mallory.pem")
    before = len(project.state().events)
    approvals = len(project.state().all(Approval))
    with pytest.raises(Refused, match="belongs to nobody"):
        project.approve(key=f"file:{tmp_path / 'mallory.pem'}", reason=REASON)
    started, refused = project.state().events[before:]
    assert (started.phase, refused.phase, refused.decision) == ("started", "refused", "deny")
    assert started.detail == {"decision": "approve", "key": stranger.fingerprint}
    assert refused.actor == account()
    assert refused.authentication == "os-user"
    assert len(project.state().all(Approval)) == approvals
    # and somebody who is enrolled still decides
    key = tmp_path / "grace.pem"
    crypto.save_key(crypto.SigningKey.random(), key)
    project.enroll("Grace", f"file:{key}")
    assert project.approve(key=f"file:{key}", reason=REASON).approver == "Grace"
