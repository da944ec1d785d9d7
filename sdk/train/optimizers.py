"""What the optimizers of bitsandbytes need besides a name: where they run, free memory, their state as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from bitsandbytes.optim import GlobalOptimManager
from bitsandbytes.optim.optimizer import Optimizer8bit

from sdk.errors import StepFailed
from sdk.hardware.kernels import PAGED_NUMBERS
from sdk.records import PAGED, TrainSettings

_TABLES = ("qmap1", "qmap2")  # the levels of 8-bit moments: constants that all matrices share


def optimizer_faults(settings: TrainSettings) -> list[str]:
    """Return why the optimizer cannot run on this machine."""
    if settings.optim not in PAGED or torch.cuda.is_available():
        return []
    return [
        f"optim {settings.optim} pages its moments between a GPU's memory and the host's, and there is no GPU here; "
        "use adamw_8bit, or adamw_torch_fused"
    ]


def require_room(parameters: Iterable[torch.nn.Parameter], optim: str) -> None:
    """Raise StepFailed where moments that are paged would be more than the GPU has free before the first step.

    The driver gives out managed memory beyond what the card has, and each step would then move all of it to and fro.
    """
    if optim not in PAGED:
        return
    bytes_each = 1 if "8bit" in optim else 4
    wanted = sum(2 * bytes_each * value.numel() for value in parameters if value.numel() >= PAGED_NUMBERS)
    free, _ = torch.cuda.mem_get_info()
    if wanted > free:
        raise StepFailed(
            f"{optim} would page {wanted / 2**30:.2f} GiB of moments, and {free / 2**30:.2f} GiB of the GPU are free; "
            "lower lora_r, or use qlora-4bit or adafactor."
        )


def forget_overrides() -> None:
    """Let bitsandbytes forget the modules of earlier optimizers, which it would hold, and know by their addresses."""
    GlobalOptimManager.get_instance().initialize()


def own_optimizer(optimizer: Any) -> Optimizer8bit | None:
    """Return the optimizer of bitsandbytes that accelerate has wrapped; None where it is another's."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, Optimizer8bit) else None


def flat_state(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter's state without what bitsandbytes wraps around it, and without its tables."""
    wrapped = Optimizer8bit._FSDP_WRAPPED_QUANT_STATE_KEY
    flat = {**{name: value for name, value in values.items() if name != wrapped}, **values.get(wrapped, {})}
    return {name: value for name, value in flat.items() if name not in _TABLES}


def fill_state(
    optimizer: Optimizer8bit, state: Mapping[int, Mapping[str, Any]], groups: Iterable[Mapping[str, Any]]
) -> None:
    """Write a saved state into buffers that the optimizer makes itself, so that those that are paged are so again."""
    optimizer.check_overrides()
    number = 0
    for place, (group, saved) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        group.update({name: value for name, value in saved.items() if name != "params"})
        for index, parameter in enumerate(group["params"]):
            values = state.get(number, {})
            if values:
                optimizer.init_state(group, parameter, place, index)
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    optimizer.state[parameter][name].copy_(value)
                else:
                    optimizer.state[parameter][name] = value
            number += 1
