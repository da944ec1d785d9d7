"""advise(): from a model's shape, a machine and a need to settings that fit, every one with its reason.

1. The need gives an order of methods.
2. The first method for which some rank, batch and checkpointing fit into memory is taken; the fastest that fits.
3. If nothing fits, the leanest settings are returned with fits=False and what would have to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sdk.advise.catalogue import gpus
from sdk.advise.memory import available_gib, estimate, parameters
from sdk.advise.recipe import HIGH_RANK, Choice, largest_batch, learning_settings, ranks, wants_accuracy
from sdk.records import (
    Accuracy,
    Advice,
    Alternative,
    ApplicationType,
    Hardware,
    Memory,
    Method,
    ModelShape,
    Needs,
    TrainSettings,
)

# Beyond this many tokens in one pass little speed is gained (8B in 4 bits on one H200: 15,438 tokens/s at 8k, 16,194
# at 16k).
TOKENS_IN_ONE_PASS = 16_384
# Below, a GPU idles between kernels: recomputing in a larger batch is then faster than keeping activations.
TOKENS_WORTH_KEEPING = 4_096
SHORTER_LENGTHS = (8192, 4096, 2048, 1024, 512, 256, 128)

# MMLU that practitioners are told to expect: this project's founding document.
MMLU: dict[Method, float] = {"lora": 0.785, "qlora-4bit": 0.762, "qlora-8bit": 0.771}
LEANEST: Method = "qlora-4bit"
NAMES: dict[Method, str] = {"lora": "16-bit LoRA", "qlora-4bit": "QLoRA-4bit", "qlora-8bit": "QLoRA-8bit"}

# First choice, then what to fall back to; every list ends with the leanest.
BY_ACCURACY: dict[Accuracy, tuple[tuple[Method, ...], str]] = {
    "highest": (("lora", "qlora-8bit", "qlora-4bit"), "highest accuracy asks for an unquantized base"),
    "high": (("lora", "qlora-4bit"), "high accuracy asks for an unquantized base, else a high rank on 4 bits"),
    "balanced": (("qlora-4bit",), "balanced accuracy: 4 bits at a high rank come near 16-bit LoRA at half the memory"),
    "economy": (("qlora-4bit",), "economy asks for the least memory"),
}  # fmt: skip
BY_APPLICATION: dict[ApplicationType, tuple[tuple[Method, ...], str]] = {
    "high_performance": (("lora", "qlora-8bit", "qlora-4bit"), "high performance asks for an unquantized base"),
    "cost_efficient": (("qlora-4bit",), "cost efficiency asks for the least memory"),
    "resource_constrained": (("qlora-8bit", "qlora-4bit"), "the rule of thumb for edge devices is 8 bits"),
    "rapid_development": (("lora", "qlora-4bit"), "rapid development asks for the fastest steps, and 4 bits cost time"),
}  # fmt: skip


class _Fit(NamedTuple):
    settings: TrainSettings
    reasons: dict[str, str]
    memory: Memory


def advise(shape: ModelShape, hardware: Hardware, needs: Needs) -> Advice:
    """The method and the settings to train `shape` with; the accuracy need outweighs the application type.

    Without either, balanced accuracy is meant. `fits` says whether the predicted peak stays below `available_gib`.
    """
    room = available_gib(hardware)
    order, why = _order(shape, hardware, needs)
    found = {method: _fitting(shape, hardware, needs, method) for method in NAMES}
    method: Method = next((m for m in order if found[m].memory.total <= room), LEANEST)
    settings, reasons, memory = found[method]
    fits = memory.total <= room
    reasons = {"method": _method_reason(method, order, why, found, room), **reasons}
    return Advice(
        shape=shape,
        hardware=hardware,
        needs=needs,
        settings=settings,
        reasons={field: reasons[field] for field in TrainSettings.model_fields if field in reasons},
        memory=memory,
        available_gib=room,
        fits=fits,
        alternatives=tuple(
            _alternative(other, method, found[other].memory.total, room) for other in NAMES if other != method
        ),
        notes=(
            *_notes(shape, hardware, needs, settings),
            *(() if fits else _would_fit(shape, hardware, found[method], room)),
        ),
    )


def _order(shape: ModelShape, hardware: Hardware, needs: Needs) -> tuple[tuple[Method, ...], str]:
    if needs.accuracy is None and needs.application_type is not None:
        return BY_APPLICATION[needs.application_type]
    accuracy = needs.accuracy or "balanced"
    order, why = BY_ACCURACY[accuracy]
    if accuracy == "balanced":
        settings, _, memory = _fitting(shape, hardware, needs, "lora")
        if memory.total <= available_gib(hardware) and not settings.gradient_checkpointing:
            return ("lora",), "balanced accuracy: 16-bit LoRA fits at full speed, so 4 bits would save nothing"
    return order, why


def _fitting(shape: ModelShape, hardware: Hardware, needs: Needs, method: Method) -> _Fit:
    """The fastest settings of a method that fit; the leanest where none does."""
    room = available_gib(hardware)
    for choice in _choices(shape, hardware, needs, method):
        settings, reasons = learning_settings(shape, needs, choice)
        fit = _Fit(settings, reasons, estimate(shape, settings, hardware))
        if fit.memory.total <= room:
            return fit
    return fit


def _choices(shape: ModelShape, hardware: Hardware, needs: Needs, method: Method) -> Iterator[Choice]:
    """Highest rank first; in a rank, activations kept before recomputed and large batches before small ones."""
    length = min(needs.max_length, shape.max_position_embeddings)
    for rank in ranks(shape, hardware, needs, method):
        largest = largest_batch(shape, method, rank)
        halved = [largest >> halvings for halvings in range(largest.bit_length())]
        batches = [batch for batch in halved if batch * length <= TOKENS_IN_ONE_PASS] or [1]
        for batch in batches:
            if batch == batches[0] or batch * length >= TOKENS_WORTH_KEEPING or not hardware.gpu_count:
                yield Choice(method, rank, batch, checkpointing=False)
        for batch in batches:
            yield Choice(method, rank, batch, checkpointing=True)


def _method_reason(method: Method, order: tuple[Method, ...], why: str, found: dict[Method, _Fit], room: float) -> str:
    skipped = list(order[: order.index(method)]) if method in order else list(order)
    if not skipped:
        return f"{why[0].upper()}{why[1:]}."
    needed = ", ".join(f"{NAMES[other]} needs {found[other].memory.total:.1f} GiB" for other in skipped)
    return f"{why[0].upper()}{why[1:]}; but {needed} and {room:.1f} can be used."


def _alternative(other: Method, taken: Method, needed: float, room: float) -> Alternative:
    if needed > room:
        reason = f"needs {needed:.1f} GiB at its leanest, {room:.1f} can be used"
    elif MMLU[other] < MMLU[taken]:
        reason = f"less accurate: MMLU {MMLU[other]} against {MMLU[taken]} with {NAMES[taken]}"
    else:
        reason = f"more accurate (MMLU {MMLU[other]} against {MMLU[taken]}), but its base weights take more memory"
    return Alternative(method=other, memory_gib=needed, fits=needed <= room, reason=reason)


def _notes(shape: ModelShape, hardware: Hardware, needs: Needs, settings: TrainSettings) -> Iterator[str]:
    if settings.method == "qlora-8bit":
        yield (
            "8 bits are beaten by 4 on memory and on speed (8B on one H200, 16k tokens a pass: 78.4 against 75.2 GiB, "
            "15,695 against 16,194 tokens/s; 16 bits take 84.9 GiB at 16,506; measured with python "
            "tests/benchmarks/training.py ours-8bit ours-4bit ours-16bit); consider qlora-4bit."
        )
    kept_low = needs.lora_r is not None and needs.lora_r < HIGH_RANK
    if settings.method == "qlora-4bit" and kept_low and wants_accuracy(needs):
        yield f"The domain's rank is kept; on 4 bits a rank of {HIGH_RANK} or more comes nearer to 16-bit LoRA."
    if not hardware.gpu_count:
        yield "No GPU: training runs on the CPU in float32 and takes the machine's memory."
    elif not hardware.bf16:
        yield "This GPU has no bfloat16: products are computed in float16 with a scaled loss, which is less stable."
    if hardware.gpu_count > 1:
        yield f"One of the {hardware.gpu_count} GPUs is used."
    if needs.max_length > shape.max_position_embeddings:
        yield f"{shape.name} takes {shape.max_position_embeddings} tokens; longer rows are refused, not cut."
    if needs.accuracy and needs.application_type:
        yield f"The accuracy need ({needs.accuracy}) outweighs the application type ({needs.application_type})."


def _would_fit(shape: ModelShape, hardware: Hardware, leanest: _Fit, room: float) -> Iterator[str]:
    """The smallest changes after which the leanest settings fit, each on its own."""
    settings, _, memory = leanest
    needed = f"{NAMES[settings.method]} in batches of one row needs {memory.total:.1f} GiB"
    yield f"Nothing fits: {needed}, {room:.1f} can be used."
    for length in (length for length in SHORTER_LENGTHS if length < settings.max_length):
        shorter = settings.model_copy(update={"max_length": length})
        if estimate(shape, shorter, hardware).total <= room:
            yield f"Rows of at most {length} tokens would fit."
            break
    if not hardware.gpu_count:
        yield "More memory, or a GPU, would do."
    enough = [gpu for gpu in gpus() if estimate(shape, settings, gpu).total <= available_gib(gpu)]
    if enough:
        smallest = min(enough, key=lambda gpu: gpu.gpu_memory_gib)
        yield f"A GPU with {smallest.gpu_memory_gib:g} GiB would do, e.g. {smallest.gpu}."
    share = memory.weights / parameters(shape)
    billions = max(0.0, room - (memory.total - memory.weights)) / share / 1e9 if share else 0.0
    if billions >= 0.1:
        yield f"A model of at most some {billions:.1f} billion parameters would fit."
