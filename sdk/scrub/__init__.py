"""Personal data out of the rows: Presidio with the domain's recognizers; counts and offsets out, text never.

`sdk.scrub.step` holds the step itself: it loads presidio, and what is here does without.
"""

from sdk.scrub.replace.token_table import TOKEN_TABLE, kind_of, reveal

# What a scrubbing shows of itself. Here, because what reads it needs neither the page's parts nor exact limits.
HTML, JSON = REPORTS = ("report.html", "report.json")

__all__ = ["HTML", "JSON", "REPORTS", "TOKEN_TABLE", "kind_of", "reveal"]
