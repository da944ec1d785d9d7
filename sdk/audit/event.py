"""One event: who did what to which digest, when, where, under which policy and with what outcome.

A line of the log is the event's canonical JSON; the signed tree over the lines is what protects it.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Literal

from pydantic import Field, ValidationError

from sdk.errors import InvalidInput, Remedy, Tampered
from sdk.policy import AuditRules
from sdk.records import Frozen, Sha256, canonical_json, fault_text, spelled

Phase = Literal["started", "finished", "refused", "failed"]
Decision = Literal["", "permit", "deny"]
UNRECORDED = "nothing is done without a record"
ACCOUNT = "os-user"  # how an actor was known of whom there is no more than an account of the machine
UTC_MS = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$"


class Event(Frozen):
    seq: int = Field(ge=0, description="its number, and the index of its leaf in the tree; the first is 0")
    time: str = spelled(
        UTC_MS, "a time in UTC such as 2026-01-31T12:00:00.000+00:00", description="UTC, ISO 8601, milliseconds"
    )
    actor: str = Field(description="who acted")
    authentication: str = Field(description="how the actor was known: os-user, or key:FINGERPRINT")
    host: str = Field(description="name of the machine")
    action: str = Field(description="the step or verb")
    phase: Phase = Field(description="started is the intent, written before the effect; the others are the outcome")
    decision: Decision = Field(description="what the policy said; empty: it was not asked")
    objects: dict[str, Sha256] = Field(description="what it was done to or made: name -> digest")
    policy: str = Field(description="id@version")
    detail: dict[str, str] = Field(description="figures and reasons; sensitive values only as keyed HMAC")

    def to_bytes(self) -> bytes:
        """Write the event's line in the log, without the line end."""
        return canonical_json(vars(self))  # the fields, which are JSON as they are; model_dump doubles the time


@cache
def account() -> str:
    """Return the name of the account that this process acts for; uid:NUMBER where the system has no name for it.

    The kernel says which it is. LOGNAME and USER, which Python's getpass believes, are whatever their user wrote there.
    """
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid:{number}"


@cache
def _host() -> str:
    return socket.gethostname()


def draft(
    action: str,
    phase: Phase,
    objects: Mapping[str, str],
    policy: str,
    detail: Mapping[str, str],
    actor: tuple[str, str] | None,
    decision: Decision,
) -> Event:
    """Make an event that has not got its number and time yet; InvalidInput names the fields that are malformed."""
    name, authentication = actor or (account(), ACCOUNT)
    try:
        event = Event(
            seq=0,
            time="1970-01-01T00:00:00.000+00:00",
            actor=name,
            authentication=authentication,
            host=_host(),
            action=action,
            phase=phase,
            decision=decision,
            objects=dict(objects),
            policy=policy,
            detail=dict(detail),
        )
        # pydantic lets half a character pass, which canonical JSON cannot write: fail before the log is locked
        "".join((name, authentication, action, policy, *objects, *detail, *detail.values())).encode()
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {fault_text(each)}" for each in error.errors()]
        raise InvalidInput(f"An event is malformed and cannot be recorded; {UNRECORDED}.", faults) from None
    except UnicodeEncodeError:
        raise InvalidInput(f"An event holds half a character (a lone surrogate); {UNRECORDED}.") from None
    return event


def stamp(event: Event, seq: int) -> Event:
    """Give a draft its place in the log and the time of this moment."""
    return Event(**{**vars(event), "seq": seq, "time": datetime.now(UTC).isoformat(timespec="milliseconds")})


def parse(line: bytes, name: str) -> Event:
    """Read the event of one line without its line end; Tampered names `name` when the line is none."""
    try:
        event = Event.model_validate_json(line)
        datetime.fromisoformat(event.time)  # has the form of a time, and may still be none
        return event
    except ValueError:  # pydantic's, too
        raise Tampered(f"{name} is not an event.", remedy=Remedy.LOG) from None


def clock_faults(events: Sequence[Event]) -> list[str]:
    """List every event whose time is before that of the event before it.

    Order is proven by the numbers, so a clock that went back does not break the log; it is for a person to look into.
    """
    return [
        f"event {later.seq} says {later.time}, before the {earlier.time} of event {earlier.seq}: "
        f"the clock of {later.host} was set back or differs from that of {earlier.host}."
        for earlier, later in pairwise(events)
        if later.time < earlier.time
    ]


def keep_until(event: Event, rules: AuditRules) -> date:
    """Return until when the policy has this event kept. A log is one tree: its last event's day holds for all of it."""
    day = date.fromisoformat(event.time[:10])
    leap = (day.month, day.day) == (2, 29)  # the day after, as the year then may have no 29 February
    return (day + timedelta(days=leap)).replace(year=day.year + rules.retention_years)


def places(lines: Sequence[bytes], seq: int, name: str) -> tuple[list[str], int]:
    """Check the form and the numbers of lines that should begin with event `seq`: the faults, and the next number.

    After a fault the count goes on from the number that the line says, so that one removed event is one fault and not
    one for each event after it.
    """
    faults = []
    for number, line in enumerate(lines, 1):
        place = f"{name} line {number}"
        try:
            event = parse(line, place)
        except Tampered as error:
            faults.append(error.finding)
            seq += 1
            continue
        if event.to_bytes() != line:
            faults.append(f"{place}: the bytes of event {event.seq} have been altered.")
        if event.seq != seq:
            faults.append(
                f"{place} holds event {event.seq} where event {seq} belongs: "
                f"an event was removed, inserted, doubled or moved."
            )
        seq = event.seq + 1
    return faults, seq
