"""What given settings are expected to take: memory with its band, speed with its band."""

from __future__ import annotations

import math
from typing import NamedTuple

from sdk.advise.adapters import is_plain_lora, kind_name, running
from sdk.advise.architectures import ROW_BY_ROW
from sdk.advise.memory import estimate
from sdk.advise.reliability import architecture_errors
from sdk.advise.speed import pass_seconds, step_seconds
from sdk.hardware.kernels import FLASH_HEAD_SIZE
from sdk.packing import MicroBatch, expected_micro_batch, one_row_at_a_time
from sdk.records import Calibration, Hardware, Memory, ModelShape, Needs, Probed, Range, Speed, TrainSettings


class MemoryBand(NamedTuple):
    """Shares of what is expected, below and above: of the whole, and of what comes and goes beside the weights."""

    below: float
    above: float
    rest_below: float = 0.0
    rest_above: float = 0.0


# By what the formulas were held against (docs/advisor.md).
MEASURED = MemoryBand(0.02, 0.01)  # 165 runs on one H200 were 1.4 % below to .8 % above
SAME_KERNELS = MemoryBand(0.03, 0.03)  # other NVIDIA GPUs run the same kernels
ROUGH = MemoryBand(0.03, 0.03, 0.3, 0.4)  # layers that are counted only roughly, or kernels of other vendors
ON_A_CPU = MemoryBand(0.2, 0.15)  # 22 runs were 9 % below to 9 % above; other allocators than glibc's keep less
CALIBRATED = MemoryBand(0.05, 0.05)
# The band of speed, as factors.
SPEED_MEASURED, SPEED_ELSEWHERE, SPEED_ON_A_CPU, SPEED_CALIBRATED = 1.25, 1.7, 3.0, 1.2
SPEED_ON_A_MEASURED_CPU = 1.4
HELD_AGAINST = "NVIDIA H200"


class Prediction(NamedTuple):
    memory: Memory
    memory_low: Memory
    memory_high: Memory
    speed: Speed | None
    relative_speed: float  # tokens/s, with usual rates where the hardware's are not known


def predict(
    shape: ModelShape,
    settings: TrainSettings,
    hardware: Hardware,
    needs: Needs,
    calibration: Calibration | None = None,
) -> Prediction:
    """Predict memory and speed with their bands.

    calibration: of this base on this hardware, whose passes of the same method outweigh the formulas.
    """
    settings = one_row_at_a_time(settings) if shape.model_type in ROW_BY_ROW else running(settings)
    filled = expected_micro_batch(settings, needs)
    learned = needs.lengths.learned if needs.lengths else 1.0
    memory = estimate(shape, settings, hardware, filled.largest, learned)
    worst = estimate(shape, settings, hardware, filled.largest)  # of the longest rows any share may be learned
    probed = _probed(calibration, settings)
    if probed is not None:
        then = estimate(shape, probed.settings, hardware, probed.tokens, learned)
        memory, worst = (_corrected(each, then, probed, hardware) for each in (memory, worst))
    band = _band(shape, hardware, probed, is_plain_lora(settings))
    seconds = step_seconds(shape, settings, hardware, filled, learned)
    if probed is not None and probed.measured_seconds:
        seconds *= probed.measured_seconds / _pass_of(probed, shape, hardware, learned)
    per_step = filled.tokens * settings.gradient_accumulation_steps * settings.gpus
    return Prediction(
        memory=memory,
        memory_low=_shifted(memory, -band.below, -band.rest_below),
        memory_high=_shifted(worst, band.above, band.rest_above),
        speed=_speed(shape, settings, hardware, needs, filled, seconds, probed) if _known(hardware) else None,
        relative_speed=per_step / seconds,
    )


def _known(hardware: Hardware) -> bool:
    """Tell whether rates are known. Of a machine's CPU only its cores are, which a catalogue of GPUs does not know."""
    return hardware.tflops is not None if hardware.gpu_count else hardware.source != "catalogue"


def _band(shape: ModelShape, hardware: Hardware, probed: Probed | None, plain: bool) -> MemoryBand:
    if probed is not None:
        return CALIBRATED
    if not hardware.gpu_count:
        return ON_A_CPU
    # bfloat16 came with Ampere, and so did flash attention.
    flash = hardware.bf16 and shape.head_dim <= FLASH_HEAD_SIZE
    by_rows = shape.attn_logit_softcapping or shape.attention_sinks or not flash
    if hardware.backend != "cuda" or (by_rows and not (flash and is_held_against(hardware))):
        return ROUGH
    usual, errors = MEASURED if plain and is_held_against(hardware) else SAME_KERNELS, architecture_errors(shape)
    below, above = errors.too_high / (1 + errors.too_high), errors.too_low / (1 - errors.too_low)
    return usual._replace(rest_below=below, rest_above=above)


