"""What full fine-tuning of the same model on the same rows would take: how much an adapter saves is told by it.

Computed and never measured. What is left out makes full fine-tuning too cheap, and what is saved too small.
"""

from __future__ import annotations

from sdk.advise.candidates import Candidate, Search
from sdk.advise.layers import active_parameters, adapter_parameters, linear_parameters, parameters
from sdk.advise.memory import GIB, available_gib, estimate
from sdk.advise.speed import (
    CPU_FACTORS,
    GPU_FACTORS,
    OPTIMIZER_BYTES,
    STEP_SECONDS,
    pass_seconds,
    rates,
    step_seconds,
)
from sdk.packing import MicroBatch, expected_micro_batch
from sdk.records import FUSED, FullFinetuning, TrainSettings

# Of a parameter: weights and gradients in 16 bits; weights, and AdamW's two moments, in float32 (Rajbhandari et al.,
# arXiv 1910.02054, section 3.1). In float32 throughout, as on a CPU, it comes to the same.
STATE_BYTES = 16
MOST_GPUS = 1024
BASIS = (
    "computed, not measured: 16 bytes a parameter (AdamW in mixed precision, arXiv 1910.02054), passes as those of the "
    "chosen settings on a 16-bit base with the gradients of all weights besides, as many rows and epochs, nothing for "
    "what GPUs send to each other"
)


def full_finetuning(search: Search, taken: Candidate) -> FullFinetuning:
    """Compare full fine-tuning with what was chosen. GPU-hours count all GPUs that it would need."""
    shape, hardware, needs = search.shape, search.hardware, search.needs
    usual = {"method": "lora", "keep_16bit": "", "shard_base": False, "optim": FUSED}
    settings = taken.settings.model_copy(update=usual)
    filled, learned = expected_micro_batch(settings, needs), needs.lengths.learned if needs.lengths else 1.0
    memory = estimate(shape, settings, hardware, filled.largest, learned)
    passing, states = memory.activations + memory.logits + memory.workspace, STATE_BYTES * parameters(shape) / GIB
    own = taken.prediction.memory.total * (taken.settings.gpus if taken.settings.shard_base else 1)
    times = _gpu_seconds(search, settings, filled, learned) / (
        taken.settings.gpus * step_seconds(shape, taken.settings, hardware, filled, learned)
    )
    speed = taken.prediction.speed
    hours = speed.hours.expected * taken.settings.gpus * times if speed and speed.hours else None
    priced = needs.price_per_hour if hours is not None else None
    return FullFinetuning(
        memory_gib=states + passing,
        gpus=_gpus(search, states, passing) if hardware.gpu_count else None,
        tokens_per_second=speed.tokens_per_second.expected / taken.settings.gpus / times if speed else None,
        gpu_hours=hours,
        cost=None if hours is None or priced is None else hours * priced,
        memory_saved=1 - own / (states + passing),
        cost_saved=1 - 1 / times,
        basis=BASIS,
    )


def _gpus(search: Search, states: float, passing: float) -> int | None:
    """Return how many of these GPUs hold the states if they are split evenly, each with passes of its own."""
    layers = search.shape.num_hidden_layers
    whole = 2 * min(2, layers) * linear_parameters(search.shape) / layers / GIB  # at work, and gathered ahead
    count = 1
    while count <= MOST_GPUS:
        needed = states / count + passing + (whole if count > 1 else 0)
        if needed <= available_gib(search.hardware, count):
            return count
        count *= 2
    return None


def _gpu_seconds(search: Search, settings: TrainSettings, filled: MicroBatch, learned: float) -> float:
    """Return the seconds of one optimizer step, those of all GPUs together."""
    shape, hardware = search.shape, search.hardware
    rate, factors = rates(hardware), GPU_FACTORS if hardware.gpu_count else CPU_FACTORS
    head, tokens = shape.vocab_size * shape.hidden_size, filled.tokens
    # The gradients of weights, which a frozen base has none of; the adapter's products, at most three, are not there.
    more = (
        2 * (active_parameters(shape) - head) * tokens * factors.matrices + 2 * head * tokens * learned * factors.head
    )
    more -= 2 * adapter_parameters(shape, settings.lora_r) * tokens * 3 * factors.adapters
    passed = pass_seconds(shape, settings, hardware, filled, learned) + more / rate.matrices
    stepped = settings.gpus * STEP_SECONDS + OPTIMIZER_BYTES * parameters(shape) / rate.bytes
    return settings.gpus * settings.gradient_accumulation_steps * passed + stepped
