"""Probe, pilot and comparison: what is tried on this machine before anything is trained for good."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from sdk.advise import advise, candidates, find_model
from sdk.advise.accuracy import ALLOWED_LOSS
from sdk.errors import InvalidInput, Refused, StepFailed
from sdk.files.store import write_atomic
from sdk.hardware import detect_hardware
from sdk.measure.trials import TrialSetup
from sdk.policy import BeforeTrial, require
from sdk.project.advising import RowsForAdvice, find_calibration, find_rows, make_needs
from sdk.project.domain_metrics import require_metrics_fit
from sdk.project.inputs import common_inputs, settings_digest
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import (
    METRICS,
    Advice,
    Calibration,
    Columns,
    Method,
    MethodComparison,
    OnProgress,
    Pilot,
    Scrubbed,
    TrainSettings,
)

# Metrics by which a pilot tells methods apart: higher is better, and an answer's own score needs no other process.
PILOTED = {metric for metric, kind in METRICS.items() if kind.of_one_answer} - {"json_schema"}
MOST_SEEDS = 20


def probe_request(
    state: ProjectState, data: str | Path | None, columns: Columns | None, on_progress: OnProgress
) -> Request[Calibration]:
    """Ask for a probe of every method that should fit. Raises StepFailed where none does."""
    rows = find_rows(state, data, columns)
    setup = _trial_setup(state, rows, on_progress)
    settings = candidates(setup.shape, setup.hardware, setup.needs)
    if not settings:
        raise StepFailed("No method fits this machine, so there is nothing to measure; see `sdk advise`.")
    allowed = _allowed(setup.allow, settings)
    failed = sum(
        any(probed.error and probed.settings.method in allowed for probed in earlier.probes)
        for earlier in state.all(Calibration)
    )
    inputs = {
        **common_inputs(state),
        "base": state.charter.base_digest,
        "data": rows.origin,
        "settings": _trial_digest(setup, settings, failed),
    }

    def work(folder: Path) -> Calibration:
        from sdk.measure.probe import probe

        measured = probe(setup, settings, rows.scrubbed or rows.path)
        return measured.model_copy(update={"base_name": state.charter.base_name})

    return Request(Calibration, inputs, work)


def pilot_request(state: ProjectState, minutes: float, steps: int | None, on_progress: OnProgress) -> Request[Pilot]:
    """Ask for a pilot of every method that fits. Raises StepFailed where none does."""
    if minutes <= 0 or (steps is not None and steps < 3):  # in two, warm-up and all, half of an adapter stays put
        raise InvalidInput("A pilot needs time: give minutes above 0, or steps of at least 3.")
    scrubbed = state.latest(Scrubbed)
    setup = _trial_setup(state, find_rows(state, None), on_progress)
    from sdk.measure.pilot import ASKING, Questions, not_tried, pilot, plan

    calibration = find_calibration(state, setup.hardware)
    settings = candidates(setup.shape, setup.hardware, setup.needs, calibration)
    left_out = not_tried(settings, advise(setup.shape, setup.hardware, setup.needs, calibration))
    if not settings:
        raise StepFailed("No method fits this machine; see `sdk advise`.", [*left_out.values()])
    planned = plan(setup, settings, minutes, steps, calibration)
    allowed = _allowed(setup.allow, settings)
    failed = sum(bool(allowed & earlier.left_out.keys()) for earlier in state.all(Pilot))
    domain, seconds = state.domain(), ASKING * minutes * 60
    metric = domain.metric
    if scrubbed.texts or metric not in PILOTED:
        what = "the rows are running text" if scrubbed.texts else f"{metric} is the domain's metric"
        raise InvalidInput(
            f"A pilot compares methods by the answers' own scores, and {what}; train with each method for some steps "
            "(`sdk train --method … --max-steps …`) and evaluate it instead."
        )
    require_metrics_fit(state, state.rows(scrubbed, "eval"))
    inputs = {
        **common_inputs(state),
        "base": state.charter.base_digest,
        "scrubbed": scrubbed.digest,
        **({"calibration": calibration.digest} if calibration else {}),
        "settings": _trial_digest(setup, planned, failed, seconds),
    }
    secret = state.checkpoint_secret()

    def work(out: Path) -> Pilot:
        return pilot(
            setup,
            planned,
            left_out,
            data=state.rows(scrubbed, "train"),
            questions=Questions(state.rows(scrubbed, "eval"), metric, domain.max_new_tokens, seconds, domain.scoring),
            secret=secret,
            out=out,
        )

    return Request(Pilot, inputs, work)


def compare_request(
    state: ProjectState,
    methods: Sequence[str] | None,
    budget: float,
    seeds: int,
    need: str | None,
    steps: int | None,
    on_progress: OnProgress,
) -> Request[MethodComparison]:
    """Ask for a comparison of methods, as Project.compare_training_methods says."""
    if not 0 < budget < math.inf or not 0 < seeds <= MOST_SEEDS or (steps is not None and steps < 3):
        raise InvalidInput(
            f"Give a budget above 0 minutes, seeds from 1 to {MOST_SEEDS}, and steps, if any, of at least 3."
        )
    scrubbed, domain = state.latest(Scrubbed), state.domain()
    from sdk.data import read_rows
    from sdk.data.measures import Measures
    from sdk.measure.held_questions import hold_questions
    from sdk.measure.judging import need_of_domain, read_need
    from sdk.measure.methods_compared import HeldQuestions, compare, plan_comparison, read_methods

    named = read_methods(methods)
    asked_for = (
        read_need(need, domain.metric) if need else need_of_domain(domain.accuracy, ALLOWED_LOSS[domain.accuracy])
    )
    if scrubbed.texts or domain.metric not in PILOTED | {"perplexity"}:
        what = "the rows are running text" if scrubbed.texts else f"{domain.metric} is the domain's metric"
        raise InvalidInput(
            f"A comparison scores each answer to a held-out question, and {what}; train with each method for some "
            "steps (`sdk train --method … --max-steps …`) and evaluate it instead."
        )
    setup = _trial_setup(state, find_rows(state, None), on_progress)
    calibration = find_calibration(state, setup.hardware)
    plan = plan_comparison(setup, named, budget, seeds, steps, calibration)
    failed = sum(bool(plan.candidates.keys() & earlier.left_out.keys()) for earlier in state.all(MethodComparison))
    inputs = {
        **common_inputs(state),
        "base": state.charter.base_digest,
        "scrubbed": scrubbed.digest,
        **({"calibration": calibration.digest} if calibration else {}),
        "settings": settings_digest(
            trial=_trial_digest(setup, [*plan.candidates.values()], failed, plan.seconds),
            methods=[*plan.candidates],
            seeds=plan.seeds,
            need=asked_for.text,
        ),
    }
    training = state.rows(scrubbed, "train")
    if domain.metric != "perplexity":
        _, questions = hold_questions(read_rows(training).rows, plan.questions)
        Measures([domain.metric], domain.scoring).require_fit(questions, training.path.name)
    asked = HeldQuestions(training, domain.metric, domain.max_new_tokens, domain.scoring)
    secret = state.checkpoint_secret()

    def work(out: Path) -> MethodComparison:
        found = compare(setup, plan, asked, asked_for, calibration, secret, out)
        found = found.model_copy(update={"base_name": state.charter.base_name})
        from sdk.registry.comparison_page import render_comparison  # which loads matplotlib

        for name, data in render_comparison(found).items():
            write_atomic(out / name, data)
        return found

    return Request(MethodComparison, inputs, work)


def show_in_mlflow(state: ProjectState, record: MethodComparison) -> None:
    """Bring a comparison to the project's MLflow, unless it is there."""
    from sdk.registry import Tracking
    from sdk.registry.comparison_runs import log_comparison

    tracking = Tracking(state.root, state.charter.tracking_uri)
    log_comparison(tracking, state.charter.name, record, state.folder(record))


