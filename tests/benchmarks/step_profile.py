"""Where a training step's time goes: the GPU's kernels by share, and the operations that keep the host busy.

    python tests/benchmarks/step_profile.py                  the standard cases
    python tests/benchmarks/step_profile.py "llama-3.1-8b 4 8x2048 packed" …   these, as memory.py writes its rows
    python tests/benchmarks/step_profile.py --waits          one case for two minutes: clocks apart from unseen waits
    python tests/benchmarks/step_profile.py --cpu            a tiny shape, to see that it runs; --waits goes with it

Weights are random. Of each case some steps are timed without the
profiler, two more run under it: the shares are of the time that those without it took.

--waits keeps the GPU under load for WARM_STEPS first, since it clocks down only then. Each step's time is taken by
the host and by a CUDA event at its end, and the SM's clock, the power and what held the clock back are read. Then some
steps run under the profiler in the same process: if their kernels take as long as the steps before it less their gaps,
nothing waits unseen; if kernels are slower in the same clock, the profiler costs; if the clock fell, it is the clock.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import memory

STANDARD = (
    "smollm2 16 8x1024",
    "llama-3.1-8b 4 8x2048 packed",
    "gemma-2-9b 16 4x2048",
    "llama-3.1-8b 16 8x2048 packed",
    "smollm2 4 16x1024",
)
WARM, TIMED, PROFILED = 3, 5, 2
WAITING_CASE = "llama-3.1-8b 4 8x2048 packed"
WARM_STEPS, MEASURED_STEPS = 45, 20  # of about a second each
SHOWN = 22


def _idle(profiler: Any) -> list[str]:
    """Return where the GPU waits for the host: the longest gaps between two kernels, and all of them by length."""
    from torch._C._autograd import DeviceType

    on_gpu = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    spans = sorted((event.time_range.start, event.time_range.end, event.name) for event in on_gpu)
    gaps, last, before = [], 0.0, ""
    for start, end, name in spans:
        if last and start > last:
            gaps.append((start - last, before, name))
        if end > last:
            last, before = end, name
    said = [
        f"  gaps over {least:>5} us: {sum(gap > least for gap, _, _ in gaps) / PROFILED:7.0f} a step, "
        f"{sum(gap for gap, _, _ in gaps if gap > least) / PROFILED / 1e3:7.1f} ms"
        for least in (1, 10, 100, 1000)
    ]
    longest = sorted(gaps, reverse=True)[:8]
    return said + [f"  {gap / 1e3:7.2f} ms between {one[:60]} and {other[:60]}" for gap, one, other in longest]


class Clocks:
    """Reads the SM's clock (MHz), the power (W) and the bits of what holds the clock back; nothing without a GPU."""

    def __init__(self, cuda: bool) -> None:
        self._handle: Any = None
        if cuda:
            import pynvml

            pynvml.nvmlInit()
            self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)

    def read(self) -> tuple[int, int, int]:
        if self._handle is None:
            return 0, 0, 0
        nvml, handle = self._nvml, self._handle
        return (
            nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            nvml.nvmlDeviceGetPowerUsage(handle) // 1000,
            nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )


def waits(case: str, warm: int) -> None:
    """Print each step's time by the host and by CUDA events with the clock, then the same under the profiler."""
    import torch
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from transformers import TrainerCallback

    cuda = torch.cuda.is_available()
    (row,) = memory._standard(f"{case} steps={warm + MEASURED_STEPS + 1 + PROFILED}")
    row |= {"gradient_accumulation_steps": 1, "model": memory.config_of(row)}
    settings, clocks = memory.settings_of(row), Clocks(cuda)
    profiler = torch.profiler.profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])
    steps: list[tuple[float, Any, tuple[int, int, int]]] = []

    class Watch(TrainerCallback):
        ends = MEASURED_STEPS + 1 + PROFILED

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step <= warm:
                return
            event = torch.cuda.Event(enable_timing=True) if cuda else None
            if event is not None:
                event.record()
                event.synchronize()
            steps.append((time.perf_counter(), event, clocks.read()))
            if len(steps) == MEASURED_STEPS + 1:
                profiler.start()
            if len(steps) == self.ends:
                profiler.stop()

    with tempfile.TemporaryDirectory() as folder:
        model = memory.build(row["model"], settings.method)
        rows = memory.rows_of(row, settings, model.config.get_text_config().vocab_size)
        trainer, _ = memory.trainer_of(model, settings, rows, Path(folder))
        trainer.add_callback(Watch())
        trainer.train()
    print(f"\n== waits in {case}, after {warm} steps of load")
    for place, (before, after) in enumerate(pairwise(steps)):
        by_event = before[1].elapsed_time(after[1]) if cuda else 0.0
        clock, watts, reasons = after[2]
        under = " under the profiler" if place >= MEASURED_STEPS else ""
        host = 1e3 * (after[0] - before[0])
        read = f"{clock:5} MHz {watts:4} W held back {reasons:#x}{under}"
        print(f"  {host:8.1f} ms host {by_event:8.1f} ms events {read}")
    found = profiler.key_averages()
    kernels = [event for event in found if event.device_type == DeviceType.CUDA]
    busy = sum(event.self_device_time_total for event in kernels) / PROFILED / 1e3
    plain = [1e3 * (after[0] - before[0]) for before, after in pairwise(steps[: MEASURED_STEPS + 1])]
    print(f"  median {sorted(plain)[len(plain) // 2]:.1f} ms a step; kernels under the profiler {busy:.1f} ms")
    for line in _idle(profiler):
        print(line)


