"""train(): scrubbed rows and a base model in, an adapter and its Run out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from sdk.data import read_rows
from sdk.errors import StepFailed
from sdk.model import (
    Chat,
    adapter_config,
    adapter_weights,
    base_digest,
    base_name,
    encode_rows,
    fetch_base,
    load_base,
)
from sdk.records import Hardware, LossPoint, OnProgress, Run, TrainSettings, canonical_json, sha256
from sdk.store import SPOOL, file_ref, write_atomic
from sdk.train.checkpoints import Checkpoints
from sdk.train.divide import divided, filler
from sdk.train.engine import use_row_attention
from sdk.train.failures import failures, memory_of_steps
from sdk.train.memory import PeakMemory
from sdk.train.methods import peft_config
from sdk.train.order import micro_batches, one_row_at_a_time
from sdk.train.shard import Shards, load_sharded, recompute_all
from sdk.train.trainer import Collator, Trainer
from sdk.train.watch import Watch
from sdk.train.world import is_main, seed_apart

_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers")


def train_here(
    data: Path,
    base: str,
    prompt: str,
    settings: TrainSettings,
    memory_predicted_gib: float,
    hardware: Hardware,
    out: Path,
    on_progress: OnProgress,
    checkpoint_seconds: float = 15.0,
    halvings: int = 0,
) -> Run | None:
    """launch.train() in this process, alone or as one of several; None where another one writes the result.

    halvings: how often micro-batches are divided in two parts. MemoryRanOut where another time could help.
    """
    began = time.monotonic()
    with failures(settings), PeakMemory() as memory:
        # Before the adapter is built, because its first weights are drawn then.
        set_seed(settings.seed)
        folder = fetch_base(base)
        if settings.shard_base:
            model, tokenizer, shards = load_sharded(base, settings.method)
        else:
            model, tokenizer = load_base(base, settings.method)
            shards = None
        length = min(settings.max_length, getattr(model.config, "max_position_embeddings", settings.max_length))
        rows = encode_rows(Chat(tokenizer), read_rows(data).rows, prompt, length)
        key = _key(data, base_digest(folder), prompt, settings)
        checkpoints = Checkpoints(out / "checkpoints", key)
        lengths = [len(row.input_ids) for row in rows]
        by_rows = use_row_attention(model)
        running = settings if by_rows else one_row_at_a_time(settings)
        batches, running, further, notes = divided(micro_batches(lengths, running), lengths, running, halvings)
        rows.append(filler(rows))
        if shards is not None:
            running, said = recompute_all(running)
            notes += said
        lengths.append(0)  # the filler's do not count
        tokens = _sums_per_step(lengths, batches, running)
        pairs = _sums_per_step([length * length for length in lengths], batches, running)
        watch = Watch(tokens, pairs, memory, on_progress, checkpoint_seconds, out / SPOOL)
        trainer = _trainer(model, tokenizer, batches, Collator(rows, by_rows), running, checkpoints, watch, shards)
        seed_apart(settings.seed)
        with memory_of_steps(further):
            resumed, seconds = _run(trainer, checkpoints)
        if not is_main():
            return None
        write_atomic(out / "adapter" / "adapter_config.json", adapter_config(trainer.model, base_name(base)))
        write_atomic(out / "adapter" / "adapter_model.safetensors", adapter_weights(trainer.model))
    steps = trainer.state.global_step
    run = Run(
        settings=settings,
        base=base_name(base),
        adapter=tuple(file_ref(path, out) for path in sorted((out / "adapter").glob("adapter_*"))),
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        steps=steps,
        losses=_losses(trainer),
        seconds=time.monotonic() - began,
        tokens_per_second=sum(tokens[resumed:steps]) / seconds if seconds else 0.0,
        memory_predicted_gib=memory_predicted_gib,
        memory_measured_gib=max(memory.gib, 0.0),
        hardware=hardware,
        resumed_from_step=resumed,
        notes=(*notes, *trainer.notes),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )
    checkpoints.remove()
    return run


def _run(trainer: Trainer, checkpoints: Checkpoints) -> tuple[int, float]:
    """Train to the end; the step it went on from and the seconds it took. StepFailed where a check does not hold."""
    before = _base_hash(trainer.model)
    initial = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    checkpoint = checkpoints.newest()
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    if _base_hash(trainer.model) != before:
        raise StepFailed("The base's weights changed while the adapter was trained; nothing was kept.")
    still = [
        name
        for name, value in trainer.model.named_parameters()
        if name in initial and torch.equal(value, initial[name])
    ]
    if still:
        raise StepFailed(
            f"{len(still)} of {len(initial)} adapter matrices did not move; raise the learning rate or the steps.",
            still,
        )
    return int(checkpoint.name) if checkpoint else 0, seconds


def _trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batches: Sequence[Sequence[int]],
    collator: Collator,
    settings: TrainSettings,
    checkpoints: Checkpoints,
    watch: Watch,
    shards: Shards | None,
) -> Trainer:
    return Trainer(
        settings,
        checkpoints,
        model=model,
        processing_class=tokenizer,
        # Numbers of rows: the tokens of customers' text stay in the collator and go into no cache.
        train_dataset=Dataset.from_dict({"input_ids": batches}),
        data_collator=collator,
        peft_config=peft_config(model, settings),
        callbacks=[watch] if shards is None else [watch, shards],
    )


def _sums_per_step(values: Sequence[int], batches: Sequence[Sequence[int]], settings: TrainSettings) -> list[int]:
    """The values of the rows in each optimizer step, summed."""
    size = settings.gradient_accumulation_steps * settings.gpus
    sums = [sum(values[row] for row in batch) for batch in batches]
    return [sum(sums[start : start + size]) for start in range(0, len(sums), size)]


def _base_hash(model: torch.nn.Module) -> str:
    """SHA-256 of everything but the adapter; for a quantized base of its packed weights and their scales."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if "lora_" in name or not isinstance(value, torch.Tensor):
            continue
        digest.update(name.encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _key(data: Path, base: str, prompt: str, settings: TrainSettings) -> str:
    """What a checkpoint must share with a run that goes on from it."""
    given = [sha256(data.read_bytes()), base, prompt, settings.model_dump(mode="json"), version("torch")]
    return sha256(canonical_json(given))


def _losses(trainer: Trainer) -> tuple[LossPoint, ...]:
    return tuple(
        LossPoint(step=entry["step"], loss=entry["loss"], learning_rate=entry["learning_rate"])
        for entry in trainer.state.log_history
        if "loss" in entry
    )
