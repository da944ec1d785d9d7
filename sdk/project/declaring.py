"""Taking in documents.yaml, what persons declare for documents: an event, and a record of their words."""

from __future__ import annotations

from contextlib import suppress

from sdk.documents.answers import parse_answers, template
from sdk.errors import StepFailed
from sdk.files.regular_files import YAML_BYTES, read_if_there
from sdk.files.store import DECLARATIONS, write_atomic
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import Declared, sha256


def declare_request(state: ProjectState) -> Request[Declared] | None:
    """Ask for the answers in the project's documents.yaml to be taken in. None: it says nothing that is not yet.

    Raises InvalidInput with every fault of the file.
    """
    path = state.root / DECLARATIONS
    data = read_if_there(path, YAML_BYTES)
    if data is None:
        return None
    said, known = parse_answers(data, path), state.find_latest(Declared)
    if known is None and not said.answers and not said.people:
        return None
    inputs = {"file": sha256(data)}
    return None if known is not None and known.inputs == inputs else Request(Declared, inputs, lambda _: said)


def offer_template(state: ProjectState) -> None:
    """Write documents.yaml with every key and no answer, where there is none."""
    path = state.root / DECLARATIONS
    if read_if_there(path, YAML_BYTES) is None:
        with suppress(StepFailed):  # a project that can only be read has its documents all the same
            write_atomic(path, template())
