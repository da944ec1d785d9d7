"""Draws made-up words, terms, answers and questions in English and Chinese from one seed."""

# Text is drawn here, not keys: the plain generator is the reproducible one.
# ruff: noqa: S311

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random

from tools.embedded_base import templates, words


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_HEADS = _words("""
ratio rate test index value margin form report rule score level fund plan account method scale code class limit
ledger review survey cycle factor standard phase signal grade policy order chart notice model unit process
system program zone gate fee charge period statement pressure syndrome reaction count screen dose check list
note bond share reserve balance yield cost risk
""")
_CHINESE_HEADS = _words("""
率 比率 比例 表 法 值 试验 单 指数 制度 期 费 量 线 检查 报告 计划 账户 等级 标准 系数 公式 周期 规则 程序 模型
系统 单位 测试 基金 合同 风险 成本 收益 压力 综合征 反应 剂量 评分 证书 信号 处方 目录 协议 限额 指标 原则 业务
条款 现象 通知书 登记表 账单
""")
_UNITS = _words(
    "units points days hours minutes weeks months years percent grams liters meters degrees pages steps times dollars"
)
_CHINESE_UNITS = _words("个 天 小时 分钟 周 个月 年 % 克 毫升 米 度 页 次 元 万元 人 分 级 倍")
_ONSETS = _words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w y z"
)
_VOWELS = _words("a e i o u ai ea ee io oa ou y")
_CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "st", "rk", "c", "ph", "th")
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余"
    "潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
_SUMS = (
    "{a} {n} at {b} {u}",
    "{n} {a}, {m} {b}",
    "{n} of {a} and {m} of {b}",
    "{a} {n} with {b} {m}",
    "{n} {a} over {m} {b}",
)
_CHINESE_SUMS = ("{n}{a}{u},{m}{b}{u}", "{n}为{a},{m}为{b}", "{a}{u}{n}和{b}{u}{m}", "{n}{a},{m}{b}")
_DESCRIPTIONS = (
    "the {} of a {}",
    "a {} {} that can {} the {}",
    "{} {} used to {} {}",
    "{} {} {} of the {}",
    "{} that {}s a {}",
    "how {} the {} is",
)
_CHINESE_DESCRIPTIONS = ("{}的{}", "用于{}的{}", "{}与{}之间的{}", "对{}进行{}的{}", "{}后{}的{}", "能够{}{}的{}")
_LINKS = ("of", "and", "for", "with", "to", "in", "by", "per", "before", "after", "from", "on")
_CHINESE_LINKS = ("的", "和", "与", "或", "后", "前", "对", "及", "不", "以", "为", "在", "由")
_OPERATIONS = ("divided by", "minus", "plus", "times", "multiplied by", "over")
_CHINESE_OPERATIONS = ("除以", "减", "加", "乘以", "减去", "加上")
_FULL_WIDTH = str.maketrans({mark: chr(ord(mark) + 0xFEE0) for mark in "?,:()"})
LEVEL_1 = bytes(byte for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF) for byte in (high, low)).decode(
    "gb2312", "ignore"
)
"""The 3,755 characters of GB 2312 level 1."""


@dataclass(frozen=True)
class Fact:
    """One made-up answer to one relation of one term.

    `languages` are those in which it is asked, `alias` the term's initials where people also use them.
    """

    relation: templates.Relation
    term: str
    answer: str
    languages: tuple[str, ...]
    alias: str = ""


def initials(phrase: str) -> str:
    return "".join(word[0] for word in phrase.split() if word not in ("of", "and", "for", "to", "in")).upper()


