"""The name tagger: texts to spans of names, and the recognizer that Presidio sees.

Tokens (tokens.py) go through the network (network.py), which scores for each token the labels O, B-PERSON, I-PERSON and
so on. Neighbouring labels are joined to spans; rules on form, repetition and titles then add and drop some.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from sdk.scrub.find.chinese_names import COMPOUND_SURNAMES, SURNAMES
from sdk.scrub.find.tagger.chinese_forms import shortened, without_words
from sdk.scrub.find.tagger.network import Network
from sdk.scrub.find.tagger.ordinary import OrdinaryWords
from sdk.scrub.find.tagger.tokens import FLAGS, HAN, Floats, Tokens, bigrams, lexicon_flags, styles, tokenize
from sdk.scrub.spans import Span

WEIGHTS = Path(__file__).with_name("weights.npz")
KINDS = ("PERSON", "LOCATION", "ORGANIZATION", "NRP", "TITLE")
BLOCK = 2048  # tokens that go through the network at a time
REPEAT_SCORE = 0.6  # a name this sure is looked for in the rest of its text
_TITLE = re.compile(
    r"(?<![^\W_])(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Professor|Sir|Madam|Rev|Fr|Hon|Capt|Lt|Sgt|Col|Gen|Judge|Justice)\b\.?"
    r"(?=[ \t]{1,2}\Z)"
)
# what stands before it is its label
_NUMBER = re.compile(r"[ :#.]{1,3}(?:(?:is|no|number|code|id)[ :#.]{1,2})?[A-Z+*]{0,5}[0-9]")
_HAN_ONLY = re.compile(rf"[{HAN}]+")
_ZH_PREFIXES = ("老", "小", "阿")
_ZH_TITLE = re.compile(
    "先生|女士|小姐|老师|医生|大夫|护士|主任|经理|师傅|教授|博士|院长|局长|处长|科长|部长|校长|所长|书记|主席|总|董|工|某|氏|"
    "阿姨|叔|伯|哥|姐|弟|妹|爷|奶|婶|嫂|同学|同志|法官|律师|警官|队|导|老|太|家|姓|公|将军|探长|掌柜|员外|姑娘|师兄|师弟|师父|师叔"
)
_ZH_LONG_TITLE = re.compile("先生|女士|小姐|老师|医生|大夫|护士|主任|经理|师傅|教授|博士|院长|局长|阿姨|律师|警官|法官")
_ABBREVIATED = frozenset({"Jr.", "Sr.", "Inc.", "Ltd.", "Co.", "Corp."})
_EDGE = "'’\"“”‘.,;:-–—()[]@#&/*|_ "


@functools.lru_cache(maxsize=1)
def shared_network() -> Network:
    return Network(WEIGHTS)


class NameTagger:
    """Finds names: the same in the same text on every machine, alone or among others, whole or in blocks."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or shared_network()
        self.block = BLOCK

    def find_many(self, texts: Sequence[str]) -> list[list[Span]]:
        tokens = [tokenize(text) for text in texts]
        probabilities = self._probabilities(texts, tokens)
        found = []
        position = 1
        for text, mine in zip(texts, tokens, strict=True):
            rows = probabilities[position : position + len(mine.words)]
            found.append(self._spans(text, mine, rows))
            position += len(mine.words) + 1
        return found

    def _probabilities(self, texts: Sequence[str], tokens: Sequence[Tokens]) -> Floats:
        """Return the labels' probabilities: a row a token, of all texts, with one row between two texts.

        Long inputs go through the network in blocks. Each block has so many further tokens to either side as a label
        can depend on (`reach`), and only its own rows are kept, so the division changes nothing.
        """
        words, line_styles, glued = [""], [0], [0]
        pairs: list[str | None] = [None]
        flags: list[tuple[int, int]] = []
        for text, mine in zip(texts, tokens, strict=True):
            offset = len(words)
            if not text.isascii():
                at = {start: offset + i for i, (start, _) in enumerate(mine.spans)}
                flags += [(at[place], flag) for place, flag in lexicon_flags(text, self.network.words)]
                pairs += bigrams(mine.words)
            else:
                pairs += [None] * len(mine.words)
            words += mine.words
            line_styles += styles(text, mine.spans)
            glued += [0, *(a[1] == b[0] for a, b in zip(mine.spans, mine.spans[1:], strict=False))][: len(mine.words)]
            words.append("")
            pairs.append(None)
            line_styles.append(0)
            glued.append(0)
        type_rows, pair_rows = self.network.type_rows(words), self.network.pair_rows(pairs)
        style_rows, glued_rows = np.array(line_styles, np.int32), np.array(glued, np.float32)
        flag_array = np.zeros((len(words), FLAGS), np.uint8) if flags else None
        if flag_array is not None:
            places = np.array(flags, np.int32)
            flag_array[places[:, 0], places[:, 1]] = 1
        parts, reach = [], self.network.reach
        for begin in range(0, len(words), self.block):
            first, last = max(0, begin - reach), min(len(words), begin + self.block + reach)
            flag_rows = None if flag_array is None else flag_array[first:last].astype(np.float32)
            logits = self.network.logits(
                type_rows[first:last], pair_rows[first:last], flag_rows, style_rows[first:last], glued_rows[first:last]
            )
            parts.append(logits[begin - first : begin - first + self.block])
        rows: Floats = np.concatenate(parts)
        rows -= rows.max(axis=1, keepdims=True)
        np.exp(rows, out=rows)
        rows /= rows.sum(axis=1, keepdims=True)
        return rows

    def _spans(self, text: str, tokens: Tokens, rows: Floats) -> list[Span]:
        """Join the likeliest labels to spans; a span's score is that of its surest token not to be O."""
        weighted = rows * self.network.label_weights
        labels = weighted.argmax(axis=1)
        named = np.flatnonzero(labels)
        if not len(named):
            return []
        spans: list[tuple[int, int, str, float]] = []
        last = -2
        for i in named.tolist():
            edge, kind = self.network.labels[labels[i]].split("-")
            start, end = tokens.spans[i]
            score = 1.0 - float(rows[i, 0])
            if edge == "I" and spans and last == i - 1 and spans[-1][2] == kind:
                spans[-1] = (spans[-1][0], end, kind, max(score, spans[-1][3]))
            else:
                spans.append((start, end, kind, score))
            last = i
        trimmed = [span for s in spans if (span := _trimmed(text, *s)) is not None]
        found = [span for span in trimmed if not self._doubtful(text, span)]
        ordinary = OrdinaryWords(text, self.network)
        found = ordinary.titled(ordinary.without(found))
        if not text.isascii():
            found = self._without_chinese_words(text, found)
        found = [*found, *ordinary.without(_repeats(text, found))]
        return sorted([*found, *_titles(text, found)], key=lambda s: s.start)

    def _without_chinese_words(self, text: str, found: Sequence[Span]) -> list[Span]:
        found = [shortened(text, s, _ZH_LONG_TITLE) if s.entity_type == "PERSON" else s for s in found]
        titled = [_has_chinese_title(text, span) for span in found]
        return without_words(text, found, self.network.words, titled)

    def _doubtful(self, text: str, span: Span) -> bool:
        """Tell whether its form speaks against a span.

        An abbreviation, an ordinary word in small letters or a Chinese person without a surname has to be surer.
        """
        value = text[span.start : span.end]
        if span.entity_type in ("PERSON", "LOCATION") and value.isascii() and value.isalpha():
            if value.isupper() and len(value) < 6:
                if _NUMBER.match(text, span.end):
                    return True
                return not text.isupper() and span.score < 0.95 and not self.network.is_name(value)
            if value.islower() and self.network.is_word(value):
                return span.score < 0.95
        if span.entity_type != "PERSON" or not _HAN_ONLY.fullmatch(value):
            return False
        if len(value) == 1:
            titled = _ZH_TITLE.match(text, span.end) or text[max(0, span.start - 1) : span.start] in _ZH_PREFIXES
            return value not in SURNAMES or span.score < (0.5 if titled else 0.93)
        known = self.network.words.get(value)
        if known is not None and known % 4 == 0:
            return span.score < 0.9
        if value[0] not in SURNAMES and value[:2] not in COMPOUND_SURNAMES:
            return span.score < 0.75
        return False


