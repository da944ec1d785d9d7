"""Training, evaluation and the leak check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdk.errors import InvalidInput, OutOfOrder
from sdk.policy import AfterEvaluate, BeforeTrain, validation_faults
from sdk.project.base import Base, common, settings_digest
from sdk.project.perform import Request, perform
from sdk.project.release import open_adapter
from sdk.project.rows import CANARIES, reviews_of
from sdk.project.state import ProjectState
from sdk.project.streaming import MetricsStream
from sdk.records import Advice, Calibration, Leaks, Run, Scores, Scrubbed, TrainSettings


class Learning(Base):
    def train(
        self,
        *,
        adapter: Run | str | None = None,
        resume: Run | str | None = None,
        nodes: int = 1,
        rendezvous: str = "",
        **settings: Any,
    ) -> Run:
        """Train the adapter as advised; keyword arguments override fields of TrainSettings.

        adapter and resume name a finished run, or the beginning of its digest. adapter: begin with this one's adapter,
        on the same base; everything else begins anew. resume: go on from this one's end with a higher max_steps or
        num_train_epochs: adapter, optimizer, random numbers and place in the data. With a constant learning rate three
        steps and then three more are six; a schedule that depends on the number of steps (cosine, linear) is from there
        on the one of the new number. Raises InvalidInput where anything else differs.
        nodes, rendezvous: hosts that share settings.gpus evenly, and HOST:PORT of this one, which the others can reach.
        """
        from sdk.advise import predict
        from sdk.project.advising import row_lengths
        from sdk.train import Earlier, Job, train

        with self._working() as state:
            advice, scrubbed = state.latest(Advice), state.latest(Scrubbed)
            before = _find_run(state, resume) if resume is not None else None
            if before:
                if adapter is not None:
                    raise InvalidInput("A run goes on with its own adapter; give adapter or resume, not both.")
                advice = state.lineage(Advice, before, "advice")
                adapter = before.inputs.get("adapter")
            chosen = _override(before.settings if before else advice.settings, settings)
            begun = _find_run(state, adapter) if adapter is not None else None
            inputs = {
                **common(state),
                **({"adapter": begun.digest} if begun else {}),
                "base": state.charter.base_digest,
                "advice": advice.digest,
                "scrubbed": scrubbed.digest,
                "settings": settings_digest(**chosen.model_dump()),
            }
            if before:
                chosen = _more_steps(before, chosen, settings, inputs)
                inputs |= {"resume": before.digest, "settings": settings_digest(**chosen.model_dump())}
            secret = state.secret().derive("checkpoints") if state.policy().seal.encrypt else None

            def work(folder: Path) -> Run:
                data = state.folder(scrubbed) / scrubbed.data["train"].path
                needs, calibration = advice.needs, None
                if advice.inputs["data"] != scrubbed.inputs["train"]:  # the advice was for other rows
                    lengths = row_lengths(state, data)
                    needs = needs.model_copy(update={"lengths": lengths, "rows": lengths.rows})
                if "calibration" in advice.inputs:
                    calibration = state.lineage(Calibration, advice, "calibration")
                predicted = predict(advice.shape, chosen, advice.hardware, needs, calibration)
                job = Job(
                    data=data,
                    base=state.charter.base,
                    prompt=state.domain().prompt,
                    settings=chosen,
                    out=folder,
                    secret=secret,
                    earlier=Earlier(state.folder(before), before.settings) if before else None,
                    adapter=open_adapter(state, begun) if begun else None,
                )
                with MetricsStream(self.root, state.charter.tracking_uri, state.charter.name, inputs, folder):
                    run = train(job, self._on_progress, nodes, rendezvous)
                speed = predicted.speed
                return run.model_copy(
                    update={
                        "memory_predicted_gib": predicted.memory.total,
                        "tokens_per_second_predicted": speed.tokens_per_second.expected if speed else None,
                        "hardware": advice.hardware,
                    }
                )

            reviews = reviews_of(state, scrubbed)
            facts = BeforeTrain(
                method=chosen.method,
                from_hub=state.charter.base_from_hub,
                miss_bound=reviews[-1].bound if reviews else None,
            )
            return perform(state, Request(Run, inputs, work, facts, unrecorded=_mark_unrecorded))

    def preview(self, **settings: Any) -> list[list[tuple[str, bool]]]:
        """Three scrubbed rows as they will be trained: pieces of text, each with whether the loss is taken on it."""
        from sdk.train import preview

        state = self.state()
        chosen = _override(state.latest(Advice).settings, settings)
        scrubbed = state.latest(Scrubbed)
        data = state.folder(scrubbed) / scrubbed.data["train"].path
        rows = preview(data, state.charter.base, state.domain().prompt, chosen)
        return [[(segment.text, segment.in_loss) for segment in row.segments] for row in rows]

    def sample_questions(self, count: int) -> list[tuple[str, str]]:
        """Scrubbed evaluation questions with their reference answers, evenly taken from the file."""
        from sdk.data import answer, question, read_rows

        state = self.state()
        scrubbed = state.latest(Scrubbed)
        rows = read_rows(state.folder(scrubbed) / scrubbed.data["eval"].path).rows
        chosen = [rows[i * len(rows) // count] for i in range(count)]
        return [(question(row), answer(row)) for row in chosen]

    def evaluate(self) -> Scores:
        """Ask the evaluation questions of the base and of the adapted model."""
        from sdk.evaluate import evaluate
        from sdk.seal import read_adapter

        with self._working() as state:
            domain = state.domain()
            run = state.latest(Run)
            scrubbed = state.lineage(Scrubbed, run, "scrubbed")
            inputs = {**common(state), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}

            def work(folder: Path) -> Scores:
                config, weights = read_adapter(state.folder(run))
                return evaluate(
                    data=state.folder(scrubbed) / scrubbed.data["eval"].path,
                    base=state.charter.base,
                    method=run.settings.method,
                    adapter_config=config,
                    adapter_weights=weights,
                    prompt=domain.prompt,
                    domain=domain,
                    on_progress=self._on_progress,
                )

            def after(scores: Scores) -> AfterEvaluate:
                value = {name: getattr(metrics, scores.metric).value for name, metrics in scores.adapted.items()}
                low = [
                    f"{name} {value[name]:.3f} < {floor}"
                    for name, floor in domain.floors.items()
                    if name in value and value[name] < floor
                ]
                return AfterEvaluate(
                    questions=scores.adapted["all"].questions,
                    below_floor=", ".join(low),
                    improvement=value["all"] - getattr(scores.base["all"], scores.metric).value,
                )

            return perform(state, Request(Scores, inputs, work, after=after))

    def check_leaks(self) -> Leaks:
        """Ask the newest run's model for the canaries that were planted in its rows before they were scrubbed.

        A control, trained here on canaries in plain, is asked likewise; nothing of it is kept. What was measured is
        recorded whatever it is; `register` refuses above the policy's limits. Raises OutOfOrder where the rows hold no
        canaries of this policy, StepFailed where the control is not caught, so that the check means nothing.
        """
        from sdk.data.canaries import canaries, planted_kinds
        from sdk.measure.leaks import CONTROLS, Trained, check_leaks, passes

        with self._working() as state:
            policy, domain = state.policy(), state.domain()
            run = state.latest(Run)
            scrubbed = state.lineage(Scrubbed, run, "scrubbed")
            if not policy.leaks.canaries:
                raise InvalidInput(f"Policy {policy.name} plants no canaries; set leaks.canaries, to 32 for a start.")
            if not scrubbed.canaries or scrubbed.inputs["policy"] != policy.digest:
                raise OutOfOrder(
                    "The rows of the newest run hold no canaries of this policy; run `sdk scrub` and `sdk train` again."
                )
            secret = state.secret()
            kinds = planted_kinds(policy.scrub)
            planted, control = (
                canaries(secret.derive(purpose).expose(), count, domain.languages, kinds)
                for purpose, count in ((CANARIES, scrubbed.canaries), ("control canaries", CONTROLS))
            )
            inputs = {**common(state), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}

            def work(folder: Path) -> Leaks:
                seen = passes(run, scrubbed.rows["train"] + scrubbed.canaries)
                asked = Trained(state.charter.base, domain.prompt, run.settings, open_adapter(state, run), seen)
                protecting = secret.derive("checkpoints") if policy.seal.encrypt else None
                return check_leaks(asked, planted, control, protecting, folder, self._on_progress)

            return perform(state, Request(Leaks, inputs, work))


UNRECORDED_NOTE = "the audit log could not be written: this run is unrecorded, and it cannot be evaluated or registered"


def _mark_unrecorded(run: Run) -> Run:
    return run.model_copy(update={"notes": (*run.notes, UNRECORDED_NOTE)})


def _find_run(state: ProjectState, wanted: Run | str) -> Run:
    digest = wanted if isinstance(wanted, str) else wanted.digest
    found = [run for run in state.distinct(Run) if run.digest.startswith(digest)]
    if len(found) != 1:
        known = [f"{run.digest[:12]}: {run.steps} steps" for run in state.all(Run)]
        raise InvalidInput(f"{len(found)} runs of this project have digest {digest[:64]}; name one of:", known)
    return found[0]


def _more_steps(
    before: Run, chosen: TrainSettings, changes: Mapping[str, Any], inputs: Mapping[str, str]
) -> TrainSettings:
    """Settings to go on from a finished run with; InvalidInput names everything that is not as it was."""
    from sdk.train import MORE_STEPS

    differing = [
        f"{name} is {value}, was {was}"
        for name, value in chosen
        if name not in MORE_STEPS and value != (was := getattr(before.settings, name))
    ]
    differing += [
        f"the {name} is another one" for name in ("base", "scrubbed", "domain") if inputs[name] != before.inputs[name]
    ]
    if differing:
        raise InvalidInput("A run goes on with what it was begun with, but for the number of steps.", differing)
    by_epochs = "num_train_epochs" in changes and "max_steps" not in changes
    return chosen.model_copy(update={"max_steps": -1}) if by_epochs else chosen


def _override(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    try:
        return TrainSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        raise InvalidInput("A training setting is wrong.", validation_faults(error)) from None
