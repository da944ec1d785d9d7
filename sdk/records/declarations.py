"""What persons declared for documents, where no step can know it."""

from __future__ import annotations

from pydantic import Field

from sdk.records.base_types import StepRecord


class Declared(StepRecord):
    """What `documents.yaml` said when it was taken in; its input `file` is the digest of that file."""

    step = "declare"
    verb = "documents"

    answers: dict[str, str] = Field(description="section.key of the file -> a person's words")
    people: dict[str, str] = Field(description="account of the machine, as the audit log names it -> person")
