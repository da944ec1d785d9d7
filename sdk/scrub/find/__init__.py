"""Finding personal data: the detector, Presidio's recognizers and ours, names, addresses, numbers with check digits.

Presidio comes in here, before any module of this package asks for it.
"""

from sdk.scrub.find.without_models import models_left_out

with models_left_out():
    import presidio_analyzer as presidio_analyzer
