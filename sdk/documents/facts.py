"""What templates may say: the records themselves, and the few tables that are counted out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sdk.audit import ACCOUNT
from sdk.documents.answers import SECTIONS
from sdk.documents.dossier import RECORDS, Dossier, Happened
from sdk.documents.gaps import ABSENT, Absent
from sdk.documents.measured import measured_facts
from sdk.documents.render import DeclaredText
from sdk.policy import ALWAYS_DELETED, Policy
from sdk.records import Advice, Approval, Package, Recall, Review, Run, Scrubbed, StepRecord, floors_text
from sdk.records.scrubbing import TREATMENTS

UNKNOWN = "unknown"  # the licence of a base that neither its user nor its card names
LEAVES_A_CODE = frozenset({"token", "surrogate", "shift"})  # what stands instead is derived from the value


@dataclass(frozen=True)
class Identifier:
    """One that the policy's rule names."""

    name: str
    kinds: tuple[str, ...]
    treatments: tuple[str, ...]  # what was done with these kinds, as the policy orders
    findings: Any  # how many; ABSENT where nothing was scrubbed
    recall: Any  # Recall on planted spans; ABSENT likewise


@dataclass(frozen=True)
class KindFound:
    """A kind of personal data."""

    kind: str
    findings: int
    recall: Recall  # on planted spans
    treatment: str  # what was done with it, as the policy orders


@dataclass(frozen=True)
class Action:
    """What the audit log has of one action."""

    name: str
    phases: dict[str, int]
    actors: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class PolicyKey:
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
    """Collect what templates may say: name -> value."""
    records, package, review = dossier.records, dossier.package, dossier.review
    digests = {name: record.digest for name, record in records.items() if record is not None}
    digests |= {f"benchmarks, {number}": each.digest for number, each in enumerate(dossier.benchmarks, 1)}
    digests |= {f"export, {number}": each.digest for number, each in enumerate(dossier.exports, 1)}
    asked = dossier.scores.asked if dossier.scores else None
    if dossier.declared is not None:
        digests["what persons declared"] = dossier.declared.record.digest
    return {
        **{name: _unrecorded(RECORDS[name]) if record is None else record for name, record in records.items()},
        "record_digests": digests,
        "as_of": dossier.events[-1].time[:10] if dossier.events else ABSENT,
        "project": dossier.project,
        "base_name": dossier.base_name,
        "base_digest": dossier.base_digest,
        "base_source": dossier.base_source,
        "base_license": "" if dossier.base_license == UNKNOWN else dossier.base_license,
        "chat_template": f"{dossier.template}, by name" if dossier.template else "the base model's own",
        "domain": dossier.domain,
        "domain_name": f"{dossier.domain.name}@{dossier.domain.version}",
        "floors": str(asked) if asked else floors_text(dossier.domain.floors),
        "policy": dossier.policy,
        "rules": _rules(dossier.policy),
        "settings": _settings(dossier.run, dossier.advice),
        "standing": dossier.standing,
        "signed_by": dossier.person(package.signed_by) if package else _unrecorded(Package),
        "reviewer": dossier.person(review.reviewer) if review else _unrecorded(Review),
        "approvals": dossier.approvals,
        "exports": dossier.exports,
        "undecided": _unrecorded(Approval),
        "actions": _actions(dossier),
        "newest": dossier.events[-1] if dossier.events else ABSENT,
        "kinds_found": _kinds_found(dossier.policy, dossier.scrubbed),
        "identifiers": _identifiers(dossier.policy, dossier.scrubbed),
        "leaving_a_code": _leaving_a_code(dossier.policy, dossier.scrubbed),
        "detected": _detected(dossier.policy, dossier.scrubbed),
        "declared": _declared(dossier.declared.record.answers if dossier.declared else {}),
        "taken_in": dossier.declared,
        "not_recorded": ABSENT,
        **measured_facts(dossier.scores, dossier.scrubbed, dossier.benchmark_results, dossier.policy),
    }


def _unrecorded(kind: type[StepRecord]) -> Absent:
    """Stand in for a record that is not there yet; the command that leaves one would answer what is asked of it."""
    return Absent(f"`sdk {kind.verb}`")


def _declared(answers: Mapping[str, str]) -> dict[str, dict[str, DeclaredText | Absent]]:
    """Map sections and keys of documents.yaml to what persons declared."""
    return {
        section: {
            key: DeclaredText(answers[name]) if (name := f"{section}.{key}") in answers else Absent(f"`{name}`")
            for key in kind.model_fields
        }
        for section, kind in SECTIONS.items()
    }


