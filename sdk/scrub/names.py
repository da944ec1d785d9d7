"""Persons: by title, by role, and by common given names in English; by surname, role and title in Chinese."""

from __future__ import annotations

from pathlib import Path

import regex
from presidio_analyzer import LocalRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from sdk.policy import read_yaml

_LISTS: dict[str, str] = read_yaml(Path(__file__).with_name("gazetteer.yaml"))
GIVEN_NAMES = frozenset(" ".join(v for k, v in _LISTS.items() if k.startswith("given_names_")).split())
PINYIN_SURNAMES = frozenset(_LISTS["pinyin_surnames"].split())
TITLES = frozenset(_LISTS["titles"].split())
ROLES = frozenset(_LISTS["roles"].split())
STOP_WORDS = frozenset(_LISTS["stop_words"].split())
INTRODUCERS = ROLES | {"dear", "hi", "hello", "regards", "sincerely", "attn", "contact", "signed", "answer"}
MOST_WORDS = 4  # of a name, particles not counted
SURE, LIKELY = 0.85, 0.6

_PARTICLES = "de|da|do|dos|das|del|della|di|du|la|le|van|von|der|den|ter|ten|bin|binti|ibn|al|el|y|zu|af|av"
_ANY_ROLE = "|".join(sorted(ROLES))
_WORD = r"(?:[dlDL]['’])?\p{Lu}(?:[\p{L}\p{M}]|['’\-](?=\p{L}))*\.?"
_TOKEN = regex.compile(rf"{_WORD}|(?:{_PARTICLES})\b")
_RUN = regex.compile(rf"(?<![\p{{Latin}}0-9_@./\-]){_WORD}(?:[ \t]{{1,3}}(?:(?:{_PARTICLES})[ \t]+)*{_WORD})*")
_INTRODUCED = regex.compile(
    rf"(?:\b(?P<title>{'|'.join(sorted(TITLES))})\.?|\b(?:{_ANY_ROLE}|{'|'.join(sorted(INTRODUCERS - ROLES))}|"
    r"account for|name(?:d| is|'s)?|called|i am|i'm|this is|on behalf of|"
    r"(?:e-?mail|letter|call|message|note|request|referral|signed|written|prepared|reviewed|reply|write) "
    r"(?:from|by|for|to)))[\s:,\-]{1,3}\Z",
    regex.IGNORECASE,
)
_SURNAME_FIRST = regex.compile(
    rf"(?:^|[:;(]\s?|\b(?:name|{_ANY_ROLE})\s)\K(?-i:(?P<surname>{_WORD}),[ ]{{1,2}}(?P<given>{_WORD}))",
    regex.IGNORECASE | regex.MULTILINE,
)
_COMMON_ENDING = regex.compile(r"(?:tion|sion|ment|ness|ity|ship|ance|ence|ology|able|ical)s?\Z", regex.IGNORECASE)


class EnglishNameRecognizer(LocalRecognizer):
    """Runs of capitalized words in which a title, a role or a common given name begins a name.

    A title ("Dr.") is enough for any word after it; a role ("patient") needs two words that are no common terms, or a
    common given name; a common given name, or a Chinese surname in pinyin, needs another name after it.
    """

    def __init__(
        self, supported_language: str = "en", supported_entities: list[str] | None = None, name: str | None = None
    ) -> None:
        super().__init__(supported_entities or ["PERSON"], name=name, supported_language=supported_language)

    def load(self) -> None:
        """Nothing to load."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        found: list[RecognizerResult] = []
        for run in _RUN.finditer(text):
            tokens = [(m.start(), m.end(), m.group()) for m in _TOKEN.finditer(text, run.start(), run.end())]
            before = _INTRODUCED.search(text[max(0, run.start() - 32) : run.start()])
            found += self._names(tokens, introduced=before is not None, titled=bool(before and before["title"]))
        for match in _SURNAME_FIRST.finditer(text):
            if _bare(match["given"]) in GIVEN_NAMES and _bare(match["surname"]) not in STOP_WORDS:
                found.append(RecognizerResult(self.supported_entities[0], match.start(), match.end(), LIKELY))
        return found

    def _names(self, tokens: list[tuple[int, int, str]], introduced: bool, titled: bool) -> list[RecognizerResult]:
        found: list[RecognizerResult] = []
        i = 0
        while i < len(tokens):
            word = _bare(tokens[i][2])
            if word in TITLES and i + 1 < len(tokens):
                introduced, titled = True, True
                i += 1
                continue
            words = _name_from(tokens, i)
            score = _score(words, introduced, titled)
            if score:
                start, end = tokens[i][0], tokens[i + len(words) - 1][1]
                end -= words[-1].endswith(".") and len(words[-1]) > 2  # a sentence's end, not an initial's
                found.append(RecognizerResult(self.supported_entities[0], start, end, score))
                i += len(words)
                introduced = titled = False
            else:
                introduced, titled = word in INTRODUCERS, False
                i += 1
        return found


def _bare(word: str) -> str:
    return word.rstrip(".").casefold()


def _capitalized(word: str) -> bool:
    """False of particles; "d'Aubigny" is capitalized."""
    return word[0].isupper() or word[1:2] in "'’"


def _given(word: str) -> bool:
    return word in GIVEN_NAMES or word.partition("-")[0] in GIVEN_NAMES


def _name_from(tokens: list[tuple[int, int, str]], start: int) -> list[str]:
    """The words from `start` on that can belong to one name; a word with a sentence's full stop is the last."""
    words: list[str] = []
    for _, _, word in tokens[start:]:
        bare = _bare(word).removesuffix("'s").removesuffix("’s")
        if bare in STOP_WORDS or bare in TITLES or bare in ROLES or any(c.isdigit() for c in word):
            break
        words.append(word)
        if sum(map(_capitalized, words)) == MOST_WORDS or (word.endswith(".") and len(word) > 2):
            break
    while words and not _capitalized(words[-1]):
        words.pop()
    return words