def _has_chinese_title(text: str, span: Span) -> bool:
    return _ZH_LONG_TITLE.match(text, span.end) is not None or (
        text[max(0, span.start - 1) : span.start] in _ZH_PREFIXES and span.end - span.start == 1
    )


def _trimmed(text: str, start: int, end: int, kind: str, score: float) -> Span | None:
    """Return the span without punctuation at its edges; None where no letter is left."""
    while start < end and text[start] in _EDGE:
        start += 1
    while end > start and text[end - 1] in _EDGE and not _initial(text, start, end):
        end -= 1
    if not any(c.isalpha() for c in text[start:end]):
        return None
    return Span(start, end, kind, score, "EmbeddedNameRecognizer")


def _initial(text: str, start: int, end: int) -> bool:
    """Tell whether the text ends with a full stop that belongs to the name, as in "J." or "Jr."."""
    word = text[start:end].rpartition(" ")[2]
    return word[-1:] == "." and (len(word) == 2 or word in _ABBREVIATED or "." in word[:-1])


def name_words(value: str) -> list[str]:
    """Return what stands for a person elsewhere: the name, and its longer words."""
    if value.isascii() or not "\u4e00" <= value[0] <= "\u9fff":
        words = [word for word in value.split() if len(word) > 3 and word[0].isupper()]
    else:
        words = [value] if len(value) > 2 else []
    return list(dict.fromkeys([value, *words])) if words else []


