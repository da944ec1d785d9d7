"""What requests name as their inputs, so that a changed input is another request."""

from __future__ import annotations

from typing import Any

from sdk.project.state import ProjectState
from sdk.records import Review, Scrubbed, canonical_json, sha256

CANARIES = "canaries"  # what their key is derived for, where rows are planted and where a model is asked for them


def settings_digest(**settings: Any) -> str:
    return sha256(canonical_json(settings))


def common_inputs(state: ProjectState) -> dict[str, str]:
    """Return what nearly every step depends on: the policy and the domain in force."""
    return {"policy": state.policy().digest, "domain": state.domain_digest()}


def reviews_of(state: ProjectState, scrubbed: Scrubbed) -> list[Review]:
    """Return the reviews of this very scrubbing, oldest first."""
    return [review for review in state.all(Review) if review.inputs["scrubbed"] == scrubbed.digest]
