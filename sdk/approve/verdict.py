"""May this package be used? Files in, a verdict with every reason out, and no without them.

`judge` reads no clock, disk or environment: the same case has the same verdict everywhere and always.

1. There is a policy, which the owner had put in force when the package was sealed, a key ring, a report, and a trainer
   whom the ring knows. Of approvals counts, key by key, the stricter of this policy and the one that it replaced. Where
   it says so, the trainer is no owner.
2. Every decision is a genuine one: canonical, signed by a key in the ring, by the person it names. One that is not is a
   reason to refuse, whatever else there is.
3. Only decisions over these very digests of package, policy and report count.
4. What allows (a review, an approval, lifting a rejection) counts only from a key that had its role, was valid and is
   not revoked, with reason enough, dated after what the same person said before and not after now; reviews and
   approvals not from who trained, nor from an owner where the policy separates duties. What forbids (a rejection,
   withdrawing an approval) needs no more than to be genuine and of a key with a role for it.
5. The last decision of each person stands. People are counted, not keys.
6. A rejection that stands refuses. Reviews and approvals end when they say so or when the policy does.
7. There are as many reviews as the policy asks for, and as many approvals that came after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from sdk.approve.decision import (
    Decision,
    Digests,
    decision_facts,
    has_role,
    is_owner,
    read_decision,
    to_statement,
)
from sdk.crypto.keyring import Member, Ring, why_not_valid
from sdk.errors import Refused, Tampered
from sdk.policy import (
    ApprovalsCounted,
    Policy,
    ReviewsCounted,
    TrainerKnown,
    loosened,
    stricter_approvals,
    violations,
)
from sdk.records import Frozen, sha256

COUNTS, NOT_COUNTED = "counts", "does not count"


@dataclass(frozen=True)
class InForceWhenSealed:
    """Whether the owner had put the package's policy in force when it was sealed, as the key rings and the log say."""

    fault: str | None  # why not; None: they had
    before: Policy | None  # the policy that it replaced; None: it was the first


@dataclass(frozen=True)
class Case:
    """Everything that a verdict depends on."""

    package: str  # SHA-256 of the package's manifest
    policy: Policy | None
    in_force: InForceWhenSealed
    report: str  # SHA-256 of the report
    ring: Ring | None  # the newest version
    decisions: tuple[bytes, ...]  # DSSE envelopes in the order of the audit log
    trainer: str  # key_id of the key that signed the package
    now: datetime  # with its time zone


class Reason(Frozen):
    rule: str = Field(description="a policy's key, what must be given, or `decision N` by the order of the audit log")
    holds: bool = Field(description="nothing here stands in the way")
    text: str


class Verdict(Frozen):
    package: str
    allowed: bool
    reasons: tuple[Reason, ...]

    def _summary(self) -> dict[str, Any]:
        reasons = {one.rule: f"{'yes' if one.holds else 'no'}: {one.text}" for one in self.reasons}
        return {"package": self.package, "allowed": self.allowed, **reasons}


@dataclass(frozen=True)
class _Heard:
    """A genuine decision over the case's digests, by its number in the audit log's order, from 1."""

    number: int
    said: Decision
    member: Member

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.said.time)

    def __str__(self) -> str:
        return f"{self.said.decision} by {self.member.name}"


