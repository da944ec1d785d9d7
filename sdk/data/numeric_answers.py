"""Numbers in answers: the one that an answer comes to, with its unit, and whether it is the reference's.

An answer's number is that behind the last `####`, as GSM8K writes it, else the one in the last \\boxed{}, as MATH does,
else the last of all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import NamedTuple

ROUNDING = 1e-9  # relative; what is left of decimals in binary, not a tolerance
SHARE = "share"
_ENGLISH = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SHORT = {"mn": 1e6, "mln": 1e6, "bn": 1e9, "tn": 1e12}
_LETTERS = {"k": 1e3, "m": 1e6, "b": 1e9}  # m and b behind a currency only: 5 m are metres
_CHINESE = {
    "万亿": 1e12, "千亿": 1e11, "百亿": 1e10, "十亿": 1e9, "亿": 1e8, "千万": 1e7, "百万": 1e6, "十万": 1e5, "万": 1e4,
    "千": 1e3, "百": 1e2,
}  # fmt: skip
_PARTS = {"百分之": 1e-2, "千分之": 1e-3, "万分之": 1e-4}  # which stand before the number
_DAY, _YEAR = 86_400.0, 31_557_600.0
# what is measured -> spellings, in lower case, with what one is in the first one's unit
_DIMENSIONS: dict[str, dict[str, float]] = {
    SHARE: {
        "%": 1e-2, "percentage points": 1e-2, "percentage point": 1e-2, "percent": 1e-2, "per cent": 1e-2, "pct": 1e-2,
        "百分点": 1e-2, "‰": 1e-3, "basis points": 1e-4, "basis point": 1e-4, "bps": 1e-4, "bp": 1e-4, "基点": 1e-4,
    },
    "mass": {
        "kg": 1e3, "kilograms": 1e3, "kilogram": 1e3, "公斤": 1e3, "千克": 1e3, "grams": 1.0, "gram": 1.0, "g": 1.0,
        "克": 1.0, "milligrams": 1e-3, "milligram": 1e-3, "mg": 1e-3, "毫克": 1e-3, "micrograms": 1e-6,
        "microgram": 1e-6, "mcg": 1e-6, "μg": 1e-6, "ug": 1e-6, "微克": 1e-6, "ng": 1e-9, "纳克": 1e-9,
    },
    "volume": {
        "liters": 1.0, "liter": 1.0, "litres": 1.0, "litre": 1.0, "l": 1.0, "升": 1.0, "dl": 0.1, "分升": 0.1,
        "milliliters": 1e-3, "milliliter": 1e-3, "millilitres": 1e-3, "millilitre": 1e-3, "ml": 1e-3, "毫升": 1e-3,
        "μl": 1e-6, "ul": 1e-6, "微升": 1e-6,
    },
    "time": {
        "seconds": 1.0, "second": 1.0, "sec": 1.0, "s": 1.0, "秒": 1.0, "minutes": 60.0, "minute": 60.0, "mins": 60.0,
        "min": 60.0, "分钟": 60.0, "hours": 3600.0, "hour": 3600.0, "hrs": 3600.0, "hr": 3600.0, "h": 3600.0,
        "小时": 3600.0, "days": _DAY, "day": _DAY, "d": _DAY, "天": _DAY, "日": _DAY, "weeks": 7 * _DAY,
        "week": 7 * _DAY, "周": 7 * _DAY, "星期": 7 * _DAY, "months": _YEAR / 12, "month": _YEAR / 12,
        "月": _YEAR / 12, "years": _YEAR, "year": _YEAR, "yrs": _YEAR, "yr": _YEAR, "年": _YEAR, "岁": _YEAR,
    },
    "length": {
        "km": 1e3, "公里": 1e3, "千米": 1e3, "meters": 1.0, "meter": 1.0, "metres": 1.0, "metre": 1.0, "m": 1.0,
        "米": 1.0, "cm": 1e-2, "厘米": 1e-2, "mm": 1e-3, "毫米": 1e-3,
    },
    "pressure": {"mmhg": 1.0, "毫米汞柱": 1.0},
    "substance": {
        "mol": 1.0, "摩尔": 1.0, "mmol": 1e-3, "毫摩尔": 1e-3, "μmol": 1e-6, "umol": 1e-6, "微摩尔": 1e-6,
    },
    "activity": {"units": 1.0, "unit": 1.0, "iu": 1.0, "单位": 1.0},
    "temperature": {"°c": 1.0, "摄氏度": 1.0, "℃": 1.0},
    "USD": {"us$": 1.0, "usd": 1.0, "$": 1.0, "dollars": 1.0, "dollar": 1.0, "美元": 1.0},
    "EUR": {"eur": 1.0, "€": 1.0, "euros": 1.0, "euro": 1.0, "欧元": 1.0},
    "GBP": {"gbp": 1.0, "£": 1.0, "pounds sterling": 1.0, "英镑": 1.0},
    "CNY": {"cny": 1.0, "rmb": 1.0, "¥": 1.0, "yuan": 1.0, "人民币": 1.0, "元": 1.0},
}  # fmt: skip
_UNITS = {name: (what, size) for what, units in _DIMENSIONS.items() for name, size in units.items()}
_CURRENCIES = frozenset({"USD", "EUR", "GBP", "CNY"})
_GROUPED = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # the spaces that group digits
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+(?:\.\d+)?)\}\{(\d+(?:\.\d+)?)\}")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mbox)\{([^{}]*)\}")


def _either(names: object) -> str:
    """Return a pattern of these words, longer ones first; a word of Latin letters ends where they end."""
    longest = sorted(map(str, names), key=len, reverse=True)  # type: ignore[call-overload]
    return "|".join(
        re.escape(name) + (r"(?![a-z])" if name[-1].isascii() and name[-1].isalpha() else "") for name in longest
    )


_UNIT = _either(_UNITS)
_CURRENCY = _either([name for name, (what, _) in _UNITS.items() if what in _CURRENCIES])
_NUMBER = re.compile(
    rf"(?<![a-z0-9_])(?<![0-9][.,])(?P<part>{'|'.join(_PARTS)})?\s*(?P<sign>[-+]|负|minus\s)?\s*(?P<currency>{_CURRENCY})?"
    r"\s*(?P<minus>-)?(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:e(?P<power>[-+]?[0-9]{1,3}))?"
    rf"(?:[\s-]*(?P<word>{_either([*_ENGLISH, *_SHORT])})|(?P<letter>[kmb])(?![a-z])"
    rf"|\s*(?P<chinese>{'|'.join(_CHINESE)})(?!克|米|分))?"
    rf"\s*-?\s*个?(?P<unit>{_UNIT})?(?P<per>(?:\s*(?:/|per\s|每)\s*(?:{_UNIT}))*)"
)


class Quantity(NamedTuple):
    """A number as it is written, its words such as million included, with its unit."""

    number: float
    size: float = 1.0  # of the unit, in that of what it measures: 0.01 of percent
    measures: str = ""  # such as mass, or mass/volume; empty: no unit that is known here


def numbers_in(text: str) -> list[Quantity]:
    """Return the numbers of a text in their order."""
    found = (_quantity(match) for match in _NUMBER.finditer(_plain(text)))
    return [quantity for quantity in found if math.isfinite(quantity.number)]


def marked_part(text: str) -> str | None:
    """Return what is marked as the answer, by #### or by a box; None where nothing is."""
    _, mark, behind = text.rpartition("####")
    if mark:
        return behind
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return text[begin + 1 : place]
    return text[begin + 1 :]


