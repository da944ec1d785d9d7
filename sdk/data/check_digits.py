"""Check digits by their standards, for the recognizers that verify a number and for the code that invents one.

Numbers come in upper case without separators. A letter counts as 10 (A) to 35 (Z) unless a standard says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", "12345678123457923456789" + "0123456789", strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_RESIDENT_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # 2**(17 - place) modulo 11
_CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # no I, O, S, V, Z


def weighted(digits: str, weights: Iterable[int], modulus: int) -> int:
    """Return the weighted sum of the digits, reduced by the modulus."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % modulus


def letters_as_numbers(value: str) -> str:
    return "".join(str(int(character, 36)) for character in value)


def luhn_digit(body: str) -> str:
    """Return the digit that makes `body` valid by Luhn (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in body[::-2]]
    total = sum(int(digit) for digit in body[-2::-2]) + sum(n - 9 if n > 9 else n for n in doubled)
    return str(-total % 10)


def luhn(digits: str) -> bool:
    """Tell whether the last digit is the Luhn digit of those before it."""
    return luhn_digit(digits[:-1]) == digits[-1:]


def mod_97_digits(body: str) -> str:
    """Return the two digits that make `body` valid by ISO 7064 MOD 97-10 (IBAN, LEI)."""
    return f"{98 - int(letters_as_numbers(body + '00')) % 97:02d}"


def mod_97(value: str) -> bool:
    return int(letters_as_numbers(value)) % 97 == 1


def gs1(digits: str) -> bool:
    """Tell whether the last digit is right by GS1 General Specifications, 7.9: weights 1 and 3, from the right."""
    return (sum(int(d) for d in digits[-1::-2]) + 3 * sum(int(d) for d in digits[-2::-2])) % 10 == 0


def routing_digit(body: str) -> str:
    """Return the ninth digit of an ABA routing number (ANSI X9.100-160): weights 3, 7, 1 over eight digits."""
    return str(-weighted(body, (3, 7, 1, 3, 7, 1, 3, 7), 10) % 10)


def dea_digit(body: str) -> str:
    """Return the seventh digit of a DEA registration (21 CFR 1301): the last one of d1 + d3 + d5 + 2 (d2 + d4 + d6)."""
    return str(weighted(body, (1, 2, 1, 2, 1, 2), 10))


def cusip_digit(body: str) -> str:
    """Return the ninth digit of a CUSIP (ANSI X9.6): every second value doubled, then the sum of all digits."""
    values = [int(character, 36) * (1 + place % 2) for place, character in enumerate(body)]
    return str(-sum(value // 10 + value % 10 for value in values) % 10)


def vin_character(vin: str) -> str:
    """Return what belongs in the ninth of a vehicle's 17 places (VIN; 49 CFR 565.15, GB 16735)."""
    return "0123456789X"[weighted("".join(map(_VIN_VALUES.__getitem__, vin)), _VIN_WEIGHTS, 11)]


def resident_id_character(body: str) -> str:
    """Return the last character of a resident identity number of mainland China (GB 11643): ISO 7064 MOD 11-2."""
    return "10X98765432"[weighted(body, _RESIDENT_ID_WEIGHTS, 11)]


def credit_code_character(body: str) -> str:
    """Return the last character of a unified social credit code (GB 32100): weights 3**place modulo 31.

    ValueError for the letters that such a code never has.
    """
    total = sum(_CREDIT_CODE_ALPHABET.index(character) * pow(3, place, 31) for place, character in enumerate(body))
    return _CREDIT_CODE_ALPHABET[-total % 31]
