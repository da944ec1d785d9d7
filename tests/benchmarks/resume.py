"""Whether a run that is interrupted and gone on from ends with the bytes of one that is not, on this machine's GPU.

    python tests/benchmarks/resume.py                  for each method
    python tests/benchmarks/resume.py --graphs         with layers replayed as CUDA graphs; two minutes, and exit 1
                                                       unless all bytes are the same
    python tests/benchmarks/resume.py --graphs --cpu   the same with recordings that a CPU plays

For each method, with torch's usual kernels and with deterministic ones: the adapter of an uninterrupted run, of the
same run again, and of one that was stopped at step 7 of 12; and a run whose memory is made too small on purpose. With
--graphs passes are of several sizes, in an order that lets the run that goes on meet them in another one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import safetensors.torch
import torch

from sdk.files.store import embedded_base
from sdk.records import Run, TrainSettings
from sdk.train import Job, train
from sdk.train.engine import graphs, install
from tests.played_recording import PlayedRecording

LENGTH = 256
ON_CPU: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 4}
ROWS = Path(__file__).parents[2] / "domains" / "finance" / "train.jsonl"


def once(out: Path, method: str, stop: int = 0, **changes: Any) -> Run:
    settings = TrainSettings(
        **{
            "method": method,
            "lora_r": 16,
            "lora_alpha": 32,
            "lora_dropout": 0.05,
            "learning_rate": 2e-3,
            "num_train_epochs": 1,
            "max_steps": 12,
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 2,
            "gradient_checkpointing": False,
            "packing": True,
            "max_length": LENGTH,
            **changes,
        }
    )

    def progress(what: str, done: int, total: int | None, figures: Mapping[str, float]) -> None:
        if done == stop and stop:
            raise KeyboardInterrupt

    return train(Job(ROWS, str(embedded_base()), "", settings, out, 0), progress)


def adapter(out: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(out / "adapter" / "adapter_model.safetensors")


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    worst = max(float((one[name] - other[name]).abs().max()) for name in one)
    return "same bytes" if worst == 0 else f"up to {worst:.1e} apart"


def compare(method: str, folder: Path, stop: int = 7, **changes: Any) -> tuple[str, str]:
    whole, again, cut = folder / "whole", folder / "again", folder / "cut"
    once(whole, method, **changes)
    once(again, method, **changes)
    with suppress(KeyboardInterrupt):
        once(cut, method, stop=stop, **changes)
    resumed = once(cut, method, **changes)
    assert resumed.resumed_from_step == stop - 1, resumed.resumed_from_step
    return apart(adapter(whole), adapter(again)), apart(adapter(whole), adapter(cut))


def out_of_memory(folder: Path) -> str:
    """A real lack of memory on the GPU: as much is left to torch as the model and half of a micro-batch need."""
    large = {"per_device_train_batch_size": 512, "gradient_accumulation_steps": 1, "max_steps": 4}
    plain = once(folder / "plain", "lora", **large)
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.7 * plain.memory_measured_gib / total)
    try:
        run = once(
            folder / "small", "lora", per_device_train_batch_size=512, gradient_accumulation_steps=1, max_steps=4
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gap = max(abs(a.loss - b.loss) for a, b in zip(plain.losses, run.losses, strict=True))
    return f"{plain.memory_measured_gib:.2f} -> {run.memory_measured_gib:.2f} GiB, losses {gap:.1e} apart: {run.notes}"


def watch_recordings(cpu: bool) -> list[graphs.GraphedLayers]:
    """Return a list that gets the layers of each run; on a CPU, those that play recordings."""
    made: list[graphs.GraphedLayers] = []
    usual = graphs.GraphedLayers

    class Watched(usual):  # type: ignore[misc, valid-type]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    install.GraphedLayers = Watched  # type: ignore[misc]
    if cpu:
        graphs.Recording = PlayedRecording  # type: ignore[misc, assignment]
        torch.cuda.graph_pool_handle = tuple  # type: ignore[assignment]
        answer, largest = install.answer_with_loss, ON_CPU["per_device_train_batch_size"] * LENGTH

        def answer_by_recordings(base: Any, refresh: Any, *rest: Any) -> None:
            trained = [value for value in base.parameters() if value.requires_grad]
            answer(base, refresh, layers=Watched(install.body_of(base), trained, largest))

        install.answer_with_loss = answer_by_recordings
    return made


def prove_graphs(cpu: bool) -> bool:
    """Compare runs whose layers are replayed. Returns whether all ended with the same bytes, and some were replayed."""
    made, began, same = watch_recordings(cpu), time.monotonic(), True
    for method in ("lora",) if cpu else ("lora", "qlora-4bit", "qlora-8bit"):
        for packing in (False, True):
            changes = {"per_device_train_batch_size": 4, "stop": 7} | ({**ON_CPU, "stop": 3} if cpu else {})
            with tempfile.TemporaryDirectory() as folder:
                again, cut = compare(method, Path(folder), cuda_graphs=True, packing=packing, **changes)
            sizes = [sorted(layers._recordings) for layers in made]
            failed = [repr(error) for layers in made for error in layers.failures]
            said = f"{method:<11} {'packed' if packing else 'in batches':<10} run again: {again:<22} resumed: {cut:<22}"
            print(f"{said} {time.monotonic() - began:.0f} s; sizes {sizes}; failed {failed}", flush=True)
            same = same and {again, cut} == {"same bytes"} and all(sizes) and not failed
            made.clear()
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="with --graphs: recordings that a CPU plays")
    asked = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, torch {torch.__version__}, python {sys.version.split()[0]}")
    if asked.graphs:
        sys.exit(0 if prove_graphs(asked.cpu) else "layers that are replayed do not end with the same bytes")
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        for method in ("lora", "lora-fp8", "qlora-4bit", "qlora-8bit"):
            with tempfile.TemporaryDirectory() as folder:
                again, cut = compare(method, Path(folder))
            kernels = "deterministic" if deterministic else "usual"
            print(f"{method:<11} {kernels:<14} run again: {again:<22} stopped and resumed: {cut}", flush=True)
    torch.use_deterministic_algorithms(False)
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            print("memory ran out:", out_of_memory(Path(folder)))


if __name__ == "__main__":
    main()