class Maker:
    """One seeded stream of text. `language` is `en` or `zh` everywhere."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)

    def invented(self) -> str:
        rng, syllables = self.rng, self.rng.choice((1, 2, 2, 2, 3, 3, 4))
        return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))

    def noun(self) -> str:
        draw = self.rng.random()
        if draw < 0.12:
            return self.invented()
        return self.rng.choice(words.NOUNS) if draw < 0.85 else self.rng.choice(words.PAIRS)[0]

    def adjective(self) -> str:
        return self.invented() if self.rng.random() < 0.08 else self.rng.choice(words.ADJECTIVES)

    def characters(self, low: int, high: int) -> str:
        pool = words.COMMON_CHARACTERS if self.rng.random() < 0.5 else LEVEL_1
        return "".join(self.rng.choices(pool, k=self.rng.randint(low, high)))

    def chinese(self) -> str:
        return self.characters(1, 3) if self.rng.random() < 0.25 else self.rng.choice(words.CHINESE_WORDS)

    def number(self) -> str:
        rng = self.rng
        draw = rng.random()
        if draw < 0.5:
            return str(rng.randint(0, 10 ** rng.randint(1, 3)))
        if draw < 0.8:
            return f"{rng.randint(0, 99)}.{rng.randint(0, 99)}"
        return f"{rng.randint(1, 99)},000" if draw < 0.9 else f"{rng.randint(1, 100)}%"

    def code(self) -> str:
        rng = self.rng
        letter, digits = rng.choice(string.ascii_uppercase), str(rng.randint(0, 99)).zfill(2)
        shapes = (
            f"{letter}{digits}",
            f"{letter}{digits}.{rng.randint(0, 9)}",
            f"{digits}-{letter}",
            str(rng.randint(100, 99999)),
            f"{letter}{rng.choice(string.ascii_uppercase)}-{digits}",
            f"{letter}{digits}.{rng.randint(10, 99)}{letter}",
            f"Form {rng.randint(1, 40)}-{letter}",
            f"{rng.randint(1, 9)} {letter}.{digits}",
        )
        return rng.choice(shapes)

    def phrase(self, language: str, low: int, high: int) -> str:
        """`low` to `high` words, often with a preposition or particle between two of them."""
        count = self.rng.randint(low, high)
        if language == "zh":
            parts = [self.chinese() for _ in range(count)]
            if count > 1 and self.rng.random() < 0.4:
                parts.insert(self.rng.randint(1, count - 1), self.rng.choice(_CHINESE_LINKS))
            return "".join(parts)
        parts = [self.adjective() if i + 1 < count and self.rng.random() < 0.45 else self.noun() for i in range(count)]
        if count > 2 and self.rng.random() < 0.4:
            parts.insert(self.rng.randint(1, count - 1), self.rng.choice(_LINKS))
        return " ".join(parts)

    def description(self, language: str) -> str:
        rng = self.rng
        if language == "zh":
            return rng.choice(_CHINESE_DESCRIPTIONS).format(*(self.chinese() for _ in range(3)))
        shape = rng.choice(_DESCRIPTIONS)
        first = self.adjective() if rng.random() < 0.5 else self.noun()
        return shape.format(first, self.noun(), rng.choice(words.VERBS), self.noun())

    def acronym(self) -> str:
        return "".join(self.rng.choices(string.ascii_uppercase, k=self.rng.choice((2, 3, 3, 3, 4, 4, 5))))

    def term(self, language: str) -> str:
        """What a question is about: an acronym, an invented word, a compound, a coded item."""
        draw = self.rng.random()
        if draw < 0.12:
            return self.acronym()
        return self._english_term(draw) if language == "en" else self._chinese_term(draw)

    def _english_term(self, draw: float) -> str:
        rng = self.rng
        if draw < 0.22:
            return self.invented()
        if draw < 0.3:
            return f"{self.noun()} {rng.choice(('of', 'in', 'for', 'with', 'to', 'on'))} {self.phrase('en', 1, 2)}"
        if draw < 0.36:
            return f"{rng.choice(_HEADS)} {self.code()}"
        if draw < 0.42:
            return f"{rng.choice(words.VERBS)}ing {self.phrase('en', 1, 2)}"
        return f"{self.phrase('en', 1, 2)} {rng.choice(_HEADS)}" if draw < 0.85 else self.phrase("en", 2, 3)

    def _chinese_term(self, draw: float) -> str:
        if draw < 0.18:
            return f"{self.acronym()}{self.rng.choice(_CHINESE_HEADS)}"
        if draw < 0.24:
            return f"{self.code()}{self.rng.choice(_CHINESE_HEADS)}"
        if draw < 0.36:
            return self.characters(2, 5)
        return self.phrase("zh", 1, 2) + self.rng.choice(_CHINESE_HEADS) if draw < 0.85 else self.phrase("zh", 2, 3)

    def worked_example(self, language: str) -> str:
        shapes, units = (_SUMS, _UNITS) if language == "en" else (_CHINESE_SUMS, _CHINESE_UNITS)
        noun = self.noun if language == "en" else self.chinese
        shape, a, b = self.rng.choice(shapes), self.number(), self.number()
        return shape.format(a=a, b=b, n=noun(), m=noun(), u=self.rng.choice(units))

    def quantity(self, language: str) -> str:
        rng = self.rng
        if language == "zh":
            unit, low, draw = rng.choice(_CHINESE_UNITS), self.number(), rng.random()
            if draw < 0.4:
                return f"{low}{unit}"
            if draw < 0.6:
                return f"{low}至{self.number()}{unit}"
            return f"{rng.choice(('至少', '不超过', '低于', '高于', '约', '每'))}{low}{unit}"
        unit, low, draw = rng.choice(_UNITS), self.number(), rng.random()
        if draw < 0.4:
            return f"{low} {unit}"
        if draw < 0.6:
            return f"{low} to {self.number()} {unit}"
        return f"{rng.choice(('at least', 'up to', 'below', 'above', 'about', 'within', 'every'))} {low} {unit}"

    def formula(self, language: str) -> str:
        one, two, three = (self.phrase(language, 1, 2) for _ in range(3))
        gap, minus, operations = (" ", "minus", _OPERATIONS) if language == "en" else ("", "减", _CHINESE_OPERATIONS)
        text = f"{one}{gap}{self.rng.choice(operations)}{gap}{two}"
        return f"{text}{gap}{minus}{gap}{three}" if self.rng.random() < 0.25 else text

    def answer(self, kind: str, language: str) -> str:
        """An answer of the kind that a relation asks for."""
        rng = self.rng
        if kind == "code":
            return self.code()
        if kind == "formula":
            return self.formula(language)
        if kind == "worked":
            return self.number() if rng.random() < 0.4 else self.quantity(language)
        if kind in ("number", "time"):
            return self.quantity(language) if rng.random() < 0.8 else self.phrase(language, 1, 4)
        if kind == "unit":
            return self.phrase(language, 1, 2) + ("/" + self.phrase(language, 1, 1) if rng.random() < 0.3 else "")
        if kind == "term":
            return self.term(language)
        if kind == "members":
            if language == "en":
                return f"{self.noun()}, {self.noun()} and {self.noun()}"
            return "、".join((self.chinese(), self.chinese(), self.chinese()))
        if kind in ("definition", "purpose", "cause", "action", "category") and rng.random() < 0.4:
            return self.description(language)
        return self.phrase(language, 1, 7 if rng.random() < 0.3 else 4)

    def fact(self) -> Fact:
        rng = self.rng
        relation, language = rng.choice(templates.RELATIONS), rng.choice(("en", "zh"))
        languages = ("en", "zh") if rng.random() < 0.15 else (language,)
        if relation.kind in ("expansion", "abbreviation"):
            letters, phrase = self._shortened(language)
            first, second = (letters, phrase) if relation.kind == "expansion" else (phrase, letters)
            return Fact(relation, first, second, languages)
        if relation.kind == "translation":
            if rng.random() < 0.5:
                return Fact(relation, self.term("en"), self.phrase("zh", 1, 3), languages)
            return Fact(relation, self.term("zh"), self.phrase("en", 1, 3), languages)
        if relation.kind in ("term", "worked"):
            term = self.description(language) if relation.kind == "term" else self.worked_example(language)
            return Fact(relation, term, self.answer(relation.kind, language), languages)
        term = self.term(language)
        aliased = language == "en" and term.count(" ") > 1 and rng.random() < 0.2
        return Fact(relation, term, self.answer(relation.kind, language), languages, initials(term) if aliased else "")

    def _shortened(self, language: str) -> tuple[str, str]:
        """Letters and the phrase that they stand for."""
        rng = self.rng
        phrase = self.phrase(language, 2, 5)
        letters = initials(phrase) if language == "en" else self.acronym()
        if language == "zh" and rng.random() < 0.4:
            letters = "".join(rng.sample(phrase, k=min(len(phrase), rng.randint(2, 3))))
        style = rng.random()
        if language == "en" and style < 0.3:
            phrase = phrase.title()
        elif style < 0.4:
            phrase = phrase.capitalize()
        return (letters.lower() if rng.random() < 0.1 else letters), phrase

    def personal(self) -> str:
        """Mostly a placeholder, else an invented name, number or address at example.com."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.75:
            return f"<{rng.choice(words.PLACEHOLDERS)}>"
        if draw < 0.85:
            return f"{self.invented().capitalize()} {self.invented().capitalize()}"
        if draw < 0.92:
            return rng.choice(_SURNAMES) + self.characters(1, 2)
        return (
            "".join(rng.choices(string.digits, k=rng.randint(3, 11)))
            if draw < 0.97
            else f"{self.invented()}@example.com"
        )

    def filled(self, forms: tuple[str, ...], language: str) -> str:
        english = language == "en"
        noun, adjective = (self.noun, self.adjective) if english else (self.chinese, self.chinese)
        text = self.rng.choice(forms)
        if "{d}" in text:
            text = text.replace("{d}", self.quantity(language))
        if "{v}" in text:
            text = text.replace("{v}", self.rng.choice(words.VERBS) if english else self.chinese())
        return text.replace("{n}", noun()).replace("{m}", noun()).replace("{a}", adjective())

    def wording(self, relation: templates.Relation, language: str) -> str:
        """One way to ask, with `{x}` where the term goes."""
        rng, english = self.rng, language == "en"
        own, names = (
            (relation.english, relation.english_names) if english else (relation.chinese, relation.chinese_names)
        )
        frames = templates.ENGLISH_FRAMES if english else templates.CHINESE_FRAMES
        draw = rng.random()
        if draw < 0.36:
            return rng.choice(own)
        if draw < 0.4:
            name = rng.choice(names).removeprefix("the ")
            telegraphic = (f"{{x}} {name}", f"{name} {{x}}", f"{name}: {{x}}", f"{{x}}, {name}")
            return rng.choice(telegraphic if english else (f"{{x}}{name}", f"{name} {{x}}"))
        if draw < 0.66:
            return rng.choice(frames).replace("{r}", rng.choice(names))
        plain = rng.choice(own) if draw < 0.86 else rng.choice(frames).replace("{r}", rng.choice(names))
        if english:
            scene = self.filled(templates.ENGLISH_SCENES, language)
            return f"{scene} {plain.replace('{x}', rng.choice(('it', 'this', 'that')))}"
        return self.filled(templates.CHINESE_SCENES, language) + plain.replace("{x}", rng.choice(("它", "这", "其")))

    def question(self, fact: Fact) -> str:
        """The fact asked in a fresh wording, with unrelated sentences and personal data around it at times."""
        rng = self.rng
        language = rng.choice(fact.languages)
        english = language == "en"
        asked, draw, lower = self.wording(fact.relation, language), rng.random(), rng.random() < 0.5
        if english and draw < 0.45 and lower and asked[0] != "{":
            asked = asked[0].lower() + asked[1:]
        term = fact.term
        if fact.alias and rng.random() < 0.6:
            term = rng.choice((fact.alias, f"{term} ({fact.alias})", f"{fact.alias} ({term})"))
        if asked.startswith("{x}") and draw >= 0.45 and term[:1].islower() and lower:
            term = term[0].upper() + term[1:]
        text = asked.replace("{x}", term)
        while rng.random() < 0.28:
            noise = self.filled(templates.ENGLISH_NOISE if english else templates.CHINESE_NOISE, language)
            gap = " " if english else ""
            text = text + gap + noise if noise[-1] in ".。" and rng.random() < 0.3 else noise + gap + text
        if not english and rng.random() < 0.7:
            text = text.translate(_FULL_WIDTH)
        if draw < 0.17:
            return rng.choice(templates.ENGLISH_WRAPS if english else templates.CHINESE_WRAPS).replace("{q}", text)
        if draw < 0.45:
            wrapped = rng.choice(templates.ENGLISH_CONTEXTS if english else templates.CHINESE_CONTEXTS)
            while "{p}" in wrapped:
                wrapped = wrapped.replace("{p}", self.personal(), 1)
            return wrapped.replace("{q}", text)
        return text
