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
Backend = Literal["cuda", "rocm", "xpu", "mps", "hpu"]
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
    """The machine to train on; without a GPU, `gpu_count` is 0 and training uses the CPU and its memory.

    Rates are those of one GPU as its vendor gives them, dense; None: not known.
    """

    gpu: str | None = Field(default=None, description="name of the GPU, as its driver or the catalogue gives it")
    gpu_count: int = Field(default=0, ge=0)
    gpu_memory_gib: float = Field(default=0.0, ge=0, description="memory of one GPU, GiB")
    cpu_cores: int = Field(default=1, ge=1)
    ram_gib: float = Field(default=8.0, gt=0, description="the machine's memory, GiB")
    bf16: bool = Field(default=True, description="bfloat16 arithmetic is native")
    bandwidth_gbs: float | None = Field(default=None, gt=0, description="memory bandwidth, GB/s")
    tflops: float | None = Field(
        default=None, gt=0, description="matrix products in bf16 with fp32 sums, fp16 without bf16, TFLOP/s"
    )
    fp8_tflops: float | None = Field(default=None, gt=0, description="in 8-bit floats; None: the GPU has none")
    int8_tops: float | None = Field(default=None, gt=0, description="in 8-bit integers; None: the GPU has none")
    link_gbs: float | None = Field(default=None, gt=0, description="between two GPUs, one direction, GB/s")
    power_w: float | None = Field(default=None, gt=0, description="board power, W")
    bitsandbytes: tuple[Literal["4bit", "8bit"], ...] = Field(
        default=("4bit", "8bit"), description="what bitsandbytes quantizes to on this hardware"
    )
    backend: Backend = Field(default="cuda", description="how torch drives the GPU; training was only run on cuda")
    source: Literal["probed", "catalogue", "given"] = "given"


class ModelShape(Frozen):
    """The numbers of a decoder-only transformer that memory and speed depend on; names as in its config.json."""

    name: str
    model_type: str = Field(default="llama", description="the architecture, as transformers calls it")
    hidden_size: int = Field(gt=0, le=1_000_000)
    intermediate_size: int = Field(gt=0, le=10_000_000, description="of a dense MLP")
    num_hidden_layers: int = Field(gt=0, le=10_000)
    num_attention_heads: int = Field(gt=0, le=100_000)
    num_key_value_heads: int = Field(gt=0, le=100_000)
    head_dim: int = Field(gt=0, le=100_000, description="of queries and keys; with MLA both parts together")
    vocab_size: int = Field(gt=0, le=100_000_000)
    tie_word_embeddings: bool = False
    max_position_embeddings: int = Field(gt=0, le=1_000_000_000)
    gated_mlp: bool = Field(default=True, description="gate, up and down; False: up and down")
    fused_projections: bool = Field(default=False, description="one layer for q, k, v and one for gate and up (Phi-3)")
    num_experts: int = Field(
        default=0, ge=0, le=100_000, description="routed experts in a layer that has some; 0: none"
    )
    num_experts_per_tok: int = Field(default=0, ge=0, le=100_000)
    moe_intermediate_size: int = Field(default=0, ge=0, le=10_000_000, description="of one routed expert")
    shared_expert_intermediate_size: int = Field(
        default=0, ge=0, le=10_000_000, description="of what every token passes beside the routed experts, in all"
    )
    num_dense_layers: int = Field(default=0, ge=0, le=10_000, description="layers without experts among those with")
    q_lora_rank: int = Field(default=0, ge=0, le=1_000_000, description="MLA: width of the compressed query; 0: none")
    kv_lora_rank: int = Field(default=0, ge=0, le=1_000_000, description="MLA: width of the compressed key and value")
    qk_rope_head_dim: int = Field(default=0, ge=0, le=100_000, description="MLA: the rotated part of head_dim")
    v_head_dim: int = Field(default=0, ge=0, le=100_000, description="of values; 0: head_dim")
    sliding_window: int = Field(default=0, ge=0, le=1_000_000_000, description="tokens that a token sees; 0: all")
    num_sliding_layers: int = Field(default=0, ge=0, le=10_000, description="layers with the window")
    num_linear_attention_layers: int = Field(
        default=0, ge=0, le=10_000, description="layers with a state (Mamba, DeltaNet) instead of attention"
    )
    attn_logit_softcapping: bool = Field(default=False, description="scores are capped (Gemma 2)")
    attention_sinks: bool = Field(default=False, description="a learned score beside the tokens' (gpt-oss)")
    linear_layers: tuple[tuple[int, int, str, int], ...] = Field(
        default=(),
        description="(inputs, outputs, group, how many), where the numbers above do not give all but the head",
    )
    further_parameters: int | None = Field(
        default=None, ge=0, description="norms, biases, state and position tables; None: two norms a layer and the last"
    )
    parameters_in_files: int | None = Field(default=None, gt=0, description="counted in the safetensors' headers")
    source: str = Field(description="where the numbers come from")
    approximations: tuple[str, ...] = Field(default=(), description="what of the model is not counted exactly")


