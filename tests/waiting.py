"""Waiting for a state, for as long as the slowest machine needs."""

import time
from collections.abc import Callable

SECONDS = 300.0  # not a measure of anything: what has not come by then does not come


def wait_until(reached: Callable[[], bool], goes_on: Callable[[], bool] = lambda: True) -> None:
    """Return once the state is reached; AssertionError when that which should reach it has ended, or in the end."""
    end = time.monotonic() + SECONDS
    while not reached():
        assert goes_on() or reached(), "it ended before the state was reached"
        assert time.monotonic() < end, f"the state was not reached within {SECONDS:.0f} seconds"
        time.sleep(0.01)