def ordered(policy: Policy, kind: str) -> str:
    """Return the action that the policy orders for a kind of personal data."""
    return "delete" if kind in ALWAYS_DELETED else policy.scrub.actions.get(kind, policy.scrub.default_action)


def treated(policy: Policy, kind: str) -> str:
    """Say what is done with a kind of personal data, as the policy orders."""
    return TREATMENTS[ordered(policy, kind)]


def _kinds_found(policy: Policy, scrubbed: Scrubbed | None) -> tuple[KindFound, ...]:
    """List every kind that was found or planted."""
    if scrubbed is None:
        return ()
    none = Recall(planted=0, found=0)
    return tuple(
        KindFound(kind, scrubbed.counts.get(kind, 0), scrubbed.recall_by_kind.get(kind, none), treated(policy, kind))
        for kind in sorted({*scrubbed.counts, *scrubbed.recall_by_kind})
    )


def _identifiers(policy: Policy, scrubbed: Scrubbed | None) -> dict[str, Identifier]:
    """Count by identifier, under the first word of its name, which in Safe Harbor's list is its letter."""
    identifiers = {}
    for name, kinds in policy.scrub.identifiers.items():
        findings: Any = _unrecorded(Scrubbed)
        recall: Any = findings
        if scrubbed is not None:
            findings = sum(scrubbed.counts.get(kind, 0) for kind in kinds)
            planted = [scrubbed.recall_by_kind[kind] for kind in kinds if kind in scrubbed.recall_by_kind]
            recall = Recall(planted=sum(one.planted for one in planted), found=sum(one.found for one in planted))
        treatments = tuple(sorted({treated(policy, kind) for kind in kinds}))
        identifiers[name.split()[0]] = Identifier(name, tuple(kinds), treatments, findings, recall)
    return identifiers


def _detected(policy: Policy, scrubbed: Scrubbed | None) -> Any:
    """Tell whether the data went through the detectors. No record says so, but the policy it was scrubbed under may."""
    by_rule = scrubbed is not None and policy.scrub.required and scrubbed.inputs.get("policy") == policy.digest
    return True if by_rule else _unrecorded(Scrubbed)


def _leaving_a_code(policy: Policy, scrubbed: Scrubbed | None) -> tuple[str, ...]:
    """List the kinds whose replacement is derived from the value, or whose values are kept to be read back."""
    named = {kind for kinds in policy.scrub.identifiers.values() for kind in kinds} | set(policy.scrub.actions)
    named |= set(scrubbed.counts if scrubbed else ())
    derived = {kind for kind in named if ordered(policy, kind) in LEAVES_A_CODE}
    return tuple(sorted(derived | set(policy.scrub.reversible)))


def _actions(dossier: Dossier) -> tuple[Action, ...]:
    """Count the events by action, in the order in which the actions first happened."""
    by_action: dict[str, list[Happened]] = {}
    for event in dossier.events:
        by_action.setdefault(event.action, []).append(event)
    return tuple(
        Action(
            name,
            Counter(event.phase for event in group),
            tuple(sorted({_who(dossier, event) for event in group})),
            group[0].time,
            group[-1].time,
        )
        for name, group in by_action.items()
    )


def _who(dossier: Dossier, event: Happened) -> str:
    """Name who acted: a person, or else the account of the machine, said to be one."""
    if event.authentication != ACCOUNT or event.actor in dossier.people:
        return dossier.person(event.actor)
    return f"account {event.actor}"


def _settings(run: Run | None, advice: Advice | None) -> tuple[Setting, ...]:
    """List the run's settings with their reasons."""
    if run is None:
        return ()
    return tuple(
        Setting(name, value, _unrecorded(Advice) if advice is None else advice.reason(name, value))
        for name, value in run.settings
    )


def _rules(policy: Policy) -> tuple[PolicyKey, ...]:
    """List every key but those of scrubbing, which the documents about the data show."""
    sections = {name: section for name, section in policy if isinstance(section, BaseModel) and name != "scrub"}
    return tuple(
        PolicyKey(f"{name}.{key}", getattr(section, key), field.description or key.replace("_", " "))
        for name, section in sections.items()
        for key, field in type(section).model_fields.items()
    )
