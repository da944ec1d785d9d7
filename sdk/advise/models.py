"""Models by name, and the shape of one that lies in a local folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from sdk.advise.model_config import read_shape, shape_of
from sdk.files.regular_files import read_shipped
from sdk.files.store import EMBEDDED, embedded_base
from sdk.lookup import key, unknown
from sdk.records import ModelShape

# Words that name a vendor or a variant of one shape: "meta-llama/Llama-3.1-8B-Instruct" is "llama318b".
NOISE = frozenset({"meta", "instruct", "chat", "hf", "it", "base", "pt", "4k", "128k"})


def find_model(name: str) -> ModelShape:
    """Find the shape of "embedded", a catalogue name in any common spelling, a local folder or its config.json.

    InvalidInput names the nearest catalogue entries, or everything that is wrong with the config.json.
    """
    if name == EMBEDDED:
        return read_shape(embedded_base() / "config.json").model_copy(update={"name": EMBEDDED})
    path = Path(name).expanduser()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError):  # a name that no file system takes
        is_folder = is_there = False
    if is_there:
        shape = read_shape(path / "config.json" if is_folder else path)
        embedded = path.resolve() in (embedded_base(), embedded_base() / "config.json")
        return shape.model_copy(update={"name": EMBEDDED}) if embedded else shape
    entry = _entries().get(_key(name.rsplit("/", 1)[-1]))
    if entry is None:
        known = list(dict.fromkeys(entry["name"] for entry in _entries().values()))
        raise unknown("model", name, known, "give the folder that holds its config.json")
    return _shape(entry)


def models() -> tuple[ModelShape, ...]:
    return tuple({entry["name"]: _shape(entry) for entry in _entries().values()}.values())


def _key(name: str) -> str:
    return key(name, NOISE)


@cache
def _entries() -> dict[str, dict[str, Any]]:
    """Key of a name -> an entry of the catalogue: name, aliases, source, and of its config.json what counts."""
    entries = json.loads(read_shipped(Path(__file__).with_name("models.json")))
    return {_key(name): entry for entry in entries for name in (entry["name"], *entry.get("aliases", ()))}


def _shape(entry: dict[str, Any]) -> ModelShape:
    return shape_of(entry["config"], entry["name"], entry["source"], entry["name"])
