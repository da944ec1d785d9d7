"""Accelerators by name: memory, rates, links and power as their vendors give them, each with its source."""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sdk.errors import InvalidInput
from sdk.files.regular_files import read_shipped
from sdk.hardware.nvidia import pcie_gbs
from sdk.lookup import NEAREST, key, unknown
from sdk.records import Backend, Frozen, Hardware

FILE = Path(__file__).with_name("accelerators.json")
CAPABILITY_WITH_BF16 = (8, 0)  # Ampere
# bitsandbytes 0.50, installation guide
CAPABILITY_OF_BITSANDBYTES: dict[Literal["4bit", "8bit"], tuple[int, int]] = {"4bit": (6, 0), "8bit": (7, 5)}
NOISE = {
    *("nvidia", "geforce", "tesla", "rtx", "gtx", "gpu", "generation", "mig"),
    *("amd", "instinct", "radeon", "intel", "apple", "habana"),
}
FORM_FACTOR = r"(sxm|hbm)\d?e?"
SIZE = r"(\d+)gb"
MEMORY_SLICES = 8  # that MIG cuts a GPU's memory into
SIZE_TOLERANCE = 0.1  # what drivers keep of the memory that is on the box, error correction among it


class Slice(Frozen):
    """What a MIG profile gives of a GPU."""

    profile: str
    memory_gib: float
    multiprocessors: int
    memory_slices: int


