"""The behaviour seal against adapters served wrongly and rightly: what is missed, and what is refused without cause.

    python tests/benchmarks/behaviour_zoo.py [--out RESULTS.json] [--adapter NAME …] [--trained FOLDER]

Adapters are trained first, those of FOLDER that lie there are taken: five on the embedded base, and three on
SmolLM2-135M-Instruct (`python -m tools.real_base`). The limits were set by the first three; the others are for seeing
whether they hold. Takes about half an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from sdk.domain import read_domain
from sdk.files.store import embedded_base, shipped
from sdk.likeness import check_likeness, compare_behaviour, likeness_limits
from sdk.model import Chat
from sdk.model.adapter import attach_adapter
from sdk.model.load import load_base
from sdk.model.probes import AT_LOAD, ask_probes, measure_behaviour
from sdk.records import Likeness, Quantization
from sdk.train import Job, train
from tests import behaviour_faults as faults
from tests.tiny import settings
from tools import real_base

STEPS = {"max_steps": 60, "per_device_train_batch_size": 16, "lora_r": 16, "lora_alpha": 64, "max_length": 256}


@dataclass(frozen=True)
class Trained:
    name: str
    base: str
    domain: str
    changes: dict[str, Any]
    tuned: bool = False  # the limits were set by it
    options: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        real = {"max_steps": 24, "per_device_train_batch_size": 8, "lora_alpha": 32} if self.base == "real" else {}
        object.__setattr__(self, "options", {**STEPS, **real, **self.changes})


ADAPTERS = (
    Trained("finance", "embedded", "finance", {"learning_rate": 6e-3}, tuned=True),
    Trained("finance-mild", "embedded", "finance", {"learning_rate": 1e-3}, tuned=True),
    Trained("real-finance", "real", "finance", {"max_steps": 20, "learning_rate": 5e-4}, tuned=True),
    Trained("medical", "embedded", "medical", {"learning_rate": 3e-3, "lora_alpha": 32, "seed": 1}),
    Trained(
        "finance-rslora",
        "embedded",
        "finance",
        {"learning_rate": 3e-3, "lora_r": 8, "lora_alpha": 16, "use_rslora": True, "seed": 2},
    ),
    Trained(
        "medical-dora",
        "embedded",
        "medical",
        {"learning_rate": 3e-3, "lora_alpha": 32, "max_steps": 40, "use_dora": True, "seed": 3},
    ),
    Trained(
        "finance-nf4",
        "embedded",
        "finance",
        {"learning_rate": 3e-3, "lora_alpha": 32, "method": "qlora-4bit", "seed": 4},
    ),
    Trained("real-medical", "real", "medical", {"learning_rate": 2e-4, "seed": 1}),
    Trained("real-finance-mild", "real", "finance", {"learning_rate": 5e-5, "seed": 5}),
)


def train_adapter(trained: Trained, base: Path, folder: Path) -> Path:
    adapter = folder / trained.name / "adapter"
    if adapter.is_dir():
        return adapter
    domain, rows = read_domain(shipped("domains") / trained.domain), shipped("domains") / trained.domain / "train.jsonl"
    if trained.base == "real":  # which knows English
        lines = [line for line in rows.read_text(encoding="utf-8").splitlines(True) if '"language": "en"' in line]
        rows = folder / f"{trained.domain}-en.jsonl"
        rows.write_text("".join(lines), encoding="utf-8")
    out = folder / trained.name
    train(Job(rows, str(base), domain.prompt, settings(**trained.options), out, 0), lambda *told: None)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return adapter


class Zoo:
    """One adapter in every form, and what the seal says of each."""

    def __init__(self, trained: Trained, base: Path, adapter: Path, others: dict[str, bytes]) -> None:
        self.trained, self.base, self.others = trained, base, others
        self.config = json.loads((adapter / "adapter_config.json").read_bytes())
        self.weights = (adapter / "adapter_model.safetensors").read_bytes()
        self.method = trained.options.get("method", "lora")
        self.no_8_bits = bool(trained.options.get("use_dora"))  # PEFT's fails over bitsandbytes' 8 bits on a CPU
        self.rows: list[dict[str, Any]] = []
        self.languages = ("en",) if trained.base == "real" else ("en", "zh")
        self.prompt = read_domain(shipped("domains") / trained.domain).prompt
        self.kept = faults.kept(self.load("lora"), torch.bfloat16)
        model = self.load(self.method)
        began = time.process_time()
        self.behaviour = measure_behaviour(model, self.chat, self.prompt, self.languages)
        self.seconds = {"measure": time.process_time() - began}
        began = time.process_time()
        ask_probes(model, self.behaviour, AT_LOAD)
        self.seconds["at load"] = time.process_time() - began
        began = time.process_time()
        ask_probes(model, self.behaviour)
        self.seconds["all"] = time.process_time() - began

    def load(self, method: str) -> PeftModel:
        model, tokenizer = load_base(str(self.base), Quantization(method=method))  # type: ignore[arg-type]
        self.chat = Chat(tokenizer)
        return attach_adapter(model, self.config, self.weights)

    def note(self, kind: str, name: str, form: str, bits: int, model: PreTrainedModel | PeftModel) -> None:
        answers = ask_probes(model, self.behaviour)
        whole, first = (compare_behaviour(self.behaviour, answers[:count]) for count in (len(answers), AT_LOAD))
        row = {"kind": kind, "name": name, "form": form, "bits": bits}
        self.rows.append({**row, "whole": whole.model_dump(), "first": first.model_dump()})

    def run(self) -> None:
        self.right()
        self.wrong(self.load(self.method), "as trained", 16, base=True)
        if self.behaviour.bits == 16:
            few = self.trained.base == "real"
            if not few and not self.no_8_bits:
                self.wrong(self.load("qlora-8bit"), "8 bits", 8)
            self.wrong(self.load("qlora-4bit"), "NF4", 4, few=few)

    def right(self) -> None:
        model = self.load(self.method)
        bits = self.behaviour.bits
        self.note("right", "itself", "as trained", 16, model)
        for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
            if bits == 16:
                self.note("right", name, name, 16, self.load(self.method).to(dtype))
            merged = faults.merged(model if bits == 16 else self.load("lora"), dtype)
            self.note("right", f"merged, {name}", name, min(8 if name == "bfloat16" else 16, bits), merged)
        plain = model if bits == 16 else self.load("lora")
        self.note("right", "merged, float32", "float32", min(16, bits), faults.merged(plain))
        if bits == 16:
            if not self.no_8_bits:
                self.note("right", "over a base in 8 bits", "int8", 8, self.load("qlora-8bit"))
            self.note("right", "over a base in NF4", "NF4", 4, self.load("qlora-4bit"))
            self.note("lossy", "merged into NF4", "NF4", 4, self.load("qlora-4bit").merge_and_unload())
        for name, rounding in ROUNDINGS.items():
            form_bits = 8 if "8" in name else 4
            self.note("right", f"merged, {name}", name, min(form_bits, bits), faults.quantized(plain, rounding))

    def wrong(self, model: PeftModel, form: str, bits: int, base: bool = False, few: bool = False) -> None:
        served = faults.Served(model, self.others)
        with model.disable_adapter():
            self.note("wrong", "base instead of adapter", form, bits, model)
        for kind, table in (("wrong", faults.OF_THE_ADAPTER), ("small", faults.SMALL)):
            for name, change in table.items():
                if few and name not in faults.FEW:
                    continue
                with faults.restored(served):
                    change(served)
                    self.note(
                        "small" if bits == 4 and name in faults.SMALL_IN_4_BITS else kind, name, form, bits, model
                    )
        if not base:
            return
        plain = self.behaviour.bits == 16
        for name, change in {**(faults.OF_THE_BASE if plain else {}), **faults.of_others([*self.others])}.items():
            if plain or "added" not in name:
                with faults.restored(served, base=plain):
                    change(served)
                    self.note("wrong", name, form, bits, model)
        for name, make in (("tied head lost", faults.head_lost), ("activations overflow", faults.overflowing)):
            if plain:
                self.note("wrong", name, form, bits, make(model))
        if self.trained.options.get("use_dora"):
            self.note("wrong", "DoRA's magnitude lost", form, bits, without_magnitude(self))


ROUNDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "8 bits in blocks (Q8_0)": lambda weight: faults.in_blocks(weight, 8),
    "8 bits a row (INT8)": lambda weight: faults.by_row(weight, 8),
    "8-bit floats a row (FP8)": faults.in_8_bit_floats,
    "4 bits in blocks (Q4_0)": lambda weight: faults.in_blocks(weight, 4),
}


def without_magnitude(zoo: Zoo) -> PeftModel:
    import safetensors.torch

    tensors = safetensors.torch.load(zoo.weights)
    weights = safetensors.torch.save({name: each for name, each in tensors.items() if "magnitude" not in name})
    model, _ = load_base(str(zoo.base), "lora")
    return attach_adapter(model, {name: each for name, each in zoo.config.items() if name != "use_dora"}, weights)


def outcome(row: dict[str, Any], probes: str) -> str:
    check = check_likeness(Likeness.model_validate(row[probes]), likeness_limits(row["bits"]))
    return "passed" if check.passed else "refused"


def fits(one: Path, other: Path) -> bool:
    shared = ("peft_type", "r", "use_dora", "target_modules")
    first, second = (json.loads((each / "adapter_config.json").read_bytes()) for each in (one, other))
    return all(first.get(name) == second.get(name) for name in shared)


def summed_up(results: dict[str, Any]) -> Iterator[str]:
    """Say how many forms pass and how many are refused; by the first probes, of those as trained."""
    for tuned in (True, False):
        rows = [(name, row) for name, one in results.items() if one["tuned"] == tuned for row in one["rows"]]
        for probes in ("whole", "first"):
            for kind in ("right", "wrong", "small", "lossy"):
                tried = [
                    (name, row, outcome(row, probes))
                    for name, row in rows
                    if row["kind"] == kind and (probes == "whole" or row["form"] == "as trained")
                ]
                counts = Counter(found for *_, found in tried)
                said = ", ".join(f"{count} {found}" for found, count in sorted(counts.items()))
                yield f"{'tuned' if tuned else 'held out'}, {probes} probes, {kind}: {said or 'none'}"
                expected = "passed" if kind == "right" else "refused"
                yield from (
                    f"    {found}: {name}, {row['name']} ({row['form']}): {brief(row[probes])}"
                    for name, row, found in tried
                    if found != expected
                )


def brief(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figures[name]:.4f}" for name in ("effect", "distance", "difference"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="of earlier runs, which are added to")
    parser.add_argument("--adapter", nargs="*", choices=[each.name for each in ADAPTERS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [each for each in ADAPTERS if given.adapter is None or each.name in given.adapter]
    results: dict[str, Any] = {}
    for path in given.results:
        results |= json.loads(path.read_bytes())["adapters"]
    with tempfile.TemporaryDirectory() as made:
        folder = given.trained or Path(made)
        bases = {"embedded": embedded_base()}
        if any(each.base == "real" for each in chosen):
            bases["real"] = real_base.prepare()
        adapters = {each.name: train_adapter(each, bases[each.base], folder) for each in chosen}
        for each in chosen:
            others = {
                other.name: (adapters[other.name] / "adapter_model.safetensors").read_bytes()
                for other in chosen
                if other.name != each.name
                and other.base == each.base
                and fits(adapters[each.name], adapters[other.name])
            }
            zoo = Zoo(each, bases[each.base], adapters[each.name], others)
            zoo.run()
            results[each.name] = {
                "base": each.base,
                "options": each.options,
                "tuned": each.tuned,
                "seconds": {name: round(seconds, 3) for name, seconds in zoo.seconds.items()},
                "kept_by_bfloat16": round(zoo.kept, 3),
                "probes": len(zoo.behaviour.probes),
                "texts": len(zoo.behaviour.texts),
                "bytes": len(zoo.behaviour.to_bytes()),
                "rows": zoo.rows,
            }
            print(f"{each.name}: {results[each.name]['seconds']}, {len(zoo.rows)} forms", flush=True)
    print(*summed_up(results), sep="\n")
    if given.out:
        report = {
            "command": "python tests/benchmarks/behaviour_zoo.py",
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
            "adapters": results,
        }
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
