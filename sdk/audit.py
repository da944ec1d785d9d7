"""The audit trail: an append-only file of signed events, each naming the one before it by hash.

An event is durable when `append` returns. Beside the file stands its head (sequence and hash of the last acknowledged
event), so that a line cut short by a crash, which nobody was told of, is told apart from a line that was damaged later.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from sdk import crypto
from sdk.errors import StepFailed, Tampered
from sdk.records import Frozen, Sha256, canonical_json, sha256
from sdk.store import write_atomic

GENESIS = sha256(b"")
Phase = Literal["started", "finished", "refused", "failed"]


class Event(Frozen):
    seq: int = Field(ge=0)
    time: str = Field(description="UTC, ISO 8601")
    actor: str
    authentication: str = Field(description="how the actor was known: os-user, or key:FINGERPRINT")
    host: str
    action: str
    phase: Phase
    objects: dict[str, Sha256] = Field(description="what it was done to or made: name -> digest")
    policy: str = Field(description="id@version")
    detail: dict[str, str]
    previous: Sha256

    @property
    def hash(self) -> str:
        return sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json"))


class Head(Frozen):
    seq: int = Field(ge=0)
    hash: Sha256


def _parse(line: bytes, number: int, path: Path) -> tuple[Event, str]:
    try:
        signed = json.loads(line)
        event = Event.model_validate(signed["event"])
        signature = str(signed["signature"])
    except (ValueError, KeyError, TypeError, ValidationError):
        raise Tampered(f"{path} line {number}: not an event.") from None
    if canonical_json({"event": event.model_dump(mode="json"), "signature": signature}) != line:
        raise Tampered(f"{path} line {number}: the event's bytes have been altered.")
    return event, signature


class Audit:
    """The trail in one file. `events` reads, `append` writes, `check` proves; one writer at a time, by a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head_path = path.with_suffix(".head")

    def _read(self) -> tuple[list[tuple[Event, str]], int]:
        """Whole events in order, and how many bytes they take; what a crash cut short is not among them."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            raise Tampered(f"{self.path} is missing.") from None
        head = self._head()
        whole: list[tuple[Event, str]] = []
        position = 0
        previous = GENESIS
        while position < len(data):
            end = data.find(b"\n", position)
            if head.seq < len(whole) and end < 0:
                break  # beyond the acknowledged head: never acknowledged, cut short by a crash
            number = len(whole) + 1
            if end < 0:
                raise Tampered(f"{self.path} line {number}: the line does not end.")
            event, signature = _parse(data[position:end], number, self.path)
            if event.seq != len(whole) or event.previous != previous:
                raise Tampered(f"{self.path} line {number}: the chain is broken; an event was removed, added or moved.")
            whole.append((event, signature))
            previous = event.hash
            position = end + 1
        if len(whole) <= head.seq or whole[head.seq][0].hash != head.hash:
            raise Tampered(
                f"{self.path} does not reach the head in {self.head_path.name}: events are missing at its end."
            )
        if len(whole) > head.seq + 2:
            raise Tampered(f"{self.head_path} is older than the trail.")
        return whole, position

    def _head(self) -> Head:
        try:
            data = self.head_path.read_bytes()
            head = Head.model_validate_json(data)
        except FileNotFoundError:
            raise Tampered(f"{self.head_path} is missing.") from None
        except (ValidationError, ValueError):
            raise Tampered(f"{self.head_path} has been altered.") from None
        if canonical_json(head.model_dump()) != data:
            raise Tampered(f"{self.head_path} has been altered.")
        return head

    def events(self) -> list[Event]:
        return [event for event, _ in self._read()[0]]

    def check(self, public_pem: str) -> list[Event]:
        """All events, after their chain, their signatures and the head have been verified."""
        pairs, _ = self._read()
        for event, signature in pairs:
            crypto.verify(public_pem, event.to_bytes(), signature, f"{self.path} line {event.seq + 1}")
        return [event for event, _ in pairs]

    def append(
        self,
        key: crypto.SigningKey,
        action: str,
        phase: Phase,
        objects: Mapping[str, str],
        policy: str,
        detail: Mapping[str, str],
        actor: tuple[str, str] | None = None,
    ) -> Event:
        """Make one event durable; StepFailed if it cannot be, and then the action must not happen."""
        first = not self.path.exists() and not self.head_path.exists()
        pairs, size = ([], 0) if first else self._read()
        name, authentication = actor or (getpass.getuser(), "os-user")
        event = Event(
            seq=len(pairs),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            actor=name,
            authentication=authentication,
            host=socket.gethostname(),
            action=action,
            phase=phase,
            objects=dict(objects),
            policy=policy,
            detail=dict(detail),
            previous=pairs[-1][0].hash if pairs else GENESIS,
        )
        line = canonical_json({"event": event.model_dump(mode="json"), "signature": key.sign(event.to_bytes())}) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if first:  # the head comes first, so that a crash between the two files is not taken for a loss
                write_atomic(self.head_path, canonical_json(Head(seq=0, hash=event.hash).model_dump()))
            with self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.truncate(size)  # what a crash cut short and nobody was told of
                file.seek(size)
                if file.write(line) != len(line):
                    raise OSError(None, "short write")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StepFailed(
                f"{self.path} cannot be written ({error.strerror}); nothing is done without a record."
            ) from error
        write_atomic(self.head_path, canonical_json(Head(seq=event.seq, hash=event.hash).model_dump()))
        return event
