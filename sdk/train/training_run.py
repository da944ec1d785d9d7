"""train(): scrubbed rows and a base model in, an adapter and its Run out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from sdk.crypto import Secret
from sdk.data import Row
from sdk.data.canaries import is_canary
from sdk.errors import InvalidInput, StepFailed
from sdk.files.store import SPOOL, file_ref, write_atomic
from sdk.hardware import cpu_cores
from sdk.model import Base, Chat, PinnedBase, base_name, learned, pin_base
from sdk.model.kept_layers import kept_layers
from sdk.model.load import load_base
from sdk.model.row_encoder import EncodingSetup, RowEncoder
from sdk.model.token_rows import TokenRows
from sdk.packing import one_row_at_a_time
from sdk.records import MORE_STEPS, PROMPTS, Hardware, LossPoint, OnProgress, Run, TrainSettings, canonical_json, sha256
from sdk.train.adapter_init import export_adapter, initialize_adapter
from sdk.train.batching import Batches, continued, micro_batches
from sdk.train.callbacks import add_callbacks
from sdk.train.checkpoints import Checkpoints
from sdk.train.engine import use_row_attention
from sdk.train.engine.fp8 import to_fp8
from sdk.train.failures import failures, memory_of_steps
from sdk.train.job import Job
from sdk.train.loss_spikes import find_spikes, with_rows
from sdk.train.methods import check_settings, peft_config
from sdk.train.peak_memory import PeakMemory
from sdk.train.process_group import is_main, processes_here, seed_apart
from sdk.train.saving import saving
from sdk.train.session import PACKAGES, Earlier, Session, find_start
from sdk.train.shard import Shards, load_sharded, recompute_all
from sdk.train.splitting import split_batches
from sdk.train.trainer import Collator, Trainer
from sdk.train.training_state import trained_parameters
from sdk.train.trl_arguments import precision_notes
from sdk.train.validation import Validation, held_out
from sdk.train.watch import Watch

_FORMAT = 1  # of checkpoints
_RECORDED_PACKAGES = (*PACKAGES, "safetensors", "tokenizers")


def train_here(job: Job, on_progress: OnProgress) -> Run | None:
    """Do launch.train() in this process, alone or as one of several; None where another one writes the result.

    Raises MemoryRanOut where smaller micro-batches could help.
    """
    settings, out, adapter = job.settings, job.out, job.adapter
    began = time.monotonic()
    check_settings(settings)
    with failures(settings), PeakMemory() as memory:
        # Before the adapter is built, because its first weights are drawn then.
        set_seed(settings.seed)
        base = pin_base(job.base)
        model, tokenizer, shards = load(base, settings)
        chat = Chat(tokenizer)
        rows, held = _encoded(job, model, chat, on_progress)
        session = _session(job, base, memory, began)
        session.notes += chat.notes
        # A learned prompt stands before each row, so rows cannot lie one behind the other.
        by_rows = settings.peft_type not in PROMPTS and use_row_attention(model)
        plan = _plan(rows.lengths, job, session, by_rows)
        collator = Collator(rows, by_rows)
        watch = Watch(plan.tokens, plan.pairs, memory, on_progress, job.checkpoint_seconds, out / SPOOL)
        callbacks: list[TrainerCallback] = [watch] if shards is None else [watch, shards]
        trainer = make_trainer(
            model, tokenizer, plan.settings, plan.batches, len(plan.tokens), collator, session, callbacks
        )
        start = initialize_adapter(trainer.model, settings, base, adapter)
        validation = add_callbacks(trainer, plan.settings, held, by_rows, plan.steps_per_epoch)
        seed_apart(settings.seed)
        with memory_of_steps(plan.divisible):
            _run(trainer)
        if validation:
            validation.restore_best()
        if not is_main():
            return None
        config, weights = export_adapter(trainer.model, job.base_name or base_name(job.base), start)
        write_atomic(out / "adapter" / "adapter_config.json", config)
        write_atomic(out / "adapter" / "adapter_model.safetensors", weights)
    template = chat.training_template or base.template
    together = plan.settings.gradient_accumulation_steps * plan.settings.gpus
    spikes = with_rows(find_spikes(_losses(trainer)), job, plan.batches, together, rows.places)
    return _result(job, trainer, plan.tokens, validation, len(held)).model_copy(
        update={
            "training_template": None if template is None else sha256(template.encode()),
            "spikes": spikes,
        }
    )


def _encoded(job: Job, model: PreTrainedModel, chat: Chat, on_progress: OnProgress) -> tuple[TokenRows, TokenRows]:
    """Return the job's rows as tokens: those to train on, and those that are held out."""
    settings = job.settings
    length = min(settings.max_length, getattr(model.config, "max_position_embeddings", settings.max_length))
    setup = EncodingSetup(job.prompt, length, learned(settings), max(1, cpu_cores() // processes_here()))
    planted = set()
    with RowEncoder(chat, setup, job.out, on_progress) as encoder:

        def take(row: Row) -> None:
            if is_canary(row.id):
                planted.add(encoder.count)
            encoder.add(row)

        job.each_row(take)
        rows = encoder.rows()
    held = held_out(rows.places, settings, planted)
    return rows.take(~held), rows.take(held)


def _result(job: Job, trainer: Trainer, tokens: NDArray[np.int64], validation: Validation | None, held: int) -> Run:
    """Return the record of the finished run, without the predictions and the hardware, which training does not know.

    tokens: of the rows in each optimizer step.
    """
    steps, spent, out = trainer.state.global_step, trainer.position(), job.out
    return Run(
        settings=job.settings,
        base=job.base_name or base_name(job.base),
        adapter=tuple(file_ref(path, out) for path in sorted((out / "adapter").glob("adapter_*"))),
        trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        steps=steps,
        losses=_losses(trainer),
        validation=tuple(validation.points) if validation else (),
        validation_rows=held,
        best_step=validation.best_step if validation else None,
        seconds=spent.seconds,
        tokens_per_second=int(tokens[:steps].sum()) / spent.training_seconds,
        memory_predicted_gib=0.0,
        memory_measured_gib=spent.memory_gib,
        hardware=Hardware(),
        resumed_from_step=trainer.session.step,
        notes=spent.notes,
        versions={"python": platform.python_version(), **{name: version(name) for name in _RECORDED_PACKAGES}},
    )


def load(base: Base, settings: TrainSettings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Shards | None]:
    """Load the base in its method's precision, and its tokenizer."""
    if settings.shard_base:
        return load_sharded(base, settings)
    model, tokenizer = load_base(base, settings)
    if settings.method == "lora-fp8":
        to_fp8(model, kept_layers(model, settings))
    return model, tokenizer, None


def _session(job: Job, base: PinnedBase, memory: PeakMemory, began: float) -> Session:
    made_from: list[Any] = [job.data_digest, base.digest, job.prompt]
    made_from += [job.adapter[0], sha256(job.adapter[1])] if job.adapter else []
    checkpoints = _checkpoints(job.out, made_from, job.settings, job.secret)
    source = _checkpoints(job.earlier.folder, made_from, job.earlier.settings, job.secret) if job.earlier else None
    session = Session(job.out, checkpoints, find_start(checkpoints, source), memory, began)
    session.notes += precision_notes()
    return session


class _Plan(NamedTuple):
    """Which rows go together, and the settings for that; tokens and pairs of tokens in each optimizer step."""

    batches: Batches
    settings: TrainSettings
    divisible: bool
    tokens: NDArray[np.int64]
    pairs: NDArray[np.int64]
    steps_per_epoch: int


def _plan(lengths: NDArray[np.int32], job: Job, session: Session, by_rows: bool) -> _Plan:
    running = job.settings if by_rows else one_row_at_a_time(job.settings)
    if running != job.settings:
        session.notes.append("Rows went through the model one by one: model or adapter cannot keep several apart.")
    batches = micro_batches(lengths, running)
    if job.earlier:
        batches = _continued(batches, lengths, running, job.earlier, session)
    passes = len(batches.rows) / len(lengths)
    batches, running, divisible, notes = split_batches(batches, lengths, running, job.halvings)
    session.notes += notes
    if running.shard_base:
        running, notes = recompute_all(running)
        session.notes += notes
    sizes = np.append(lengths.astype(np.int64), 0)  # the filler's tokens do not count
    tokens, pairs = (_sums_per_step(values, batches, running) for values in (sizes, sizes * sizes))
    return _Plan(batches, running, divisible, tokens, pairs, max(1, round(len(tokens) / passes)))


def _run(trainer: Trainer) -> None:
    """Train to the end and leave the last checkpoint. StepFailed where a check does not hold."""
    before = _base_hash(trainer.model)
    initial = {name: value.clone() for name, value in trained_parameters(trainer.model).items()}
    with saving(trainer):
        trainer.train()
    if _base_hash(trainer.model) != before:
        trainer.session.checkpoints.remove()
        raise StepFailed("The base's weights changed while the adapter was trained; nothing was kept.")
    # those of the calls before this one too, where the run was interrupted
    steps = sum(point.learning_rate > 0 for point in _losses(trainer))
    if not steps:
        trainer.session.notes.append(
            "Nothing was learned: warm-up took the whole run, with a learning rate of 0 in its first step. Train for "
            "more steps, or with warmup_ratio 0."
        )
    still = [
        name
        for name, value in trainer.model.named_parameters()
        if name in initial and _must_move(name, initial, steps) and torch.equal(value, initial[name])
    ]
    if still:
        raise StepFailed(
            f"{len(still)} of {len(initial)} adapter matrices did not move; raise the learning rate or the steps.",
            still,
        )
    if trainer.args.should_save:
        trainer.session.checkpoints.keep_newest()


def _must_move(name: str, initial: Mapping[str, torch.Tensor], steps: int) -> bool:
    """Tell whether so many steps with a learning rate above 0 must have changed a parameter.

    initial: what all of them began with. The gradient of LoRA's A is a product with B, so where B begins at zero, the
    first step moves B alone.
    """
    if "lora_E" in name:  # AdaLoRA's singular values begin at zero, and those of a rank that it cuts end there
        return False
    waits = "lora_A" in name and not initial[name.replace("lora_A", "lora_B")].any()
    return steps > (1 if waits else 0)


def make_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: TrainSettings,
    batches: Batches,
    steps: int,
    collator: Collator,
    session: Session,
    callbacks: list[TrainerCallback],
) -> Trainer:
    """Build the trainer. batches: numbers of the collator's rows in each pass; steps: optimizer steps that they are."""
    return Trainer(
        settings,
        session,
        model=model,
        processing_class=tokenizer,
        # Numbers of rows: the tokens of customers' text stay in the collator and go into no cache.
        train_dataset=Dataset(pyarrow.table({"input_ids": _as_lists(batches)})),
        data_collator=collator,
        peft_config=peft_config(model, settings, steps),
        callbacks=callbacks,
    )


def _as_lists(batches: Batches) -> Any:
    return pyarrow.LargeListArray.from_arrays(np.append(batches.starts, batches.ends[-1:]), batches.rows)


def _continued(
    batches: Batches, lengths: NDArray[np.int32], settings: TrainSettings, earlier: Earlier, session: Session
) -> Batches:
    more = {name: getattr(earlier.settings, name) for name in MORE_STEPS}
    before = micro_batches(lengths, settings.model_copy(update=more))
    together = settings.gradient_accumulation_steps * settings.gpus
    if len(batches) <= len(before):
        raise InvalidInput(
            f"The run to go on from has {-(-len(before) // together)} steps already; give a higher max_steps or "
            "num_train_epochs."
        )
    joined = continued(before, batches, together)
    if joined != batches:
        session.notes.append(
            "The earlier run's last rows were put together otherwise than in one run of this length, so the adapter is "
            "not that of one run of this length."
        )
    return joined


def _sums_per_step(values: NDArray[np.int64], batches: Batches, settings: TrainSettings) -> NDArray[np.int64]:
    """Sum the values of the rows in each optimizer step."""
    size = settings.gradient_accumulation_steps * settings.gpus
    return np.add.reduceat(batches.sums(values), np.arange(0, len(batches), size))


def _base_hash(model: torch.nn.Module) -> str:
    """Hash everything that is not trained; of a quantized base its packed weights and their scales."""
    digest = hashlib.sha256()
    adapter = trained_parameters(model)
    for name, value in sorted(model.state_dict().items()):
        if name in adapter or not isinstance(value, torch.Tensor):
            continue
        digest.update(name.encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _checkpoints(folder: Path, made_from: list[Any], settings: TrainSettings, secret: Secret | None) -> Checkpoints:
    """Open the folder's checkpoints, keyed by what one must share with a run that goes on from it."""
    key = [_FORMAT, made_from, settings.model_dump(mode="json"), secret.key_id if secret else None]
    return Checkpoints(folder / "checkpoints", sha256(canonical_json(key)), secret)


def _losses(trainer: Trainer) -> tuple[LossPoint, ...]:
    return tuple(
        LossPoint(step=entry["step"], loss=entry["loss"], learning_rate=entry["learning_rate"])
        for entry in trainer.state.log_history
        if "loss" in entry
    )
