"""The one choke point: policy, start event, step, policy, record, finish event.

A request that was finished before is not done again. On an error the refused or failed event is written first; an event
that cannot be written stops the action. Only training may go on without one, where the policy says so
(audit.unrecorded_training); what it leaves is no part of the project and can never be registered.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from sdk.errors import Refused, SDKError, StepFailed, Unrecorded
from sdk.files.store import folder_refs, write_atomic
from sdk.policy import Moment, Policy, require
from sdk.project.interruption import interruptible
from sdk.project.state import ProjectState
from sdk.records import StepRecord, request_key

R = TypeVar("R", bound=StepRecord)
UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class Request(Generic[R]):
    """One call of a step: from which inputs, and what the policy judges before and after."""

    kind: type[R]
    inputs: dict[str, str]
    work: Callable[[Path], R]
    before: Moment | None = None
    after: Callable[[R], Moment] | None = None
    actor: tuple[str, str] | None = None
    detail: Mapping[str, str] = field(default_factory=dict)  # what the started event says besides
    unrecorded: Callable[[R], R] | None = None  # marks what went on without the log; None: nothing goes on without it


@contextmanager
def recorded(
    state: ProjectState,
    action: str,
    objects: Mapping[str, str],
    actor: tuple[str, str] | None = None,
    detail: Mapping[str, str] | None = None,
) -> Iterator[dict[str, str]]:
    """Write events around an action: started before it, with `detail`; finished, refused or failed after it.

    Yields the further objects that the finished event names, for the action to fill in: name -> digest.
    """
    state.append(action, "started", objects, detail or {}, actor)
    results: dict[str, str] = {}
    try:
        with interruptible():
            yield results
    except Unrecorded:
        raise
    except Refused as error:
        state.append(action, "refused", objects, {"reason": str(error)}, actor)
        raise
    except SDKError as error:
        state.append(action, "failed", objects, {"error": type(error).__name__, "reason": error.message}, actor)
        raise
    except BaseException as error:  # a bug or Ctrl-C: its text may quote data, so only its type is kept
        state.append(action, "failed", objects, {"error": type(error).__name__}, actor)
        raise
    state.append(action, "finished", {**objects, **results}, {}, actor)


def perform(state: ProjectState, request: Request[R]) -> R:
    """Do what is asked for, unless it was done: policy, start event, step, policy, record, finish event."""
    done = state.done(request.kind, request.inputs)
    if done is not None:
        if state.latest(request.kind).digest != done.digest:  # asked for again: the newest once more
            with recorded(state, request.kind.step, request.inputs, request.actor) as results:
                results["record"] = done.digest
        return done
    folder = state.request_folder(request.kind, request.inputs)
    record: R | None = None
    try:
        with recorded(state, request.kind.step, request.inputs, request.actor, request.detail) as results:
            record = _work(state.policy(), request, folder)
            results["record"] = state.records.put(record)
    except Unrecorded as error:
        if request.unrecorded is None or state.policy().audit.unrecorded_training == "refuse":
            raise
        return _go_on(state, request, request.unrecorded, record, error)
    return record


def _work(policy: Policy, request: Request[R], folder: Path) -> R:
    if request.before is not None:
        require(policy, request.before)
    record = request.work(folder)
    try:
        if request.after is not None:
            require(policy, request.after(record))
    except Refused:
        shutil.rmtree(folder, ignore_errors=True)  # nothing that was refused stays
        raise
    files = folder_refs(folder) if folder.is_dir() else ()
    return record.model_copy(update={"inputs": request.inputs, "files": files})


def _go_on(state: ProjectState, request: Request[R], mark: Callable[[R], R], record: R | None, error: Unrecorded) -> R:
    """Keep the work of a training that the log could not take in where nothing goes on from it; its record says so.

    record: None where not even the started event could be written, so that the work is still to be done.
    """
    folder = state.root / UNRECORDED / request_key(request.inputs)[:16]
    if record is None:
        record = _work(state.policy(), request, folder)
    record = mark(record)
    try:
        write_atomic(folder / "record.json", record.to_bytes())
    except StepFailed:
        raise error from None
    return record
