"""What all of them share: patterns whose matches count where the check holds."""

from __future__ import annotations

import re
from typing import ClassVar

from presidio_analyzer import Pattern, PatternRecognizer

WEAK, FAIR = 0.15, 0.6  # a weak finding counts only with a context word near it; see context.py
ALNUM_BEFORE, ALNUM_AFTER = "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])"
_SEPARATORS = re.compile(r"[ .\-]")


class ChecksumRecognizer(PatternRecognizer):
    """What `regexes` match counts where `valid` holds; what fails the check is no finding."""

    entity: ClassVar[str]
    regexes: ClassVar[tuple[str, ...]]
    words: ClassVar[tuple[str, ...]] = ()
    weak: ClassVar[bool] = False

    def __init__(
        self,
        supported_language: str = "en",
        supported_entity: str | None = None,
        context: list[str] | None = None,
        name: str | None = None,
    ) -> None:
        score = WEAK if self.weak else FAIR
        super().__init__(
            supported_entity=supported_entity or self.entity,
            patterns=[Pattern(f"{self.entity} {number}", regex, score) for number, regex in enumerate(self.regexes, 1)],
            context=context or list(self.words),
            supported_language=supported_language,
            name=name,
        )

    @staticmethod
    def valid(value: str) -> bool:
        """value: the match in upper case without separators."""
        raise NotImplementedError

    def validate_result(self, pattern_text: str) -> bool | None:
        value = _SEPARATORS.sub("", pattern_text).upper()
        if not value.isascii() or not self.valid(value):
            return False
        return None if self.weak else True


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [int(d) * 2 for d in digits[-2::-2]]
    return (sum(int(d) for d in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def mod97(value: str) -> bool:
    """ISO 7064 MOD 97-10 over digits and letters (A = 10 to Z = 35)."""
    return int("".join(str(int(c, 36)) for c in value)) % 97 == 1


def gs1(digits: str) -> bool:
    """GS1 General Specifications, 7.9: weights 3 and 1 from the right, the check digit included."""
    return (sum(int(d) for d in digits[-1::-2]) + 3 * sum(int(d) for d in digits[-2::-2])) % 10 == 0


def weighted(digits: str, weights: tuple[int, ...], modulus: int) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % modulus


def is_repeated(digits: str) -> bool:
    """Zeros, or one digit over and over: a filler that passes most checks."""
    return len(set(digits)) == 1
