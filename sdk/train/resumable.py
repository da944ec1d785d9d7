"""trl's SFTTrainer with checkpoints of our own: all of a run's state in one of them, none of it through pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import safetensors.torch
import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import ExportableState, TrainerState
from trl import SFTTrainer

from sdk.records import canonical_json
from sdk.train.session import POSITION, Session
from sdk.train.training_state import (
    Position,
    Rng,
    adapter_state,
    optimizer_state,
    scheduler_state,
    set_optimizer_state,
    set_rng_state,
    set_scheduler_state,
    set_trained_parameters,
    tensors_bytes,
)

_ADAPTER = "adapter.safetensors"
_SCHEDULER = "scheduler.json"
_SCALER = "scaler.json"
_STATE = "trainer_state.json"
_IN_MEMORY = "a checkpoint in memory"  # given to transformers in place of a folder


class Carried(Protocol):
    """What a checkpoint carries beside the trained parameters, the optimizer and the generators."""

    name: str

    def tensors(self) -> dict[str, torch.Tensor]: ...

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None: ...


class Resumable(SFTTrainer):  # type: ignore[misc,unused-ignore]
    """Goes on from session.start. What is restored are the bytes that were checked; no file is read here."""

    session: Session

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.carried: list[Carried] = []

    def save(self, rng: Rng | None = None) -> None:
        """Write a checkpoint of the last whole optimizer step; rng: the generators' state then, if it was not now."""
        states = self._of_all_processes((rng or Rng.now()).to_bytes())
        if self.args.should_save:
            files = {**self._files(), **_by_rank(states), **self.session.metrics()}
            self.session.checkpoints.write(self.state.global_step, files)

    def position(self) -> Position:
        step = self.state.global_step
        return self.session.position(step, step * self.args.gradient_accumulation_steps * self.args.world_size)

    def agreed(self, wish: int) -> int:
        """Return the largest of all processes' wishes, so that all of them do the same."""
        if self.args.world_size == 1:
            return wish
        return int(self.accelerator.gather(torch.tensor([wish], device=self.args.device)).max())

    def _files(self) -> dict[str, bytes]:
        for callback in self._exportable():
            self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        files = {
            _ADAPTER: adapter_state(self.model),
            **optimizer_state(self.optimizer),
            _SCHEDULER: scheduler_state(self.lr_scheduler),
            _STATE: canonical_json(dataclasses.asdict(self.state)),
            POSITION: canonical_json(self.position().model_dump(mode="json")),
        }
        files |= {_carried_name(carried): tensors_bytes(carried.tensors()) for carried in self.carried}
        if self.accelerator.scaler is not None:
            files[_SCALER] = canonical_json(self.accelerator.scaler.state_dict())
        return files

    def _of_all_processes(self, own: bytes) -> list[bytes]:
        """Return every process's bytes, in the order of their ranks."""
        if self.args.world_size == 1:
            return [own]
        # Tensors of one size are all that processes can gather: each is padded to the longest and cut again.
        sizes = self.accelerator.gather(torch.tensor([len(own)], device=self.args.device)).tolist()
        padded = own.ljust(max(sizes))
        sent = torch.frombuffer(bytearray(padded), dtype=torch.uint8).to(self.args.device)
        rows = self.accelerator.gather(sent[None]).cpu().numpy()
        return [row.tobytes()[:size] for row, size in zip(rows, sizes, strict=True)]

    def _exportable(self) -> list[ExportableState]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, ExportableState)]

    # What transformers calls. Where it asks for a folder it gets _IN_MEMORY, which only says that there is something to
    # load; each of these reads the checked bytes instead.

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        self.save()

    def _inner_training_loop(self, *given: Any, resume_from_checkpoint: Any = None, **options: Any) -> Any:
        start = self.session.start
        if start is not None and not self.is_fsdp_enabled:
            self._load_from_checkpoint(_IN_MEMORY)
        if self.args.should_save:
            self.session.restore_metrics()
        self.session.begin_training()
        return super()._inner_training_loop(*given, resume_from_checkpoint=_IN_MEMORY if start else None, **options)

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        # As if it were new, so that transformers looks for no trainer_state.json; then as the checkpoint says.
        super()._init_training_state(max_steps, steps_per_epoch, epochs, None, trial)
        if resume_from_checkpoint is None:
            return 0, 0
        self.state = TrainerState(**json.loads(self._restored[_STATE]))
        self.state.init_training_references(self, max_steps, epochs, trial)
        self.state.compute_steps(self.args, max_steps)
        for callback in self._exportable():
            saved = self.state.stateful_callbacks.get(type(callback).__name__, {})
            for name, value in saved.get("attributes", {}).items():
                setattr(callback, name, value)
        epoch, steps = divmod(self.state.global_step, steps_per_epoch)
        return epoch, steps * self.args.gradient_accumulation_steps

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: PreTrainedModel | None = None) -> None:
        set_trained_parameters(self.model, safetensors.torch.load(self._restored[_ADAPTER]))
        for carried in self.carried:
            carried.restore(safetensors.torch.load(self._restored[_carried_name(carried)]))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            set_optimizer_state(self.optimizer, self._restored)
            set_scheduler_state(self.lr_scheduler, self.optimizer, self._restored[_SCHEDULER])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None and _SCALER in self._restored:
            self.accelerator.scaler.load_state_dict(json.loads(self._restored[_SCALER]))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            set_rng_state(self._restored[_rng_name(self.args.process_index)])

    @property
    def _restored(self) -> Mapping[str, bytes]:
        assert self.session.start is not None
        return self.session.start.files


def _carried_name(carried: Carried) -> str:
    return f"{carried.name}.safetensors"


def _rng_name(rank: int) -> str:
    return f"rng-{rank}.json"


def _by_rank(states: list[bytes]) -> dict[str, bytes]:
    return {_rng_name(rank): state for rank, state in enumerate(states)}
