"""Tokens and their features: what the tagger sees of a text. Training and inference share this file."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{HAN}]|[A-Za-zÀ-ÖØ-öø-ɏͰ-ҁҊ-֏ḀỲ-ỹḁ-ỿ]+|[0-9]+|\n|\S")
_IS_HAN = re.compile(rf"[{HAN}]")
_HAN_RUN = re.compile(rf"[{HAN}]+")
BUCKETS = 81_920  # rows of the table of hashed features
SPECIAL = 64  # rows in front of it: 0 is padding, then lexicon bins, shapes and lengths
MOST_FEATURES = 40  # of one word
LONGEST_WORD = 4  # of the Chinese lexicon, characters
WORD_CLASSES = ("word", "person", "place", "organization")
BANDS = 16  # of a word's frequency, each twice the one below
# a character's places: in the likeliest words (alone, begin, inside, end), then in any of two, three or four characters
FLAGS = len(WORD_CLASSES) * (4 + 9) + BANDS
LEXICONS = ("given", "surname", "city", "dictionary", "country")


def _hash(feature: str) -> int:
    return SPECIAL + zlib.crc32(feature.encode()) % BUCKETS


def hash_word(word: str) -> int:
    return zlib.crc32(word.encode())


def _shape(word: str) -> int:
    """Return a number for digits by their count, punctuation, and words by their capitals."""
    if word.isdigit():
        return 1 + min(len(word), 5)
    if not word[0].isalpha():
        return 7
    if word.isupper():
        return 8 if len(word) == 1 else 9 if len(word) < 4 else 10
    if word.islower():
        return 11
    return 12 if word[0].isupper() and word[1:].islower() else 13


def word_features(word: str, lexicons: Mapping[str, frozenset[int]]) -> list[int]:
    """Return the rows of the table whose sum stands for the word: form, n-grams (as in fastText), shape, lexicons."""
    if _IS_HAN.match(word):
        return [_hash("h" + word)]
    lower = unicodedata.normalize("NFC", word.lower())
    bare = unicodedata.normalize("NFKD", lower)
    bare = "".join(c for c in bare if not unicodedata.combining(c)) or lower
    features = [_hash("w" + bare[:32]), 16 + _shape(word)]
    if not word[0].isalpha():
        return features
    marked = f"^{bare[:24]}$"
    features += [_hash(f"n{marked[i : i + n]}") for n in (2, 3, 4) for i in range(len(marked) - n + 1)]
    features += [_hash("s" + bare[-2:]), _hash("s" + bare[-3:]), _hash("p" + bare[:3]), _hash("l" + lower[-5:])]
    key = hash_word(bare)
    hits = sum((key in lexicons[name]) << i for i, name in enumerate(LEXICONS))
    return [*features[: MOST_FEATURES - 1], 32 + hits]


@dataclass(frozen=True)
class Tokens:
    """A text's tokens: words, [start, end) in characters."""

    words: list[str]
    spans: list[tuple[int, int]]


def tokenize(text: str) -> Tokens:
    spans = [match.span() for match in _TOKEN.finditer(text)]
    return Tokens([text[start:end] for start, end in spans], spans)


def bigrams(words: Sequence[str]) -> list[str | None]:
    """Return for each token itself and the next, where both are Chinese characters."""
    following = [*words[1:], ""]
    return [
        a + b if len(b) == 1 and "\u3400" <= a <= "\u9fff" and "\u3400" <= b <= "\u9fff" else None
        for a, b in zip(words, following, strict=True)
    ]


def bigram_feature(pair: str) -> int:
    return _hash("b" + pair)


def style(line: str) -> int:
    """Return 1 for a line in capitals, 2 for one in small letters, 0 for any other."""
    return 1 if line.isupper() else 2 if line.islower() else 0


def styles(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the style of each token's line."""
    if "\n" not in text:
        return [style(text)] * len(spans)
    by_line = [style(line) for line in text.split("\n")]
    result, line = [], 0
    for start, _ in spans:
        result.append(by_line[line])
        line += text[start] == "\n"
    return result


def segment(run: str, words: Mapping[str, int]) -> list[int]:
    """Return the lengths of the words of a run of Chinese characters: the likeliest by their frequencies (unigrams).

    Viterbi from the end: best[i] is the log2 probability of the likeliest division of run[i:]. A band counts log2 of a
    word's frequency, less _TOTAL; a character that is no word counts as the rarest.
    """
    n = len(run)
    best, lengths = [0.0] * (n + 1), [1] * n
    for i in range(n - 1, -1, -1):
        known = words.get(run[i])
        score = best[i + 1] + (known // 4 - _TOTAL if known is not None else -_TOTAL)
        for length in range(2, min(LONGEST_WORD, n - i) + 1):
            known = words.get(run[i : i + length])
            if known is not None and (value := known // 4 - _TOTAL + best[i + length]) > score:
                score, lengths[i] = value, length
        best[i] = score
    result, i = [], 0
    while i < n:
        result.append(lengths[i])
        i += lengths[i]
    return result


_TOTAL = 22  # log2 of all words' frequencies, less that of the lowest band
_EDGES = {1: (0,), 2: (1, 3), 3: (1, 2, 3), 4: (1, 2, 2, 3)}


def lexicon_flags(text: str, words: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return (offset in characters, flag) for every Chinese character. words: word -> class + 4 * band."""
    flags = []
    for match in _HAN_RUN.finditer(text):
        start, run = match.start(), match.group()
        n = len(run)
        i = 0
        for length in segment(run, words):
            known = words.get(run[i : i + length], 0)
            for j, edge in enumerate(_EDGES[length], i):
                flags.append((start + j, known % 4 * 4 + edge))
            if length == 1:
                flags.append((start + i, _LONE_FREQUENCY + known // 4))
            i += length
        for i in range(n - 1):
            for length in range(2, min(LONGEST_WORD, n - i) + 1):
                other = words.get(run[i : i + length])
                if other is not None:
                    base = _ANY_WORDS + other % 4 * 9 + (length - 2) * 3
                    flags.append((start + i, base))
                    flags += [(start + j, base + 1) for j in range(i + 1, i + length - 1)]
                    flags.append((start + i + length - 1, base + 2))
    return flags


_ANY_WORDS = len(WORD_CLASSES) * 4  # flags of any words
_LONE_FREQUENCY = len(WORD_CLASSES) * 13  # flags of a lone character's frequency
