"""What this machine's CPU was measured to do, kept where this machine keeps what it remembers.

Advice is given without torch, so it cannot measure; what has torch anyway measures once (sdk/model/cpu_speed.py).
"""

from __future__ import annotations

from contextlib import suppress

from pydantic import Field, ValidationError

from sdk.errors import InvalidInput
from sdk.files.regular_files import NOTE_BYTES, read_if_there
from sdk.files.store import state_folder, write_atomic
from sdk.records import Frozen

FILE = "cpu-rates.json"


class CpuRates(Frozen):
    """Rates of all cores that the process may use, in float32."""

    cpu: str = Field(description="its name; rates of another CPU, as after a move of the folder, do not count")
    cores: int = Field(ge=1)
    tflops: float = Field(gt=0, description="matrix products, TFLOP/s")
    bandwidth_gbs: float = Field(gt=0, description="bytes that elementwise operations read and write, GB/s")


def read_cpu_rates(cpu: str, cores: int) -> CpuRates | None:
    """Return what was measured of this CPU with so many cores; None where nothing was, or it cannot be read."""
    with suppress(InvalidInput, ValidationError):
        data = read_if_there(state_folder() / FILE, NOTE_BYTES)
        rates = None if data is None else CpuRates.model_validate_json(data)
        if rates is not None and (rates.cpu, rates.cores) == (cpu, cores):
            return rates
    return None


def write_cpu_rates(rates: CpuRates) -> None:
    write_atomic(state_folder() / FILE, rates.model_dump_json().encode())
