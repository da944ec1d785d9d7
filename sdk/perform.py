"""The one choke point: policy, start event, step, policy, record, finish event.

A request that was finished before is not done again. On an error the refused or failed event is written first; an event
that cannot be written stops the action.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from sdk.errors import Refused, SDKError
from sdk.policy import require
from sdk.records import Record
from sdk.store import folder_refs
from sdk.trail import Trail

R = TypeVar("R", bound=Record)


def _nothing(record: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Request(Generic[R]):
    """One call of a step: from which inputs, and the facts that the policy judges before and after."""

    step: str
    kind: type[R]
    inputs: dict[str, str]
    work: Callable[[Path], R]
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Callable[[R], Mapping[str, Any]] = _nothing
    actor: tuple[str, str] | None = None


@contextmanager
def recorded(
    trail: Trail,
    action: str,
    objects: Mapping[str, str],
    actor: tuple[str, str] | None = None,
    detail: Mapping[str, str] | None = None,
) -> Iterator[dict[str, str]]:
    """Events around an action: started before it, with `detail`, one of finished, refused and failed after it."""
    key, _ = trail.keys()
    trail.append(key, action, "started", objects, detail or {}, actor)
    made: dict[str, str] = {}
    try:
        yield made
    except Refused as error:
        trail.append(key, action, "refused", objects, {"reason": str(error)}, actor)
        raise
    except SDKError as error:
        trail.append(key, action, "failed", objects, {"error": type(error).__name__, "reason": error.message}, actor)
        raise
    except BaseException as error:  # a bug or Ctrl-C: its text may quote data, so only its type is kept
        trail.append(key, action, "failed", objects, {"error": type(error).__name__}, actor)
        raise
    trail.append(key, action, "finished", {**objects, **made}, {}, actor)


def perform(trail: Trail, request: Request[R]) -> R:
    """Policy, start event, step, policy, record, finish event; a request that was done is not done again."""
    done = trail.done(request.kind, request.step, request.inputs)
    if done is not None:
        if trail.latest(request.kind, request.step).digest != done.digest:  # asked for again: the newest once more
            with recorded(trail, request.step, request.inputs, request.actor) as made:
                made["record"] = done.digest
        return done
    folder = trail.folder(request.step, request.inputs)
    with recorded(trail, request.step, request.inputs, request.actor) as made:
        policy = trail.policy()
        require(policy, request.step, request.before)
        record = request.work(folder)
        try:
            require(policy, request.step, request.after(record))
        except Refused:
            shutil.rmtree(folder, ignore_errors=True)  # nothing that was refused stays
            raise
        files = folder_refs(folder) if folder.is_dir() else ()
        record = record.model_copy(update={"inputs": request.inputs, "files": files})
        made["record"] = trail.records.put(record)
    return record