class Lengths(Frozen):
    """How long the rows are, tokens; counted with the base's own tokenizer, else bounded by bytes."""

    rows: int = Field(gt=0)
    total: int = Field(gt=0, description="tokens of all rows")
    longest: tuple[int, ...] = Field(min_length=1, max_length=256, description="the longest rows, longest first")
    percentiles: dict[int, int] = Field(description="50, 90, 95, 99 -> tokens")
    exact: bool = Field(description="by the base's tokenizer and chat template; else an upper bound")
    learned: float = Field(default=1.0, gt=0, le=1, description="share of the tokens that the loss is taken on")


class Needs(Frozen):
    application_type: ApplicationType | None = None
    accuracy: Accuracy | None = None
    max_loss: float | None = Field(
        default=None, ge=0, le=1, description="accuracy that may be lost against 16-bit LoRA, as a share of its score"
    )
    deadline_hours: float | None = Field(default=None, gt=0, description="time that training may take")
    price_per_hour: float | None = Field(default=None, ge=0, description="of one GPU, in the user's currency")
    max_length: int = Field(default=1024, gt=0, description="tokens in the longest row")
    rows: int | None = Field(default=None, gt=0, description="training rows, where known")
    lengths: Lengths | None = Field(default=None, description="of the training rows, where they were read")
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
    lr_scheduler_type: Schedule = Field(default="cosine", description="course of the learning rate after the warm-up")
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="weight decay of AdamW")
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
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="seed of everything random; the same seed, the same adapter"
    )


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


class Range(Frozen):
    """An expected value and the band that it is expected in."""

    low: float = Field(ge=0)
    expected: float = Field(ge=0)
    high: float = Field(ge=0)


class Reliability(Frozen):
    """How far predictions were off on measured runs, as shares of what was measured."""

    scope: str = Field(description="which runs: method, hardware, what was done with them")
    runs: int = Field(gt=0)
    median: float = Field(ge=0, description="of the absolute errors")
    percentile_95: float = Field(ge=0)
    too_low: float = Field(ge=0, description="the farthest that a prediction was below")
    too_high: float = Field(ge=0, description="the farthest that a prediction was above")


class Comparison(Frozen):
    """One published or measured comparison of a method with 16-bit LoRA."""

    method: Method
    model: str
    what: str = Field(description="benchmark and metric")
    lora: float = Field(description="score with 16-bit LoRA")
    value: float = Field(description="score with the method")
    loss: float = Field(description="what is lost against 16-bit LoRA, as a share of its score; negative: gained")
    source: str = Field(description="paper and table, this project's measurement, or the pilot on the user's data")
    kind: Literal["published", "measured", "pilot"]


class ExpectedAccuracy(Frozen):
    """Accuracy against 16-bit LoRA, as a share of its score that is lost."""

    method: Method
    loss: float = Field(description="expected")
    low: float
    high: float
    meets_need: bool | None = Field(description="None: the evidence is too thin or too wide to say")
    why: str
    evidence: tuple[Comparison, ...] = ()


class Speed(Frozen):
    tokens_per_second: Range
    step_seconds: float = Field(gt=0, description="of one optimizer step")
    hours: Range | None = Field(default=None, description="for all epochs of this data; None: the rows are not known")
    steps: int | None = Field(default=None, gt=0, description="optimizer steps in all")
    kwh: float | None = Field(default=None, ge=0, description="of the GPUs, at their board power")
    cost: float | None = Field(default=None, ge=0, description="at the price given, in its currency")
    basis: str = Field(description="measured on this hardware, calibrated here, or scaled from data sheets")


