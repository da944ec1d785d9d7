"""What looks like a name and is none, told by its form and its text: abbreviations, eponyms, headings, medicines, code.

A title before it, or a degree after it, overrules everything here: whoever is called Mr. Rankin is a person, everywhere
in the text, also in front of "score". What a rule that is sure rejects once is rejected wherever the text repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from sdk.files.regular_files import read_shipped
from sdk.policy import read_yaml
from sdk.scrub.find.tagger.network import Network
from sdk.scrub.spans import Span

_HERE = Path(__file__)
_LISTS: dict[str, str] = read_yaml(_HERE.with_name("ordinary.yaml"))


def _listed(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


def _any_of(name: str) -> str:
    return "|".join(sorted(_LISTS[name].split(), key=len, reverse=True))


_EPONYMS = _listed("eponyms")
_SHARED_EPONYMS = _listed("shared_eponyms")
_PHRASES = re.compile("|".join(re.escape(phrase.strip()) for phrase in _LISTS["phrases"].split(";")))
_POSSESSIVE = re.compile(r"['’]s?(?=[.,;:)]|[ ]*\Z|[ ]\()")
_BRANDS = frozenset(word.lower() for word in _listed("brands"))
_ABBREVIATIONS = _listed("abbreviations")
_MEDICINE = _listed("medicine") | frozenset(read_shipped(_HERE.with_name("medical_words.txt")).decode().split())
# Endings of words of medicine that no list holds all of; a name that ends so stands in the lists of names.
_ENDING = re.compile(
    r"[a-z]{3,}(?:itis|itides|osis|oses|ectom(?:y|ies)|otom(?:y|ies)|ostom(?:y|ies)|olog(?:y|ic|ical|ist)|"
    r"a?emi[ac]|path(?:y|ic|ies)|plast(?:y|ies)|scop(?:y|ic|ies)|graph(?:y|ic|ies)|grams?|algia|[dhklmnprst]omas?|"
    r"uria|phytes?|cyt(?:es?|ic)|globin|genesis|genic|troph(?:y|ic)|plasi[ac]|scler(?:osis|otic)|philia|phobia|"
    r"megaly|rrh(?:ea|agia|aphy)|metr(?:y|ic)|lysis|lytic|stasis|static|itive|ative|ability|ivity|ular|oid(?:al)?)"
)
_TITLES = r"(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Professor|Doctor|Sir|Madam|Rev|Hon|Capt|Sgt|Judge|Justice)"
_TITLE_ALONE = re.compile(_TITLES)
_TITLED = re.compile(rf"(?<![^\W_])(?:{_TITLES}|{_TITLES.upper()}|mr|mrs|ms|dr)\b\.?[ \t]{{1,2}}\Z")
_LABELLED = re.compile(
    r"(?<![^\W_])(?:patient(?:'s)? name|name|attending|surgeon|assistant|resident|provider|physician|nurse|pharmacist|"
    r"signed(?: electronically)?(?: by)?|dictated by|seen by|reviewed by|verified|cc|dear|hi|hello|d/w|"
    r"discussed with|spoke with|wife|husband|son|daughter|mother|father|brother|sister|partner|friend)"
    r"(?:[:,]|)[ \t]{1,2}\Z",
    re.IGNORECASE,
)
_DEGREE = re.compile(r",?[ \t](?:M\.?D\.?|D\.?O\.?|R\.?N\.?|N\.?P\.?|PA(?:-C)?|Ph\.?D\.?|PharmD|LCSW|CRNA|CNM|DDS|Esq|"
                     r"LPN|CNA|FNP|MBBS|FRCS|FACS)(?![A-Za-z])")  # fmt: skip
_STREET = re.compile(r"[0-9][ ](?:[NSEW]\.?[ ])?(?:[A-Z][\w'’]*[ ]){1,3}\Z")
_TITLED_WORDS = re.compile(
    r"(?<![^\W_])(?:Mr|Mrs|Ms|Mx|Dr|Prof)\b\.?[ \t]{1,2}(?P<name>[^\W\d_a-z][\w'’]+(?:-[^\W\d_a-z][\w'’]+)*)"
)
_HEAD = re.compile(
    rf"(?:['’]s?)?(?:(?:[ \-–]|(?:,|/)[ ]?)(?:(?:and|or|&)[ ])?(?:[A-Z][\w'’]*|{_any_of('between')})){{0,3}}?"
    rf"[ \-–](?i:{_any_of('heads')})(?![A-Za-z])"
)
_SHORT = re.compile(r"[\[(](?P<short>[A-Za-z][A-Za-z0-9/&-]{0,8}[A-Z0-9][A-Za-z0-9]{0,2}s?)(?=[\])]|[;,:=][ ])")
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_FILE = re.compile(
    r"\.(?:rs|py|js|ts|tsx|java|c|cc|cpp|h|go|rb|php|md|json|ya?ml|xml|html?|css|csv|info|png|jpe?g|gif|svg|sh|toml|cfg|"
    r"ini|log|lock|exe|dll|so|zip|gz|tar|jar|class|sql|ipynb)(?![A-Za-z0-9])"
)
# A find inside a digest or a key: letters and digits without end.
_CODE_BEFORE = re.compile(r"(?=[0-9A-Za-z]*[0-9])[0-9A-Za-z]{16,}\Z")
_CODE_AFTER = re.compile(r"(?=[A-Za-z]*[0-9])[0-9A-Za-z]{16,}")
_MIXED = re.compile(r"[a-z]{1,3}[A-Z][A-Za-z]*[0-9]*|(?:[a-z]\.){2}")  # mRNA, siRNA, e.g.
_CODED = re.compile(r"[A-Z][A-Za-z]{0,3}[0-9][\w-]*|[A-Z]{2,6}s|[A-Z]{2,}[-/*+][A-Z0-9*]+")  # KCNE2, AIs, STAR*D
# What stands where somebody else took a value out already: <PERSON_1>, [NAME], [redacted].
_REDACTED = re.compile(r"<[A-Z][A-Z_]{2,40}(?:_[0-9A-Za-z_]{1,40})?>|\[(?:[A-Z][A-Z_ ]{2,30}[0-9]*|[Rr]edacted)\]")
_CHAT = re.compile(r"(?:^|\s)[@#]\w|https?:|\bi\b(?!\.)|!!|\bu\b(?!/)|\blol\b|[:;]-?[)(DP]|[\U0001f300-\U0001faff]")
_BEGINS = re.compile(r"(?:\A|[.!?][ \t\n]+|\n)[\"'“(\[•\-*\s]*(\w)")
_VERBED = re.compile(rf"[ ](?:{_any_of('after_verbs')})(?![\w'’])")
_BULLET = re.compile(r"(?:\A|\n|[•●▪*]|[.;][ ]|[ ][-–])[ \t]*\Z")
_STARTS_SENTENCE = re.compile(r"(?:\A|[.!?:;][\"'”)]?[ \t]+|\n[ \t]*|[•●▪*\-–][ \t]*)\Z")
_VERBS = _listed("verbs")
SURE = 0.9


class OrdinaryWords:
    """What one text says of the words in it."""

    def __init__(self, text: str, network: Network) -> None:
        self.text, self._network = text, network
        self._titled = self._titled_words()
        self._defined: frozenset[str] | None = None
        self._post: bool | None = None
        self._edited: bool | None = None

    def without(self, found: Sequence[Span]) -> list[Span]:
        """Return the names without those that are none."""
        kept: list[Span] = []
        never: set[str] = set()
        if found and ("<" in self.text or "[" in self.text):
            redacted = [match.span() for match in _REDACTED.finditer(self.text)]
            found = [s for s in found if not any(a < s.end and s.start < b for a, b in redacted)]
        if found and (phrases := [match.span() for match in _PHRASES.finditer(self.text)]):
            found = [s for s in found if not any(a <= s.start and s.start < b for a, b in phrases)]
        for span in found:
            verdict = self._verdict(span, found)
            if verdict is None:
                kept.append(span)
            elif verdict:
                never.add(self.text[span.start : span.end])
        if not never:
            return kept
        return [span for span in kept if self.text[span.start : span.end] not in never or self._is_personal(span)]

    def titled(self, found: Sequence[Span]) -> list[Span]:
        """Return the names with what stands behind a title: it is a person, whatever it was taken for."""
        if not self._titled:
            return list(found)
        named = ("LOCATION", "NRP")  # a town in one place and a person in another: the title knows better
        result = [
            replace(s, entity_type="PERSON")
            if s.entity_type in named and self.text[s.start : s.end] in self._titled
            else s
            for s in found
        ]
        for match in _TITLED_WORDS.finditer(self.text):
            start, end = match.span("name")
            if match["name"] not in self._titled:
                continue
            place = next((i for i, s in enumerate(result) if s.start < end and start < s.end), None)
            if place is None:
                result.append(Span(start, end, "PERSON", SURE, "EmbeddedNameRecognizer"))
            elif result[place].entity_type != "PERSON" and result[place].start >= start:
                whole = result[place]
                result[place] = Span(start, max(end, whole.end), "PERSON", max(SURE, whole.score), whole.recognizer)
        return sorted(result, key=lambda span: span.start)

    # -- what speaks for a name

    def _titled_words(self) -> frozenset[str]:
        """Return the capitalised words behind a title in the text; not "Mr. Speaker", nor "12 Birch Dr Apt"."""
        return frozenset(
            match["name"]
            for match in _TITLED_WORDS.finditer(self.text)
            if not _STREET.search(self.text[max(0, match.start() - 40) : match.start()])
            and (
                self._is_in(match["name"], "surname")
                or self._is_in(match["name"], "given")
                or not self._is_in(match["name"], "dictionary")
            )
        )

    def _is_personal(self, span: Span) -> bool:
        """Tell whether a title or a degree stands beside it, here or wherever else the text has one of its words."""
        text = self.text
        if span.entity_type == "ORGANIZATION":
            return False
        if is_titled(text, span):
            return True
        return bool(self._titled) and any(w in self._titled for w in _WORDS.findall(text[span.start : span.end]))

    # -- what speaks against it

    def _verdict(self, span: Span, found: Sequence[Span]) -> bool | None:
        """Return None for a name; False for what is none in this place, True for what is none in the whole text."""
        text = self.text
        value = text[span.start : span.end]
        if not value.isascii() and not _latin(value):
            return None
        if self._is_personal(span):
            return None
        if _CODE_BEFORE.search(text[max(0, span.start - 64) : span.start]) or _CODE_AFTER.match(text, span.end):
            return False
        if value in self._abbreviations(found) or _TITLE_ALONE.fullmatch(value):
            return True
        if value in _ABBREVIATIONS and not self.text.isupper():
            return None if _is_state(text, span, found) else False
        if span.entity_type != "NRP" and self._is_eponym(span, value):
            return True
        words = _WORDS.findall(value)
        named = any(self._is_in(w, "given") for w in words if w[0].isupper())
        labelled = _LABELLED.search(text[max(0, span.start - 32) : span.start]) is not None
        if labelled and not value.islower():
            return None
        if all(self._is_ordinary(w) for w in words if len(w) > 2) and any(len(w) > 2 for w in words):
            return True
        if _FILE.match(text, span.end) and not named:
            return False
        if self._is_post():
            return None
        if _MIXED.fullmatch(value) or (span.entity_type != "ORGANIZATION" and _CODED.fullmatch(value)):
            return True
        if len(words) == 1:
            return self._verdict_on_word(span, value, named)
        return None

    def _verdict_on_word(self, span: Span, value: str, named: bool) -> bool | None:
        text = self.text
        if value in _VERBS and _STARTS_SENTENCE.search(text[max(0, span.start - 4) : span.start]):
            return False if _VERBED.match(text, span.end) else None
        if value.islower():
            return False if self._is_edited() and not self._is_rare(value) else None
        if named:
            return None
        dictionary = self._is_in(value, "dictionary")
        begins = _STARTS_SENTENCE.search(text[max(0, span.start - 4) : span.start]) is not None
        if dictionary and value.endswith("ly") and begins and text[span.end : span.end + 1] == ",":
            return False  # Similarly, …
        if text[span.end : span.end + 1] == ":" and _BULLET.search(text[max(0, span.start - 4) : span.start]):
            return False if dictionary else None
        capitalised = value[0].isupper() and value[1:].islower() and len(value) > 3
        if capitalised and dictionary and self._is_edited() and self._has_small(value):
            return True
        if value.isupper() and 1 < len(value) < 7 and span.entity_type == "PERSON" and not self.text.isupper():
            return False if not self._is_in(value, "surname") else None
        return None

    def _has_small(self, word: str) -> bool:
        """Tell whether the text has a word in small letters as well."""
        return re.search(rf"(?<![\w-]){word.lower()}(?![\w-])", self.text) is not None

    def _is_in(self, word: str, lexicon: str) -> bool:
        return self._network.is_in(word, lexicon)

    def _is_rare(self, word: str) -> bool:
        """Tell whether a word in small letters may be a name after all: lists of names have it and no other list."""
        named = self._is_in(word, "surname") or self._is_in(word, "given")
        return named and not self._is_in(word, "dictionary")

    def _is_ordinary(self, word: str) -> bool:
        """Tell whether it is a word or a brand of medicine, or ends like one and stands in no list of names."""
        lower = word.lower()
        if lower in _BRANDS:
            return word[0].isupper()
        if lower in _MEDICINE or (lower[-1:] == "s" and lower[:-1] in _MEDICINE):
            return True
        if _ENDING.fullmatch(lower) is None:
            return False
        return not any(self._is_in(lower, name) for name in ("given", "surname", "city", "country"))

    def _is_eponym(self, span: Span, value: str) -> bool:
        """Tell whether a disease, a test or a measure is called so, in this place."""
        words = re.split(r"[ ]+(?:and[ ]+|&[ ]+)?|[-–]", value.removesuffix("'s").removesuffix("’s"))
        if value in _EPONYMS or all(w in _EPONYMS or (w in _SHARED_EPONYMS and len(words) > 1) for w in words):
            return True
        if value in _SHARED_EPONYMS and _POSSESSIVE.match(self.text, span.end):
            return True
        if " " in value and " and " not in value and self._is_in(words[0], "given"):
            return False
        return value[:1].isupper() and _HEAD.match(self.text, span.end) is not None

    def _abbreviations(self, found: Sequence[Span]) -> frozenset[str]:
        if self._defined is None:
            self._defined = frozenset(short_forms(self.text, found))
        return self._defined

    def _is_post(self) -> bool:
        """Tell whether it is as in chats and posts, where forms say little."""
        if self._post is None:
            self._post = _CHAT.search(self.text) is not None
        return self._post

    def _is_edited(self) -> bool:
        """Tell whether somebody minded capitals: sentences begin with one, and nothing is as in chats and posts."""
        if self._edited is None:
            firsts = [match[1] for match in _BEGINS.finditer(self.text)]
            capital = sum(not first.islower() for first in firsts)
            self._edited = (
                len(self.text) > 60
                and capital >= 0.9 * len(firsts)
                and any(first.isupper() for first in firsts)
                and not self._is_post()
            )
        return self._edited


def _is_state(text: str, span: Span, found: Sequence[Span]) -> bool:
    """Tell whether a state's two letters stand behind a place or before a code: "Salem, OR", "PA 17101"."""
    if span.entity_type != "LOCATION" or len(text[span.start : span.end]) != 2:
        return False
    if re.match(r"[ ][0-9]{5}", text[span.end :]):
        return True
    behind_name = any(s.entity_type == "PERSON" and s.end == span.start - 2 for s in found)
    return not behind_name and re.search(r"[a-z],[ ]\Z", text[: span.start]) is not None


