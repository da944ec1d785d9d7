"""Why not the others, what would flip the choice, and what to know besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from sdk.advise.accuracy import allowed_loss, expected_accuracy
from sdk.advise.candidates import LEANEST, Candidate, Search
from sdk.advise.layers import expert_parameters, parameters
from sdk.advise.memory import CUDA_CONTEXT_GIB, GPU_USABLE, RAM_USABLE, estimate
from sdk.advise.predict import is_held_against, predict, room
from sdk.advise.recipe import HIGH_RANK, usual_rank, wants_accuracy
from sdk.hardware import gpus
from sdk.records import Accuracy, Alternative, Hardware, Method, ModelShape, Needs, Pilot, TrainSettings

NAMES: dict[Method, str] = {
    "lora": "16-bit LoRA",
    "qlora-4bit": "QLoRA-4bit",
    "qlora-8bit": "QLoRA-8bit",
    "lora-fp8": "LoRA on 8-bit floats",
}
SHORTER_LENGTHS = (8192, 4096, 2048, 1024, 512, 256, 128)
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
    elif speed < speed_taken * 0.995:
        reason = f"{1 - speed / speed_taken:.0%} slower"
    elif memory > taken.prediction.memory.total:
        reason = f"takes {memory - taken.prediction.memory.total:.1f} GiB more"
    else:
        reason = f"a rank of {rank} where {taken.settings.lora_r} fits"
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


def flips(
    search: Search, found: Sequence[Candidate], taken: Candidate, choose: Callable[[Needs], Candidate]
) -> tuple[str, ...]:
    """The nearest change of each kind that another choice would follow from."""
    said = [*_by_need(search.needs, taken, choose), *_by_memory(search, found, taken)]
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


def _by_memory(search: Search, found: Sequence[Candidate], taken: Candidate) -> Iterator[str]:
    hardware = search.hardware
    for candidate in found:
        if not candidate.fits and candidate.method != taken.method:
            needed = _card_of(candidate.prediction.memory_high.total, hardware)
            yield f"{NAMES[candidate.method]} would fit from {needed:.0f} GiB{_each(hardware)} on."
    leanest = _leanest(search, taken)
    least = _card_of(leanest, hardware)
    if taken.fits and least < (hardware.gpu_memory_gib if hardware.gpu_count else hardware.ram_gib):
        yield f"Below {least:.1f} GiB{_each(hardware)} {NAMES[taken.method]} would no longer fit, however lean."


def _leanest(search: Search, taken: Candidate) -> float:
    """GiB at worst of the method in the leanest settings of its rank."""
    settings = _lean(search.shape, search.hardware, taken.settings)
    return predict(search.shape, settings, search.hardware, search.needs, search.calibration).memory_high.total


def _lean(shape: ModelShape, hardware: Hardware, settings: TrainSettings) -> TrainSettings:
    saving = {"offload_embeddings": not shape.tie_word_embeddings, "activation_offloading": True}
    return settings.model_copy(
        update={
            "per_device_train_batch_size": 1,
            "packing": False,
            "gradient_checkpointing": True,
            "checkpointed_layers": None,
            **(saving if hardware.gpu_count else {}),
        }
    )


def _card_of(gib: float, hardware: Hardware) -> float:
    """Memory of a card, or of a machine, in which so much can be used."""
    return gib / GPU_USABLE + CUDA_CONTEXT_GIB if hardware.gpu_count else gib / RAM_USABLE


def _each(hardware: Hardware) -> str:
    return " a GPU" if hardware.gpu_count > 1 else ""


def _by_length(search: Search, taken: Candidate) -> Iterator[str]:
    """How long rows may become, in steps of doubling, until the method no longer fits."""
    shape, hardware = search.shape, search.hardware
    most = min(LONGEST_ASKED, shape.max_position_embeddings)
    settings, length = _lean(shape, hardware, taken.settings), taken.settings.max_length
    while length < most:
        longer = settings.model_copy(update={"max_length": min(2 * length, most)})
        if estimate(shape, longer, hardware).total > room(hardware, longer):
            yield f"With rows of {longer.max_length:,} tokens {NAMES[taken.method]} would no longer fit."
            return
        length = longer.max_length


# -- what to know besides --------------------------------------------------------------------------------------------


def notes(search: Search, found: Sequence[Candidate], taken: Candidate) -> Iterator[str]:
    shape, hardware, needs, settings = search.shape, search.hardware, search.needs, taken.settings
    yield from _about_8_bits(found, taken)
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
    yield from _about_hardware(hardware, settings)
    if needs.max_length > shape.max_position_embeddings:
        yield f"{shape.name} takes {shape.max_position_embeddings} tokens; longer rows are refused, not cut."
    if needs.lengths is not None and not needs.lengths.exact:
        yield "The base's tokenizer is not here, so bytes bound the rows' tokens: rows are shorter than assumed."
    if needs.accuracy and needs.application_type:
        yield f"The accuracy need ({needs.accuracy}) outweighs the application type ({needs.application_type})."


def _about_8_bits(found: Sequence[Candidate], taken: Candidate) -> Iterator[str]:
    if taken.method != "qlora-8bit":
        return
    others = {candidate.method: candidate for candidate in found}
    four = others.get(LEANEST)
    if four is None:
        return
    mine, theirs = taken.prediction, four.prediction
    yield (
        f"8 bits are beaten by 4 on memory and on speed: here {mine.memory.total:.1f} against "
        f"{theirs.memory.total:.1f} GiB and {mine.relative_speed / theirs.relative_speed:.2f} times their tokens/s "
        "(measured on 8B on one H200, 16k tokens a pass: 78.4 against 75.2 GiB, 15,695 against 16,194 tokens/s; python "
        "tests/benchmarks/training.py ours-8bit ours-4bit). They are the best answer only where less may be lost than "
        "4 bits lose, 16 bits do not fit, and the GPU has no 8-bit floats."
    )


def _against_the_rule(found: Sequence[Candidate], taken: Candidate, needs: Needs) -> Iterator[str]:
    """Where the founding rule of thumb decided and these predictions, held against measured runs, say otherwise."""
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
        leaner = min(fitting, key=lambda candidate: candidate.prediction.memory.total)
        if leaner.prediction.memory.weights < mine.memory.weights:
            yield (
                f"The rule of thumb is contradicted: {NAMES[leaner.method]} has {leaner.prediction.memory.weights:.1f} "
                f"GiB of weights, {NAMES[taken.method]} {mine.memory.weights:.1f}."
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
        yield "Products in bfloat16, adapters and AdamW's moments in float32 (fused AdamW, no weight decay)."
    if hardware.gpu_count > settings.gpus:
        yield f"{settings.gpus} of the {hardware.gpu_count} GPUs are used, so that a step's rows divide evenly."
    if hardware.gpu and not is_held_against(hardware):
        yield "Predictions were held against an NVIDIA H200; `sdk advise --probe` measures on this machine."


# -- nothing fits ----------------------------------------------------------------------------------------------------


def would_fit(search: Search, taken: Candidate) -> Iterator[str]:
    """The smallest changes after which the leanest settings fit, each on its own."""
    shape, hardware = search.shape, search.hardware
    settings, available = _lean(shape, hardware, taken.settings), taken.room
    memory = estimate(shape, settings, hardware)
    if not taken.may_fit:
        yield (
            f"Nothing fits: {NAMES[settings.method]} in batches of one row needs {memory.total:.1f} GiB, "
            f"{available:.1f} can be used."
        )
    for length in (length for length in SHORTER_LENGTHS if length < settings.max_length):
        if estimate(shape, settings.model_copy(update={"max_length": length}), hardware).total <= available:
            yield f"Rows of at most {length} tokens would fit."
            break
    if not hardware.gpu_count:
        yield "More memory, or a GPU, would do."
    enough = [
        gpu
        for gpu in gpus()
        if gpu.backend == "cuda" and "MIG" not in str(gpu.gpu) and "4bit" in gpu.bitsandbytes
        if gpu.gpu_memory_gib > available
        and predict(shape, settings, gpu, search.needs).memory_high.total <= room(gpu, settings)
    ]
    if enough:
        smallest = min(enough, key=lambda gpu: gpu.gpu_memory_gib)
        yield f"A GPU with {smallest.gpu_memory_gib:g} GiB would do, e.g. {smallest.gpu}."
    share = memory.weights / parameters(shape)
    billions = max(0.0, available - (memory.total - memory.weights)) / share / 1e9 if share else 0.0
    if billions >= 0.1:
        yield f"A model of at most some {billions:.1f} billion parameters would fit."
