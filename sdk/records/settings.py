"""What the training step runs with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdk.records.base_types import Frozen, is_empty
from sdk.records.in_words import spelled

Method = Literal["lora", "qlora-4bit", "qlora-8bit", "lora-fp8"]
PeftMethod = Literal["lora", "adalora", "prompt_tuning", "prefix_tuning", "p_tuning"]
Optimizer = Literal[
    "adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor"
]
QuantType = Literal["nf4", "fp4"]
LoraInit = Literal["default", "gaussian", "pissa", "pissa_niter_4", "loftq"]
Schedule = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "cosine_with_min_lr", "inverse_sqrt", "polynomial"
]
Role = Literal["system", "user", "assistant", "tool"]
MessageRole = Role | Literal["text"]  # of the one message of a row that is running text, and no conversation
PROMPTS = ("prompt_tuning", "prefix_tuning", "p_tuning")  # kinds of adapter that learn a prompt
MORE_STEPS = ("max_steps", "num_train_epochs")  # the settings that may differ from those of a run that is gone on from

METHODS: dict[Method, str] = {
    "lora": "LoRA on a 16-bit base",
    "qlora-4bit": "QLoRA on a 4-bit base (NF4)",
    "qlora-8bit": "QLoRA on an 8-bit base",
    "lora-fp8": "LoRA on a base in 8-bit floats",
}
FUSED: Optimizer = "adamw_torch_fused"  # what is taken where nothing is said
PAGED: tuple[Optimizer, ...] = ("paged_adamw_8bit", "paged_adamw_32bit")  # whose moments wait in the host's memory


class Quantization(Frozen):
    """All that decides which numbers a base's weights are once it is loaded; the options are bitsandbytes' own.

    An option is left out of the JSON where it is the usual one, so that records from before it keep their digests.
    """

    method: Method = Field(
        description="base in 16 bits (lora), 4 bits (qlora-4bit), int8 (qlora-8bit) or 8-bit floats (lora-fp8)"
    )
    bnb_4bit_quant_type: QuantType = Field(
        default="nf4", exclude_if=lambda kind: kind == "nf4", description="qlora-4bit: which 16 levels weights have"
    )
    bnb_4bit_use_double_quant: bool = Field(
        default=True, exclude_if=lambda double: double is True, description="qlora-4bit: quantize the scales as well"
    )
    keep_16bit: str = spelled(
        r"^(\w+( *, *\w+)*)?$",
        "attention, mlp or names of layers, with commas between them",
        default="",
        exclude_if=is_empty,
        description="layers of a quantized base that stay in 16 bits: attention, mlp, or names as in target_modules",
    )

    @property
    def kept(self) -> tuple[str, ...]:
        """The names in keep_16bit."""
        return tuple(name.strip() for name in self.keep_16bit.split(",")) if self.keep_16bit else ()

    def unusual(self) -> dict[str, str | bool]:
        """Return the options that are not the usual ones."""
        return self.model_dump(include=Quantization.model_fields.keys() - {"method"})

    def base_in_words(self) -> str:
        """Say how the base is held, and what is trained on it."""
        said = METHODS[self.method]
        if self.method == "qlora-4bit":
            said = said.replace("NF4", self.bnb_4bit_quant_type.upper())
            if not self.bnb_4bit_use_double_quant:
                said = said.replace(")", ", no double quantization)")
        return f"{said}, {self.keep_16bit} in 16 bits" if self.keep_16bit else said


class TrainSettings(Quantization):
    """What the training step runs with; names and meanings are those of peft, transformers and trl."""

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
    learning_rate: float = Field(gt=0, lt=1, description="peak learning rate")
    optim: Optimizer = Field(default=FUSED, exclude_if=lambda name: name == FUSED, description="the optimizer")
    lr_scheduler_type: Schedule = Field(default="cosine", description="course of the learning rate after the warm-up")
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="weight decay")
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
    cuda_graphs: bool = Field(
        default=False,
        exclude_if=lambda replayed: not replayed,
        description="replay the layers of a model with hidden_size below 2048, on one GPU: two to four times as fast; "
        "not yet shown on a GPU to end with the same bytes where a run was interrupted",
    )
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

    def against_replaying(self) -> tuple[str, ...]:
        """Return what of these settings cuda_graphs does not go with."""
        given = {
            "gradient_checkpointing": self.gradient_checkpointing,
            "offload_embeddings": self.offload_embeddings,
            "use_dora": self.use_dora,
            f"peft_type {self.peft_type}": self.peft_type != "lora",
            "more than one GPU": self.gpus > 1,
        }
        return tuple(name for name, there in given.items() if there)

    def brief(self) -> str:
        optimizer = "" if self.optim == FUSED else f", {self.optim}"
        return f"{self.base_in_words()}, rank {self.lora_r}, learning rate {self.learning_rate:g}{optimizer}"
