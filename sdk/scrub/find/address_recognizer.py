"""What recognizers of addresses share: code that yields spans, as Presidio's registry makes and asks it."""

from __future__ import annotations

from collections.abc import Iterable

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts


class AddressRecognizer(LocalRecognizer):
    """Results of `addresses`, each (start, end, score), under the name of this recognizer."""

    def __init__(
        self, supported_language: str = "en", supported_entities: list[str] | None = None, name: str | None = None
    ) -> None:
        super().__init__(supported_entities or ["STREET_ADDRESS"], name=name, supported_language=supported_language)

    def load(self) -> None:
        """Load nothing: the recognizer is code."""

    def addresses(self, text: str) -> Iterable[tuple[int, int, float]]:
        raise NotImplementedError

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        return [
            RecognizerResult(
                entity_type=self.supported_entities[0],
                start=start,
                end=end,
                score=score,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                },
            )
            for start, end, score in self.addresses(text)
        ]
