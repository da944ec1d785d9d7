"""Places, organizations and nationalities that stand for others, from Faker's lists.

What says of which sort a place or an organization is (River, Street, GmbH, 省, 银行) stays, and so do abbreviations.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import regex
from faker.providers.address.en_US import Provider as EnglishPlaces
from faker.providers.address.zh_CN import Provider as ChinesePlaces
from faker.providers.company.zh_CN import Provider as ChineseCompanies

from sdk.scrub.replace.pseudonyms import Pseudonyms, normalized
from sdk.scrub.replace.stand_ins import NUMBER, SURNAMES, WORD, another, cased, is_chinese

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
            return another(draw, names, frozenset({head})) + (ending[0] if ending else "")
        if value.isupper() and len(value) <= 5 and value.isalpha():
            draw = self.pseudonyms.draw("acronym", normalized(value))
            return "".join(another(draw, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", frozenset({c.casefold()})) for c in value)
        words = [m.group().casefold() for m in WORD.finditer(value)]
        kept = _ORGANIZATION_WORDS if set(words) - _ORGANIZATION_WORDS else frozenset({"of", "the", "and", "for"})
        text = WORD.sub(lambda m: m.group() if m.group().casefold() in kept else self._word("org", m.group()), value)
        return self._digits(text)

    def nation(self, value: str) -> str:
        chinese = is_chinese(value)
        taken = frozenset({normalized(value)})
        new = another(self.pseudonyms.draw("nation", normalized(value)), _ZH_NATIONS if chinese else _NATIONS, taken)
        if chinese:
            return new + (value[-1] if value[-1] in "人语族" else "")
        return cased(new, value) + ("s" if value.endswith("s") and not new.endswith(("sh", "ch", "ese")) else "")

    def _word(self, role: str, word: str) -> str:
        folded = normalized(word)
        return cased(another(self.pseudonyms.draw(role, folded), SURNAMES, frozenset({folded})), word)

    def _place(self, piece: str) -> str:
        """Replace a country by a country, a state by a state, else by a town; what a place is (River, County) stays."""
        text = piece.strip()
        lead = piece[: len(piece) - len(piece.lstrip())]
        trail = piece[len(piece.rstrip()) :]
        folded = text.casefold()
        taken = frozenset({folded, normalized(text)})
        draw = self.pseudonyms.draw("place", normalized(text))
        if text in _ABBREVIATIONS:
            return lead + another(draw, EnglishPlaces.states_abbr, taken) + trail
        if folded in _STATES:
            return lead + cased(another(draw, EnglishPlaces.states, taken), text) + trail
        if folded in _COUNTRIES:
            return lead + cased(another(draw, EnglishPlaces.countries, taken), text) + trail
        words = [m.group() for m in WORD.finditer(text)]
        ending = words[-1] if len(words) > 1 and words[-1].casefold() in _PLACE_WORDS else ""
        town = another(draw, SURNAMES, taken) + draw.pick(EnglishPlaces.city_suffixes)
        return f"{lead}{cased(town, text)}{' ' + ending if ending else ''}{trail}"

    def _street(self, piece: str) -> str:
        words = list(WORD.finditer(piece))
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

        return NUMBER.sub(number, value)

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
        return lead + another(self.pseudonyms.draw("zh place", name), pool, frozenset({name})) + kind
