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

from collections.abc import Sequence
from typing import ClassVar

SHOWN_FAULTS = 20


class SDKError(Exception):
    """message: what is wrong and what to do next; faults: every single finding, one line each."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)

    def __str__(self) -> str:
        shown = [f"  - {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        hidden = len(self.faults) - len(shown)
        if hidden > 0:
            shown.append(f"  - and {hidden} more")
        return "\n".join([self.message, *shown])


class InvalidInput(SDKError):
    exit_code = 2


class OutOfOrder(SDKError):
    exit_code = 2


class MissingExtra(SDKError):
    exit_code = 2


class Refused(SDKError):
    exit_code = 3


class Tampered(SDKError):
    exit_code = 4


class StepFailed(SDKError):
    exit_code = 5


class Unrecorded(StepFailed):
    pass
