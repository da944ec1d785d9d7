"""Names, places and organizations that stand for others, word by word, from Faker's lists.

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
from faker.providers.address.en_US import Provider as EnglishPlaces
from faker.providers.address.zh_CN import Provider as ChinesePlaces
from faker.providers.company.zh_CN import Provider as ChineseCompanies
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
_SURNAMES = tuple(EnglishNames.last_names)
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
_WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*")
_HAN = regex.compile(r"\p{Han}")
_HAN_RUN = regex.compile(r"\p{Han}(?:[\s·•・]*\p{Han})*")
_NUMBER = regex.compile(r"\p{N}+")
_TITLE_BEFORE = regex.compile(rf"\b({'|'.join(_TITLES)})\.?\s*\Z", regex.IGNORECASE)
_ZH_TITLE_AFTER = regex.compile(rf"\A\s*({'|'.join(_ZH_TITLES)})")


def is_chinese(value: str) -> bool:
    return _HAN.search(value) is not None


def _listed(word: str) -> str:
    """Return the form in which Faker's English lists have a word: no accents."""
    return "".join(c for c in unicodedata.normalize("NFD", normalized(word)) if not unicodedata.combining(c))


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.lower() if like.islower() else word


def _another(draw: Draw, choices: Sequence[str], taken: frozenset[str]) -> str:
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
            new = _another(self.pseudonyms.draw("surname", folded), _SURNAMES, frozenset({folded}))
        else:
            known = _GENDER_OF.get(_listed(word)) or self.genders.get(folded) or gender
            new = _another(self.pseudonyms.draw("given", folded), _GIVEN[known], frozenset({folded}))
        return _cased(new, word)

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
        parts = [_Part(m.start(), m.end(), m.group()) for m in _WORD.finditer(value)]
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
                return _cased(self.word(given, "given")[0].upper(), letter)
        taken = frozenset({letter.casefold()})
        new = _another(self.pseudonyms.draw("initial", letter.casefold()), "ABCDEFGHJKLMNOPRSTVW", taken)
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
        return _another(self.pseudonyms.draw("zh surname", surname), pool, frozenset({surname}))

    def _zh_given(self, given: str, gender: Gender) -> str:
        if not given:
            return ""
        known: set[Gender] = {g for g in _GENDERS for c in given if c in _ZH_GENDERED[g]}
        pool = _ZH_GIVEN[known.pop() if len(known) == 1 else gender]
        draw = self.pseudonyms.draw("zh given", given)
        return "".join(_another(draw, pool, frozenset({c})) for c in given)

    def _numbers(self, text: str, value: str) -> str:
        return _NUMBER.sub(lambda m: self.pseudonyms.draw("digits", value, m.group()).digits(len(m.group())), text)

    # -- e-mail -------------------------------------------------------------------------------------------------------

    def email(self, value: str) -> str:
        """Replace names in the local part as the same names elsewhere; the domain becomes one of RFC 2606's."""
        local, _, domain = value.rpartition("@")
        folded = normalized(value)

        def word(match: regex.Match[str]) -> str:
            text = match.group()
            low = normalized(text)
            if len(text) == 1:
                return _cased(self.pseudonyms.draw("email letter", folded, text).pick("ABCDEFGHJKLMNOPRSTVW"), text)
            role = self.roles.get(low) or ("given" if low in _GIVEN_WEIGHT else "surname")
            return self.word(text if low in self.roles or low in _GIVEN_WEIGHT else f"{text}@{folded}", role)

        def lower(match: regex.Match[str]) -> str:
            return _cased(word(match), match.group())

        new = _NUMBER.sub(
            lambda m: self.pseudonyms.draw("email", folded).digits(len(m.group())), _WORD.sub(lower, local)
        )
        ending = self.pseudonyms.draw("domain", normalized(domain)).pick(("com", "org", "net"))
        return f"{regex.sub(r'[^!-~]', '', new) or 'mail'}@example.{ending}"


# -- places and organizations -----------------------------------------------------------------------------------------

