"""Bank accounts and banks."""

from __future__ import annotations

from sdk.data.check_digits import mod_97, routing_digit
from sdk.scrub.find.checksums.checksum_recognizer import (
    ALNUM_AFTER,
    ALNUM_BEFORE,
    ChecksumRecognizer,
    is_repeated,
)

# SWIFT's IBAN registry, release 99: length -> countries.
IBAN_COUNTRIES = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
    24: "AD CZ DZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_BY_LENGTH = "|".join(
    rf"(?:{countries.replace(' ', '|')})[ \-]?[0-9]{{2}}(?:[ \-]?[0-9A-Z]){{{length - 4}}}"
    for length, countries in IBAN_COUNTRIES.items()
)


class IbanRegistryRecognizer(ChecksumRecognizer):
    """International bank account number (ISO 13616): the country's length, modulus 97; what follows is left alone."""

    entity = "IBAN_CODE"
    regexes = (rf"{ALNUM_BEFORE}(?=[A-Z]{{2}}[ \-]?[0-9]{{2}})(?:{_BY_LENGTH}){ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        return mod_97(value[4:] + value[:4])


class RoutingNumberRecognizer(ChecksumRecognizer):
    """ABA routing transit number (ANSI X9.100-160): nine digits, weights 3-7-1, a prefix that the ABA has given."""

    entity = "ABA_ROUTING_NUMBER"
    regexes = (r"(?<![0-9A-Za-z\-.])[0-8][0-9]{3}-?[0-9]{4}-?[0-9](?![0-9A-Za-z\-]|\.[0-9])",)
    words = ("aba", "routing", "rtn", "transit", "wire", "ach", "direct deposit", "路由号", "汇款路线")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        given = value[:2] <= "12" or "21" <= value[:2] <= "32" or "61" <= value[:2] <= "72" or value[:2] == "80"
        return given and routing_digit(value[:8]) == value[8] and not is_repeated(value)


COUNTRIES = frozenset(
    """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
""".split()
)  # ISO 3166-1 alpha-2, and XK


class BusinessIdentifierRecognizer(ChecksumRecognizer):
    """Business identifier code (ISO 9362): party, country, place, perhaps a branch; it has no check digit."""

    entity = "SWIFT_CODE"
    regexes = (rf"{ALNUM_BEFORE}(?-i:[A-Z]{{6}}[A-Z0-9]{{2}}(?:[A-Z0-9]{{3}})?){ALNUM_AFTER}",)
    words = (
        "swift", "bic", "wire", "wired", "remittance", "correspondent", "intermediary bank", "beneficiary bank",
        "汇款", "电汇", "收款行", "开户行", "银行代码", "国际汇款",
    )  # fmt: skip
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return value[4:6] in COUNTRIES
