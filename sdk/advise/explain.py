"""Why not the others, what would flip the choice, and what to know besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from sdk.advise.accuracy import allowed_loss, expected_accuracy
from sdk.advise.candidates import LEANEST, Candidate, Search
from sdk.advise.host_memory import host_gib
from sdk.advise.layers import expert_parameters, parameters
from sdk.advise.memory import CUDA_CONTEXT_GIB, GPU_USABLE, NCCL_GIB, RAM_USABLE, available_gib
from sdk.advise.predict import is_held_against
from sdk.advise.recipe import HIGH_RANK, usual_rank, wants_accuracy
from sdk.advise.reliability import architecture_errors
from sdk.hardware import gpus
from sdk.records import FUSED, Accuracy, Alternative, Hardware, Method, ModelShape, Needs, Pilot, TrainSettings
from sdk.wording import counted

NAMES: dict[Method, str] = {
    "lora": "16-bit LoRA",
    "qlora-4bit": "QLoRA-4bit",
    "qlora-8bit": "QLoRA-8bit",
    "lora-fp8": "LoRA on 8-bit floats",
}
SHORTER_LENGTHS = (65_536, 32_768, 16_384, 8192, 4096, 2048, 1024, 512, 256, 128)
LONGEST_ASKED = 1 << 17  # tokens


def alternatives(
    found: Sequence[Candidate], taken: Candidate, needs: Needs, shape: ModelShape, pilot: Pilot | None
) -> tuple[Alternative, ...]:
    return tuple(_alternative(candidate, taken, needs, shape, pilot) for candidate in found if candidate is not taken)


def _alternative(
    candidate: Candidate, taken: Candidate, needs: Needs, shape: ModelShape, pilot: Pilot | None
) -> Alternative:
    rank, memory = candidate.settings.lora_r, candidate.prediction.memory.total
    accuracy = expected_accuracy(shape, candidate.method, rank, needs, pilot)
    speed, speed_taken = candidate.prediction.relative_speed, taken.prediction.relative_speed
    allowed = allowed_loss(needs)
    hours = candidate.prediction.speed.hours if candidate.prediction.speed else None
    if not candidate.fits:
        worst = candidate.prediction.memory_high.total
        reason = f"needs {worst:.1f} GiB at worst in its leanest settings, {candidate.room:.1f} can be used"
    elif hours is not None and needs.deadline_hours is not None and hours.high > needs.deadline_hours:
        reason = f"takes up to {hours.high:.1f} h, the deadline is {needs.deadline_hours:g} h"
    elif allowed is not None and accuracy.meets_need is not True:
        may = "may lose" if accuracy.meets_need is None else "loses"
        reason = f"{may} {accuracy.loss:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%}), {allowed:.1%} is allowed"
    elif speed < speed_taken:
        reason = f"{100 * (1 - speed / speed_taken):.2g}% slower"
    elif memory > taken.prediction.memory.total:
        reason = f"takes {memory - taken.prediction.memory.total:.1f} GiB more"
    elif candidate.method == taken.method:
        reason = f"a rank of {rank} where {taken.settings.lora_r} fits"
    else:
        reason = f"{speed / speed_taken:.2f} times as fast in {memory:.1f} GiB, but it is not what was asked for"
    known = candidate.prediction.speed
    return Alternative(
        method=candidate.method,
        lora_r=rank,
        memory_gib=memory,
        fits=candidate.fits,
        tokens_per_second=known.tokens_per_second.expected if known else None,
        loss=accuracy.loss,
        reason=reason,
    )


# -- what would flip the choice --------------------------------------------------------------------------------------


def flips(search: Search, taken: Candidate, choose: Callable[[Needs], Candidate]) -> tuple[str, ...]:
    """Return the nearest change of each kind after which another choice would follow."""
    said = [*_by_need(search.needs, taken, choose), *_by_memory(search, taken)]
    if taken.fits:
        said += _by_length(search, taken)
    return tuple(said)


def _by_need(needs: Needs, taken: Candidate, choose: Callable[[Needs], Candidate]) -> Iterator[str]:
    for accuracy in get_args(Accuracy):
        if accuracy == needs.accuracy:
            continue
        asked = needs.model_copy(update={"accuracy": accuracy, "max_loss": None, "application_type": None})
        other = choose(asked)
        if other.method != taken.method:
            yield f"Accuracy {accuracy} would take {NAMES[other.method]} (rank {other.settings.lora_r})."


def _by_memory(search: Search, taken: Candidate) -> Iterator[str]:
    hardware = search.hardware
    for method in search.methods():
        leanest = search.leanest(method)
        least = _card_of(leanest.prediction.memory_high.total, hardware, leanest.settings.gpus)
        if method != taken.method and not leanest.fits:
            yield f"{NAMES[method]} would fit from {math.ceil(least)} GiB{_each(hardware)} on."
        elif method == taken.method and taken.fits:
            least = math.floor(10 * least) / 10
            yield f"Below {least:.1f} GiB{_each(hardware)} {NAMES[method]} would no longer fit, however lean."


def _card_of(gib: float, hardware: Hardware, count: int) -> float:
    """Return the memory of a card, or of a machine, in which so much can be used: the inverse of available_gib."""
    if not hardware.gpu_count:
        return gib / RAM_USABLE
    return gib / GPU_USABLE + CUDA_CONTEXT_GIB + (NCCL_GIB if count > 1 else 0)


def _each(hardware: Hardware) -> str:
    return " a GPU" if hardware.gpu_count > 1 else ""


def _by_length(search: Search, taken: Candidate) -> Iterator[str]:
    """Return how long rows may become, in steps of doubling, until the method no longer fits."""
    most = min(LONGEST_ASKED, search.shape.max_position_embeddings)
    length = taken.settings.max_length
    while length < most:
        length = min(2 * length, most)
        if not _with_rows_of(search, length).leanest(taken.method).fits:
            yield f"With rows of {length:,} tokens {NAMES[taken.method]} would no longer fit."
            return


def _with_rows_of(search: Search, length: int) -> Search:
    return search._replace(needs=search.needs.model_copy(update={"max_length": length, "lengths": None}))


# -- what to know besides --------------------------------------------------------------------------------------------


def notes(search: Search, found: Sequence[Candidate], taken: Candidate) -> Iterator[str]:
    shape, hardware, needs, settings = search.shape, search.hardware, search.needs, taken.settings
    yield from _about_8_bits(search, found, taken)
    yield from _against_the_rule(found, taken, needs)
    kept_low = needs.lora_r is not None and needs.lora_r < HIGH_RANK
    if settings.method == LEANEST and kept_low and wants_accuracy(needs):
        yield f"The domain's rank is kept; on 4 bits a rank of {HIGH_RANK} or more comes nearer to 16-bit LoRA."
    if settings.method == LEANEST and settings.lora_r > usual_rank(shape):
        yield (
            f"A rank of {settings.lora_r} on 4 bits takes {taken.prediction.memory.total:.1f} GiB; the founding "
            "document brings QLoRA to LoRA's level so: rank up to 32 at 24 GB and 64 at 48 GB, learning rate 5e-5 to "
            "1e-4, 50 to 100 % more steps."
        )
    if expert_parameters(shape):
        yield (
            "Routed experts stay in 16 bits whatever the method, and carry no adapters: they are no linear layers to "
            "bitsandbytes and PEFT."
        )
    yield from shape.approximations
    yield from _about_architecture(shape, hardware)
    yield from _about_hardware(hardware, settings)
    if needs.max_length > shape.max_position_embeddings:
        yield f"{shape.name} takes {shape.max_position_embeddings} tokens; longer rows are refused, not cut."
    if needs.lengths is not None and not needs.lengths.exact:
        yield "The base's tokenizer is not here, so bytes bound the rows' tokens: rows are shorter than assumed."
    yield from _about_rows(needs)
    host = host_gib(settings, hardware, needs, taken.prediction.memory)
    if needs.rows and host:
        yield f"All processes of the training are expected to have {host:.2f} GiB resident at most, rows included."
    if needs.accuracy and needs.application_type:
        yield f"The accuracy need ({needs.accuracy}) outweighs the application type ({needs.application_type})."


def _about_rows(needs: Needs) -> Iterator[str]:
    lengths = needs.lengths
    if lengths is None or lengths.sampled is None:
        return
    off = f", off by at most {100 * lengths.error:.2g} % in 95 of 100 such samples" if lengths.error else ""
    yield (
        f"{lengths.sampled:,} of {counted(lengths.rows, 'row')} were measured, the longest and others by lot: "
        f"{lengths.total:,} tokens in all are an estimate{off}. The longest are those of most bytes; a row of more "
        "tokens than max_length is named when training reads it."
    )


def _about_8_bits(search: Search, found: Sequence[Candidate], taken: Candidate) -> Iterator[str]:
    others = [candidate for candidate in found if candidate.method == LEANEST]
    if taken.method != "qlora-8bit" or not others:
        return
    eight, four = (search.leanest(method).prediction.memory.total for method in (taken.method, LEANEST))
    speed = taken.prediction.relative_speed / max(candidate.prediction.relative_speed for candidate in others)
    yield (
        f"8 bits are beaten by 4 on memory{' and on speed' if speed < 1 else ''}: here {eight:.1f} against {four:.1f} "
        f"GiB at their leanest, with {speed:.2f} times the tokens/s (measured on 8B on one H200, 16k tokens a pass: "
        "78.4 against 75.2 GiB, 15,695 against 16,194 tokens/s; python tests/benchmarks/training.py ours-8bit "
        "ours-4bit). They are the best answer only where less may be lost than 4 bits lose, 16 bits do not fit, and "
        "the GPU has no 8-bit floats."
    )


def _against_the_rule(found: Sequence[Candidate], taken: Candidate, needs: Needs) -> Iterator[str]:
    """Say where the founding rule of thumb decided and predictions that measured runs confirm disagree."""
    if needs.accuracy is not None or needs.max_loss is not None or needs.application_type is None:
        return
    fitting = [candidate for candidate in found if candidate.fits and candidate.method != taken.method]
    mine = taken.prediction
    if needs.application_type == "rapid_development" and fitting:
        fastest = max(fitting, key=lambda candidate: candidate.prediction.relative_speed)
        gain = fastest.prediction.relative_speed / mine.relative_speed
        if gain > 1.02:
            yield f"The rule of thumb is contradicted: {NAMES[fastest.method]} is {gain:.2f} times as fast here."
    if needs.application_type in ("cost_efficient", "resource_constrained") and fitting:
        leaner = min(fitting, key=lambda candidate: candidate.prediction.memory.weights)
        if leaner.prediction.memory.weights < mine.memory.weights:
            yield (
                f"The rule of thumb is contradicted: {NAMES[leaner.method]} has {leaner.prediction.memory.weights:.1f} "
                f"GiB of weights, {NAMES[taken.method]} {mine.memory.weights:.1f}."
            )


def _about_architecture(shape: ModelShape, hardware: Hardware) -> Iterator[str]:
    errors = architecture_errors(shape)
    if hardware.gpu_count and not errors.measured:
        yield (
            f"No run of the architecture {shape.model_type!r} was measured. For others, what was predicted in the same "
            f"way beside the weights was up to {errors.too_low:.0%} too low and {errors.too_high:.0%} too high: the "
            "band is as wide. `sdk probe` measures this one."
        )


def _about_hardware(hardware: Hardware, settings: TrainSettings) -> Iterator[str]:
    if not hardware.gpu_count:
        yield "No GPU: training runs on the CPU in float32 and takes the machine's memory."
        return
    if hardware.backend == "rocm":
        yield "The engine was never run on AMD GPUs; torch's builds for them take the same calls."
    if not hardware.bf16:
        yield "This GPU has no bfloat16: products are computed in float16 with a scaled loss, which is less stable."
    else:
        kind = "fused" if settings.optim == FUSED else "paged"
        yield f"Products in bfloat16, adapters and AdamW's moments in float32 ({kind} AdamW, no weight decay)."
    if hardware.gpu_count > settings.gpus:
        yield f"{settings.gpus} of the {hardware.gpu_count} GPUs are used, so that a step's rows divide evenly."
    if hardware.gpu and not is_held_against(hardware):
        yield "Predictions were held against an NVIDIA H200; `sdk probe` measures on this machine."


# -- nothing fits ----------------------------------------------------------------------------------------------------


def would_fit(search: Search, taken: Candidate) -> Iterator[str]:
    """Return the smallest changes after which something fits, each on its own."""
    memory, available = taken.prediction.memory, taken.room
    if not taken.may_fit:
        yield (
            f"Nothing fits: {NAMES[taken.method]} in its leanest settings needs {memory.total:.1f} GiB, "
            f"{available:.1f} can be used."
        )
    for length in (length for length in SHORTER_LENGTHS if length < taken.settings.max_length):
        if _with_rows_of(search, length).anything_fits():
            yield f"Rows of at most {length} tokens would fit."
            break
    if not search.hardware.gpu_count:
        yield "More memory, or a GPU, would do."
    enough = _smallest_gpu(search)
    if enough is not None:
        yield f"A GPU with {enough.gpu_memory_gib:g} GiB would do, e.g. {enough.gpu}."
    share = memory.weights / parameters(search.shape)
    billions = max(0.0, available - (memory.total - memory.weights)) / share / 1e9 if share else 0.0
    if billions >= 0.1:
        yield f"A model of at most some {billions:.1f} billion parameters would fit."


def _smallest_gpu(search: Search) -> Hardware | None:
    """Find the smallest whole GPU that the engine was made for and that suffices on its own."""
    whole = [gpu for gpu in gpus() if gpu.backend == "cuda" and "MIG" not in str(gpu.gpu)]
    needed: dict[tuple[Method, ...], float] = {}  # with the same methods only the band depends on the card
    for gpu in sorted(whole, key=lambda gpu: gpu.gpu_memory_gib):
        there = Search(search.shape, gpu, search.needs)
        methods = there.methods()
        if available_gib(gpu) >= needed.get(methods, 0.0):
            leanest = [there.leanest(method) for method in methods]
            if any(candidate.fits for candidate in leanest):
                return gpu
            needed[methods] = min(candidate.prediction.memory.total for candidate in leanest)
    return None
