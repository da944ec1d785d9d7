"""trl's SFTTrainer with checkpoints that survive a kill, a stop at the first NaN, and less work in each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback
from trl import SFTTrainer

from sdk.model import Encoded
from sdk.records import TrainSettings
from sdk.train.checkpoints import Checkpoints
from sdk.train.config import sft_config
from sdk.train.dropout import replace_dropout
from sdk.train.engine import prepare

_WEIGHTS = "trained.safetensors"
_STATE = "trainer_state.json"


class Carried(Protocol):
    """What a checkpoint carries beside the trained parameters, the optimizer and the generators."""

    name: str

    def tensors(self) -> dict[str, torch.Tensor]: ...

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None: ...


class Trainer(SFTTrainer):  # type: ignore[misc,unused-ignore]
    def __init__(self, settings: TrainSettings, checkpoints: Checkpoints, **options: Any) -> None:
        super().__init__(args=sft_config(checkpoints.folder, settings), **options)
        self.checkpoints = checkpoints
        self.carried: list[Carried] = []
        self.remove_callback(PrinterCallback)
        # trl rounds a quantized model's adapter to bfloat16, in which AdamW's small updates vanish.
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if self.args.device.type == "cpu":
            replace_dropout(self.model)
        self.notes = prepare(self.model, settings)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean negative log-likelihood of the learned tokens, without the metrics that trl gathers in each step."""
        count = len(inputs["targets"]) if num_items_in_batch is None else num_items_in_batch
        given = {name: inputs[name] for name in inputs if name not in ("labels", "shift_labels")}
        loss: torch.Tensor = model(**given, items=count, use_cache=False).loss
        return loss

    def trained(self) -> dict[str, torch.Tensor]:
        """Every trained parameter: what PEFT keeps of a finished adapter is less, and not enough to go on."""
        return {name: value.detach() for name, value in self.model.named_parameters() if value.requires_grad}

    def set_trained(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, value in self.trained().items():
            value.copy_(values[name])

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self.checkpoints.write(self.state.global_step, self._fill)

    def _fill(self, folder: Path) -> None:
        safetensors.torch.save_file(self.trained(), folder / _WEIGHTS)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / _STATE))
        for carried in self.carried:
            safetensors.torch.save_file(carried.tensors(), folder / f"{carried.name}.safetensors")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PreTrainedModel | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.set_trained(safetensors.torch.load_file(folder / _WEIGHTS))
        for carried in self.carried:
            carried.restore(safetensors.torch.load_file(folder / f"{carried.name}.safetensors"))


class Collator:
    """A micro-batch: its rows one behind the other, as one row of tokens without padding.

    input_ids, position_ids: (1, tokens), positions begin at 0 in each row; cu_seq_lens_q: int32 (rows + 1,), where each
    row begins, and the end; learned: (n,), places whose next token is learned, counted from the end; labels, and
    shift_labels and targets, which are the same: (n,), those tokens.
    """

    def __init__(self, rows: Sequence[Encoded], row_attention: bool) -> None:
        self._row_attention = row_attention
        self._ids = [torch.tensor(row.input_ids) for row in rows]
        # The first token of a row follows nothing.
        learned = [[place for place, label in enumerate(row.labels) if place and label != -100] for row in rows]
        self._learned = [torch.tensor(places, dtype=torch.long) for places in learned]

    def __call__(self, items: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        rows = [number for item in items for number in item["input_ids"]]
        lengths = [len(self._ids[row]) for row in rows]
        starts = [0, *accumulate(lengths)]
        ids = torch.cat([self._ids[row] for row in rows])
        learned = torch.cat([self._learned[row] + start for row, start in zip(rows, starts, strict=False)])
        targets = ids[learned]
        batch: dict[str, Any] = {
            "input_ids": ids[None],
            "learned": learned - 1 - len(ids),
            "targets": targets,
            "shift_labels": targets,
            "labels": targets,
        }
        if self._row_attention:
            batch["position_ids"] = torch.cat([torch.arange(length) for length in lengths])[None]
            batch["cu_seq_lens_q"] = torch.tensor(starts, dtype=torch.int32)
            batch["max_length_q"] = max(lengths)
        return batch
