"""How to learn, once it is known what fits: rank, learning rate, batch, epochs and the rest, each with its reason.

[QLoRA]: arXiv 2305.14314, tables 9 and 10. [FT]: this project's founding document: QLoRA comes to LoRA's level with a
higher rank (32 at 24 GB, 64 at 48 GB), a learning rate of 5e-5 to 1e-4, 8 to 16 accumulation steps and 50 to 100 % more
steps.

Running text, continued pre-training: [LF]: Biderman et al. 2024, "LoRA Learns Less and Forgets Less", arXiv 2405.09673:
rank 256 comes nearest to full fine-tuning, on all linear layers; its full fine-tuning takes 1e-5. [DC]: Muennighoff et
al. 2023, "Scaling Data-Constrained Language Models", arXiv 2305.16264: up to four passes are nearly as good as new
text. [DAPT]: Gururangan et al. 2020, "Don't Stop Pretraining", arXiv 2004.10964: one pass over a domain's corpus, many
over the little text of a task.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from sdk.advise.layers import parameters
from sdk.records import Hardware, Method, ModelShape, Needs, TrainSettings

# Measured on the embedded base (its model card); other models of this size are taken to be like it.
TINY_PARAMETERS = 100_000_000
TINY_LEARNING_RATE = 6e-3
TINY_STEPS = 450  # exact match was level by then; 316 gave .67 in finance where 474 gave .78 to .83
TINY_EPOCHS = 12.0  # where the number of rows is not known
TINY_LORA_R = 32

LARGE_PARAMETERS = 15_000_000_000  # [QLoRA] changes its learning rate between the 13B and the 33B class
LORA_R = 16
MIN_LORA_R = 8
ALPHA_BY_R = 2  # the usual scale with adapters on all linear layers
LORA_DROPOUT = 0.05  # [QLoRA] for 33B and 65B; 0.1 below, which short runs do not need
LEARNING_RATE = 2e-4  # [QLoRA] up to 13B; some ten times that of full fine-tuning
LARGE_LEARNING_RATE = 1e-4  # [QLoRA] 33B and 65B
HIGH_RANK_BY_GIB = ((44.0, 64), (21.5, 32))  # [FT]; cards sold with 48 and 24 GB have somewhat less
HIGH_RANK = 32
HIGH_RANK_LEARNING_RATE = 1e-4  # [FT]
HIGH_RANK_LARGE_LEARNING_RATE = 5e-5  # [FT]
HIGH_RANK_STEPS = 1.5  # [FT]
ROWS_PER_STEP = 16  # [QLoRA] up to 33B
WARMUP_RATIO = 0.03  # [QLoRA]
EPOCHS, FEW_ROWS_EPOCHS, MANY_ROWS_EPOCHS = 3.0, 5.0, 1.0
FEW_ROWS, MANY_ROWS = 1_000, 50_000
SEED = 42
TEXT_LORA_R = 256  # [LF]
LITTLE_TEXT_LORA_R = 64  # of ours: a quarter, since so little text does not fill more
LITTLE_TEXT, MUCH_TEXT = 1_000_000, 10_000_000  # tokens
TEXT_LEARNING_RATE = 1e-4  # ten times [LF]'s of full fine-tuning; what is known already is kept better than at 2e-4
TEXT_LARGE_LEARNING_RATE = 5e-5
LITTLE_TEXT_EPOCHS, SOME_TEXT_EPOCHS, MUCH_TEXT_EPOCHS = 4.0, 2.0, 1.0  # [DC], [DAPT]
TINY_TEXT_LEARNING_RATE = 2e-3

Reasoned = dict[str, tuple[Any, str]]  # field of TrainSettings -> (value, reason)


class Choice(NamedTuple):
    """What decides memory and speed. recomputed: layers; None: all, 0: none."""

    method: Method
    lora_r: int
    batch: int
    accumulation: int
    recomputed: int | None = 0
    packing: bool = False
    offload_embeddings: bool = False
    offload_activations: bool = False
    page_moments: bool = False
    gpus: int = 1
    shard_base: bool = False


def is_tiny(shape: ModelShape) -> bool:
    return parameters(shape) < TINY_PARAMETERS


def wants_accuracy(needs: Needs) -> bool:
    if needs.accuracy is not None:
        return needs.accuracy != "economy"
    return needs.application_type in (None, "high_performance")


def ranks(shape: ModelShape, hardware: Hardware, needs: Needs, method: Method) -> list[int]:
    """Return the ranks to try, best first; the domain's own is not changed."""
    if needs.lora_r is not None:
        return [needs.lora_r]
    best = usual_rank(shape)
    if texts := _texts(needs):
        best = LITTLE_TEXT_LORA_R if is_tiny(shape) or texts < MUCH_TEXT else TEXT_LORA_R
    elif method == "qlora-4bit" and not is_tiny(shape):
        best = max([HIGH_RANK, *(rank for gib, rank in HIGH_RANK_BY_GIB if hardware.gpu_memory_gib >= gib)])
    return [best >> halvings for halvings in range(10) if best >> halvings >= MIN_LORA_R]


