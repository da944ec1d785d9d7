"""What a quantized base and an optimizer's moments take, by the options of both."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from sdk.advise.layers import MLPS, Linear, adapted_layers, adapter_parameters, linear_layers
from sdk.hardware.kernels import PAGED_NUMBERS
from sdk.records import PAGED, Method, ModelShape, Quantization, TrainSettings

# Bytes a parameter of the linear layers. NF4: 4 bits, an 8-bit scale for 64 of them, a float32 for 256 scales.
QUANTIZED_BYTES: dict[Method, float] = {
    "qlora-4bit": 0.5 + 1 / 64 + 4 / (64 * 256),
    "qlora-8bit": 1.0,
    "lora-fp8": 1.0,
}
PLAIN_SCALES = 0.5 + 4 / 64  # 4 bits without double quantization: a float32 scale for 64 of them
# Where a layer of this name stands among those of its group.
_PLACES = {
    **{"q_proj": ("qkv", 0), "k_proj": ("qkv", 1), "v_proj": ("qkv", 2), "qkv_proj": ("qkv", 0), "o_proj": ("o", 0)},
    **{
        "gate_proj": ("gate_up", 0),
        "up_proj": ("gate_up", 1),
        "gate_up_proj": ("gate_up", 0),
        "down_proj": ("down", 0),
    },
}

MOMENTS_BYTES = 8  # of AdamW, both in float32
BLOCK = 256  # 8-bit moments have a float32 scale for so many
LEAST_8BIT = 4096  # smaller matrices have moments in float32 (bitsandbytes 0.50)


def stored_bytes(settings: Quantization, size: int) -> float:
    """Return the bytes of a weight that is quantized. size: of one that is not."""
    if settings.method == "qlora-4bit" and not settings.bnb_4bit_use_double_quant:
        return PLAIN_SCALES
    return QUANTIZED_BYTES.get(settings.method, size)


def quantized_layers(shape: ModelShape, settings: Quantization) -> tuple[Linear, ...]:
    """Return the linear layers that the method quantizes: of a quantized base all but those of keep_16bit."""
    if settings.method not in QUANTIZED_BYTES:
        return ()
    layers, kept = linear_layers(shape), settings.kept
    if not kept:
        return layers
    seen, some = Counter[str](), []
    for layer in layers:
        group = layer.group.removeprefix("global_").removeprefix("shared_")
        if not _is_kept(layer, group, seen[layer.group], kept):
            some.append(layer)
        seen[layer.group] += 1
    return tuple(some)


def _is_kept(layer: Linear, group: str, place: int, kept: tuple[str, ...]) -> bool:
    part = "mlp" if layer.group in MLPS else "attention"
    return part in kept or any(_PLACES.get(name) == (group, place) for name in kept)


def quantized_parameters(shape: ModelShape, settings: Quantization) -> int:
    return sum(layer.inputs * layer.outputs * layer.count for layer in quantized_layers(shape, settings))


def pages(shape: ModelShape, lora_r: int) -> bool:
    """Tell whether some matrix of an adapter of this rank is large enough for its moments to be paged."""
    return any(lora_r * max(layer.inputs, layer.outputs) >= PAGED_NUMBERS for layer in adapted_layers(shape))


def paged_gib(shape: ModelShape, settings: TrainSettings) -> float:
    """Return the moments that wait in the host's memory, GiB."""
    return moments(shape, settings).on_host * adapter_parameters(shape, settings.lora_r) / 2**30


class Moments(NamedTuple):
    """Bytes of an optimizer's state for a trained parameter, and of those that wait in the host's memory."""

    on_device: float
    on_host: float


def moments(shape: ModelShape, settings: TrainSettings) -> Moments:
    """Return what the optimizer keeps for LoRA's matrices; of another adapter the same for a parameter is assumed."""
    optim = settings.optim
    if optim in ("adamw_torch_fused", "adamw_torch"):
        return Moments(MOMENTS_BYTES, 0)
    here = there = 0.0
    for layer in adapted_layers(shape):
        for side in (layer.inputs, layer.outputs):
            numbers = side * settings.lora_r
            if optim == "adafactor":  # a mean for each row and each column
                here += layer.count * 4 * (side + settings.lora_r)
                continue
            small = "8bit" in optim and numbers >= LEAST_8BIT
            each = numbers * (2 if small else MOMENTS_BYTES)
            here += layer.count * 8 * -(-numbers // BLOCK) * small
            if optim in PAGED and numbers >= PAGED_NUMBERS:
                there += layer.count * each
            else:
                here += layer.count * each
    count = adapter_parameters(shape, settings.lora_r)
    return Moments(here / count, there / count)