def is_held_against(hardware: Hardware) -> bool:
    """Tell whether predictions were held against runs on this GPU."""
    return (hardware.gpu or "").removeprefix("NVIDIA ").startswith(HELD_AGAINST.removeprefix("NVIDIA "))


def _shifted(memory: Memory, of_whole: float, of_rest: float) -> Memory:
    """Shift a prediction to one end of its band. Weights, adapters, gradients and optimizer are counted exactly,
    so what comes and goes beside them carries all of it.
    """
    rest = memory.activations + memory.logits + memory.workspace
    share = max(0.0, 1 + of_rest + of_whole * memory.total / rest) if rest else 1.0
    return memory.model_copy(
        update={name: getattr(memory, name) * share for name in ("activations", "logits", "workspace")}
    )


# -- calibration -----------------------------------------------------------------------------------------------------


def _probed(calibration: Calibration | None, settings: TrainSettings) -> Probed | None:
    """Return the probe of the same method, with the same recomputation if there is one."""
    if calibration is None:
        return None
    same = [
        probe
        for probe in calibration.probes
        if probe.settings.method == settings.method
        and probe.measured_gib
        and (probe.settings.peft_type, probe.settings.use_dora) == (settings.peft_type, settings.use_dora)
    ]
    alike = [probe for probe in same if probe.settings.gradient_checkpointing == settings.gradient_checkpointing]
    return next(iter(alike or same), None)


def _corrected(memory: Memory, then: Memory, probed: Probed, hardware: Hardware) -> Memory:
    """Scale what comes and goes by what the probe found of it; weights are counted exactly. then: predicted for it."""
    fixed = then.weights if hardware.gpu_count else 0.0
    expected, found = then.total - fixed, (probed.measured_gib or 0.0) - fixed
    factor = min(3.0, max(0.2, found / expected)) if expected > 0 else 1.0
    kept = {} if fixed else {"weights": memory.weights * factor}
    others = {name: value * factor for name, value in memory.model_dump().items() if name != "weights"}
    return memory.model_copy(update={**others, **kept})


def _pass_of(probed: Probed, shape: ModelShape, hardware: Hardware, learned: float) -> float:
    rows = probed.settings.per_device_train_batch_size
    filled = MicroBatch(probed.tokens, probed.tokens, rows, probed.tokens / rows)
    return pass_seconds(shape, probed.settings, hardware, filled, learned)


# -- time ------------------------------------------------------------------------------------------------------------


def _speed(
    shape: ModelShape,
    settings: TrainSettings,
    hardware: Hardware,
    needs: Needs,
    filled: MicroBatch,
    seconds: float,
    probed: Probed | None,
) -> Speed:
    if probed is not None and probed.measured_seconds:
        factor, basis = SPEED_CALIBRATED, "calibrated by the probe on this machine"
    elif not hardware.gpu_count and hardware.tflops:
        factor, basis = SPEED_ON_A_MEASURED_CPU, "from what this machine's CPU was measured to do"
    elif not hardware.gpu_count:
        factor, basis = SPEED_ON_A_CPU, "a usual core's speed, not measured; `sdk probe` measures here"
    elif not is_plain_lora(settings):
        factor, basis = SPEED_ELSEWHERE, f"{kind_name(settings)} was counted in the engine, and not measured yet"
    elif is_held_against(hardware):
        errors = architecture_errors(shape)
        kind = "this architecture" if errors.measured else "other architectures, not of this one"
        factor, basis = max(SPEED_MEASURED, errors.speed), f"held against runs on {HELD_AGAINST} of {kind}"
    else:
        factor, basis = SPEED_ELSEWHERE, f"scaled from {HELD_AGAINST} by data sheets, not measured on this GPU"
    tokens = filled.tokens * settings.gradient_accumulation_steps * settings.gpus / seconds
    steps = _steps(settings, needs, filled)
    hours = None if steps is None else steps * seconds / 3600
    gpus = settings.gpus
    return Speed(
        tokens_per_second=Range(low=tokens / factor, expected=tokens, high=tokens * factor),
        step_seconds=seconds,
        hours=None if hours is None else Range(low=hours / factor, expected=hours, high=hours * factor),
        steps=steps,
        kwh=None if hours is None or hardware.power_w is None else hours * gpus * hardware.power_w / 1000,
        cost=None if hours is None or needs.price_per_hour is None else hours * gpus * needs.price_per_hour,
        basis=basis,
    )


def _steps(settings: TrainSettings, needs: Needs, filled: MicroBatch) -> int | None:
    if settings.max_steps > 0:
        return settings.max_steps
    rows = needs.rows or (needs.lengths.rows if needs.lengths else None)
    if rows is None:
        return None
    in_step = filled.rows * settings.gradient_accumulation_steps * settings.gpus
    return max(1, math.ceil(rows * settings.num_train_epochs / in_step))
