"""What is measured of a trained adapter: its scores, and what it gives away of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdk.data.canaries import canaries, planted_kinds
from sdk.domain import Domain
from sdk.errors import InvalidInput, OutOfOrder
from sdk.measure.power import CONTROLS, passes, why_little_is_found
from sdk.policy import AfterEvaluate
from sdk.project.adapter_files import open_adapter
from sdk.project.inputs import CANARIES, common_inputs, trained_rows
from sdk.project.perform import Request
from sdk.project.state import ProjectState
from sdk.records import Advice, Leaks, OnProgress, Run, Scores, Scrubbed


def evaluate_request(state: ProjectState, on_progress: OnProgress) -> Request[Scores]:
    """Ask for the scores of the newest run's adapter and of its base."""
    domain = state.domain()
    run = state.latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed")

    def work(folder: Path) -> Scores:
        from sdk.evaluate import evaluate  # which loads torch

        config, weights = open_adapter(state, run)
        return evaluate(
            data=state.rows(scrubbed, "eval"),
            base=state.pinned_base(),
            method=run.settings.method,
            adapter_config=config,
            adapter_weights=weights,
            prompt=domain.prompt,
            domain=domain,
            on_progress=on_progress,
        )

    def after(scores: Scores) -> AfterEvaluate:
        return score_facts(scores, domain)

    return Request(Scores, _inputs(state, run, scrubbed), work, after=after)


def score_facts(scores: Scores, domain: Domain) -> AfterEvaluate:
    """Return what the policy judges of scores. The domain's floors count where they are of the same metric."""
    value = {name: metrics.of(scores.metric).value for name, metrics in scores.adapted.items()}
    base = {name: metrics.of(scores.metric).value for name, metrics in scores.base.items()}
    floors = domain.floors if domain.metric == scores.metric else {}
    if scores.metric == "perplexity":
        return _perplexity_facts(scores, value, base, floors)
    low = [
        f"{name} {value[name]:.3f} < {floor}" for name, floor in floors.items() if name in value and value[name] < floor
    ]
    return AfterEvaluate(
        questions=scores.adapted["all"].questions,
        below_floor=", ".join(low),
        improvement=value["all"] - base["all"],
    )


def _perplexity_facts(
    scores: Scores, value: Mapping[str, float], base: Mapping[str, float], ceilings: Mapping[str, float]
) -> AfterEvaluate:
    """Return the facts of a perplexity, which is to be low: at most the domain's ceiling, and the base's."""
    most = {name: min(ceilings.get(name, base[name]), base[name]) for name in ("all", *ceilings) if name in value}
    high = [
        f"perplexity of {name} {value[name]:.3f} > {limit:.3f}" for name, limit in most.items() if value[name] > limit
    ]
    return AfterEvaluate(
        questions=scores.adapted["all"].questions,
        below_floor=", ".join(high),
        improvement=base["all"] - value["all"],
    )


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

    return Request(Leaks, _inputs(state, run, scrubbed), work)


def power_notes(state: ProjectState) -> tuple[str, ...]:
    """Return why a leak check of the newest run would find little, with the command that mends it."""
    run = state.find_latest(Run)
    scrubbed = state.lineage(Scrubbed, run, "scrubbed") if run else None
    if run is None or scrubbed is None or not scrubbed.canaries:
        return ()
    again = f"sdk train --resume {run.digest[:12]}"
    rows = trained_rows(scrubbed, state.lineage(Advice, run, "advice"))
    return why_little_is_found(run.settings, run.steps, rows, again)


def _inputs(state: ProjectState, run: Run, scrubbed: Scrubbed) -> dict[str, str]:
    return {**common_inputs(state), "run": run.digest, "scrubbed": scrubbed.digest, "base": run.inputs["base"]}