def _trial_setup(state: ProjectState, rows: RowsForAdvice, on_progress: OnProgress) -> TrialSetup:
    """Set up what candidates are tried on here, with the needs of the newest advice where it was for these rows."""
    policy = state.policy()
    shape = find_model(str(state.base_folder()))
    advice = state.find_latest(Advice)
    same = {**common_inputs(state), "base": state.charter.base_digest, "data": rows.origin}
    known = advice is not None and all(advice.inputs.get(name) == digest for name, digest in same.items())

    def allow(method: Method) -> None:
        require(policy, BeforeTrial(method=method, from_hub=state.charter.base_from_hub))

    return TrialSetup(
        shape=shape,
        hardware=detect_hardware(),
        needs=advice.needs if advice and known else make_needs(state, rows, shape, {}, None),
        base=state.pinned_base(),
        prompt=state.domain().prompt,
        allow=allow,
        on_progress=on_progress,
    )


def _trial_digest(
    setup: TrialSetup, settings: Sequence[TrainSettings], failed: int, asking_seconds: float | None = None
) -> str:
    """Return the digest of what is tried. `failed` counts earlier failures that may pass, so that it is tried again."""
    return settings_digest(
        asking_seconds=asking_seconds,
        settings=[each.model_dump(mode="json") for each in settings],
        hardware=setup.hardware.model_dump(mode="json"),
        versions={name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
        turn=failed,
    )


def _allowed(allow: Callable[[Method], None], settings: Sequence[TrainSettings]) -> set[Method]:
    return {each.method for each in settings if not _refused(allow, each.method)}


def _refused(allow: Callable[[Method], None], method: Method) -> bool:
    try:
        allow(method)
    except Refused:
        return True
    return False
