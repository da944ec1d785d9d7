"""Dates as they are written in English and Chinese: moved by days, or reduced to their year.

Read are ISO and numeric dates, dates with the month's name, 2021年3月4日 in ASCII, full-width and Chinese
numerals, with weekdays and times beside them. A date without its year or day is not read: no number of days
moves it exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
OLDEST_BIRTH_YEAR = 1940  # born before, a person may be 90 or older; to be raised by one for each year after 2029

_MONTH = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])"
_ORDINAL = r"(?P<ordinal>st|nd|rd|th)?"
_YEAR = r"(?P<year>[12][0-9]{3})"
_CJK = "〇零○一二三四五六七八九十两廿卅"
_PATTERNS = tuple(
    re.compile(rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9])", re.IGNORECASE)
    for pattern in (
        rf"{_YEAR}(?P<sep>[-/.])(?P<month>0?[1-9]|1[0-2])(?P=sep){_DAY}",
        rf"{_YEAR}(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12][0-9]|3[01])(?=\Z|T|[^0-9])",
        r"(?P<one>[0-9]{1,2})(?P<sep>[-/.])(?P<two>[0-9]{1,2})(?P=sep)(?P<year>[12][0-9]{3}|[0-9]{2})",
        rf"{_DAY}{_ORDINAL}(?:\s+of)?[\s\-./]*{_MONTH}\.?,?[\s\-./]*(?P<year>[12][0-9]{{3}})",
        rf"{_MONTH}\.?[\s\-./]*{_DAY}{_ORDINAL}(?:,\s*|[\s\-./]+){_YEAR}",
        rf"{_DAY}-{_MONTH}-(?P<year>[0-9]{{2}})",
        rf"{_YEAR}[\s\-]*{_MONTH}[\s\-]*{_DAY}",
        rf"{_YEAR}\s*年\s*(?P<month>1[0-2]|0?[1-9])\s*月\s*(?P<day>3[01]|[12][0-9]|0?[1-9])(?=\s*[日号])",
    )
)
_CHINESE = re.compile(
    rf"(?P<year>[〇零○一二三四五六七八九]{{4}})年(?P<month>[{_CJK}]{{1,3}})月(?P<day>[{_CJK}]{{1,3}})(?=[日号])"
)
_TIME = re.compile(
    r"[T\s]?(?:[01]?[0-9]|2[0-4])(?:[:.][0-5][0-9]){1,2}(?:[.,][0-9]{1,9})?\s*(?:[ap]\.?m\.?)?\s*(?:Z|UTC|GMT|[+\-][0-9]{2}:?[0-9]{2})?"
    r"|\b(?:1[0-2]|0?[1-9])\s*[ap]\.?m\b\.?|[0-9]{1,2}[时点](?:[0-9]{1,2}分?)?(?:[0-9]{1,2}秒)?",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(
    r"\b(?P<en>mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs?(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)\b"
    r"|(?:星期|礼拜|周)(?P<zh>[一二三四五六日天])",
    re.IGNORECASE,
)
_MONTH_WORD = re.compile(rf"\b{_MONTH}\b", re.IGNORECASE)
_NUMERIC = re.compile(r"(?<![0-9])([0-9]{1,2})([-/])([0-9]{1,2})\2(?:[0-9]{4}|[0-9]{2})(?![0-9])")
_YEARS = re.compile(r"(?<![0-9])(?:1[6-9]|2[01])[0-9]{2}(?![0-9])")
_CHINESE_YEAR = re.compile(r"[〇零○一二三四五六七八九]{4}(?=年)")


def _ascii(value: str) -> str:
    """Return full-width forms and foreign digits as ASCII, one character for one, so that offsets hold."""
    out = []
    for c in value:
        folded = unicodedata.normalize("NFKC", c)
        digit = unicodedata.decimal(c, None)
        if digit is not None:
            folded = str(digit)
        elif unicodedata.category(c) == "Pd":
            folded = "-"
        elif unicodedata.category(c) == "Zs":
            folded = " "
        out.append(folded if len(folded) == 1 and c not in "〇○" else c)
    return "".join(out)


def day_first(value: str) -> bool | None:
    """Tell whether the day stands first in a date such as 13/04/2021; None where both readings are possible."""
    for match in _NUMERIC.finditer(_ascii(value)):
        one, two = int(match[1]), int(match[3])
        if one > 12 >= two:
            return True
        if two > 12 >= one:
            return False
    return None


@dataclass(frozen=True)
class _WrittenDate:
    """A date in a text. parts: what is written of it (year, month, day, name, ordinal) -> [start, end)."""

    start: int
    end: int
    parts: dict[str, tuple[int, int]]
    when: date
    chinese: bool = False


def shifted(value: str, days: int, day_before_month: bool) -> str | None:
    """Move every date and weekday of the value by `days`; None where a part of it is not understood.

    day_before_month: how 03/04/2021 is read; 13/04/2021 and 04/13/2021 are read the one way they can be, and
    04.03.2021 is always 4 March.
    """
    text = _ascii(value)
    dates = _dates(text, day_before_month)
    if not dates or _is_anything_left(text, dates):
        return None
    edits: list[tuple[int, int, str]] = []
    for one in dates:
        try:
            edits += _edits(text, one, one.when + timedelta(days=days))
        except OverflowError:
            return None
    edits += [edit for match in _WEEKDAY.finditer(text) for edit in _weekday_edit(match, days)]
    return _edited(value, text, edits)


def year_only(value: str, birth: bool) -> str | None:
    """Return the year or years in a date; None: there is none. Of a birth, years before OLDEST_BIRTH_YEAR are one."""
    text = _ascii(value)
    years = [int(match[0]) for match in _YEARS.finditer(text)]
    years += [_chinese_number(match[0]) for match in _CHINESE_YEAR.finditer(text)]
    if not years:
        years = [one.when.year for one in _dates(text, False)]
    if not years:
        compact = re.fullmatch(r"\s*((?:1[6-9]|2[01])[0-9]{2})(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])\s*", text)
        years = [int(compact[1])] if compact else []
    if not years:
        return None
    chinese = "年" in text
    if birth and min(years) < OLDEST_BIRTH_YEAR:
        return f"{OLDEST_BIRTH_YEAR}年以前" if chinese else f"before {OLDEST_BIRTH_YEAR}"
    shown = sorted(set(years))
    ends = shown[:1] if len(shown) == 1 else [shown[0], shown[-1]]
    return "-".join(map(str, ends)) + ("年" if chinese else "")


def _dates(text: str, day_before_month: bool) -> list[_WrittenDate]:
    dates: list[_WrittenDate] = []
    for match in _CHINESE.finditer(text):
        _add(dates, match, [_chinese_number(match[p]) for p in ("year", "month", "day")], chinese=True)
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            groups = match.groupdict()
            if "one" in groups:
                one, two = int(match["one"]), int(match["two"])
                first = match["sep"] == "." or (day_before_month if max(one, two) <= 12 else one > 12)
                day, month = (one, two) if first else (two, one)
                names = ("day", "month") if first else ("month", "day")
                parts = {names[0]: match.span("one"), names[1]: match.span("two"), "year": match.span("year")}
                _add(dates, match, [_whole_year(match["year"]), month, day], parts)
            else:
                month = _month_number(match["name"]) if groups.get("name") else int(match["month"])
                _add(dates, match, [_whole_year(match["year"]), month, int(match["day"])])
    return sorted(dates, key=lambda one: one.start)


def _add(
    dates: list[_WrittenDate],
    match: re.Match[str],
    numbers: list[int],
    parts: dict[str, tuple[int, int]] | None = None,
    chinese: bool = False,
) -> None:
    """Add a match as a date, unless there is no such day or an earlier pattern has read a part of it."""
    if any(one.start < match.end() and match.start() < one.end for one in dates):
        return
    try:
        when = date(*numbers)
    except ValueError:
        return
    groups = match.groupdict()
    spans = {name: match.span(name) for name in ("year", "month", "day", "name", "ordinal") if groups.get(name)}
    dates.append(_WrittenDate(match.start(), match.end(), parts or spans, when, chinese))


def _whole_year(digits: str) -> int:
    """Return the year; two digits are of 1969 to 2068, as in POSIX."""
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= 69 else 2000)


def _month_number(name: str) -> int:
    return next(i for i, month in enumerate(MONTHS, 1) if month.lower().startswith(name[:3].lower()))


def _is_anything_left(text: str, dates: list[_WrittenDate]) -> bool:
    """Tell whether digits or months are left that belong to no date and no time, and would stay as they are."""
    kept = list(text)
    for one in dates:
        kept[one.start : one.end] = " " * (one.end - one.start)
    rest = _WEEKDAY.sub(" ", _TIME.sub(" ", "".join(kept)))
    return bool(re.search(r"[0-9]", rest) or _MONTH_WORD.search(rest) or re.search(rf"[{_CJK}]", rest))


def _edits(text: str, one: _WrittenDate, new: date) -> list[tuple[int, int, str]]:
    """Return (start, end, new text) for each part of a date, in the way in which the old one is written.

    Days and months have a leading 0 where the old ones had one, or could have had one and do not show it (11/12/2021).
    """
    numbers = {"year": new.year, "month": new.month, "day": new.day}
    written = {name: text[slice(*span)] for name, span in one.parts.items()}
    if one.chinese:
        write: Callable[[str, int], str] = lambda name, n: _in_chinese(n, digits=name == "year")  # noqa: E731
    else:
        short = [written[n] for n in ("month", "day") if n in written]
        bare = any(len(w) == 1 for w in short)
        padded = any(w.startswith("0") for w in short) or (not bare and "name" not in written and "年" not in text)

        def write(name: str, n: int) -> str:
            if name == "year":
                return f"{n:04d}"[-len(written["year"]) :]
            return f"{n:02d}" if padded else str(n)

    edits = [(*span, write(name, numbers[name])) for name, span in one.parts.items() if name in numbers]
    if "name" in one.parts:
        edits.append((*one.parts["name"], _cased(_named(MONTHS[new.month - 1], written["name"]), written["name"])))
    if "ordinal" in one.parts:
        suffix = "th" if 11 <= new.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(new.day % 10, "th")
        edits.append((*one.parts["ordinal"], _cased(suffix, written["ordinal"])))
    return edits


def _named(name: str, like: str) -> str:
    """Abbreviate a month's name where the old one was abbreviated; `May`, which is both, counts as whole."""
    return name[:3] if len(like) <= 4 and like.lower() not in ("may", "june", "july") else name