def _latin(value: str) -> bool:
    return all(c.isascii() or (c.isalpha() and ord(c) < 0x250) or c in "’–" for c in value)


def is_titled(text: str, span: Span) -> bool:
    """Tell whether a title or a degree stands beside a find."""
    before = text[max(0, span.start - 24) : span.start]
    return _TITLED.search(before) is not None or _DEGREE.match(text, span.end) is not None


def short_forms(text: str, found: Collection[Span]) -> set[str]:
    """Return what a text itself abbreviates: BP where it says "blood pressure (BP)".

    A long form that is a name itself, "Aga Khan Hospital (AKH)", makes none.
    """
    result = set()
    for match in _SHORT.finditer(text):
        short = match["short"]
        letters = [c.lower() for c in short.removesuffix("s") if c.isalnum()]
        before = text[max(0, match.start() - 24 - 14 * len(letters)) : match.start()]
        begin = _long_form(before, letters)
        if begin is None:
            continue
        start = match.start() - len(before) + begin
        words = [w for w in _WORDS.findall(text[start : match.start()]) if len(w) > 3]
        small = sum(w.islower() for w in words)
        named = any(s.start < match.start() and start < s.end and s.entity_type != "PERSON" for s in found)
        if named and small * 2 < len(words):
            continue
        result |= {short, short.removesuffix("s"), f"{short}s"}
    return result


def _long_form(before: str, letters: Sequence[str]) -> int | None:
    """Return where the words begin that the letters abbreviate, or None (Schwartz and Hearst 2003)."""
    place, long = len(before), before.lower()
    for number in range(len(letters) - 1, -1, -1):
        place -= 1
        while place >= 0 and (long[place] != letters[number] or (number == 0 and place and long[place - 1].isalnum())):
            place -= 1
        if place < 0:
            return None
    return place
