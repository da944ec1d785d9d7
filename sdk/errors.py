"""Everything that this package raises on purpose.

SDKError
  InvalidInput   a file, flag or record is malformed; lists every fault          exit 2
  OutOfOrder     the step's input does not exist yet; names the verb to call     exit 2
  MissingExtra   names the extra to install                                      exit 2
  Refused        policy or approvers say no; lists every violation               exit 3
  Tampered       a digest, signature or chain does not match; names the file     exit 4
  StepFailed     a third party failed (out of memory, disk, registry); the cause exit 5
    Unrecorded   the audit log cannot be written, so the action did not happen   exit 5

A bug shows its traceback instead. Texts name files, rows, ids, kinds and counts, never the customers' text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import ClassVar

SHOWN_FAULTS = 20
SAME_CAUSE = 5  # rows that are named where all have the same fault
_NUMBER = re.compile(r"\d[\d,]*")
_SHA256 = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


class SDKError(Exception):
    """message: what is wrong and what to do next; faults: every single finding, one line each."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the message, and a line for each fault that is shown."""
        shown = [f"  - {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        hidden = len(self.faults) - len(shown)
        if hidden > 0:
            shown.append(f"  - and {hidden} more")
        return [self.message, *shown]


def by_cause(faults: Sequence[str]) -> list[str]:
    """Return faults of the form "where: cause" in their order; of many with one cause the first stand for all.

    Numbers do not tell causes apart: rows of 900 and of 901 tokens are too long for the same reason.
    """
    causes = [_NUMBER.sub("N", fault.partition(": ")[2]) for fault in faults]
    places: dict[str, list[int]] = {}
    for place, cause in enumerate(causes):
        places.setdefault(cause, []).append(place)
    texts = []
    for place, fault in enumerate(faults):
        same = places[causes[place]]
        where, _, cause = fault.partition(": ")
        if len(same) <= SAME_CAUSE or place in same[: SAME_CAUSE - 1]:
            texts.append(fault)
        elif place == same[-1]:
            texts.append(f"{cause}: {len(same) - SAME_CAUSE + 1} more rows, the last is {where}")
    return texts


class InvalidInput(SDKError):
    exit_code = 2


class OutOfOrder(SDKError):
    exit_code = 2


class MissingExtra(SDKError):
    exit_code = 2


class Refused(SDKError):
    exit_code = 3


class Remedy(Enum):
    """What to do about something that does not match: by where a copy is that does, and which command shows more."""

    PROJECT = (
        "Restore it from the project's backup; then `sdk verify` checks everything, and `sdk history` shows who did "
        "what."
    )
    COPY = (  # a package or a signed file, which lies in the project and in its release
        "Restore it from the project's backup, or fetch the release again; `sdk verify` in the project tells whether "
        "its own copy is sound."
    )
    RELEASE = (
        "Fetch the release again; if it stays so, check the project with `sdk verify` and publish from it with "
        "`sdk promote`."
    )
    MLFLOW = (
        "If an action was cut off, repeat it; if not, somebody changed MLflow: `sdk verify` compares all of it, and "
        "`sdk promote` publishes again."
    )
    LOG = (
        "Keep a copy of it as evidence, then restore a copy that agrees with the holders of its checkpoints. "
        "`sdk audit verify` names every fault."
    )
    PROOF = "Have the event proven again with `sdk audit prove`; `sdk audit verify` checks the log that it is from."
    KEY = (
        "Name the key that was meant, or restore it from its backup; `sdk keys list` shows those that count, and "
        "`sdk keys revoke` ends one that others may know."
    )
    ADOPT = "If you changed it, adopt the change with `sdk adopt`; if not, restore it from the project's backup."
    BASE = "Restore the base model from where it was taken; `sdk verify` compares it again."


WHOM_TO_TELL = "If you cannot explain it, tell the project's owner and whoever reviews security."


class Tampered(SDKError):
    """finding: what does not match, with what was expected and what was found; the message adds what to do now.

    expected, found: digests, which are shortened, or counts and names; never a secret or a customer's text. Whoever
    lists this error among others takes its finding, so that the remedy is said once.
    """

    exit_code = 4

    def __init__(
        self,
        what: str,
        faults: Sequence[str] = (),
        *,
        remedy: Remedy,
        expected: object = None,
        found: object = None,
    ) -> None:
        sides = (("Expected", expected), ("Found", found))
        self.finding = " ".join([what, *(f"{side}: {short(value)}." for side, value in sides if value is not None)])
        super().__init__(f"{self.finding} {remedy.value} {WHOM_TO_TELL}", faults)

    def __reduce__(self) -> tuple[object, ...]:
        """Copied and pickled as it is: `__init__` would ask for the remedy that the message has already."""
        return _recreate, (type(self), self.message), vars(self)


def _recreate(kind: type[Tampered], message: str) -> Tampered:
    return kind.__new__(kind, message)


def short(value: object) -> str:
    """Return the value as text, with every SHA-256 in it cut to 12 digits: enough to find it, and to read it aloud."""
    return _SHA256.sub(r"\1", str(value))


def another(what: str, expected: object, found: object) -> str:
    """Say that `what` has another value than it must have. None: it has no value."""
    told = [short("none" if value is None else value) for value in (expected, found)]
    return f"{what} is another one: expected {told[0]}, found {told[1]}"


class StepFailed(SDKError):
    exit_code = 5


class Unrecorded(StepFailed):
    pass
