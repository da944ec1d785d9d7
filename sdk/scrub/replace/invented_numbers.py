"""Numbers, addresses of machines and accounts that nobody has, in the form of a given one.

Length, separators, case and full-width forms stay, check digits are valid. Where a range is set aside for examples or
was never issued, the number comes from there:

card                networks' and processors' test BINs (424242, 555555, 378282, 601100, 353011, 305693, 620000)
phone, NANP         555-0100 to 555-0199 of a random area code
phone, UK           020 7946 0xxx and 07700 900xxx (Ofcom's numbers for drama)
phone, mainland     mobile 154…, a prefix that no carrier has; landline: a local number that begins with 0
phone, others       country code, then 00…: no national number begins so
IP address          RFC 5737 (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24) and RFC 3849 (2001:db8::/32)
MAC address         locally administered (02:…), of no vendor
e-mail, URL         example.com, .org, .net (RFC 2606); example.org
US SSN              area 900 to 999 with group 01 to 49: no SSN begins with 9, no ITIN has such a group
US ITIN             group 89 or 93, of no ITIN
US EIN              prefix of no IRS campus
US NPI              begins with 2: valid, and so far all begin with 1
ABA routing number  begins with 51 to 59, of no Federal Reserve district
resident id, credit code  region 19…, of no province (GB/T 2260)
IMEI                begins with 00: test equipment
SWIFT code          0 in the eighth place: a test code
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta

from sdk.data.check_digits import (
    credit_code_character,
    cusip_digit,
    dea_digit,
    letters_as_numbers,
    luhn_digit,
    mod_97_digits,
    resident_id_character,
    routing_digit,
    vin_character,
    weighted,
)
from sdk.scrub.replace.pseudonyms import Draw

Maker = Callable[[str, Draw], str | None]

_PLATE_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_HAN = "伟强磊洋勇军杰涛超明刚平辉鹏华飞鑫波斌宇浩凯健俊帆帅旭宁龙林欢阳建博畅坤晨瑞"
_EXTENSION = re.compile(r"(?i)(?:\bext(?:ension)?\.?|(?<=\d)\s*x|#|转|分机)\s*[0-9]{1,6}\s*\Z")
_MAINLAND_MOBILE = re.compile(r"((?:00)?(?:86)?)1[3-9]\d{9}")
_LONG_DISTANCE = re.compile(r"\D*1\D+[2-9]\d{2}\D+\d{3}\D*\d{4}\D*")  # grouped as in North America
_AREAS_3 = ("010", "020", "021", "022", "023", "024", "025", "027", "028", "029")
_AREAS_4 = ("0311", "0371", "0411", "0451", "0512", "0531", "0571", "0591", "0731", "0755", "0791", "0871")


def _like(compact: str, draw: Draw, letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ") -> str:
    """Draw a value digit for digit and letter for letter; a first digit is 0 only where it was."""
    return "".join(
        (str(1 + draw.below(9)) if i == 0 and c != "0" else draw.digits(1))
        if c.isdecimal() and c.isascii()
        else draw.pick(letters)
        if c.isascii()
        else draw.pick(_HAN)
        for i, c in enumerate(compact)
    )


def _card(compact: str, draw: Draw) -> str | None:
    if not compact.isdecimal() or not 13 <= len(compact) <= 19:
        return None
    first, two = compact[0], compact[:2]
    if two == "62":
        prefix = "620000"
    elif two in ("34", "37"):
        prefix = "378282"
    elif two == "35":
        prefix = "353011"
    else:
        prefix = {"4": "424242", "2": "222300", "5": "555555", "3": "305693", "6": "601100"}.get(first, "424242")
    body = prefix + draw.digits(len(compact) - 7)
    return body + luhn_digit(body)


def _iban(compact: str, draw: Draw) -> str | None:
    if len(compact) < 15 or not compact[:2].isalpha() or not compact.isascii():
        return None
    account = _like(compact[4:], draw)
    return compact[:2] + mod_97_digits(account + compact[:2]) + account


def _lei(compact: str, draw: Draw) -> str | None:
    if len(compact) != 20:
        return None
    body = _like(compact[:18], draw)
    return body + mod_97_digits(body)


def _ssn(compact: str, draw: Draw) -> str | None:
    if len(compact) != 9:
        return None
    return f"9{draw.digits(2)}{1 + draw.below(49):02d}{1 + draw.below(9999):04d}"


def _itin(compact: str, draw: Draw) -> str | None:
    return f"9{draw.digits(2)}{draw.pick(('89', '93'))}{draw.digits(4)}" if len(compact) == 9 else None


def _ein(compact: str, draw: Draw) -> str | None:
    unused = ("00", "07", "08", "09", "17", "18", "19", "28", "29", "49", "69", "70", "78", "79", "89", "96", "97")
    return draw.pick(unused) + draw.digits(7) if len(compact) == 9 else None


def _npi(compact: str, draw: Draw) -> str | None:
    if len(compact) != 10:
        return None
    body = "2" + draw.digits(8)
    return body + luhn_digit("80840" + body)


def _dea(compact: str, draw: Draw) -> str | None:
    if not re.fullmatch(r"[A-Z][A-Z9]\d{7}", compact):
        return None
    body = draw.digits(6)
    return compact[0] + draw.pick("ABCDEFGHJKLMNPRSTW") + body + dea_digit(body)


def _aba(compact: str, draw: Draw) -> str | None:
    if len(compact) != 9:
        return None
    body = f"5{1 + draw.below(9)}{draw.digits(6)}"
    return body + routing_digit(body)


def _alphanumeric_luhn(compact: str, draw: Draw) -> str | None:
    """Make an ISIN (ISO 6166); letters count as two digits."""
    if len(compact) != 12:
        return None
    body = compact[:2] + _like(compact[2:11], draw)
    return body + luhn_digit(letters_as_numbers(body))


def _cusip(compact: str, draw: Draw) -> str | None:
    if len(compact) != 9:
        return None
    body = _like(compact[:8], draw)
    return body + cusip_digit(body)


def _vin(compact: str, draw: Draw) -> str | None:
    if len(compact) != 17:
        return None
    body = _like(compact, draw, "ABCDEFGHJKLMNPRSTUVWXYZ")
    return body[:8] + vin_character(body) + body[9:]


def _imei(compact: str, draw: Draw) -> str | None:
    if len(compact) not in (14, 15, 16) or not compact.isdecimal():
        return None
    body = "00" + draw.digits(12)
    return body + (luhn_digit(body) if len(compact) == 15 else draw.digits(len(compact) - 14))


def _swift(compact: str, draw: Draw) -> str | None:
    if len(compact) not in (8, 11):
        return None
    return _like("A" * 4, draw) + compact[4:6] + _like("A", draw) + "0" + _like(compact[8:], draw)


def _mbi(compact: str, draw: Draw) -> str | None:
    return _like(compact, draw, "ACDEFGHJKMNPQRTUVWXY")


def _resident_id(compact: str, draw: Draw) -> str | None:
    if len(compact) not in (15, 18):
        return None
    born = (date(1950, 1, 1) + timedelta(days=draw.below(18_000))).strftime("%Y%m%d")
    parity = int(compact[-2 if len(compact) == 18 else -1]) % 2  # of the order: odd for men
    order = f"{draw.below(100):02d}{2 * draw.below(5) + parity}"
    if len(compact) == 15:
        return "19" + draw.digits(4) + born[2:] + order
    body = "19" + draw.digits(4) + born + order
    return body + resident_id_character(body)


def _credit_code(compact: str, draw: Draw) -> str | None:
    if len(compact) != 18:
        return None
    organisation = draw.digits(8)  # GB 11714 has a check character of its own
    inner = -weighted(organisation, (3, 7, 9, 10, 5, 8, 4, 2), 11) % 11
    body = compact[:2] + "19" + draw.digits(4) + organisation + ("X" if inner == 10 else str(inner))
    return body + credit_code_character(body)


def _mac(compact: str, draw: Draw) -> str | None:
    if len(compact) not in (12, 16):
        return None
    return "02" + "".join(draw.pick("0123456789ABCDEF") for _ in compact[2:])


def _age(compact: str, draw: Draw) -> str | None:
    return str(20 + draw.below(70)) if len(compact) == 2 and compact.isdecimal() else None


def _age_over_89(compact: str, draw: Draw) -> str | None:
    return str(90 + draw.below(10)) if len(compact) == 2 and compact.isdecimal() else None


def _plate(compact: str, draw: Draw) -> str | None:
    if compact[0] in _PLATE_PROVINCES:
        return draw.pick(_PLATE_PROVINCES) + _like(compact[1:], draw, "ABCDEFGHJKLMNPQRSTUVWXYZ")
    return None


NUMBERS: dict[str, Maker] = {
    "CREDIT_CARD": _card,
    "CN_BANK_CARD": _card,
    "IBAN_CODE": _iban,
    "LEI": _lei,
    "US_SSN": _ssn,
    "US_ITIN": _itin,
    "US_EIN": _ein,
    "US_NPI": _npi,
    "DEA_NUMBER": _dea,
    "ABA_ROUTING_NUMBER": _aba,
    "ISIN": _alphanumeric_luhn,
    "CUSIP": _cusip,
    "VIN": _vin,
    "IMEI": _imei,
    "SWIFT_CODE": _swift,
    "US_MBI": _mbi,
    "CN_RESIDENT_ID": _resident_id,
    "CN_CREDIT_CODE": _credit_code,
    "MAC_ADDRESS": _mac,
    "AGE": _age,
    "AGE_OVER_89": _age_over_89,
    "VEHICLE_PLATE": _plate,
}


def _folded(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 else character


def _rewritten(value: str, places: list[int], new: str) -> str:
    """Put `new` into the places of the value, each character in the case and width of the one that stood there."""
    out, lower = list(value), value.islower()
    for place, character in zip(places, new, strict=True):
        old = value[place]
        if lower or _folded(old).islower():
            character = character.lower()
        if old != _folded(old) and character.isascii():
            character = chr(ord(character) + 0xFEE0)  # full width
        out[place] = character
    return "".join(out)


def number(value: str, entity_type: str, draw: Draw) -> str:
    """Return another number in the form of this one; a kind without rules of its own goes character by character."""
    ages = entity_type in ("AGE", "AGE_OVER_89")  # "years old" stays
    places = [i for i, c in enumerate(value) if (c.isdecimal() if ages else c.isalnum())]
    compact = "".join(_folded(value[i]) for i in places).upper()
    if not compact or len(compact) != len(places):
        return ""
    maker = NUMBERS.get(entity_type)
    try:
        new = maker(compact, draw) if maker else None
    except ValueError:  # letters where the kind has digits: no number of this kind
        new = None
    return _rewritten(value, places, new if new is not None else _like(compact, draw))


def phone(value: str, language: str, draw: Draw) -> str:
    extension = _EXTENSION.search(value)
    main = value[: extension.start()] if extension else value
    rest = value[len(main) :]
    places = [i for i, c in enumerate(main) if c.isdecimal()]
    digits = "".join(str(unicodedata.decimal(main[i])) for i in places)
    if not digits:
        return number(value, "", draw)
    country = re.search(r"[+＋]\s*\(?(\d{1,3})(?=\D)", unicodedata.normalize("NFKC", main))
    international = main.lstrip(" (（")[:1] in ("+", "＋")
    if _LONG_DISTANCE.fullmatch(main):
        new = "1" + _area_code(draw) + "55501" + draw.digits(2)
    else:
        new = _phone_digits(digits, international, country.group(1) if country else "", language, draw)
    return _rewritten(main, places, new) + (_digits_of(rest, draw) if rest else "")


def _digits_of(text: str, draw: Draw) -> str:
    places = [i for i, c in enumerate(text) if c.isdecimal()]
    return _rewritten(text, places, draw.digits(len(places)))


def _phone_digits(digits: str, international: bool, country: str, language: str, draw: Draw) -> str:
    mobile = _MAINLAND_MOBILE.fullmatch(digits)
    if mobile and not (international and not mobile[1]):  # +1 3xx xxx xxxx has as many digits
        return mobile[1] + "154" + draw.digits(8)
    if international and digits.startswith("86"):
        return "86" + _landline(digits[2:], draw)
    if digits.startswith("0") and language == "zh":
        return _landline(digits, draw)
    if (len(digits) == 10 and digits[0] in "23456789" and not international) or (
        len(digits) == 11 and digits[0] == "1"
    ):
        if language == "zh" and digits[:3] in ("400", "800"):
            return digits[:3] + "000" + draw.digits(4)
        return digits[: len(digits) - 10] + _area_code(draw) + "55501" + draw.digits(2)
    if len(digits) == 7 and language != "zh":
        return "55501" + draw.digits(2)
    if international and digits.startswith("44") and len(digits) == 12:
        return "44" + ("7700900" if digits[2] == "7" else "2079460") + draw.digits(3)
    if international:
        kept = country if digits.startswith(country) and country else digits[:2]
        zeros = min(2, len(digits) - len(kept))
        return kept + "0" * zeros + draw.digits(len(digits) - len(kept) - zeros)
    zeros = 2 if len(digits) >= 7 else 0
    return "0" * zeros + draw.digits(len(digits) - zeros)


def _landline(digits: str, draw: Draw) -> str:
    if digits.startswith("0") and len(digits) >= 10:
        area = draw.pick(_AREAS_3 if digits[1] in "12" else _AREAS_4)
    elif len(digits) >= 9:  # written without the trunk prefix, after +86
        area = draw.pick(_AREAS_3 if digits[0] in "12" else _AREAS_4)[1:]
    else:
        area = ""
    return area + "0" + draw.digits(len(digits) - len(area) - 1)


def _area_code(draw: Draw) -> str:
    """Draw an area code of the North American plan: no N11, no N9X, and none that is free of charge or costs extra."""
    while True:
        code = f"{2 + draw.below(8)}{draw.below(9)}{draw.below(10)}"
        if code[1:] != "11" and code[1] != code[2] and code[0] != "9":
            return code


def ip_address(value: str, draw: Draw) -> str:
    address, slash, bits = value.partition("/")
    try:
        parsed = ipaddress.ip_address(unicodedata.normalize("NFKC", address).strip())
    except ValueError:
        return number(value, "", draw)
    if parsed.version == 4:
        return f"{draw.pick(('192.0.2', '198.51.100', '203.0.113'))}.{1 + draw.below(254)}{slash}{bits}"
    low = int.from_bytes(bytes(draw.below(256) for _ in range(12)), "big")
    return f"{ipaddress.IPv6Address((0x20010DB8 << 96) | low)}{slash}{bits}"


def url(value: str, draw: Draw) -> str:
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", value)
    host = "www.example.org" if re.search(r"(?i)(?:^|//)www\.", value) else "example.org"
    return f"{scheme[0] if scheme else ''}{host}/{''.join(draw.pick('0123456789abcdef') for _ in range(8))}"
