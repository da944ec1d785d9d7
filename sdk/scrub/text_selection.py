"""Which documents are trained on, which are held out, and which conversations are mixed in.

Chosen before anything is scrubbed, by what the documents say, so that the same files give the same choice:

1. near-duplicates of an earlier document, or of one that is evaluated, are left out, so that none stands on both sides
   (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", arXiv 2107.06499)
2. where no evaluation file was named, a share of the others is held out
3. conversations are drawn until they have the share of the characters that was asked for
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from datasketch import MinHash, MinHashLSH

from sdk.data import RowSource, choose_rows, normalized, open_rows
from sdk.errors import InvalidInput
from sdk.records import Texts
from sdk.scrub.selection import Selection

SIMILARITY = 0.8  # Jaccard index of five-word shingles, as estimated by MinHash
HELD_OUT = 0.1  # of the documents
MIXED_IDS = "mixed-in-"  # what the ids of conversations that are mixed in begin with
_SHINGLE = 5  # words in a row
_HASHES = 128  # of a document: the estimate's standard error is .035 at a similarity of .8
_BANDS = (16, 8)  # of hashes that are compared at all: .95 of pairs with a similarity of .8, .999 of those with .9
_CHARACTER = r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff]"  # counts as a word
COUNTED_WORDS = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})\w)+")


@dataclass(frozen=True)
class TextSelection:
    """What is asked for. least_held_out: documents, where there are twice as many; mix: share of the characters."""

    least_held_out: int = 0
    mix: float = 0.0
    mix_data: Path | None = None

    def __call__(self, train: RowSource, evaluation: RowSource | None) -> Selection:
        """Choose among the rows of a source with texts. evaluation: the file that was named, if one was.

        Raises InvalidInput where nothing is left to train on or to evaluate, or where mix_data holds texts.
        """
        known = _Documents()
        for row in evaluation.rows if evaluation is not None and evaluation.texts else ():
            known.is_new(row.messages[0].content)
        kept: list[_Kept] = []
        documents = 0
        for number, row in enumerate(train.rows):
            text = row.messages[0].content
            documents += row.is_text
            if not row.is_text or known.is_new(text):
                size = sum(len(message.content) for message in row.messages)
                lot = blake2b(normalized(text).encode(), digest_size=16).digest() if row.is_text else b""
                kept.append(_Kept(number, size, lot))
        held = self._held_out(kept, train) if evaluation is None else set()
        left = [each for each in kept if each.number not in held]
        if not any(each.lot for each in left):
            raise InvalidInput(f"{train.path}: all its documents repeat those of {evaluation and evaluation.path}.")
        characters = sum(each.size for each in left)
        mixed, size = (None, 0) if self.mix_data is None else self._mixed(self.mix_data, characters)
        return Selection(
            train=choose_rows(train, [each.number for each in left]),
            evaluation=choose_rows(train, sorted(held)) if evaluation is None else None,
            mixed=mixed,
            texts=Texts(
                documents=documents,
                near_duplicates=train.count - len(kept),
                similarity=SIMILARITY,
                held_out=len(held),
                mixed_rows=mixed.count if mixed else 0,
                mix=size / (size + characters),
                mix_asked=self.mix,
            ),
        )

    def _held_out(self, kept: Sequence[_Kept], train: RowSource) -> set[int]:
        """Draw the numbers of documents to hold out: as by lot, and by what they say."""
        lots = sorted((each.lot, each.number) for each in kept if each.lot)
        if len(lots) < 2:
            raise InvalidInput(
                f"{train.path} holds one document, so none can be held out to measure on; name texts with --eval, or "
                "split it into several files or rows."
            )
        return {number for _, number in lots[: held_out(len(lots), self.least_held_out)]}

    def _mixed(self, path: Path, characters: int) -> tuple[RowSource, int]:
        """Draw conversations, as by lot and always the same ones. Return them, and how many characters they have."""
        source = open_rows(path)
        if source.texts:
            raise InvalidInput(f"{path}: what is mixed in must be conversations; it holds running text.")
        sizes = [sum(len(message.content) for message in row.messages) for row in source.rows]
        wanted, size = characters * self.mix / (1 - self.mix), 0
        taken: list[int] = []
        for number in sorted(range(len(sizes)), key=lambda each: blake2b(b"mix %d" % each, digest_size=8).digest()):
            if size >= wanted:
                break
            taken.append(number)
            size += sizes[number]
        return choose_rows(source, sorted(taken), MIXED_IDS), size


def held_out(documents: int, least: int) -> int:
    """Count the documents to hold out of so many. least: that many, where there are twice as many."""
    return max(1, round(HELD_OUT * documents), least if 2 * least <= documents else 0)


class _Kept(NamedTuple):
    number: int
    size: int  # characters
    lot: bytes  # digest of a document; empty: it is a conversation


class _Documents:
    """The documents that were seen, by the hashes of their shingles alone."""

    def __init__(self) -> None:
        self._index = MinHashLSH(num_perm=_HASHES, params=_BANDS)
        self._hashes: list[MinHash] = []

    def is_new(self, text: str) -> bool:
        """Tell whether none that was kept is nearly the same, and keep it then."""
        words = COUNTED_WORDS.findall(text.casefold())
        count = max(1, len(words) - _SHINGLE + 1)
        shingles = {" ".join(words[place : place + _SHINGLE]).encode() for place in range(count)}
        found = MinHash(num_perm=_HASHES, seed=1)
        found.update_batch(sorted(shingles))
        if any(self._hashes[place].jaccard(found) >= SIMILARITY for place in self._index.query(found)):
            return False
        self._index.insert(len(self._hashes), found)
        self._hashes.append(found)
        return True
