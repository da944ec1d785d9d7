"""The frozen records that travel between steps, their canonical JSON and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Method = Literal["lora", "qlora-4bit", "qlora-8bit", "lora-fp8"]
PeftMethod = Literal["lora", "adalora", "prompt_tuning", "prefix_tuning", "p_tuning"]
LoraInit = Literal["default", "gaussian", "pissa", "pissa_niter_4", "loftq"]
Schedule = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "cosine_with_min_lr", "inverse_sqrt", "polynomial"
]
Role = Literal["system", "user", "assistant", "tool"]
ApplicationType = Literal["high_performance", "cost_efficient", "resource_constrained", "rapid_development"]
Accuracy = Literal["highest", "high", "balanced", "economy"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, hex")]

# (what is being done, units done, units in all or None, figures worth showing, e.g. loss)
OnProgress = Callable[[str, int, int | None, Mapping[str, float]], None]


def canonical_json(value: Any) -> bytes:
    """One byte string for equal values: sorted keys, no white space, UTF-8; NaN and infinity raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def request_key(inputs: Mapping[str, str]) -> str:
    return sha256(canonical_json(dict(inputs)))


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ".." in parts or str(PurePosixPath(path)) != path:
        raise ValueError("must be a relative path with forward slashes that stays inside its folder")
    return path


class FileRef(Frozen):
    path: Annotated[str, AfterValidator(_inside)]
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256


class Record(Frozen):
    """What a step leaves behind. The Project fills in `inputs` and `files`."""

    inputs: dict[str, Sha256] = Field(default_factory=dict, description="what it was made from: name -> digest")
    files: tuple[FileRef, ...] = Field(default=(), description="every file in the step's folder, relative to it")

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @property
    def digest(self) -> str:
        return sha256(self.to_bytes())

    @property
    def request(self) -> str:
        """The same for everything that was made from these inputs."""
        return request_key(self.inputs)

    def to_bytes(self) -> bytes:
        return canonical_json({"kind": self.kind, **self.model_dump(mode="json")})


class Hardware(Frozen):
    """The machine to train on; without a GPU, `gpu_count` is 0 and training uses the CPU and its memory."""

    gpu: str | None = Field(default=None, description="name of the GPU, as its driver or the catalogue gives it")
    gpu_count: int = Field(default=0, ge=0)
    gpu_memory_gib: float = Field(default=0.0, ge=0, description="memory of one GPU, GiB")
    cpu_cores: int = Field(default=1, ge=1)
    ram_gib: float = Field(default=8.0, gt=0, description="the machine's memory, GiB")
    bf16: bool = Field(default=True, description="bfloat16 arithmetic is native")
    source: Literal["probed", "catalogue", "given"] = "given"


class ModelShape(Frozen):
    """The numbers of a decoder-only transformer that memory and speed depend on; names as in its config.json."""

    name: str
    hidden_size: int = Field(gt=0, le=1_000_000)
    intermediate_size: int = Field(gt=0, le=10_000_000)
    num_hidden_layers: int = Field(gt=0, le=10_000)
    num_attention_heads: int = Field(gt=0, le=100_000)
    num_key_value_heads: int = Field(gt=0, le=100_000)
    head_dim: int = Field(gt=0, le=100_000)
    vocab_size: int = Field(gt=0, le=100_000_000)
    tie_word_embeddings: bool = False
    max_position_embeddings: int = Field(gt=0, le=1_000_000_000)
    source: str = Field(description="where the numbers come from")


class Needs(Frozen):
    application_type: ApplicationType | None = None
    accuracy: Accuracy | None = None
    max_length: int = Field(default=1024, gt=0, description="tokens in the longest row")
    rows: int | None = Field(default=None, gt=0, description="training rows, where known")
    lora_r: int | None = Field(default=None, gt=0, description="the domain's starting rank")
    lora_alpha: int | None = Field(default=None, gt=0, description="the domain's starting alpha")
    lora_dropout: float | None = Field(default=None, ge=0, lt=1, description="the domain's starting dropout")
    adapter_reason: str = Field(default="", description="the domain's reason for its starting values")