def final_number(text: str) -> Quantity | None:
    """Return the number that an answer comes to; None where it has none."""
    marked = marked_part(text)
    found = numbers_in(text if marked is None else marked)
    return None if not found else found[-1 if marked is None else 0]


def same_number(given: Quantity, reference: Quantity, relative: float, absolute: float) -> bool:
    """Tell whether a number is the reference's, within the larger of two tolerances.

    Units of the same kind are converted, those of different kinds differ. Where one side has none, the numbers are
    compared as they are written, and a percentage as a fraction, too.
    """
    if given.measures and reference.measures:
        return given.measures == reference.measures and _close(
            given.number * given.size, reference.number * reference.size, relative, absolute * reference.size
        )
    if _close(given.number, reference.number, relative, absolute):
        return True
    if SHARE not in (given.measures, reference.measures):
        return False
    return _close(given.number * given.size, reference.number * reference.size, relative, absolute * reference.size)


def _close(given: float, reference: float, relative: float, absolute: float) -> bool:
    return abs(given - reference) <= max(relative * abs(reference), absolute) + ROUNDING * abs(reference)


def _plain(text: str) -> str:
    """Return a text without LaTeX around its numbers, in NFKC and lower case."""
    text = _GROUPED.sub("", text)
    text = _WRAPPED.sub(r" \1", text).replace("{,}", ",").replace("\\,", "").replace("\\!", "")
    text = _FRACTION.sub(lambda found: repr(float(found[1]) / float(found[2])) if float(found[2]) else " ", text)
    text = text.replace("\\%", "%").replace("\\$", "$")
    return unicodedata.normalize("NFKC", text).lower().replace("−", "-").replace("µ", "μ")


def _quantity(match: re.Match[str]) -> Quantity:
    number = float(match["digits"].replace(",", "")) * 10.0 ** int(match["power"] or 0)
    if match["minus"] or match["sign"] not in (None, "+"):
        number = -number
    number *= (_ENGLISH | _SHORT).get(match["word"] or "", 1.0) * _CHINESE.get(match["chinese"] or "", 1.0)
    names = [name for name in (match["unit"], match["currency"]) if name]
    if match["part"]:
        return Quantity(number, _PARTS[match["part"]], SHARE)
    letter = match["letter"]
    if letter in ("m", "b") and not match["currency"]:
        return Quantity(number, 1.0, "length") if letter == "m" else Quantity(number)
    number *= _LETTERS.get(letter or "", 1.0)
    if not names:
        return Quantity(number)
    measures, size = _UNITS[names[0]]
    for name in re.findall(_UNIT, match["per"]):
        other, per = _UNITS[name]
        measures, size = f"{measures}/{other}", size / per
    return Quantity(number, size, measures)
