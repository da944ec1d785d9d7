"""Vehicles and devices."""

from __future__ import annotations

from sdk.data.check_digits import gs1, luhn, vin_character
from sdk.scrub.find.checksums.checksum_recognizer import (
    ALNUM_AFTER,
    ALNUM_BEFORE,
    ChecksumRecognizer,
    is_repeated,
)


class VehicleNumberRecognizer(ChecksumRecognizer):
    """Vehicle identification number (ISO 3779; check digit of 49 CFR 565.15 and GB 16735): 17 places, no I, O, Q."""

    entity = "VIN"
    regexes = (rf"{ALNUM_BEFORE}[A-HJ-NPR-Z0-9]{{8}}[0-9X][A-HJ-NPR-Z0-9]{{8}}{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        if sum(map(str.isdigit, value)) < 2 or value.isdigit():
            return False
        return vin_character(value) == value[8]


class EquipmentIdentityRecognizer(ChecksumRecognizer):
    """International Mobile Equipment Identity (3GPP TS 23.003): 14 digits and Luhn."""

    entity = "IMEI"
    regexes = (
        r"(?<![0-9A-Za-z_\-]|[0-9]\.)[0-9]{15}(?![0-9A-Za-z_\-]|\.[0-9])",
        r"(?<![0-9A-Za-z_\-]|[0-9]\.)[0-9]{2}([ \-])[0-9]{6}\1[0-9]{6}\1[0-9](?![0-9A-Za-z_\-]|\.[0-9])",
        r"(?<![0-9A-Za-z_\-]|[0-9]\.)[0-9]{6}([ \-])[0-9]{2}\1[0-9]{6}\1[0-9](?![0-9A-Za-z_\-]|\.[0-9])",
    )

    @staticmethod
    def valid(value: str) -> bool:
        return luhn(value) and not is_repeated(value)

    def validate_result(self, pattern_text: str) -> bool | None:
        # below the card of 15 digits, which has an issuer's range as well
        return None if super().validate_result(pattern_text) else False


_HIBC = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-. $/+%")}


class DeviceIdentifierRecognizer(ChecksumRecognizer):
    """Unique device identification (21 CFR 830): GS1 with the GTIN's check digit, HIBCC with modulus 43, ICCBBA."""

    entity = "UDI"
    regexes = (
        r"\(01\) ?[0-9]{14}(?: ?\((?:1[0-9]|2[0-9]|24[0-9]|30|71[0-9])\) ?[0-9A-Z][0-9A-Z./_\-]{0,19}){0,6}",
        r"(?<![0-9A-Za-z])01[0-9]{14}(?:1[1357][0-9]{6}){1,2}(?:(?:10|21)[0-9A-Z\-]{1,20})?(?![0-9A-Za-z])",
        r"(?<![0-9A-Za-z+])\+[A-Z][0-9A-Z]{5,22}[0-9](?:/[0-9A-Z$+.%/\-]{2,40})?[0-9A-Z\-.$/+%](?![0-9A-Za-z])",
        r"(?<![0-9A-Za-z])=/[A-Z0-9]{5}[A-Z0-9]{6}[0-9]{4,5}(?:=[,;>}A-Z0-9]{3,20}){0,5}(?![0-9A-Za-z])",
    )

    def validate_result(self, pattern_text: str) -> bool | None:
        return self.valid(pattern_text.upper())

    @staticmethod
    def valid(value: str) -> bool:
        if value.startswith("+"):
            if not set(value) <= set(_HIBC):
                return False
            return sum(_HIBC[c] for c in value[:-1]) % 43 == _HIBC[value[-1]]
        if value.startswith("="):
            return True
        digits = "".join(c for c in value[value.index("01") + 2 :] if c.isdigit())[:14]
        return gs1(digits) and not is_repeated(digits)
