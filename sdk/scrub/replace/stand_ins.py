"""Names of persons that stand for others, word by word, from Faker's lists.

A word's stand-in follows from key, scope, role and word alone, so John Smith, Smith and J. Smith agree wherever they
stand. Chinese names are Chinese, others English; gender follows a title or Faker's lists; capitals, initials, order,
titles, particles and suffixes stay.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import regex
from faker.providers.person.en_US import Provider as EnglishNames
from faker.providers.person.zh_CN import Provider as ChineseNames

from sdk.scrub.replace.pseudonyms import Draw, Pseudonyms, normalized

Gender = Literal["m", "f", ""]
Role = Literal["given", "surname"]

MOST_DRAWS = 100

_MALE, _FEMALE = tuple(EnglishNames.first_names_male), tuple(EnglishNames.first_names_female)
_BOTH = frozenset(_MALE) & frozenset(_FEMALE)
_GIVEN: dict[Gender, tuple[str, ...]] = {
    "m": tuple(n for n in _MALE if n not in _BOTH),
    "f": tuple(n for n in _FEMALE if n not in _BOTH),
    "": tuple(dict.fromkeys((*_MALE, *_FEMALE))),
}
_GENDERS: tuple[Gender, Gender] = ("m", "f")
_GENDER_OF: dict[str, Gender] = {n.casefold(): g for g in _GENDERS for n in _GIVEN[g]}
_GIVEN_WEIGHT = {n.casefold(): w for n, w in EnglishNames.first_names.items()}
SURNAMES = tuple(EnglishNames.last_names)
_SURNAME_WEIGHT = {n.casefold(): w for n, w in EnglishNames.last_names.items()}

_ZH_SURNAMES = tuple(ChineseNames.last_names)
_ZH_COMPOUND = tuple("欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 令狐 夏侯 司徒".split())  # Faker has the first only
_ZH_SINGLE = tuple(n for n in _ZH_SURNAMES if len(n) == 1)[:100]  # in the order of how common they are
_ZH_GENDERED: dict[Gender, frozenset[str]] = {
    "m": frozenset("".join(ChineseNames.first_names_male)) - frozenset("".join(ChineseNames.first_names_female)),
    "f": frozenset("".join(ChineseNames.first_names_female)) - frozenset("".join(ChineseNames.first_names_male)),
}
_ZH_GIVEN: dict[Gender, tuple[str, ...]] = {
    "m": tuple(sorted(_ZH_GENDERED["m"])),
    "f": tuple(sorted(_ZH_GENDERED["f"])),
    "": tuple(sorted(frozenset("".join(ChineseNames.first_names)))),
}
_ZH_TITLES: dict[str, Gender] = {
    "先生": "m", "女士": "f", "小姐": "f", "太太": "f", "夫人": "f", "阿姨": "f", "医生": "", "大夫": "", "主任": "",
    "经理": "", "老师": "", "教授": "", "律师": "", "护士": "", "同学": "", "师傅": "", "总": "",
}  # fmt: skip
_TITLES: dict[str, Gender] = {
    "mr": "m", "mister": "m", "sir": "m", "lord": "m", "mrs": "f", "ms": "f", "miss": "f", "madam": "f", "mme": "f",
    "lady": "f", "dr": "", "doctor": "", "prof": "", "professor": "", "rev": "", "hon": "", "capt": "", "sgt": "",
    "lt": "", "col": "", "gen": "", "judge": "", "mx": "",
}  # fmt: skip
_SUFFIXES = frozenset("jr sr ii iii iv md phd esq dds dvm rn cpa jd mba".split())
_PARTICLES = frozenset("de la del der den von van bin ibn al el di da do dos das du le y zu af av ten ter".split())
WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*")
_HAN = regex.compile(r"\p{Han}")
_HAN_RUN = regex.compile(r"\p{Han}(?:[\s·•・]*\p{Han})*")
NUMBER = regex.compile(r"\p{N}+")
_TITLE_BEFORE = regex.compile(rf"\b({'|'.join(_TITLES)})\.?\s*\Z", regex.IGNORECASE)
_ZH_TITLE_AFTER = regex.compile(rf"\A\s*({'|'.join(_ZH_TITLES)})")


def is_chinese(value: str) -> bool:
    return _HAN.search(value) is not None


def _listed(word: str) -> str:
    """Return the form in which Faker's English lists have a word: no accents."""
    return "".join(c for c in unicodedata.normalize("NFD", normalized(word)) if not unicodedata.combining(c))


def cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.lower() if like.islower() else word


def another(draw: Draw, choices: Sequence[str], taken: frozenset[str]) -> str:
    """Pick a choice that is none of the taken words, nor holds one of more than three letters; the last, if all do."""
    for _ in range(MOST_DRAWS):
        choice = draw.pick(choices)
        low = choice.casefold()
        if low not in taken and not any(len(word) > 3 and word in low for word in taken):
            break
    return choice


