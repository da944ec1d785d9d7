"""advise(): from a model's shape, a machine and a need to settings that fit, every one with its reason.

1. Every method that the hardware can is brought into its fastest settings that fit (sdk/advise/candidates.py).
2. Of those that fit and meet the deadline, the ones that are expected to meet the need for accuracy remain; where none
   does, those of which the evidence cannot say; else the one that loses least.
3. The fastest of them is taken, or of those that are nearly as fast the one that loses least, or, where economy is
   asked for, the leanest. An application type without a need for accuracy takes the founding document's first method
   that fits, and the notes say where measurements contradict it.
4. If nothing fits, the leanest settings are returned with fits=False and what would have to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdk.advise.accuracy import allowed_loss, expected_accuracy
from sdk.advise.adapters import is_plain_lora
from sdk.advise.candidates import Candidate, Search
from sdk.advise.explain import NAMES, alternatives, flips, notes, would_fit
from sdk.advise.full import full_finetuning
from sdk.advise.held import QUANTIZED_BYTES
from sdk.advise.host_memory import host_gib
from sdk.advise.memory import device_gib
from sdk.advise.reliability import reliability
from sdk.records import (
    Accuracy,
    Advice,
    ApplicationType,
    Calibration,
    ExpectedAccuracy,
    Hardware,
    Method,
    ModelShape,
    Needs,
    Pilot,
    TrainSettings,
)

WHO_CAN_SAY = "Publications do not settle it for your task; `sdk pilot` measures it on your own rows."
OF_LORA = (
    "Rank, learning rate and expected accuracy are those of LoRA; of this kind of adapter `sdk pilot` or a run with "
    "held-out rows tells more."
)
CLOSE = 0.95  # of the fastest's tokens/s: predictions are no nearer, so what loses less is worth more
USUAL_ACCURACY: Accuracy = "balanced"  # where nothing is asked for
# The founding document's rule of thumb: first choice, then what to fall back to.
BY_APPLICATION: dict[ApplicationType, tuple[tuple[Method, ...], str]] = {
    "high_performance": (("lora", "qlora-8bit", "qlora-4bit"), "the rule of thumb for the highest accuracy is LoRA"),
    "cost_efficient": (("qlora-4bit",), "the rule of thumb for low cost is QLoRA-4bit"),
    "resource_constrained": (("qlora-8bit", "qlora-4bit"), "the rule of thumb for edge devices is QLoRA-8bit"),
    "rapid_development": (("lora", "qlora-4bit"), "the rule of thumb for rapid development is LoRA"),
}


class Chosen(NamedTuple):
    candidate: Candidate
    accuracy: ExpectedAccuracy
    why: str


def advise(
    shape: ModelShape,
    hardware: Hardware,
    needs: Needs,
    calibration: Calibration | None = None,
    pilot: Pilot | None = None,
) -> Advice:
    """Choose method and settings to train `shape` with; the accuracy need outweighs the application type.

    Without either, balanced accuracy is meant. calibration: of this base on this hardware; pilot: of this base on the
    user's rows; both outweigh what is only predicted.
    """
    if needs.accuracy is None and needs.application_type is None and needs.max_loss is None:
        needs = needs.model_copy(update={"accuracy": USUAL_ACCURACY})
    asked, hardware = hardware, trained_on(hardware)
    search = Search(shape, hardware, needs, calibration)
    candidates = search.candidates()
    candidate, accuracy, why = choose(candidates, needs, shape, pilot)
    prediction, settings = candidate.prediction, candidate.settings
    reasons = {"method": f"{why[0].upper()}{why[1:]}.", **candidate.reasons}
    return Advice(
        shape=shape,
        hardware=hardware,
        needs=needs,
        settings=settings,
        reasons={field: reasons[field] for field in TrainSettings.model_fields if field in reasons},
        memory=prediction.memory,
        memory_low=prediction.memory_low,
        memory_high=prediction.memory_high,
        device_gib=device_gib(prediction.memory, hardware, settings.gpus),
        available_gib=candidate.room,
        fits=candidate.fits,
        uncertain=candidate.may_fit and not candidate.fits,
        reliability=reliability(settings, hardware) if is_plain_lora(settings) else (),
        speed=prediction.speed,
        accuracy=accuracy,
        needs_met=candidate.fits and accuracy.meets_need is True and meets_deadline(candidate, needs),
        alternatives=alternatives(candidates, candidate, needs, shape, pilot),
        full_finetuning=full_finetuning(search, candidate),
        flips=flips(search, candidate, lambda other: choose(candidates, other, shape, pilot).candidate),
        notes=(
            *(() if hardware == asked else (f"The engine trains on CUDA GPUs and on CPUs, not on {asked.gpu}.",)),
            *notes(search, candidates, candidate),
            *(() if is_plain_lora(settings) else (OF_LORA,)),
            *(() if accuracy.meets_need else (WHO_CAN_SAY,)),
            *(() if candidate.fits else would_fit(search, candidate)),
        ),
        host_gib=host_gib(settings, hardware, needs, prediction.memory),
    )


def trained_on(hardware: Hardware) -> Hardware:
    """Return the part of the hardware that the engine uses: without kernels for the GPU, the CPU and its memory."""
    if hardware.backend in ("cuda", "rocm") or not hardware.gpu_count:
        return hardware
    # Apple's memory is one for both.
    ram = hardware.gpu_memory_gib if hardware.backend == "mps" else hardware.ram_gib
    return hardware.model_copy(update={"gpu_count": 0, "gpu_memory_gib": 0.0, "ram_gib": ram})


def choose(candidates: Sequence[Candidate], needs: Needs, shape: ModelShape, pilot: Pilot | None) -> Chosen:
    expected = {
        id(candidate): expected_accuracy(shape, candidate.method, candidate.settings.lora_r, needs, pilot)
        for candidate in candidates
    }
    fitting = [candidate for candidate in candidates if candidate.fits] or [each for each in candidates if each.may_fit]
    if not fitting:
        leanest = min(candidates, key=lambda candidate: candidate.prediction.memory.total)
        return Chosen(leanest, expected[id(leanest)], "nothing fits; these settings take the least memory")
    in_time = [candidate for candidate in fitting if meets_deadline(candidate, needs)]
    late = "" if in_time else "; none meets the deadline"
    pool = in_time or fitting
    if needs.accuracy is None and needs.max_loss is None and needs.application_type is not None:
        taken, why = _by_application(pool, needs.application_type)
    else:
        taken, why = _by_accuracy(pool, needs, lambda candidate: expected[id(candidate)])
    missing = _missing(candidates, fitting, taken)
    return Chosen(taken, expected[id(taken)], f"{why}{missing}{late}")


def meets_deadline(candidate: Candidate, needs: Needs) -> bool:
    speed = candidate.prediction.speed
    if needs.deadline_hours is None:
        return True
    return speed is not None and speed.hours is not None and speed.hours.high <= needs.deadline_hours


def _by_application(pool: Sequence[Candidate], application: ApplicationType) -> tuple[Candidate, str]:
    order, why = BY_APPLICATION[application]
    for method in order:
        ranked = [candidate for candidate in pool if candidate.method == method]
        if ranked:
            return ranked[0], why
    return min(pool, key=lambda candidate: candidate.prediction.memory.total), f"{why}, which does not fit"


def _by_accuracy(
    pool: Sequence[Candidate], needs: Needs, expected: Callable[[Candidate], ExpectedAccuracy]
) -> tuple[Candidate, str]:
    need = _stated(needs)
    if needs.accuracy == "economy" and needs.max_loss is None:
        taken = min(pool, key=lambda candidate: (QUANTIZED_BYTES.get(candidate.method, 2.0), -_speed(candidate)))
        return taken, f"{need} asks for the least memory, and {NAMES[taken.method]} takes the least for a weight here"
    sure = [candidate for candidate in pool if expected(candidate).meets_need]
    if sure:
        fastest = max(sure, key=_speed)
        close = [candidate for candidate in sure if _speed(candidate) >= CLOSE * _speed(fastest)]
        taken = min(close, key=lambda candidate: (expected(candidate).loss, -_speed(candidate)))
        if len(sure) == 1:
            return taken, f"{need}: the only one that fits and is expected to meet it"
        among = "the fastest" if taken is fastest else f"within {1 - CLOSE:.0%} of the fastest, and losing least,"
        return taken, f"{need}: {among} of {len(sure)} that fit and are expected to meet it"
    unsure = [candidate for candidate in pool if expected(candidate).meets_need is None]
    taken = min(unsure or pool, key=lambda candidate: (expected(candidate).loss, -_speed(candidate)))
    said = "of those that fit none surely meets it, and this one may" if unsure else "none of those that fit meets it"
    return taken, f"{need}: {said}; it loses least, {expected(taken).loss:.1%} expected"


def _stated(needs: Needs) -> str:
    if needs.max_loss is not None:
        return f"a loss of at most {needs.max_loss:.1%}"
    allowed = allowed_loss(needs)
    limit = "" if allowed is None else f" (at most {allowed:.1%} of 16-bit LoRA's score lost)"
    return f"{needs.accuracy} accuracy{limit}" if needs.accuracy != "economy" else "economy"


def _missing(candidates: Sequence[Candidate], fitting: Sequence[Candidate], taken: Candidate) -> str:
    too_large = [candidate for candidate in candidates if candidate not in fitting and candidate.method != taken.method]
    if not too_large:
        return ""
    needed = ", ".join(
        f"{NAMES[candidate.method]} needs {candidate.prediction.memory.total:.1f}" for candidate in too_large
    )
    return f"; {needed} of {taken.room:.1f} GiB that can be used"


def _speed(candidate: Candidate) -> float:
    return candidate.prediction.relative_speed
