"""Personal data out of the rows: Presidio with the domain's recognizers; counts and offsets out, text never."""

from sdk.scrub.replace.token_table import TOKEN_TABLE, kind_of, reveal
from sdk.scrub.report import REPORTS
from sdk.scrub.step import scrub

__all__ = ["REPORTS", "TOKEN_TABLE", "kind_of", "reveal", "scrub"]
