"""Payment cards."""

from __future__ import annotations

import re

from sdk.data.check_digits import luhn
from sdk.scrub.find.checksums.checksum_recognizer import ChecksumRecognizer, is_repeated

_BEFORE, _AFTER = r"(?<![0-9A-Za-z_]|[0-9]\.)", r"(?![0-9A-Za-z_]|\.[0-9])"
# Issuer ranges of ISO/IEC 7812 as the networks publish them, with the lengths they issue.
_NETWORKS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|(?:30[0-5]\d|3095|36\d\d|3[89]\d\d)\d{10,15}"  # Diners Club
    r"|35(?:\d{14}|(?:2[89]|[3-8]\d)\d{12,15})|(?:2131|1800)\d{11}"  # JCB; test numbers take all of 35
    r"|(?:5018|5020|5038|56\d\d|57\d\d|58\d\d|6304|6390|67\d\d|0604)\d{8,15}"  # Maestro
    r"|220[0-4]\d{12,15}"  # Mir
    r"|(?:60|8[12]|508[5-9]|353|356)\d{12,14}"  # RuPay
    r"|(?:9792|5019|4571|6062|6362|6363|5067|6370|6371)\d{12}"  # Troy, Dankort, Hipercard, Elo, InstaPayment
    r"|(?:506[01]|6500)\d{12,15}",  # Verve
    re.ASCII,
)


class PaymentCardRecognizer(ChecksumRecognizer):
    """Card numbers of 12 to 19 digits by the networks' ranges; Luhn. China's own are UnionPayCardRecognizer's."""

    entity = "CREDIT_CARD"
    # a greedy group at the end would swallow the expiry date that follows: so one pattern a grouping
    regexes = (
        rf"{_BEFORE}[0-9]{{12,19}}{_AFTER}",
        rf"{_BEFORE}[0-9]{{4}}([ .\-])[0-9]{{4}}\1[0-9]{{4}}(?:\1[0-9]{{4}})?{_AFTER}",
        rf"{_BEFORE}[0-9]{{4}}([ .\-])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,3}}{_AFTER}",
        rf"{_BEFORE}[0-9]{{4}}([ .\-])(?:[0-9]{{6}}\1[0-9]{{4,5}}"
        rf"|[0-9]{{4}}\1[0-9]{{5}}|[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,3}}"
        rf"|[0-9]{{3}}\1[0-9]{{3}}\1[0-9]{{3}}){_AFTER}",
        rf"{_BEFORE}[0-9]([ \-])(?:[0-9]\1){{11,17}}[0-9]{_AFTER}",
    )

    @staticmethod
    def valid(value: str) -> bool:
        return _NETWORKS.fullmatch(value) is not None and luhn(value) and not is_repeated(value)


class UnionPayCardRecognizer(ChecksumRecognizer):
    """Bank cards issued in mainland China: prefix 62, 81 or an older bank's own, 16 to 19 digits; Luhn (JR/T 0008)."""

    entity = "CN_BANK_CARD"
    regexes = (
        rf"{_BEFORE}(?:62|81|95[589])[0-9]{{13,17}}{_AFTER}",
        rf"{_BEFORE}(?:62|81|95)[0-9]{{2}}([ .\-])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}{_AFTER}",
        rf"{_BEFORE}(?:62|81|95)[0-9]{{2}}([ .\-])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,3}}{_AFTER}",
        rf"{_BEFORE}62[0-9]{{4}}([ \-])(?:[0-9]{{10,13}}"
        rf"|[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{2,5}}|[0-9]{{6}}\1[0-9]{{4,7}}){_AFTER}",
        rf"{_BEFORE}6([ \-])2\1(?:[0-9]\1){{13,16}}[0-9]{_AFTER}",
    )

    @staticmethod
    def valid(value: str) -> bool:
        return 16 <= len(value) <= 19 and luhn(value)
