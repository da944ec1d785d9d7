"""Finding personal data: the detector, Presidio's recognizers and ours, names, addresses, numbers with check digits.

Presidio comes in here, before any module of this package asks for it.
"""

from types import SimpleNamespace

import regex

from sdk.domain.compiled_patterns import require_pattern, used_by_regex
from sdk.scrub.find.without_models import models_left_out

with models_left_out(), used_by_regex():
    import presidio_analyzer as presidio_analyzer
    from presidio_analyzer import pattern as presidio_pattern

# Presidio's Pattern compiles what it is given only to see that it can be, and forgets it.
presidio_pattern.re = SimpleNamespace(compile=require_pattern, error=regex.error)
