"""Public benchmarks, put to the newest run's model and to its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdk.data import Row, each_row
from sdk.data.benchmark_files import BenchmarkFile, find_benchmark, read_benchmark
from sdk.errors import InvalidInput, MissingExtra
from sdk.policy import BeforeBenchmark, validation_faults
from sdk.project.adapter_files import open_adapter
from sdk.project.inputs import settings_digest
from sdk.project.measure_requests import run_inputs
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import Benchmarks, BenchmarkSettings, OnProgress, Overlap, Run, Scrubbed

ENGINE = "lm_eval"
RUNS_CODE = "humaneval"


def read_settings(**values: Any) -> BenchmarkSettings:
    """Return how questions are put. Raises InvalidInput with every value that is out of bounds."""
    try:
        return BenchmarkSettings(**values)
    except ValidationError as error:
        raise InvalidInput("These settings of a benchmark cannot be.", validation_faults(error)) from None


def read_files(files: Mapping[str, str | Path], pins: Mapping[str, str]) -> list[BenchmarkFile]:
    """Read the prepared files. Raises InvalidInput where one is another than was asked for."""
    for name in files:
        find_benchmark(name)
    if not files:
        raise InvalidInput("Name a benchmark with its prepared file: `sdk benchmark mmlu=mmlu.jsonl`.")
    unused = sorted(pins.keys() - files.keys())
    if unused:
        raise InvalidInput(f"A digest is given for {', '.join(unused)}, of which no file is.")
    return [read_benchmark(name, Path(path), pins.get(name)) for name, path in files.items()]


def benchmark_request(
    state: ProjectState,
    files: Mapping[str, str | Path],
    pins: Mapping[str, str],
    settings: BenchmarkSettings,
    on_progress: OnProgress,
) -> Request[Benchmarks]:
    """Ask for the scores of the newest run's adapter and of its base on prepared benchmarks.

    Before anything is asked, their questions are compared with the rows that the run was trained on.
    """
    run = state.latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed")
    read = read_files(files, pins)
    if RUNS_CODE in files and not settings.run_model_code:
        raise InvalidInput(
            f"{RUNS_CODE} runs programs that the model writes, in a sandbox; say so with --run-model-code "
            "(run_model_code=True), or leave it out."
        )
    inputs = {
        **run_inputs(state, run, scrubbed),
        **{f"benchmark {file.name}": file.sha256 for file in read},
        "settings": settings_digest(**settings.model_dump()),
    }
    if state.done(Benchmarks, inputs) is not None:
        return Request(Benchmarks, inputs, _never)
    overlaps = _overlaps(state, scrubbed, read)
    worst = max(overlaps.values(), key=lambda overlap: overlap.share)

    def work(folder: Path) -> Benchmarks:
        try:
            from sdk.evaluate.harness import AdapterBytes, run_benchmarks  # which loads torch
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != ENGINE:
                raise
            raise MissingExtra(
                "lm-evaluation-harness is not installed; run `pip install domain-adaptation-sdk[eval]`."
            ) from None
        adapter = AdapterBytes(*open_adapter(state, run))
        return run_benchmarks(read, overlaps, state.pinned_base(), run.settings, adapter, settings, on_progress)

    before = BeforeBenchmark(contamination=worst.share, repeated=worst.named(), runs_model_code=RUNS_CODE in overlaps)
    return Request(Benchmarks, inputs, work, before)


def _never(folder: Path) -> Benchmarks:
    raise AssertionError("what is done is not done again")


def _overlaps(state: ProjectState, scrubbed: Scrubbed, files: Sequence[BenchmarkFile]) -> dict[str, Overlap]:
    from sdk.scrub.near_duplicates import ComparedText, QuestionIndex, asked  # which loads datasketch

    indexes: dict[str, QuestionIndex] = {}
    for file in files:
        text = find_benchmark(file.name).text
        indexes[file.name] = QuestionIndex([ComparedText(row.id, text(row.fields), "") for row in file.asked])

    def compare(row: Row) -> None:
        for index in indexes.values():
            index.compare(asked(row))

    each_row(state.rows(scrubbed, "train"), compare)
    return {name: index.overlap() for name, index in indexes.items()}
