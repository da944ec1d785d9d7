"""Securities, legal entities and coins."""

from __future__ import annotations

import hashlib

from sdk.data.check_digits import cusip_digit, letters_as_numbers, luhn, mod_97
from sdk.scrub.find.checksums.accounts import COUNTRIES
from sdk.scrub.find.checksums.checksum_recognizer import (
    ALNUM_AFTER,
    ALNUM_BEFORE,
    ChecksumRecognizer,
    is_repeated,
)


class CusipRecognizer(ChecksumRecognizer):
    """CUSIP (ANSI X9.6): issuer, issue, check digit. With letters its form is plain; digits alone need a word."""

    entity = "CUSIP"
    regexes = (rf"{ALNUM_BEFORE}(?=[0-9]{{0,7}}[A-Z])[0-9]{{3}}[0-9A-Z]{{5}}[0-9]{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        return cusip_digit(value[:8]) == value[8]


class DigitsCusipRecognizer(ChecksumRecognizer):
    """CUSIP near a word for it, in any form that the standard allows."""

    entity = "CUSIP"
    regexes = (r"(?<![0-9A-Za-z\-])[0-9A-Z][0-9]{2}[0-9A-Z]{5}[0-9](?![0-9A-Za-z\-]|\.[0-9])",)
    words = ("cusip", "cins", "security id", "security identifier", "bond", "note", "证券代码", "债券")
    weak = True

    @staticmethod
    def valid(value: str) -> bool:
        return cusip_digit(value[:8]) == value[8] and not is_repeated(value)


class SecurityNumberRecognizer(ChecksumRecognizer):
    """ISIN (ISO 6166): country or X-code, nine characters, Luhn over the letters as numbers."""

    entity = "ISIN"
    regexes = (rf"{ALNUM_BEFORE}[A-Z]{{2}}[0-9A-Z]{{9}}[0-9]{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        place = value[:2] in COUNTRIES or value[:2] in ("XS", "XA", "XB", "XC", "XD", "XF", "EU", "QS", "QT")
        return place and sum(c.isdigit() for c in value) >= 3 and luhn(letters_as_numbers(value))


class LegalEntityRecognizer(ChecksumRecognizer):
    """LEI (ISO 17442): 18 characters and two check digits, ISO 7064 MOD 97-10."""

    entity = "LEI"
    regexes = (rf"{ALNUM_BEFORE}[0-9A-Z]{{18}}[0-9]{{2}}{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        return mod_97(value) and not value.isdigit()


_BASE58 = {c: i for i, c in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_BECH32 = {c: i for i, c in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173


def _base58check(value: str) -> bool:
    number = 0
    for character in value:
        if character not in _BASE58:
            return False
        number = number * 58 + _BASE58[character]
    if number.bit_length() > 25 * 8:
        return False
    raw = number.to_bytes(25)
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def _bech32(value: str) -> bool:
    prefix, _, data = value.lower().rpartition("1")
    if value not in (value.lower(), value.upper()) or not set(data) <= set(_BECH32):
        return False
    checksum = 1
    for number in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [_BECH32[c] for c in data]:
        top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ number
        for bit, generator in enumerate(_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum in (1, 0x2BC830A3)  # BIP 173, BIP 350


class WalletRecognizer(ChecksumRecognizer):
    """Bitcoin, Litecoin, Dogecoin, Dash and Tron addresses: Base58Check, Bech32 and Bech32m; Ethereum's have a form."""

    entity = "CRYPTO"
    regexes = (
        rf"{ALNUM_BEFORE}(?-i:[13LMDXT][1-9A-HJ-NP-Za-km-z]{{25,34}}){ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}(?:bc1|tb1|ltc1)[0-9a-z]{{25,87}}{ALNUM_AFTER}",
        rf"{ALNUM_BEFORE}0x[0-9a-f]{{40}}{ALNUM_AFTER}",
    )

    def validate_result(self, pattern_text: str) -> bool | None:
        return self.valid(pattern_text)

    @staticmethod
    def valid(value: str) -> bool:
        if value[:2].lower() == "0x":
            return True
        return _bech32(value) if value[:3].lower() in ("bc1", "tb1", "ltc") else _base58check(value)