def _cased(word: str, like: str) -> str:
    return word.upper() if like.isupper() else word.lower() if like.islower() else word


def _weekday_edit(match: re.Match[str], days: int) -> list[tuple[int, int, str]]:
    if match["zh"]:
        old = "一二三四五六日".find(match["zh"].replace("天", "日"))
        return [(*match.span("zh"), "一二三四五六日"[(old + days) % 7])]
    old = next(i for i, name in enumerate(WEEKDAYS) if name.lower().startswith(match["en"][:3].lower()))
    name = WEEKDAYS[(old + days) % 7]
    new = name if match["en"].lower().endswith("day") else name[:3]
    return [(*match.span("en"), _cased(new, match["en"]))]


def _edited(value: str, text: str, edits: list[tuple[int, int, str]]) -> str:
    """Apply the edits, in full width where the value was. text: the value in ASCII."""
    parts, position = [], 0
    for start, end, new in sorted(edits):
        wide = value[start:end] != text[start:end] and text[start].isascii()
        parts += [value[position:start], "".join(chr(ord(c) + 0xFEE0) for c in new) if wide else new]
        position = end
    return "".join([*parts, value[position:]])


def _chinese_number(numeral: str) -> int:
    """Read a numeral, digit by digit (二〇二一) or below a hundred (二十一, 廿一)."""
    digits = {c: i for i, c in enumerate("〇一二三四五六七八九")} | {"零": 0, "○": 0, "两": 2}
    numeral = numeral.replace("廿", "二十").replace("卅", "三十")
    if "十" not in numeral:
        return int("".join(str(digits[c]) for c in numeral))
    tens, _, ones = numeral.partition("十")
    return (digits.get(tens, 1)) * 10 + (digits.get(ones, 0))


def _in_chinese(number: int, digits: bool) -> str:
    if digits:
        return "".join("〇一二三四五六七八九"[int(c)] for c in f"{number:04d}")
    tens, ones = divmod(number, 10)
    ten = "" if tens == 0 else "十" if tens == 1 else "零一二三"[tens] + "十"
    return ten + ("" if ones == 0 and tens else "零一二三四五六七八九"[ones])
