"""Names of people, as they are enrolled: none that a reader could take for another one's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from sdk.errors import InvalidInput
from sdk.wording import is_unseen, visible

# A small letter or sign -> the Latin one that it, or its capital, is drawn like. It need not be complete: a word that
# mixes alphabets is refused as such, so only words that are wholly of another alphabet have to be found here.
# Source: confusables.txt of Unicode Technical Standard 39.
_ALIKE = """
    аa вb гr еe ѕs іl јj кk мm нh оo пn рp сc тt уy үy хx ьb һh ѵv ԁd ԛq ԝw ӏl
    αa βb γy εe ζz ηh ιl κk μm νn οo ρp τt υy χx ωw ϲc ϳj
    աw հh յj ոn ռn սu օo ցg զq ɩl
    ıl ɑa ɡg ʟl ɴn ʀr ʏy ʜh ᴀa ᴄc ᴅd ᴇe ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ᴢz øo łl đd ħh ŧt ƅb ȷj
    il 1l |l !l ǀl ∣l 0o
    ‐- ‑- ‒- –- —- −- ’' ‘' ʼ' ʹ' ′' `' ´'
"""
_TABLE = str.maketrans({pair[0]: pair[1] for pair in _ALIKE.split()})
_PAIRS = (("rn", "m"), ("vv", "w"))
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_ALPHABETS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def skeleton(name: str) -> str:
    """Return what is left of a name once case, width, accents, unseen characters and look-alikes are folded.

    Two names with one skeleton can be taken for each other. It is for comparing alone, and no spelling of the name.
    """
    seen = "".join(each for each in name.casefold().translate(_TABLE) if not is_unseen(each))
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", seen)).casefold().translate(_TABLE)
    for pair, letter in _PAIRS:
        plain = plain.replace(pair, letter)
    return " ".join(plain.split())


def require_own_name(name: str, others: Iterable[str]) -> None:
    """Refuse a new name that is not what it looks like; InvalidInput says why.

    others: the names that are enrolled already. The same spelling again is the same person's further key.
    """
    faults = list(_faults(name))
    shown = visible(name)
    faults += [
        f"{shown} and {visible(other)} could be one person: they look alike"
        for other in sorted(set(others) - {name})
        if skeleton(other) == skeleton(name)
    ]
    if faults:
        raise InvalidInput("This name cannot be enrolled; write it so that nobody takes it for another one's.", faults)


def _faults(name: str) -> Iterable[str]:
    shown = visible(name)
    if shown != name:
        yield f"{shown} holds characters that cannot be seen"
    if any(unicodedata.category(word[0]).startswith("M") for word in name.split()):
        yield f"{shown} begins a word with a mark that stands on no letter"
    for word in re.findall(r"\w+", unicodedata.normalize("NFKC", name)):
        alphabets = {unicodedata.name(each, "").split(" ")[0] for each in word} & _ALPHABETS
        if len(alphabets) > 1:
            yield f"{visible(word)} mixes letters of several alphabets: {', '.join(sorted(alphabets)).title()}"
