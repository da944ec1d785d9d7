"""What the libraries say when memory or disk give out, as errors of ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sdk.errors import StepFailed
from sdk.records import TrainSettings


class MemoryRanOut(StepFailed):
    """In a training step, and smaller micro-batches could help."""


@contextmanager
def failures(settings: TrainSettings) -> Iterator[None]:
    """Turn what memory and disk fail with into StepFailed with what to do next; everything else shows itself."""
    full = "The disk is full; free some space and run the same command again: training goes on where it was."
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if _out_of_memory(error):
            raise StepFailed(
                f"Memory is too small for rows of up to {settings.max_length} tokens, even one by one; turn "
                "gradient_checkpointing on, use qlora-4bit, or with several GPUs shard_base."
            ) from error
        # torch has no type of its own for this.
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise StepFailed(full) from error
        raise
    except OSError as error:
        if error.errno == errno.EIO:
            raise StepFailed(full.replace("is full; free some space", "fails; mend it")) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StepFailed(full) from error


@contextmanager
def memory_of_steps(divisible: bool) -> Iterator[None]:
    """Raise MemoryRanOut where memory runs out and micro-batches can be divided further."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if divisible and _out_of_memory(error):
            raise MemoryRanOut("Memory ran out in a training step.") from error
        raise


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    # On a CPU, and where CUDA itself allocates, torch has no type of its own for it.
    said = str(error)
    known = "DefaultCPUAllocator" in said or "CUDA error: out of memory" in said
    return known or isinstance(error, torch.OutOfMemoryError | MemoryError)
