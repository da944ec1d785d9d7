"""Whether an adapted model does no worse than its base by more than a bound, on questions that both were asked.

Two one-sided tests at 5 %: so often at most a loss beyond the bound passes as kept, or one within it as lost.

1. right or wrong, bound 0: McNemar's exact test on the questions on which the two differ
2. right or wrong, another bound: the exact unconditional test of Hsueh, Liu and Chen (Biometrics 57, 2001), ordered by
   the score statistic (Nam, Biometrics 53, 1997; Tango, Statistics in Medicine 17, 1998). The rate that the hypothesis
   leaves open is searched in its own interval of confidence (Berger and Boos, JASA 89, 1994)
3. scores: the studentized bootstrap over paired differences (Hall, Annals of Statistics 16, 1988), which reckons with
   skewed ones, and Student's paired t test, which long tails mislead less; the larger p-value counts. Besides there
   must be so many questions that, were the bound's share of them lost whole, one of them would have been seen

How many questions it takes at the seen rates: Nam's (2), Connor's (1; Biometrics 43, 1987) and the normal formula (3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, gammaln, ndtri, stdtr, xlog1py, xlogy

from sdk.intervals import ERROR, RESAMPLES, SEED, rows_needed
from sdk.records import DECIDING, BenchmarkResult, PairedChange

POWER = 0.8  # with which that many questions would tell
_OPEN_ERROR = 0.001  # of the interval in which the open rate is searched; added to what is found there
_STEP = 0.2  # between searched rates, in standard errors
_REACH = 8  # standard deviations of a count beyond which nothing is summed up
_Z_ERROR, _Z_POWER = -float(ndtri(ERROR)), float(ndtri(POWER))


def paired_change(base: Sequence[float], adapted: Sequence[float], bound: float) -> PairedChange:
    """Test whether the mean of paired scores from 0 to 1 fell by more than -bound. bound: 0 or negative, above -1."""
    before, after = np.asarray(base, dtype=np.float64), np.asarray(adapted, dtype=np.float64)
    margin, of = -bound, len(before)
    lost, gained = int((before > after).sum()), int((after > before).sum())
    exact = bool(np.isin(np.concatenate([before, after]), (0.0, 1.0)).all())
    p_kept, p_lost = right_or_wrong(lost, gained, of, margin) if exact else _scored(after - before, margin)
    needed = None
    if min(p_kept, p_lost) > ERROR:
        needed = questions_needed(lost / of, gained / of, margin) if exact else _scores_needed(after - before, margin)
    return PairedChange(
        questions=of,
        base=float(before.mean()),
        adapted=float(after.mean()),
        lost=lost,
        gained=gained,
        bound=bound,
        method="exact" if exact else "bootstrap",
        p_kept=p_kept,
        p_lost=p_lost,
        outcome="kept" if p_kept <= ERROR else "lost" if p_lost <= ERROR else "cannot be told",
        needed=needed,
    )


def held_against(bounds: Mapping[str, float], results: Mapping[str, BenchmarkResult]) -> dict[str, PairedChange | None]:
    """Test every benchmark that has a bound by the metric that decides; None where it was not measured."""
    return {
        name: _change_of(results[name], DECIDING[name], bound) if name in results else None
        for name, bound in bounds.items()
    }


def _change_of(result: BenchmarkResult, metric: str, bound: float) -> PairedChange:
    place = result.metrics.index(metric)
    base, adapted = [each.base[place] for each in result.outcomes], [each.adapted[place] for each in result.outcomes]
    return paired_change(base, adapted, bound)


# -- right or wrong ---------------------------------------------------------------------------------------------------


def right_or_wrong(lost: int, gained: int, of: int, margin: float) -> tuple[float, float]:
    """Return the p-values of "fell by the margin or more", small where kept, and of "did not fall by more"."""
    if margin == 0:
        pairs = lost + gained
        better, worse = _at_least(np.array([gained, lost]), np.array([pairs, pairs]), np.array(0.5)).tolist()
        return better, worse
    seen = float(_statistic(np.array([lost]), np.array([gained]), of, margin)[0])
    gains = _open_rates(gained, of, margin)[:, None]
    spread = np.sqrt(of * (gains + margin) * (1 - gains - margin))
    reach = _REACH * (float(spread.max()) + 1)
    first, last = of * (gains.min() + margin) - reach, of * (gains.max() + margin) + reach
    losses = np.arange(max(0, math.floor(first)), min(of, math.ceil(last)) + 1)
    weights = _share_of(losses, of, gains + margin)
    rest = of - losses
    share = np.minimum(1.0, gains / np.maximum(1 - gains - margin, 1e-300))
    # The statistic rises with the gains, so for each number of losses there is a least one from which it counts.
    slack = 1e-9 * max(1.0, abs(seen))
    at_least = _at_least(_least_gains(seen - slack, losses, of, margin), rest, share)
    at_most = 1 - _at_least(_least_gains(seen + slack, losses, of, margin), rest, share)
    p_kept, p_lost = (float((weights * each).sum(axis=1).max()) + _OPEN_ERROR for each in (at_least, at_most))
    return min(1.0, p_kept), min(1.0, p_lost)


def _statistic(lost: NDArray[np.int64], gained: NDArray[np.int64], of: int, margin: float) -> NDArray[np.float64]:
    """Return the score statistic of "the share of right answers fell by the margin": above 0 where it fell by less."""
    change = (gained - lost) / of + margin
    gain = _fitted_gain(lost / of, gained / of, margin)
    return change / np.sqrt((2 * gain + margin - margin * margin) / of)


def _fitted_gain(lost: NDArray[np.float64], gained: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """Return the most likely rate of gains, given that losses are more frequent by the margin."""
    linear = -(lost + gained) + margin * (2 + gained - lost)  # 2 g² + linear g + constant = 0
    constant = -gained * margin * (1 - margin)
    return (np.sqrt(np.maximum(linear * linear - 8 * constant, 0.0)) - linear) / 4


def _open_rates(gained: int, of: int, margin: float) -> NDArray[np.float64]:
    """Return the rates of gains to be searched: their exact interval, evenly by the standard error of a rate."""
    most = (1 - margin) / 2
    low = float(betaincinv(gained, of - gained + 1, _OPEN_ERROR / 2)) if gained else 0.0
    high = float(betaincinv(gained + 1, of - gained, 1 - _OPEN_ERROR / 2)) if gained < of else 1.0
    first, last = (math.asin(math.sqrt(min(end, most))) for end in (low, high))
    count = 2 + math.ceil((last - first) * 2 * math.sqrt(of) / _STEP)
    return np.asarray(np.sin(np.linspace(first, last, count)) ** 2)


def _share_of(counts: NDArray[np.int64], of: int, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the binomial probability of each count."""
    ways = gammaln(of + 1) - gammaln(counts + 1) - gammaln(of - counts + 1)
    return np.asarray(np.exp(ways + xlogy(counts, share) + xlog1py(of - counts, -share)))


