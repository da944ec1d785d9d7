"""What a base model is called, where it comes from and under which licence, as its model card says.

Source: huggingface/hub-docs, modelcard.md: YAML between two lines of dashes at the beginning of README.md. A card is a
text of others, so what is odd in it is left out, and nothing depends on it: the base is known by its digest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from sdk.data.base_folder import CARD
from sdk.errors import InvalidInput
from sdk.policy import parse_yaml
from sdk.wording import visible

UNKNOWN = "unknown"
_FRONT_MATTER = re.compile(r"\ufeff?---\r?\n(.*?)\r?\n---\r?(\n|$)", re.DOTALL)
_LONGEST = 100  # characters of a name or a licence


class BaseCard(NamedTuple):
    """What a card says; empty where it says nothing."""

    name: str = ""
    source: str = ""  # the models that the base was made from
    license: str = ""


def parse_base_card(card: bytes) -> BaseCard:
    """Parse a card as `BaseFolder.card` has it; an empty one where there is none, or none that can be read."""
    try:
        text = card.decode("utf-8")
        matter = _FRONT_MATTER.match(text)
        fields = parse_yaml(matter[1].encode(), Path(CARD)) if matter else None
    except (InvalidInput, UnicodeDecodeError):
        return BaseCard()
    if not isinstance(fields, dict):
        return BaseCard()
    license = _plain(fields.get("license"))
    if license == "other":
        license = _plain(fields.get("license_name")) or license
    parents = fields.get("base_model")
    listed = parents if isinstance(parents, list) else [parents]
    return BaseCard(
        name=_plain(fields.get("model_name")) or _plain(fields.get("title")),
        source=", ".join(filter(None, map(_plain, listed))),
        license=license,
    )


def require_plain(option: str, value: str) -> str:
    """Return what a user says of a base. Raises InvalidInput where it is no line of text that can be shown."""
    if not _plain(value):
        raise InvalidInput(f"{option} must be one line of 1 to {_LONGEST} characters that can be shown.")
    return value


def _plain(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return text if len(text) <= _LONGEST and visible(text) == text and "\n" not in text else ""
