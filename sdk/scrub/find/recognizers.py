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

from sdk.errors import InvalidInput
from sdk.policy import parse_yaml
from sdk.regular_files import RECOGNIZERS_BYTES, FileBytes, read_regular
from sdk.scrub.find import checksums, chinese_addresses, chinese_names, street_addresses
from sdk.scrub.find.tagger import name_recognizer

REGEX_FLAGS = int(regex.DOTALL | regex.MULTILINE | regex.IGNORECASE)  # Presidio's default
OWN_MODULES = (
    chinese_addresses,
    checksums,
    chinese_names,
    street_addresses,
    name_recognizer,
)  # imported so that Presidio finds their classes by name
# modules of Presidio whose recognizers load a model or ask a server, and the one class that asks publicsuffix.org
NOT_OFFLINE = ("presidio_analyzer.predefined_recognizers.third_party", "presidio_analyzer.predefined_recognizers.ner")
ASKS_THE_NETWORK = frozenset({"EmailRecognizer"})
NEEDS_A_MODEL = "presidio_analyzer.predefined_recognizers.nlp_engine_recognizers"
# Presidio makes one alternation of a deny list, which is tried at each place of a text: with 1,000 words a text of
# 200 characters takes half a second, with 4,000 more than the ten seconds that a text may take.
DENIED_WORDS = 1000
COMMON_KEYS = {
    "name", "class_name", "enabled", "type", "supported_language", "supported_languages", "supported_entity", "context"
}  # fmt: skip
CUSTOM_KEYS = COMMON_KEYS | {"patterns", "deny_list", "deny_list_score", "country_code"}
PREDEFINED_KEYS = COMMON_KEYS | {"supported_entities", "country_code"}
TOP_KEYS = frozenset({"supported_languages", "global_regex_flags", "recognizers"})


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
    document = parse_yaml(data, path)
    faults = _faults(document)
    if faults:
        raise InvalidInput(f"{path} is malformed; its format is that of Presidio's recognizer registry.", faults)
    configuration = {"global_regex_flags": REGEX_FLAGS, **document}
    with presidio_silenced() as alarm:
        try:
            registry = RecognizerRegistryProvider(registry_configuration=configuration).create_recognizer_registry()
        except (ValueError, TypeError, KeyError, AttributeError, PredefinedRecognizerNotFoundError) as error:
            raise InvalidInput(f"{path}: Presidio refuses it: {error}") from None
    if alarm.heard:
        raise InvalidInput(f"{path}: a recognizer's language is not among supported_languages; add it there.")
    return registry


def _faults(document: Any) -> list[str]:
    if not isinstance(document, dict):
        return ["top level: must be a mapping with the key recognizers"]
    faults = [f"top level: unknown key {key}" for key in document if key not in TOP_KEYS]
    languages, entries = document.get("supported_languages"), document.get("recognizers")
    if not isinstance(languages, list) or not languages or not all(isinstance(code, str) for code in languages):
        faults.append("supported_languages: must be a list of language codes, such as [en, zh]")
    if not isinstance(entries, list) or not entries:
        return [*faults, "recognizers: must be a list and not empty"]
    words = sum(len(entry["deny_list"]) for entry in entries if _has_words(entry))
    if words > DENIED_WORDS:
        faults.append(f"deny_list: {words} words in all, at most {DENIED_WORDS} are searched for; use patterns instead")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            # Presidio drops a bare string without a word
            faults.append(f"recognizer {number}: must be a mapping with a name; a bare word would be ignored")
        else:
            faults += [f"recognizer {number}, {entry['name']}: {fault}" for fault in _entry_faults(entry)]
    return faults


def _has_words(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("deny_list"), list)


def _entry_faults(entry: Mapping[str, Any]) -> list[str]:
    custom = entry.get("type") == "custom" or ("type" not in entry and ("patterns" in entry or "deny_list" in entry))
    known = CUSTOM_KEYS if custom else PREDEFINED_KEYS
    faults = [f"unknown key {key}" for key in entry if key not in known]
    if custom:
        if not entry.get("patterns") and not entry.get("deny_list"):
            faults.append("needs patterns or a deny_list")
        return [*faults, *_pattern_faults(entry.get("patterns") or [])]
    class_name = str(entry.get("class_name") or entry["name"])
    try:
        found = RecognizerListLoader.get_existing_recognizer_cls(class_name)
    except PredefinedRecognizerNotFoundError:
        return [*faults, f"no recognizer class {class_name} is known; mend the name, or give it patterns and an entity"]
    if found.__module__.startswith(NEEDS_A_MODEL) and entry.get("enabled", True):
        faults.append("needs a language model, which this engine does not load; remove it")
    if (
        issubclass(found, RemoteRecognizer)
        or class_name in ASKS_THE_NETWORK
        or found.__module__.startswith(NOT_OFFLINE)
    ):
        faults.append("asks the network or downloads a model; use patterns instead")
    return faults


def _pattern_faults(patterns: Any) -> list[str]:
    faults = []
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else [None], 1):
        if not isinstance(pattern, dict) or set(pattern) != {"name", "regex", "score"}:
            faults.append(f"pattern {number}: must be a mapping of name, regex and score")
            continue
        try:
            regex.compile(str(pattern["regex"]))
        except regex.error as error:
            faults.append(f"pattern {pattern['name']}: no regular expression: {error}")
    return faults