def _texts(needs: Needs) -> int:
    """Return the tokens of running text, where most of what is trained is that; else 0."""
    return needs.lengths.texts or 0 if needs.lengths and needs.lengths.mostly_texts else 0


def usual_rank(shape: ModelShape) -> int:
    return TINY_LORA_R if is_tiny(shape) else LORA_R


def learning_settings(shape: ModelShape, needs: Needs, choice: Choice) -> tuple[TrainSettings, dict[str, str]]:
    """Return the settings, and the reasons of all fields but the method."""
    reasoned = {
        **_adapter(shape, needs, choice),
        **_rate(shape, needs, choice),
        **_duration(shape, needs, choice),
        **_batches(shape, needs, choice),
        "seed": (SEED, "Fixed, so that the same data and settings give the same adapter."),
    }
    settings = TrainSettings(method=choice.method, **{field: value for field, (value, _) in reasoned.items()})
    return settings, {field: reason for field, (_, reason) in reasoned.items()}


def _high_rank(shape: ModelShape, method: Method, lora_r: int) -> bool:
    return method == "qlora-4bit" and lora_r >= HIGH_RANK and not is_tiny(shape)


def _adapter(shape: ModelShape, needs: Needs, choice: Choice) -> Reasoned:
    domain = f"The domain's starting value: {needs.adapter_reason or 'no reason given'}"
    if needs.lora_r is not None:
        rank_reason = domain
    elif texts := _texts(needs):
        rank_reason = (
            f"New knowledge takes more room than a form of answers: rank {TEXT_LORA_R} came nearest to full "
            "fine-tuning in continued pre-training (Biderman et al. 2024, arXiv 2405.09673)"
            + ("" if texts >= MUCH_TEXT else f"; a quarter of it for less than {MUCH_TEXT:,} tokens")
            + (f"; {choice.lora_r} because more does not fit." if choice.lora_r < LITTLE_TEXT_LORA_R else ".")
        )
    elif _high_rank(shape, choice.method, choice.lora_r):
        rank_reason = "A high rank brings QLoRA near LoRA's accuracy; this GPU has the memory for it."
    elif is_tiny(shape):
        rank_reason = "A tiny base knows little, so its adapter has to hold more."
    else:
        rank_reason = f"{LORA_R} is enough for most domains" + (
            "." if choice.lora_r == LORA_R else f"; {choice.lora_r} because more does not fit."
        )
    return {
        **_kind(needs, choice),
        "lora_r": (choice.lora_r, rank_reason),
        "lora_alpha": (needs.lora_alpha, domain)
        if needs.lora_alpha is not None
        else (ALPHA_BY_R * choice.lora_r, f"{ALPHA_BY_R} × rank, the usual scale with adapters on all linear layers."),
        "lora_dropout": (needs.lora_dropout, domain)
        if needs.lora_dropout is not None
        else (0.0, "DoRA's dropout acts on the frozen weights' products too, which makes twice as many of them.")
        if needs.use_dora
        else (LORA_DROPOUT, "A little dropout keeps few rows from being learned by heart."),
        "target_modules": (
            "all-linear",
            "All but the MLPs: routed experts are no linear layers, and PEFT would copy all of them in each layer."
            if shape.num_experts
            else "Adapters on attention alone stay below full fine-tuning (QLoRA paper).",
        ),
    }


