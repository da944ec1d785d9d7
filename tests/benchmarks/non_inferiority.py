"""How often the tests of what a model has kept err at the bound itself, and how often the number of questions tells.

    python tests/benchmarks/non_inferiority.py    some minutes on one core

Right or wrong: all outcomes of 30 and of 100 questions are summed up, so these figures are exact. Scores and numbers of
questions: drawn.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import gammaln

from sdk.intervals import ERROR
from sdk.non_inferiority import paired_change, questions_needed, right_or_wrong

P_VALUES = cache(right_or_wrong)
SHAPES = {  # changes whose mean is -0.05
    "even": lambda draw, n: -0.05 + 0.3 * (draw.beta(2, 2, n) - 0.5),
    "rare": lambda draw, n: np.where(draw.random(n) < 0.1, -0.5, 0.0),
    "skewed": lambda draw, n: -np.minimum(1, draw.exponential(0.05, n)),
    "mostly none": lambda draw, n: draw.normal(0, 0.2, n) * (draw.random(n) < 0.3) - 0.05,
}


def errors(of: int, gain: float, margin: float) -> tuple[float, float]:
    """Return how often "kept", and how often "lost", is said where the share of right answers fell by the margin."""
    loss, kept, worse = gain + margin, 0.0, 0.0
    for lost in range(of + 1):
        for gained in range(of + 1 - lost if gain else 1):
            same = of - lost - gained
            ways = gammaln(of + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(same + 1)
            chance = float(np.exp(ways + lost * np.log(loss) + (gained * np.log(gain) if gain else 0)))
            chance *= (1 - loss - gain) ** same
            if chance > 1e-9:
                p_kept, p_lost = P_VALUES(lost, gained, of, margin)
                kept, worse = kept + chance * (p_kept <= ERROR), worse + chance * (p_lost <= ERROR)
    return kept, worse


def told(loss: float, gain: float, margin: float, cases: int = 200) -> tuple[int, float]:
    """Return how many questions it should take, and how often so many tell."""
    needed = questions_needed(loss, gain, margin) or 0
    side = 0 if gain - loss + margin > 0 else 1
    drawn = np.random.default_rng(2).multinomial(needed, [loss, gain, 1 - loss - gain], size=cases)
    return needed, float(np.mean([P_VALUES(int(b), int(c), needed, margin)[side] <= ERROR for b, c, _ in drawn]))


def main() -> None:
    for of in (30, 100):
        for margin in (0.02, 0.05, 0.1):
            found = [errors(of, gain, margin) for gain in (0.0, 0.01, 0.05, 0.1, 0.3)]
            print(f"right or wrong, {of} questions, bound -{margin}: at most {max(map(max, found)):.4f}", flush=True)
    draw = np.random.default_rng(5)
    for of, cases in ((60, 1500), (150, 1500), (400, 600)):
        for name, shape in SHAPES.items():
            base = np.full(of, 0.95)
            outcomes = [
                paired_change(base.tolist(), (base + shape(draw, of)).tolist(), -0.05).outcome for _ in range(cases)
            ]
            shares = ", ".join(f"{said} {outcomes.count(said) / cases:.4f}" for said in ("kept", "lost"))
            print(f"scores, {of} questions, {name}: {shares}", flush=True)
    for rates in ((0.06, 0.05, 0.05), (0.1, 0.1, 0.02), (0.2, 0.1, 0.05), (0.3, 0.25, 0.0), (0.1, 0.3, 0.0)):
        print("lost, gained, margin", rates, "questions and how often they tell", told(*rates), flush=True)
    for rates in ((0.02, 0.0, 0.05), (0.01, 0.01, 0.02), (0.15, 0.05, 0.02), (0.25, 0.3, 0.02)):
        print("lost, gained, margin", rates, "questions and how often they tell", told(*rates), flush=True)


if __name__ == "__main__":
    main()
