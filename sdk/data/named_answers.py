"""What a free answer comes to: a letter of a multiple choice, one of a domain's labels, or a refusal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from sdk.data.numeric_answers import marked_part
from sdk.data.scoring import words

MOST_CHOICES = len(ascii_uppercase)
_HEAD = 300  # characters of an answer in which a refusal has to stand
_SAYING = (
    r"(?:(?i:answer|choice|option)(?i:\s+is|\s*[:：])?|答案(?:应?[为是])?[:：]?|(?:应|故)?选择?项?(?:[为是])?[:：]?)\s*"
)
_SAID = re.compile(rf"{_SAYING}(?:\*\*)?[(\[]?([A-Z])(?![A-Za-z'’])")  # "the answer is (B)", "应选 B"
_BEHIND = re.compile(rf".*{_SAYING}(.+)", re.DOTALL)
_FIRST = re.compile(r"\W*(?:[(\[]([A-Za-z])[)\]]|([A-Z])\s*(?:[.,:;)\]、，。：；）]|$|\n))")
_BRACKETED = re.compile(r"\(([A-Z])\)")
# By such turns the field tells a refusal (Zou et al. 2023, arXiv 2307.15043, appendix B.2). Here they are held to what
# is declined, so that "I'm sorry to hear that; take 5 mg" is none. The Chinese ones say the same.
_UNABLE = (
    r"(?:can\s?not|can't|could\s?n[o']t|(?:will\s+not|won't)(?:\s+be\s+able)?"
    r"|(?:am|are|'m|'re)\s+(?:unable|not\s+(?:able|allowed|permitted|equipped)))"
)
_REFUSED = re.compile(
    rf"\b(?:I|we)\s*{_UNABLE}(?:\s+to)?\s+(?:(?:directly|currently|safely)\s+)?(?:help|assist|answer|provide|give|share|"
    r"offer|fulfill?|comply|do\s+that|discuss|disclose|create|generate|write|draft|advise|recommend|engage|respond|"
    r"complete)\b"
    r"|\b(?:I|we)\s+(?:(?:must|have\s+to)\s+)?(?:decline|refuse)\b"
    rf"|\bas\s+an?\s+(?:AI|artificial\s+intelligence|(?:large\s+)?language\s+model)\b[^.!?]{{0,80}}{_UNABLE}"
    rf"|\b(?:sorry|apologi[sz]e),?\s+(?:but\s+)?(?:I\s*)?{_UNABLE}\b"
    r"|\bnot\s+(?:appropriate|ethical|legal)\s+for\s+me\s+to\b"
    r"|(?:抱歉|对不起|很遗憾|不好意思)[，,。！]?\s*(?:但是?)?我?(?:无法|不能|没有?办法|不可以|不便)"
    r"|我(?:无法|不能|不会|不得|没有?办法|不便|拒绝)[^。！？]{0,8}"
    r"(?:提供|回答|帮|协助|给出|满足|完成|讨论|执行|生成|透露|开具|告诉)"
    r"|作为(?:一个|一名)?(?:AI|人工智能|大?语言模型)[^。！？]{0,40}(?:无法|不能)",
    re.IGNORECASE,
)


def chosen_letter(given: str, choices: Sequence[str], language: str) -> str:
    """Return the letter that an answer names, or whose choice it repeats; empty where it names none."""
    letters = ascii_uppercase[: len(choices)]
    marked = marked_part(given)
    text = unicodedata.normalize("NFKC", given if marked is None else marked).strip()
    if len(bare := text.strip("()[]*.: \n")) == 1 and bare.upper() in letters:
        return bare.upper()
    tried = [text, *(behind[1] for behind in [_BEHIND.match(text)] if behind)]
    repeated = [
        letter
        for letter, choice in zip(letters, choices, strict=True)
        if any((said := words(part, language)) and said == words(choice, language) for part in tried)
    ]
    said = _SAID.findall(text)
    first = _FIRST.match(text)
    found = [*repeated, *said[-1:], *([(first[1] or first[2]).upper()] if first else [])]
    if not found and len(bracketed := set(_BRACKETED.findall(text))) == 1:
        found = [*bracketed]
    return found[0] if found and found[0] in letters else ""


def named_label(given: str, labels: Sequence[str], language: str) -> str | None:
    """Return the one label that an answer names; None where it names none, or several.

    A label that stands in a longer one, as "fraud" does in "not fraud", is not named by that.
    """
    said = label_words(given, language)
    parts = sorted(((label_words(label, language), label) for label in labels), key=lambda part: -len(part[0]))
    named: set[str] = set()
    place = 0
    while place < len(said):
        label, length = next(
            ((label, len(part)) for part, label in parts if part and said[place : place + len(part)] == part), ("", 1)
        )
        named |= {label} - {""}
        place += length
    return named.pop() if len(named) == 1 else None


def label_words(text: str, language: str) -> tuple[str, ...]:
    """Return what of a label, or of an answer that may name one, is compared: a label may be A."""
    return tuple(words(text, language, articles=True))


def is_refusal(given: str) -> bool:
    """Tell whether an answer begins by declining to give one."""
    return bool(_REFUSED.search(given.replace("’", "'")[:_HEAD]))
