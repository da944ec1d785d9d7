"""Personal data out of the rows: Presidio with the domain's recognizers; counts and offsets out, text never."""

from sdk.scrub.report import REPORTS
from sdk.scrub.step import scrub
from sdk.scrub.vault import VAULT, kind_of, reveal

__all__ = ["REPORTS", "VAULT", "kind_of", "reveal", "scrub"]
