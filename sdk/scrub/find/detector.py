"""Presidio's recognizers over many texts: fast, offline, and failing closed.

The registry, the recognizers and what their results mean are Presidio's (presidio-analyzer 2.2.366); the loop is not:
`AnalyzerEngine.analyze` runs every recognizer on every text. A text goes through

1. views.py: read in plain characters, and again without what is invisible;
2. the prefilter: every pattern of every PatternRecognizer, where it can match;
3. all other recognizers, those with `find_many` for all texts at once;
4. validation, context words, the score threshold, and the union of what overlaps.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import regex
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpEngine

from sdk.files.regular_files import FileBytes
from sdk.scrub.find.checksums.checksum_recognizer import ChecksumRecognizer
from sdk.scrub.find.checksums.nationals import without_labels
from sdk.scrub.find.context import WindowContextEnhancer
from sdk.scrub.find.ner_models import load_ner_models
from sdk.scrub.find.recognizers import presidio_silenced, read_recognizers
from sdk.scrub.find.views import View, views
from sdk.scrub.prefilter.matching import NO_STRATEGIES, STRATEGIES, PatternTimedOut, prefilter_of
from sdk.scrub.spans import Span, merged

# What recognizers of any origin are known to raise; a class outside this list still ends the run, with its traceback.
DETECTOR_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, NameError,
    OSError, RuntimeError, TypeError, ValueError, regex.error,
)  # fmt: skip
ROW_SECONDS = 10.0
MOST, LEAST = EntityRecognizer.MAX_SCORE, EntityRecognizer.MIN_SCORE


class DetectorFailed(RuntimeError):
    """A recognizer could not say what stands in a text, so the text counts as not scanned."""


class DetectorTimedOut(DetectorFailed):
    """Scanning took longer than a text may take."""


class _OwnedPattern:
    """One pattern of one recognizer, and what is asked of its matches."""

    __slots__ = ("alone", "invalidate", "kind", "name", "needed", "pattern", "recognizer", "score", "validate", "words")

    def __init__(self, recognizer: PatternRecognizer, pattern: Pattern, score_threshold: float) -> None:
        kind = type(recognizer)
        self.recognizer, self.pattern = recognizer, pattern
        self.kind, self.name, self.score = recognizer.supported_entities[0], recognizer.name, pattern.score
        validates = kind.validate_result is not PatternRecognizer.validate_result
        invalidates = kind.invalidate_result is not PatternRecognizer.invalidate_result
        self.validate = recognizer.validate_result if validates else None
        self.invalidate = recognizer.invalidate_result if invalidates else None
        self.words: tuple[str, ...] = tuple(recognizer.context or ())
        self.alone = len(recognizer.patterns) == 1  # so its matches never overlap
        # One of them must stand near a match. To look for them first is faster than many a check.
        needed = self.alone and isinstance(recognizer, ChecksumRecognizer) and recognizer.needs_words
        self.needed = self.words if needed and self.score < score_threshold else ()

    def scored(self, value: str) -> float:
        """Score a match as PatternRecognizer does it: a valid value is sure, an invalid one is none."""
        score = self.score
        if self.validate:
            valid = self.validate(value)
            if valid is not None:
                score = MOST if valid else LEAST
        if self.invalidate and self.invalidate(value):
            score = LEAST
        return float(score)


class _Language:
    """The recognizers of one language, sorted by how they are run."""

    def __init__(self, recognizers: Sequence[EntityRecognizer], prefilter: bool, score_threshold: float) -> None:
        self.patterns: list[_OwnedPattern] = []
        self.single: list[EntityRecognizer] = []
        self.many: list[Any] = []
        for recognizer in recognizers:
            if hasattr(recognizer, "find_many"):
                self.many.append(recognizer)
            elif _is_plain(recognizer):
                self.patterns += [_OwnedPattern(recognizer, one, score_threshold) for one in recognizer.patterns]
            else:
                self.single.append(recognizer)
        expressions = ((one.pattern.regex, int(one.recognizer.global_regex_flags)) for one in self.patterns)
        self.prefilter = prefilter_of(tuple(expressions), STRATEGIES if prefilter else NO_STRATEGIES)


def _is_plain(recognizer: EntityRecognizer) -> bool:
    """Tell whether it has nothing but patterns, validation and context, which this module does in Presidio's stead."""
    kind = type(recognizer)
    return (
        isinstance(recognizer, PatternRecognizer)
        and kind.analyze is PatternRecognizer.analyze
        and kind.enhance_using_context is EntityRecognizer.enhance_using_context
    )


