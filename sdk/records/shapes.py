"""What advice and training are reckoned from: the machine, the model, the rows."""

from __future__ import annotations

from operator import not_
from typing import Literal

from pydantic import Field

from sdk.records.base_types import Frozen, is_empty

Backend = Literal["cuda", "rocm", "xpu", "mps", "hpu"]


class Hardware(Frozen):
    """The machine to train on; without a GPU, `gpu_count` is 0 and training uses the CPU and its memory.

    Rates are those of one GPU as its vendor gives them, dense; of a CPU those of all its cores in float32, as they were
    measured on it; None: not known.
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

    @property
    def accelerator(self) -> str:
        """The GPUs with their number, or CPU."""
        gpu = self.gpu or f"GPU of {self.gpu_memory_gib:g} GiB"
        return f"{self.gpu_count} x {gpu}" if self.gpu_count else "CPU"

    def brief(self) -> str:
        if self.gpu_count:
            return f"{self.accelerator}, {self.gpu_memory_gib:g} GiB each" if self.gpu else self.accelerator
        return f"{self.accelerator}, {self.cpu_cores} cores, {self.ram_gib:.3g} GiB"


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
    final_logit_softcapping: bool = Field(default=False, exclude_if=not_, description="logits are capped (Gemma 2)")
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

    def brief(self) -> str:
        return self.name


class Lengths(Frozen):
    """How long the rows are, tokens; counted with the base's own tokenizer, else bounded by bytes."""

    rows: int = Field(gt=0)
    total: int = Field(gt=0, description="tokens of all rows")
    longest: tuple[int, ...] = Field(min_length=1, max_length=256, description="the longest rows, longest first")
    percentiles: dict[int, int] = Field(description="50, 90, 95, 99 -> tokens")
    exact: bool = Field(description="by the base's tokenizer and chat template; else an upper bound")
    learned: float = Field(default=1.0, gt=0, le=1, description="share of the tokens that the loss is taken on")
    texts: int | None = Field(
        default=None, exclude_if=is_empty, description="of the total, tokens of running text; None: no row is one"
    )

    sampled: int | None = Field(
        default=None, exclude_if=is_empty, description="rows that were measured, by lot and the longest; None: all"
    )
    error: float | None = Field(
        default=None, exclude_if=is_empty, description="of the total, as a share: 95 of 100 samples are no further off"
    )

    @property
    def mostly_texts(self) -> bool:
        """Tell whether most of what is trained is running text: continued pre-training."""
        return 2 * (self.texts or 0) > self.total
