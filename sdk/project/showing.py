"""What a project shows of itself: a summary, the dossier that its documents are written from, sample questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sdk.audit import ACCOUNT
from sdk.data import answer, question, read_rows
from sdk.documents import Decided, Dossier, TakenIn
from sdk.errors import InvalidInput
from sdk.files.store import recorded_lines
from sdk.project.gather import decisions_on, sealing_event
from sdk.project.inputs import find_run, reviews_of
from sdk.project.publishing import exports_of
from sdk.project.sealing import benchmarks_of
from sdk.project.state import ProjectState
from sdk.records import (
    STEP_RECORDS,
    Advice,
    Declared,
    Finding,
    Leaks,
    Package,
    Publication,
    Release,
    Run,
    Scores,
    Scrubbed,
)


def dossier(state: ProjectState) -> Dossier:
    """Gather the records of the newest release, else of the newest run, else of the newest scrubbing."""
    release, run = state.find_latest(Release), state.find_latest(Run)
    package = state.lineage(Package, release, "package") if release else None
    run = state.lineage(Run, package, "run") if package else run
    scrubbed = state.lineage(Scrubbed, run, "scrubbed") if run else state.latest(Scrubbed)
    reviews = reviews_of(state, scrubbed)
    scores = [each for each in state.all(Scores) if run and each.inputs["run"] == run.digest]
    leaks = [each for each in state.all(Leaks) if run and each.inputs["run"] == run.digest]
    publications = [each for each in state.all(Publication) if release and each.release == release.digest]
    decisions = decisions_on(state, release.package) if release else []
    taken_in = _taken_in(state)
    people = people_of(state, taken_in.record.people if taken_in else {})
    if taken_in is not None:
        taken_in = taken_in._replace(by=people.get(taken_in.by, taken_in.by))
    return Dossier(
        project=state.charter.name,
        base_name=state.charter.base_name,
        base_digest=state.charter.base_digest,
        domain=state.domain(),
        policy=state.policy_of(package.inputs["policy"]) if package else state.policy(),
        standing=publications[-1].status if publications else "candidate",
        advice=state.lineage(Advice, run, "advice") if run else state.find_latest(Advice),
        scrubbed=scrubbed,
        review=reviews[-1] if reviews else None,
        run=run,
        scores=scores[-1] if scores else None,
        leaks=leaks[-1] if leaks else None,
        benchmarks=benchmarks_of(state, run) if run else (),
        package=package,
        release=release,
        exports=tuple(exports_of(state, release)) if release else (),
        approvals=tuple(Decided(each.approver, each.decision, each.reason, each.time) for each in decisions),
        events=state.events,
        base_source=state.charter.base_source,
        base_license=state.charter.base_license,
        template=state.charter.template.name if state.charter.template else "",
        declared=taken_in,
        people=people,
    )


def _taken_in(state: ProjectState) -> TakenIn | None:
    """Return what persons declared last, and the event that took it in."""
    record = state.find_latest(Declared)
    if record is None:
        return None
    event = state.finished(Declared.step)[-1]
    return TakenIn(record, event.actor, event.time)


def people_of(state: ProjectState, declared: Mapping[str, str]) -> dict[str, str]:
    """Map accounts of machines to persons: as was declared, and the holders of the keys that an account sealed with.

    An account that sealed with the keys of several persons is nobody's in particular.
    """
    holders: dict[str, set[str]] = {}
    for package in state.distinct(Package):
        event = sealing_event(state, package)
        if event.authentication == ACCOUNT:
            holders.setdefault(event.actor, set()).add(package.signed_by)
    known = {account: names.pop() for account, names in holders.items() if len(names) == 1}
    return {**known, **declared}


def sample_questions(state: ProjectState, count: int) -> list[tuple[str, str]]:
    """Return scrubbed evaluation questions with their reference answers, evenly taken from the file; none of texts."""
    scrubbed = state.latest(Scrubbed)
    rows = [row for row in read_rows(state.rows(scrubbed, "eval")).rows if not row.is_text]
    if not rows:
        return []
    sample = [rows[i * len(rows) // count] for i in range(count)]
    return [(question(row), answer(row)) for row in sample]


def findings(state: ProjectState) -> list[Finding]:
    """Read where personal data stood, as the newest scrubbing found it: ids, kinds and offsets, no text."""
    scrubbed = state.latest(Scrubbed)
    try:
        return [
            Finding.model_validate_json(line) for _, line in recorded_lines(state.folder(scrubbed), scrubbed.ledger)
        ]
    except ValidationError:
        raise InvalidInput("The list of findings was written by another version of this package.") from None


def about(state: ProjectState) -> dict[str, Any]:
    """Say what a project works with and how far it has come, name -> value."""
    charter = state.charter
    release, newest = state.find_latest(Release), "none"
    if release:
        status = {each.release: each.status for each in state.all(Publication)}
        newest = f"{release.model_name} version {release.version}: {status.get(release.digest, 'candidate')}"
    done = dict.fromkeys(kind.verb for kind in STEP_RECORDS if state.finished(kind.step))
    return {
        "folder": str(state.root),
        "base": charter.base_name,
        "domain": charter.domain,
        "policy": charter.policy,
        "done": ", ".join(done) or "nothing yet",
        "newest release": newest,
        "audit log": f"{len(state.events):,} events, the last at {state.events[-1].time[:19]} UTC",
    }


def drawn_of(state: ProjectState, run: Run | str | None) -> dict[str, Any]:
    """Gather the records that plots of a run (the newest) are drawn of, by kind; None where there is none."""
    chosen = state.latest(Run) if run is None else find_run(state, run)
    scores = [each for each in state.all(Scores) if each.inputs["run"] == chosen.digest]
    leaks = [each for each in state.all(Leaks) if each.inputs["run"] == chosen.digest]
    return {
        "run": chosen,
        "advice": state.lineage(Advice, chosen, "advice"),
        "scrubbed": state.lineage(Scrubbed, chosen, "scrubbed"),
        "scores": scores[-1] if scores else None,
        "leaks": leaks[-1] if leaks else None,
    }
