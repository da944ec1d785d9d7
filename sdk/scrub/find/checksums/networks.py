"""Addresses of machines."""

from __future__ import annotations

import ipaddress
import re

from sdk.scrub.find.checksums.checksum_recognizer import ChecksumRecognizer

_NUMBERED = (
    r"(?<!(?:\b(?:version|ver|v|release|build|firmware|section|sect|chapter|clause|article|paragraph|appendix|ec|e\.c\.)|版本号?|第)"
    r"\.? ?[0-9.]{7,15})"
)


class IpNumberRecognizer(ChecksumRecognizer):
    """IPv4 and IPv6 addresses in the textual forms of RFC 4291; port, prefix length and zone are no part of it."""

    entity = "IP_ADDRESS"
    regexes = (
        rf"(?<![0-9A-Za-z.])[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}(?!\.?[0-9A-Za-z]){_NUMBERED}",
        r"(?<![0-9A-Za-z]|[0-9A-F]:|::)[0-9A-F]{1,4}(?::[0-9A-F]{1,4}){5}(?::[0-9A-F]{1,4}:[0-9A-F]{1,4}|:[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?!:?[0-9A-Za-z])",
        r"(?<![0-9A-Za-z]|[0-9A-F]:|::)(?:[0-9A-F]{1,4}(?::[0-9A-F]{1,4}){0,6})?::(?:(?:[0-9A-F]{1,4}:){0,5}(?:[0-9A-F]{1,4}(?![0-9A-F]|\.[0-9])|[0-9]{1,3}(?:\.[0-9]{1,3}){3}))?(?!:?[0-9A-Za-z])",
    )

    def validate_result(self, pattern_text: str) -> bool | None:
        return self.valid(pattern_text)

    @staticmethod
    def valid(value: str) -> bool:
        if not re.search("[0-9]", value):
            return False
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return False
        return True
