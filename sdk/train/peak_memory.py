"""Peak memory of a training run."""

from __future__ import annotations

import ctypes
import gc
import threading
from types import TracebackType

import psutil
import torch

_GIB = 2**30
_EVERY_SECONDS = 0.05


class PeakMemory:
    """Peak since `with` was entered, GiB: the allocator's on a GPU; on a CPU the growth of the process, sampled.

    What earlier work has freed is given back first, so that it is not taken again unseen.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._start = self._peak = 0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
            if trim is not None:
                trim(0)
            self._start = self._peak = self._process.memory_info().rss
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def gib(self) -> float:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / _GIB
        return (self._peak - self._start) / _GIB

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)
