"""Numbers that the United States give to persons and firms."""

from __future__ import annotations

from sdk.scrub.find.checksums.checksum_recognizer import ChecksumRecognizer

# Specimens that the Social Security Administration has withdrawn: a wallet's insert, and those of advertisements.
_WITHDRAWN = frozenset({"078051120", "219099999", "457555462"})


class SocialSecurityRecognizer(ChecksumRecognizer):
    """Social Security number in groups: no area 000, 666 or 9xx, no group 00, no serial 0000 (20 CFR 422.103)."""

    entity = "US_SSN"
    regexes = (
        r"(?<![0-9A-Za-z.\-])(?!000|666|9)[0-9]{3}( ?- ?|[ .])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}"
        r"(?![0-9A-Za-z]|[.\-][0-9])",
    )

    @staticmethod
    def valid(value: str) -> bool:
        return value not in _WITHDRAWN

    def validate_result(self, pattern_text: str) -> bool | None:
        return None if super().validate_result(pattern_text) else False


# Prefixes of the Internal Revenue Service's campuses.
_CAMPUSES = frozenset(
    f"{n:02d}" for n in (*range(1, 7), *range(10, 17), *range(20, 28), *range(30, 49), *range(50, 69), *range(71, 78),
                        *range(80, 89), *range(90, 96), 98, 99)
)  # fmt: skip


class EmployerNumberRecognizer(ChecksumRecognizer):
    """Employer identification number near a word for it: a campus's prefix and seven digits."""

    entity = "US_EIN"
    regexes = (r"(?<![0-9A-Za-z.\-])[0-9]{2}-[0-9]{7}(?![0-9A-Za-z\-]|\.[0-9])",)
    words = (
        "ein", "fein", "employer", "employer identification", "irs", "tax id", "taxpayer", "tin", "federal tax",
        "identification no", "identification number", "雇主识别号", "税号",
    )  # fmt: skip
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return value[:2] in _CAMPUSES
