"""Context words for Presidio, by characters instead of tokens: linear in the text, and at home in Chinese."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import regex
from presidio_analyzer import EntityRecognizer, RecognizerResult
from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts

from sdk.scrub.prefilter.literals import trie

BOOST = 0.35  # Presidio's own default
BEFORE, AFTER = 48, 16  # characters around a finding in which a context word counts


class _Words:
    """Finds any of some words. Latin ones stand alone, so that "lic" is not found in "duplicate"."""

    def __init__(self, words: tuple[str, ...]) -> None:
        # Most windows hold none of them in any way, and that is told by a pattern many times as fast.
        self._letters = re.compile(trie(word.casefold() for word in words))
        parts = "|".join(regex.escape(word) for word in sorted(words, key=len, reverse=True))
        self._pattern = regex.compile(
            rf"(?<![A-Za-z])(?:{parts})(?![A-Za-z])|(?:{parts})(?<=\p{{Han}})", regex.IGNORECASE
        )

    def stand_in(self, text: str) -> bool:
        return self._letters.search(text.casefold()) is not None and self._pattern.search(text) is not None


_words = functools.lru_cache(maxsize=512)(_Words)


class WindowContextEnhancer(ContextAwareEnhancer):
    """Raises a finding's score where one of its recognizer's context words stands near it."""

    def __init__(self) -> None:
        super().__init__(
            context_similarity_factor=BOOST,
            min_score_with_context_similarity=0.5,
            context_prefix_count=BEFORE,
            context_suffix_count=AFTER,
        )

    def enhance_using_context(
        self,
        text: str,
        raw_results: list[RecognizerResult],
        nlp_artifacts: NlpArtifacts,
        recognizers: Sequence[EntityRecognizer],
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        by_id = {recognizer.id: tuple(recognizer.context or ()) for recognizer in recognizers}
        for result in raw_results:
            words = by_id[result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY]]
            if words:
                result.score = self.raised(text, result.start, result.end, result.score, words)
        return raw_results

    def raised(self, text: str, start: int, end: int, score: float, words: tuple[str, ...]) -> float:
        """Return the score of a find at [start, end), higher where one of the words stands near it."""
        if score >= self.MAX_SCORE or not self.near(text, start, end, words):
            return score
        raised = max(score + self.context_similarity_factor, self.min_score_with_context_similarity)
        return float(min(raised, self.MAX_SCORE))

    def near(self, text: str, start: int, end: int, words: tuple[str, ...]) -> bool:
        """Tell whether one of the words stands near the find at [start, end)."""
        wanted = _words(words)
        return wanted.stand_in(text[max(0, start - self.context_prefix_count) : start]) or wanted.stand_in(
            text[end : end + self.context_suffix_count]
        )