def _score(words: list[str], introduced: bool, titled: bool) -> float:
    if not words or not (titled or _capitalized(words[0])):
        return 0.0
    capitalized = [word for word in words if _capitalized(word)]
    first = _bare(words[0])
    if titled or (_given(first) and (len(capitalized) > 1 or introduced)):
        return SURE
    if len(capitalized) > 1 and not any(_COMMON_ENDING.search(_bare(word)) for word in capitalized):
        if introduced and not any(len(word.rstrip(".")) > 1 and word.isupper() for word in capitalized):
            return LIKELY
        if first in PINYIN_SURNAMES and len(capitalized) < 4:
            return LIKELY
    return 0.0


def _any_of(name: str) -> str:
    return "|".join(_LISTS[name].split())


_ONE_CHARACTER = "".join(_LISTS["chinese_surnames"].split())
_SURNAME = rf"(?!{_any_of('chinese_stop_words')})(?:{_any_of('chinese_compound_surnames')}|[{_ONE_CHARACTER}])"
_ROLE = _any_of("chinese_roles")
_TITLE = _any_of("chinese_titles")
_FOLLOWING = rf"[^\p{{Han}}]|\Z|{_TITLE}|{_any_of('chinese_following')}"
_SECOND = r"(?![的问要需称说已住因与及被把对向想在用持])\p{Han}"
_GIVEN = rf"(?:\p{{Han}}{_SECOND}(?={_FOLLOWING})|\p{{Han}}(?={_FOLLOWING})|\p{{Han}}{_SECOND}|\p{{Han}})"


class ChineseNameRecognizer(PatternRecognizer):
    """A surname and one or two characters, after a role or before a title; the longer reading wins where both fit."""

    PATTERNS = (
        Pattern(
            "after a role", rf"(?:{_ROLE})(?:姓名|名称|名字)?(?:为|是|叫)?[\s:,(“\"]{{0,2}}\K{_SURNAME}{_GIVEN}", 0.7
        ),
        Pattern("before a title", rf"(?<![基资奖现]){_SURNAME}\p{{Han}}{{0,2}}(?={_TITLE})", 0.7),
        Pattern(
            "at the beginning",
            rf"(?<![\p{{Han}}]){_SURNAME}\p{{Han}}{{1,2}}(?=用(?:信用卡|银行卡|手机)|的(?:手机|电话|邮箱|身份证|银行卡|信用卡|账户|病历))",
            0.6,
        ),
        Pattern(
            "with a middle dot",
            rf"(?:(?:{_ROLE})[\s:]?)?+\K\p{{Han}}{{2,6}}[·•・](?:\p{{Han}}{{2,8}}?(?={_FOLLOWING})|\p{{Han}}{{2,4}})",
            0.6,
        ),
    )

    def __init__(
        self, supported_language: str = "zh", supported_entity: str = "PERSON", name: str | None = None
    ) -> None:
        super().__init__(
            supported_entity=supported_entity,
            patterns=[Pattern(p.name, p.regex, p.score) for p in self.PATTERNS],
            supported_language=supported_language,
            name=name,
        )
