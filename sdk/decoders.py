"""Which models can be adapted at all: decoders, of which transformers has a class that writes text.

model_types.json holds what transformers knows and what is none of these, by kind; tools/model_types.py writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sdk.files.regular_files import read_shipped

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_HEAD = re.compile(
    r"[A-Za-z0-9_]{0,60}?For[A-Za-z]{0,20}?(MaskedLM|PreTraining|Classification|QuestionAnswering|MultipleChoice)"
)
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")  # where a model keeps its language model
_DEEPEST = 4
_KINDS = {
    "encoder": "an encoder, which fills gaps in texts and writes none",
    "encoder-decoder": "an encoder-decoder, which transformers does not load as a language model alone",
    "senses": "a model for images, sound or video, of which transformers loads no part that is for text alone",
    "part": "no language model, or only a part of one",
}


def not_decoder_fault(config: Mapping[str, Any]) -> str | None:
    """Return why a model with this config.json is none that can be adapted, with its kind; None if it may be one."""
    name = named_type(config)
    kind = _other_types().get(name)
    if kind is None and config.get("is_encoder_decoder") is True:
        kind = "encoder-decoder"
    head = next(iter(_architectures(config)), "")
    if kind is not None:
        called = f"{name!r} is {_KINDS[kind]}" if name else f"it is {_KINDS[kind]}"
    elif _HEAD.fullmatch(head):
        called = f"{head!r} puts texts into classes or fills their gaps, and writes none"
    else:
        return None
    return f"config.json: {called}; take a decoder, whose config.json names an architecture that ends in ForCausalLM"


def named_type(config: Mapping[str, Any]) -> str:
    """Return the model_type, "" where none is given or what is given can be none."""
    name = config.get("model_type")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def language_part(config: Mapping[str, Any]) -> object:
    """Return the config of the language model, which models with other senses keep in their own, at any depth."""
    part: object = config
    for _ in range(_DEEPEST):
        name = next((name for name in _NESTED if name in part), None) if isinstance(part, Mapping) else None
        if name is None:
            break
        part = part[name]  # type: ignore[index] # a mapping, as the line above has it
    return part


def _architectures(config: Mapping[str, Any]) -> list[str]:
    given = config.get("architectures")
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


@cache
def _other_types() -> dict[str, str]:
    """Map every model_type that is no decoder to its kind."""
    kinds = json.loads(read_shipped(Path(__file__).with_name("model_types.json")))
    return {name: kind for kind, names in kinds.items() for name in names}
