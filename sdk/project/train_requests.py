"""Training as advised, and what its rows look like to the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sdk.advise import parameters, predict
from sdk.data import RowsFile
from sdk.errors import InvalidInput, Refused
from sdk.measure.power import why_little_is_found
from sdk.policy import BeforeTrain, require, validation_faults
from sdk.project.adapter_files import open_adapter
from sdk.project.advising import row_lengths
from sdk.project.foreseeing import foresee_of, require_use
from sdk.project.inputs import common_inputs, find_run, reviews_of, settings_digest, trained_rows
from sdk.project.perform import Request
from sdk.project.scrub_requests import contamination_facts
from sdk.project.state import ProjectState
from sdk.project.streaming import MetricsStream
from sdk.records import MORE_STEPS, Advice, Calibration, OnProgress, Run, Scrubbed, TrainSettings

UNRECORDED_NOTE = "the audit log could not be written: this run is unrecorded, and it cannot be evaluated or registered"


class _Plan(NamedTuple):
    """What is trained, from what."""

    advice: Advice
    scrubbed: Scrubbed
    settings: TrainSettings
    first: Run | None  # whose adapter this run begins with
    earlier: Run | None  # which this run goes on from
    inputs: dict[str, str]


def train_request(
    state: ProjectState,
    changes: Mapping[str, Any],
    adapter: Run | str | None = None,
    resume: Run | str | None = None,
    nodes: int = 1,
    rendezvous: str = "",
    *,
    anyway: bool = False,
    on_progress: OnProgress,
) -> Request[Run]:
    """Ask for a training run; `changes` are the fields of TrainSettings that are not as advised.

    anyway: also where the policy will refuse what comes of it, whatever is learned.
    """
    plan = _plan(state, changes, adapter, resume)
    advice, scrubbed, settings, first, earlier, inputs = plan
    secret = state.checkpoint_secret()
    in_vain = foresee_of(state, scrubbed) if anyway else ()

    def work(folder: Path) -> Run:
        if not anyway:
            require_use(state, scrubbed)
        from sdk.train import Earlier, Job, train  # which loads torch

        data = state.rows(scrubbed, "train")
        memory_gib, tokens_per_second = _predictions(state, plan, data)
        job = Job(
            data=data,
            base=state.pinned_base(),
            base_name=state.charter.base_name,
            prompt=state.domain().prompt,
            settings=settings,
            out=folder,
            secret=secret,
            earlier=Earlier(state.folder(earlier), earlier.settings) if earlier else None,
            adapter=open_adapter(state, first) if first else None,
        )
        with MetricsStream(state.root, state.charter.tracking_uri, state.charter.name, inputs, folder):
            run = train(job, on_progress, nodes, rendezvous)
        return run.model_copy(
            update={
                "memory_predicted_gib": memory_gib,
                "tokens_per_second_predicted": tokens_per_second,
                "hardware": advice.hardware,
                "base_parameters": parameters(advice.shape),
                "notes": (*run.notes, *(f"trained all the same: {line}" for line in in_vain)),
            }
        )

    detail = {"anyway": "; ".join(in_vain)} if in_vain else {}
    before = train_facts(state, scrubbed, settings)
    return Request(Run, inputs, work, before, detail=detail, unrecorded=_mark_unrecorded)


def train_facts(state: ProjectState, scrubbed: Scrubbed, settings: TrainSettings) -> BeforeTrain:
    """Return what the policy judges before a training."""
    reviews = reviews_of(state, scrubbed)
    return BeforeTrain(
        method=settings.method,
        from_hub=state.charter.base_from_hub,
        miss_bound=reviews[-1].bound if reviews else None,
        **contamination_facts(scrubbed).model_dump(),
    )


def power_notes(state: ProjectState, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why the leak check that the policy asks for would find little after this training, before it begins."""
    advice, scrubbed = state.latest(Advice), state.latest(Scrubbed)
    settings = _override(advice.settings, changes)
    if not state.policy().leaks.required or not scrubbed.canaries:
        return ()
    return why_little_is_found(settings, settings.max_steps, trained_rows(scrubbed, advice))


