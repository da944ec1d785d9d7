from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from sdk import hardware
from sdk.errors import StepFailed
from sdk.hardware import cpu_rates, machine, nvidia
from sdk.model import cpu_speed

GIB = 2**30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class FakeCuda:
    """The driver's C interface with given GPUs: (bytes, name, compute capability)."""

    def __init__(self, gpus: list[tuple[int, bytes, tuple[int, int]]], init: int = 0, failing: str = "") -> None:
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

    def cuDeviceGetPCIBusId(self, bus: ctypes.Array[ctypes.c_char], size: int, device: ctypes.c_int) -> int:
        bus.value = b"0000:0%d:00.0" % device.value
        return 0

    def cuDeviceGetAttribute(self, value: object, attribute: int, device: ctypes.c_int) -> int:
        value._obj.value = self.gpus[device.value][2][(75, 76).index(attribute)]  # type: ignore[attr-defined]
        return 0


class FakeNvml:
    """NVML with GPUs whose handles are their PCI addresses; constants and errors are those of pynvml.

    ends: for each link of a GPU the address of the GPU at its other end, "switch", or None for one that is down.
    """

    def __init__(
        self,
        watts: float | None = None,
        ends: tuple[str | None, ...] = (),
        speed: int = 0,
        pcie: tuple[int, int] = (4, 16),
    ) -> None:
        self.watts, self.ends, self.speed, self.pcie = watts, ends, speed, pcie
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        assert not name.startswith("nvml"), f"{name} would ask this machine's driver"
        return getattr(pynvml, name)

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByPciBusId(self, bus: str) -> str:
        return bus

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        if self.watts is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return int(self.watts * 1000)

    def nvmlDeviceGetP2PStatus(self, first: str, second: str, index: int) -> int:
        assert index == pynvml.NVML_P2P_CAPS_INDEX_NVLINK
        linked = {second, "switch"} & set(self.ends)
        return int(pynvml.NVML_P2P_STATUS_OK if linked else pynvml.NVML_P2P_STATUS_NOT_SUPPORTED)

    def nvmlDeviceGetPciInfo(self, handle: str) -> Any:
        return type("PciInfo", (), {"busId": handle})

    def nvmlDeviceGetNvLinkState(self, handle: str, link: int) -> int:
        if link >= len(self.ends):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return int(self.ends[link] is not None)

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, handle: str, link: int) -> int:
        switch = self.ends[link] == "switch"
        return int(pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH if switch else pynvml.NVML_NVLINK_DEVICE_TYPE_GPU)

    def nvmlDeviceGetNvLinkRemotePciInfo(self, handle: str, link: int) -> Any:
        return self.nvmlDeviceGetPciInfo(str(self.ends[link]))

    def nvmlDeviceGetFieldValues(self, handle: str, fields: list[tuple[int, int]]) -> list[Any]:
        """As an H200 answers, whose links have a speed each and none in common."""
        return [self._field(field == pynvml.NVML_FI_DEV_NVLINK_GET_SPEED and self.speed > 0) for field, _ in fields]

    def _field(self, known: bool) -> Any:
        code = pynvml.NVML_SUCCESS if known else pynvml.NVML_ERROR_NOT_SUPPORTED
        value = type("Value", (), {"uiVal": self.speed if known else 0})
        return type("Field", (), {"nvmlReturn": code, "value": value})

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: str) -> int:
        return self.pcie[0]

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: str) -> int:
        return self.pcie[1]


class NoNvml(FakeNvml):
    def nvmlInit(self) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


AMPERE = (8, 0)
H100 = (80 * GIB, b"NVIDIA H100 80GB HBM3", (9, 0))
RTX_4090 = (24 * GIB, b"NVIDIA GeForce RTX 4090", (8, 9))


def with_driver(monkeypatch: pytest.MonkeyPatch, driver: FakeCuda, nvml: FakeNvml | None = None) -> None:
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(nvidia, "pynvml", nvml or NoNvml())


def without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "CUDA_LIBRARY", "libthere-is-no-such-driver.so")


