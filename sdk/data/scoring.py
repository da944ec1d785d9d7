"""When an answer is the same as the reference, and how much of it is."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

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


def words(text: str, language: str, articles: bool = False) -> list[str]:
    """Split an answer into comparable units: NFKC, lower case, no punctuation or articles; in Chinese characters.

    Unlike SQuAD, what makes a number another number stays: 3.5 is not 35, and -2 % is not 2. articles: they stay, too.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    folded = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", folded).replace("−", "-")
    kept = _PUNCTUATION.sub(_without_punctuation, folded)
    if language == "zh":
        return [character for character in kept if not character.isspace()]
    return (kept if articles else _ARTICLES.sub(" ", kept)).split()


def _without_punctuation(match: re.Match[str]) -> str:
    character = match["drop"]
    if character is None:
        return match[0]
    return " " if unicodedata.category(character).startswith("P") else character
