"""What scrubbing cost: words and rows by kind, and whether a row's answer can still be told from its question.

An answer is still derivable if nothing was taken from it, and each of its longer words that the question had stands in
the question still. That is a lower bound on the harm, not a measure of what a model learns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

KEY_LETTERS = 5  # of a word that counts as a key term
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+")
QUESTION, ANSWER = "user", "assistant"


class ScrubbedMessage(NamedTuple):
    role: str
    before: str
    after: str


def count_words(text: str) -> int:
    """Count words; a Chinese character is one."""
    return len(_WORD.findall(text))


def answers_left(messages: Sequence[ScrubbedMessage]) -> Counter[str]:
    """Count for a row whether it has an answer, whether that is whole and derivable, and its question's key terms."""
    counts: Counter[str] = Counter()
    asked = [message for message in messages if message.role == QUESTION]
    terms = [term for message in asked for term in _key_terms(message.before)]
    left = terms
    if any(message.before != message.after for message in asked):
        remaining = Counter(term for message in asked for term in _key_terms(message.after))
        left = list((Counter(terms) & remaining).elements())
    counts["terms"], counts["terms_left"] = len(terms), len(left)
    answer = next((message for message in reversed(messages) if message.role == ANSWER and message.before), None)
    if answer is None:
        return counts
    whole = answer.before == answer.after
    counts["answers"] = 1
    counts["whole"] = int(whole)
    counts["derivable"] = int(whole and not (set(_key_terms(answer.before)) & (set(terms) - set(left))))
    return counts


def _key_terms(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text) if len(word) >= KEY_LETTERS or word > "\u3400"]
