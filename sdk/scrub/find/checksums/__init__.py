"""Recognizers whose values carry a check digit, by theme; a recognizers.yaml names them with `type: predefined`.

Presidio's own classes stand on `\\b`, which is not there between a Chinese character and a digit; these use ASCII
look-arounds. A class is `weak` where one random number in ten passes its check: it then needs a context word as well.
"""

from sdk.scrub.find.checksums import (
    accounts,
    cards,
    devices,
    health,
    mainland,
    nationals,
    networks,
    securities,
    states,
)

__all__ = ["accounts", "cards", "devices", "health", "mainland", "nationals", "networks", "securities", "states"]
