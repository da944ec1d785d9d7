"""How things are put into words: a number with its noun, and text of others, in which all characters are to be seen."""

from __future__ import annotations

import re
import unicodedata

# Controls, format characters (bidirectional overrides among them), half characters, private use, not assigned, and the
# separators of lines and paragraphs.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What Unicode wants to be ignored where a font lacks it, and what is drawn as nothing, although its category is that of
# letters, marks and symbols: joiners and fillers of Hangul and Khmer, variation selectors, the empty Braille pattern.
# Source: Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 16.
_FILLERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def is_unseen(character: str) -> bool:
    """Tell whether a character leaves nothing to see by itself. A space does not count as such."""
    return unicodedata.category(character) in _UNSEEN_CATEGORIES or bool(_FILLERS.match(character))


def visible(text: str, keep: str = "") -> str:
    r"""Write every character that cannot be seen as Python escapes it, such as \x1b; `keep`: but for these."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(each) if each not in keep and is_unseen(each) else each for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: 1 row, 1,204 rows. noun: in the singular; of several words the last one bends."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def capitalized(text: str) -> str:
    """Return a text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]