class Accelerator(Frozen):
    """One entry of accelerators.json; memory is what the driver gives, rates are dense."""

    name: str
    aliases: tuple[str, ...] = ()
    driver_names: tuple[str, ...] = Field(default=(), description="where its driver calls it otherwise")
    vendor: Literal["NVIDIA", "AMD", "Intel", "Apple"]
    architecture: str
    capability: tuple[int, int] | None = Field(default=None, description="CUDA compute capability")
    backend: Backend = "cuda"
    memory_gib: float
    bandwidth_gbs: float
    tflops: float | None = None
    fp8_tflops: float | None = None
    int8_tops: float | None = None
    link: str | None = Field(default=None, description="between GPUs, without a bridge that is bought separately")
    link_gbs: float | None = Field(default=None, description="one direction; that of PCIe follows from its name")
    power_w: float | None = None
    bf16: bool | None = Field(default=None, description="None: by its compute capability, as for bitsandbytes")
    bitsandbytes: tuple[Literal["4bit", "8bit"], ...] | None = None
    approximate: bool = Field(default=False, description="rates depend on the machine or are a share of a whole GPU's")
    multiprocessors: int | None = Field(default=None, description="of the whole GPU, where it can be cut")
    mig: tuple[Slice, ...] = ()
    source: str

    def hardware(self, count: int) -> Hardware:
        pcie = re.fullmatch(r"PCIe (\d)\.0 x(\d+)", self.link or "")
        return Hardware(
            gpu=self.name,
            gpu_count=count,
            gpu_memory_gib=self.memory_gib,
            bf16=has_bf16(self.capability) if self.bf16 is None else self.bf16,
            bandwidth_gbs=self.bandwidth_gbs,
            tflops=self.tflops,
            fp8_tflops=self.fp8_tflops,
            int8_tops=self.int8_tops,
            link_gbs=pcie_gbs(int(pcie[1]), int(pcie[2])) if pcie else self.link_gbs,
            power_w=self.power_w,
            bitsandbytes=bitsandbytes_on(self.capability) if self.bitsandbytes is None else self.bitsandbytes,
            backend=self.backend,
            source="catalogue",
        )

    def slices(self) -> tuple[Accelerator, ...]:
        """Return its MIG instances. Their rates are its own by their share of the multiprocessors and of the memory."""
        return tuple(self._cut(part) for part in self.mig)

    def _cut(self, part: Slice) -> Accelerator:
        def share(rate: float | None) -> float | None:
            return None if rate is None else round(rate * part.multiprocessors / (self.multiprocessors or 1), 1)

        def names(of: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(f"{name} MIG {part.profile}" for name in of)

        return self.model_copy(
            update={
                "name": names((self.name,))[0],
                "aliases": names(self.aliases),
                "driver_names": names(self.driver_names),
                "tflops": share(self.tflops),
                "fp8_tflops": share(self.fp8_tflops),
                "int8_tops": share(self.int8_tops),
                "memory_gib": part.memory_gib,
                "bandwidth_gbs": round(self.bandwidth_gbs * part.memory_slices / MEMORY_SLICES, 1),
                "link": None,  # instances do not reach each other
                "link_gbs": None,
                "power_w": None,
                "approximate": True,
                "mig": (),
                "source": f"{self.source}; its rates scaled to {part.multiprocessors} of {self.multiprocessors} "
                f"multiprocessors and {part.memory_slices} of {MEMORY_SLICES} slices of memory",
            }
        )


def find_gpu(name: str, count: int = 1) -> Hardware:
    """Find GPUs as their driver, vendor or users spell them; "2x h100" counts as well.

    InvalidInput: an unknown name, answered with the nearest; a count below 1, or two that differ.
    """
    counted = re.fullmatch(r"\s*(\d{1,4})\s*[x×*]\s*(\S.*)", name, re.IGNORECASE)
    if counted:
        stated, name = int(counted[1]), counted[2]
        if count not in (1, stated):
            raise InvalidInput(f"{count} GPUs and {stated} are asked for; give one number.")
        count = stated
    if count < 1:
        raise InvalidInput("There must be at least 1 GPU; leave the GPU out to plan for the CPU.")
    entry = _named(name)
    if entry is None:
        otherwise = (
            "on the machine that has it leave --gpu out, in Python give gpu=Hardware(gpu_count=…, gpu_memory_gib=…)"
        )
        raise unknown("GPU", name, _nearest(name), otherwise)
    return entry.hardware(count)


def gpus() -> tuple[Hardware, ...]:
    """Return one GPU of each kind, MIG instances among them; backend tells which the engine was never run on."""
    return tuple(entry.hardware(1) for entry in accelerators())


def of_driver(name: str, capability: tuple[int, int], memory_gib: float) -> Accelerator | None:
    """Find the entry of a GPU that its driver gives this name; of several with one name, the nearest in memory."""
    known = [entry for entry in _by_driver().get(_key(name), ()) if entry.capability == capability]
    return min(known, key=lambda entry: abs(entry.memory_gib - memory_gib), default=None)


def peak_tflops(gpu: str) -> float | None:
    """Return a GPU's rate of dense products by its vendor, TFLOP/s in bf16 with fp32 sums, fp16 before Ampere.

    gpu: the name that its driver gives. None where the figure is not known or depends on more than the name, as for
    a laptop's or a part of a GPU (MIG).
    """
    entry = next(iter(_by_driver().get(_key(gpu), ())), None)
    return None if entry is None or entry.approximate else entry.tflops


def has_bf16(capability: tuple[int, int] | None) -> bool:
    return capability is not None and capability >= CAPABILITY_WITH_BF16


def bitsandbytes_on(capability: tuple[int, int] | None) -> tuple[Literal["4bit", "8bit"], ...]:
    return tuple(bits for bits, least in CAPABILITY_OF_BITSANDBYTES.items() if capability and capability >= least)


@cache
def accelerators() -> tuple[Accelerator, ...]:
    entries: list[dict[str, Any]] = json.loads(read_shipped(FILE))
    whole = [Accelerator.model_validate(entry) for entry in entries]
    return tuple(part for entry in whole for part in (entry, *entry.slices()))


@cache
def _by_name() -> dict[str, Accelerator]:
    return {_key(name): entry for entry in accelerators() for name in (entry.name, *entry.aliases)}


@cache
def _by_driver() -> dict[str, list[Accelerator]]:
    found: dict[str, list[Accelerator]] = {}
    for entry in accelerators():
        for spelled in {_key(name) for name in (entry.name, *entry.aliases, *entry.driver_names)}:
            found.setdefault(spelled, []).append(entry)
    return found


def _named(name: str) -> Accelerator | None:
    """Find a name as it stands, then as drivers give it, then without a memory size or a form factor that fits."""
    exact = _by_name().get(_key(name))
    if exact is None and (called := _by_driver().get(_key(name))):
        exact = min(called, key=lambda entry: entry.memory_gib)  # of several with one name the one that holds least
    without = (_by_name().get(_key(name, less)) for less in (SIZE, "pcie", f"pcie|{SIZE}"))
    return exact or next((entry for entry in without if entry is not None and _fits(entry, _words(name))), None)


def _fits(entry: Accelerator, words: str) -> bool:
    """Tell whether an entry has the memory that a name states, and is no SXM card where the name says PCIe."""
    sizes = re.findall(rf"\b{SIZE}\b", words)
    on_pcie = entry.link is None or entry.link.startswith("PCIe")
    return all(abs(int(size) / entry.memory_gib - 1) < SIZE_TOLERANCE for size in sizes) and (
        on_pcie or not words.endswith(" pcie")
    )


def _nearest(name: str) -> list[str]:
    """Return names of entries whose keys are like this one's: the words that all names share say nothing."""
    near = difflib.get_close_matches(_key(name), list(_by_name()), n=4 * NEAREST, cutoff=0.0)
    return list(dict.fromkeys(_by_name()[match].name for match in near))[:NEAREST]


def _key(name: str, without: str = r"(?!)") -> str:
    return key(_words(name), NOISE, f"{FORM_FACTOR}|{without}")


def _words(name: str) -> str:
    """Spell "RTX4090" and "24 GB" as names have them, with PCIe behind the memory size, where "80GB PCIe" has it."""
    words = re.sub(r"(\d) +gb\b", r"\1gb", re.sub(r"\b(rtx|gtx)(?=\d)", r"\1 ", name.casefold()))
    return re.sub(r"\bpcie\b(.*)", r"\1 pcie", words, count=1, flags=re.DOTALL)
