"""trl's SFTTrainer with checkpoints that survive a kill, a stop at the first NaN, and less work in each step."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from sdk.errors import StepFailed
from sdk.model import adapter_weights, set_adapter_weights
from sdk.records import OnProgress
from sdk.train.checkpoints import Checkpoints
from sdk.train.dropout import replace_dropout
from sdk.train.memory import PeakMemory

_WEIGHTS = "adapter_model.safetensors"
_STATE = "trainer_state.json"
# At most one part in SAVE_SHARE of the time goes into checkpoints.
_SAVE_SHARE = 20


class Trainer(SFTTrainer):  # type: ignore[misc,unused-ignore]
    def __init__(self, checkpoints: Checkpoints, **options: Any) -> None:
        super().__init__(**options)
        self.checkpoints = checkpoints
        self.remove_callback(PrinterCallback)
        # trl rounds a quantized model's adapter to bfloat16, in which AdamW's small updates vanish.
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if self.args.device.type == "cpu":
            replace_dropout(self.model)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the learned tokens.

        On a GPU trl's fused head; on a CPU that one scores every token and its entropy, so the model's own head scores
        only the last columns, which hold all answers because batches are padded on the left. Both without the metrics
        that trl gathers in each step.
        """
        if self.aux_loss_enabled or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        count = (labels[:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch
        if labels.device.type == "cuda":
            return -model(**inputs, use_cache=False, fused_lm_head=True).log_probs.sum() / count
        first = int((labels != -100).any(dim=0).to(torch.int8).argmax())
        kept = labels.shape[1] - max(first, 1) + 1
        given = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**given, use_cache=False, logits_to_keep=kept).logits[:, -kept:-1]
        targets = labels[:, labels.shape[1] - kept + 1 :]
        learned = targets != -100
        return torch.nn.functional.cross_entropy(logits[learned].float(), targets[learned], reduction="sum") / count

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self.checkpoints.write(self.state.global_step, self._fill)

    def _fill(self, folder: Path) -> None:
        (folder / _WEIGHTS).write_bytes(adapter_weights(self.model))
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / _STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PreTrainedModel | None = None) -> None:
        set_adapter_weights(self.model, (Path(resume_from_checkpoint) / _WEIGHTS).read_bytes())


class Collator:
    """Rows padded on the left to the longest of the batch, as int64 tensors of shape (rows, tokens)."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad = pad_token_id

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        ids, labels, mask = [], [], []
        for row in rows:
            gap = width - len(row["input_ids"])
            ids.append([self.pad] * gap + row["input_ids"])
            labels.append([-100] * gap + row["labels"])
            mask.append([0] * gap + [1] * (width - gap))
        attention = torch.tensor(mask)
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "attention_mask": attention,
            "position_ids": (attention.cumsum(-1) - 1).clamp(min=0),
        }


class Watch(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Shows each step, stops at a loss or gradient that is no number, and asks for checkpoints by the clock."""

    def __init__(
        self, tokens: Sequence[int], memory: PeakMemory, on_progress: OnProgress, every_seconds: float
    ) -> None:
        self._tokens = tokens
        self._memory = memory
        self._on_progress = on_progress
        self._every = every_seconds
        self._saved = self._began = time.monotonic()
        self._asked = self._began
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = self._began = time.monotonic()
        self._first = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._asked = time.monotonic()
        if self._asked - self._saved >= self._every and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = time.monotonic()
        if self._every:
            self._every = max(self._every, _SAVE_SHARE * (self._saved - self._asked))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        figures = logs or {}
        if "loss" not in figures:
            return
        step, loss, gradient = state.global_step, figures["loss"], figures.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise StepFailed(
                f"Training stopped at step {step} of {state.max_steps}: the {what} is no longer a finite number "
                f"(learning rate {figures['learning_rate']:.3g}). Try a third of the learning rate or a longer "
                "warm-up; where the base is quantized, 16-bit weights."
            )
        seconds = time.monotonic() - self._began
        done = step - self._first
        self._on_progress(
            "train",
            step,
            state.max_steps,
            {
                "loss": loss,
                "tokens_per_second": sum(self._tokens[self._first : step]) / seconds,
                "memory_gib": self._memory.gib,
                "seconds_left": seconds / done * (state.max_steps - step),
            },
        )


def sft_config(folder: Path, settings: dict[str, Any]) -> SFTConfig:
    """trl's arguments: the run's own, nothing that reports, cuts, evaluates or talks to a hub."""
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
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_num_workers=0,
        dataloader_pin_memory=gpu,
        use_cpu=not gpu,
        bf16=bf16,
        fp16=gpu and not bf16,
        **settings,
    )
    # Several visible GPUs would make the Trainer wrap the model in DataParallel, which trl refuses; one is used.
    if config.n_gpu > 1:
        config._n_gpu = 1
    return config