class _Court:
    """One case with what it must have, while it is judged.

    Decisions go through the rules in the order of the audit log, since each is judged by what the same person said
    before. `reasons` has one for every decision, by its number; a later rule may replace what an earlier one wrote.
    """

    def __init__(self, case: Case, policy: Policy, ring: Ring) -> None:
        self.case, self.ring = case, ring
        self.policy = stricter_approvals(policy, case.in_force.before)
        self.digests = Digests.model_construct(package=case.package, policy=policy.digest, report=case.report)
        trainer = ring.find(case.trainer)
        self.trainer = trainer.name if trainer else None
        self.reasons: dict[int, Reason] = {}

    def note(self, number: int, text: str, holds: bool = True) -> None:
        self.reasons[number] = Reason(rule=f"decision {number}", holds=holds, text=text)

    def hear(self) -> Iterator[_Heard]:
        """Yield the decisions that pass rules 2 and 3, and note why the others do not.

        A repeated one is told by its statement, not by its envelope: an ECDSA signature can be made anew over the same
        statement by anybody who has one, and a copy of an approval must not stand after its withdrawal.
        """
        seen: set[bytes] = set()
        for number, envelope in enumerate(self.case.decisions, 1):
            try:
                said, digests, member = read_decision(
                    envelope, self.ring, f"decision {number} ({sha256(envelope)[:12]})"
                )
            except Tampered as error:
                self.note(number, error.finding, holds=False)
                continue
            heard = _Heard(number, said, member)
            others = [name for name in Digests.model_fields if getattr(digests, name) != getattr(self.digests, name)]
            content = to_statement(said, digests)
            if others:
                self.note(number, f"{heard}: {NOT_COUNTED}, it is over another {' and '.join(others)}")
            elif content in seen:
                self.note(number, f"{heard}: {NOT_COUNTED}, it repeats an earlier one")
            else:
                seen.add(content)
                yield heard

    def fault(self, heard: _Heard, before: datetime | None) -> str | None:
        """Say by rule 4, for what allows, why a decision does not count; None: it does.

        before: the time of what the same person said last. A decision dated no later could be an old one that somebody
        puts in again.
        """
        said, member = heard.said, heard.member
        by_trainer = member.key_id == self.case.trainer or member.name == self.trainer
        facts = decision_facts(said.decision, said.reason, by_trainer, is_owner(self.ring, member))
        broken = [f"{rule}: {text}" for rule, text in violations(self.policy, facts).items()]
        why = why_not_valid(member, heard.time)
        if why is not None:
            broken.append(why)
        if heard.time > self.case.now:
            broken.append("it is dated after now")
        if before is not None and heard.time <= before:
            broken.append("it is not dated after what the same person said before")
        return "; ".join(broken) or None

    def stand(self) -> dict[str, _Heard]:
        """Return by rules 4 and 5 person -> the decision that stands.

        What forbids counts also by a revoked key or with a time that is off: better one rejection too many, which a new
        decision lifts, than a warning that is lost. Withdrawing a rejection allows, and is held to the rules for that.
        """
        last: dict[str, _Heard] = {}
        said_at: dict[str, datetime] = {}
        for heard in self.hear():
            person = heard.member.name
            if not has_role(heard.member, heard.said.decision):
                self.note(heard.number, f"{heard}: {NOT_COUNTED}, its key has no role for it")
                continue
            former = last.get(person)
            rejected = former is not None and former.said.decision == "reject"
            forbids = heard.said.decision == "reject" or (heard.said.decision == "withdraw" and not rejected)
            fault = self.fault(heard, said_at.get(person))
            if fault is not None and not forbids:
                self.note(heard.number, f"{heard}: {NOT_COUNTED}, {fault}")
                continue
            said_at[person] = max(heard.time, said_at.get(person, heard.time))  # one dated back does not turn it back
            if former is not None:
                self.note(former.number, f"{former}: a later decision of the same person stands instead")
            last[person] = heard
            self.note(heard.number, f"{heard}: {COUNTS}")
        return last

    def ended(self, heard: _Heard) -> str | None:
        """Say by rule 6 when a review or an approval came to its end; None: it has not."""
        ends = [datetime.fromisoformat(heard.said.expires)] if heard.said.expires is not None else []
        if self.policy.approve.valid_days is not None:
            ends.append(heard.time + timedelta(days=self.policy.approve.valid_days))
        return f"it expired on {min(ends).isoformat()}" if ends and min(ends) <= self.case.now else None

    def running(self, last: dict[str, _Heard], decision: Literal["review", "approve"]) -> list[_Heard]:
        """Return the reviews or the approvals that stand and have not ended."""
        running = []
        for heard in last.values():
            if heard.said.decision == decision:
                why = self.ended(heard)
                if why is None:
                    running.append(heard)
                else:
                    self.note(heard.number, f"{heard}: {NOT_COUNTED}, {why}")
        return running

    def in_order(self, approvals: list[_Heard], reviews: list[_Heard]) -> list[_Heard]:
        """Return by rule 7 the approvals that came after the reviews, by the audit log and by their own times."""
        in_order = []
        for heard in approvals:
            earlier = [review for review in reviews if review.number < heard.number and review.time < heard.time]
            if violations(self.policy, ReviewsCounted(reviews=len(earlier))):
                self.note(heard.number, f"{heard}: {NOT_COUNTED}, it came before the reviews; approve again after them")
            else:
                in_order.append(heard)
        return in_order

    def verdict(self) -> list[Reason]:
        """Return the reasons by rules 2 to 7: the counts, the rejections, then every decision in its order."""
        last = self.stand()
        reviews = self.running(last, "review")
        approvals = self.in_order(self.running(last, "approve"), reviews)
        rejections = sorted(person for person, heard in last.items() if heard.said.decision == "reject")
        no_rejection = Reason(
            rule="rejection",
            holds=not rejections,
            text=f"rejected by {', '.join(rejections)}; a rejection outweighs any number of approvals, until the same "
            "person decides anew"
            if rejections
            else "nobody rejects it",
        )
        return [
            *self.duties(),
            self.reviewed(reviews),
            self.approved(approvals),
            no_rejection,
            *(self.reasons[number] for number in sorted(self.reasons)),
        ]

    def duties(self) -> list[Reason]:
        """Judge by rule 1 whether the trainer is no owner. Nothing is said where the policy does not ask for it."""
        trainer = self.ring.find(self.case.trainer)
        if not self.policy.approve.separate_duties or trainer is None:
            return []
        facts = TrainerKnown(shared_duties="owner and trainer" if is_owner(self.ring, trainer) else "")
        rule = "approve.separate_duties"
        text = violations(self.policy, facts).get(rule)
        return [Reason(rule=rule, holds=text is None, text=text or "owner and trainer are two persons")]

    def reviewed(self, reviews: list[_Heard]) -> Reason:
        number = _people(reviews)
        broken = violations(self.policy, ReviewsCounted(reviews=number))
        text = _of(number, self.policy.approve.reviews, "review")
        return _counted("approve.reviews", broken, text, reviews)

    def approved(self, approvals: list[_Heard]) -> Reason:
        number = _people(approvals)
        broken = violations(self.policy, ApprovalsCounted(approvals=number))
        text = _of(number, self.policy.approve.approvals, "approval")
        return _counted("approve.approvals", broken, text, approvals)


