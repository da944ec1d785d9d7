"""Files of public benchmarks. No project is needed and nothing is recorded.

Reading their forms brings Arrow, which is imported where it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdk.files.store import write_atomic


class PreparedBenchmark(NamedTuple):
    """A prepared file: its SHA-256, the questions in it and the examples that may be shown before them."""

    path: Path
    sha256: str
    questions: int
    examples: int


def prepare_benchmark(name: str, sources: Sequence[Path], out: Path) -> PreparedBenchmark:
    """Write one file of a benchmark from somebody's files or folders of it. InvalidInput names every faulty row."""
    from sdk.data.benchmark_files import prepare, read_benchmark

    write_atomic(out, prepare(name, sources))
    file = read_benchmark(name, out)
    asked = len(file.asked)
    return PreparedBenchmark(out, file.sha256, asked, len(file.rows) - asked)
