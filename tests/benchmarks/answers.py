"""How long an answer of the advisor takes, and what it is made of: seconds of processor time, the least of five.

    python tests/benchmarks/answers.py

No GPU is needed; modules are compiled beforehand, as for a user.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

MADE_OF = {
    "a process that answers": (
        "import time; from sdk.advise import advise, find_gpu, find_model; from sdk.records import Needs; "
        "advise(find_model('llama-3.1-8b'), find_gpu('rtx 4090'), Needs(accuracy='high')); print(time.process_time())"
    ),
    "sdk advise, a process": (
        "import contextlib, io, sys, time; from sdk.cli import main\n"
        "sys.argv[1:] = ['advise', 'llama-3.1-8b', '--gpu', 'rtx 4090']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()\n"
        "print(time.process_time())"
    ),
}


def main() -> None:
    for name, code in MADE_OF.items():
        command = [sys.executable, "-c", code]
        told = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(5)]
        print(f"{name:32} {min(float(line.split()[-1]) for line in told):.3f}")
    from sdk import hardware
    from sdk.advise import advise, find_gpu, find_model, models
    from sdk.records import Needs

    def looked_up() -> None:
        models._entries.cache_clear()
        find_model("llama-3.1-8b")

    model, gpu = find_model("llama-3.1-8b"), find_gpu("rtx 4090")
    for name, call in {
        "an answer in a warm process": lambda: advise(model, gpu, Needs(accuracy="high")),
        "a model found by its name": looked_up,
        "the hardware detected": hardware.detect_hardware,
    }.items():
        print(f"{name:32} {least(call):.3f}")


def least(call: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        start = time.process_time()
        call()
        took.append(time.process_time() - start)
    return min(took)


if __name__ == "__main__":
    main()
