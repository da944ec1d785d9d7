"""Chat templates that mark the answers, for bases whose own mark nothing: those that trl ships for published models.

trl keeps each as a pair of files, a model's own template and the one to train with. They are read as data; trl, which
is slow to import, is not needed for that.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from sdk.files.regular_files import TEMPLATE_BYTES, read_regular

_TRAINING = "_training.jinja"


def training_template(source: str) -> str | None:
    """Return the template to train with of a base whose own template is this one. None if trl has none."""
    return _pairs().get(source)


@cache
def _pairs() -> dict[str, str]:
    """Read trl's pairs: a model's own template -> the one to train with."""
    found = importlib.util.find_spec("trl")
    folders = (
        [] if found is None else [Path(place) / "chat_templates" for place in found.submodule_search_locations or ()]
    )
    pairs = {}
    for folder in folders:
        for training in sorted(folder.glob(f"*{_TRAINING}")):
            own = training.with_name(training.name.removesuffix(_TRAINING) + ".jinja")
            if own.is_file():
                pairs[_text(own)] = _text(training)
    return pairs


def _text(path: Path) -> str:
    return read_regular(path, TEMPLATE_BYTES).decode()