def profile(case: str) -> None:
    import torch
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from transformers import AutoConfig, TrainerCallback

    from tools.layer_bytes.unpatched import unpatched

    (row,) = memory._standard(f"{case} steps={WARM + TIMED + PROFILED}")
    row |= {"gradient_accumulation_steps": 1, "model": memory.config_of(row)}
    settings, cuda = memory.settings_of(row), torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    profiler = torch.profiler.profile(activities=activities)
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:  # read from the GPU, so the step is over there too
                marks.append(time.perf_counter())
                if len(marks) == WARM + TIMED:
                    profiler.start()
                if len(marks) == WARM + TIMED + PROFILED:
                    profiler.stop()

    given = {name: value for name, value in row["model"].items() if name != "model_type"}
    with (
        unpatched(AutoConfig.for_model(row["model"]["model_type"], **given)),
        tempfile.TemporaryDirectory() as folder,
    ):
        model = memory.build(row["model"], settings.method)
        rows = memory.rows_of(row, settings, model.config.get_text_config().vocab_size)
        trainer, tokens = memory.trainer_of(model, settings, rows, Path(folder))
        trainer.add_callback(Clock())
        trainer.train()
    seconds = (marks[WARM + TIMED - 1] - marks[WARM - 1]) / TIMED
    a_step = sum(tokens[WARM : WARM + TIMED]) / TIMED
    found = profiler.key_averages()
    kernels = [event for event in found if event.device_type == DeviceType.CUDA and event.self_device_time_total]
    busy = sum(event.self_device_time_total for event in kernels) / PROFILED / 1e6
    launches = sum(event.count for event in kernels) // PROFILED
    peak = torch.cuda.max_memory_allocated() / memory.GIB if cuda else 0.0
    print(
        f"\n== {case}: {a_step / seconds:,.0f} tok/s, {a_step:,.0f} tokens and {1e3 * seconds:.1f} ms a step, GPU busy "
        f"{1e3 * busy:.1f} ms, {launches:,} launches, {peak:.2f} GiB, losses "
        f"{trainer.state.log_history[0]['loss']:.4f} {trainer.state.log_history[WARM]['loss']:.4f}"
    )
    for line in _idle(profiler):
        print(line)
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:SHOWN]:
        share = event.self_device_time_total / PROFILED / 1e6 / seconds
        print(f"{share:6.1%} {event.count // PROFILED:>6} x  {event.key[:110]}")
    print("  host, own time:")
    on_host = [event for event in found if event.device_type == DeviceType.CPU and "Profiler" not in event.key]
    for event in sorted(on_host, key=lambda event: -event.self_cpu_time_total)[: SHOWN - 4]:
        print(f"{event.self_cpu_time_total / PROFILED / 1e3:8.2f} ms {event.count // PROFILED:>6} x  {event.key[:90]}")
    del trainer, model, rows
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="model, bits, rows x tokens, options")
    parser.add_argument("--cpu", action="store_true", help="a tiny shape")
    parser.add_argument("--waits", action="store_true", help="clocks apart from unseen waits, of one case")
    parser.add_argument("--seconds", type=float, default=110, help="begin no case after so many seconds")
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.waits:
        usual = "tiny 16 2x128 packed" if asked.cpu else WAITING_CASE
        waits((asked.cases or [usual])[0], 2 if asked.cpu else WARM_STEPS)
        return
    for case in asked.cases or (["tiny 16 2x128 packed"] if asked.cpu else STANDARD):
        if time.monotonic() - began < asked.seconds:
            profile(case)


if __name__ == "__main__":
    main()