def _kind(needs: Needs, choice: Choice) -> Reasoned:
    """Return the kind of adapter, where one was asked for."""
    asked: Reasoned = {}
    if needs.peft_type not in (None, "lora"):
        asked["peft_type"] = (needs.peft_type, "As asked for.")
    if needs.peft_type == "adalora":
        asked["target_r"] = (max(1, choice.lora_r * 2 // 3), "Ranks begin half as high again as they are to end.")
    if needs.use_dora:
        asked["use_dora"] = (True, "As asked for.")
    return asked


def _rate(shape: ModelShape, needs: Needs, choice: Choice) -> Reasoned:
    large = parameters(shape) >= LARGE_PARAMETERS
    if _texts(needs) and is_tiny(shape):
        rate, why = (
            TINY_TEXT_LEARNING_RATE,
            "A third of that for answers, since every token is learned; our own choice, tried and not compared.",
        )
    elif _texts(needs):
        rate = TEXT_LARGE_LEARNING_RATE if large else TEXT_LEARNING_RATE
        why = (
            "Ten times the 1e-5 of full fine-tuning in continued pre-training (Biderman et al. 2024, arXiv "
            "2405.09673), half above 15B; higher rates forget more."
        )
    elif is_tiny(shape):
        rate, why = (
            TINY_LEARNING_RATE,
            "Tiny models need, and take, a high rate; chosen by measurement on the embedded base.",
        )
    elif _high_rank(shape, choice.method, choice.lora_r):
        rate = HIGH_RANK_LARGE_LEARNING_RATE if large else HIGH_RANK_LEARNING_RATE
        why = "A high rank on a quantized base is trained gently: 5e-5 to 1e-4, less for large models."
    else:
        rate = LARGE_LEARNING_RATE if large else LEARNING_RATE
        why = "Some ten times that of full fine-tuning; the QLoRA paper takes 2e-4 up to 13B and 1e-4 above."
    return {
        "learning_rate": (rate, why),
        "lr_scheduler_type": (
            "linear" if is_tiny(shape) else "cosine",
            "Ends near zero, so the last steps settle whatever the length of the run.",
        ),
        "warmup_ratio": (WARMUP_RATIO, "AdamW's moments are unreliable in the first steps; the QLoRA paper takes 3 %."),
    }


def _duration(shape: ModelShape, needs: Needs, choice: Choice) -> Reasoned:
    if texts := _texts(needs):
        epochs, how_much = next(
            each
            for most, each in (
                (LITTLE_TEXT, (LITTLE_TEXT_EPOCHS, f"Of less than {LITTLE_TEXT:,} tokens")),
                (MUCH_TEXT, (SOME_TEXT_EPOCHS, f"Of less than {MUCH_TEXT:,} tokens")),
                (math.inf, (MUCH_TEXT_EPOCHS, f"Of {MUCH_TEXT:,} tokens or more")),
            )
            if texts < most
        )
        why = (
            f"{how_much}: much text is read once (Gururangan et al. 2020, arXiv 2004.10964), and up to four passes "
            "over little are nearly as good as new text (Muennighoff et al. 2023, arXiv 2305.16264)."
        )
        return {"num_train_epochs": (epochs, why), "max_steps": (-1, "The epochs decide.")}
    if is_tiny(shape):
        epochs = math.ceil(TINY_STEPS * ROWS_PER_STEP / needs.rows) if needs.rows else TINY_EPOCHS
        why = f"A tiny base learns the domain from scratch: some {TINY_STEPS} steps."
    elif needs.rows is not None and needs.rows < FEW_ROWS:
        epochs, why = FEW_ROWS_EPOCHS, f"Fewer than {FEW_ROWS:,} rows give few steps in each pass."
    elif needs.rows is not None and needs.rows > MANY_ROWS:
        epochs, why = MANY_ROWS_EPOCHS, f"More than {MANY_ROWS:,} rows are learned in one pass."
    else:
        epochs, why = EPOCHS, "Three passes are the usual length for instruction data; more begin to learn it by heart."
    if _high_rank(shape, choice.method, choice.lora_r):
        epochs, why = epochs * HIGH_RANK_STEPS, f"{why} Half as many again, because the rate is low."
    return {"num_train_epochs": (float(epochs), why), "max_steps": (-1, "The epochs decide.")}


def _batches(shape: ModelShape, needs: Needs, choice: Choice) -> Reasoned:
    length = min(needs.max_length, shape.max_position_embeddings)
    passes = f"{choice.accumulation} pass{'es' if choice.accumulation > 1 else ''}"
    if choice.gpus > 1:
        passes += f" of each of {choice.gpus} GPUs"
    if choice.packing:
        rows = f"Passes filled to {choice.batch * length:,} tokens hold about {ROWS_PER_STEP} rows in {passes}."
    else:
        rows = f"{choice.batch * choice.accumulation * choice.gpus} rows in one optimizer step, in {passes}."
    if _high_rank(shape, choice.method, choice.lora_r):
        rows += " The founding document's 8 to 16 accumulation steps give as many; fewer, larger passes are faster."
    reasoned: Reasoned = {
        "per_device_train_batch_size": (
            choice.batch,
            "The fastest of the sizes that fit" + ("; more tokens a pass gain little." if choice.batch > 1 else "."),
        ),
        "gradient_accumulation_steps": (choice.accumulation, rows),
        "packing": (
            choice.packing,
            "Rows differ in length; filled passes are fewer and all alike."
            if choice.packing
            else "Rows stand one behind the other without padding, so filling passes further would gain little.",
        ),
        **_recomputing(shape, choice),
        "max_length": (length, _length_reason(needs, length)),
    }
    if choice.gpus > 1:
        shared = "the frozen base is split over them" if choice.shard_base else "each has the whole frozen base"
        reasoned["gpus"] = (choice.gpus, f"Each GPU takes its share of a step's rows; {shared}.")
        reasoned["shard_base"] = (
            choice.shard_base,
            "The base does not fit one GPU."
            if choice.shard_base
            else "The base fits each GPU, and whole it is faster.",
        )
    return reasoned


def _length_reason(needs: Needs, length: int) -> str:
    if _texts(needs):
        return "Running text is cut to pieces of this length; every token but the first of a text is learned."
    return "The longest row asked for." if length == needs.max_length else "The model's limit."


def _recomputing(shape: ModelShape, choice: Choice) -> Reasoned:
    layers, recomputed = shape.num_hidden_layers, choice.recomputed
    if recomputed == 0:
        why = "All activations fit, so nothing has to be computed twice."
    elif recomputed is None:
        why = "Activations would not fit; computing them again costs up to half of the matrix work once more."
    else:
        why = f"The activations of {layers - recomputed} of {layers} layers fit; the others are computed again."
    reasoned: Reasoned = {"gradient_checkpointing": (recomputed != 0, why)}
    if recomputed:
        reasoned["checkpointed_layers"] = (
            recomputed,
            f"{recomputed} of {layers} layers: no more than memory asks for.",
        )
    if choice.offload_embeddings:
        reasoned["offload_embeddings"] = (
            True,
            "Frozen input embeddings need not be on the GPU; looking rows up takes up to a tenth of the speed.",
        )
    if choice.offload_activations:
        reasoned["activation_offloading"] = (True, "What is kept between layers waits in the host's memory.")
    if choice.page_moments:
        reasoned["optim"] = (
            "paged_adamw_32bit",
            "AdamW's moments would not fit beside the peak of a pass; those of large matrices wait in the host's "
            "memory, and come page by page.",
        )
    return reasoned