def _at_least(counts: NDArray[np.int64], of: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the binomial probability of each count or more, of as many as stand beside it."""
    possible = np.clip(counts, 1, np.maximum(of, 1))
    chance = betainc(possible, np.maximum(of, 1) - possible + 1, share)
    return np.where(counts <= 0, 1.0, np.where(counts > of, 0.0, chance))


def _least_gains(limit: float, losses: NDArray[np.int64], of: int, margin: float) -> NDArray[np.int64]:
    """Return for each number of losses the least number of gains with a statistic of the limit; `of` + 1 where none."""
    low, high = np.zeros_like(losses), of - losses + 1
    while (low < high).any():
        middle = (low + high) // 2
        reached = (_statistic(losses, np.minimum(middle, of - losses), of, margin) >= limit) & (middle <= of - losses)
        open_ = low < high
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle + 1, low)
    return np.where(low > of - losses, of + 1, low)


def questions_needed(lost: float, gained: float, margin: float) -> int | None:
    """Return how many questions would tell at these rates; None where no number does."""
    change = gained - lost + margin
    if abs(change) < 1e-9:
        return None
    spread = math.sqrt(max(lost + gained - (gained - lost) ** 2, 0.0))
    if margin:
        fitted = float(_fitted_gain(np.array([lost]), np.array([gained]), margin)[0])
        expected = math.sqrt(2 * fitted + margin - margin * margin)
    else:
        expected = math.sqrt(lost + gained)
    plain = ((_Z_ERROR * expected + _Z_POWER * spread) / change) ** 2
    corrected = plain / 4 * (1 + math.sqrt(1 + 4 / (plain * abs(change)))) ** 2  # for steps of a whole question
    least = rows_needed(margin, ERROR - _OPEN_ERROR) if margin and change > 0 else 1
    return max(least, math.ceil(corrected))


# -- scores -----------------------------------------------------------------------------------------------------------


def _scored(changes: NDArray[np.float64], margin: float) -> tuple[float, float]:
    mean, error = float(changes.mean()) + margin, _standard_error(changes)
    if error == 0:
        p_kept, p_lost = (0.0, 1.0) if mean > 0 else (1.0, 0.0) if mean < 0 else (1.0, 1.0)
    else:
        drawn = changes[np.random.default_rng(SEED).integers(0, len(changes), size=(RESAMPLES, len(changes)))]
        errors = drawn.std(axis=1, ddof=1) / math.sqrt(len(changes))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.nan_to_num((drawn.mean(axis=1) - changes.mean()) / errors, posinf=np.inf, neginf=-np.inf)
        seen, student = mean / error, float(stdtr(len(changes) - 1, mean / error))
        p_kept = max(1 - student, float((1 + (spread >= seen).sum()) / (1 + RESAMPLES)))
        p_lost = max(student, float((1 + (spread <= seen).sum()) / (1 + RESAMPLES)))
    unseen = (1 - margin) ** len(changes) if margin else 0.0
    return max(p_kept, unseen), max(p_lost, 0.0 if len(changes) > 1 else 1.0)


def _standard_error(changes: NDArray[np.float64]) -> float:
    return float(changes.std(ddof=1)) / math.sqrt(len(changes)) if len(changes) > 1 else 0.0


def _scores_needed(changes: NDArray[np.float64], margin: float) -> int | None:
    mean = float(changes.mean()) + margin
    if abs(mean) < 1e-9:
        return None
    spread = _standard_error(changes) * math.sqrt(len(changes))
    least = rows_needed(margin) if margin and mean > 0 else 2
    return max(least, math.ceil(((_Z_ERROR + _Z_POWER) * spread / mean) ** 2))