def occurrences(text: str, names: Iterable[str], found: Sequence[Span]) -> list[Span]:
    """Return the places of the names in a text, apart from those where something was found."""
    taken = [(s.start, s.end) for s in found]
    more: dict[tuple[int, int], Span] = {}
    for name in names:
        place = text.find(name)
        while place >= 0:
            end = place + len(name)
            if _alone(text, place, end) and not any(a < end and place < b for a, b in taken):
                more.setdefault((place, end), Span(place, end, "PERSON", REPEAT_SCORE, "EmbeddedNameRecognizer"))
            place = text.find(name, end)
    # of a name and its word in the same place the longer one counts
    return [
        s for s in more.values() if not any(o is not s and o.start <= s.start and s.end <= o.end for o in more.values())
    ]


def _repeats(text: str, found: Sequence[Span]) -> list[Span]:
    """Return persons that are sure in one place, wherever else they, or their longer words, stand in the text."""
    names: dict[str, None] = {}
    for span in found:
        if span.entity_type == "PERSON" and span.score >= REPEAT_SCORE:
            names |= dict.fromkeys(name_words(text[span.start : span.end]))
    return occurrences(text, names, found)


def _alone(text: str, start: int, end: int) -> bool:
    """Tell whether it is no part of a longer word; Chinese words have no such edges."""
    if not text[start].isascii() and _HAN_ONLY.match(text, start):
        return True
    return not (start and text[start - 1].isalpha()) and not text[end : end + 1].isalpha()


def _titles(text: str, found: Sequence[Span]) -> list[Span]:
    """Return the titles that stand right before a person."""
    titles = []
    for span in found:
        if span.entity_type == "PERSON":
            match = _TITLE.search(text[max(0, span.start - 14) : span.start])
            if match:
                base = max(0, span.start - 14)
                titles.append(Span(base + match.start(), base + match.end(), "TITLE", span.score, span.recognizer))
    return titles


class EmbeddedNameRecognizer(LocalRecognizer):
    """The tagger for Presidio: PERSON, LOCATION, ORGANIZATION, NRP, and TITLE in front of a person."""

    def __init__(
        self, supported_language: str = "en", supported_entities: list[str] | None = None, name: str | None = None
    ) -> None:
        super().__init__(supported_entities or list(KINDS), name=name, supported_language=supported_language)

    def load(self) -> None:
        self.tagger = NameTagger()

    def find_many(self, texts: Sequence[str]) -> list[list[Span]]:
        return self.tagger.find_many(texts)

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        return [
            RecognizerResult(span.entity_type, span.start, span.end, span.score)
            for span in self.find_many([text])[0]
            if not entities or span.entity_type in entities
        ]