class Alternative(Frozen):
    """An option that was not taken."""

    method: Method
    lora_r: int
    memory_gib: float = Field(description="expected, in its fastest settings that fit, else in its leanest")
    fits: bool
    tokens_per_second: float | None = None
    loss: float | None = Field(default=None, description="expected, against 16-bit LoRA")
    reason: str = Field(description="the number that it was not taken for")


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


class Interval(Frozen):
    """A mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Advice(Record):
    shape: ModelShape
    hardware: Hardware
    needs: Needs
    settings: TrainSettings
    reasons: dict[str, str] = Field(description="field of settings -> why this value")
    memory: Memory = Field(description="expected peak of torch's allocator on one GPU, or of the process without one")
    memory_low: Memory
    memory_high: Memory
    device_gib: float = Field(ge=0, description="expected as the driver shows it: with context and fragmentation")
    available_gib: float
    fits: bool = Field(description="memory_high can be used")
    uncertain: bool = Field(description="memory can be used, memory_high cannot")
    reliability: tuple[Reliability, ...] = Field(default=(), description="of these predictions, on runs of this kind")
    speed: Speed | None = Field(default=None, description="None: nothing is known of this hardware's speed")
    accuracy: ExpectedAccuracy
    needs_met: bool = Field(description="it fits, the accuracy is expected to be met, and the deadline is")
    alternatives: tuple[Alternative, ...]
    flips: tuple[str, ...] = Field(default=(), description="the nearest changes that another choice would follow from")
    notes: tuple[str, ...] = ()


class Probed(Frozen):
    """One candidate's forward and backward pass of the longest row on this machine."""

    settings: TrainSettings
    tokens: int = Field(gt=0)
    predicted_gib: float = Field(ge=0)
    measured_gib: float | None = Field(default=None, ge=0, description="None: it did not fit or cannot run here")
    predicted_seconds: float | None = Field(default=None, ge=0)
    measured_seconds: float | None = Field(default=None, ge=0)
    error: str = Field(default="", description="why nothing was measured")


class Calibration(Record):
    """What this machine measured where the formulas only predict; advice for the same base and hardware uses it."""

    hardware: Hardware
    base_name: str
    probes: tuple[Probed, ...]


class Piloted(Frozen):
    """One candidate, trained for a little on the user's own rows."""

    settings: TrainSettings
    steps: int = Field(gt=0)
    tokens: int = Field(gt=0, description="the same for every candidate")
    eval_loss: Interval = Field(description="mean over the held-out rows, with its 95 % bootstrap interval")
    score: Interval = Field(description="the domain's metric on its evaluation questions")
    loss_against_lora: Interval | None = Field(
        default=None, description="share of 16-bit LoRA's score that is lost, paired by question; None: it did not run"
    )
    seconds: float = Field(ge=0)
    memory_gib: float = Field(ge=0)


class Pilot(Record):
    hardware: Hardware
    metric: Literal["exact_match", "f1"]
    questions: int = Field(gt=0)
    candidates: tuple[Piloted, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="method -> why it was not tried")


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


class Review(Record):
    """What a person found in a sample of the scrubbed rows; the marks themselves are sealed."""

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


class LossPoint(Frozen):
    step: int = Field(ge=0)
    loss: float
    learning_rate: float = Field(ge=0)


class ValidationPoint(Frozen):
    step: int = Field(ge=0)
    loss: float = Field(description="mean over the learned tokens of the held-out rows")


class Run(Record):
    settings: TrainSettings
    base: str = Field(description="name of the base model, never a path")
    adapter: tuple[FileRef, ...] = Field(description="adapter files, an ordinary PEFT adapter")
    trainable_parameters: int = Field(gt=0)
    steps: int = Field(gt=0)
    losses: tuple[LossPoint, ...]
    validation: tuple[ValidationPoint, ...] = ()
    validation_rows: int = Field(default=0, ge=0, description="rows that were held out and never trained on")
    best_step: int | None = Field(default=None, description="step with the lowest validation loss")
    seconds: float = Field(ge=0)
    tokens_per_second: float = Field(ge=0, description="non-padding tokens")
    memory_predicted_gib: float = Field(ge=0)
    memory_measured_gib: float = Field(ge=0, description="peak: allocator on a GPU, growth of the process on a CPU")
    tokens_per_second_predicted: float | None = Field(default=None, ge=0, description="None: nothing is known of it")
    hardware: Hardware
    resumed_from_step: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = Field(default=(), description="what was done otherwise than asked, and what to know")
    versions: dict[str, str] = Field(description="package -> version")


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


