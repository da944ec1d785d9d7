"""Recognizers whose values carry a check digit; a recognizers.yaml names them with `type: predefined`.

Presidio's own classes stand on `\\b`, which is not there between a Chinese character and a digit; these use ASCII
look-arounds. A class is `weak` where one random number in ten passes its check: it then needs a context word as well.
"""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar

from presidio_analyzer import Pattern, PatternRecognizer

WEAK, FAIR = 0.15, 0.6  # a weak finding counts only with a context word near it; see context.py
_NETWORKS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}",
    re.ASCII,
)
_SEPARATORS = re.compile(r"[ .\-]")


class ChecksumRecognizer(PatternRecognizer):
    """What `patterns` match counts where `valid` holds; what fails the check is no finding."""

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


def _weighted(digits: str, weights: tuple[int, ...], modulus: int) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % modulus


class PaymentCardRecognizer(ChecksumRecognizer):
    """Card numbers of 13 to 19 digits by the networks' ranges (Visa, Mastercard, Amex, Discover, JCB, Diners); Luhn."""

    entity = "CREDIT_CARD"
    # one pattern a length: a greedy one would swallow the expiry date that follows
    regexes = tuple(rf"(?<![0-9]|[0-9][.,])[2-6](?:[ .\-]?[0-9]){{{n - 1}}}(?![0-9])" for n in (13, 14, 15, 16, 18, 19))

    @staticmethod
    def valid(value: str) -> bool:
        return _NETWORKS.fullmatch(value) is not None and luhn(value)


class UnionPayCardRecognizer(ChecksumRecognizer):
    """Bank cards issued in mainland China: prefix 62, 16 to 19 digits; Luhn (JR/T 0008)."""

    entity = "CN_BANK_CARD"
    regexes = tuple(rf"(?<![0-9]|[0-9][.,])62(?:[ .\-]?[0-9]){{{n - 2}}}(?![0-9])" for n in (16, 17, 18, 19))

    @staticmethod
    def valid(value: str) -> bool:
        return luhn(value)


class ResidentIdRecognizer(ChecksumRecognizer):
    """Resident identity number of mainland China (GB 11643-1999): region, birth date, order, ISO 7064 MOD 11-2."""

    entity = "CN_RESIDENT_ID"
    regexes = (
        r"(?<![0-9A-Za-z])[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X](?![0-9A-Za-z])",
        r"(?<![0-9A-Za-z])[1-9][0-9]{5}[ \-](?:18|19|20)[0-9]{6}[ \-][0-9]{3}[0-9X](?![0-9A-Za-z])",
    )

    @staticmethod
    def valid(value: str) -> bool:
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        return "10X98765432"[_weighted(value[:17], weights, 11)] == value[17]


class UnifiedCreditCodeRecognizer(ChecksumRecognizer):
    """Unified social credit code of organisations in mainland China (GB 32100-2015): 18 characters, modulus 31."""

    entity = "CN_CREDIT_CODE"
    regexes = (r"(?<![0-9A-Za-z])[1-9A-HJ-NP-RTUWXY]{2}[0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}(?![0-9A-Za-z])",)

    @staticmethod
    def valid(value: str) -> bool:
        alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
        if not set(value) <= set(alphabet):
            return False
        total = sum(alphabet.index(c) * pow(3, i, 31) for i, c in enumerate(value[:17]))
        return alphabet[-total % 31] == value[17]


class RoutingNumberRecognizer(ChecksumRecognizer):
    """ABA routing transit number (ANSI X9.100-160): nine digits, weights 3-7-1."""

    entity = "ABA_ROUTING_NUMBER"
    regexes = (r"(?<![0-9A-Za-z\-])[0-8][0-9]{3}-?[0-9]{4}-?[0-9](?![0-9A-Za-z\-])",)
    words = ("aba", "routing", "rtn", "transit")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return _weighted(value, (3, 7, 1) * 3, 10) == 0


class ProviderIdentifierRecognizer(ChecksumRecognizer):
    """National Provider Identifier (45 CFR 162.406): ten digits, Luhn with the prefix 80840."""

    entity = "US_NPI"
    regexes = (r"(?<![0-9A-Za-z\-])[12][0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}(?![0-9A-Za-z\-])",)
    words = ("npi", "national provider", "provider id", "provider identifier", "provider number")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return luhn("80840" + value)


class DeaNumberRecognizer(ChecksumRecognizer):
    """DEA registration number (21 CFR 1301): registrant's code, letter or 9, seven digits of which the last checks."""

    entity = "DEA_NUMBER"
    regexes = (r"(?<![0-9A-Za-z\-])[ABCDEFGHJKLMPRSTUX][A-Z9][0-9]{7}(?![0-9A-Za-z\-])",)
    words = ("dea", "prescriber", "controlled substance")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        d = [int(c) for c in value[2:]]
        return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]


# SWIFT's IBAN registry, release 99: length -> countries.
IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
    24: "AD CZ DZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip


class IbanRegistryRecognizer(ChecksumRecognizer):
    """International bank account number (ISO 13616): the country's length, modulus 97; what follows is left alone."""

    entity = "IBAN_CODE"
    regexes = tuple(
        rf"(?<![0-9A-Za-z])(?:{countries.replace(' ', '|')})[ \-]?[0-9]{{2}}"
        rf"(?:[ \-]?[0-9A-Z]){{{length - 4}}}(?![0-9A-Za-z])"
        for length, countries in IBAN_COUNTRIES.items()
    )

    @staticmethod
    def valid(value: str) -> bool:
        return int("".join(str(int(c, 36)) for c in value[4:] + value[:4])) % 97 == 1


COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""  # ISO 3166-1 alpha-2, and XK


class BusinessIdentifierRecognizer(ChecksumRecognizer):
    """Business identifier code (ISO 9362): party, country, place, perhaps a branch; it has no check digit."""

    entity = "SWIFT_CODE"
    regexes = (r"(?<![0-9A-Za-z])(?-i:[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)(?![0-9A-Za-z])",)
    words = ("swift", "bic", "wire", "remittance", "correspondent", "汇款", "电汇", "收款行", "银行代码")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return value[4:6] in COUNTRIES.split()


class IpNumberRecognizer(ChecksumRecognizer):
    """IPv4 and IPv6 addresses in every textual form of RFC 4291 except the mixed one."""

    entity = "IP_ADDRESS"
    regexes = (
        r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?[0-9A-Za-z])",
        r"(?<![0-9A-Za-z])[0-9A-F]{1,4}(?::[0-9A-F]{1,4}){7}(?!:?[0-9A-Za-z])",
        r"(?<![0-9A-Za-z:])(?:[0-9A-F]{1,4}(?::[0-9A-F]{1,4}){0,5})?::[0-9A-F]{1,4}(?::[0-9A-F]{1,4}){0,5}(?!:?[0-9A-Za-z])",
    )

    def validate_result(self, pattern_text: str) -> bool | None:
        return self.valid(pattern_text)

    @staticmethod
    def valid(value: str) -> bool:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return False
        return True
