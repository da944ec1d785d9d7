"""What all of them share: patterns whose matches count where the check holds."""

from __future__ import annotations

import re
from typing import ClassVar

from presidio_analyzer import Pattern, PatternRecognizer

WEAK, FAIR = 0.15, 0.6  # a weak finding counts only with a context word near it; see context.py
ALNUM_BEFORE, ALNUM_AFTER = "(?<![0-9A-Za-z])", "(?![0-9A-Za-z])"


class ChecksumRecognizer(PatternRecognizer):
    """What `regexes` match counts where `valid` holds; what fails the check is no finding."""

    entity: ClassVar[str]
    regexes: ClassVar[tuple[str, ...]]
    words: ClassVar[tuple[str, ...]] = ()
    weak: ClassVar[bool] = False
    separators: ClassVar[re.Pattern[str]] = re.compile(r"[ .\-]")

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
        """Tell whether the check holds. value: the match in upper case without separators."""
        raise NotImplementedError

    @property
    def needs_words(self) -> bool:
        """Tell whether no find is sure by itself: each counts only with a context word near it."""
        return self.weak and type(self).validate_result is ChecksumRecognizer.validate_result

    def holds(self, found: str, value: str) -> bool:
        """Tell whether the check holds. found: the match; value: the same as `valid` gets it."""
        return self.valid(value)

    def validate_result(self, pattern_text: str) -> bool | None:
        value = self.separators.sub("", pattern_text).upper()
        if not value.isascii() or not self.holds(pattern_text, value):
            return False
        return None if self.weak else True


def is_repeated(digits: str) -> bool:
    """Tell whether it is zeros, or one digit over and over: a filler that passes most checks."""
    return len(set(digits)) == 1
