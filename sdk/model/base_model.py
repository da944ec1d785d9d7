"""Which base model is meant, is everything there, and what is its digest. Reads files; loads no weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdk.errors import InvalidInput, StepFailed
from sdk.records import canonical_json, sha256
from sdk.store import EMBEDDED, embedded_base

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TRUE = {"1", "true", "yes", "on"}
# What a base consists of: everything that decides what the model computes from a text.
BASE_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.*",
)


def resolve_base(base: str) -> Path | str:
    """Return the folder of a base model, checked, or the hub name of one that has to be fetched.

    base: "embedded", a folder in Hugging Face's format, or, where HF_HUB_OFFLINE is not set, a name on the hub.
    Raises InvalidInput with every fault of the folder.
    """
    if base == EMBEDDED:
        folder = embedded_base()
        check_base(folder)
        return folder
    path = Path(base).expanduser()
    if path.is_dir():
        check_base(path)
        return path
    if path.exists():
        raise InvalidInput(f"Base {base} is a file; name the folder that holds config.json and the weights.")
    if not _HUB_NAME.fullmatch(base):
        raise InvalidInput(f"Base {base} does not exist; name '{EMBEDDED}', a folder or a model on the hub.")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE | {"y", "t"}:
        raise InvalidInput(
            f"Base {base} is no folder here, and HF_HUB_OFFLINE forbids fetching it; "
            f"download it elsewhere (`hf download {base} --local-dir FOLDER`) and name the folder."
        )
    return base


def fetch_base(base: str) -> Path:
    """Return the folder of a base model; a hub name is downloaded first (weights, config, tokenizer, template only)."""
    resolved = resolve_base(base)
    if isinstance(resolved, Path):
        return resolved
    try:
        folder = Path(huggingface_hub.snapshot_download(resolved, allow_patterns=list(BASE_PATTERNS)))
    except HFValidationError:
        raise InvalidInput(f"Base {base} is neither a folder nor a name that the hub could have.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise StepFailed(
            f"Base {base} could not be fetched from the hub ({type(error).__name__}); check the name, the network and "
            "your access, or name a local folder."
        ) from error
    check_base(folder)
    return folder


def base_name(base: str) -> str:
    """Return the name that records and adapters carry: never a path."""
    path = Path(base).expanduser()
    return path.resolve().name if base != EMBEDDED and path.is_dir() else base


def base_files(folder: Path) -> list[Path]:
    """Return the files that decide what the model computes, in the order of their names."""
    found = {path for pattern in BASE_PATTERNS for path in folder.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.name)


def base_digest(folder: Path) -> str:
    """Return the SHA-256 over canonical JSON of [name, size, SHA-256] of each file that base_files() names."""
    listed = []
    for path in base_files(folder):
        with path.open("rb") as file:
            listed.append([path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()])
    if not listed:
        raise InvalidInput(f"{folder} holds no file of a model.")
    return sha256(canonical_json(listed))


def check_base(folder: Path) -> None:
    """Raise InvalidInput with everything that keeps the folder from being a base model."""
    faults = [*_config_faults(folder), *_weight_faults(folder), *_tokenizer_faults(folder)]
    if faults:
        raise InvalidInput(f"{folder} cannot be used as a base model.", faults)


def _read_json(path: Path, faults: list[str]) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        faults.append(f"{path.name} is not valid JSON ({type(error).__name__}); fetch it again")
        return {}
    if not isinstance(value, dict):
        faults.append(f"{path.name} is not a JSON object; fetch it again")
        return {}
    return value


def _own_code_fault(name: str) -> str:
    return (
        f"{name} asks for code of its own (auto_map), which is never run; use a model that transformers supports itself"
    )


def _config_faults(folder: Path) -> list[str]:
    faults: list[str] = []
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            return ["this is an adapter, not a base; name the folder of the model that it was trained on"]
        return ["config.json is missing; name the folder that holds it (in a hub cache: snapshots/<revision>)"]
    config = _read_json(folder / "config.json", faults)
    if faults:
        return faults
    if "auto_map" in config:
        faults.append(_own_code_fault("config.json"))
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    known = {causal} if isinstance(causal, str) else set(causal or ())
    architectures = config.get("architectures") or []
    if causal is None and "auto_map" not in config:
        faults.append("config.json: its model_type is not a causal language model that transformers knows")
    elif causal is not None and architectures and not known & set(architectures):
        faults.append(f"config.json: {', '.join(map(str, architectures))} is not a causal language model")
    return faults


def _weight_faults(folder: Path) -> list[str]:
    faults: list[str] = []
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _read_json(index, faults).get("weight_map")
        if not isinstance(shards, dict):
            return [*faults, f"{index.name} has no weight_map; fetch it again"]
        missing = sorted({str(shard) for shard in shards.values() if not (folder / str(shard)).is_file()})
        return [f"{name} is missing although {index.name} lists it; fetch it again" for name in missing]
    if (folder / "model.safetensors").is_file():
        return faults
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        return ["its weights are pickles, which can run code; convert them to safetensors (save_pretrained does) first"]
    return ["model.safetensors is missing"]


def _tokenizer_faults(folder: Path) -> list[str]:
    faults: list[str] = []
    if not (folder / "tokenizer.json").is_file():
        faults.append("tokenizer.json is missing; save the tokenizer with AutoTokenizer…save_pretrained")
    path = folder / "tokenizer_config.json"
    config = _read_json(path, faults) if path.is_file() else {}
    if "auto_map" in config:
        faults.append(_own_code_fault(path.name))
    if not config.get("chat_template") and not any(folder.glob("chat_template.*")):
        faults.append(
            "there is no chat template; use the model's instruct version, or write chat_template.jinja beside it"
        )
    return faults
