"""What the texts of one row tell of each other: who is a person in one of them is one in all, and what one abbreviates.

A row's question, answer and fields are scanned text by text; a surname alone in the answer, or the abbreviation that
only the question explains, has no evidence of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sdk.scrub.find.tagger.name_recognizer import REPEAT_SCORE, name_words, occurrences, shared_network
from sdk.scrub.find.tagger.ordinary import is_titled, short_forms
from sdk.scrub.spans import Span

Found = Sequence[Span] | Exception
_MAY_BE_SHORT = frozenset({"PERSON", "LOCATION", "ORGANIZATION"})


def settled(texts: Sequence[str], found: Sequence[Found], whole: Collection[int], least: float) -> list[Found]:
    """Return the finds of a row's texts, each text's own with what the others say.

    whole: places of texts that are of one kind, or of none, from end to end; least: score from which a find counts.
    """
    if len(texts) - len(whole) < (1 if whole else 2) or any(isinstance(each, Exception) for each in found):
        return list(found)
    spans = [[] if isinstance(each, Exception) else list(each) for each in found]
    short: set[str] = set()
    for text, its in zip(texts, spans, strict=True):
        short |= short_forms(text, its)
    names: dict[str, None] = {}
    for text, its in zip(texts, spans, strict=True):
        for span in its:
            if span.entity_type == "PERSON" and span.score >= REPEAT_SCORE:
                names |= dict.fromkeys(word for word in name_words(text[span.start : span.end]) if _is_telling(word))
    result: list[Found] = []
    for place, (text, its) in enumerate(zip(texts, spans, strict=True)):
        if place in whole:
            result.append(its)
            continue
        kept = [
            s
            for s in its
            if s.entity_type not in _MAY_BE_SHORT or text[s.start : s.end] not in short or is_titled(text, s)
        ]
        if least <= REPEAT_SCORE:
            more = occurrences(text, [name for name in names if name in text], kept)
            kept = sorted([*kept, *more], key=lambda s: s.start) if more else kept
        result.append(kept)
    return result


def _is_telling(word: str) -> bool:
    """Tell whether a word says who it is wherever it stands: "Unknown" in a column of names does not."""
    network = shared_network()
    return not network.is_word(word) or network.is_in(word, "given") or network.is_in(word, "surname")
