"""What the catalogue says of accelerators, and how their names are understood."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.errors import InvalidInput
from sdk.hardware import find_gpu, gpus, peak_tflops
from sdk.hardware.catalogue import FILE, Accelerator, _key, accelerators, of_driver

ENTRIES = accelerators()
WHOLE = [entry for entry in ENTRIES if " MIG " not in entry.name]
NVIDIA = [entry for entry in ENTRIES if entry.vendor == "NVIDIA"]

# GB/s that one accelerator of the architecture has, by its memory: GDDR, HBM, LPDDR
BANDWIDTH = {
    "GDDR": (150, 1800, {"Turing", "Ada", "RDNA 3", "Xe-HPG", "Xe2"}),
    "HBM": (900, 8000, {"Volta", "Hopper", "CDNA 2", "CDNA 3", "CDNA 4", "Xe-HPC", "Gaudi"}),
    "LPDDR": (150, 900, {"M1", "M2", "M3", "M4"}),
}
HBM_CAPABILITIES = {(7, 0), (8, 0), (9, 0), (10, 0), (10, 3)}


def kind_of_memory(entry: Accelerator) -> str:
    if entry.capability in {(8, 7), (12, 1)}:
        return "LPDDR"
    if entry.capability:
        return "HBM" if entry.capability in HBM_CAPABILITIES else "GDDR"
    return next(kind for kind, (_, _, architectures) in BANDWIDTH.items() if entry.architecture in architectures)


def test_there_are_enough_and_each_has_its_source() -> None:
    written = json.loads(FILE.read_text(encoding="utf-8"))
    assert len(written) == len(WHOLE) >= 100
    assert all(len(entry.source) > 30 and entry.source.startswith(entry.vendor) for entry in ENTRIES)
    assert {entry.vendor for entry in ENTRIES} == {"NVIDIA", "AMD", "Intel", "Apple"}
    assert len(gpus()) == len({gpu.gpu for gpu in gpus()}) == len(ENTRIES)


def test_names_are_unambiguous() -> None:
    keys = [_key(name) for entry in ENTRIES for name in (entry.name, *entry.aliases)]
    assert all(keys)
    assert sorted(set(keys)) == sorted(keys)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_figures_can_be_true(entry: Accelerator) -> None:
    hardware = entry.hardware(1)
    assert 4 <= entry.memory_gib <= 512
    if entry in WHOLE:
        low, high, _ = BANDWIDTH[kind_of_memory(entry)]
        assert low <= entry.bandwidth_gbs <= high
    if entry.tflops:
        assert entry.int8_tops is None or entry.int8_tops >= 0.99 * entry.tflops
        assert entry.fp8_tflops is None or entry.fp8_tflops >= 0.99 * entry.tflops
        assert 25 < entry.tflops * 1000 / entry.bandwidth_gbs < 600  # operations a byte
    if entry.power_w and entry.tflops:
        assert 0.05 < entry.tflops / entry.power_w < 4
    assert (hardware.link_gbs is None) or (5 < hardware.link_gbs <= 900)
    assert (entry.link_gbs is None) or not (entry.link or "").startswith("PCIe")


@pytest.mark.parametrize("entry", NVIDIA, ids=lambda entry: entry.name)
def test_what_an_nvidia_gpu_can_follows_its_compute_capability(entry: Accelerator) -> None:
    hardware = entry.hardware(1)
    assert entry.capability
    assert hardware.bf16 == (entry.capability >= (8, 0))
    assert entry.capability >= (8, 9) or entry.fp8_tflops is None
    assert (hardware.backend, entry.bf16) == ("cuda", None)
    if "Jetson" not in entry.name:
        assert hardware.bitsandbytes == (("4bit",) if entry.capability == (7, 0) else ("4bit", "8bit"))


def test_others_than_nvidias_say_how_torch_drives_them() -> None:
    backends = {entry.hardware(1).backend for entry in ENTRIES if entry.vendor != "NVIDIA"}
    assert backends == {"rocm", "xpu", "mps", "hpu"}


@pytest.mark.parametrize("whole", [entry for entry in WHOLE if entry.mig], ids=lambda entry: entry.name)
def test_slices_are_parts_of_their_gpu(whole: Accelerator) -> None:
    parts = whole.slices()
    assert [part.name for part in parts] == [f"{whole.name} MIG {profile.profile}" for profile in whole.mig]
    for part in parts:
        assert part.memory_gib < whole.memory_gib
        assert (part.tflops or 0) <= (whole.tflops or 0)
        assert part.bandwidth_gbs <= whole.bandwidth_gbs
        assert (part.link, part.hardware(1).link_gbs, part.power_w) == (None, None, None)
        assert part.source != whole.source
    assert parts[-1].name.endswith(whole.mig[-1].profile)
    assert parts[-1].bandwidth_gbs == whole.bandwidth_gbs


def test_a_slice_has_its_share_of_the_rates() -> None:
    part = find_gpu("A100 40GB MIG 3g.20gb")  # 42 of 108 multiprocessors, half of the memory
    assert (part.tflops, part.int8_tops, part.bandwidth_gbs) == (121.3, 242.7, 777.5)


# -- names ---------------------------------------------------------------------------------------------------------

SPELLINGS = {
    "rtx 4090": "GeForce RTX 4090",
    "RTX4090": "GeForce RTX 4090",
    "4090": "GeForce RTX 4090",
    "GeForce RTX 4090 24 GB": "GeForce RTX 4090",
    "NVIDIA GeForce RTX 4090": "GeForce RTX 4090",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "GeForce RTX 4090 Laptop GPU",
    "4090 laptop": "GeForce RTX 4090 Laptop GPU",
    "rtx3060ti": "GeForce RTX 3060 Ti",
    "RTX 4060 Ti 8GB": "GeForce RTX 4060 Ti",
    "RTX 4060 Ti 16GB": "GeForce RTX 4060 Ti 16GB",
    "Tesla T4": "Tesla T4",
    "t4 16gb": "Tesla T4",
    "Tesla V100-SXM2-32GB": "Tesla V100 32GB",
    "Tesla V100-PCIE-16GB": "Tesla V100 PCIe 16GB",
    "Quadro RTX 6000": "Quadro RTX 6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "a6000": "RTX A6000",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "RTX PRO 6000 Blackwell",
    "NVIDIA A100-SXM4-80GB": "A100 80GB",
    "NVIDIA A100-SXM4-40GB": "A100 40GB",
    "NVIDIA A100-PCIE-40GB": "A100 40GB",
    "NVIDIA A100 80GB PCIe": "A100 80GB PCIe",
    "A30 PCIe": "A30",
    "a100": "A100 80GB",
    "NVIDIA A10G": "A10G",
    "NVIDIA H100 80GB HBM3": "H100 80GB",
    "H100 SXM5": "H100 80GB",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 PCIe 80GB": "H100 PCIe",
    "H100-PCIE-80GB": "H100 PCIe",
    "h800 pcie 80 gb": "H800 PCIe",
    "A100 PCIe 80GB": "A100 80GB PCIe",
    "A100 40GB PCIe": "A100 40GB",
    "V100 32GB PCIe": "Tesla V100 PCIe 32GB",
    "NVIDIA GH200 480GB": "GH200 96GB",
    "NVIDIA GH200 144G HBM3e": "GH200 144GB",
    "NVIDIA B300 SXM6 AC": "B300",
    "NVIDIA H100 NVL": "H100 NVL",
    "H100 NVL 94GB": "H100 NVL",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb": "H100 80GB MIG 1g.10gb",
    "h100 1g.10gb": "H100 80GB MIG 1g.10gb",
    "NVIDIA A100-SXM4-40GB MIG 3g.20gb": "A100 40GB MIG 3g.20gb",
    "NVIDIA H200 MIG 1g.18gb": "H200 MIG 1g.18gb",
    "h200": "H200",
    "NVIDIA GB10": "GB10",
    "DGX Spark": "GB10",
    "AMD Instinct MI300X": "Instinct MI300X",
    "mi300x": "Instinct MI300X",
    "Radeon RX 7900 XTX": "Radeon RX 7900 XTX",
    "Intel Arc A770": "Arc A770 16GB",
    "gaudi 3": "Gaudi 3",
    "M4 Max": "Apple M4 Max",
}


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_a_gpu_is_found_however_it_is_spelled(spelling: str, name: str) -> None:
    found = find_gpu(spelling)
    assert (found.gpu, found.gpu_count, found.source) == (name, 1, "catalogue")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rtx 4099", "GeForce RTX 4090"),
        ("RTX 4090 48GB", "GeForce RTX 4090"),
        ("RTX 6000", "RTX 6000 Ada"),
        ("H1000", "H100 80GB"),
        ("NVIDIA A40-48Q", "A40"),
        ("h100 5g.50gb", "H100 80GB MIG 3g.40gb"),
        ("H200 PCIe", "H100 PCIe"),
        ("H100 PCIe 40GB", "H100 PCIe"),
        ("NVIDIA A100-SXM-64GB", "A100"),
        ("MI300", "Instinct MI300X"),
        ("\0", ""),
        ("", ""),
        ("2x", ""),
        ("x" * 10_000, ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InvalidInput, match="nearest names") as caught:
        find_gpu(name)
    assert any(near in fault for fault in caught.value.faults)
    assert 1 <= len(caught.value.faults) <= 5
    assert len(str(caught.value)) < 1000
    for fault in caught.value.faults:
        assert find_gpu(fault)


@pytest.mark.parametrize("name", ["2x h100", "2 x H100 80GB", "2× NVIDIA H100 80GB HBM3", " 2*h100 "])
def test_a_name_may_say_how_many(name: str) -> None:
    assert find_gpu(name) == find_gpu(name, 2) == find_gpu("h100", 2)
    assert find_gpu(name).gpu_count == 2


@pytest.mark.parametrize(("name", "count"), [("2x h100", 4), ("0x h100", 1), ("h100", 0), ("h100", -1)])
def test_a_number_of_gpus_that_cannot_be_is_refused(name: str, count: int) -> None:
    with pytest.raises(InvalidInput, match="GPU"):
        find_gpu(name, count)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_found_by_what_its_driver_calls_it(entry: Accelerator) -> None:
    """Or another of that name which holds less, since a name alone does not tell them apart."""
    prefix = "NVIDIA " if entry.vendor == "NVIDIA" else ""
    for name in entry.driver_names or (entry.name,):
        found = find_gpu(prefix + name)
        assert found.gpu == entry.name or found.gpu_memory_gib < entry.memory_gib
    assert find_gpu(prefix + entry.name).gpu == find_gpu(entry.name).gpu == entry.name


@pytest.mark.parametrize(
    "entry", [entry for entry in WHOLE if "PCIe" in entry.name or "NVL" in entry.name], ids=lambda entry: entry.name
)
def test_no_spelling_of_a_form_factor_finds_another(entry: Accelerator) -> None:
    form = re.findall("PCIe|NVL", entry.name)[0]
    card = re.sub(rf" *\b(Tesla|{form}|\d+GB)\b *", " ", entry.name).strip()
    size = f"{round(entry.memory_gib)}GB"
    for name in (f"{card} {form} {size}", f"{card} {size} {form}", f"NVIDIA {card}-{form}-{size}"):
        assert find_gpu(name).bandwidth_gbs == entry.bandwidth_gbs


# -- drivers -------------------------------------------------------------------------------------------------------

DRIVERS = {  # name -> (TFLOP/s, link in GB/s)
    "NVIDIA B200": (2250, 900),
    "NVIDIA GB200": (2500, 900),
    "NVIDIA B300 SXM6 AC": (2250, 900),
    "NVIDIA H200": (989.4, 450),
    "NVIDIA GH200 480GB": (989.4, 450),
    "NVIDIA GH200 120GB": (989.4, 450),
    "NVIDIA GH200 144G HBM3e": (989.4, 450),
    "NVIDIA H100": (989.4, 450),
    "NVIDIA H100 80GB HBM3": (989.4, 450),
    "NVIDIA H800": (989.4, 200),
    "NVIDIA H100 NVL": (835.5, 300),
    "NVIDIA H100 PCIe": (756.5, 63.01),
    "NVIDIA A100-SXM4-80GB": (312, 300),
    "NVIDIA A100-SXM-80GB": (312, 300),
    "NVIDIA A100-SXM4-40GB": (312, 300),
    "NVIDIA A100-PCIE-40GB": (312, 300),
    "NVIDIA A100-PG509-200": (312, 300),
    "NVIDIA A100 80GB PCIe": (312, 31.5),
    "NVIDIA A800-SXM4-80GB": (312, 200),
    "NVIDIA A800 80GB PCIe": (312, 31.5),
    "NVIDIA A30": (165, 31.5),
    "NVIDIA A40": (149.7, 31.5),
    "NVIDIA A10": (125, 31.5),
    "NVIDIA A10G": (70, 31.5),
    "NVIDIA L40S": (362.1, 31.5),
    "NVIDIA L40": (181.1, 31.5),
    "NVIDIA L4": (121, 31.5),
    "NVIDIA RTX A6000": (154.8, 31.5),
    "NVIDIA GeForce RTX 5090": (209.5, 63.01),
    "NVIDIA GeForce RTX 5080": (112.6, 63.01),
    "NVIDIA GeForce RTX 4090": (165.2, 31.5),
    "NVIDIA GeForce RTX 4080": (97.5, 31.5),
    "NVIDIA GeForce RTX 3090": (71, 31.5),
    "NVIDIA GeForce RTX 3080": (59.5, 31.5),
    "NVIDIA GeForce RTX 3070": (40.6, 31.5),
    "Tesla T4": (65, 15.76),
    "Tesla V100-SXM2-16GB": (125, 150),
    "Tesla V100-SXM2-32GB": (125, 150),
    "Tesla V100-PCIE-16GB": (112, 15.76),
    "Tesla V100-PCIE-32GB": (112, 15.76),
}


@pytest.mark.parametrize(("name", "expected"), DRIVERS.items())
def test_drivers_names_are_known(name: str, expected: tuple[float, float]) -> None:
    tflops, link = expected
    assert peak_tflops(name) == tflops
    capabilities = {entry.capability for entry in ENTRIES if entry.capability}
    (found,) = filter(None, (of_driver(name, capability, 0) for capability in capabilities))
    assert found.tflops == tflops
    assert found.hardware(2).link_gbs == pytest.approx(link)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA A100-SXM4-80GB MIG 3g.40gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A40-48Q", "NVIDIA L400", ""],
)
def test_a_peak_is_only_given_where_the_name_decides_it(name: str) -> None:
    assert peak_tflops(name) is None


def test_neither_torch_nor_the_driver_is_needed_to_look_something_up() -> None:
    code = "import sys; from sdk.hardware import find_gpu; find_gpu('t4'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_catalogue_travels_with_the_code() -> None:
    assert FILE.parent == Path(sys.modules[Accelerator.__module__].__file__ or "").parent
