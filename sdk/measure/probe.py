"""Measure one pass of each candidate on this machine: memory and time that advice can only expect.

One process tries one candidate after the other; where it is ended from outside, a new one goes on with the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdk.advise import predict
from sdk.data import RowsFile, rows_request
from sdk.data.base_folder import Base, base_name
from sdk.errors import SDKError, StepFailed
from sdk.measure.trials import TrialSetup, one_sentence
from sdk.processes.isolated import Isolated
from sdk.records import Calibration, Lengths, Needs, OnProgress, PassMeasurement, Probed, TrainSettings

MEASURING = "sdk.train.one_pass"  # the module that measures


def probe(setup: TrialSetup, candidates: Sequence[TrainSettings], data: RowsFile | Path) -> Calibration:
    """Measure memory and time of each candidate's largest micro-batch of the rows in `data`; failures are recorded."""
    probes = []
    with Isolated(MEASURING) as process:
        for number, settings in enumerate(candidates):
            setup.on_progress(f"probe {settings.method}", number, len(candidates), {})
            probes.append(_probe_candidate(setup, settings, data, process))
    setup.on_progress("probe", len(candidates), len(candidates), {})
    return Calibration(hardware=setup.hardware, base_name=base_name(setup.base), probes=tuple(probes))


def measure(
    process: Isolated, data: RowsFile | Path, base: Base, prompt: str, settings: TrainSettings, on_progress: OnProgress
) -> PassMeasurement:
    """Measure two optimizer steps on the largest micro-batch of the rows in `data`, on one GPU.

    Raises InvalidInput as training does, StepFailed where a step or the base does not fit.
    """
    request = {
        "data": rows_request(data),
        "base": base,
        "prompt": prompt,
        "settings": settings.model_dump(mode="json"),
    }
    return PassMeasurement.model_validate(process.ask(request, on_progress))


def _probe_candidate(setup: TrialSetup, candidate: TrainSettings, data: RowsFile | Path, process: Isolated) -> Probed:
    settings = candidate.model_copy(update={"gpus": 1})
    predicted = predict(setup.shape, settings, setup.hardware, setup.needs).memory.total
    try:
        setup.allow(settings.method)
        if settings.shard_base:
            raise StepFailed("Its base is split over the GPUs, which one process cannot measure.")
        measured = measure(process, data, setup.base, setup.prompt, settings, setup.on_progress)
    except SDKError as error:
        tokens = settings.per_device_train_batch_size * settings.max_length
        return Probed(settings=settings, tokens=tokens, predicted_gib=predicted, error=one_sentence(error))
    tokens = sum(measured.lengths)
    speed = predict(setup.shape, settings, setup.hardware, _needs_of(measured, settings, setup.needs)).speed
    return Probed(
        settings=settings,
        tokens=tokens,
        predicted_gib=predicted,
        measured_gib=measured.gib,
        predicted_seconds=tokens / speed.tokens_per_second.expected if speed else None,
        measured_seconds=measured.seconds,
    )


def _needs_of(measured: PassMeasurement, settings: TrainSettings, needs: Needs) -> Needs:
    """Return the needs of data in which every micro-batch is the measured one."""
    passes = max(settings.gradient_accumulation_steps, -(-(needs.rows or 1) // len(measured.lengths)))
    longest = sorted(measured.lengths, reverse=True)
    lengths = Lengths(
        rows=passes * len(longest),
        total=passes * sum(longest),
        longest=tuple(length for length in longest for _ in range(passes))[:256],
        percentiles={percent: longest[len(longest) * (100 - percent) // 100] for percent in (50, 90, 95, 99)},
        exact=True,
        learned=measured.learned,
    )
    return needs.model_copy(update={"lengths": lengths, "rows": lengths.rows})
