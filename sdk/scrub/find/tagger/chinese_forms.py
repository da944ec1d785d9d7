"""What looks like a Chinese or a foreign person in Chinese text and is none: words, clubs, brands, cars, towns.

The tagger sees five characters to either side. Here the lexicon's words, lists and what stands beside a find have
their say; a title beside it overrules them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sdk.scrub.find.chinese_names import COMPOUND_SURNAMES, LISTS, SURNAMES
from sdk.scrub.find.tagger.tokens import HAN, segment
from sdk.scrub.spans import Span


def _any_of(name: str) -> str:
    return "|".join(sorted(LISTS[name].split(), key=len, reverse=True))


_NO_PERSONS = frozenset(LISTS["chinese_no_persons"].split())
_LONGEST = max(map(len, _NO_PERSONS))
_STOPPED = tuple(LISTS["chinese_stop_words"].split())
_NO_PERSON_AFTER = re.compile(_any_of("chinese_no_person_after"))
_PERSON_AFTER = re.compile(rf"(?:的)?(?:{_any_of('chinese_person_after')})|[(（]|[:：]")
_PERSON_BEFORE = re.compile(rf"(?:{_any_of('chinese_person_before')})\Z")
_PLACE_BEFORE = re.compile(r"(?:在|位于|来自|飞往|抵达|前往|飞抵|逃往|远赴)\Z")
_RUN = re.compile(rf"[{HAN}]+")
_HAN_ONLY = re.compile(rf"[{HAN}]+")
_KIND, _PLACE, _ORGANIZATION = 4, 2, 3  # classes of the lexicon: word % 4
_ENDS = frozenset("街市县镇村省区队杯剧片版款牌店厂馆病症药酒茶")  # that no given name ends with
MOST_IN_NAME = 3  # characters of a name with a surname of one
SURE, QUITE_SURE, LONG, CUT = 0.95, 0.8, 0.9, 0.7


def without_words(text: str, found: Sequence[Span], words: Mapping[str, int], is_titled: Sequence[bool]) -> list[Span]:
    """Return the finds without those that are words or names of things. is_titled: of each find."""
    result = []
    for span, titled in zip(found, is_titled, strict=True):
        value = text[span.start : span.end]
        if titled or not _HAN_ONLY.fullmatch(value):
            result.append(span)
        elif span.entity_type == "PERSON":
            if _is_person(text, span, value, words):
                result.append(span)
        elif not _is_inside_listed(text, span) and (span.entity_type != "ORGANIZATION" or len(value) > 1):
            result.append(span)
    return result


def _is_person(text: str, span: Span, value: str, words: Mapping[str, int]) -> bool:
    if value in _NO_PERSONS or _is_inside_listed(text, span):
        return False
    before, after = text[max(0, span.start - 6) : span.start], text[span.end : span.end + 6]
    spoken_of = _PERSON_AFTER.match(after) is not None or _PERSON_BEFORE.search(before) is not None
    surname = value[0] in SURNAMES or value[:2] in COMPOUND_SURNAMES
    if not spoken_of and _NO_PERSON_AFTER.match(after) and not (surname and span.score > SURE):
        return False
    if not surname and _PLACE_BEFORE.search(before) and not spoken_of:
        return False
    known = words.get(value)
    if known is not None and known % _KIND in (_PLACE, _ORGANIZATION) and not spoken_of:
        return False
    if surname:
        compound = value[:2] in COMPOUND_SURNAMES
        if len(value) > MOST_IN_NAME + compound and not spoken_of and span.score < LONG:
            return False
        if value.startswith(_STOPPED) and span.score < SURE:
            return False
        if len(value) > 2 and value[-1] in _ENDS and not spoken_of:
            return False
    elif not spoken_of and span.score < QUITE_SURE:
        return False
    return spoken_of or span.score > (CUT if surname else SURE) or not _cuts_a_word(text, span, words)


def _is_inside_listed(text: str, span: Span) -> bool:
    """Tell whether the find is a piece of a longer name of a thing."""
    first = max(0, span.end - _LONGEST)
    for start in range(first, span.start + 1):
        for end in range(max(span.end, start + 2), min(len(text), start + _LONGEST) + 1):
            if end - start > span.end - span.start and text[start:end] in _NO_PERSONS:
                return True
    return False


def _cuts_a_word(text: str, span: Span, words: Mapping[str, int]) -> bool:
    """Tell whether a word of the likeliest segmentation reaches over an edge of the find."""
    start, end = span.start, span.end
    while start > max(0, span.start - 8) and _HAN_ONLY.match(text[start - 1]):
        start -= 1
    while end < min(len(text), span.end + 8) and _HAN_ONLY.match(text[end]):
        end += 1
    place = start
    for length in segment(text[start:end], words):
        if place < span.start < place + length or place < span.end < place + length:
            return True
        place += length
    return False


def shortened(text: str, span: Span, titles: re.Pattern[str]) -> Span:
    """Return the find without the beginning of a title that it cut: [董小]姐 is [董] before 小姐."""
    for end in range(span.end - 1, span.start, -1):
        match = titles.match(text, end)
        if match and match.end() > span.end:
            return replace(span, end=end)
    return span