class TrainSettings(Frozen):
    """What the training step runs with; names and meanings are those of peft, transformers and trl."""

    method: Method = Field(
        description="base in 16 bits (lora), NF4 (qlora-4bit), int8 (qlora-8bit) or 8-bit floats (lora-fp8)"
    )
    peft_type: PeftMethod = Field(default="lora", description="kind of adapter, by PEFT's name")
    lora_r: int = Field(gt=0, le=4096, description="rank of the adapter")
    lora_alpha: int = Field(gt=0, description="scale of the adapter; its effect is alpha / r")
    lora_dropout: float = Field(ge=0, lt=1, description="dropout in front of the adapter")
    target_modules: str = Field(default="all-linear", description="which layers carry an adapter")
    use_rslora: bool = Field(default=False, description="scale by alpha / sqrt(r): rank-stabilized LoRA")
    use_dora: bool = Field(default=False, description="learn magnitude and direction apart: DoRA")
    init_lora_weights: LoraInit = Field(default="default", description="how the adapter starts")
    target_r: int = Field(default=8, gt=0, description="adalora: mean rank at the end; lora_r is the rank at the start")
    num_virtual_tokens: int = Field(
        default=20, gt=0, le=4096, description="prompt, prefix and p-tuning: tokens learned"
    )
    learning_rate: float = Field(gt=0, lt=1, description="peak learning rate of AdamW")
    lr_scheduler_type: Schedule = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    num_train_epochs: float = Field(gt=0, description="passes over the training rows")
    max_steps: int = Field(default=-1, ge=-1, description="stop after this many optimizer steps; -1: by epochs")
    per_device_train_batch_size: int = Field(gt=0, description="rows in one forward pass")
    gradient_accumulation_steps: int = Field(gt=0, description="forward passes in one optimizer step")
    packing: bool = Field(
        default=False, description="fill each forward pass with rows up to batch size x max_length tokens"
    )
    gradient_checkpointing: bool = Field(description="recompute activations in the backward pass to save memory")
    checkpointed_layers: int | None = Field(
        default=None, gt=0, description="with gradient_checkpointing: so many layers recompute; None: all"
    )
    activation_offloading: bool = Field(
        default=False, description="with gradient_checkpointing: what is kept between layers waits in the host's memory"
    )
    offload_embeddings: bool = Field(default=False, description="keep the input embeddings in the host's memory")
    gpus: int = Field(default=1, gt=0, le=1024, description="processes, each with a GPU and its own forward passes")
    shard_base: bool = Field(
        default=False, description="split the frozen base over the GPUs, where it does not fit one of them"
    )
    max_length: int = Field(gt=0, description="tokens in the longest row that is accepted")
    roles_to_train: tuple[Role, ...] = Field(
        default=("assistant",), min_length=1, description="whose messages are learned"
    )
    completion_only_loss: bool = Field(default=False, description="of each row learn the last answer only")
    neftune_noise_alpha: float | None = Field(default=None, gt=0, description="noise on the embeddings: NEFTune")
    validation_split: float = Field(
        default=0.0, ge=0, lt=1, description="share of the rows that is held out to watch the loss, never trained on"
    )
    eval_steps: int | None = Field(default=None, gt=0, description="steps between two evaluations; None: once an epoch")
    load_best_model_at_end: bool = Field(default=False, description="keep the adapter with the lowest validation loss")
    early_stopping_patience: int | None = Field(
        default=None, gt=0, description="stop after so many evaluations without a lower validation loss"
    )
    seed: int = Field(default=42, ge=0, lt=2**32)


class Memory(Frozen):
    """Peak training memory by term, GiB."""

    weights: float = Field(ge=0)
    adapters: float = Field(ge=0)
    gradients: float = Field(ge=0)
    optimizer: float = Field(ge=0)
    activations: float = Field(ge=0)
    logits: float = Field(ge=0)
    workspace: float = Field(ge=0)

    @property
    def total(self) -> float:
        return float(sum(self.model_dump().values()))


class Alternative(Frozen):
    method: Method
    memory_gib: float
    fits: bool
    reason: str = Field(description="why it was not taken")


class Holder(Frozen):
    """Somebody whose key this project knows."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["trainer", "approver"]
    public_key: str = Field(description="PEM, P-256")
    fingerprint: Sha256


class Charter(Record):
    """What a project works with; a change of it is a new charter and an event."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    base: str = Field(description="embedded, or the base model's folder on this machine")
    base_name: str = Field(description="what to call the base: embedded, the folder's name or the hub's name")
    base_from_hub: bool
    base_digest: Sha256
    domain: str = Field(description="name@version")
    domain_files: tuple[FileRef, ...] = Field(description="the adopted copies of domain.yaml and recognizers.yaml")
    domain_source: str = Field(description="a shipped domain's name, or the folder of its data, which is never copied")
    domain_data: tuple[FileRef, ...] = Field(description="train.jsonl and eval.jsonl in the source")
    policy: str = Field(description="id@version")
    policy_file: FileRef
    signing_key: str = Field(description="URI of the trainer's key; it signs packages and events")
    secret_key: str = Field(description="URI of the key that wraps data keys and derives tokens")
    secret_key_id: str
    holders: tuple[Holder, ...]
    tracking_uri: str | None = Field(default=None, description="MLflow; None is the database in the project's folder")


