"""Exact (Clopper-Pearson) limits of a share, from the quantiles of the beta distribution.

C. J. Clopper, E. S. Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial.
Biometrika 26 (1934).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.special import betaincinv

ERROR = 0.05  # one minus the confidence


class Share(NamedTuple):
    value: float
    low: float
    high: float


def share(hits: int, of: int) -> Share:
    """Return hits / of with both limits at 95 %; of must be above 0."""
    low = float(betaincinv(hits, of - hits + 1, ERROR / 2)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - ERROR / 2)) if hits < of else 1.0
    return Share(hits / of, low, high)


def upper_bound(hits: int, of: int) -> float:
    """Return the share that is not exceeded, one-sided at 95 %; 1 where nothing was looked at."""
    return float(betaincinv(hits + 1, of - hits, 1 - ERROR)) if hits < of else 1.0


def rows_needed(bound: float) -> int:
    """Return how many must be looked at, and nothing be found, for an upper bound of `bound`: 299 for 0.01."""
    return max(1, math.ceil(math.log(ERROR) / math.log1p(-bound) - 1e-9)) if bound < 1 else 1
