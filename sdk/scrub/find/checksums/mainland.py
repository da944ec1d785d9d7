"""Numbers that the People's Republic of China gives."""

from __future__ import annotations

from datetime import date

from sdk.data.check_digits import credit_code_character, resident_id_character
from sdk.scrub.find.checksums.checksum_recognizer import ALNUM_AFTER, ALNUM_BEFORE, ChecksumRecognizer

# GB/T 2260: the first two digits of a region; 81 to 83 are residence permits of Hong Kong, Macau and Taiwan, 91 abroad.
PROVINCES = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 "
    "71 81 82 83 91".split()
)


class ResidentIdRecognizer(ChecksumRecognizer):
    """Resident identity number of mainland China (GB 11643-1999): region, birth date, order, ISO 7064 MOD 11-2."""

    entity = "CN_RESIDENT_ID"
    regexes = (
        rf"{ALNUM_BEFORE}[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{2}}(?:0[1-9]|1[0-2])[0-3][0-9]{{4}}[0-9X]{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}[1-9][0-9]{{5}}[ \-](?:18|19|20)[0-9]{{6}}[ \-][0-9]{{3}}[0-9X]{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}[1-9][0-9]{{5}}([ \-])(?:18|19|20)[0-9]{{2}}\1[0-9]{{4}}\1[0-9]{{3}}[0-9X]{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}[1-9][0-9]{{2}}(?: [0-9]{{3}}){{4}} [0-9]{{2}}[0-9X]{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}[1-9][0-9]{{3}}(?: [0-9]{{4}}){{3}} [0-9][0-9X]{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}[1-9]([ \-])(?:[0-9]\1){{16}}[0-9X]{ALNUM_AFTER}",
    )

    @staticmethod
    def valid(value: str) -> bool:
        try:
            date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
        except ValueError:
            return False
        return value[:2] in PROVINCES and resident_id_character(value[:17]) == value[17]


class UnifiedCreditCodeRecognizer(ChecksumRecognizer):
    """Unified social credit code of organisations in mainland China (GB 32100-2015): 18 characters, modulus 31."""

    entity = "CN_CREDIT_CODE"
    regexes = (rf"{ALNUM_BEFORE}[1-9A-HJ-NP-RTUWXY]{{2}}[0-9]{{6}}[0-9A-HJ-NP-RTUWXY]{{10}}{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        try:
            return credit_code_character(value[:17]) == value[17]
        except ValueError:
            return False


class HongKongIdRecognizer(ChecksumRecognizer):
    """Hong Kong identity card: one or two letters, six digits and a check character in brackets, modulus 11."""

    entity = "CN_RESIDENT_ID"
    regexes = (r"(?<![0-9A-Za-z])[A-Z]{1,2}[0-9]{6} ?\([0-9A]\)",)

    def validate_result(self, pattern_text: str) -> bool | None:
        return self.valid(pattern_text.upper().replace(" ", "").replace("(", "").replace(")", ""))

    @staticmethod
    def valid(value: str) -> bool:
        letters, digits, check = value[:-7], value[-7:-1], value[-1]
        numbers = [36] * (2 - len(letters)) + [int(c, 36) for c in letters] + [int(c) for c in digits]
        total = sum(number * weight for number, weight in zip(numbers, range(9, 1, -1), strict=True))
        return "0123456789A"[-total % 11] == check