class Detector:
    """The recognizers of one recognizers.yaml, which find personal data in the languages that it supports."""

    def __init__(
        self,
        recognizers: Path | FileBytes,
        score_threshold: float,
        recognizer: str = "embedded",
        row_seconds: float = ROW_SECONDS,
        prefilter: bool = True,
    ) -> None:
        """Read the file and load the recognizer of names.

        recognizer: who finds names, as the policy writes it; row_seconds: what scanning one text may take; prefilter:
        False runs every pattern on every text, which finds the same in more time.

        InvalidInput lists the faults of the file; MissingExtra names what a recognizer's library is installed with.
        """
        registry = read_recognizers(recognizers)
        self.languages = frozenset(registry.supported_languages)
        engine, chosen = load_ner_models(recognizer, registry.recognizers, registry.supported_languages)
        self._nlp: NlpEngine = engine
        self._languages = {
            code: _Language([one for one in chosen if one.supported_language == code], prefilter, score_threshold)
            for code in self.languages
        }
        self.kinds = frozenset(kind for one in chosen for kind in one.supported_entities)
        self._context = WindowContextEnhancer()
        self._score_threshold, self._row_seconds = score_threshold, row_seconds

    def find(self, text: str, language: str) -> list[Span]:
        """Return disjoint spans in order.

        Raises one of DETECTOR_ERRORS, DetectorFailed among them, where the text counts as not scanned.
        """
        found = self.find_many([(text, language)])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def find_many(self, texts: Sequence[tuple[str, str]]) -> list[list[Span] | Exception]:
        """Return for each (text, language) its spans, or the error for which it counts as not scanned."""
        readings = [list(views(text)) for text, _ in texts]
        with presidio_silenced() as alarm:
            names = self._names_of(texts, readings)
            results: list[list[Span] | Exception] = []
            for i, (_, language) in enumerate(texts):
                alarm.heard = False
                try:
                    batch = names[i]
                    if isinstance(batch, Exception):
                        raise batch
                    spans = self._spans(language, readings[i], batch)
                    if alarm.heard:  # Presidio logs what it swallows: something of the text was not looked at
                        raise DetectorFailed
                except DETECTOR_ERRORS as error:
                    results.append(error)
                else:
                    results.append(spans)
        return results

    # -- names, for all texts at once

    def _names_of(
        self, texts: Sequence[tuple[str, str]], readings: Sequence[Sequence[View]]
    ) -> list[list[list[Span]] | Exception]:
        """Return for each text the finds of the recognizers with `find_many` in each of its views."""
        results: list[list[list[Span]] | Exception] = [[[] for _ in views_of_text] for views_of_text in readings]
        for language, plan in self._languages.items():
            chosen = [i for i, (_, code) in enumerate(texts) if code == language]
            for recognizer in plan.many if chosen else []:
                self._ask(recognizer, chosen, readings, results)
        return results

    def _ask(
        self,
        recognizer: Any,
        chosen: Sequence[int],
        readings: Sequence[Sequence[View]],
        results: list[list[list[Span]] | Exception],
    ) -> None:
        """Add the finds of one recognizer in the chosen texts to the results.

        It sees all of them in one call. If that fails, each text is asked for alone, so that one bad text is one error.
        """
        started = time.monotonic()
        places = [(i, j) for i in chosen for j in range(len(readings[i]))]
        try:
            spans = recognizer.find_many([readings[i][j].text for i, j in places])
            if len(spans) != len(places):
                raise DetectorFailed
        except DETECTOR_ERRORS as error:
            if len(chosen) == 1:
                results[chosen[0]] = error
                return
            for i in chosen:
                self._ask(recognizer, [i], readings, results)
            return
        late = time.monotonic() - started > self._row_seconds * len(chosen)
        for (i, j), its in zip(places, spans, strict=True):
            target = results[i]
            if late:
                results[i] = DetectorTimedOut(f"{recognizer.name} took longer than {self._row_seconds:g} s a text")
            elif not isinstance(target, Exception):
                target[j] += [span if span.recognizer else replace(span, recognizer=recognizer.name) for span in its]

    # -- one text

    def _spans(self, language: str, readings: Sequence[View], names: Sequence[Sequence[Span]]) -> list[Span]:
        plan = self._languages[language]
        deadline = time.monotonic() + self._row_seconds
        spans: list[Span] = []
        for view, its in zip(readings, names, strict=True):
            found = [*self._patterns(plan, view.text, deadline), *its, *self._others(plan, view.text, language)]
            if time.monotonic() > deadline:
                raise DetectorTimedOut(f"all recognizers together took longer than {self._row_seconds:g} s")
            found = [span for span in found if span.score >= self._score_threshold]
            spans += found if view.is_plain else filter(None, map(view.original, found))
        return without_labels(readings[0].text, merged(spans))

    def _patterns(self, plan: _Language, text: str, deadline: float) -> list[Span]:
        try:
            matches = plan.prefilter.matches(text, deadline)
        except PatternTimedOut as stopped:
            stuck = plan.patterns[stopped.number]
            raise DetectorTimedOut(
                f"pattern {stuck.pattern.name!r} of {stuck.recognizer.name} was stopped after {self._row_seconds:g} s"
            ) from None
        if not matches:
            return []
        by_recognizer: dict[int, tuple[_OwnedPattern, list[Span]]] = {}
        for number, start, end in matches:
            pattern = plan.patterns[number]
            if pattern.needed and not self._context.near(text, start, end, pattern.needed):
                continue
            score = pattern.scored(text[start:end])
            if score > LEAST:
                span = Span(start, end, pattern.kind, score, pattern.name)
                by_recognizer.setdefault(id(pattern.recognizer), (pattern, []))[1].append(span)
        spans: list[Span] = []
        for pattern, its in by_recognizer.values():
            spans += self._in_context(text, its if pattern.alone else _without_contained(its), pattern.words)
        return spans

    def _in_context(self, text: str, spans: list[Span], words: tuple[str, ...]) -> list[Span]:
        if not words:
            return spans
        scores = [self._context.raised(text, span.start, span.end, span.score, words) for span in spans]
        return [
            span if score == span.score else replace(span, score=score)
            for span, score in zip(spans, scores, strict=True)
        ]

    def _others(self, plan: _Language, text: str, language: str) -> Iterable[Span]:
        """Return the finds of recognizers that are more than patterns, through Presidio's own interface."""
        if not plan.single:
            return []
        artifacts = self._nlp.process_text(text, language)
        results: dict[str, list[RecognizerResult]] = {}
        for recognizer in plan.single:
            results[recognizer.id] = recognizer.analyze(text, recognizer.supported_entities, artifacts) or []
        spans: list[Span] = []
        for recognizer in plan.single:
            own = results[recognizer.id]
            if not own:
                continue
            rest = [result for key, others in results.items() if key != recognizer.id for result in others]
            own = recognizer.enhance_using_context(text, own, rest, artifacts, None)
            its = [Span(r.start, r.end, r.entity_type, float(r.score), recognizer.name) for r in own]
            spans += self._in_context(text, its, tuple(recognizer.context or ()))
        return spans


def _without_contained(spans: list[Span]) -> list[Span]:
    """Drop what a span at least as sure contains, as EntityRecognizer.remove_duplicates does for one kind.

    The spans are sorted by start, the longest first, so only those that still reach past a start have to be compared.
    """
    if len(spans) < 2:
        return spans
    kept: list[Span] = []
    active: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, s.start - s.end, -s.score)):
        active = [other for other in active if other.end >= span.start]
        if not any(
            other.start <= span.start and span.end <= other.end and span.score <= other.score for other in active
        ):
            kept.append(span)
            active.append(span)
    return kept
