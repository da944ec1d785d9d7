from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdk import hardware
from sdk.errors import StepFailed

GIB = 2**30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class FakeCuda:
    """The driver's C interface with given GPUs: (bytes, name, major compute capability)."""

    def __init__(self, gpus: list[tuple[int, bytes, int]], init: int = 0, failing: str = "") -> None:
        self.gpus, self.init, self.failing = gpus, init, failing

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDriverGetVersion(self, version: object) -> int:
        version._obj.value = 12040  # type: ignore[attr-defined]
        return 0

    def cuDeviceGetCount(self, count: object) -> int:
        count._obj.value = len(self.gpus)  # type: ignore[attr-defined]
        return 0

    def cuDeviceGet(self, device: object, index: int) -> int:
        device._obj.value = index  # type: ignore[attr-defined]
        return 0

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], size: int, device: ctypes.c_int) -> int:
        name.value = self.gpus[device.value][1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: object, device: ctypes.c_int) -> int:
        memory._obj.value = self.gpus[device.value][0]  # type: ignore[attr-defined]
        return 999 if self.failing == "memory" else 0

    def cuDeviceGetAttribute(self, value: object, attribute: int, device: ctypes.c_int) -> int:
        assert attribute == 75
        value._obj.value = self.gpus[device.value][2]  # type: ignore[attr-defined]
        return 0


def with_driver(monkeypatch: pytest.MonkeyPatch, driver: FakeCuda) -> None:
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: driver)


def test_the_gpus_of_the_driver_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([(24 * GIB, b"NVIDIA RTX A5000", 8), (80 * GIB, b"NVIDIA A100", 8)]))
    found = hardware.probe()
    assert (found.gpu, found.gpu_count, found.gpu_memory_gib, found.bf16) == ("NVIDIA RTX A5000", 2, 24.0, True)
    assert found.source == "probed"


def test_the_drivers_cuda_is_that_of_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([(24 * GIB, b"gpu", 8)]))
    assert hardware.cuda_version() == "12.4"
    with_driver(monkeypatch, FakeCuda([], init=hardware.CUDA_NO_GPU[0]))
    assert hardware.cuda_version() is None


@pytest.mark.parametrize(("majors", "bf16"), [((7,), False), ((8,), True), ((9, 7), False)])
def test_bf16_needs_ampere_on_every_gpu(monkeypatch: pytest.MonkeyPatch, majors: tuple[int, ...], bf16: bool) -> None:
    with_driver(monkeypatch, FakeCuda([(16 * GIB, b"gpu", major) for major in majors]))
    assert hardware.probe().bf16 is bf16


@pytest.mark.parametrize("code", hardware.CUDA_NO_GPU)
def test_a_driver_without_gpus_means_the_cpu(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with_driver(monkeypatch, FakeCuda([], init=code))
    assert hardware.probe().gpu_count == 0


@pytest.mark.parametrize("driver", [FakeCuda([], init=999), FakeCuda([(1, b"gpu", 8)], failing="memory")])
def test_a_driver_that_does_not_answer_is_not_taken_for_no_gpu(
    monkeypatch: pytest.MonkeyPatch, driver: FakeCuda
) -> None:
    with_driver(monkeypatch, driver)
    with pytest.raises(StepFailed, match="CUDA error 999"):
        hardware.probe()


def test_no_driver_means_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CUDA_LIBRARY", "libthere-is-no-such-driver.so")
    found = hardware.probe()
    assert (found.gpu, found.gpu_count, found.gpu_memory_gib) == (None, 0, 0.0)
    assert found.cpu_cores >= 1
    assert found.ram_gib > 0


def test_affinity_limits_the_cores() -> None:
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{first}}}); from sdk.hardware import cpu_cores; print(cpu_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


QUOTA_OF_ONE = {
    "version 2, container": {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"},
    "version 2, nested": {
        "proc/self/cgroup": "0::/user/job\n",
        "sys/fs/cgroup/user/job/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user/cpu.max": "50000 100000\n",
    },
    "version 1": {
        "proc/self/cgroup": "4:cpu,cpuacct:/job\n2:memory:/job\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "90000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
    },
}


@pytest.mark.parametrize("files", QUOTA_OF_ONE.values(), ids=QUOTA_OF_ONE)
def test_a_cpu_quota_limits_the_cores(tmp_path: Path, files: dict[str, str]) -> None:
    assert hardware.cpu_cores(write(tmp_path, files)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "rubbish\n", "sys/fs/cgroup/memory.max": ""},
    ],
)
def test_without_limits_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path, files)
    assert hardware.cpu_cores(root) == len(os.sched_getaffinity(0))
    assert hardware.ram_bytes(root) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"},
        {"proc/self/cgroup": "4:memory:/job\n", "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n"},
    ],
)
def test_a_memory_limit_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert hardware.ram_bytes(write(tmp_path, files)) == GIB


def test_probing_is_fast_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CUDA_LIBRARY", "libthere-is-no-such-driver.so")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        hardware.probe()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
