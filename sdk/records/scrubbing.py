"""What scrubbing removed, and what a person found in a sample of its result."""

from __future__ import annotations

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, StepRecord


class Finding(Frozen):
    """Where personal data stood in the source; never what it was."""

    row: str = Field(description="id of the row")
    message: int | None = Field(default=None, ge=0, description="index of the message in the row; None: beside them")
    field: str = Field(default="content", description="path of the field, keys that may be personal data as *")
    start: int = Field(ge=0, description="offset in characters")
    end: int = Field(gt=0, description="offset in characters, exclusive")
    entity_type: str
    action: str
    recognizer: str = Field(default="", description="what found it")


class Quarantined(Frozen):
    """A row that could not be scanned and was left out."""

    split: str
    row: str = Field(description="id of the row")
    error: str = Field(description="type of the error, never its text")


class Recall(Frozen):
    """How many planted spans were removed entirely."""

    planted: int = Field(ge=0)
    found: int = Field(ge=0)


class Scrubbed(StepRecord):
    step = "scrub"

    rows: dict[str, int] = Field(description="split (train, eval) -> rows")
    data: dict[str, FileRef] = Field(description="split -> scrubbed rows, JSONL of messages")
    ledger: FileRef = Field(description="every Finding, JSONL")
    counts: dict[str, int] = Field(description="kind of personal data -> findings")
    actions: dict[str, int] = Field(description="action -> findings")
    recall_planted: Recall = Field(description="on the domain's planted spans")
    recall_by_kind: dict[str, Recall]
    unplanted_findings: int = Field(ge=0, description="findings that touch no planted span")
    rows_changed: int = Field(ge=0)
    formats: dict[str, str] = Field(description="split -> layout and container that were detected")
    recognizers: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="kind of personal data -> recognizer -> findings"
    )
    duplicates: int = Field(default=0, ge=0, description="rows that repeat an earlier one of their file exactly")
    quarantined: tuple[Quarantined, ...] = Field(default=(), description="rows that were left out, by policy")
    name_columns: tuple[str, ...] = Field(default=(), description="fields that were taken for columns of names")
    smallest_group: int = Field(
        default=0, ge=0, description="k: least number of rows with the same quasi-identifiers; all rows without any"
    )
    canaries: int = Field(default=0, ge=0, description="rows planted for the leak check, beside `rows`, in no count")
    canary_spans: Recall = Field(default=Recall(planted=0, found=0), description="personal data in them")
    seconds: float = Field(ge=0)


class Stratum(Frozen):
    """One part of the scrubbed rows, and what a reviewer saw of it."""

    rows: int = Field(ge=0)
    reviewed: int = Field(ge=0)
    missed: int = Field(ge=0, description="reviewed rows with a miss")


class Review(StepRecord):
    """What a person found in a sample of the scrubbed rows; the marks themselves are sealed."""

    step = "review"
    verb = "scrub --review"

    population: int = Field(gt=0, description="scrubbed rows")
    n: int = Field(gt=0, description="rows of the uniform sample, from which the bound follows")
    misses: int = Field(ge=0, description="of these, rows with personal data left")
    bound: float = Field(ge=0, le=1, description="95 % upper bound on the share of rows with a miss (Clopper-Pearson)")
    extra: int = Field(ge=0, description="further rows, most from those in which nothing was found")
    extra_misses: int = Field(ge=0)
    marks: int = Field(ge=0, description="places that were marked, in all rows")
    strata: dict[str, Stratum] = Field(description="language and whether something was found -> rows")
    reviewer: str = Field(min_length=1, max_length=100)
    earlier: int = Field(ge=0, description="reviews of the same scrubbing that were finished before")
