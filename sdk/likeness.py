"""Whether a model or an engine behaves as the adapted model did when it was measured.

An adapter that is served wrongly (too weak, not at all, in part, on another base) moves the log-probabilities by
another share of the difference that it makes; rounding, as quantized weights bring it, scatters them around that. So
two figures are held against limits: that share, and how far the answers lie from the sealed ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sdk.errors import InvalidInput
from sdk.records import LEAST, MEASURABLE, Behaviour, BehaviourCheck, Likeness, LikenessLimits, Probe, divergence

# What one probe asks of an engine: how likely each of these tokens is, nats. Those left out are less likely than these.
Answers = Sequence[Mapping[int, float]]

SHARE = 0.3  # of the base's distance, at most, where that is beyond the limit
TOKENS_GIVEN = 5  # for a probe, at least

LIMITS = {
    limits.bits: limits
    for limits in (
        LikenessLimits(bits=16, distance=0.01, effect=0.04),
        LikenessLimits(bits=8, distance=0.08, effect=0.15),
        LikenessLimits(bits=4, distance=0.45, effect=0.18),
    )
}


def likeness_limits(bits: float) -> LikenessLimits:
    """Return the limits for weights of so many bits, in between those of the next coarser row. Raises InvalidInput."""
    rows = [limits for least, limits in LIMITS.items() if least <= bits]
    if not rows:
        raise InvalidInput(f"For weights of {bits:g} bits no limits are known; use 4 bits or more.")
    return max(rows, key=lambda limits: limits.bits)


def compare_behaviour(behaviour: Behaviour, answers: Answers) -> Likeness:
    """Compare what an engine answered to the first probes with what was sealed.

    A token that an answer leaves out counts as likely as it was sealed, or as the least of those given where that is
    less. Raises InvalidInput where there is nothing to compare.
    """
    probes = behaviour.probes[: len(answers)]
    _require_usable(probes, answers)
    moved = wanted = distance = difference = 0.0
    same = 0
    for probe, answer in zip(probes, answers, strict=True):
        base, adapted = ([each / 1000 for each in side] for side in (probe.base, probe.adapted))
        least = max(LEAST, min(answer.values()))
        left_out = [min(least, sealed) for sealed in adapted]
        seen = [
            min(0.0, max(LEAST, answer.get(token, other))) for token, other in zip(probe.tokens, left_out, strict=True)
        ]
        for before, after, now in zip(base, adapted, seen, strict=True):
            weight = (math.exp(before) + math.exp(after)) / 2
            moved += weight * (after - before) * (now - before)
            wanted += weight * (after - before) ** 2
        distance += divergence(adapted, seen)
        difference += probe.difference
        same += _most_likely(seen) == _most_likely(adapted)
    count = len(probes)
    return Likeness(
        probes=count,
        effect=moved / wanted if wanted else 1.0,
        distance=distance / count,
        difference=difference / count,
        agreement=same / count,
    )


def check_behaviour(behaviour: Behaviour, answers: Answers, bits: float) -> BehaviourCheck:
    """Hold an engine's answers to the first probes, in their order, against what was sealed.

    bits: of the most coarsely rounded weights of those served and those sealed; 16 where they are the same weights, 8
    where an adapter was merged into bfloat16, which has so many significant bits. Raises InvalidInput where there is
    nothing to compare, or no limits are known.
    """
    limits = likeness_limits(bits)
    return check_likeness(compare_behaviour(behaviour, answers), limits)


def check_likeness(found: Likeness, limits: LikenessLimits) -> BehaviourCheck:
    """Hold what was found against limits."""
    faults = []
    if found.difference >= MEASURABLE and not abs(found.effect - 1) <= limits.effect:
        faults.append(
            f"effect {found.effect:.3f}, which must be from {1 - limits.effect:g} to {1 + limits.effect:g}: "
            f"{_likely_cause(found.effect)}"
        )
    # Of an adapter that changes less than rounding does, the effect alone tells.
    told = found.difference >= limits.distance
    most = min(limits.distance, SHARE * found.difference) if told else limits.distance
    if not found.distance <= most:
        faults.append(
            f"distance {found.distance:.4f} nats from the sealed model, which must be at most {most:.4f}; the base "
            f"model's is {found.difference:.4f}"
        )
    return BehaviourCheck(likeness=found, limits=limits, faults=tuple(faults))


def _likely_cause(effect: float) -> str:
    if abs(effect) < 0.1:
        return "the base model answers as if without the adapter, whose tensors' names may fit nothing"
    if effect < 0:
        return "the adapter works against what it learned, as with a wrong sign or on another base"
    return (
        "the adapter works too weakly, as at another scale or in part of the layers"
        if effect < 1
        else "the adapter works too strongly, as at another scale or merged twice"
    )


def _require_usable(probes: Sequence[Probe], answers: Answers) -> None:
    if not answers or len(answers) > len(probes):
        raise InvalidInput(f"{len(answers)} answers were given; ask the {len(probes)} probes in their order.")
    faults = [
        f"probe {place}: {len(answer)} tokens"
        for place, (probe, answer) in enumerate(zip(probes, answers, strict=True), 1)
        if len(answer) < min(TOKENS_GIVEN, len(probe.tokens))
    ]
    if faults:
        raise InvalidInput(
            f"The engine gave too few log-probabilities; ask for those of the 20 most likely tokens, {TOKENS_GIVEN} at "
            "the very least.",
            faults,
        )


def _most_likely(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
