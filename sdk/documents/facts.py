"""What templates may say: the records themselves, and the few tables that are counted out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sdk.documents.dossier import Dossier, Happened
from sdk.documents.gaps import ABSENT
from sdk.policy import ALWAYS_DELETED, Policy
from sdk.records import Advice, Recall, Run, Scrubbed

LEAVES_A_CODE = frozenset({"token", "surrogate", "shift"})  # what stands instead is derived from the value


@dataclass(frozen=True)
class Identifier:
    """One that the policy's rule names."""

    name: str
    kinds: tuple[str, ...]
    actions: tuple[str, ...]  # that the policy orders for these kinds
    findings: Any  # how many; ABSENT where nothing was scrubbed
    recall: Any  # Recall on planted spans; ABSENT likewise


@dataclass(frozen=True)
class Removed:
    """A kind of personal data."""

    kind: str
    findings: int
    recall: Recall  # on planted spans
    action: str  # that the policy orders


@dataclass(frozen=True)
class Action:
    """What the audit log has of one action."""

    name: str
    phases: dict[str, int]
    actors: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class Rule:
    """One key of the policy."""

    name: str
    value: Any
    meaning: str


@dataclass(frozen=True)
class Setting:
    """One setting of the training run."""

    name: str
    value: Any
    reason: Any  # the advisor's; ABSENT where there was no advice


def facts(dossier: Dossier) -> dict[str, Any]:
    """Name in the templates -> value."""
    records = dossier.records
    return {
        **{name: ABSENT if record is None else record for name, record in records.items()},
        "record_digests": {name: record.digest for name, record in records.items() if record is not None},
        "project": dossier.project,
        "base_name": dossier.base_name,
        "base_digest": dossier.base_digest,
        "domain": dossier.domain,
        "domain_name": f"{dossier.domain.name}@{dossier.domain.version}",
        "policy": dossier.policy,
        "rules": _rules(dossier.policy),
        "settings": _settings(dossier.run, dossier.advice),
        "standing": dossier.standing,
        "approvals": dossier.approvals,
        "actions": _actions(dossier.events),
        "newest": dossier.events[-1] if dossier.events else ABSENT,
        "removed": _removed(dossier.policy, dossier.scrubbed),
        "identifiers": _identifiers(dossier.policy, dossier.scrubbed),
        "leaving_a_code": _leaving_a_code(dossier.policy, dossier.scrubbed),
        "detected": _detected(dossier.policy, dossier.scrubbed),
        "not_recorded": ABSENT,
    }


def ordered(policy: Policy, kind: str) -> str:
    """The action that the policy orders for a kind of personal data."""
    return "delete" if kind in ALWAYS_DELETED else policy.scrub.actions.get(kind, policy.scrub.default_action)


def _removed(policy: Policy, scrubbed: Scrubbed | None) -> tuple[Removed, ...]:
    """Every kind that was found or planted."""
    if scrubbed is None:
        return ()
    none = Recall(planted=0, found=0)
    return tuple(
        Removed(kind, scrubbed.counts.get(kind, 0), scrubbed.recall_by_kind.get(kind, none), ordered(policy, kind))
        for kind in sorted({*scrubbed.counts, *scrubbed.recall_by_kind})
    )


def _identifiers(policy: Policy, scrubbed: Scrubbed | None) -> dict[str, Identifier]:
    """By the first word of the policy's name for it, which in Safe Harbor's list is its letter."""
    found = {}
    for name, kinds in policy.scrub.identifiers.items():
        findings: Any = ABSENT
        recall: Any = ABSENT
        if scrubbed is not None:
            findings = sum(scrubbed.counts.get(kind, 0) for kind in kinds)
            planted = [scrubbed.recall_by_kind[kind] for kind in kinds if kind in scrubbed.recall_by_kind]
            recall = Recall(planted=sum(one.planted for one in planted), found=sum(one.found for one in planted))
        actions = tuple(sorted({ordered(policy, kind) for kind in kinds}))
        found[name.split()[0]] = Identifier(name, tuple(kinds), actions, findings, recall)
    return found


def _detected(policy: Policy, scrubbed: Scrubbed | None) -> Any:
    """True where the data went through the detectors; no record says so, but a policy that it was made under may."""
    by_rule = scrubbed is not None and policy.scrub.required and scrubbed.inputs.get("policy") == policy.digest
    return True if by_rule else ABSENT


def _leaving_a_code(policy: Policy, scrubbed: Scrubbed | None) -> tuple[str, ...]:
    """Kinds whose replacement is derived from the value, or whose values are kept to be read back."""
    named = {kind for kinds in policy.scrub.identifiers.values() for kind in kinds} | set(policy.scrub.actions)
    named |= set(scrubbed.counts if scrubbed else ())
    derived = {kind for kind in named if ordered(policy, kind) in LEAVES_A_CODE}
    return tuple(sorted(derived | set(policy.scrub.reversible)))


def _actions(events: Sequence[Happened]) -> tuple[Action, ...]:
    """In the order in which they first happened."""
    by_name: dict[str, list[Happened]] = {}
    for event in events:
        by_name.setdefault(event.action, []).append(event)
    return tuple(
        Action(
            name,
            Counter(event.phase for event in those),
            tuple(sorted({event.actor for event in those})),
            those[0].time,
            those[-1].time,
        )
        for name, those in by_name.items()
    )


def _settings(run: Run | None, advice: Advice | None) -> tuple[Setting, ...]:
    """A reason is shown only where the run did what was advised."""
    if run is None:
        return ()
    return tuple(Setting(name, value, _reason(name, value, advice)) for name, value in run.settings)


def _reason(name: str, value: Any, advice: Advice | None) -> Any:
    if advice is None:
        return ABSENT
    return advice.reasons.get(name, "") if value == getattr(advice.settings, name) else "set by hand"


def _rules(policy: Policy) -> tuple[Rule, ...]:
    """Every key but those of scrubbing, which the documents about the data show."""
    rooms = {name: room for name, room in policy if isinstance(room, BaseModel) and name != "scrub"}
    return tuple(
        Rule(f"{name}.{key}", getattr(room, key), field.description or key.replace("_", " "))
        for name, room in rooms.items()
        for key, field in type(room).model_fields.items()
    )
