"""Advice, probe and pilot: before anything is trained for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import InvalidInput, Refused, StepFailed
from sdk.policy import BeforeTrial, require
from sdk.project.base import Base, common, settings_digest
from sdk.project.perform import Request, perform
from sdk.project.state import ProjectState
from sdk.records import (
    Accuracy,
    Advice,
    ApplicationType,
    Calibration,
    Hardware,
    Method,
    Pilot,
    Scrubbed,
    TrainSettings,
)

if TYPE_CHECKING:
    from sdk.measure.trials import TrialSetup
    from sdk.project.advising import RowsForAdvice

PILOT_MINUTES = 3.0


class Preparing(Base):
    def advise(
        self,
        *,
        accuracy: Accuracy | None = None,
        max_loss: float | None = None,
        application_type: ApplicationType | None = None,
        deadline_hours: float | None = None,
        price_per_hour: float | None = None,
        hardware: Hardware | None = None,
        max_length: int | None = None,
        data: str | Path | None = None,
    ) -> Advice:
        """Pick method and settings for the project's base on `hardware` (None: this machine).

        max_length in tokens; without it, room for the longest row of `data`. data: training rows, which are read and
        not kept; None: those that were scrubbed last, else the domain's own. The newest calibration of this base on
        this hardware and the newest pilot on these rows are used. Raises InvalidInput with every need that contradicts
        another or the rows.
        """
        from sdk.advise import advise, find_model
        from sdk.hardware import detect_hardware
        from sdk.project.advising import find_calibration, find_pilot, find_rows, make_needs

        with self._working() as state:
            shape = find_model(str(state.base_folder()))
            rows = find_rows(state, data)
            stated = {
                "accuracy": accuracy,
                "max_loss": max_loss,
                "application_type": application_type,
                "deadline_hours": deadline_hours,
                "price_per_hour": price_per_hour,
            }
            needs = make_needs(state, rows, shape, stated, max_length)
            machine = hardware or detect_hardware()
            calibration, pilot = find_calibration(state, machine), find_pilot(state, rows)
            inputs = {
                **common(state),
                "base": state.charter.base_digest,
                "data": rows.origin,
                **({"calibration": calibration.digest} if calibration else {}),
                **({"pilot": pilot.digest} if pilot else {}),
                "settings": settings_digest(needs=needs.model_dump(), hardware=machine.model_dump()),
            }

            def work(folder: Path) -> Advice:
                return advise(shape, machine, needs, calibration, pilot)

            return perform(state, Request(Advice, inputs, work))

    def probe(self, *, data: str | Path | None = None) -> Calibration:
        """Measure memory and time of one pass of the longest rows on this machine, for each method that should fit.

        data: as in `advise`; where the rows were scrubbed, the scrubbed ones are used, else they are read and not kept.
        What a method fails with is in the record; asked for again then, all are measured anew.
        """
        from sdk.advise import candidates
        from sdk.measure.probe import probe

        with self._working() as state:
            setup, rows = self._setup(state, data)
            tried = candidates(setup.shape, setup.hardware, setup.needs)
            if not tried:
                raise StepFailed("No method fits this machine, so there is nothing to measure; see `sdk advise`.")
            allowed = [settings.method for settings in tried if not _refusal(setup.allow, settings.method)]
            earlier = state.all(Calibration)
            turn = sum(any(one.error and one.settings.method in allowed for one in past.probes) for past in earlier)
            inputs = {
                **common(state),
                "base": state.charter.base_digest,
                "data": rows.origin,
                "settings": self._trial_digest(setup, tried, turn),
            }

            def work(folder: Path) -> Calibration:
                return probe(setup, tried, rows.scrubbed or rows.path)

            return perform(state, Request(Calibration, inputs, work))

    def pilot(self, *, minutes: float = PILOT_MINUTES, steps: int | None = None) -> Pilot:
        """Train each method that fits for a little on the scrubbed rows, all on the same ones, and compare the results.

        minutes: of training of the slowest, by its predicted speed; steps: optimizer steps, which outweighs minutes.
        A tenth of the rows is held out. What a method fails with is in the record; asked for again then, all are tried
        anew. No weights stay. After an interruption the same call takes over what had finished.
        """
        from sdk.advise import advise, candidates
        from sdk.measure.pilot import Questions, not_tried, pilot, plan
        from sdk.project.advising import find_calibration

        if minutes <= 0 or (steps is not None and steps < 3):  # in two, warm-up and all, half of an adapter stays put
            raise InvalidInput("A pilot needs time: give minutes above 0, or steps of at least 3.")
        with self._working() as state:
            scrubbed = state.latest(Scrubbed)
            setup, _ = self._setup(state, None)
            calibration = find_calibration(state, setup.hardware)
            tried = candidates(setup.shape, setup.hardware, setup.needs, calibration)
            advice = advise(setup.shape, setup.hardware, setup.needs, calibration)
            left_out = not_tried(tried, advice)
            if not tried:
                raise StepFailed("No method fits this machine; see `sdk advise`.", [*left_out.values()])
            planned = plan(setup, tried, minutes, steps, calibration)
            allowed = {settings.method for settings in tried if not _refusal(setup.allow, settings.method)}
            turn = sum(bool(allowed & past.left_out.keys()) for past in state.all(Pilot))
            domain, folder = state.domain(), state.folder(scrubbed)
            inputs = {
                **common(state),
                "base": state.charter.base_digest,
                "scrubbed": scrubbed.digest,
                **({"calibration": calibration.digest} if calibration else {}),
                "settings": self._trial_digest(setup, planned, turn),
            }
            secret = state.secret().derive("checkpoints") if state.policy().seal.encrypt else None

            def work(out: Path) -> Pilot:
                return pilot(
                    setup,
                    planned,
                    left_out,
                    data=folder / scrubbed.data["train"].path,
                    questions=Questions(folder / scrubbed.data["eval"].path, domain.metric, domain.max_new_tokens),
                    secret=secret,
                    out=out,
                )

            return perform(state, Request(Pilot, inputs, work))

    def _setup(self, state: ProjectState, data: str | Path | None) -> tuple[TrialSetup, RowsForAdvice]:
        """What candidates are tried on, here: the needs of the newest advice where it was for these rows."""
        from sdk.advise import find_model
        from sdk.hardware import detect_hardware
        from sdk.measure.trials import TrialSetup
        from sdk.project.advising import find_rows, make_needs

        rows, policy = find_rows(state, data), state.policy()
        shape = find_model(str(state.base_folder()))
        advice = state.find_latest(Advice)
        same = {**common(state), "base": state.charter.base_digest, "data": rows.origin}
        known = advice is not None and all(advice.inputs.get(name) == digest for name, digest in same.items())

        def allow(method: Method) -> None:
            require(policy, BeforeTrial(method=method, from_hub=state.charter.base_from_hub))

        setup = TrialSetup(
            shape=shape,
            hardware=detect_hardware(),
            needs=advice.needs if advice and known else make_needs(state, rows, shape, {}, None),
            base=state.charter.base,
            prompt=state.domain().prompt,
            allow=allow,
            on_progress=self._on_progress,
        )
        return setup, rows

    @staticmethod
    def _trial_digest(setup: TrialSetup, settings: Sequence[TrainSettings], turn: int) -> str:
        """turn: how often something that could have worked failed before, so that it is tried again."""
        return settings_digest(
            settings=[each.model_dump(mode="json") for each in settings],
            hardware=setup.hardware.model_dump(mode="json"),
            versions={name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
            turn=turn,
        )


def _refusal(allow: Callable[[Method], None], method: Method) -> bool:
    try:
        allow(method)
    except Refused:
        return True
    return False