_STATES = {s.casefold() for s in EnglishPlaces.states}
_COUNTRIES = {c.casefold() for c in EnglishPlaces.countries}
_ABBREVIATIONS = frozenset(EnglishPlaces.states_abbr)
_STREETS = {s.casefold() for s in EnglishPlaces.street_suffixes} | set(
    "st ave blvd rd dr ln ct pl pkwy hwy sq ter cir way".split()
)
_UNITS = frozenset(
    "apt apartment suite ste unit floor fl room rm building bldg no box po p o north south east west n s e w "
    "ne nw se sw of the and".split()
)
_PLACE_WORDS = frozenset(
    "river lake mountain mount county city valley island islands bay park airport bridge street avenue road "
    "square hospital university station of the and".split()
)
_ORGANIZATION_WORDS = frozenset(
    "inc llc ltd limited corp corporation company co group plc gmbh ag sa nv bv llp lp bank hospital "
    "university college school clinic institute foundation association center centre medical national "
    "international council committee ministry department agency society church party union club press news "
    "times insurance holdings partners trust fund health services systems technologies of the and & for".split()
)
_ZH_PLACE = regex.compile(
    r"(\p{Han}{1,8}?)(特别行政区|自治区|自治州|街道|大街|大道|胡同|小区|花园|大厦|省|市|区|县|旗|镇|乡|村(?!\p{Han}{0,3}[路街道])|路|街|道|巷|弄)"
    r"|(\p{Han}+)"
)
_ZH_UNITS = frozenset("号楼室单元层栋座幢期组院门东西南北中第一二三四五六七八九十")
_ZH_ORGANIZATION = regex.compile(
    r"(股份有限公司|有限责任公司|科技有限公司|有限公司|集团|公司|银行|医院|大学|学院|中学|小学|学校|法院|检察院|委员会|研究所|研究院|"
    r"出版社|俱乐部|协会|基金会|事务所|部|局|厅|社|会)\Z"
)
_NATIONS = tuple(
    "American British French German Italian Spanish Portuguese Dutch Polish Swedish Danish Greek Turkish Indian "
    "Japanese Korean Brazilian Mexican Canadian Egyptian Kenyan".split()
)
_ZH_NATIONS = (
    "美国",
    "英国",
    "法国",
    "德国",
    "意大利",
    "西班牙",
    "波兰",
    "瑞典",
    "希腊",
    "印度",
    "日本",
    "韩国",
    "巴西",
    "埃及",
)