class Leakage(Frozen):
    """What one model gives away of one set of canaries. Losses are those of a value under its row's question, nats."""

    kinds: tuple[str, ...] = Field(min_length=1, description="of each canary's value")
    twins: int = Field(gt=0, description="rows for each canary with another value, never trained on; they follow it")
    candidates: int = Field(gt=1, description="values that each canary is ranked among, its own included")
    exposures: tuple[float, ...] = Field(description="of each canary: log2 of candidates less log2 of its rank, bits")
    exposure: Interval = Field(description="their mean; 1.4 bits at chance")
    extracted: int = Field(ge=0, description="canaries whose value is the most likely answer, word for word")
    losses: tuple[float, ...] = Field(description="of each canary")
    twin_losses: tuple[float, ...]
    scores: tuple[float, ...] = Field(
        description="by how many standard deviations a canary's loss is below that of other values in its row"
    )
    twin_scores: tuple[float, ...]
    auc: Interval = Field(description="of telling canaries from twins by their scores; .5 at chance")
    tpr: Interval = Field(description="share of canaries that are told by them at a false positive rate of 1 %")
    auc_by_loss: float = Field(description="of telling them by the loss itself")
    auc_by_base: float = Field(description="of telling them by what the adapter took off the base's loss")


class Leaks(Record):
    adapted: Leakage = Field(description="the adapted model, whose canaries were scrubbed before training")
    control: Leakage = Field(description="a model of the same settings that was trained on other canaries in plain")
    passes: float | None = Field(default=None, description="how often the run saw each row; None: not known")
    control_passes: float = Field(ge=0, description="how often the control saw each of its canaries")
    control_steps: int = Field(ge=0)
    seconds: float = Field(ge=0)


class Package(Record):
    package: Sha256 = Field(description="the package's identity: digest of its manifest")
    package_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="random; bound into the encryption of the weights")
    version: int = Field(ge=1, description="how many packages the project has sealed, this one among them")
    signed_by: str = Field(description="name of the signing key's holder")
    key_fingerprint: Sha256
    encrypted: bool
    policy: str = Field(description="id@version that it was sealed under")
    domain: str = Field(description="name@version")


class Rewrapped(Record):
    """The data keys of the project's packages under a new encryption key; no weights were touched."""

    key_id: str = Field(description="of the new encryption key")
    wrapped: dict[Sha256, str] = Field(description="package -> its data key, wrapped")


class Release(Record):
    package: Sha256
    tracking_uri: str = Field(description="MLflow server or database, without credentials or paths")
    experiment_id: str
    run_id: str
    model_name: str
    version: str
    artifacts: tuple[FileRef, ...] = Field(description="what was uploaded, relative to the run's artifact root")


Decision = Literal["review", "approve", "reject", "withdraw"]


class Approval(Record):
    """A signed decision; the envelope is the proof, the rest says what is in it."""

    package: Sha256
    decision: Decision
    approver: str
    key_fingerprint: Sha256
    reason: str = Field(min_length=1)
    policy: str = Field(description="id@version of the policy that the package was sealed under")
    time: str = Field(description="UTC, ISO 8601")
    expires: str | None = Field(description="UTC, ISO 8601; None: never")
    envelope: str = Field(description="DSSE envelope of an in-toto statement over package, policy and report")


Status = Literal["candidate", "approved", "champion", "rejected", "withdrawn"]


class Publication(Record):
    """What MLflow was told of where a release stands; `files` are what a loader needs as proof."""

    release: Sha256
    package: Sha256
    status: Status
    decisions: tuple[str, ...] = Field(description="each person's last one, in the order of the log")
    checks: tuple[str, ...] = Field(description="the conditions of approval, each with yes or no before it")


class Verified(Frozen):
    """How much `verify` checked."""

    events: int = Field(gt=0)
    records: int
    files: int
    packages: int
    approvals: int
    root: Sha256 = Field(description="what to pin where the model is loaded")
    checkpoint: str = Field(description="signed head of the audit log; keep it elsewhere")
    keep_until: str = Field(description="day before which the policy lets nobody delete the log")
    notes: tuple[str, ...] = Field(description="what is no fault and should be known")
