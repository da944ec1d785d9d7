"""The format of a domain's recognizers.yaml, as far as it can be held against it without Presidio, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex

from sdk.domain.compiled_patterns import require_pattern
from sdk.errors import InvalidInput
from sdk.files.regular_files import FileBytes
from sdk.policy import parse_yaml

# Presidio makes one alternation of a deny list, which is tried at each place of a text: with 1,000 words a text of
# 200 characters takes half a second, with 4,000 more than the ten seconds that a text may take.
DENIED_WORDS = 1000
COMMON_KEYS = {
    "name", "class_name", "enabled", "type", "supported_language", "supported_languages", "supported_entity", "context"
}  # fmt: skip
CUSTOM_KEYS = COMMON_KEYS | {"patterns", "deny_list", "deny_list_score", "country_code"}
PREDEFINED_KEYS = COMMON_KEYS | {"supported_entities", "country_code"}
TOP_KEYS = frozenset({"supported_languages", "global_regex_flags", "recognizers"})

Entry = Mapping[str, Any]


def parse_recognizers(file: FileBytes, class_faults: Callable[[Entry], list[str]] = lambda entry: []) -> dict[str, Any]:
    """Read a recognizers.yaml. InvalidInput lists every fault, with the number and the name of its entry.

    class_faults: lists what is wrong with the class that an entry without patterns and words names.
    """
    document = parse_yaml(file.data, file.path)
    faults = list(_faults(document, class_faults))
    if faults:
        raise InvalidInput(f"{file.path} is malformed; its format is that of Presidio's recognizer registry.", faults)
    parsed: dict[str, Any] = document
    return parsed


def _faults(document: Any, class_faults: Callable[[Entry], list[str]]) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "top level: must be a mapping with the key recognizers"
        return
    yield from (f"top level: unknown key {key}" for key in document if key not in TOP_KEYS)
    languages, entries = document.get("supported_languages"), document.get("recognizers")
    if not isinstance(languages, list) or not languages or not all(isinstance(code, str) for code in languages):
        yield "supported_languages: must be a list of language codes, such as [en, zh]"
    if not isinstance(entries, list) or not entries:
        yield "recognizers: must be a list and not empty"
        return
    words = sum(len(entry["deny_list"]) for entry in entries if _has_words(entry))
    if words > DENIED_WORDS:
        yield f"deny_list: {words:,} words in all, at most {DENIED_WORDS} are searched for; use patterns instead"
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            # Presidio drops a bare string without a word
            yield f"recognizer {number}: must be a mapping with a name; a bare word would be ignored"
            continue
        faults = _custom_faults(entry) if _is_custom(entry) else class_faults(entry)
        known = CUSTOM_KEYS if _is_custom(entry) else PREDEFINED_KEYS
        unknown = [f"unknown key {key}" for key in entry if key not in known]
        yield from (f"recognizer {number}, {entry['name']}: {fault}" for fault in (*unknown, *faults))


def _has_words(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("deny_list"), list)


def _is_custom(entry: Entry) -> bool:
    return entry.get("type") == "custom" or ("type" not in entry and ("patterns" in entry or "deny_list" in entry))


def _custom_faults(entry: Entry) -> Iterator[str]:
    if not entry.get("patterns") and not entry.get("deny_list"):
        yield "needs patterns or a deny_list"
    patterns = entry.get("patterns") or []
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else [None], 1):
        if not isinstance(pattern, dict) or set(pattern) != {"name", "regex", "score"}:
            yield f"pattern {number}: must be a mapping of name, regex and score"
            continue
        try:
            require_pattern(str(pattern["regex"]))
        except regex.error as error:
            yield f"pattern {pattern['name']}: no regular expression: {error}"
