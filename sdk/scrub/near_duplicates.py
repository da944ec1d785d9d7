"""Which questions nearly repeat a training row, so that a score on them would say less than it seems to.

A question does so in either of two ways, since each misses what the other finds:

1. so large a share of its runs of five words stands in one training row: it was taken over into a longer text
2. its runs of five characters are nearly those of one training row's question, by the Jaccard index as MinHash
   estimates it: a few words were changed

Case, punctuation, white space and compatible characters count for nothing. Runs that stand in every tenth question, as
those of an instruction that all share, are nobody's own and do not count either. Of training rows nothing is held.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from zlib import crc32

from datasketch import MinHash, MinHashLSH

from sdk.data import Row, question
from sdk.records import NearDuplicate, Overlap
from sdk.scrub.text_selection import COUNTED_WORDS

SHARE = 0.8  # of a question's runs of words
LIKENESS = 0.7  # Jaccard index of runs of characters: of twelve words one may be another
WORTH_COMPARING = 0.5  # of a row's runs of characters; of an index of .7 at least .7 of them are a question's
COMMON = 0.1  # of the questions, and at least LEAST_COMMON of them
LEAST_COMMON = 10
_RUN = 5
_HASHES = 64
_Run = TypeVar("_Run", bound=Hashable)
_BANDS = (16, 4)  # .99 of pairs with a likeness of .7 are compared


class ComparedText(NamedTuple):
    """A row or a question: what it is called, what it asks, and all that it says."""

    id: str
    question: str
    text: str


class _Known(NamedTuple):
    """A question's own runs, as hashes."""

    id: str
    words: frozenset[int]
    sketch: MinHash


def asked(row: Row) -> ComparedText:
    """Return what is compared of a row: its questions, and all its messages."""
    return ComparedText(row.id, question(row), "\n".join(message.content for message in row.messages))


class QuestionIndex:
    """Questions, and for each the training row that is the most like it, where one nearly repeats it."""

    def __init__(self, questions: Sequence[ComparedText]) -> None:
        asked_words = [_folded(each.question) for each in questions]
        words, characters = [*map(_word_runs, asked_words)], [*map(_character_runs, asked_words)]
        self._words = frozenset[str]().union(*asked_words)
        common, self._common = _common(words), _common(characters)
        self._asked_for = frozenset().union(*characters)
        self._index = MinHashLSH(num_perm=_HASHES, params=_BANDS)
        self._places: dict[int, list[int]] = {}  # run of words -> questions that have it
        self._known: list[_Known] = []
        self._best: dict[int, NearDuplicate] = {}
        for place, each in enumerate(questions):
            own = frozenset(words[place] - common or words[place])
            sketch = _sketch(characters[place] - self._common or characters[place])
            self._known.append(_Known(each.id, own, sketch))
            self._index.insert(place, sketch)
            for run in own:
                self._places.setdefault(run, []).append(place)

    def compare(self, row: ComparedText) -> None:
        """Hold a training row against all questions."""
        runs = _word_runs(_folded(row.text), self._words) & self._places.keys()
        counts = Counter(place for run in runs for place in self._places[run])
        letters = _character_runs(_folded(row.question)) - self._common
        # Most rows have little in common with any question, and their sketch would take the longest.
        if not counts and len(letters & self._asked_for) < WORTH_COMPARING * len(letters):
            return
        sketch = _sketch(letters)
        for place in {*counts, *self._index.query(sketch)}:
            one = self._known[place]
            share, likeness = counts[place] / len(one.words), float(one.sketch.jaccard(sketch))
            if share < SHARE and likeness < LIKENESS:
                continue
            pair = NearDuplicate(
                question=one.id, row=row.id, share=round(share, 4), likeness=round(min(1.0, likeness), 4)
            )
            best = self._best.get(place)
            if best is None or max(share, likeness) > max(best.share, best.likeness):
                self._best[place] = pair

    def overlap(self) -> Overlap:
        """Return what the rows so far nearly repeat."""
        near = tuple(self._best[place] for place in sorted(self._best))
        return Overlap(questions=len(self._known), near_duplicates=near)


def _folded(text: str) -> list[str]:
    return COUNTED_WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def _word_runs(words: Sequence[str], firsts: Container[str] | None = None) -> set[int]:
    """Return the hashes of all runs of five words; of a shorter text that of the whole.

    firsts: only of those that begin with one of these words.
    """
    places: Iterable[int] = range(max(1, len(words) - _RUN + 1))
    if firsts is not None and words:
        places = [place for place in places if words[place] in firsts]
    return {hash(tuple(words[place : place + _RUN])) for place in places}


def _character_runs(words: Sequence[str]) -> set[str]:
    joined = " ".join(words)
    return {joined[place : place + _RUN] for place in range(max(1, len(joined) - _RUN + 1))}


def _common(runs: Sequence[set[_Run]]) -> set[_Run]:
    counts = Counter(run for each in runs for run in each)
    most = max(LEAST_COMMON, COMMON * len(runs))
    return {run for run, count in counts.items() if count > most}


def _sketch(runs: set[str]) -> MinHash:
    sketch = MinHash(num_perm=_HASHES, seed=1, hashfunc=_as_it_is)
    sketch.update_batch(sorted({crc32(run.encode()) for run in runs}))
    return sketch


def _as_it_is(value: int) -> int:
    return value
