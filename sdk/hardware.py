"""What machine this is: GPUs as the CUDA driver gives them to this process, cores and memory as the kernel does."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sdk.errors import StepFailed
from sdk.records import Hardware

GIB = 2**30
CUDA_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUresult of the driver API: no driver behind the library (stub), no GPU or none visible to this process
CUDA_NO_GPU = (34, 100)
CUDA_MAJOR_WITH_BF16 = 8  # compute capability 8.0, Ampere
CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
_PEAKS = Path(__file__).with_name("hardware_peaks.json")
CPU_FLAGS_WITH_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def probe() -> Hardware:
    """The machine that this process may use; CUDA_VISIBLE_DEVICES, MIG, CPU affinity and cgroup limits count.

    With GPUs of several sizes, name and memory are those of the smallest. The driver is asked directly, so no torch is
    needed; asking initializes CUDA in this process. StepFailed: a driver is installed and does not answer.
    """
    cores, ram_gib = cpu_cores(), ram_bytes() / GIB
    gpus = list(_cuda_gpus())
    if not gpus:
        return Hardware(cpu_cores=cores, ram_gib=ram_gib, bf16=_cpu_has_bf16(), source="probed")
    memory, name, _ = min(gpus)
    return Hardware(
        gpu=name,
        gpu_count=len(gpus),
        gpu_memory_gib=memory / GIB,
        cpu_cores=cores,
        ram_gib=ram_gib,
        bf16=all(major >= CUDA_MAJOR_WITH_BF16 for _, _, major in gpus),
        source="probed",
    )


def peak_tflops(gpu: str) -> float | None:
    """Dense matrix products of one GPU, TFLOP/s in bf16 with fp32 accumulation, fp16 before Ampere, by its vendor.

    gpu: the name that its driver gives. None where hardware_peaks.json has no figure, as for a part of a GPU (MIG).
    """
    known = json.loads(_PEAKS.read_bytes())
    return next((float(peak["tflops"]) for peak in known if re.fullmatch(peak["driver_name"], gpu)), None)


def cuda_version() -> str | None:
    """The newest CUDA that the driver runs, such as 12.4; None where this process has no GPU. Errors as of probe()."""
    if not any(True for _ in _cuda_gpus()):
        return None
    version = ctypes.c_int()
    _check(ctypes.CDLL(CUDA_LIBRARY).cuDriverGetVersion(ctypes.byref(version)))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def cpu_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: the least of its affinity and its cgroups' CPU quotas."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = _quota(folder)
        if quota > 0 and period > 0:
            cores = min(cores, -(-quota // period))
    return max(1, cores)


def ram_bytes(root: Path = Path("/")) -> int:
    """Memory that this process may use: the least of the machine's and its cgroups' limits."""
    limits = [_physical_memory()]
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(text) for text in _words(folder / name)[:1] if text.isdigit()]
    return min(limit for limit in limits if limit > 0)


def _cuda_gpus() -> Iterator[tuple[int, str, int]]:
    """(memory in bytes, name, major compute capability) of each GPU."""
    try:
        cuda = ctypes.CDLL(CUDA_LIBRARY)
    except OSError:
        return
    code = cuda.cuInit(0)
    if code in CUDA_NO_GPU:
        return
    _check(code)
    count, major, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
    for index in range(count.value):
        _check(cuda.cuDeviceGet(ctypes.byref(device), index))
        _check(cuda.cuDeviceGetName(name, len(name), device))
        _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
        attribute = CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(major), attribute, device))
        yield memory.value, name.value.decode(errors="replace"), major.value


def _check(code: int) -> None:
    if code:
        raise StepFailed(
            f"The NVIDIA driver is installed but does not answer (CUDA error {code}). See what `nvidia-smi` says, or "
            "set CUDA_VISIBLE_DEVICES to nothing to use the CPU."
        )


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's own cgroup and all above it, whose limits hold as well; version 2, then version 1.

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
    """(quota, period) in microseconds; a quota of -1 or 0 is none."""
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
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
