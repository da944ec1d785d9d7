"""Numbers of prescribers, providers and patients."""

from __future__ import annotations

from sdk.data.check_digits import dea_digit, luhn
from sdk.scrub.find.checksums.checksum_recognizer import (
    ALNUM_AFTER,
    ALNUM_BEFORE,
    ChecksumRecognizer,
    is_repeated,
)


class ProviderIdentifierRecognizer(ChecksumRecognizer):
    """National Provider Identifier (45 CFR 162.406): ten digits, Luhn with the prefix 80840."""

    entity = "US_NPI"
    regexes = (r"(?<![0-9A-Za-z\-.])[12][0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}(?![0-9A-Za-z\-]|\.[0-9])",)
    words = (
        "npi", "national provider", "provider id", "provider identifier", "provider number", "nppes",
        "rendering provider", "billing provider", "referring provider",
    )  # fmt: skip
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return luhn("80840" + value)


class DeaNumberRecognizer(ChecksumRecognizer):
    """DEA registration number (21 CFR 1301): registrant's code, letter or 9, seven digits of which the last checks."""

    entity = "DEA_NUMBER"
    regexes = (r"(?<![0-9A-Za-z\-])[ABCDEFGHJKLMPRSTUX][A-Z9][ \-]?[0-9]{7}(?![0-9A-Za-z])",)

    @staticmethod
    def valid(value: str) -> bool:
        return dea_digit(value[2:8]) == value[8] and not is_repeated(value[2:])


_LETTER, _EITHER = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"


class BeneficiaryRecognizer(ChecksumRecognizer):
    """Medicare Beneficiary Identifier (CMS): eleven places, each with its own set; S L O I B Z are never used."""

    entity = "US_MBI"
    regexes = (
        rf"{ALNUM_BEFORE}[1-9]{_LETTER}{_EITHER}[0-9]([ \-]?){_LETTER}{_EITHER}[0-9]"
        rf"\1{_LETTER}{{2}}[0-9]{{2}}{ALNUM_AFTER}",
    )

    @staticmethod
    def valid(value: str) -> bool:
        return True


class NhsNumberRecognizer(ChecksumRecognizer):
    """NHS number of England and Wales near a word for it: ten digits, modulus 11."""

    entity = "MEDICAL_RECORD_NUMBER"
    regexes = (r"(?<![0-9A-Za-z\-.])[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{4}(?![0-9A-Za-z\-]|\.[0-9])",)
    words = ("nhs",)
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return -sum(int(d) * w for d, w in zip(value, range(10, 1, -1), strict=False)) % 11 == int(value[9])
