"""When a policy was in force, and how far a key of the log counts: by places in the log that owners have signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdk.crypto import fingerprint
from sdk.crypto.keyring.ring import InForce, Ring
from sdk.errors import Refused, Remedy, Tampered
from sdk.wording import counted

ADOPT = "the owner puts it in force with `sdk adopt` in the project, which publishes the release again"


class Term(NamedTuple):
    """From which event to which a policy and a domain were in force."""

    rules: InForce
    begin: int  # the first event
    end: int | None  # the first one after it; None: still in force
    before: InForce | None  # the rules with another policy that were in force directly before; None: there were none


def terms(rings: Sequence[Ring]) -> list[Term]:
    """List what was in force, oldest first.

    The first rules count from the beginning of the log, also where a later version than the first names them: before
    them the owner had put nothing else in force, and by signing them they took over what stood in the log.
    """
    listed: list[Term] = []
    for ring in rings:
        if ring.rules is None or (listed and listed[-1].rules == ring.rules):
            continue
        begin, before = 0, None
        if listed and ring.log is not None:
            last = listed[-1]
            begin = ring.log.size
            listed[-1] = last._replace(end=begin)
            before = last.rules if last.rules.policy_digest != ring.rules.policy_digest else last.before
        listed.append(Term(ring.rules, begin, None, before))
    return listed


def require_terms(rings: Sequence[Ring]) -> list[Term]:
    """List what was in force; Refused where the owner never put anything in force."""
    listed = terms(rings)
    if not listed:
        raise Refused(f"The key ring names no policy that is in force; {ADOPT}.")
    return listed


def find_term(rings: Sequence[Ring], policy: str, domain: str, sealed: int) -> Term:
    """Find the term in which a package was sealed; Refused where its rules were not in force then.

    policy, domain: their digests; sealed: number of the event that recorded the sealing.
    """
    under = [term for term in require_terms(rings) if term.rules.policy_digest == policy]
    if not under:
        raise Refused(f"No owner has ever put the policy {policy[:12]} in force that the package was sealed under.")
    for term in under:
        if term.begin <= sealed and (term.end is None or sealed < term.end):
            break
    else:
        spans = ", ".join(f"{term.begin} to {'now' if term.end is None else term.end - 1}" for term in under)
        raise Refused(
            f"{term.rules.policy} was not in force when the package was sealed: event {sealed}, not of {spans}."
        )
    if term.rules.domain_digest != domain:
        raise Refused(f"The domain that the package was sealed with was not in force then, but {term.rules.domain}.")
    return term


def _log_limit(rings: Sequence[Ring], key_id: str) -> int | None:
    """Return how many events a key of the log may have signed for; None: it has no such limit.

    A key that was superseded, or whose holder left, counts up to the log that the owner saw when they revoked it. Where
    that version says nothing of the log, as those of 0.1.0, the next one that does is the limit.
    """
    for ring in rings:
        member = ring.find(key_id)
        if member is not None and member.revoked is not None and ring.log is not None:
            return ring.log.size
    return None


def require_within_limit(rings: Sequence[Ring], pem: str, size: int, name: str) -> None:
    """Tampered where a key that was replaced has signed for more events than the owner saw when they replaced it."""
    limit = _log_limit(rings, fingerprint(pem))
    if limit is not None and size > limit:
        raise Tampered(
            f"{name} is signed by a key of the log that was replaced before the log had so many events.",
            remedy=Remedy.LOG,
            expected=f"at most {counted(limit, 'event')}",
            found=counted(size, "event"),
        )