def test_the_gpus_of_the_driver_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [(80 * GIB, b"NVIDIA A100", AMPERE), (24 * GIB, b"NVIDIA RTX A5000", (8, 6))]
    with_driver(monkeypatch, FakeCuda(gpus))
    found = hardware.detect_hardware()
    assert (found.gpu, found.gpu_count, found.gpu_memory_gib, found.bf16) == ("NVIDIA RTX A5000", 2, 24.0, True)
    assert found.source == "probed"
    assert found.cpu_cores == machine.cpu_cores()


def test_the_drivers_cuda_is_that_of_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([(24 * GIB, b"gpu", AMPERE)]))
    assert hardware.cuda_version() == "12.4"
    with_driver(monkeypatch, FakeCuda([], init=hardware.CUDA_NO_GPU[0]))
    assert hardware.cuda_version() is None


@pytest.mark.parametrize(
    ("capabilities", "bf16", "bitsandbytes"),
    [
        ([(5, 2)], False, ()),
        ([(7, 0)], False, ("4bit",)),
        ([(7, 5)], False, ("4bit", "8bit")),
        ([(8, 0)], True, ("4bit", "8bit")),
        ([(9, 0), (7, 0)], False, ("4bit",)),
    ],
)
def test_the_oldest_gpu_decides_what_can_be_used(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: list[tuple[int, int]],
    bf16: bool,
    bitsandbytes: tuple[str, ...],
) -> None:
    with_driver(monkeypatch, FakeCuda([(16 * GIB, b"gpu", capability) for capability in capabilities]))
    found = hardware.detect_hardware()
    assert (found.bf16, found.bitsandbytes) == (bf16, bitsandbytes)


# -- rates, power and link -----------------------------------------------------------------------------------------


def test_rates_are_the_catalogues_and_power_and_link_too_where_nvml_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([H100, H100]))
    found, known = hardware.detect_hardware(), hardware.find_gpu("H100 80GB", 2)
    same = {"gpu", "gpu_memory_gib", "cpu_cores", "ram_gib", "source"}
    assert found.model_dump(exclude=same) == known.model_dump(exclude=same)
    assert found.tflops == 989.4


@pytest.mark.parametrize(
    ("name", "capability"), [(b"A graphics card", (9, 0)), (b"NVIDIA H100 80GB HBM3", (8, 0)), (b"Quadro 6000", (2, 0))]
)
def test_nothing_is_estimated_for_an_unknown_gpu(
    monkeypatch: pytest.MonkeyPatch, name: bytes, capability: tuple[int, int]
) -> None:
    with_driver(monkeypatch, FakeCuda([(6 * GIB, name, capability)]))
    found = hardware.detect_hardware()
    assert (found.gpu, found.gpu_count) == (name.decode(), 1)
    rates = ("bandwidth_gbs", "tflops", "fp8_tflops", "int8_tops", "link_gbs", "power_w")
    assert all(getattr(found, rate) is None for rate in rates)


def test_of_two_cards_with_one_name_the_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for gib, bandwidth in ((10, 760), (12, 912)):
        with_driver(monkeypatch, FakeCuda([(gib * GIB - 10**8, b"NVIDIA GeForce RTX 3080", (8, 6))]))
        assert hardware.detect_hardware().bandwidth_gbs == bandwidth


SECOND = "0000:01:00.0"  # the address that FakeCuda gives to the second GPU


