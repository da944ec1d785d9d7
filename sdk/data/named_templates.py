"""Chat templates by name, for bases that have none: ordinary text, and the tokenizer's own end token behind answers.

What stands behind the first blank line of a question is the input of alpaca's forms. So a question that is asked of the
model is rendered as a row with the columns instruction and input was, which joins the two by a blank line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdk.errors import InvalidInput
from sdk.files.regular_files import TEMPLATE_BYTES, read_regular
from sdk.records import TEMPLATES

_FOLDER = Path(__file__).resolve().parent / "templates"
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")


def require_template_name(name: str) -> None:
    """Raise InvalidInput unless there is a template of that name."""
    if name not in TEMPLATES:
        raise InvalidInput(f"There is no chat template {name!r}; name one of {', '.join(TEMPLATES)}.")


def template_for(languages: Sequence[str]) -> str:
    """Return the name of the template for a base that has none. languages: the domain's, the main one first."""
    return "alpaca-zh" if languages[0] == "zh" else "alpaca"


def template_source(name: str, begins: bool) -> str:
    """Read a template. begins: whether a text begins with the tokenizer's begin token, as it does in pretraining."""
    source = read_regular(_FOLDER / f"{name}.jinja", TEMPLATE_BYTES).decode()
    return "{{- bos_token -}}\n" + source if begins else source
