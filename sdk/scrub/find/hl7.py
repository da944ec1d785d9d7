"""Personal data in messages of HL7 version 2, by the place of the field: `PID|1||MR884120^^^HOSP^MR||DOE^JANE`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

SURE = 0.95
NAME, ADDRESS = "PERSON", "STREET_ADDRESS"
RECORD, DATE, BORN, PHONE = "MEDICAL_RECORD_NUMBER", "DATE_TIME", "DATE_OF_BIRTH", "PHONE_NUMBER"
# What a field of a segment holds (HL7 2.5.1, chapters 2 to 7); MSH-1 is the separator itself.
_DOCTOR = "DOCTOR"  # XCN: a number, then a name
FIELDS: dict[str, dict[int, str]] = {
    "MSH": {7: DATE},
    "EVN": {2: DATE, 3: DATE, 5: _DOCTOR, 6: DATE},
    "PID": {2: RECORD, 3: RECORD, 4: RECORD, 5: NAME, 6: NAME, 7: BORN, 9: NAME, 11: ADDRESS, 13: PHONE, 14: PHONE,
            18: RECORD, 19: "US_SSN", 20: "US_DRIVER_LICENSE", 21: RECORD, 29: DATE, 33: DATE},
    "NK1": {2: NAME, 4: ADDRESS, 5: PHONE, 6: PHONE, 16: BORN, 30: NAME, 31: PHONE, 32: ADDRESS},
    "PV1": {7: _DOCTOR, 8: _DOCTOR, 9: _DOCTOR, 17: _DOCTOR, 19: RECORD, 44: DATE, 45: DATE, 50: RECORD, 52: _DOCTOR},
    "ORC": {2: RECORD, 3: RECORD, 4: RECORD, 9: DATE, 10: _DOCTOR, 11: _DOCTOR, 12: _DOCTOR, 14: PHONE, 15: DATE},
    "OBR": {2: RECORD, 3: RECORD, 6: DATE, 7: DATE, 8: DATE, 10: _DOCTOR, 14: DATE, 16: _DOCTOR, 17: PHONE, 20: RECORD,
            22: DATE, 28: _DOCTOR, 32: _DOCTOR, 33: _DOCTOR, 34: _DOCTOR, 35: _DOCTOR},
    "OBX": {14: DATE, 16: _DOCTOR, 19: DATE},
    "IN1": {2: "HEALTH_PLAN_NUMBER", 8: "HEALTH_PLAN_NUMBER", 12: DATE, 13: DATE, 16: NAME, 18: BORN, 19: ADDRESS,
            36: "HEALTH_PLAN_NUMBER", 49: "HEALTH_PLAN_NUMBER"},
    "GT1": {2: RECORD, 3: NAME, 5: ADDRESS, 6: PHONE, 7: PHONE, 8: BORN, 12: "US_SSN"},
}  # fmt: skip
KINDS = (NAME, ADDRESS, RECORD, DATE, BORN, PHONE, "US_NPI", "US_SSN", "US_DRIVER_LICENSE", "HEALTH_PLAN_NUMBER")
_SEGMENT = re.compile(rf"(?<![0-9A-Za-z])({'|'.join(FIELDS)})\|([^\r\n]*)")
_FIRST_OF_COMPONENTS = {RECORD, BORN, DATE, "US_SSN", "US_DRIVER_LICENSE", "HEALTH_PLAN_NUMBER"}
_NAME = re.compile(r"[^\W\d_][\w.'’\- ]{1,40}")
_NUMBER = re.compile(r"(?=[^^~|]*[0-9]{2})[0-9A-Za-z][0-9A-Za-z ./\-]*")
_TIME = re.compile(r"(?:19|20)[0-9]{6}[0-9]{0,6}(?:\.[0-9]{1,4})?(?:[+\-][0-9]{4})?")


class Hl7Recognizer(LocalRecognizer):
    """Fields of the segments that hold a person's identity, visits and orders."""

    def __init__(self, supported_language: str = "en", name: str | None = None) -> None:
        super().__init__(list(KINDS), name=name, supported_language=supported_language)

    def load(self) -> None:
        """Load nothing: the recognizer is code."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        if "|" not in text:
            return []
        return [
            RecognizerResult(
                entity_type=kind,
                start=start,
                end=end,
                score=SURE,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                },
            )
            for segment in _SEGMENT.finditer(text)
            for kind, start, end in _of_segment(segment)
        ]


def _of_segment(segment: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    fields, start = FIELDS[segment[1]], segment.start(2)
    number = 2 if segment[1] == "MSH" else 1
    for field in segment[2].split("|"):
        kind = fields.get(number)
        if kind and field.strip('" '):
            for repeated in re.finditer(r"[^~]+", field):
                yield from _of_field(kind, repeated.group(), start + repeated.start())
        start += len(field) + 1
        number += 1


def _of_field(kind: str, value: str, start: int) -> Iterator[tuple[str, int, int]]:
    if kind == ADDRESS:
        yield ADDRESS, start, start + len(value.rstrip("^ "))
    elif kind == PHONE:
        yield PHONE, start, start + len(value.rstrip("^ "))
    elif kind in _FIRST_OF_COMPONENTS:
        found = (_TIME if kind in (DATE, BORN) else _NUMBER).match(value)
        if found:
            yield kind, start + found.start(), start + found.end()
    else:
        first = 0
        for place, component in enumerate(value.split("^")[:4]):
            if kind == _DOCTOR and place == 0:
                number = _NUMBER.match(component)
                if number:
                    yield "US_NPI", start, start + number.end()
            elif _NAME.fullmatch(component) and (place < 3 or kind == _DOCTOR):
                yield NAME, start + first, start + first + len(component)
            first += len(component) + 1