@pytest.mark.parametrize(
    ("nvml", "gbs"),
    [
        (FakeNvml(ends=("switch",) * 18, speed=26_562), 18 * 26.562),
        (FakeNvml(ends=(SECOND, None, SECOND, "0000:07:00.0"), speed=14_062), 2 * 14.062),
        (FakeNvml(ends=("switch",) * 4), 450),
        (FakeNvml(ends=("0000:07:00.0",) * 4, speed=25_000, pcie=(5, 16)), 63.01),
        (FakeNvml(ends=(None,) * 4, pcie=(3, 8)), 7.88),
        (FakeNvml(pcie=(4, 16)), 31.5),
        (FakeNvml(pcie=(99, 16)), 450),
        (NoNvml(), 450),
    ],
    ids=["switch", "2 of 4 links", "no speed", "another GPU's", "down", "no links", "no such generation", "no NVML"],
)
def test_the_link_between_two_gpus_is_measured_or_the_catalogues(
    monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml, gbs: float
) -> None:
    with_driver(monkeypatch, FakeCuda([H100, H100]), nvml)
    assert hardware.detect_hardware().link_gbs == pytest.approx(gbs)
    assert nvml.open == 0


def test_the_worst_of_several_links_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([RTX_4090] * 3), FakeNvml(ends=(SECOND,), speed=50_000))
    assert hardware.detect_hardware().link_gbs == 31.5


def test_the_power_limit_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with_driver(monkeypatch, FakeCuda([RTX_4090]), FakeNvml(watts=320))
    assert (hardware.detect_hardware().power_w, hardware.detect_hardware().link_gbs) == (320, 31.5)
    with_driver(monkeypatch, FakeCuda([RTX_4090]), FakeNvml())
    assert hardware.detect_hardware().power_w == 450


def test_a_part_of_a_gpu_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    part = (int(9.62 * GIB), b"NVIDIA H100 80GB HBM3 MIG 1g.10gb", (9, 0))
    with_driver(monkeypatch, FakeCuda([part]), FakeNvml(watts=700))
    found = hardware.detect_hardware()
    assert found.tflops == pytest.approx(989.4 * 16 / 132, rel=1e-3)
    assert found.bandwidth_gbs == pytest.approx(3350 / 8, rel=1e-3)
    assert (found.power_w, found.link_gbs) == (None, None)


# -- no GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", hardware.CUDA_NO_GPU)
def test_a_driver_without_gpus_means_the_cpu(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with_driver(monkeypatch, FakeCuda([], init=code))
    assert hardware.detect_hardware().gpu_count == 0


@pytest.mark.parametrize("driver", [FakeCuda([], init=999), FakeCuda([(1, b"gpu", AMPERE)], failing="memory")])
def test_a_driver_that_does_not_answer_is_not_taken_for_no_gpu(
    monkeypatch: pytest.MonkeyPatch, driver: FakeCuda
) -> None:
    with_driver(monkeypatch, driver)
    with pytest.raises(StepFailed, match="CUDA error 999"):
        hardware.detect_hardware()


def test_no_driver_means_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path))  # where nobody has measured this machine
    without_driver(monkeypatch)
    found = hardware.detect_hardware()
    assert (found.gpu, found.gpu_count, found.gpu_memory_gib) == (None, 0, 0.0)
    assert (found.bandwidth_gbs, found.bitsandbytes) == (None, ("4bit", "8bit"))
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


# What the CPU was measured to do


def test_a_cpu_is_measured_once_and_advice_reckons_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDK_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(machine, "visible_gpus", list)
    monkeypatch.setattr(cpu_speed, "SECONDS", 0.01)
    assert (hardware.detect_hardware().tflops, hardware.detect_hardware().bandwidth_gbs) == (None, None)
    cpu_speed.measure_cpu()
    found = hardware.detect_hardware()
    assert found.tflops is not None
    assert found.bandwidth_gbs is not None
    assert 1e-4 < found.tflops < 100
    assert 0.1 < found.bandwidth_gbs < 10_000
    file = tmp_path / "state" / cpu_rates.FILE
    before = file.read_bytes()
    cpu_speed.measure_cpu()
    assert file.read_bytes() == before
    other = cpu_rates.CpuRates.model_validate_json(before).model_copy(update={"cpu": "another"})
    cpu_rates.write_cpu_rates(other)
    assert hardware.detect_hardware().tflops is None  # of the machine that the folder was on before
    file.write_text("{")
    assert hardware.detect_hardware().tflops is None
    cpu_speed.measure_cpu()
    assert hardware.detect_hardware().tflops is not None
