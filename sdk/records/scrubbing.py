"""What scrubbing did with personal data, and what a person found in a sample of its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, Sha256, StepRecord, is_empty
from sdk.records.benchmarks import Overlap

# An action of a policy -> what was done with the value, from what leaves least of it to what leaves all.
TREATMENTS = {
    "delete": "removed",
    "placeholder": "replaced by placeholders",
    "mask": "masked",
    "generalize": "generalized",
    "shift": "moved to other dates",
    "surrogate": "pseudonymised by surrogates",
    "token": "pseudonymised by tokens",
    "keep": "kept by policy",
}
KEEP = "keep"
TRAIN = "train"
MEASURED = "measured"  # in place of a split's name: rows that are not written and count for the recall alone
NO_GROUPS = "no groups declared"


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


class Columns(Frozen):
    """Which of a file's own columns its rows are made of; inside a column by dots, as `context.contexts` or `text.0`.

    Either `map` names the columns of a layout, or `form` and `answer` are filled in with columns. What is named
    nowhere keeps its name, and is refused where no layout knows it.
    """

    map: dict[str, str] = Field(
        default_factory=dict, description="name that a layout knows (instruction, input, output, id …) -> column"
    )
    form: str | None = Field(
        default=None, max_length=20_000, description="question with columns in braces, '{question} {context}'"
    )
    answer: str | None = Field(default=None, max_length=20_000, description="column, or a form, of the answer")
    labels: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="column that holds a number from 0 on -> what each number is called"
    )
    drop: tuple[str, ...] = Field(default=(), description="columns that are left out")


class SourceFile(Frozen):
    """A file of rows of which something else was asked than all of it by its own names."""

    sha256: Sha256
    rows: int = Field(ge=0, description="rows that were taken")
    share: float = Field(default=1, gt=0, le=1, description="part of the file's rows that was asked for")
    columns: Columns | None = None


class Texts(Frozen):
    """What was made of running text: of which documents training and evaluation rows are, and what else was mixed in.

    Near-duplicates: documents of which five words in a row are shared with an earlier one to this share or more.
    """

    documents: int = Field(gt=0, description="in the files of the training rows")
    near_duplicates: int = Field(ge=0, description="of these, left out because they repeat another one nearly")
    similarity: float = Field(gt=0, le=1, description="least Jaccard index that counts as a repetition")
    held_out: int = Field(default=0, ge=0, description="kept for the evaluation, where no file was named for it")
    mixed_rows: int = Field(default=0, ge=0, description="conversations that were mixed in")
    mix: float = Field(default=0, ge=0, lt=1, description="their share of the characters of all training rows")
    mix_asked: float = Field(default=0, ge=0, lt=1, description="the share that was asked for")


class Quarantined(Frozen):
    """A row that could not be scanned and was left out."""

    split: str
    row: str = Field(description="id of the row")
    error: str = Field(description="type of the error, never its text")


class Recall(Frozen):
    """How many planted spans were removed entirely."""

    planted: int = Field(ge=0)
    found: int = Field(ge=0)

    def brief(self) -> str:
        return f"{self.found:,} of {self.planted:,}"


class Scrubbed(StepRecord):
    """What scrubbing did: counts and digests, never text.

    A finding is one place in a text or a field. It is counted under the action that the policy orders for its kind; a
    value that the action cannot handle became a placeholder.
    """

    step = "scrub"

    rows: dict[str, int] = Field(description="split (train, eval) -> rows")
    data: dict[str, FileRef] = Field(description="split -> scrubbed rows, JSONL of messages")
    ledger: FileRef = Field(description="every Finding, JSONL")
    counts: dict[str, int] = Field(description="kind of personal data -> findings")
    actions: dict[str, int] = Field(description="action -> findings")
    recall_planted: Recall = Field(description="on planted spans; where they stand is in `planted_in`")
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
    planted_in: dict[str, int] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="split, or `measured`: the domain's rows and what reviewers marked -> planted spans; empty: none, "
        "or an earlier version wrote it",
    )
    sources: dict[str, tuple[SourceFile, ...]] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="split -> its files; where columns were named or several files listed",
    )

    texts: Texts | None = Field(default=None, exclude_if=is_empty, description="None: the rows are conversations")
    overlap: Overlap | None = Field(
        default=None,
        exclude_if=is_empty,
        description="evaluation questions that nearly repeat a training row; None: the rows are texts, of which such "
        "are left out, or an earlier version wrote it",
    )

    @property
    def columns_left_out(self) -> tuple[str, ...]:
        """Columns of the files that were left out because somebody named them."""
        columns = [file.columns for files in self.sources.values() for file in files if file.columns]
        return tuple(dict.fromkeys(name for one in columns for name in one.drop))

    @property
    def findings(self) -> int:
        """Return how many places with personal data were found, those that the policy keeps among them."""
        return sum(self.counts.values())

    @property
    def kept(self) -> int:
        """Return how many of the findings still stand in the rows, because the policy keeps their kind."""
        return self.actions.get(KEEP, 0)

    @property
    def treatments(self) -> dict[str, int]:
        """Return what was done, in words -> findings; of the actions that the policy ordered for some."""
        return {said: self.actions[action] for action, said in TREATMENTS.items() if self.actions.get(action)}

    def treatments_text(self) -> str:
        """Say what was done with the findings: `431 replaced by placeholders, 48 kept by policy`."""
        return ", ".join(f"{count:,} {said}" for said, count in self.treatments.items()) or "none found"

    def recall_text(self) -> str:
        """Say how many planted values were found, as a share only where every kind among the findings was planted."""
        recall = self.recall_planted
        if not recall.planted:
            return "nothing planted"
        unmeasured = sorted(set(self.counts) - set(self.recall_by_kind))
        kinds = len(self.recall_by_kind)
        of = f"{kinds} {'kind' if kinds == 1 else 'kinds'}"
        told = f"{recall.found:,} of {recall.planted:,} planted values of {of} found"
        if unmeasured:
            return f"{told}; not measured: {', '.join(unmeasured)}"
        return f"{told} ({recall.found / recall.planted:.1%})"

    def recall_scope(self) -> str:
        """Say on which rows the recall was measured, and so what it does not tell."""
        if not self.recall_planted.planted:
            return "Not measured: no row has planted or marked values."
        if not self.planted_in:
            return "Measured on planted values; the record does not say in which rows they stand."
        if self.planted_in.get(TRAIN):
            return "Measured on values that are marked in the training rows themselves."
        return (
            "Measured on the domain's planted rows, not on the training rows, in which no values are marked: only a "
            "review tells what was missed there."
        )

    def k_anonymity(self, quasi_identifiers: Sequence[str]) -> str:
        """Say how many rows the smallest group has. quasi_identifiers: as the policy of the scrubbing declares them."""
        return f"{self.smallest_group:,}" if quasi_identifiers else NO_GROUPS

    def _summary(self) -> dict[str, Any]:
        counts = dict(sorted(self.counts.items(), key=lambda item: -item[1]))
        rows: dict[str, Any] = {
            "rows": self.rows,
            "personal data": f"{self.findings:,} findings; {self.rows_changed:,} rows were changed",
            "kinds": counts,
            "done": self.treatments_text(),
            "recall on planted": self.recall_planted,
            "left out": f"{len(self.quarantined):,} rows that could not be scanned",
            "columns left out": ", ".join(self.columns_left_out),
            **self._of_texts(),
            "canaries": self.canaries,
            "repeated rows": self.duplicates,
            "time": f"{self.seconds:,.1f} s",
        }
        absent = {
            "left out": not self.quarantined,
            "columns left out": not self.columns_left_out,
            "canaries": not self.canaries,
            "repeated rows": not self.duplicates,
        }
        return {name: value for name, value in rows.items() if not absent.get(name)}

    def _of_texts(self) -> dict[str, Any]:
        texts = self.texts
        if texts is None:
            return {}
        rows = {
            "documents": f"{texts.documents:,}; {texts.near_duplicates:,} near-duplicates left out",
            "held out": f"{texts.held_out:,} documents for the evaluation",
            "mixed in": f"{texts.mixed_rows:,} conversations, {texts.mix:.1%} of the characters",
        }
        absent = {"held out": not texts.held_out, "mixed in": not texts.mixed_rows}
        return {name: value for name, value in rows.items() if not absent.get(name)}


class Stratum(Frozen):
    """One part of the scrubbed rows, and what a reviewer saw of it."""

    rows: int = Field(ge=0)
    reviewed: int = Field(ge=0)
    missed: int = Field(ge=0, description="reviewed rows with a miss")


class Review(StepRecord):
    """What a person found in a sample of the scrubbed rows; the marks themselves are sealed."""

    step = "review"

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
