"""Time of a training step: what a GPU computes and moves, against what the host needs to launch it.

Each term is work over a rate of the data sheet, times how far the engine stays below that rate. The factors were fitted
to passes of five models on one H200 (tests/benchmarks/planning.py --search) and hold there; on other GPUs they are
assumed to be the same. A CPU has no data sheet of use: its rates are measured (sdk/model/cpu_speed.py), and three
factors were fitted to passes of the embedded base and of one of 135 million parameters. docs/advisor.md has the errors
on runs that were not fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sdk.advise.layers import active_parameters, adapter_parameters, expert_parameters, linear_layers, linear_parameters
from sdk.advise.memory import QUANTIZED_BYTES
from sdk.packing import MicroBatch
from sdk.records import Hardware, Method, ModelShape, TrainSettings

MATRICES_FP8 = 1.47
# Seconds that the host (32 virtual cores beside the H200) needs to launch a layer forward and backward, and to launch
# it once more where it recomputes.
LAUNCH: dict[Method, tuple[float, float]] = {
    "lora": (0.0054, 0.0055),
    "qlora-8bit": (0.0060, 0.0058),
    "qlora-4bit": (0.0075, 0.0066),
    "lora-fp8": (0.0078, 0.0060),
}
OVERLAP = 6.0  # how sharply the longer of both decides
STEP_SECONDS = 0.004  # of an optimizer step, whatever the size
OPTIMIZER_BYTES = 40  # moved for each parameter of an adapter: AdamW, clipping, its 16-bit copy
EXPERTS = 2.0  # transformers gathers and scatters each token's copies around grouped products
LINK_USED = 0.7  # of the link's rate
HIDDEN_BEHIND_COMPUTE = 0.5  # of the gradients' exchange

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


GPU_FACTORS = Factors(1.33, 3.3, 2.1, 4.0, 1.36, {"qlora-4bit": 1.6, "qlora-8bit": 8.0}, 2)
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
    launch = LAUNCH[settings.method] if gpu else (CPU_LAUNCH, CPU_LAUNCH / 2)
    launching = layers * (launch[0] + again * launch[1])
    computing = _computing(
        shape, settings, rates(hardware), GPU_FACTORS if gpu else CPU_FACTORS, filled, learned, again
    )
    # A GPU computes while the host launches, so the longer of both decides; near each other both count.
    seconds: float = (computing**OVERLAP + launching**OVERLAP) ** (1 / OVERLAP) if gpu else computing + launching
    if settings.activation_offloading and gpu:
        seconds += 2 * layers * filled.tokens * 2 * shape.hidden_size / OFFLOADING
    if settings.offload_embeddings and gpu and not shape.tie_word_embeddings:
        seconds += filled.tokens * 2 * shape.hidden_size / LOOKING_UP
    if settings.shard_base and settings.gpus > 1:
        # Every layer's bytes are gathered before its forward pass and again before its backward pass.
        moved = 2 * linear_parameters(shape) * QUANTIZED_BYTES.get(settings.method, 2) * _others(settings)
        seconds = max(seconds, moved / (rates(hardware).link * LINK_USED))
    return seconds


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
    tokens, hidden, layers = filled.tokens, shape.hidden_size, shape.num_hidden_layers
    passes = 2 + again  # forward, backward to the input, forward once more
    linear = linear_layers(shape)
    head = shape.vocab_size * hidden
    weights = active_parameters(shape) - head
    products = 2 * weights * tokens * passes
    fp8 = settings.method == "lora-fp8" and rate.fp8 > 0
    seconds = products / rate.fp8 * MATRICES_FP8 if fp8 else products / rate.matrices * factors.matrices
    width = shape.num_attention_heads * shape.head_dim
    windowed = shape.num_sliding_layers if shape.sliding_window else 0
    # Layers times tokens that a token sees. Attention's two products take 2 x width FLOPs for each of them, since a
    # causal mask leaves half of the pairs; flash attention's backward pass, with five products, takes 2.5 times that.
    seen = (layers - windowed) * filled.row + windowed * min(filled.row, shape.sliding_window)
    seconds += 2 * width * tokens * seen * (3.5 + again) / rate.matrices * factors.attention
    # 2 FLOPs a weight for the logits, 2 for the gradient of their input; the head's own is not computed.
    seconds += 4 * head * tokens * learned / rate.matrices * factors.head
    # Forward, the gradient of the input, the gradient of the adapters.
    adapted = adapter_parameters(shape, settings.lora_r)
    seconds += 2 * adapted * tokens * (3 + again) / rate.matrices * factors.adapters
    # Numbers that are read and written for a token besides products: by norms, sums, rotary embeddings and the gated
    # activation, then the inputs and outputs of linear layers and adapters. The logits of a learned token have 4 bytes,
    # and six kernels pass over them.
    key = 2 * shape.num_key_value_heads * shape.head_dim
    moved = layers * (12 * hidden + 6 * shape.intermediate_size + 4 * (width + key)) * (3 + again)
    dropped = 2 if settings.lora_dropout else 1
    moved += sum((layer.inputs * dropped + 2 * layer.outputs) * layer.count for layer in linear) * passes
    seconds += (factors.size * moved + 24 * shape.vocab_size * learned) * tokens / rate.bytes * factors.traffic
    if settings.method in factors.dequantizing:
        # Each weight is read as it is stored and written in 16 bits, once a pass whatever the number of tokens.
        stored = QUANTIZED_BYTES[settings.method] + 2
        read = stored * linear_parameters(shape) * passes / rate.bytes
        seconds += read * factors.dequantizing[settings.method]
    if factors is CPU_FACTORS:
        stored = factors.size * (linear_parameters(shape) * passes + 2 * head)
        seconds += stored / rate.bytes * CPU_WEIGHTS
    if expert_parameters(shape):
        seconds *= EXPERTS
    return seconds


def step_seconds(
    shape: ModelShape, settings: TrainSettings, hardware: Hardware, filled: MicroBatch, learned: float = 1.0
) -> float:
    """Predict the seconds of one optimizer step of all GPUs: its passes, the exchange of gradients, AdamW."""
    adapted, rate = adapter_parameters(shape, settings.lora_r), rates(hardware)
    seconds = settings.gradient_accumulation_steps * pass_seconds(shape, settings, hardware, filled, learned)
    seconds += STEP_SECONDS + OPTIMIZER_BYTES * adapted / rate.bytes
    if settings.gpus > 1:
        exchanged = 2 * 4 * adapted * _others(settings) / (rate.link * LINK_USED)
        seconds += exchanged * (1 - HIDDEN_BEHIND_COMPUTE)
    return seconds


def _others(settings: TrainSettings) -> float:
    """Return the share that lies on other GPUs."""
    return (settings.gpus - 1) / settings.gpus
