"""Time of a training step: what a GPU computes and moves, against what the host needs to launch it.

Each term is work over a rate of the data sheet, times how far the engine stays below that rate. The factors were fitted
to half of the runs on one H200 that ran alone (tests/benchmarks/memory.py, architectures.py) and hold there; on other
GPUs they are assumed to be the same. A CPU has no data sheet of use: its rates are measured (sdk/model/cpu_speed.py),
and three factors were fitted to passes of the embedded base and of one of 135 million parameters. docs/advisor.md has
the errors on runs that were not fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sdk.advise.adapters import launching_share, moved_more, products_more, rank_of, trained_parameters, virtual_tokens
from sdk.advise.architectures import ROW_BY_ROW
from sdk.advise.held import quantized_parameters, stored_bytes
from sdk.advise.kept import counted_of, kinds_of, sizes_of, total
from sdk.advise.layers import (
    BESIDE_TEXT,
    active_parameters,
    adapter_parameters,
    expert_parameters,
    last_mlp,
    linear_layers,
    linear_parameters,
)
from sdk.advise.memory import GIB, estimate
from sdk.hardware.kernels import GRAPHED_WIDTH, GRAPHS_SPARE
from sdk.packing import MicroBatch
from sdk.records import Hardware, Method, ModelShape, TrainSettings

MATRICES_FP8 = 1.61
ELEMENTWISE = 1.44  # of what is read and written outside of products
UNALIGNED_EVEN, UNALIGNED_ODD = 2.3, 5.0  # of the head, where the vocabulary is no multiple of 8 (OLMo 3, Granite)
# Seconds that the host (32 virtual cores beside the H200) needs to launch a layer forward and backward, and to launch
# it once more where it recomputes.
LAUNCH: dict[Method, tuple[float, float]] = {
    "lora": (0.0054, 0.0055),
    "qlora-8bit": (0.0060, 0.0058),
    "qlora-4bit": (0.0075, 0.0066),
    "lora-fp8": (0.0078, 0.0060),
}
USUAL_LAUNCHES = 69  # operations of a layer of Llama, forward and backward, for which these seconds were read off
OPERATIONS = 0.25  # how much of it grows with their number
# Of that time, so much remains where layers are replayed as CUDA graphs: the GPU begins one small kernel after another.
REPLAYED = 0.12
CAPPING_BYTES = 38  # moved for each logit that is capped
OWN_KERNELS = 1.9  # of attention with capped scores, against torch's
OVERLAP = 6.0  # how sharply the longer of both decides
STEP_SECONDS = 0.004  # of an optimizer step, whatever the size
OPTIMIZER_BYTES = 40  # moved for each parameter of an adapter: AdamW, clipping, its 16-bit copy
EXPERTS = 2.0  # transformers gathers and scatters each token's copies around grouped products
LINK_USED = 0.7  # of the link's rate
HIDDEN_BEHIND_COMPUTE = 0.5  # of the gradients' exchange

# Of the time that a model of attention alone would take, so much more if all layers had a state: torch's own code for
# it goes over a row in chunks, one after the other. Read off one run of each.
STATES = {"granitemoehybrid": 1.9, "bamba": 2.3, "olmo_hybrid": 10.5}
STATES |= dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), 6.5)

# Bytes a second, what 8B and 7B models lost on one H200: what is kept between layers, to the host's memory and back;
# rows of the embeddings, looked up there.
OFFLOADING, LOOKING_UP = 70e9, 0.8e9

# For a GPU without a data sheet, only to order what could be chosen.
USUAL_TFLOPS, USUAL_BANDWIDTH, USUAL_LINK = 150.0, 1000.0, 25.0
# A core in float32, and the memory of a machine, where nothing was measured.
CPU_GFLOPS, CPU_BANDWIDTH = 50.0, 8.0
# Measured time over that of the rate: products come out as fast as one by itself; what else touches memory nearly so.
# Each weight is read and rearranged once for each product, whatever the number of tokens, or dequantized besides.
# And seconds to launch a layer.
CPU_TRAFFIC, CPU_WEIGHTS, CPU_DEQUANTIZING, CPU_LAUNCH = 1.09, 1.8, 1.6, 0.003


class Factors(NamedTuple):
    """Measured time over that of the rate, and bytes of a number in the type of the products."""

    matrices: float
    attention: float
    head: float
    adapters: float
    traffic: float
    dequantizing: Mapping[Method, float]
    size: int


GPU_FACTORS = Factors(1.46, 3.97, 1.62, 4.33, 1.72, {"qlora-4bit": 2.11, "qlora-8bit": 6.77}, 2)
CPU_FACTORS = Factors(1, 1, 1, 1, CPU_TRAFFIC, dict.fromkeys(("qlora-4bit", "qlora-8bit"), CPU_DEQUANTIZING), 4)


class Rates(NamedTuple):
    """What one GPU can do by its data sheet, or all cores of a CPU as it was measured."""

    matrices: float  # FLOP/s in 16 bits, on a CPU in float32
    fp8: float
    bytes: float  # a second
    link: float


def rates(hardware: Hardware) -> Rates:
    if not hardware.gpu_count:
        products = hardware.tflops * 1e12 if hardware.tflops else hardware.cpu_cores * CPU_GFLOPS * 1e9
        return Rates(products, 0, (hardware.bandwidth_gbs or CPU_BANDWIDTH) * 1e9, 1e9)
    tflops = hardware.tflops or USUAL_TFLOPS
    return Rates(
        tflops * 1e12,
        (hardware.fp8_tflops or tflops) * 1e12,
        (hardware.bandwidth_gbs or USUAL_BANDWIDTH) * 1e9,
        (hardware.link_gbs or USUAL_LINK) * 1e9,
    )


def pass_seconds(
    shape: ModelShape, settings: TrainSettings, hardware: Hardware, filled: MicroBatch, learned: float = 1.0
) -> float:
    """Predict the seconds of one forward and backward pass. learned: share of the tokens that the loss is taken on."""
    layers = shape.num_hidden_layers
    again = 0.0  # fraction of the layers that are recomputed
    if settings.gradient_checkpointing:
        again = 1.0 if settings.shard_base else min(layers, settings.checkpointed_layers or layers) / layers
    gpu = hardware.gpu_count > 0
    launching = layers * _launching(shape, settings, again, gpu)
    computing = _computing(
        shape, settings, rates(hardware), GPU_FACTORS if gpu else CPU_FACTORS, filled, learned, again
    )
    # A GPU computes while the host launches, so the longer of both decides; near each other both count.
    seconds: float = computing + launching
    if recorded(shape, settings, hardware):
        seconds = computing + REPLAYED * launching
    elif gpu:
        seconds = (computing**OVERLAP + launching**OVERLAP) ** (1 / OVERLAP)
    if settings.activation_offloading and gpu:
        seconds += 2 * layers * filled.tokens * 2 * shape.hidden_size / OFFLOADING
    if settings.offload_embeddings and gpu and not shape.tie_word_embeddings:
        seconds += filled.tokens * 2 * shape.hidden_size / LOOKING_UP
    if settings.shard_base and settings.gpus > 1:
        # Every layer's bytes are gathered before its forward pass and again before its backward pass.
        quantized = quantized_parameters(shape, settings)
        stored = 2 * (linear_parameters(shape) - quantized) + stored_bytes(settings, 2) * quantized
        moved = 2 * stored * _others(settings)
        seconds = max(seconds, moved / (rates(hardware).link * LINK_USED))
    return seconds


def recorded(shape: ModelShape, settings: TrainSettings, hardware: Hardware) -> bool:
    """Tell whether the layers run as CUDA graphs (sdk/train/engine/graphs.py decides, by the model), and have room."""
    kinds = shape.num_experts or shape.num_linear_attention_layers or shape.model_type in ROW_BY_ROW
    if not settings.cuda_graphs or not hardware.gpu_count or shape.hidden_size >= GRAPHED_WIDTH or kinds:
        return False
    if settings.against_replaying():
        return False
    return estimate(shape, settings, hardware).total + GRAPHS_SPARE / GIB < hardware.gpu_memory_gib


def _launching(shape: ModelShape, settings: TrainSettings, again: float, gpu: bool) -> float:
    """Return the seconds that launching a layer takes."""
    if not gpu:
        return CPU_LAUNCH * (1 + again / 2)
    once, more = LAUNCH[settings.method]
    counted = counted_of(shape)
    if counted is not None:
        forward, backward, with_forward = counted.launches
        once *= 1 + OPERATIONS * ((forward + backward) / USUAL_LAUNCHES - 1)
        more *= 1 + OPERATIONS * ((with_forward - backward) / (USUAL_LAUNCHES / 3) - 1)
    once *= launching_share(settings, OPERATIONS / USUAL_LAUNCHES)
    return once + again * more


def _computing(
    shape: ModelShape,
    settings: TrainSettings,
    rate: Rates,
    factors: Factors,
    filled: MicroBatch,
    learned: float,
    again: float,
) -> float:
    """Return the seconds that a pass takes where the host is never waited for.

    again: fraction of the layers whose forward pass is computed a second time.
    """
    tokens, hidden, layers = filled.tokens + virtual_tokens(settings), shape.hidden_size, shape.num_hidden_layers
    passes = 2 + again  # forward, backward to the input, forward once more
    linear = [layer for layer in linear_layers(shape) if not layer.group.startswith(BESIDE_TEXT)]
    head = shape.vocab_size * hidden
    weights: float = active_parameters(shape) - head
    if factors is CPU_FACTORS:
        weights -= (1 - learned) * last_mlp(shape)
    products = 2 * weights * tokens * passes * products_more(settings)
    fp8 = settings.method == "lora-fp8" and rate.fp8 > 0
    seconds = products / rate.fp8 * MATRICES_FP8 if fp8 else products / rate.matrices * factors.matrices
    width = shape.num_attention_heads * shape.head_dim
    windowed = shape.num_sliding_layers if shape.sliding_window else 0
    # Layers times tokens that a token sees. Attention's two products take 2 x width FLOPs for each of them, since a
    # causal mask leaves half of the pairs; flash attention's backward pass, with five products, takes 2.5 times that.
    seen = (layers - windowed) * filled.row + windowed * min(filled.row, shape.sliding_window)
    attending = 2 * width * tokens * seen * (3.5 + again) / rate.matrices * factors.attention
    seconds += attending * OWN_KERNELS if shape.attn_logit_softcapping and factors is GPU_FACTORS else attending
    # 2 FLOPs a weight for the logits, 2 for the gradient of their input; the head's own is not computed.
    seconds += 4 * head * tokens * learned / rate.matrices * factors.head * _unaligned(shape.vocab_size)
    # Forward, the gradient of the input, the gradient of the adapters.
    adapted = adapter_parameters(shape, rank_of(settings))
    seconds += 2 * adapted * tokens * (3 + again) / rate.matrices * factors.adapters
    # Numbers that are read and written for a token besides products: by norms, sums, rotary embeddings and the gated
    # activation, then the inputs and outputs of linear layers and adapters. The logits of a learned token have 4 bytes,
    # and six kernels pass over them.
    moved = 0.0
    if factors is CPU_FACTORS:
        moved = _usually_moved(shape) * (3 + again)
    else:
        seconds += _moved(shape, settings, filled, again) * tokens / rate.bytes * ELEMENTWISE
    dropped = 2 if settings.lora_dropout else 1
    moved += sum((layer.inputs * dropped + 2 * layer.outputs) * layer.count for layer in linear) * passes
    moved += moved_more(shape, settings)
    of_logit = 24 + (CAPPING_BYTES if shape.final_logit_softcapping else 0)
    seconds += (factors.size * moved + of_logit * shape.vocab_size * learned) * tokens / rate.bytes * factors.traffic
    if settings.method in factors.dequantizing:
        # Each weight is read as it is stored and written in 16 bits, once a pass whatever the number of tokens.
        stored = stored_bytes(settings, 2) + 2
        times = passes + settings.use_dora  # DoRA: once more for the norms
        read = stored * quantized_parameters(shape, settings) * times / rate.bytes
        seconds += read * factors.dequantizing[settings.method]
    if factors is CPU_FACTORS:
        stored = factors.size * (linear_parameters(shape) * passes + 2 * head)
        seconds += stored / rate.bytes * CPU_WEIGHTS
    if expert_parameters(shape) and (factors is CPU_FACTORS or counted_of(shape) is None):
        seconds *= EXPERTS
    if factors is GPU_FACTORS:
        seconds *= 1 + STATES.get(shape.model_type, 0.0) * shape.num_linear_attention_layers / layers
    return seconds


def _unaligned(vocabulary: int) -> float:
    """Return how many times as long a product takes whose rows do not begin at multiples of 16 bytes."""
    return 1.0 if vocabulary % 8 == 0 else UNALIGNED_EVEN if vocabulary % 2 == 0 else UNALIGNED_ODD


def _moved(shape: ModelShape, settings: TrainSettings, filled: MicroBatch, again: float) -> float:
    """Return the bytes that all layers read and write for a token outside of products."""
    moved = 0.0
    for kind in kinds_of(shape):
        counted = counted_of(shape, kind.windowed)
        if counted is None:
            return 2 * _usually_moved(shape) * (3 + again)
        sizes = sizes_of(shape, round(filled.row), rank_of(settings), kind)
        forward, backward, with_forward = (total(each, sizes) for each in counted.moved)
        moved += kind.share * (forward + (1 - again) * backward + again * with_forward)
    return shape.num_hidden_layers * moved


def _usually_moved(shape: ModelShape) -> int:
    """Return the numbers that layers like Llama's read and write for a token in a forward pass, all together."""
    width = (shape.num_attention_heads + 2 * shape.num_key_value_heads) * shape.head_dim
    return shape.num_hidden_layers * (12 * shape.hidden_size + 6 * shape.intermediate_size + 4 * width)


def step_seconds(
    shape: ModelShape, settings: TrainSettings, hardware: Hardware, filled: MicroBatch, learned: float = 1.0
) -> float:
    """Predict the seconds of one optimizer step of all GPUs: its passes, the exchange of gradients, AdamW."""
    adapted, rate = trained_parameters(shape, settings), rates(hardware)
    seconds = settings.gradient_accumulation_steps * pass_seconds(shape, settings, hardware, filled, learned)
    seconds += STEP_SECONDS + OPTIMIZER_BYTES * adapted / rate.bytes
    if settings.gpus > 1:
        exchanged = 2 * 4 * adapted * _others(settings) / (rate.link * LINK_USED)
        seconds += exchanged * (1 - HIDDEN_BEHIND_COMPUTE)
    return seconds


def _others(settings: TrainSettings) -> float:
    """Return the share that lies on other GPUs."""
    return (settings.gpus - 1) / settings.gpus