def _people(decisions: list[_Heard]) -> int:
    """Return how many people decided: as many as there are names, but no more than there are keys."""
    return min(len({heard.member.name for heard in decisions}), len({heard.member.key_id for heard in decisions}))


def _of(number: int, needed: int, what: str) -> str:
    return f"{number} of {needed} {what}" + ("" if needed == 1 else "s")


def _counted(rule: str, broken: Mapping[str, str], text: str, decisions: list[_Heard]) -> Reason:
    """Say how many decisions count; `text` is what is said where the rule holds."""
    names = sorted({heard.member.name for heard in decisions})
    said = broken.get(rule, text) + (f": {', '.join(names)}" if names else "")
    return Reason(rule=rule, holds=rule not in broken, text=said)


def _preconditions(case: Case) -> list[Reason]:
    """Judge by rule 1 whether the case has all that a verdict needs."""
    trainer = case.ring.find(case.trainer) if case.ring is not None else None
    trained = trainer is not None and "trainer" in trainer.roles and not trainer.compromised
    digests = all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (case.package, case.report))
    checks = [
        ("policy", case.policy is not None, "there is a policy", "there is no policy, and nothing is allowed without"),
        (
            "ring",
            case.ring is not None and bool(case.ring.members),
            "there is a key ring",
            "there is no key ring, so nobody may approve; see `sdk keys list`",
        ),
        (
            "in force",
            case.in_force.fault is None,
            "the owner had put the policy in force when the package was sealed",
            str(case.in_force.fault),
        ),
        ("digests", digests, "package and report are named", "package or report is not named by its SHA-256"),
        (
            "trainer",
            trained,
            f"the package is signed by {trainer.name if trainer else ''}, a trainer",
            "the key that signed the package is no trainer's in the key ring, or is compromised",
        ),
        ("now", case.now.tzinfo is not None, "the time is known", "the time has no time zone"),
    ]
    return [Reason(rule=rule, holds=holds, text=yes if holds else no) for rule, holds, yes, no in checks]


def _loosened(case: Case) -> list[Reason]:
    """Say where the policy is looser than the one that it replaced; the stricter of the two counts for approvals."""
    policy, before = case.policy, case.in_force.before
    if policy is None or before is None or not (looser := loosened(before, policy)):
        return []
    text = f"{policy.name} is looser than {before.name}, which it replaced ({'; '.join(looser)})"
    return [Reason(rule="looser policy", holds=True, text=f"{text}; of approvals the stricter counts")]


def judge(case: Case) -> Verdict:
    """Judge a case: every reason, those that hold as well; allowed only if there is none that does not."""
    reasons = _preconditions(case)
    reasons += _loosened(case)
    if case.policy is not None and case.ring is not None and case.now.tzinfo is not None:
        reasons += _Court(case, case.policy, case.ring).verdict()
    return Verdict(package=case.package, allowed=all(reason.holds for reason in reasons), reasons=tuple(reasons))


def require_allowed(verdict: Verdict) -> None:
    """Refuse a verdict that does not allow, with every reason that does not hold."""
    against = [f"{reason.rule}: {reason.text}" for reason in verdict.reasons if not reason.holds]
    if against:
        against += [f"{one.rule}: {one.text}" for one in verdict.reasons if one.holds and NOT_COUNTED in one.text]
    if against or not verdict.allowed or not verdict.reasons:
        raise Refused(
            f"Package {verdict.package[:12]} may not be used; in the project `sdk explain` says all.", against
        )
