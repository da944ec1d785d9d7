"""The tagger's network: residual convolutions over tokens in whole numbers, so that every machine finds the same.

Weights are 8-bit and the inputs of every product are rounded to whole numbers of at most 127, so a sum of 384 products
stays below 2**24 and is exact in float32, in whatever order a BLAS library adds it up.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdk.files.regular_files import read_shipped
from sdk.scrub.find.tagger.tokens import LEXICONS, Floats, Ints, bigram_feature, hash_word, word_features

MOST_TYPES = 50_000  # words whose vectors are kept, 25 MB of them; then all are forgotten


def unpack_words(packed: bytes) -> dict[str, int]:
    """Read the Chinese lexicon, word -> class + 4 * band of frequency: a line of words for each class and band."""
    return {word: number for number, line in enumerate(packed.decode().split("\n")) for word in line.split()}


class _Vectors:
    """Rows of vectors by key, each computed when the key is first seen; row 0 is the separator between texts."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.index = {"": 0}
        self.rows = np.zeros((1024, width), np.float32)

    def add(self, key: str, vector: Floats) -> int:
        number = len(self.index)
        if number == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self.rows[number] = vector
        self.index[key] = number
        return number


class Network:
    """The layers of a weights file; `logits` gives a row of scores for each token."""

    def __init__(self, path: Path) -> None:
        with np.load(io.BytesIO(read_shipped(path))) as file:
            data: dict[str, Any] = {name: file[name] for name in file.files}
        self.labels: list[str] = [str(label) for label in data["labels"]]
        self.lexicons: Mapping[str, frozenset[int]] = {
            name: frozenset(data[f"lexicon_{name}"].tolist()) for name in LEXICONS
        }
        self.words = unpack_words(data["chinese_words"].tobytes())
        self._table, self._table_scale = data["table"], data["table_scale"].astype(np.float32)
        self._projection = data["projection"].astype(np.float32)
        self._flags = data["flags"].astype(np.float32)
        self._flag_scale = float(data["flag_scale"])
        self._extra = data["extra"].astype(np.float32)  # rows: bias, styles 1 and 2, glued to what stands before
        self._layers = [
            (data[f"weight_{i}"].astype(np.float32), data[f"scale_{i}"].astype(np.float32), data[f"bias_{i}"])
            for i in range(int(data["layers"]))
        ]
        self._steps: list[float] = [float(step) for step in data["steps"]]
        self.reach = len(self._layers)  # tokens to either side that a label depends on: one a layer, one of a pair
        self.label_weights = data["label_weights"].astype(np.float32)
        width = self._projection.shape[1]
        self._types, self._pairs = _Vectors(width), _Vectors(width)

    def is_in(self, word: str, lexicon: str) -> bool:
        return hash_word(word.lower()) in self.lexicons[lexicon]

    def is_name(self, word: str) -> bool:
        return any(self.is_in(word, name) for name in ("given", "city", "country"))

    def is_word(self, word: str) -> bool:
        return self.is_in(word, "dictionary")

    def _vector(self, features: list[int]) -> Floats:
        """Return the sum of the features' rows over the root of their number, projected to the layers' width."""
        rows = self._table[features].astype(np.float32) * self._table_scale[features, None]
        total = rows.sum(axis=0) / np.float32(len(features)) ** np.float32(0.5)
        # one product after the other: a BLAS library would choose its own order of adding
        return np.asarray((total[:, None] * self._projection).sum(axis=0), np.float32)

    def type_rows(self, words: list[str]) -> Ints:
        if len(self._types.index) > MOST_TYPES:
            self._types = _Vectors(self._types.width)
        index = self._types.index
        return np.array(
            [
                number
                if (number := index.get(word)) is not None
                else self._types.add(word, self._vector(word_features(word, self.lexicons)))
                for word in words
            ],
            np.int32,
        )

    def pair_rows(self, pairs: list[str | None]) -> Ints:
        if len(self._pairs.index) > MOST_TYPES:
            self._pairs = _Vectors(self._pairs.width)
        index = self._pairs.index
        return np.array(
            [
                0
                if pair is None
                else number
                if (number := index.get(pair)) is not None
                else self._pairs.add(pair, self._vector([bigram_feature(pair)]))
                for pair in pairs
            ],
            np.int32,
        )

    def logits(self, types: Ints, pairs: Ints, flags: Floats | None, styles: Ints, glued: Floats) -> Floats:
        """Return the scores, (tokens, labels).

        types: rows of words, pairs: of Chinese pairs of characters, both (tokens,), where 0 is a separator or none;
        flags: (tokens, FLAGS) of the Chinese lexicon, or None; styles: of each token's line; glued: 1 where no space
        stands before the token. Each inner layer looks at a token and its two neighbours (a convolution of width 3) and
        is added to what came in; separators are set to 0 in between, so that texts do not see each other.
        """
        hidden = self._types.rows[types] + self._extra[0]
        if pairs.any():
            vectors = self._pairs.rows[pairs]
            hidden += vectors
            hidden[1:] += vectors[:-1]
        if flags is not None:
            hidden += (flags @ self._flags) * np.float32(self._flag_scale)
        if styles.any():
            hidden += self._extra[styles] * (styles > 0)[:, None]
        hidden += self._extra[3] * glued[:, None]
        between = types == 0
        wide = np.empty((len(hidden), 3 * hidden.shape[1]), np.float32)
        for (weight, scale, bias), step in zip(self._layers[:-1], self._steps[:-1], strict=True):
            near = self._rounded(hidden, step, between)
            width = near.shape[1]
            wide[0, :width] = wide[-1, 2 * width :] = 0
            wide[1:, :width] = near[:-1]
            wide[:, width : 2 * width] = near
            wide[:-1, 2 * width :] = near[1:]
            sums = wide @ weight
            sums *= scale * np.float32(step)
            sums += bias
            np.maximum(sums, 0, out=sums)
            hidden += sums
        weight, scale, bias = self._layers[-1]
        near = self._rounded(hidden, self._steps[-1], between)
        return np.asarray((near @ weight) * (scale * np.float32(self._steps[-1])) + bias, np.float32)

    @staticmethod
    def _rounded(hidden: Floats, step: float, between: Any) -> Floats:
        """Return the values in whole steps of -127 to 127, with the separators at 0."""
        near = hidden * np.float32(1 / step)
        np.rint(near, out=near)
        np.minimum(near, 127, out=near)
        np.maximum(near, -127, out=near)
        near[between] = 0
        return near
