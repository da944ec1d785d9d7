"""What is measured of a trained adapter: its scores, and what it gives away of its rows."""

from __future__ import annotations

from pathlib import Path

from sdk.data import read_rows
from sdk.data.canaries import canaries, planted_kinds
from sdk.domain import read_domain
from sdk.errors import InvalidInput, OutOfOrder
from sdk.files.store import write_atomic
from sdk.measure.power import CONTROLS, passes, why_little_is_found
from sdk.policy import AfterEvaluate, BeforeEvaluate
from sdk.project.adapter_files import open_adapter
from sdk.project.charter import is_shipped
from sdk.project.domain_metrics import measures_of, require_metrics_fit, runs_own_code
from sdk.project.inputs import CANARIES, EVAL, common_inputs, trained_rows
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import (
    ALL,
    SLICES,
    Advice,
    AskedFloors,
    Floor,
    Leaks,
    OnProgress,
    Run,
    Scores,
    Scrubbed,
    default_floors,
)
from sdk.seal import BEHAVIOUR

DESCRIBED = "domain/domain.yaml"  # in the project's folder
ROUNDING = 1e-9  # a mean may differ by its order of summing


def evaluate_request(state: ProjectState, on_progress: OnProgress) -> Request[Scores]:
    """Ask for the scores of the newest run's adapter and of its base."""
    domain = state.domain()
    run = state.latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed")

    def work(folder: Path) -> Scores:
        from sdk.evaluate import evaluate  # which loads torch

        questions = state.rows(scrubbed, EVAL)
        measures = measures_of(state, own_code=True)
        require_metrics_fit(state, questions, measures)
        config, weights = open_adapter(state, run)
        scores, behaviour = evaluate(
            data=questions,
            base=state.pinned_base(),
            method=run.settings,
            adapter_config=config,
            adapter_weights=weights,
            measures=measures,
            domain=domain,
            on_progress=on_progress,
        )
        write_atomic(folder / BEHAVIOUR, behaviour.to_bytes())
        added: dict[str, object] = {
            "asked": asked_floors(state, scrubbed.inputs[EVAL], bool(scores.texts)),
            "behaviour_change": behaviour.difference,
        }
        if scores.texts:
            return scores.model_copy(update=added)
        majority = measures.majority_scores(read_rows(state.rows(scrubbed, "train")).rows, read_rows(questions).rows)
        return scores.model_copy(update={"majority": majority, **added})

    def after(scores: Scores) -> AfterEvaluate:
        return score_facts(state, scores, str(state.root / DESCRIBED))

    before = BeforeEvaluate(runs_domain_code=runs_own_code(domain))
    return Request(Scores, run_inputs(state, run, scrubbed), work, before, after)


def asked_floors(state: ProjectState, questions: str, texts: bool = False) -> AskedFloors:
    """Return the floors for these questions, and where they come from. questions: digest of their file.

    Those of a shipped domain are for its own questions. Others are held against them only where their user said so: in
    the project's domain.yaml, or with a domain of their own. texts: they are running text, which has a perplexity.
    """
    domain, charter = state.domain(), state.charter
    if texts and domain.metric != "perplexity":
        return AskedFloors(floors=default_floors("perplexity"), origin="since running text is judged by its perplexity")
    if questions == {ref.path: ref.sha256 for ref in charter.domain_data}.get(f"{EVAL}.jsonl"):
        return AskedFloors(floors=domain.floors, origin=f"for the questions of {charter.domain}")
    if "floors" in charter.own_settings:
        return AskedFloors(floors=domain.floors, origin=charter.own_settings["floors"])
    if not is_shipped(state.domain_source) or domain.floors != read_domain(state.domain_source).floors:
        return AskedFloors(floors=domain.floors, origin=f"as {DESCRIBED} says")
    return AskedFloors(
        floors=default_floors(domain.metric), origin=f"since those of {charter.domain} are for its own questions"
    )


