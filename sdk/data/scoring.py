"""When an answer is right, and what always giving the same answer would score."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

from sdk.data import Row, answer
from sdk.data.canaries import is_canary
from sdk.records import ALL, MajorityScore

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A point between digits, a minus in front of a number and the percent sign carry the value; a comma in 1,200 does not.
_PUNCTUATION = re.compile(r"(?<=\d)[.](?=\d)|(?<![\w)])-(?=\d)|%|(?P<drop>.)", re.DOTALL)


def score(given: str, reference: str, language: str) -> tuple[bool, float]:
    """Return (exact match, F1) as SQuAD does (Rajpurkar et al. 2016), with characters as Chinese words."""
    one, other = words(given, language), words(reference, language)
    shared = sum((Counter(one) & Counter(other)).values())
    if not one or not other:
        return one == other, float(one == other)
    return one == other, 2 * shared / (len(one) + len(other))


def words(text: str, language: str) -> list[str]:
    """Split an answer into comparable units: NFKC, lower case, no punctuation or articles; in Chinese characters.

    Unlike SQuAD, what makes a number another number stays: 3.5 is not 35, and -2 % is not 2.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    folded = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", folded).replace("−", "-")
    kept = _PUNCTUATION.sub(_without_punctuation, folded)
    if language == "zh":
        return [character for character in kept if not character.isspace()]
    return _ARTICLES.sub(" ", kept).split()


def _without_punctuation(match: re.Match[str]) -> str:
    character = match["drop"]
    if character is None:
        return match[0]
    return " " if unicodedata.category(character).startswith("P") else character


def majority_scores(training: Iterable[Row], questions: Sequence[Row]) -> dict[str, MajorityScore]:
    """Return what always giving the majority answer would score, for 'all' and every language of the questions.

    The majority answer is the most frequent reference of the training rows in the question's language, by what counts
    as the same answer; of equally frequent ones that which comes first. Where no training row has the language, it is
    that of all training rows. Planted canaries do not count.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    texts: dict[str, str] = {}
    for row in training:
        if not is_canary(row.id):
            said = answer(row)
            key = " ".join(words(said, row.language))
            texts.setdefault(key, said)
            counts[row.language][key] += 1
            counts[ALL][key] += 1

    @cache
    def majority(language: str) -> str:
        return texts[max(known, key=known.__getitem__)] if (known := counts.get(language) or counts[ALL]) else ""

    groups: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    for row in questions:
        scored = score(majority(row.language), answer(row), row.language)
        groups[ALL].append(scored)
        groups[row.language].append(scored)
    return {
        name: MajorityScore(
            exact_match=sum(exact for exact, _ in groups[name]) / len(groups[name]),
            f1=sum(f1 for _, f1 in groups[name]) / len(groups[name]),
        )
        for name in (ALL, *sorted(groups.keys() - {ALL}))
    }
