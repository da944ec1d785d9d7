"""NVIDIA's driver: CUDA says which GPUs this process may use, the management library how they are powered, linked."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from sdk.errors import StepFailed

CUDA_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUresult of the driver API: no driver behind the library (stub), no GPU or none visible to this process
CUDA_NO_GPU = (34, 100)
COMPUTE_CAPABILITY = (75, 76)  # CUdevice_attribute: major, minor
# GB/s of one lane in one direction by generation: its transfer rate less the encoding (PCI-SIG, base specifications)
PCIE_LANE_GBS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes
    capability: tuple[int, int]
    bus: str  # its PCI address


def visible_gpus() -> list[Gpu]:
    """Return the GPUs that CUDA gives this process, none without a driver. StepFailed if a driver does not answer."""
    try:
        cuda = ctypes.CDLL(CUDA_LIBRARY)
    except OSError:
        return []
    code = cuda.cuInit(0)
    if code in CUDA_NO_GPU:
        return []
    _check(code)
    count = ctypes.c_int()
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
    return [_gpu(cuda, index) for index in range(count.value)]


def cuda_version() -> str | None:
    """Return the newest CUDA version the driver runs ("12.4"); None without a GPU. Raises as detect_hardware() does."""
    if not visible_gpus():
        return None
    version = ctypes.c_int()
    _check(ctypes.CDLL(CUDA_LIBRARY).cuDriverGetVersion(ctypes.byref(version)))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def power_and_link(gpus: Sequence[Gpu]) -> tuple[float | None, float | None]:
    """Return (power limit of the first in W, GB/s in one direction of the worst link between two), as NVML gives them.

    None: NVML is absent, the GPU does not measure it, or there is no second GPU.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByPciBusId(gpu.bus) for gpu in gpus]
        return _power_w(handles[0]), _link_gbs(handles)
    except pynvml.NVMLError:
        return None, None
    finally:
        pynvml.nvmlShutdown()


def pcie_gbs(generation: int, lanes: int) -> float | None:
    return round(PCIE_LANE_GBS[generation] * lanes, 2) if generation in PCIE_LANE_GBS else None


def _gpu(cuda: Any, index: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    capability = [ctypes.c_int(), ctypes.c_int()]
    _check(cuda.cuDeviceGet(ctypes.byref(device), index))
    _check(cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    _check(cuda.cuDeviceGetPCIBusId(bus, len(bus), device))
    for value, attribute in zip(capability, COMPUTE_CAPABILITY, strict=True):
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    return Gpu(
        name=name.value.decode(errors="replace"),
        memory=memory.value,
        capability=(capability[0].value, capability[1].value),
        bus=bus.value.decode(errors="replace"),
    )


def _check(code: int) -> None:
    if code:
        raise StepFailed(
            f"The NVIDIA driver is installed but does not answer (CUDA error {code}). See what `nvidia-smi` says, or "
            "set CUDA_VISIBLE_DEVICES to nothing to use the CPU."
        )


def _power_w(handle: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000
    except pynvml.NVMLError:
        return None


def _link_gbs(handles: Sequence[Any]) -> float | None:
    rates = [
        _nvlink_gbs(*pair) if _joined_by_nvlink(*pair) else _pcie_gbs(pair)
        for pair in itertools.combinations(handles, 2)
    ]
    known = [rate for rate in rates if rate is not None]
    return min(known) if known and len(known) == len(rates) else None


def _joined_by_nvlink(first: Any, second: Any) -> bool:
    try:
        status = pynvml.nvmlDeviceGetP2PStatus(first, second, pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
    except pynvml.NVMLError:
        return False
    return bool(status == pynvml.NVML_P2P_STATUS_OK)


def _nvlink_gbs(first: Any, second: Any) -> float | None:
    try:
        links = list(_links(first, pynvml.nvmlDeviceGetPciInfo(second).busId))
        asked = [(pynvml.NVML_FI_DEV_NVLINK_GET_SPEED, link) for link in links]
        speeds = pynvml.nvmlDeviceGetFieldValues(first, asked)
    except pynvml.NVMLError:
        return None
    known = links and all(speed.nvmlReturn == pynvml.NVML_SUCCESS for speed in speeds)
    return sum(float(speed.value.uiVal) for speed in speeds) / 1000 if known else None  # given in MB/s


def _links(handle: Any, other: Any) -> Iterator[int]:
    """Yield the active links that end at the GPU with this PCI address or at a switch, which leads to every GPU."""
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if pynvml.nvmlDeviceGetNvLinkState(handle, link) and _end(handle, link) in (None, other):
                yield link
        except pynvml.NVMLError_InvalidArgument:  # it has fewer links
            return


def _end(handle: Any, link: int) -> Any:
    """Return the PCI address of the GPU at the other end; None: a switch."""
    if pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link) != pynvml.NVML_NVLINK_DEVICE_TYPE_GPU:
        return None
    return pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId


def _pcie_gbs(pair: Sequence[Any]) -> float | None:
    """Return the rate of the slower of the two at the speed that it and its slot can have; an idle card shows less."""
    try:
        generation = min(pynvml.nvmlDeviceGetMaxPcieLinkGeneration(handle) for handle in pair)
        return pcie_gbs(generation, min(pynvml.nvmlDeviceGetMaxPcieLinkWidth(handle) for handle in pair))
    except pynvml.NVMLError:
        return None
