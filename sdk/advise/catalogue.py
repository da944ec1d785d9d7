"""Models and GPUs by name, and the shape of a model that lies in a local folder."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdk.errors import InvalidInput
from sdk.records import Hardware, ModelShape

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / "base"
CONFIG_BYTES = 1 << 20  # no published config.json comes near
NEAREST = 5
# Words that name a vendor, a variant of one shape or a form factor: "meta-llama/Llama-3.1-8B-Instruct" is "llama318b".
NOISE = {
    "model": {"meta", "instruct", "chat", "hf", "it", "base", "pt", "4k", "128k"},
    "gpu": {"nvidia", "geforce", "tesla", "quadro", "rtx", "gtx", "gpu", "generation", "pcie"},
}
FORM_FACTOR = re.compile(r"(sxm|hbm)\d?e?")
SHAPE_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def find_model(name: str) -> ModelShape:
    """The shape of a model: "embedded", a catalogue name in any common spelling, a local folder or its config.json.

    InvalidInput names the nearest catalogue entries, or everything that is wrong with the config.json.
    """
    path = EMBEDDED_FOLDER if name == EMBEDDED else Path(name).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        is_folder = is_file = False
    if is_folder or is_file:
        return _read_config(path / "config.json" if is_folder else path)
    entry = _models().get(_key(name.rsplit("/", 1)[-1], "model"))
    if entry is None:
        raise _unknown("model", name, [model.name for model in models()], "give the folder that holds its config.json")
    return entry


def find_gpu(name: str) -> Hardware:
    """One GPU of the catalogue, as its driver, its vendor or its users spell it; InvalidInput names the nearest."""
    entry = _gpus().get(_key(name, "gpu"))
    if entry is None:
        raise _unknown("GPU", name, [str(gpu.gpu) for gpu in gpus()], "give its memory in hardware_config")
    return entry


def models() -> tuple[ModelShape, ...]:
    return tuple(dict.fromkeys(_models().values()))


def gpus() -> tuple[Hardware, ...]:
    return tuple(dict.fromkeys(_gpus().values()))


def _key(name: str, kind: str) -> str:
    words = re.findall(r"[a-z0-9.]+", name.casefold())
    kept = [word for word in words if word not in NOISE[kind] and not FORM_FACTOR.fullmatch(word)]
    return re.sub(r"[^a-z0-9]", "", "".join(kept))


def _unknown(what: str, name: str, known: Sequence[str], otherwise: str) -> InvalidInput:
    folded = {entry.casefold(): entry for entry in known}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=NEAREST, cutoff=0.3)]
    message = f"No {what} called {name[:100]!r} is in the catalogue; {otherwise}, or take one of the nearest names:"
    return InvalidInput(message, near or known[:NEAREST])


def _catalogue(file: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    return entries


@cache
def _models() -> dict[str, ModelShape]:
    found = {}
    for entry in _catalogue("models.json"):
        aliases = entry.pop("aliases", [])
        entry.setdefault("head_dim", entry["hidden_size"] // entry["num_attention_heads"])
        shape = ModelShape.model_validate(entry)
        found.update({_key(name, "model"): shape for name in (shape.name, *aliases)})
    return found


@cache
def _gpus() -> dict[str, Hardware]:
    found = {}
    for entry in _catalogue("gpus.json"):
        gpu = Hardware(
            gpu=entry["name"], gpu_count=1, gpu_memory_gib=entry["memory_gib"], bf16=entry["bf16"], source="catalogue"
        )
        found.update({_key(name, "gpu"): gpu for name in (entry["name"], *entry.get("aliases", []))})
    return found


def _read_config(path: Path) -> ModelShape:
    """The shape that a config.json of Hugging Face's format states; only plain JSON is read, no code runs."""
    config = _read_json(path)
    text = config.get("text_config", config)  # models with other senses nest their language model
    if not isinstance(text, dict):
        raise InvalidInput(f"{path}: text_config must be an object.")
    faults = [f"{key} is missing" for key in SHAPE_KEYS if text.get(key) is None]
    if any(text.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        faults.append("mixtures of experts are not supported; take a dense model")
    heads = text.get("num_attention_heads")
    values = {key: text.get(key) for key in SHAPE_KEYS} | {
        "name": EMBEDDED if path.parent.resolve() == EMBEDDED_FOLDER else path.parent.resolve().name or "model",
        "num_key_value_heads": heads if text.get("num_key_value_heads") is None else text["num_key_value_heads"],
        "head_dim": _head_dim(text),
        "tie_word_embeddings": _tied(config, text),
        "max_position_embeddings": text.get("max_position_embeddings", 2048),
        "source": "its config.json",
    }
    if not faults:
        try:
            shape = ModelShape.model_validate(values, strict=True)
            if shape.num_attention_heads % shape.num_key_value_heads == 0:
                return shape
            faults = ["num_attention_heads must be a multiple of num_key_value_heads"]
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
    raise InvalidInput(f"{path} does not describe a model that can be adapted.", faults)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES + 1)
        if len(data) > CONFIG_BYTES:
            raise InvalidInput(f"{path} is larger than {CONFIG_BYTES >> 10} KiB, so it is no config.json.")
        config = json.loads(data)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):  # broken UTF-8, broken JSON, numbers of thousands of digits, deep nesting
        raise InvalidInput(f"{path} is not valid JSON; fetch it again.") from None
    if not isinstance(config, dict):
        raise InvalidInput(f"{path} must hold an object.")
    return config


def _head_dim(text: dict[str, Any]) -> Any:
    hidden, heads = text.get("hidden_size"), text.get("num_attention_heads")
    if text.get("head_dim") is None and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        return hidden // heads
    return text.get("head_dim")


def _tied(config: dict[str, Any], text: dict[str, Any]) -> Any:
    """Gemma's files leave out that the head is tied; for others the absence means untied, or at worst more memory."""
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return str(text.get("model_type", "")).startswith("gemma") if tied is None else tied
