"""What requests name as their inputs, so that a changed input is another request."""

from __future__ import annotations

from typing import Any

from sdk.errors import InvalidInput
from sdk.project.state import ProjectState
from sdk.records import Advice, Review, Run, Scrubbed, canonical_json, sha256

EVAL = "eval"  # the split that is asked or read, never trained on
CANARIES = "canaries"  # what their key is derived for, where rows are planted and where a model is asked for them


def settings_digest(**settings: Any) -> str:
    return sha256(canonical_json(settings))


def common_inputs(state: ProjectState) -> dict[str, str]:
    """Return what nearly every step depends on: the policy and the domain in force."""
    return {"policy": state.policy().digest, "domain": state.domain_digest()}


def reviews_of(state: ProjectState, scrubbed: Scrubbed) -> list[Review]:
    """Return the reviews of this very scrubbing, oldest first."""
    return [review for review in state.all(Review) if review.inputs["scrubbed"] == scrubbed.digest]


def trained_rows(scrubbed: Scrubbed, advice: Advice) -> int:
    """Return how many rows a training draws from, canaries among them; of running text its pieces."""
    lengths = advice.needs.lengths
    if scrubbed.texts and lengths:
        return lengths.rows
    return scrubbed.rows["train"] + scrubbed.canaries


def find_run(state: ProjectState, wanted: Run | str) -> Run:
    """Find a finished run by itself or by the beginning of its digest. Raises InvalidInput but for one."""
    digest = wanted if isinstance(wanted, str) else wanted.digest
    runs = [run for run in state.distinct(Run) if run.digest.startswith(digest)]
    if len(runs) != 1:
        known = [f"{run.digest[:12]}: {run.steps} steps" for run in state.all(Run)]
        raise InvalidInput(f"{len(runs)} runs of this project have digest {digest[:64]}; name one of:", known)
    return runs[0]
