"""Measure in a second what this machine's CPU does, where nothing is known of it: advice needs it and has no torch."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from sdk.errors import StepFailed
from sdk.hardware import cpu_cores, cpu_name
from sdk.hardware.cpu_rates import CpuRates, read_cpu_rates, write_cpu_rates

# A layer's product of some hundred tokens, as bases of a hundred million parameters have it.
TOKENS, INPUTS, OUTPUTS = 512, 768, 2048
ELEMENTS = 2**24  # of a tensor that no cache holds, and whose memory the system hands out anew each time
SECONDS = 0.3  # for each rate: the fastest of many, since other programs only make them slower


def measure_cpu() -> None:
    """Measure and remember the rates of this machine's CPU, unless it has a GPU or they are known."""
    cpu, cores = cpu_name(), cpu_cores()
    if torch.cuda.is_available() or read_cpu_rates(cpu, cores) is not None:
        return
    x, weight, y = (torch.rand(size) for size in ((TOKENS, INPUTS), (OUTPUTS, INPUTS), (ELEMENTS,)))
    product = _fastest(lambda: x @ weight.t())
    elementwise = _fastest(lambda: y * y)
    rates = CpuRates(
        cpu=cpu,
        cores=cores,
        tflops=2 * TOKENS * INPUTS * OUTPUTS / product / 1e12,
        bandwidth_gbs=3 * y.nbytes / elementwise / 1e9,  # two are read, one is written
    )
    if read_cpu_rates(cpu, cores) is not None:
        return  # of another process, which may have advised by them
    try:
        write_cpu_rates(rates)
    except StepFailed:
        return  # a folder that cannot be written to: advice takes a usual core's rates


def _fastest(work: Callable[[], torch.Tensor]) -> float:
    """Return the least seconds that the work takes."""
    least, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least
