"""The generated text: a made-up world of terms with one answer each, asked in many wordings, and drills that need no knowledge.

Nothing here states a fact about the real world. A world is drawn once from a seed and then memorized; the drills (copying, look-up in
the conversation, small sums, word pairs) make the model read any key term and write any answer, which is what an adapter builds on.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sdk.base import templates, words

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant` or `text`) and its content."""

_HEADS = """ratio rate test index value margin form report rule score level fund plan account method scale code class limit ledger review
survey cycle factor standard phase signal grade policy order chart notice model unit process system program zone gate fee charge period
statement pressure syndrome reaction count screen dose check list note bond share reserve balance yield cost risk""".split()
_CHINESE_HEADS = """率 比率 比例 表 法 值 试验 单 指数 制度 期 费 量 线 检查 报告 计划 账户 等级 标准 系数 公式 周期 规则 程序 模型 系统 单位 测试 基金
合同 风险 成本 收益 压力 综合征 反应 剂量 评分 证书 信号 处方 目录 协议 限额 指标 原则 业务 条款 现象 通知书 登记表 账单""".split()
_UNITS = "units points days hours minutes weeks months years percent grams liters meters degrees pages steps times dollars".split()
_CHINESE_UNITS = "个 天 小时 分钟 周 个月 年 % 克 毫升 米 度 页 次 元 万元 人 分 级 倍".split()
_ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w y z".split()
_VOWELS = "a e i o u ai ea ee io oa ou y".split()
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "x", "nd", "st", "rk", "c", "ph", "th"]
_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
_EXPRESSIONS = ["{a} {n} at {b} {u}", "{n} {a}, {m} {b}", "{n} of {a} and {m} of {b}", "{a} {n} with {b} {m}", "{n} {a} over {m} {b}"]
_CHINESE_EXPRESSIONS = ["{n}{a}{u},{m}{b}{u}", "{n}为{a},{m}为{b}", "{a}{u}{n}和{b}{u}{m}", "{n}{a},{m}{b}"]
_FULL_WIDTH = str.maketrans({mark: chr(ord(mark) + 0xFEE0) for mark in "?,:()"})
LEVEL_1 = bytes(b for hi in range(0xB0, 0xD8) for lo in range(0xA1, 0xFF) for b in (hi, lo)).decode("gb2312", "ignore")


@dataclass(frozen=True)
class Fact:
    """One made-up answer to one relation of one term; `languages` are those in which it is asked."""

    relation: templates.Relation
    term: str
    answer: str
    languages: tuple[str, ...]


