"""How a model with its adapter behaves, and how its base does: what whoever serves it is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from sdk.records.base_types import Frozen, canonical_json

MEASURABLE = 0.02  # nats between adapted model and base; below, rounding to 16 bits hides an adapter
LEAST = -30.0  # nats; less likely tokens are all alike
_REST = 1e-9  # what all other tokens together have, at least
Token = Annotated[int, Field(ge=0)]
Thousandths = Annotated[int, Field(ge=-100_000, le=0, description="a log-probability, thousandths of a nat")]


class ProbeText(Frozen):
    """A conversation, or running text, that ships with this SDK, and its tokens."""

    messages: tuple[dict[str, str], ...] = Field(min_length=1, description="role and content of each")
    ids: tuple[Token, ...] = Field(min_length=2)
    asked: int = Field(
        ge=0,
        description="with how many of them the chat template asks for the last answer; 0: it is no such text",
    )


class Probe(Frozen):
    """One place in a text, and how likely both models find the tokens that may follow there."""

    text: int = Field(ge=0, description="which of the texts")
    place: int = Field(gt=0, description="how many of its tokens come before")
    tokens: tuple[Token, ...] = Field(min_length=1, description="the most likely ones of either model")
    base: tuple[Thousandths, ...] = Field(description="of each of these tokens, by the base model")
    adapted: tuple[Thousandths, ...] = Field(description="of each of these tokens, with the adapter")

    @property
    def difference(self) -> float:
        """Return the divergence from the adapted model to the base, nats."""
        return divergence(*([each / 1000 for each in side] for side in (self.adapted, self.base)))


def divergence(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the Kullback-Leibler divergence over these tokens and the rest, which counts as one, nats."""
    found = sum(math.exp(p) * (p - q) for p, q in zip(one, other, strict=True))
    p, q = (max(_REST, 1 - sum(map(math.exp, side))) for side in (one, other))
    return max(0.0, found + p * math.log(p / q))


class Behaviour(Frozen):
    """Probes where a base model and the same with its adapter differ most, those that tell most first."""

    bits: int = Field(gt=0, le=16, description="of the base's weights when it was asked; 16 stands for 32, too")
    dtype: str = Field(default="float32", description="that it computed in, as torch names it")
    texts: tuple[ProbeText, ...] = Field(min_length=1)
    probes: tuple[Probe, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Behaviour:
        for probe in self.probes:
            if not len(probe.tokens) == len(probe.base) == len(probe.adapted):
                raise ValueError("a probe has another number of tokens than of log-probabilities")
            if probe.text >= len(self.texts) or probe.place >= len(self.texts[probe.text].ids):
                raise ValueError("a probe lies outside of its text")
        if any(text.asked > len(text.ids) for text in self.texts):
            raise ValueError("a text is asked with more tokens than it has")
        return self

    def _summary(self) -> dict[str, Any]:
        return {"probes": f"{len(self.probes)} in {len(self.texts)} texts", "weights": f"{self.bits} bits"}

    @property
    def difference(self) -> float:
        """Return the mean divergence from the adapted model to its base, nats."""
        return sum(probe.difference for probe in self.probes) / len(self.probes)

    def prompts(self, count: int | None = None) -> list[list[int]]:
        """Return what an engine is given to continue by one token: for each of the first probes, the tokens before."""
        return [list(self.texts[probe.text].ids[: probe.place]) for probe in self.probes[:count]]

    def to_bytes(self) -> bytes:
        """Write the one form that `from_bytes` reads."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Behaviour:
        """Read what `to_bytes` wrote. ValueError: it is something else."""
        found = cls.model_validate_json(data)
        if found.to_bytes() != data:
            raise ValueError("not in its one form")
        return found


class Likeness(Frozen):
    """How like the adapted model an engine behaved, over so many probes.

    Divergences are Kullback-Leibler's, from the sealed adapted model, mean over the probes, nats.
    """

    probes: int = Field(gt=0)
    effect: float = Field(description="share that was seen of what the adapter changes: 1 as sealed, 0 the base model")
    distance: float = Field(ge=0, description="divergence to what was seen")
    difference: float = Field(ge=0, description="divergence to the sealed base model")
    agreement: float = Field(ge=0, le=1, description="probes whose most likely token is the same, as a share of all")


class LikenessLimits(Frozen):
    """What rounding to so many bits may change of a model's behaviour."""

    bits: int = Field(gt=0)
    distance: float = Field(gt=0, description="at most, nats")
    effect: float = Field(gt=0, description="at most from 1, either way")


class BehaviourCheck(Frozen):
    """A model or an engine, held against the behaviour that was sealed. Without faults it passed."""

    likeness: Likeness
    limits: LikenessLimits
    faults: tuple[str, ...] = Field(default=(), description="what is outside of its limit, one line each")

    @property
    def shown(self) -> bool:
        """Tell whether base and adapted model differ measurably, so that the adapter's effect is judged."""
        return self.likeness.difference >= MEASURABLE

    @property
    def passed(self) -> bool:
        return not self.faults

    def _summary(self) -> dict[str, Any]:
        return {"behaviour": self.brief()}

    def brief(self) -> str:
        found, limits = self.likeness, self.limits
        judged = f"1 ± {limits.effect:g}" if self.shown else "not judged: too little is changed"
        return (
            f"effect {found.effect:.3f} ({judged}), distance {found.distance:.4f} nats (at most {limits.distance:g}; "
            f"the base model's is {found.difference:.3f}) on {found.probes} probes"
        )
