"""trl's arguments from ours."""

from __future__ import annotations

from pathlib import Path

import torch
from trl import SFTConfig

from sdk.records import TrainSettings

# Share of the peak learning rate at which cosine_with_min_lr ends.
_LOWEST = 0.1


def precision_notes() -> tuple[str, ...]:
    """Return what to know of a GPU without bfloat16."""
    if not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False):
        return ()
    return (
        f"{torch.cuda.get_device_name()} has no bfloat16, so training computed in float16 with a scaled loss; its "
        "range is smaller, and steps whose gradients overflow are left out.",
    )


def sft_config(folder: Path, settings: TrainSettings) -> SFTConfig:
    """Return trl's arguments: the run's own, nothing that reports, cuts, evaluates or talks to a hub."""
    gpu = torch.cuda.is_available()
    bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    config = SFTConfig(
        output_dir=str(folder),
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        num_train_epochs=1,
        optim=settings.optim,
        dataloader_num_workers=0,
        dataloader_pin_memory=gpu,
        use_cpu=not gpu,
        ddp_find_unused_parameters=False,
        bf16=bf16,
        fp16=gpu and not bf16,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        lr_scheduler_kwargs={"min_lr_rate": _LOWEST} if settings.lr_scheduler_type == "cosine_with_min_lr" else {},
        warmup_steps=settings.warmup_ratio,
        max_steps=settings.max_steps,
        per_device_train_batch_size=1,  # an item is a micro-batch already
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        activation_checkpointing=False,  # the engine does it, layer by layer
        activation_offloading=settings.activation_offloading,
        router_aux_loss_coef=0.0,  # a frozen router cannot learn to balance its load
        max_grad_norm=settings.max_grad_norm,
        weight_decay=settings.weight_decay,
        seed=settings.seed,
    )
    # Several visible GPUs would make the Trainer wrap the model in DataParallel, which trl refuses; one is used.
    if config.n_gpu > 1:
        config._n_gpu = 1
    return config