@dataclass
class _Part:
    start: int
    end: int
    text: str
    role: Role | Literal["initial", "kept"] = "kept"

    @property
    def folded(self) -> str:
        return normalized(self.text)


@dataclass
class _Parsed:
    parts: list[_Part]
    gender: Gender


@dataclass
class NameStandIns:
    """Stand-ins for names of persons within one scope.

    What a document has shown of its people (`learn`) decides what a word is that stands alone: given name or surname.
    """

    pseudonyms: Pseudonyms
    roles: dict[str, Role] = field(default_factory=dict)
    genders: dict[str, Gender] = field(default_factory=dict)
    full: list[tuple[str, str]] = field(default_factory=list)  # given name, surname

    # -- persons ------------------------------------------------------------------------------------------------------

    def learn(self, value: str, before: str = "", after: str = "") -> None:
        """Note a person's name as it stands in a text, between `before` and `after`."""
        if is_chinese(value):
            return
        parsed = self._parse(value, before)
        given = [p.folded for p in parsed.parts if p.role == "given"]
        surnames = [p.folded for p in parsed.parts if p.role == "surname"]
        if given and surnames:
            for word, role in (*((w, "given") for w in given), *((w, "surname") for w in surnames)):
                self.roles.setdefault(word, role)  # type: ignore[arg-type]
            self.full.append((given[0], surnames[-1]))
        if given and parsed.gender:
            self.genders.setdefault(given[0], parsed.gender)

    def person(self, value: str, before: str = "", after: str = "") -> str:
        value = unicodedata.normalize("NFC", value)
        if not is_chinese(value):
            return self._numbers(self._english(value, before), value)
        parts, position = [], 0
        for run in _HAN_RUN.finditer(value):
            parts += [self._english(value[position : run.start()], before), ""]
            parts[-1] = self._chinese(run.group(), after if run.end() == len(value) else value[run.end() :])
            position = run.end()
        return self._numbers("".join([*parts, self._english(value[position:], before)]), value)

    def word(self, word: str, role: Role, gender: Gender = "") -> str:
        """Return the stand-in for one word of a name, in the word's capitals."""
        folded = normalized(word)
        if role == "surname":
            new = another(self.pseudonyms.draw("surname", folded), SURNAMES, frozenset({folded}))
        else:
            known = _GENDER_OF.get(_listed(word)) or self.genders.get(folded) or gender
            new = another(self.pseudonyms.draw("given", folded), _GIVEN[known], frozenset({folded}))
        return cased(new, word)

    def role_alone(self, word: str) -> Role:
        """Return what a word that stands alone is: what the document showed it to be, else what it more often is."""
        folded = normalized(word)
        if folded in self.roles:
            return self.roles[folded]
        listed = _listed(word)
        return "given" if _GIVEN_WEIGHT.get(listed, 0.0) > _SURNAME_WEIGHT.get(listed, 0.0) else "surname"

    def _english(self, value: str, before: str) -> str:
        parsed = self._parse(value, before)
        surname = next((p.folded for p in reversed(parsed.parts) if p.role == "surname"), "")
        out, position = [], 0
        for part in parsed.parts:
            out.append(value[position : part.start])
            if part.role == "initial":
                out.append("".join(self._initial(c, surname) for c in part.text))
            else:
                out.append(part.text if part.role == "kept" else self.word(part.text, part.role, parsed.gender))
            position = part.end
        return "".join([*out, value[position:]])

    def _parse(self, value: str, before: str) -> _Parsed:
        """Divide an English name into parts with their roles. Titles, suffixes and particles are kept as they are."""
        titled = _TITLE_BEFORE.search(before)
        gender: Gender = _TITLES[titled[1].lower()] if titled else ""
        parts = [_Part(m.start(), m.end(), m.group()) for m in WORD.finditer(value)]
        for part in parts:  # a possessive is no part of the name
            if part.text[-2:].lower() in ("'s", "’s") and len(part.text) > 2:
                part.end -= 2
                part.text = part.text[:-2]
        core: list[_Part] = []
        for index, part in enumerate(parts):
            low = part.text.casefold()
            if low in _TITLES and index < len(parts) - 1 and not core:
                gender, titled = _TITLES[low] or gender, titled or _TITLE_BEFORE.search(f"{part.text} ")
            elif (core and low in _SUFFIXES) or (low in _PARTICLES and index < len(parts) - 1):
                continue
            elif len(part.text) == 1 or (part.text.isupper() and len(part.text) <= 3 and not set(low) & set("aeiouy")):
                part.role = "initial"
            else:
                core.append(part)
        self._assign(value, parts, core, titled is not None)
        return _Parsed(parts, gender)

    def _assign(self, value: str, parts: list[_Part], core: list[_Part], titled: bool) -> None:
        """Give each word of the core its role, as the form of the whole name tells.

        "Roe, Jane": surname first. One word: a surname behind a title, an initial or a particle (Dr. Roe, J. Roe,
        van Dyck). Otherwise the last word is the surname, with its hyphenated partner (Anna Smith-Jones), what stands
        behind a particle, and a word that only the list of surnames has (Maria Garcia Lopez).
        """
        comma = value.find(",")
        initials = any(part.role == "initial" for part in parts)
        particle = next((p.start for p in parts if p.role == "kept" and p.text.casefold() in _PARTICLES), len(value))
        if comma > 0 and any(p.end <= comma for p in core) and any(p.start > comma for p in core):
            for part in core:
                part.role = "surname" if part.end <= comma else "given"
        elif len(core) == 1:
            alone = core[0]
            surname = titled or initials or particle < alone.start
            alone.role = "surname" if surname else self.role_alone(alone.text)
        else:
            for index, part in enumerate(core):
                joined = value[part.end : core[index + 1].start] == "-" if index + 1 < len(core) else False
                last = index == len(core) - 1 or (joined and index == len(core) - 2)
                listed = _listed(part.text)
                double = index > 0 and listed in _SURNAME_WEIGHT and listed not in _GIVEN_WEIGHT
                part.role = "surname" if last or part.start > particle or double else "given"

    def _initial(self, letter: str, surname: str) -> str:
        """Return the initial of the given name's stand-in where the document shows the whole name, else another."""
        for given, of in self.full:
            if given[:1] == letter.casefold() and of == surname:
                return cased(self.word(given, "given")[0].upper(), letter)
        taken = frozenset({letter.casefold()})
        new = another(self.pseudonyms.draw("initial", letter.casefold()), "ABCDEFGHJKLMNOPRSTVW", taken)
        return new.lower() if letter.islower() else new

    def _chinese(self, run: str, after: str) -> str:
        """Replace Han characters one for one: surname by surname, given name by character.

        A title behind the name (王医生) and a prefix (小王) stay, as do separators between the characters.
        """
        letters = [c for c in run if _HAN.match(c)]
        name = "".join(letters)
        title = next((t for t in sorted(_ZH_TITLES, key=len, reverse=True) if name.endswith(t) and name != t), "")
        following = _ZH_TITLE_AFTER.match(after)
        gender: Gender = _ZH_TITLES[title] if title else _ZH_TITLES[following[1]] if following else ""
        core = name.removesuffix(title)
        prefix = core[0] if len(core) == 2 and core[0] in "小老阿大" and core[1] in _ZH_SURNAMES else ""
        core = core[len(prefix) :]
        surname = core[:2] if core[:2] in _ZH_COMPOUND else core[:1]
        if surname not in _ZH_SURNAMES and len(core) < 3 and not title and not following:
            surname = ""
        given = core[len(surname) :]
        new = prefix + self._zh_surname(surname) + self._zh_given(given, gender) + title
        out = iter(new)
        return "".join(next(out) if _HAN.match(c) else c for c in run)

    def _zh_surname(self, surname: str) -> str:
        if not surname:
            return ""
        pool = _ZH_COMPOUND if len(surname) == 2 else _ZH_SINGLE
        return another(self.pseudonyms.draw("zh surname", surname), pool, frozenset({surname}))

    def _zh_given(self, given: str, gender: Gender) -> str:
        if not given:
            return ""
        known: set[Gender] = {g for g in _GENDERS for c in given if c in _ZH_GENDERED[g]}
        pool = _ZH_GIVEN[known.pop() if len(known) == 1 else gender]
        draw = self.pseudonyms.draw("zh given", given)
        return "".join(another(draw, pool, frozenset({c})) for c in given)

    def _numbers(self, text: str, value: str) -> str:
        return NUMBER.sub(lambda m: self.pseudonyms.draw("digits", value, m.group()).digits(len(m.group())), text)

    # -- e-mail -------------------------------------------------------------------------------------------------------

    def email(self, value: str) -> str:
        """Replace names in the local part as the same names elsewhere; the domain becomes one of RFC 2606's."""
        local, _, domain = value.rpartition("@")
        folded = normalized(value)

        def word(match: regex.Match[str]) -> str:
            text = match.group()
            low = normalized(text)
            if len(text) == 1:
                return cased(self.pseudonyms.draw("email letter", folded, text).pick("ABCDEFGHJKLMNOPRSTVW"), text)
            role = self.roles.get(low) or ("given" if low in _GIVEN_WEIGHT else "surname")
            return self.word(text if low in self.roles or low in _GIVEN_WEIGHT else f"{text}@{folded}", role)

        def lower(match: regex.Match[str]) -> str:
            return cased(word(match), match.group())

        new = NUMBER.sub(lambda m: self.pseudonyms.draw("email", folded).digits(len(m.group())), WORD.sub(lower, local))
        ending = self.pseudonyms.draw("domain", normalized(domain)).pick(("com", "org", "net"))
        return f"{regex.sub(r'[^!-~]', '', new) or 'mail'}@example.{ending}"