class Advice(Record):
    shape: ModelShape
    hardware: Hardware
    needs: Needs
    settings: TrainSettings
    reasons: dict[str, str] = Field(description="field of settings -> why this value")
    memory: Memory
    available_gib: float
    fits: bool
    alternatives: tuple[Alternative, ...]
    notes: tuple[str, ...] = ()


class Finding(Frozen):
    """Where personal data stood in the source; never what it was."""

    row: str = Field(description="id of the row")
    message: int = Field(ge=0, description="index of the message in the row")
    start: int = Field(ge=0, description="offset in characters")
    end: int = Field(gt=0, description="offset in characters, exclusive")
    entity_type: str
    action: str


class Recall(Frozen):
    """How many planted spans were removed entirely."""

    planted: int = Field(ge=0)
    found: int = Field(ge=0)


class Scrubbed(Record):
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
    seconds: float = Field(ge=0)


class LossPoint(Frozen):
    step: int = Field(ge=0)
    loss: float
    learning_rate: float = Field(ge=0)


class Run(Record):
    settings: TrainSettings
    base: str = Field(description="name of the base model, never a path")
    adapter: tuple[FileRef, ...] = Field(description="adapter files, an ordinary PEFT adapter")
    trainable_parameters: int = Field(gt=0)
    steps: int = Field(gt=0)
    losses: tuple[LossPoint, ...]
    seconds: float = Field(ge=0)
    tokens_per_second: float = Field(ge=0, description="non-padding tokens")
    memory_predicted_gib: float = Field(ge=0)
    memory_measured_gib: float = Field(ge=0, description="peak: allocator on a GPU, growth of the process on a CPU")
    hardware: Hardware
    resumed_from_step: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = Field(default=(), description="what was done otherwise than asked, and what to know")
    versions: dict[str, str] = Field(description="package -> version")


class Interval(Frozen):
    """A mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Metrics(Frozen):
    questions: int = Field(gt=0)
    exact_match: Interval
    f1: Interval
    perplexity: float = Field(gt=0, description="on the reference answers' tokens")


class Outcome(Frozen):
    """One question, without its text."""

    row: str
    language: str
    base_exact: bool
    adapted_exact: bool
    base_f1: float
    adapted_f1: float


class Scores(Record):
    metric: Literal["exact_match", "f1"]
    base: dict[str, Metrics] = Field(description="'all' and every language -> metrics of the base model")
    adapted: dict[str, Metrics] = Field(description="the same with the adapter")
    outcomes: tuple[Outcome, ...]
    tokens_per_second: float = Field(ge=0, description="generated by the adapted model")
    seconds: float = Field(ge=0)


class Package(Record):
    package: Sha256 = Field(description="the package's identity: digest of its manifest")
    signed_by: str = Field(description="name of the signing key's holder")
    key_fingerprint: Sha256
    encrypted: bool
    policy: str = Field(description="id@version that it was sealed under")
    domain: str = Field(description="name@version")


class Release(Record):
    package: Sha256
    tracking_uri: str = Field(description="MLflow server or database, without credentials or paths")
    experiment_id: str
    run_id: str
    model_name: str
    version: str
    artifacts: tuple[FileRef, ...] = Field(description="what was uploaded, relative to the run's artifact root")


class Approval(Record):
    package: Sha256
    decision: Literal["approve", "reject"]
    approver: str
    key_fingerprint: Sha256
    reason: str = Field(min_length=1)
    policy: str = Field(description="id@version")
    time: str = Field(description="UTC, ISO 8601")
    signature: str = Field(description="base64, ECDSA P-256 over the record without this field and files")


class Verified(Frozen):
    """How much `verify` checked."""

    events: int = Field(gt=0)
    records: int
    files: int
    packages: int
    approvals: int
    head: str = Field(
        description="hash of the last event; keep it elsewhere to notice a trail that was cut or replaced"
    )
