"""Vehicles and devices."""

from __future__ import annotations

from sdk.scrub.find.checksums.checksum_recognizer import (
    ALNUM_AFTER,
    ALNUM_BEFORE,
    ChecksumRecognizer,
    gs1,
    is_repeated,
    luhn,
)

_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", "12345678123457923456789" + "0123456789", strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


class VehicleNumberRecognizer(ChecksumRecognizer):
    """Vehicle identification number (ISO 3779; check digit of 49 CFR 565.15 and GB 16735): 17 places, no I, O, Q."""

    entity = "VIN"
    regexes = (rf"{ALNUM_BEFORE}[A-HJ-NPR-Z0-9]{{8}}[0-9X][A-HJ-NPR-Z0-9]{{8}}{ALNUM_AFTER}",)

    @staticmethod
    def valid(value: str) -> bool:
        if sum(map(str.isdigit, value)) < 2 or value.isdigit():
            return False
        total = sum(int(_VIN_VALUES[c]) * weight for c, weight in zip(value, _VIN_WEIGHTS, strict=True))
        return "0123456789X"[total % 11] == value[8]


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