def _plan(
    state: ProjectState, changes: Mapping[str, Any], adapter: Run | str | None, resume: Run | str | None
) -> _Plan:
    advice, scrubbed = state.latest(Advice), state.latest(Scrubbed)
    earlier = find_run(state, resume) if resume is not None else None
    if earlier:
        if adapter is not None:
            raise InvalidInput("A run goes on with its own adapter; give adapter or resume, not both.")
        advice = state.lineage(Advice, earlier, "advice")
        adapter = earlier.inputs.get("adapter")
    settings = _override(earlier.settings if earlier else advice.settings, changes)
    first = find_run(state, adapter) if adapter is not None else None
    inputs = {
        **common_inputs(state),
        **({"adapter": first.digest} if first else {}),
        "base": state.charter.base_digest,
        "advice": advice.digest,
        "scrubbed": scrubbed.digest,
        "settings": settings_digest(**settings.model_dump()),
    }
    if earlier:
        settings = _more_steps(earlier, settings, changes, inputs)
        inputs |= {"resume": earlier.digest, "settings": settings_digest(**settings.model_dump())}
    return _Plan(advice, scrubbed, settings, first, earlier, inputs)


def _predictions(state: ProjectState, plan: _Plan, data: RowsFile) -> tuple[float, float | None]:
    """Predict peak memory, GiB, and tokens per second; None where nothing is known of the hardware's speed."""
    advice = plan.advice
    needs, calibration = advice.needs, None
    if advice.inputs["data"] != plan.scrubbed.inputs["train"]:  # the advice was for other rows
        lengths = row_lengths(state, data, advice.shape, plan.settings.max_length)
        needs = needs.model_copy(update={"lengths": lengths, "rows": lengths.rows})
    if "calibration" in advice.inputs:
        calibration = state.lineage(Calibration, advice, "calibration")
    predicted = predict(advice.shape, plan.settings, advice.hardware, needs, calibration)
    return predicted.memory.total, predicted.speed.tokens_per_second.expected if predicted.speed else None


def _mark_unrecorded(run: Run) -> Run:
    return run.model_copy(update={"notes": (*run.notes, UNRECORDED_NOTE)})


def _more_steps(
    earlier: Run, settings: TrainSettings, changes: Mapping[str, Any], inputs: Mapping[str, str]
) -> TrainSettings:
    """Return the settings to go on from a finished run with. Raises InvalidInput with all that is not as it was."""
    differing = [
        f"{name} is {value}, was {was}"
        for name, value in settings
        if name not in MORE_STEPS and value != (was := getattr(earlier.settings, name))
    ]
    differing += [
        f"the {name} is another one" for name in ("base", "scrubbed", "domain") if inputs[name] != earlier.inputs[name]
    ]
    if differing:
        raise InvalidInput("A run goes on with what it was begun with, but for the number of steps.", differing)
    by_epochs = "num_train_epochs" in changes and "max_steps" not in changes
    return settings.model_copy(update={"max_steps": -1}) if by_epochs else settings


def _override(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    try:
        return TrainSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        raise InvalidInput("A training setting is wrong.", validation_faults(error)) from None


def preview_rows(state: ProjectState, changes: Mapping[str, Any], anyway: bool = False) -> list[list[tuple[str, bool]]]:
    """Return three scrubbed rows as pieces of text, each with whether the loss is taken on it.

    None of a training that the policy refuses, so that its refusal waits for no tokenizer.
    """
    settings = _override(state.latest(Advice).settings, changes)
    scrubbed = state.latest(Scrubbed)
    try:
        require(state.policy(), train_facts(state, scrubbed, settings))
        if not anyway:
            require_use(state, scrubbed)
    except Refused:
        return []
    from sdk.train import preview  # which loads torch

    data = state.rows(scrubbed, "train")
    rows = preview(data, state.charter.base, state.domain().prompt, settings, template=state.template())
    return [[(segment.text, segment.in_loss) for segment in row.segments] for row in rows]
