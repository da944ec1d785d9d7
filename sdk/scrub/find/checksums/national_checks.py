"""Check digits of the numbers that states give to persons: each function takes a number in capitals without separators.

The members of the European Union, then others. The forms in nationals.py see to what a function needs of a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from sdk.data.check_digits import luhn, weighted

_VERHOEFF_TABLE = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PLACES = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_FINNISH = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_SPANISH = "TRWAGMYFPDXBNJZSQVHLCKE"
_ITALIAN_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip
_TAIWAN = dict(
    zip("ABCDEFGHJKLMNPQRSTUVXYWZIO", range(10, 36), strict=True)
)  # the household office that the letter stands for


# -- what several states use


def is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def is_short_date(value: str, order: str = "ymd") -> bool:
    """Tell whether six digits are a date in some century. order: `ymd` or `dmy`."""
    first, month, last = int(value[:2]), int(value[2:4]), int(value[4:6])
    year, day = (first, last) if order == "ymd" else (last, first)
    return is_date(2000 + year, month, day) or is_date(1900 + year, month, day)


def verhoeff(digits: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_TABLE[check][int(_VERHOEFF_PLACES[place % 8][int(digit)])])
    return check == 0


def mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def ends_in(digits: str, weights: Sequence[int], modulus: int, of_ten: int = 0) -> bool:
    """Tell whether the last digit is the weighted sum of the others by the modulus; of_ten: what stands for a ten."""
    rest = weighted(digits[:-1], weights, modulus)
    return (of_ten if rest == 10 else rest) == int(digits[-1])


def complements(digits: str, weights: Sequence[int], modulus: int, of_ten: int = 0) -> bool:
    """Tell whether the last digit completes the weighted sum to the modulus; of_ten: what stands for a ten."""
    rest = -weighted(digits[:-1], weights, modulus) % modulus
    return (of_ten if rest == 10 else rest) == int(digits[-1])


# -- the European Union


def austria_insurance(value: str) -> bool:
    return weighted(value[:3] + value[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6), 11) == int(value[3]) and (
        int(value[6:8]) > 12 or is_short_date(value[4:], "dmy")
    )


def belgium(value: str) -> bool:
    month = int(value[2:4]) % 20
    return month <= 12 and any(97 - int(c + value[:9]) % 97 == int(value[9:]) for c in ("", "2"))


def bulgaria(value: str) -> bool:
    month = int(value[2:4]) % 20
    return is_short_date(f"{value[:2]}{month:02d}{value[4:6]}") and ends_in(value, (2, 4, 8, 5, 10, 9, 7, 3, 6), 11)


def cyprus(value: str) -> bool:
    total = sum(_ITALIAN_ODD[c] for c in value[:8:2]) + sum(map(int, value[1:8:2]))
    return chr(ord("A") + total % 26) == value[8]


def czechia_slovakia(value: str) -> bool:
    month = int(value[2:4])
    month -= next((more for more in (70, 50, 20) if month > more), 0)
    rest = int(value[:9]) % 11 % 10
    return is_short_date(f"{value[:2]}{month:02d}{value[4:6]}") and rest == int(value[9])


def denmark(value: str) -> bool:
    return is_short_date(value, "dmy")  # since 2007 its last digit checks nothing


def estonia_lithuania(value: str) -> bool:
    rest = weighted(value[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1), 11)
    if rest == 10:
        rest = weighted(value[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3), 11) % 10
    return value[0] in "123456" and is_short_date(value[1:7]) and rest == int(value[10])


def finland(value: str) -> bool:
    return is_short_date(value[:6], "dmy") and _FINNISH[int(value[:6] + value[-4:-1]) % 31] == value[-1]


def france_insurance(value: str) -> bool:
    number = int(value[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(value[13:]) and (int(value[3:5]) <= 12 or int(value[3:5]) >= 20)


def france_tax(value: str) -> bool:
    return int(value[:10]) % 511 == int(value[10:])


def germany_tax(value: str) -> bool:
    counts = sorted((value[:10].count(digit) for digit in set(value[:10])), reverse=True)
    return value[0] != "0" and counts[0] in (2, 3) and counts[1] == 1 and mod_11_10(value)


def germany_pension(value: str) -> bool:
    digits = value[:8] + f"{ord(value[8]) - 64:02d}" + value[9:]
    total = sum(
        sum(map(int, str(int(digit) * weight)))
        for digit, weight in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=False)
    )
    return total % 10 == int(digits[-1]) and 1 <= int(value[4:6]) <= 12


def germany_health(value: str) -> bool:
    digits = f"{ord(value[0]) - 64:02d}{value[1:]}"
    return luhn_from_the_left(digits)


def luhn_from_the_left(digits: str) -> bool:
    total = sum(sum(map(int, str(int(d) * (1 + place % 2)))) for place, d in enumerate(digits[:-1]))
    return total % 10 == int(digits[-1])


def machine_readable(value: str) -> bool:
    """ICAO 9303, as on identity cards of Germany: weights 7, 3, 1; a letter counts 10 to 35."""
    total = sum(int(c, 36) * (7, 3, 1)[place % 3] for place, c in enumerate(value[:-1]))
    return total % 10 == int(value[-1])


def greece_tax(value: str) -> bool:
    return ends_in(value, [2**power for power in range(8, 0, -1)], 11)


def greece_insurance(value: str) -> bool:
    return is_short_date(value, "dmy") and luhn(value)


def hungary_tax(value: str) -> bool:
    return value[0] == "8" and ends_in(value, range(1, 10), 11, -1)


def hungary_insurance(value: str) -> bool:
    return ends_in(value, (3, 7, 3, 7, 3, 7, 3, 7), 10)


def hungary_person(value: str) -> bool:
    return is_short_date(value[1:7]) and (
        ends_in(value, range(1, 11), 11, -1) or ends_in(value, range(10, 0, -1), 11, -1)
    )


def ireland(value: str) -> bool:
    more = ord(value[8]) - 64 if len(value) == 9 and value[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(value[:7], range(8, 1, -1), 23) + 9 * more) % 23] == value[7]


def italy(value: str) -> bool:
    even = sum(int(c) if c.isdigit() else ord(c) - 65 for c in value[1:15:2])
    return chr(65 + (even + sum(_ITALIAN_ODD[c] for c in value[:15:2])) % 26) == value[15]


def latvia(value: str) -> bool:
    if value[:2] >= "32":  # given since 2017, without a date
        return value[:2] <= "39"
    total = weighted(value[:10], (1, 6, 3, 7, 9, 10, 5, 8, 4, 2), 11)
    return is_short_date(value, "dmy") and (1101 - total) % 11 % 10 == int(value[10])


def luxembourg(value: str) -> bool:
    return (
        is_date(int(value[:4]), int(value[4:6]), int(value[6:8]))
        and luhn(value[:12])
        and verhoeff(value[:11] + value[12])
    )


def netherlands(value: str) -> bool:
    return weighted(value, (9, 8, 7, 6, 5, 4, 3, 2, 10), 11) == 0 and len(set(value)) > 1


def poland(value: str) -> bool:
    month = int(value[2:4]) % 20
    return is_short_date(f"{value[:2]}{month:02d}{value[4:6]}") and complements(
        value, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3), 10
    )


def poland_tax(value: str) -> bool:
    return ends_in(value, (6, 5, 7, 2, 3, 4, 5, 6, 7), 11, -1)


def portugal_tax(value: str) -> bool:
    return value[0] in "1235689" and complements(value, range(9, 1, -1), 11)


def portugal_card(value: str) -> bool:
    values = [int(c, 36) for c in value]
    doubled = (v * 2 - 9 if v * 2 > 9 else v * 2 for v in values[-2::-2])
    return (sum(values[::-2]) + sum(doubled)) % 10 == 0


def romania(value: str) -> bool:
    return value[0] != "0" and is_short_date(value[1:7]) and ends_in(value, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9), 11, 1)


def slovenia_person(value: str) -> bool:
    """Check the form that all of former Yugoslavia has."""
    year = int(value[4:7])
    return is_date(year + (2000 if year < 500 else 1000), int(value[2:4]), int(value[:2])) and complements(
        value, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11, -1
    )


def slovenia_tax(value: str) -> bool:
    return value[0] != "0" and complements(value, range(8, 1, -1), 11)


def spain(value: str) -> bool:
    number = value[:-1].translate(str.maketrans("XYZ", "012"))
    return _SPANISH[int(number) % 23] == value[-1]


def sweden(value: str) -> bool:
    digits = value[-10:]
    day = int(digits[4:6])
    return is_short_date(f"{digits[:4]}{day - 60 if day > 60 else day:02d}") and luhn(digits)


# -- others


def brazil_person(value: str) -> bool:
    return (
        complements(value[:10], range(10, 1, -1), 11)
        and complements(value, range(11, 1, -1), 11)
        and len(set(value)) > 1
    )


def brazil_firm(value: str) -> bool:
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    return complements(value[:13], weights[1:], 11) and complements(value, weights, 11)


def australia_tax(value: str) -> bool:
    return weighted(value, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11) == 0 and len(set(value)) > 1


def singapore(value: str) -> bool:
    total = weighted(value[1:8], (2, 7, 6, 5, 4, 3, 2), 11) + {"S": 0, "F": 0, "T": 4, "G": 4, "M": 3}[value[0]]
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(value[0], "XWUTRQPNMLK")
    return letters[10 - total % 11 if value[0] == "M" else total % 11] == value[8]


def japan(value: str) -> bool:
    return complements(value, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11)


def korea(value: str) -> bool:
    return is_short_date(value) and value[6] in "12345678"  # since October 2020 its last digits check nothing


def taiwan(value: str) -> bool:
    office = _TAIWAN[value[0]]
    return (office // 10 + 9 * (office % 10) + weighted(value[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1), 10)) % 10 == 0


def south_africa(value: str) -> bool:
    return is_short_date(value) and value[10] in "01" and luhn(value)


def turkey(value: str) -> bool:
    digits = [int(c) for c in value]
    return (
        digits[0] != 0
        and (7 * sum(digits[:9:2]) - sum(digits[1:8:2])) % 10 == digits[9]
        and sum(digits[:10]) % 10 == digits[10]
    )


def norway(value: str) -> bool:
    day = int(value[:2]) % 40
    return (
        is_short_date(f"{day:02d}{value[2:6]}", "dmy")
        and complements(value[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2), 11, -1)
        and complements(value, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11, -1)
    )


def iceland(value: str) -> bool:
    return is_short_date(value, "dmy") and complements(value[:9], (3, 2, 7, 6, 5, 4, 3, 2), 11, -1)


def switzerland(value: str) -> bool:
    return complements(value, (1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3), 10)


def russia_insurance(value: str) -> bool:
    return weighted(value[:9], range(9, 0, -1), 101) % 100 == int(value[9:])


def thailand(value: str) -> bool:
    return (11 - weighted(value[:12], range(13, 1, -1), 11)) % 10 == int(value[12])


def mexico(value: str) -> bool:
    alphabet = "0123456789ABCDEFGHIJKLMN?OPQRSTUVWXYZ"
    total = sum(alphabet.index(c) * weight for c, weight in zip(value, range(18, 1, -1), strict=False))
    return is_short_date(value[4:10]) and -total % 10 == int(value[17])


def england_health(value: str) -> bool:
    return complements(value, range(10, 1, -1), 11, -1)


def of_form(value: str) -> bool:
    """Accept any number of its form: there is no check digit."""
    return bool(re.search("[0-9]", value))
