"""What machine this is: GPUs as NVIDIA's driver gives them to this process, cores and memory as the kernel does."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from sdk.errors import InvalidInput
from sdk.files.regular_files import SHIPPED_BYTES, read_regular
from sdk.hardware.catalogue import bitsandbytes_on, has_bf16, of_driver
from sdk.hardware.cpu_rates import read_cpu_rates
from sdk.hardware.nvidia import Gpu, power_and_link, visible_gpus
from sdk.records import Hardware

GIB = 2**30
MIG = " MIG "  # in the name that the driver gives to a part of a GPU
CPU_FLAGS_WITH_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def detect_hardware() -> Hardware:
    """Detect what this process may use; CUDA_VISIBLE_DEVICES, MIG, CPU affinity and cgroup limits count.

    With GPUs of several sizes, name, memory and rates are those of the smallest. Power limit and link are NVML's, else
    the catalogue's; rates are the catalogue's, those of a CPU what was measured here before. The driver is asked
    directly, so no torch is needed; asking initializes CUDA in this process. StepFailed: a driver is installed and does
    not answer.
    """
    cores, ram_gib = cpu_cores(), ram_bytes() / GIB
    gpus = sorted(visible_gpus(), key=lambda gpu: (gpu.memory, gpu.name))
    if not gpus:
        measured = read_cpu_rates(cpu_name(), cores)
        return Hardware(
            cpu_cores=cores,
            ram_gib=ram_gib,
            bf16=_cpu_has_bf16(),
            tflops=measured.tflops if measured else None,
            bandwidth_gbs=measured.bandwidth_gbs if measured else None,
            source="probed",
        )
    return _with_gpus(gpus).model_copy(update={"cpu_cores": cores, "ram_gib": ram_gib})


def cpu_cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may use, at least 1: the least of affinity and its cgroups' CPU quotas."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = _quota(folder)
        if quota > 0 and period > 0:
            cores = min(cores, -(-quota // period))
    return max(1, cores)


def cpu_name(root: Path = Path("/")) -> str:
    """Return what the CPU calls itself, else its architecture."""
    lines = (line.partition(":") for line in _lines(root / "proc/cpuinfo"))
    return next((value.strip() for label, _, value in lines if label.strip() == "model name"), platform.machine())


def ram_bytes(root: Path = Path("/")) -> int:
    """Return the memory that this process may use, bytes: the least of the machine's and its cgroups' limits."""
    limits = [_physical_memory()]
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(text) for text in _words(folder / name)[:1] if text.isdigit()]
    return min(limit for limit in limits if limit > 0)


def _with_gpus(gpus: list[Gpu]) -> Hardware:
    """Describe GPUs, which are given smallest first."""
    smallest, oldest = gpus[0], min(gpu.capability for gpu in gpus)
    known = of_driver(smallest.name, smallest.capability, smallest.memory / GIB)
    hardware = known.hardware(len(gpus)) if known else Hardware(gpu_count=len(gpus))
    # NVML would give the power and the links of the whole GPU
    power, link = (None, None) if MIG in smallest.name else power_and_link(gpus)
    return hardware.model_copy(
        update={
            "gpu": smallest.name,
            "gpu_memory_gib": smallest.memory / GIB,
            "bf16": has_bf16(oldest),
            "bitsandbytes": tuple(bits for bits in hardware.bitsandbytes if bits in bitsandbytes_on(oldest)),
            "power_w": power or hardware.power_w,
            "link_gbs": link or hardware.link_gbs,
            "source": "probed",
        }
    )


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the process's own cgroup and all above it, whose limits hold as well; version 2, then version 1.

    Inside a container its own cgroup is often mounted as the topmost one, so folders need not exist.
    """
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controller if controllers else mount
        folder = top / path.lstrip("/")
        yield from (parent for parent in (folder, *folder.parents) if parent.is_relative_to(top))


def _quota(folder: Path) -> tuple[int, int]:
    """Read (quota, period) in microseconds; a quota of -1 or 0 is none."""
    version_2 = _words(folder / "cpu.max")
    words = version_2 or [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.lstrip("-").isdigit() for word in words):
        return -1, 0
    return int(words[0]), int(words[1])


def _physical_memory() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    status = (ctypes.c_uint64 * 8)()  # MEMORYSTATUSEX: length and load share the first word, total bytes is the second
    status[0] = ctypes.sizeof(status)
    ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(status)  # type: ignore[attr-defined,unused-ignore]
    return int(status[1])


def _cpu_has_bf16(root: Path = Path("/")) -> bool:
    for line in _lines(root / "proc/cpuinfo"):
        label, _, flags = line.partition(":")
        if label.strip() in ("flags", "Features"):
            return not CPU_FLAGS_WITH_BF16.isdisjoint(flags.split())
    return False


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, SHIPPED_BYTES).decode(errors="replace").splitlines()
    except InvalidInput:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
