"""Public benchmarks, put to the newest run's model and to its base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import ValidationError

from sdk.data import Row, each_written_row
from sdk.data.benchmark_files import BenchmarkFile, find_benchmark, read_benchmark
from sdk.data.safety_probes import request, safety_probes
from sdk.errors import InvalidInput, MissingExtra
from sdk.non_inferiority import held_against
from sdk.policy import BeforeBenchmark, validation_faults
from sdk.project.adapter_files import open_adapter
from sdk.project.inputs import settings_digest
from sdk.project.measure_requests import run_inputs
from sdk.project.perform import Request
from sdk.project.sealing import benchmarks_of
from sdk.project.state import ProjectState
from sdk.records import (
    SAFETY,
    BenchmarkResult,
    Benchmarks,
    BenchmarkSettings,
    OnProgress,
    Overlap,
    PairedChange,
    Run,
    Scrubbed,
)

ENGINE = "lm_eval"
RUNS_CODE = "humaneval"


def read_settings(**values: Any) -> BenchmarkSettings:
    """Return how questions are put. Raises InvalidInput with every value that is out of bounds."""
    try:
        return BenchmarkSettings(**values)
    except ValidationError as error:
        raise InvalidInput("These settings of a benchmark cannot be.", validation_faults(error)) from None


@dataclass(frozen=True)
class BenchmarksAsked:
    """What is to be asked: benchmark -> prepared file, and the digest that this must have; the safety probes too."""

    files: Mapping[str, str | Path]
    pins: Mapping[str, str]
    safety: bool

    def read(self) -> list[BenchmarkFile]:
        """Read the prepared files. Raises InvalidInput where one is another than was asked for."""
        for name in self.files:
            find_benchmark(name)
        if not self.files and not self.safety:
            raise InvalidInput(
                "Name a benchmark with its prepared file, `sdk benchmark mmlu=mmlu.jsonl`, or the probes that ship, "
                f"`sdk benchmark {SAFETY}`."
            )
        unused = sorted(self.pins.keys() - self.files.keys())
        if unused:
            raise InvalidInput(f"A digest is given for {', '.join(unused)}, of which no file is.")
        read = [read_benchmark(name, Path(path), self.pins.get(name)) for name, path in self.files.items()]
        return [*read, safety_probes()] if self.safety else read


def benchmark_request(
    state: ProjectState, asked: BenchmarksAsked, settings: BenchmarkSettings, on_progress: OnProgress
) -> Request[Benchmarks]:
    """Ask for the scores of the newest run's adapter and of its base on benchmarks.

    Before anything is asked, their questions are compared with the rows that the run was trained on.
    """
    run = state.latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed")
    read = asked.read()
    if RUNS_CODE in asked.files and not settings.run_model_code:
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
    public = [file for file in read if file.name != SAFETY]

    def work(folder: Path) -> Benchmarks:
        began = monotonic()
        run_public = _harness() if public else None
        adapter, base, prompt = open_adapter(state, run), state.pinned_base(), state.domain().prompt
        results: dict[str, BenchmarkResult] = {}
        engine = ""
        if run_public:
            found = run_public(public, overlaps, base, run.settings, adapter, settings, on_progress)
            results, engine = {**found.results}, found.engine
        if asked.safety:
            from sdk.evaluate.safety import ask_probes  # which loads torch

            probes, overlap = read[-1], overlaps[SAFETY]
            results[SAFETY] = ask_probes(probes, overlap, base, run.settings, adapter, prompt, settings, on_progress)
        return Benchmarks(results=results, settings=settings, engine=engine, seconds=monotonic() - began)

    before = BeforeBenchmark(contamination=worst.share, repeated=worst.named(), runs_model_code=RUNS_CODE in overlaps)
    return Request(Benchmarks, inputs, work, before)


def _harness() -> Callable[..., Benchmarks]:
    try:
        from sdk.evaluate.harness import run_benchmarks  # which loads torch
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != ENGINE:
            raise
        raise MissingExtra(
            "lm-evaluation-harness is not installed; run `pip install domain-adaptation-sdk[eval]`."
        ) from None
    return run_benchmarks


def forgetting(state: ProjectState) -> dict[str, PairedChange | None]:
    """Test what the newest run's model has kept, of each benchmark that has a bound; None: not measured."""
    run = state.latest(Run)
    measured = {name: result for each in benchmarks_of(state, run) for name, result in each.results.items()}
    return held_against(state.policy().evaluate.forgetting or {}, measured)


def _never(folder: Path) -> Benchmarks:
    raise AssertionError("what is done is not done again")


def _overlaps(state: ProjectState, scrubbed: Scrubbed, files: Sequence[BenchmarkFile]) -> dict[str, Overlap]:
    from sdk.scrub.near_duplicates import ComparedText, QuestionIndex, asked  # which loads datasketch

    indexes: dict[str, QuestionIndex] = {}
    for file in files:
        text = request if file.name == SAFETY else find_benchmark(file.name).text
        indexes[file.name] = QuestionIndex([ComparedText(row.id, text(row.fields), "") for row in file.asked])

    def compare(row: Row) -> None:
        for index in indexes.values():
            index.compare(asked(row))

    each_written_row(state.rows(scrubbed, "train"), compare)
    return {name: index.overlap() for name, index in indexes.items()}