@dataclass
class PlaceStandIns:
    """Stand-ins for places, addresses, organizations and nationalities within one scope."""

    pseudonyms: Pseudonyms

    def location(self, value: str) -> str:
        if is_chinese(value):
            return self._zh(value)
        return regex.sub(r"[^,;\d\n]*\p{L}[^,;\d\n]*", lambda m: self._place(m.group()), self._digits(value))

    def address(self, value: str) -> str:
        if is_chinese(value):
            return self._zh(value)
        text = regex.sub(r"[^,;\d\n#]*\p{L}[^,;\d\n#]*", lambda m: self._street(m.group()), value)
        return self._digits(text)

    def organization(self, value: str) -> str:
        if is_chinese(value):
            ending = _ZH_ORGANIZATION.search(value)
            head = value[: ending.start()] if ending else value
            draw = self.pseudonyms.draw("zh organization", normalized(head))
            names = [n for n in ChineseCompanies.company_prefixes if len(n) <= max(2, len(head))]
            return _another(draw, names, frozenset({head})) + (ending[0] if ending else "")
        if value.isupper() and len(value) <= 5 and value.isalpha():
            draw = self.pseudonyms.draw("acronym", normalized(value))
            return "".join(_another(draw, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", frozenset({c.casefold()})) for c in value)
        words = [m.group().casefold() for m in _WORD.finditer(value)]
        kept = _ORGANIZATION_WORDS if set(words) - _ORGANIZATION_WORDS else frozenset({"of", "the", "and", "for"})
        text = _WORD.sub(lambda m: m.group() if m.group().casefold() in kept else self._word("org", m.group()), value)
        return self._digits(text)

    def nation(self, value: str) -> str:
        chinese = is_chinese(value)
        taken = frozenset({normalized(value)})
        new = _another(self.pseudonyms.draw("nation", normalized(value)), _ZH_NATIONS if chinese else _NATIONS, taken)
        if chinese:
            return new + (value[-1] if value[-1] in "人语族" else "")
        return _cased(new, value) + ("s" if value.endswith("s") and not new.endswith(("sh", "ch", "ese")) else "")

    def _word(self, role: str, word: str) -> str:
        folded = normalized(word)
        return _cased(_another(self.pseudonyms.draw(role, folded), _SURNAMES, frozenset({folded})), word)

    def _place(self, piece: str) -> str:
        """Replace a country by a country, a state by a state, else by a town; what a place is (River, County) stays."""
        text = piece.strip()
        lead = piece[: len(piece) - len(piece.lstrip())]
        trail = piece[len(piece.rstrip()) :]
        folded = text.casefold()
        taken = frozenset({folded, normalized(text)})
        draw = self.pseudonyms.draw("place", normalized(text))
        if text in _ABBREVIATIONS:
            return lead + _another(draw, EnglishPlaces.states_abbr, taken) + trail
        if folded in _STATES:
            return lead + _cased(_another(draw, EnglishPlaces.states, taken), text) + trail
        if folded in _COUNTRIES:
            return lead + _cased(_another(draw, EnglishPlaces.countries, taken), text) + trail
        words = [m.group() for m in _WORD.finditer(text)]
        ending = words[-1] if len(words) > 1 and words[-1].casefold() in _PLACE_WORDS else ""
        town = _another(draw, _SURNAMES, taken) + draw.pick(EnglishPlaces.city_suffixes)
        return f"{lead}{_cased(town, text)}{' ' + ending if ending else ''}{trail}"

    def _street(self, piece: str) -> str:
        words = list(_WORD.finditer(piece))
        if piece.strip() in _ABBREVIATIONS or piece.strip().casefold() in _STATES | _COUNTRIES:
            return self._place(piece)
        out, position = [], 0
        for index, match in enumerate(words):
            text, low = match.group(), match.group().casefold()
            last = index == len(words) - 1
            ordinal = low in ("st", "nd", "rd", "th") and match.start() == 0
            kept = low in _UNITS or ordinal or (last and index > 0 and low in _STREETS)
            kept = kept or (last and low in _STREETS and piece[: match.start()].strip(" .") == "")
            out.append(piece[position : match.start()])
            if text in _ABBREVIATIONS and last and low not in _STREETS | _UNITS:
                out.append(self._place(text))
            else:
                out.append(text if kept or len(text) == 1 else self._word("street", text))
            position = match.end()
        return "".join([*out, piece[position:]])

    def _digits(self, value: str) -> str:
        draws: dict[str, str] = {}

        def number(match: regex.Match[str]) -> str:
            old = match.group()
            if old not in draws:
                for draw in self.pseudonyms.draws("address number", old):
                    new = "".join(str(1 + draw.below(9)) if i == 0 else draw.digits(1) for i in range(len(old)))
                    if new != unicodedata.normalize("NFKC", old):
                        break
                wide = old != unicodedata.normalize("NFKC", old)
                draws[old] = "".join(chr(ord(c) + 0xFEE0) for c in new) if wide else new
            return draws[old]

        return _NUMBER.sub(number, value)

    def _zh(self, value: str) -> str:
        return _ZH_PLACE.sub(self._zh_piece, self._digits(value))

    def _zh_piece(self, match: regex.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3]
        if rest is not None:
            if set(rest) <= _ZH_UNITS:
                return rest
            tail = regex.search(r"(?:号楼|号院|号|楼|室|单元|层|栋|座|幢)\Z", rest)
            name, kind = (rest[: tail.start()], tail[0]) if tail else (rest, "")
            if not name:
                return rest
            country = name in ChinesePlaces.countries or name == "中国"
            pool: Sequence[str] = ChinesePlaces.countries if country else ChinesePlaces.cities
        elif kind in ("省", "自治区", "特别行政区"):
            pool = [p.removesuffix(kind) for p in ChinesePlaces.provinces if p.endswith(kind)]
        else:
            pool = ChinesePlaces.districts if kind in ("区", "县", "旗") else ChinesePlaces.cities
        lead = match[0][: len(match[0]) - len(name) - len(kind)]
        return lead + _another(self.pseudonyms.draw("zh place", name), pool, frozenset({name})) + kind
