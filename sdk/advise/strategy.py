"""DeploymentStrategy: the advice from a description of the machine in the words of a data sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from sdk.advise.accuracy import contradictions
from sdk.advise.choose import advise
from sdk.advise.models import find_model
from sdk.errors import InvalidInput
from sdk.records import Accuracy, Advice, ApplicationType, Hardware, Needs, fault_text

# key of hardware_config -> field of Hardware. Memory is given as it is sold: a card "with 24 GB" has 24 GiB.
KEYS = {"gpu_memory": "gpu_memory_gib", "gpu_count": "gpu_count", "cpu_cores": "cpu_cores", "ram": "ram_gib"}
WHOLE = ("gpu_count", "cpu_cores")
MAY_BE_ZERO = ("gpu_memory", "gpu_count")


class DeploymentStrategy:
    """Which method and settings fit this machine and need.

    hardware_config: a Hardware, or a mapping with gpu_memory (GB of one GPU, 0 for none), gpu_count, cpu_cores and
    ram (GB). application_type and accuracy: see Needs; the accuracy outweighs the type. model: a catalogue name, a
    folder or a config.json. max_length: tokens in the longest row. rows: number of training rows, where known.
    max_loss, deadline_hours, price_per_hour: see Needs. Raises InvalidInput with every fault, needs that contradict
    each other among them.
    """

    def __init__(  # noqa: PLR0913 - each is a keyword that users type, and Needs is what they make up together
        self,
        hardware_config: Hardware | Mapping[str, float],
        application_type: ApplicationType | None = None,
        accuracy: Accuracy | None = None,
        *,
        model: str = "llama-3.1-8b",
        max_length: int = 1024,
        rows: int | None = None,
        max_loss: float | None = None,
        deadline_hours: float | None = None,
        price_per_hour: float | None = None,
    ) -> None:
        faults: list[str] = []
        given = {
            "application_type": application_type,
            "accuracy": accuracy,
            "max_length": max_length,
            "rows": rows,
            "max_loss": max_loss,
            "deadline_hours": deadline_hours,
            "price_per_hour": price_per_hour,
        }
        hardware = hardware_config if isinstance(hardware_config, Hardware) else _hardware(hardware_config, faults)
        needs = _needs(given, faults)
        faults += contradictions(needs)
        if deadline_hours is not None and rows is None:
            faults.append("deadline_hours: how long training takes depends on rows; give both")
        try:
            shape = find_model(model)
        except InvalidInput as error:
            faults += [error.message, *error.faults]
        if faults:
            raise InvalidInput("No advice can be given for this description.", faults)
        self.hardware, self.needs, self.shape = hardware, needs, shape

    def recommend_strategy(self) -> Advice:
        return advise(self.shape, self.hardware, self.needs)


def _hardware(config: Mapping[str, Any], faults: list[str]) -> Hardware:
    before = len(faults)
    known = ", ".join(KEYS)
    faults += [f"hardware_config: unknown key {key!r}; known are {known}" for key in config if key not in KEYS]
    if "gpu_memory" not in config:
        faults.append("hardware_config: gpu_memory is missing (GB of one GPU, 0 without one)")
    elif config["gpu_memory"] == 0 and "ram" not in config:
        faults.append("hardware_config: without a GPU, ram is needed (GB)")
    for key, value in config.items():
        if key in KEYS and (fault := _number_fault(value, key in WHOLE, key in MAY_BE_ZERO)):
            faults.append(f"hardware_config: {key} {fault}")
    if len(faults) > before:
        return Hardware()
    count = config.get("gpu_count", 1) if config["gpu_memory"] else 0
    return Hardware(**{KEYS[key]: value for key, value in config.items()} | {"gpu_count": count})


def _number_fault(value: Any, whole: bool, zero: bool) -> str:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
        return f"must be a {'whole ' if whole else ''}number"
    if value < 0 or (value == 0 and not zero):
        return f"must be {'at least' if zero else 'more than'} 0"
    return ""


def _needs(given: Mapping[str, Any], faults: list[str]) -> Needs:
    try:
        return Needs.model_validate(given, strict=True)
    except ValidationError as error:
        for item in error.errors(include_input=False):
            field = str(item["loc"][0])
            allowed = {"application_type": get_args(ApplicationType), "accuracy": get_args(Accuracy)}.get(field)
            faults.append(f"{field}: " + (f"must be one of {', '.join(allowed)}" if allowed else fault_text(item)))
        return Needs()