def score_facts(state: ProjectState, scores: Scores, file: str = DESCRIBED) -> AfterEvaluate:
    """Return what the policy judges of scores. file: where the floors stand; by default no path of this machine."""
    asked = scores.asked.floors if scores.asked else state.domain().floors
    value = {name: metrics.of(scores.metric).value for name, metrics in scores.adapted.items()}
    sign, beside = (-1, ">") if scores.lower_is_better else (1, "<")
    below = [
        f"{name} {value[name]:.3f} {beside} {limit:.3f} ({floor}, floors.{name})"
        for name, floors in asked.items()
        for floor in floors
        if name in value and sign * (value[name] - (limit := limit_of(scores, name, floor))) < -ROUNDING
    ]
    below += [
        f"{each.by} {each.value} {each.adapted.value:.3f} {beside} {limit:.3f} ({floor}, floors.{SLICES})"
        for floor in asked.get(SLICES, ())
        for each in scores.slices
        if sign * (each.adapted.value - (limit := each.base + sign * floor.least if floor.over else floor.least))
        < -ROUNDING
    ]
    return AfterEvaluate(
        questions=scores.adapted[ALL].questions,
        below_floor=f"{', '.join(below)} in {file}" if below else "",
        improvement=sign * (value[ALL] - scores.base[ALL].of(scores.metric).value),
    )


def limit_of(scores: Scores, language: str, floor: Floor) -> float:
    """Return the least score that a floor asks for, the most where lower is better.

    A least score lies above 1 where what it rests on was not measured.
    """
    if floor.over == "base":
        base = scores.base[language].of(scores.metric).value
        return base - floor.least if scores.lower_is_better else base + floor.least
    if floor.over == "majority":
        known = scores.majority_value(language)
        return (1.0 if known is None else known) + floor.least  # None: an earlier version wrote the scores
    return floor.least


def leaks_request(state: ProjectState, on_progress: OnProgress) -> Request[Leaks]:
    """Ask for a leak check of the newest run. Raises OutOfOrder where its rows hold no canaries of this policy."""
    policy, domain = state.policy(), state.domain()
    run = state.latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed")
    if not policy.leaks.canaries:
        raise InvalidInput(f"Policy {policy.name} plants no canaries; set leaks.canaries, to 32 for a start.")
    if not scrubbed.canaries or scrubbed.inputs["policy"] != policy.digest:
        raise OutOfOrder(
            "The rows of the newest run hold no canaries of this policy; run `sdk scrub` and `sdk train` again."
        )
    secret, kinds = state.secret(), planted_kinds(policy.scrub)
    planted, control = (
        canaries(secret.derive(purpose).expose(), count, domain.languages, kinds, scrubbed.texts is not None)
        for purpose, count in ((CANARIES, scrubbed.canaries), ("control canaries", CONTROLS))
    )

    def work(folder: Path) -> Leaks:
        from sdk.measure.leaks import Trained, check_leaks  # which loads torch

        seen = passes(run, trained_rows(scrubbed, state.lineage(Advice, run, "advice")))
        trained = Trained(state.pinned_base(), domain.prompt, run.settings, open_adapter(state, run), seen)
        return check_leaks(trained, planted, control, state.checkpoint_secret(), folder, on_progress)

    return Request(Leaks, run_inputs(state, run, scrubbed), work)


def power_notes(state: ProjectState) -> tuple[str, ...]:
    """Return why a leak check of the newest run would find little, with the command that mends it."""
    run = state.find_latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed") if run else None
    if run is None or scrubbed is None or not scrubbed.canaries:
        return ()
    again = f"sdk train --resume {run.digest[:12]}"
    rows = trained_rows(scrubbed, state.lineage(Advice, run, "advice"))
    return why_little_is_found(run.settings, run.steps, rows, again)


def run_inputs(state: ProjectState, run: Run, scrubbed: Scrubbed) -> dict[str, str]:
    """Return what every measurement of a run depends on."""
    return {**common_inputs(state), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}