class Maker:
    """Draws words, terms, answers and questions; the same seed gives the same text."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)

    # -- words -------------------------------------------------------------------------------------------------
    def invented(self) -> str:
        rng = self.rng
        parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4)))]
        return "".join(parts)

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
        shapes = (f"{letter}{digits}", f"{letter}{digits}.{rng.randint(0, 9)}", f"{digits}-{letter}", str(rng.randint(100, 99999)),
                  f"{letter}{rng.choice(string.ascii_uppercase)}-{digits}", f"{letter}{digits}.{rng.randint(10, 99)}{letter}",
                  f"Form {rng.randint(1, 40)}-{letter}", f"{rng.randint(1, 9)} {letter}.{digits}")  # fmt: skip
        return rng.choice(shapes)

    # -- phrases -----------------------------------------------------------------------------------------------
    def english_phrase(self, low: int, high: int) -> str:
        count = self.rng.randint(low, high)
        parts = [self.adjective() if i + 1 < count and self.rng.random() < 0.45 else self.noun() for i in range(count)]
        if count > 2 and self.rng.random() < 0.4:
            parts.insert(self.rng.randint(1, count - 1), self.rng.choice(("of", "and", "for", "with", "to", "in", "by", "per", "before", "after", "from", "on")))
        return " ".join(parts)

    def chinese_phrase(self, low: int, high: int) -> str:
        count = self.rng.randint(low, high)
        parts = [self.chinese() for _ in range(count)]
        if count > 1 and self.rng.random() < 0.4:
            parts.insert(self.rng.randint(1, count - 1), self.rng.choice(("的", "和", "与", "或", "后", "前", "对", "及", "不", "以", "为", "在", "由")))
        return "".join(parts)

    def phrase(self, language: str, low: int, high: int) -> str:
        return self.english_phrase(low, high) if language == "en" else self.chinese_phrase(low, high)

    def description(self, language: str) -> str:
        rng = self.rng
        if language == "en":
            return rng.choice(("the {} of a {}", "a {} {} that can {} the {}", "{} {} used to {} {}", "{} {} {} of the {}", "{} that {}s a {}", "how {} the {} is")).format(
                *(self.adjective() if i == 0 and rng.random() < 0.5 else rng.choice(words.VERBS) if i == 2 else self.noun() for i in range(4)))  # fmt: skip
        return rng.choice(("{}的{}", "用于{}的{}", "{}与{}之间的{}", "对{}进行{}的{}", "{}后{}的{}", "能够{}{}的{}")).format(*(self.chinese() for _ in range(3)))

    # -- terms and answers -------------------------------------------------------------------------------------
    def acronym(self) -> str:
        return "".join(self.rng.choices(string.ascii_uppercase, k=self.rng.choice((2, 3, 3, 3, 4, 4, 5))))

    def term(self, language: str) -> str:
        rng = self.rng
        draw = rng.random()
        if draw < 0.12:
            return self.acronym()
        if language == "en":
            if draw < 0.22:
                return self.invented()
            if draw < 0.3:
                return f"{self.noun()} {rng.choice(('of', 'in', 'for', 'with', 'to', 'on'))} {self.english_phrase(1, 2)}"
            if draw < 0.36:
                return f"{rng.choice(_HEADS)} {self.code()}"
            if draw < 0.42:
                return f"{rng.choice(words.VERBS)}ing {self.english_phrase(1, 2)}"
            return f"{self.english_phrase(1, 2)} {rng.choice(_HEADS)}" if draw < 0.85 else self.english_phrase(2, 3)
        if draw < 0.18:
            return f"{self.acronym()}{rng.choice(_CHINESE_HEADS)}"
        if draw < 0.24:
            return f"{self.code()}{rng.choice(_CHINESE_HEADS)}"
        if draw < 0.36:
            return self.characters(2, 5)
        return self.chinese_phrase(1, 2) + rng.choice(_CHINESE_HEADS) if draw < 0.85 else self.chinese_phrase(2, 3)

    def worked_example(self, language: str) -> str:
        rng = self.rng
        shape, units = (rng.choice(_EXPRESSIONS), _UNITS) if language == "en" else (rng.choice(_CHINESE_EXPRESSIONS), _CHINESE_UNITS)
        noun = self.noun if language == "en" else self.chinese
        return shape.format(a=self.number(), b=self.number(), n=noun(), m=noun(), u=rng.choice(units))

    def quantity(self, language: str) -> str:
        rng = self.rng
        unit, low = rng.choice(_UNITS if language == "en" else _CHINESE_UNITS), self.number()
        gap = " " if language == "en" else ""
        draw = rng.random()
        if draw < 0.4:
            return f"{low}{gap}{unit}"
        if draw < 0.6:
            return f"{low} to {self.number()} {unit}" if language == "en" else f"{low}至{self.number()}{unit}"
        return f"{rng.choice(('at least', 'up to', 'below', 'above', 'about', 'within', 'every'))} {low} {unit}" if language == "en" else f"{rng.choice(('至少', '不超过', '低于', '高于', '约', '每'))}{low}{unit}"

    def formula(self, language: str) -> str:
        one, two, three = (self.phrase(language, 1, 2) for _ in range(3))
        operation = self.rng.choice(("divided by", "minus", "plus", "times", "multiplied by", "over") if language == "en" else ("除以", "减", "加", "乘以", "减去", "加上"))
        gap = " " if language == "en" else ""
        text = f"{one}{gap}{operation}{gap}{two}"
        if self.rng.random() < 0.25:
            text += f"{gap}{'minus' if language == 'en' else '减'}{gap}{three}"
        return text

    def answer(self, kind: str, language: str) -> str:
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
            return f"{self.noun()}, {self.noun()} and {self.noun()}" if language == "en" else "、".join((self.chinese(), self.chinese(), self.chinese()))
        if kind in ("definition", "purpose", "cause", "action", "category") and rng.random() < 0.4:
            return self.description(language)
        return self.phrase(language, 1, 5) if language == "en" else self.phrase(language, 1, 4)

    def fact(self) -> Fact:
        rng = self.rng
        relation = rng.choice(templates.RELATIONS)
        language = rng.choice(("en", "zh"))
        both = rng.random() < 0.15
        languages = ("en", "zh") if both else (language,)
        if relation.kind in ("expansion", "abbreviation"):
            phrase = self.phrase(language, 2, 5)
            letters = "".join(w[0] for w in phrase.split() if w not in ("of", "and", "for", "to", "in")).upper() if language == "en" else self.acronym()
            if language == "zh" and rng.random() < 0.4:
                letters = "".join(rng.sample(phrase, k=min(len(phrase), rng.randint(2, 3))))
            style = rng.random()
            phrase = phrase.title() if language == "en" and style < 0.3 else phrase.capitalize() if style < 0.4 else phrase
            if rng.random() < 0.1:
                letters = letters.lower()
            pair = (letters, phrase) if relation.kind == "expansion" else (phrase, letters)
            return Fact(relation, *pair, languages)
        if relation.kind == "translation":
            pair = (self.term("en"), self.chinese_phrase(1, 3)) if rng.random() < 0.5 else (self.term("zh"), self.english_phrase(1, 3))
            return Fact(relation, *pair, languages)
        term = self.description(language) if relation.kind == "term" else self.worked_example(language) if relation.kind == "worked" else self.term(language)
        return Fact(relation, term, self.answer(relation.kind, language), languages)

    # -- questions ---------------------------------------------------------------------------------------------
    def personal(self) -> str:
        rng = self.rng
        draw = rng.random()
        if draw < 0.75:
            return f"<{rng.choice(words.PLACEHOLDERS)}>"
        if draw < 0.85:
            return f"{self.invented().capitalize()} {self.invented().capitalize()}"
        if draw < 0.92:
            return rng.choice(_SURNAMES) + self.characters(1, 2)
        return "".join(rng.choices(string.digits, k=rng.randint(3, 11))) if draw < 0.97 else f"{self.invented()}@example.com"

    def wording(self, relation: templates.Relation, language: str) -> str:
        rng = self.rng
        own, names, frames = (
            (relation.english, relation.english_names, templates.ENGLISH_FRAMES)
            if language == "en"
            else (relation.chinese, relation.chinese_names, templates.CHINESE_FRAMES)
        )
        draw = rng.random()
        if draw < 0.42:
            return rng.choice(own)
        if draw < 0.75:
            return rng.choice(frames).replace("{r}", rng.choice(names))
        plain = rng.choice(own) if draw < 0.9 else rng.choice(frames).replace("{r}", rng.choice(names))
        if language == "en":
            return f"{self.filled(templates.ENGLISH_SCENES, language)} {plain.replace('{x}', rng.choice(('it', 'this', 'that')))}"
        return self.filled(templates.CHINESE_SCENES, language) + plain.replace("{x}", rng.choice(("它", "这", "其")))

    def filled(self, forms: tuple[str, ...], language: str) -> str:
        noun, adjective = (self.noun, self.adjective) if language == "en" else (self.chinese, self.chinese)
        return self.rng.choice(forms).replace("{n}", noun()).replace("{m}", noun()).replace("{a}", adjective())

    def question(self, fact: Fact) -> str:
        rng = self.rng
        language = rng.choice(fact.languages)
        asked = self.wording(fact.relation, language)
        draw, lower = rng.random(), rng.random() < 0.5
        wraps = contexts = ("",)
        if draw < 0.45:
            wraps, contexts = (templates.ENGLISH_WRAPS, templates.ENGLISH_CONTEXTS) if language == "en" else (templates.CHINESE_WRAPS, templates.CHINESE_CONTEXTS)
            if lower and asked[0] != "{" and language == "en":
                asked = asked[0].lower() + asked[1:]
        term = fact.term
        if asked.startswith("{x}") and draw >= 0.45 and term[:1].islower() and lower:
            term = term[0].upper() + term[1:]
        text = asked.replace("{x}", term)
        if rng.random() < 0.2:
            noise = self.filled(templates.ENGLISH_NOISE if language == "en" else templates.CHINESE_NOISE, language)
            gap = " " if language == "en" else ""
            text = text + gap + noise if noise[-1] in ".。" and rng.random() < 0.3 else noise + gap + text
        if language == "zh" and rng.random() < 0.7:
            text = text.translate(_FULL_WIDTH)
        if draw < 0.17:
            return rng.choice(wraps).replace("{q}", text)
        if draw < 0.45:
            wrapped = rng.choice(contexts)
            while "{p}" in wrapped:
                wrapped = wrapped.replace("{p}", self.personal(), 1)
            return wrapped.replace("{q}", text)
        return text


class World:
    """The facts of one seed. `conversation` draws one document of the pretraining mixture."""

    def __init__(self, seed: int, facts: int) -> None:
        maker = Maker(seed)
        found: dict[tuple[str, str], Fact] = {}
        while len(found) < facts:
            fact = maker.fact()
            found.setdefault((fact.relation.kind, fact.term), fact)
        self.facts = list(found.values())


def _ask(maker: Maker, fact: Fact) -> list[Turn]:
    return [("user", maker.question(fact)), ("assistant", fact.answer)]


def recall(maker: Maker, world: World) -> list[Turn]:
    """One or a few memorized facts, each in a fresh wording."""
    turns: list[Turn] = []
    for _ in range(1 if maker.rng.random() < 0.85 else maker.rng.randint(2, 4)):
        turns += _ask(maker, maker.rng.choice(world.facts))
    return turns


def look_up(maker: Maker, _: World) -> list[Turn]:
    """New facts stated in the prompt or in earlier turns, then asked in another wording."""
    rng = maker.rng
    facts = [maker.fact() for _ in range(rng.randint(2, 5))]
    if rng.random() < 0.5:
        turns = [turn for fact in facts for turn in _ask(maker, fact)]
        for fact in rng.sample(facts, k=2):
            turns += _ask(maker, fact)
        return turns
    joiner = rng.choice((": ", " = ", " - ", " is ", ":"))
    lines = rng.choice(("\n", "; ")).join(fact.term + joiner + fact.answer for fact in facts)
    asked = rng.sample(facts, k=2)
    return [("user", f"{lines}\n{maker.question(asked[0])}"), ("assistant", asked[0].answer), *_ask(maker, asked[1])]


def _strings(maker: Maker) -> list[str]:
    rng = maker.rng
    kinds: tuple[Callable[[], str], ...] = (
        maker.noun, maker.invented, maker.chinese, maker.code, maker.number, maker.personal, maker.acronym,
        lambda: rng.choice(words.ENGLISH_WORDS), lambda: maker.characters(1, 4), lambda: rng.choice(words.VERBS),
    )  # fmt: skip
    same = rng.choice(kinds)
    mixed = rng.random() < 0.5
    return [(rng.choice(kinds) if mixed else same)() for _ in range(rng.randint(1, 7))]


def manipulate(maker: Maker, _: World) -> list[Turn]:
    """Copy, pick from, turn round or continue a list of random strings."""
    rng = maker.rng
    items = _strings(maker)
    text = " ".join(items)
    tasks = (
        (("Repeat: {}", "Copy this: {}", "复述:{}", "重复:{}", "Say {}", "照抄:{}"), text),
        (("First of: {}", "第一个:{}", "Which comes first: {}?"), items[0]),
        (("Last of: {}", "最后一个:{}", "Which comes last: {}?"), items[-1]),
        (("Reverse: {}", "倒序:{}"), " ".join(reversed(items))),
        (("Upper case: {}", "大写:{}"), text.upper()),
        (("Join with commas: {}", "用逗号连接:{}"), ",".join(items)),
        (("How many: {}?", "几个:{}?"), str(len(items))),
        (("Go on: {}", "继续:{}"), text),
        (("Drop the first: {}", "去掉第一个:{}"), " ".join(items[1:]) or "-"),
    )
    prompts, answer = rng.choice(tasks) if rng.random() < 0.6 else tasks[0]
    shown = f"{text} {text} {text[: len(text) // 2]}" if prompts[0].startswith("Go on") else text
    return [("user", rng.choice(prompts).format(shown)), ("assistant", answer)]


def arithmetic(maker: Maker, _: World) -> list[Turn]:
    """One small exact sum."""
    rng = maker.rng
    a, b = rng.randint(0, 200), rng.randint(1, 40)
    sign, value = rng.choice((("+", a + b), ("-", a - b), ("*", a * b)))
    if rng.random() < 0.3:
        sign, a, value = "/", a * b, a
    names = {"+": ("plus", "加"), "-": ("minus", "减"), "*": ("times", "乘以"), "/": ("divided by", "除以")}[sign]
    asked = rng.choice((f"{a} {sign} {b} = ?", f"What is {a} {names[0]} {b}?", f"{a}{names[1]}{b}等于多少?", f"Calculate {a}{sign}{b}.", f"计算{a}{sign}{b}"))
    return [("user", asked), ("assistant", str(value))]


def word_pair(maker: Maker, _: World) -> list[Turn]:
    """One common word in the other language."""
    english, chinese = maker.rng.choice(words.PAIRS)
    if maker.rng.random() < 0.5:
        return [("user", maker.rng.choice(("{} in Chinese", "Translate to Chinese: {}", "{}用中文怎么说?", "What is the Chinese word for {}?")).format(english)), ("assistant", chinese)]
    return [("user", maker.rng.choice(("{}用英文怎么说?", "翻译成英文:{}", "{} in English", "What does {} mean in English?")).format(chinese)), ("assistant", english)]


def choose(maker: Maker, world: World) -> list[Turn]:
    """A memorized fact with its answer among others."""
    fact = maker.rng.choice(world.facts)
    others = [fact.answer, maker.rng.choice(world.facts).answer, maker.rng.choice(world.facts).answer]
    maker.rng.shuffle(others)
    options = " / ".join(others)
    return [("user", f"{maker.question(fact)} {options}"), ("assistant", fact.answer)]


def prose(maker: Maker, world: World) -> list[Turn]:
    """Plain sentences and dictionary lines."""
    rng = maker.rng
    sentences = []
    for _ in range(rng.randint(1, 4) if rng.random() < 0.95 else rng.randint(15, 40)):
        draw = rng.random()
        if draw < 0.3:
            sentences.append(f"The {maker.english_phrase(1, 2)} {rng.choice(('may', 'can', 'will', 'did not', 'should', 'must'))} {rng.choice(words.VERBS)} {rng.choice(('a', 'the', 'every', 'no', 'this', 'our'))} {maker.english_phrase(1, 3)}.")
        elif draw < 0.5:
            sentences.append(f"{maker.chinese()}{rng.choice(('在', '把', '被', '对', '和', '让', '给', '从'))}{maker.chinese()}{rng.choice(('里', '上', '后', '前', '中', '了', '都', '才'))}{maker.chinese_phrase(1, 3)}。")
        elif draw < 0.75:
            fact = rng.choice(world.facts)
            sentences.append(f"{fact.term}: {fact.answer}.")
        else:
            sentences.append(" ".join(rng.choice(words.ENGLISH_WORDS) for _ in range(rng.randint(3, 10))) + ".")
    return [("text", " ".join(sentences))]


_SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "Answer with the shortest exact answer.", "你是一名助手,请简短回答。", "请只给出答案。",
            "You answer questions about {}. Be brief and exact.", "You are an assistant for {}.", "你是{}助手,回答要简短准确。", "Reply in the language of the question.",
            "Give only the answer, nothing else.", "You are a careful {} assistant. Give short, exact answers.")  # fmt: skip
_MIXTURE: tuple[tuple[float, Callable[[Maker, World], list[Turn]]], ...] = (
    (0.56, recall), (0.16, look_up), (0.09, manipulate), (0.05, arithmetic), (0.04, word_pair), (0.04, choose), (0.06, prose),
)  # fmt: skip


def conversation(maker: Maker, world: World) -> list[Turn]:
    """One document of the mixture, one in seven with a system turn."""
    kinds = [kind for _, kind in _MIXTURE]
    (kind,) = maker.rng.choices(kinds, weights=[share for share, _ in _MIXTURE])
    turns = kind(maker, world)
    if turns[0][0] != "text" and maker.rng.random() < 0.14:
        turns.insert(0, ("system", maker.rng.choice(_SYSTEMS).replace("{}", maker.noun() if maker.rng.random() < 0.6 else maker.chinese())))
    return turns
