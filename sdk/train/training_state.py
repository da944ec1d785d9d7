"""What a training run is made of between two steps, as bytes without pickle: safetensors and canonical JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch

from sdk.records import Frozen, canonical_json
from sdk.train.optimizers import fill_state, flat_state, own_optimizer


class Position(Frozen):
    """How far a run has come and what it took, in all the calls that it took."""

    step: int
    micro_batches: int
    seconds: float
    training_seconds: float
    memory_gib: float
    notes: tuple[str, ...]
    made_with: dict[str, str]


def trained_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return every trained parameter: what PEFT keeps of a finished adapter is less, and not enough to go on."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def set_trained_parameters(model: torch.nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    own = trained_parameters(model)
    if values.keys() != own.keys():
        raise ValueError("these parameters are not the model's")
    for name, value in own.items():
        value.copy_(values[name])


def adapter_state(model: torch.nn.Module) -> bytes:
    """Return every trained parameter under its own name and in its own type."""
    return tensors_bytes(trained_parameters(model))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, bytes]:
    """Return two files: the tensors by parameter's number and name, and everything else."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    rest: dict[str, Any] = {}
    for number, values in state["state"].items():
        for name, value in flat_state(values).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                rest[f"{number}.{name}"] = value
    groups = canonical_json({"param_groups": state["param_groups"], "state": rest})
    return {"optimizer.safetensors": tensors_bytes(tensors), "optimizer.json": groups}


def set_optimizer_state(optimizer: torch.optim.Optimizer, files: Mapping[str, bytes]) -> None:
    rest = json.loads(files["optimizer.json"])
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**rest["state"], **safetensors.torch.load(files["optimizer.safetensors"])}.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = [
        {name: tuple(value) if isinstance(value, list) and name != "params" else value for name, value in group.items()}
        for group in rest["param_groups"]
    ]
    if own := own_optimizer(optimizer):
        fill_state(own, state, groups)
    else:
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def scheduler_state(scheduler: torch.optim.lr_scheduler.LRScheduler) -> bytes:
    return canonical_json(scheduler.state_dict())


def set_scheduler_state(
    scheduler: torch.optim.lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer, data: bytes
) -> None:
    """Restore a schedule. If its length is not the checkpoint's, the next step has the new schedule's rate."""
    scheduler.load_state_dict(json.loads(data))
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        now = [
            base * rate(scheduler.last_epoch)
            for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, rate in zip(optimizer.param_groups, now, strict=True):
            group["lr"] = rate
        scheduler._last_lr = now


class Rng(NamedTuple):
    """State of this process's generators: Python's, NumPy's, torch's on the CPU and on its GPU."""

    python: tuple[Any, ...]
    numpy: dict[str, Any]
    torch: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> Rng:
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), dict(np.random.get_state(legacy=False)), torch.random.get_rng_state(), cuda)

    def to_bytes(self) -> bytes:
        words = {**self.numpy["state"], "key": self.numpy["state"]["key"].tolist()}
        return canonical_json(
            {
                "python": self.python,
                "numpy": {**self.numpy, "state": words},
                "torch": _hex(self.torch),
                "cuda": None if self.cuda is None else _hex(self.cuda),
            }
        )


def set_rng_state(data: bytes) -> None:
    saved = json.loads(data)
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    state = saved["numpy"]["state"]
    key = np.array(state["key"], dtype=np.uint32)
    np.random.set_state({**saved["numpy"], "state": {**state, "key": key}})
    torch.random.set_rng_state(_bytes(saved["torch"]))
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(saved["cuda"]))


def tensors_bytes(values: Mapping[str, torch.Tensor]) -> bytes:
    data: bytes = safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in values.items()}, {"format": "pt"}
    )
    return data


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
