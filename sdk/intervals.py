"""Limits of a share, exact (Clopper-Pearson) from the quantiles of the beta distribution, and of a mean by bootstrap.

C. J. Clopper, E. S. Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial.
Biometrika 26 (1934).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from sdk.records import Interval

ERROR = 0.05  # one minus the confidence
RESAMPLES, SEED = 2_000, 0  # of the bootstrap
Numbers = NDArray[np.float64]
Figure = Callable[[Numbers], Numbers]  # sums over questions, one line for each resample -> a figure for each


class Share(NamedTuple):
    value: float
    low: float
    high: float


def share(hits: int, of: int) -> Share:
    """Return hits / of with both limits at 95 %; of must be above 0."""
    low = float(betaincinv(hits, of - hits + 1, ERROR / 2)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - ERROR / 2)) if hits < of else 1.0
    return Share(hits / of, low, high)


def share_interval(hits: int, of: int) -> Interval:
    """Return such a share as records keep one."""
    return Interval(**share(hits, of)._asdict())


def upper_bound(hits: int, of: int) -> float:
    """Return the share that is not exceeded, one-sided at 95 %; 1 where nothing was looked at."""
    return float(betaincinv(hits + 1, of - hits, 1 - ERROR)) if hits < of else 1.0


def rows_needed(bound: float, error: float = ERROR) -> int:
    """Return how many must be looked at, and nothing be found, for an upper bound of `bound`: 299 for 0.01."""
    return max(1, math.ceil(math.log(error) / math.log1p(-bound) - 1e-9)) if bound < 1 else 1


def bootstrap(values: Sequence[float], seed: int = SEED) -> Interval:
    """Return mean and 95 % percentile interval over questions drawn with replacement (Efron and Tibshirani, ch. 13)."""
    observed = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(observed), size=(RESAMPLES, len(observed)))
    low, high = np.percentile(observed[drawn].mean(axis=1), [2.5, 97.5])
    return Interval(value=float(observed.mean()), low=float(low), high=float(high))


def bootstrap_ratio(sums: Sequence[float], sizes: Sequence[int]) -> Interval:
    """Return the sum of sums over that of sizes, with its 95 % percentile interval over pairs drawn together."""
    above, below = np.asarray(sums, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    drawn = np.random.default_rng(SEED).integers(0, len(above), size=(RESAMPLES, len(above)))
    value = float(above.sum() / below.sum())
    return percentile_interval(value, above[drawn].sum(1) / below[drawn].sum(1))


def crossed(values: NDArray[np.float64], confidence: float = 1 - ERROR) -> Interval | None:
    """Return the mean of values[seed, question] and its interval by Student's t, over seeds and questions both.

    Its variance is taken as that of the questions' means and that of the seeds' means together, which counts what is
    left between the two twice and so is rather too wide; its degrees of freedom are Satterthwaite's. None: with one
    seed, or one question, nothing is known of how much another would change.
    """
    seeds, questions = values.shape
    if min(seeds, questions) < 2:
        return None
    by_seed, by_question = (
        float(values.mean(axis=axis).var(ddof=1)) / count for axis, count in ((1, seeds), (0, questions))
    )
    value, variance = float(values.mean()), by_seed + by_question
    if variance == 0:
        return Interval(value=value, low=value, high=value)
    freedom = variance**2 / (by_seed**2 / (seeds - 1) + by_question**2 / (questions - 1))
    half = float(stdtrit(freedom, 1 - (1 - confidence) / 2)) * math.sqrt(variance)
    return Interval(value=value, low=value - half, high=value + half)


def bootstrap_figure(statistics: Numbers, figure: Figure) -> Interval:
    """Return a figure of sums over questions, such as BLEU, with its 95 % percentile interval over resampled questions.

    statistics: a line for each question, of what is added up.
    """
    return percentile_interval(figure(statistics.sum(axis=0)[None])[0], figure(_resampled(statistics)))


def bootstrap_change(before: Numbers, after: Numbers, figure: Figure) -> Interval:
    """Return by how much such a figure changed, with the interval over questions that are drawn for both together."""
    value = figure(after.sum(axis=0)[None])[0] - figure(before.sum(axis=0)[None])[0]
    return percentile_interval(value, figure(_resampled(after)) - figure(_resampled(before)))


def _resampled(statistics: Numbers) -> Numbers:
    """Return the sums over questions drawn with replacement, RESAMPLES times, always the same ones."""
    count = len(statistics)
    drawn = np.random.default_rng(SEED).integers(0, count, size=(RESAMPLES, count))
    times = np.stack([np.bincount(line, minlength=count) for line in drawn])
    return np.asarray(times @ statistics, dtype=np.float64)


def percentile_interval(value: float, resampled: Numbers) -> Interval:
    """Return a value with the 95 % percentile interval of what resamples gave, which holds the value."""
    low, high = (float(end) for end in np.percentile(resampled, [2.5, 97.5]))
    return Interval(value=float(value), low=min(low, float(value)), high=max(high, float(value)))
