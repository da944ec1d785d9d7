"""Who finds names: the recognizer that ships, none, or a spaCy, transformers, GLiNER or stanza model on this disk."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import spacy
from presidio_analyzer import EntityRecognizer
from presidio_analyzer.nlp_engine import NlpEngine, NoOpNlpEngine, SpacyNlpEngine, device_detector, stanza_nlp_engine
from presidio_analyzer.predefined_recognizers import SpacyRecognizer, StanzaRecognizer
from presidio_analyzer.predefined_recognizers.ner import gliner_recognizer, huggingface_ner_recognizer

from sdk.errors import InvalidInput, MissingExtra
from sdk.scrub.find.recognizers import presidio_silenced
from sdk.scrub.find.tagger.name_recognizer import EmbeddedNameRecognizer
from sdk.scrub.find.without_models import read_anew

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
NAMES = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")  # what a model is asked for; forms find the rest better
LIBRARIES = {"transformers": "transformers", "gliner": "gliner", "stanza": "stanza"}  # setting -> import

EngineAndRecognizers = tuple[NlpEngine, list[EntityRecognizer]]


def load_ner_models(
    setting: str, recognizers: Sequence[EntityRecognizer], languages: Sequence[str]
) -> EngineAndRecognizers:
    """Return the NLP engine and the recognizers under the policy's `recognizer`, with models of this disk only.

    MissingExtra where a library is not installed; InvalidInput where a model is not there or does not load.
    """
    if setting == "embedded":
        return _silent_engine(languages), list(recognizers)
    rest = [one for one in recognizers if not isinstance(one, EmbeddedNameRecognizer)]
    if setting == "none":
        return _silent_engine(languages), rest
    library, _, model = setting.partition(":")
    if library not in LOADERS or not model:
        raise InvalidInput(
            f"recognizer {setting!r} is not known; write embedded, none, or one of "
            f"{', '.join(sorted(LOADERS))} with a colon and a model's folder."
        )
    needed = LIBRARIES.get(library)
    if needed and importlib.util.find_spec(needed) is None:
        raise MissingExtra(f"recognizer {setting!r} needs {needed}, which is not installed: pip install {needed}")
    kept = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    try:
        with presidio_silenced():
            device_detector.__init__()  # it looked for a GPU when Presidio was imported, and torch was left out
            engine, finders = LOADERS[library](model, languages)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"recognizer {setting!r} does not load from this disk: {type(error).__name__}: {error}"
        ) from None
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return engine, [*rest, *finders]


def _silent_engine(languages: Sequence[str]) -> NlpEngine:
    engine = NoOpNlpEngine([{"lang_code": code, "model_name": "none"} for code in languages])
    with presidio_silenced():
        engine.load()
    return engine


def _models(model: str, languages: Sequence[str]) -> list[dict[str, str]]:
    return [{"lang_code": code, "model_name": model} for code in languages]


def _folder(model: str) -> str:
    if not Path(model).is_dir():
        raise OSError("there is no such folder")
    return model


def _spacy(model: str, languages: Sequence[str]) -> EngineAndRecognizers:
    if not (Path(model).exists() or spacy.util.is_package(model)):
        raise OSError("there is no such folder, and no such package is installed")
    engine = SpacyNlpEngine(_models(model, languages))
    engine.load()
    return engine, [SpacyRecognizer(supported_language=code, supported_entities=list(NAMES)) for code in languages]


def _transformers(model: str, languages: Sequence[str]) -> EngineAndRecognizers:
    folder = _folder(model)
    recognizer = read_anew(huggingface_ner_recognizer).HuggingFaceNerRecognizer
    found = [recognizer(model_name=folder, supported_language=code, device="cpu") for code in languages]
    return _silent_engine(languages), found


def _gliner(model: str, languages: Sequence[str]) -> EngineAndRecognizers:
    folder = _folder(model)
    mapping = {"person": "PERSON", "location": "LOCATION", "organization": "ORGANIZATION", "nationality": "NRP"}
    recognizer = read_anew(gliner_recognizer).GLiNERRecognizer
    found: list[Any] = [
        recognizer(
            model_name=folder,
            supported_language=code,
            entity_mapping=mapping,
            map_location="cpu",
            local_files_only=True,
        )
        for code in languages
    ]
    return _silent_engine(languages), found


def _stanza(model: str, languages: Sequence[str]) -> EngineAndRecognizers:
    engine = read_anew(stanza_nlp_engine).StanzaNlpEngine(_models(_folder(model), languages), download_if_missing=False)
    engine.load()
    return engine, [StanzaRecognizer(supported_language=code, supported_entities=list(NAMES)) for code in languages]


LOADERS: dict[str, Callable[[str, Sequence[str]], EngineAndRecognizers]] = {
    "spacy": _spacy,
    "transformers": _transformers,
    "gliner": _gliner,
    "stanza": _stanza,
}
