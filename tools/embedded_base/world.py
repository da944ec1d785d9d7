"""The generated text: a made-up world of terms with one answer each, and drills that need no knowledge.

Nothing here states a fact about the real world. A world is drawn once from a seed and then memorized, asked in many
wordings; the drills (copying, look-up in the conversation, small sums, word pairs) make the model read any key term and
write any answer, which is what an adapter builds on.
"""

from __future__ import annotations

from collections.abc import Callable

from tools.embedded_base import words
from tools.embedded_base.maker import Fact, Maker

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant` or `text`) and its content."""

_SYSTEMS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Answer with the shortest exact answer.",
    "你是一名助手,请简短回答。",
    "请只给出答案。",
    "You answer questions about {}. Be brief and exact.",
    "You are an assistant for {}.",
    "你是{}助手,回答要简短准确。",
    "Reply in the language of the question.",
    "Give only the answer, nothing else.",
    "You are a careful {} assistant. Give short, exact answers.",
)
_TO_CHINESE = ("{} in Chinese", "Translate to Chinese: {}", "{}用中文怎么说?", "What is the Chinese word for {}?")
_TO_ENGLISH = ("{}用英文怎么说?", "翻译成英文:{}", "{} in English", "What does {} mean in English?")


class World:
    """The facts of one seed, no term with two answers to one relation."""

    def __init__(self, seed: int, facts: int) -> None:
        maker = Maker(seed)
        found: dict[tuple[str, str], Fact] = {}
        while len(found) < facts:
            fact = maker.fact()
            found.setdefault((fact.relation.kind, fact.term), fact)
        self.facts = list(found.values())


def _ask(maker: Maker, fact: Fact) -> list[Turn]:
    return [("user", maker.question(fact)), ("assistant", fact.answer)]


def _recall(maker: Maker, world: World) -> list[Turn]:
    """One or a few memorized facts, each in a fresh wording."""
    turns: list[Turn] = []
    for _ in range(1 if maker.rng.random() < 0.85 else maker.rng.randint(2, 4)):
        turns += _ask(maker, maker.rng.choice(world.facts))
    return turns


def _look_up(maker: Maker, _: World) -> list[Turn]:
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
        maker.noun,
        maker.invented,
        maker.chinese,
        maker.code,
        maker.number,
        maker.personal,
        maker.acronym,
        lambda: rng.choice(words.ENGLISH_WORDS),
        lambda: maker.characters(1, 4),
        lambda: rng.choice(words.VERBS),
    )
    same = rng.choice(kinds)
    mixed = rng.random() < 0.5
    return [(rng.choice(kinds) if mixed else same)() for _ in range(rng.randint(1, 7))]


def _manipulate(maker: Maker, _: World) -> list[Turn]:
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


def _arithmetic(maker: Maker, _: World) -> list[Turn]:
    """One small exact sum."""
    rng = maker.rng
    a, b = rng.randint(0, 200), rng.randint(1, 40)
    sign, value = rng.choice((("+", a + b), ("-", a - b), ("*", a * b)))
    if rng.random() < 0.3:
        sign, a, value = "/", a * b, a
    names = {"+": ("plus", "加"), "-": ("minus", "减"), "*": ("times", "乘以"), "/": ("divided by", "除以")}[sign]
    wordings = (
        f"{a} {sign} {b} = ?",
        f"What is {a} {names[0]} {b}?",
        f"{a}{names[1]}{b}等于多少?",
        f"Calculate {a}{sign}{b}.",
        f"计算{a}{sign}{b}",
    )
    return [("user", rng.choice(wordings)), ("assistant", str(value))]


def _word_pair(maker: Maker, _: World) -> list[Turn]:
    """One common word in the other language."""
    english, chinese = maker.rng.choice(words.PAIRS)
    if maker.rng.random() < 0.5:
        return [("user", maker.rng.choice(_TO_CHINESE).format(english)), ("assistant", chinese)]
    return [("user", maker.rng.choice(_TO_ENGLISH).format(chinese)), ("assistant", english)]


def _choose(maker: Maker, world: World) -> list[Turn]:
    """A memorized fact with its answer among others."""
    fact = maker.rng.choice(world.facts)
    options = [fact.answer, maker.rng.choice(world.facts).answer, maker.rng.choice(world.facts).answer]
    maker.rng.shuffle(options)
    return [("user", f"{maker.question(fact)} {' / '.join(options)}"), ("assistant", fact.answer)]


def _sentence(maker: Maker, world: World) -> str:
    rng = maker.rng
    draw = rng.random()
    if draw < 0.3:
        subject, helper = maker.phrase("en", 1, 2), rng.choice(("may", "can", "will", "did not", "should", "must"))
        verb, article = rng.choice(words.VERBS), rng.choice(("a", "the", "every", "no", "this", "our"))
        return f"The {subject} {helper} {verb} {article} {maker.phrase('en', 1, 3)}."
    if draw < 0.5:
        subject, link = maker.chinese(), rng.choice(("在", "把", "被", "对", "和", "让", "给", "从"))
        thing, particle = maker.chinese(), rng.choice(("里", "上", "后", "前", "中", "了", "都", "才"))
        return f"{subject}{link}{thing}{particle}{maker.phrase('zh', 1, 3)}。"
    if draw < 0.75:
        fact = rng.choice(world.facts)
        return f"{fact.term}: {fact.answer}."
    return " ".join(rng.choice(words.ENGLISH_WORDS) for _ in range(rng.randint(3, 10))) + "."


def _prose(maker: Maker, world: World) -> list[Turn]:
    """Plain sentences and dictionary lines."""
    count = maker.rng.randint(1, 4) if maker.rng.random() < 0.95 else maker.rng.randint(15, 40)
    return [("text", " ".join(_sentence(maker, world) for _ in range(count)))]


_MIXTURE: dict[Callable[[Maker, World], list[Turn]], float] = {
    _recall: 0.56,
    _look_up: 0.16,
    _manipulate: 0.09,
    _arithmetic: 0.05,
    _word_pair: 0.04,
    _choose: 0.04,
    _prose: 0.06,
}


def conversation(maker: Maker, world: World) -> list[Turn]:
    """One document of the mixture, one in seven with a system turn."""
    (kind,) = maker.rng.choices(list(_MIXTURE), weights=list(_MIXTURE.values()))
    turns = kind(maker, world)
    if turns[0][0] != "text" and maker.rng.random() < 0.14:
        system = maker.rng.choice(_SYSTEMS)
        topic = maker.noun() if maker.rng.random() < 0.6 else maker.chinese()
        turns.insert(0, ("system", system.replace("{}", topic)))
    return turns
