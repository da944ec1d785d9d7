"""trl's SFTTrainer with checkpoints that survive a kill, a stop at the first NaN, and less work in each step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers.trainer_callback import PrinterCallback

from sdk.model import Encoded
from sdk.model.token_rows import TokenRow, TokenRows
from sdk.records import TrainSettings
from sdk.train.dropout import replace_dropout
from sdk.train.engine import install_engine
from sdk.train.optimizers import forget_overrides, require_room
from sdk.train.resumable import Resumable
from sdk.train.session import Session
from sdk.train.trl_arguments import sft_config


class Trainer(Resumable):
    def __init__(self, settings: TrainSettings, session: Session, **options: Any) -> None:
        super().__init__(args=sft_config(session.checkpoints.folder, settings), **options)
        self.session = session
        self.remove_callback(PrinterCallback)
        # trl rounds a quantized model's adapter to bfloat16, in which AdamW's small updates vanish.
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if self.args.device.type == "cpu":
            replace_dropout(self.model)
        session.notes += install_engine(self.model, settings)
        if self.accelerator.ddp_handler is not None:
            self.accelerator.ddp_handler.gradient_as_bucket_view = True
        # Each process has read the frozen weights itself: nothing of them is sent.
        frozen = [name for name, value in self.model.named_parameters() if not value.requires_grad]
        frozen += [name for name, _ in self.model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, frozen)  # type: ignore[no-untyped-call]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        trained = [value for value in self.model.parameters() if value.requires_grad]
        require_room(trained, str(self.args.optim.value))
        forget_overrides()
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        return optimizer

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the learned tokens' mean negative log-likelihood, without the metrics that trl gathers each step."""
        if num_items_in_batch is None:
            count: torch.Tensor | float = len(inputs["targets"])
        else:
            # Learned tokens of all processes; their gradients are averaged, so each counts for all.
            count = num_items_in_batch / self.accelerator.num_processes
        batch = {name: inputs[name] for name in inputs if name not in ("labels", "shift_labels")}
        loss: torch.Tensor = model(**batch, items=count, use_cache=False).loss
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count none: nothing reads them, and transformers would look through all of the model's modules each step."""
        return 0


class Collator:
    """A micro-batch: its rows one behind the other, as one row of tokens without padding.

    input_ids, position_ids: (1, tokens), positions begin at 0 in each row; cu_seq_lens_q: int32 (rows + 1,), where each
    row begins, and the end; learned: (n,), places whose next token is learned, counted from the end; labels, and
    shift_labels and targets, which are the same: (n,), those tokens.
    """

    def __init__(self, rows: TokenRows | Sequence[Encoded], row_attention: bool) -> None:
        """Take rows by their numbers; the one behind the last is a filler_row()."""
        self._rows, self._row_attention = rows, row_attention

    def __call__(self, items: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        rows = [self._row(number) for item in items for number in item["input_ids"]]
        lengths = [len(row.input_ids) for row in rows]
        starts = [0, *accumulate(lengths)]
        ids = torch.from_numpy(np.concatenate([np.asarray(row.input_ids, np.int64) for row in rows]))
        in_loss = np.concatenate([np.asarray(row.in_loss, np.bool_) for row in rows])
        in_loss[starts[:-1]] = False  # the first token of a row follows nothing
        learned = torch.from_numpy(np.flatnonzero(in_loss))
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

    def _row(self, number: int) -> TokenRow | Encoded:
        return self._rows[number] if number < len(self._rows) else filler_row(self._rows)


def filler_row(rows: TokenRows | Sequence[Encoded]) -> Encoded:
    """Return a row that nothing is learned from: it adds nothing to the loss and costs little."""
    lengths = rows.lengths if isinstance(rows, TokenRows) else [len(row.input_ids) for row in rows]
    shortest = [*rows[int(np.argmin(lengths))].input_ids]
    return Encoded(input_ids=shortest, in_loss=[False] * len(shortest))
