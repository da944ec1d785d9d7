"""What a training on a CPU takes of the machine's memory: all its processes, from reading the rows to the last step.

Rows are tokens in a file, so they take bytes, not kilobytes: numbers, lengths and their place in each epoch. What grows
with the cores is the processes that make tokens of many rows; they have ended when the first step begins. The
constants were measured by tests/benchmarks/rows.py (docs/performance.md).
"""

from __future__ import annotations

import math

from sdk.advise.memory import GIB
from sdk.records import Hardware, Memory, Needs, TrainSettings

RUNTIME_GIB = 0.75  # Python with torch, transformers, peft and trl, before a model is loaded
TEMPLATE_GIB = 0.08  # the process that renders chat templates
HELPER_GIB = 0.45  # a process that makes tokens of rows, with that of its template
HELPED_ROWS, MOST_HELPERS = 20_000, 3  # as sdk/model/row_encoder.py has them; a test compares
ROW_BYTES = 48  # while rows are read: hashes of ids and texts, and their sorted copies
ROW_BYTES_OF_AN_EPOCH = 16  # its number in the order of the run, and once more for the trainer


def host_gib(settings: TrainSettings, hardware: Hardware, needs: Needs, memory: Memory) -> float | None:
    """Return the expected peak of all processes' resident memory, GiB; None with a GPU, where it was not measured.

    memory: what the training itself is expected to take.
    """
    if hardware.gpu_count:
        return None
    rows = needs.rows or 0
    helpers = min(MOST_HELPERS, hardware.cpu_cores - 1) if rows > HELPED_ROWS else 0
    epochs = math.ceil(max(1.0, settings.num_train_epochs)) if settings.max_steps <= 0 else 1
    reading = memory.weights + helpers * HELPER_GIB
    of_rows = rows * (ROW_BYTES + epochs * ROW_BYTES_OF_AN_EPOCH) / GIB
    return RUNTIME_GIB + TEMPLATE_GIB + of_rows + max(reading, memory.total)
