"""What machine this is, and what is known of machines by the name of their GPU. No torch is needed."""

from __future__ import annotations

from sdk.hardware.catalogue import find_gpu, gpus, peak_tflops
from sdk.hardware.machine import cpu_cores, cpu_name, detect_hardware, ram_bytes
from sdk.hardware.nvidia import CUDA_NO_GPU, cuda_version

__all__ = [
    "CUDA_NO_GPU",
    "cpu_cores",
    "cpu_name",
    "cuda_version",
    "detect_hardware",
    "find_gpu",
    "gpus",
    "peak_tflops",
    "ram_bytes",
]
