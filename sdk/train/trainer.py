"""trl's SFTTrainer with checkpoints that survive a kill, a stop at the first NaN, and less work in each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback
from trl import SFTTrainer

from sdk.model import adapter_weights, set_adapter_weights
from sdk.train.checkpoints import Checkpoints
from sdk.train.dropout import replace_dropout

_WEIGHTS = "adapter_model.safetensors"
_STATE = "trainer_state.json"


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
