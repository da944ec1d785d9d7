"""Personal data out of the rows: Presidio with the domain's recognizers; counts and offsets out, text never."""

from sdk.scrub.step import scrub

__all__ = ["scrub"]
