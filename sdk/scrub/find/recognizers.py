"""A domain's recognizers.yaml: read, held against its format, and loaded as Presidio's registry, offline."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import regex
from presidio_analyzer import RemoteRecognizer
from presidio_analyzer.recognizer_registry import RecognizerRegistry, RecognizerRegistryProvider
from presidio_analyzer.recognizer_registry.recognizers_loader_utils import (
    PredefinedRecognizerNotFoundError,
    RecognizerListLoader,
)

from sdk.domain.recognizer_format import parse_recognizers
from sdk.errors import InvalidInput
from sdk.files.regular_files import RECOGNIZERS_BYTES, FileBytes, read_regular
from sdk.scrub.find import checksums, chinese_addresses, chinese_names, hl7, institutions, street_addresses
from sdk.scrub.find.tagger import name_recognizer

REGEX_FLAGS = int(regex.DOTALL | regex.MULTILINE | regex.IGNORECASE)  # Presidio's default
OWN_MODULES = (
    chinese_addresses,
    checksums,
    chinese_names,
    hl7,
    institutions,
    street_addresses,
    name_recognizer,
)  # imported so that Presidio finds their classes by name
# modules of Presidio whose recognizers load a model or ask a server, and the one class that asks publicsuffix.org
NOT_OFFLINE = ("presidio_analyzer.predefined_recognizers.third_party", "presidio_analyzer.predefined_recognizers.ner")
ASKS_THE_NETWORK = frozenset({"EmailRecognizer"})
NEEDS_A_MODEL = "presidio_analyzer.predefined_recognizers.nlp_engine_recognizers"


class Alarm(logging.Handler):
    """Keeps that something was logged; what was logged may be customers' text, so it goes nowhere."""

    heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard = True


@contextmanager
def presidio_silenced() -> Iterator[Alarm]:
    """Keep Presidio's log from everybody: it may quote customers' text. The alarm tells that there was something."""
    logger, alarm = logging.getLogger("presidio-analyzer"), Alarm(logging.WARNING)
    kept = (logger.handlers, logger.propagate)
    logger.handlers, logger.propagate = [alarm], False
    try:
        yield alarm
    finally:
        logger.handlers, logger.propagate = kept


def read_recognizers(file: Path | FileBytes) -> RecognizerRegistry:
    """Read a recognizers.yaml. InvalidInput lists every fault, but only the first of those that Presidio finds."""
    path, data = file if isinstance(file, FileBytes) else (file, read_regular(file, RECOGNIZERS_BYTES))
    document = parse_recognizers(FileBytes(path, data), _class_faults)
    configuration = {"global_regex_flags": REGEX_FLAGS, **document}
    with presidio_silenced() as alarm:
        try:
            registry = RecognizerRegistryProvider(registry_configuration=configuration).create_recognizer_registry()
        except (ValueError, TypeError, KeyError, AttributeError, PredefinedRecognizerNotFoundError) as error:
            raise InvalidInput(f"{path}: Presidio refuses it: {error}") from None
    if alarm.heard:
        raise InvalidInput(f"{path}: a recognizer's language is not among supported_languages; add it there.")
    return registry


def _class_faults(entry: Mapping[str, Any]) -> list[str]:
    """List what is wrong with the class that an entry names."""
    class_name = str(entry.get("class_name") or entry["name"])
    try:
        found = RecognizerListLoader.get_existing_recognizer_cls(class_name)
    except PredefinedRecognizerNotFoundError:
        return [f"no recognizer class {class_name} is known; mend the name, or give it patterns and an entity"]
    faults = []
    if found.__module__.startswith(NEEDS_A_MODEL) and entry.get("enabled", True):
        faults.append("needs a language model, which this engine does not load; remove it")
    if (
        issubclass(found, RemoteRecognizer)
        or class_name in ASKS_THE_NETWORK
        or found.__module__.startswith(NOT_OFFLINE)
    ):
        faults.append("asks the network or downloads a model; use patterns instead")
    return faults
