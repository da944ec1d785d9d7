"""What a project works with, and how much of it was verified."""

from __future__ import annotations

from pydantic import Field

from sdk.records.base_types import FileRef, Frozen, Record, Sha256, is_empty, sha256
from sdk.records.in_words import spelled
from sdk.records.scrubbing import Columns

# What MLflow takes as the name of a model and of an experiment, every file system as a folder's, no shell as an option.
PROJECT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
PROJECT_NAME_RULE = "1 to 100 characters of A-Z, a-z, 0-9, '_', '.' and '-', the first a letter or a digit"
TEMPLATES = ("alpaca", "alpaca-zh", "chatml", "plain")


class NamedTemplate(Frozen):
    """A chat template that is used instead of the base's own; its source is kept, whatever later versions ship."""

    name: str = Field(description="one of TEMPLATES")
    source: str
    reason: str = Field(description="why it is this one")

    @property
    def sha256(self) -> str:
        return sha256(self.source.encode())


class OwnRows(Frozen):
    """Files that are used where no others are named; absolute paths. Empty: the domain's own."""

    train: str = ""
    eval: str = ""
    columns: dict[str, Columns] = Field(
        default_factory=dict,
        description="train, eval -> what the file's columns stand for; a data.yaml says it itself",
    )

    @property
    def files(self) -> dict[str, tuple[str, Columns | None]]:
        """Map train and eval, as far as they are named, to the file and what its columns stand for."""
        named = {"train": self.train, "eval": self.eval}
        return {split: (path, self.columns.get(split)) for split, path in named.items() if path}


class Charter(Record):
    """What a project works with; a change of it is a new charter and an event."""

    name: str = spelled(PROJECT_NAME, PROJECT_NAME_RULE)
    base: str = Field(description="embedded, or the base model's folder on this machine")
    base_name: str = Field(description="what to call the base: as its user, the hub or its card says, else its folder")
    base_source: str = Field(
        default="", exclude_if=is_empty, description="where the base comes from; empty: made by a version before 0.2.0"
    )
    base_license: str = Field(
        default="", exclude_if=is_empty, description="as its user or card says, else unknown; empty: as above"
    )
    base_from_hub: bool
    base_digest: Sha256
    domain: str = Field(description="name@version")
    domain_files: tuple[FileRef, ...] = Field(description="the adopted copies of domain.yaml and recognizers.yaml")
    domain_source: str = Field(description="a shipped domain's name, or the folder of its data, which is never copied")
    domain_data: tuple[FileRef, ...] = Field(description="train.jsonl, eval.jsonl, planted.jsonl in the source")
    policy: str = Field(description="id@version")
    policy_file: FileRef
    root: Sha256 = Field(description="digest of the first key ring; who pins it knows this project by it")
    ring: Sha256 = Field(description="digest of the key ring that is in force")
    signing_key: str = Field(description="URI of the trainer's key, which signs packages")
    log_key: str = Field(description="URI of the key that signs the audit log's checkpoints")
    owner_key: str = Field(description="URI of the key that signs key rings")
    encryption_key: str = Field(description="URI of the key that wraps data keys and the project's secret")
    wrapped_secret: str = Field(description="the project's secret, from which tokens and others are derived, wrapped")
    secret_id: str = Field(description="tells the project's secret from others and reveals nothing of it")
    heads: tuple[str, ...] = Field(description="further files that hold the newest checkpoint of the audit log")
    tracking_uri: str | None = Field(default=None, description="MLflow; None is the database in the project's folder")
    template: NamedTemplate | None = Field(
        default=None, exclude_if=is_empty, description="the chat template that was named; None: the base's own"
    )
    rows: OwnRows | None = Field(
        default=None, exclude_if=is_empty, description="the rows that the project was made for; None: the domain's own"
    )
    own_settings: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="key of domain/domain.yaml that is not as in the domain since the project was made -> why",
    )
    rendering: tuple[str, ...] = Field(
        default=(), exclude_if=is_empty, description="what the chat template does otherwise, and what rows it refuses"
    )


class Verified(Frozen):
    """How much `verify` checked."""

    events: int = Field(gt=0)
    records: int
    files: int
    packages: int
    approvals: int
    exports: int = Field(default=0, description="releases that left in plain, whose papers are kept")
    root: Sha256 = Field(description="what to pin where the model is loaded")
    checkpoint: str = Field(description="signed head of the audit log; keep it elsewhere")
    keep_until: str = Field(description="day before which the policy lets nobody delete the log")
    notes: tuple[str, ...] = Field(description="what is no fault and should be known")
