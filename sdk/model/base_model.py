"""Which base model is meant, is everything there, and what is its digest. Reads files; loads no weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdk.data.base_folder import BASE_PATTERNS, CARD, INDEX, Base, BaseFolder, PinnedBase, locate_base, parse_object
from sdk.data.tensor_headers import read_header
from sdk.decoders import not_decoder_fault
from sdk.errors import InvalidInput, StepFailed
from sdk.stored_formats import stored_format, stored_format_fault

_SHARD = re.compile(r"[^/\\]+\.safetensors")
_PLAIN = {"F64", "F32", "F16", "BF16", "I64", "BOOL"}  # the last two: positions and masks
SINGLE = "model.safetensors"
# Settings of config.json that may name a repository of kernels, which are code, beside transformers' own ways.
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def _fetch(name: str) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=[*BASE_PATTERNS, CARD]))
    except HFValidationError:
        raise InvalidInput(f"Base {name} is neither a folder nor a name that the hub could have.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise StepFailed(
            f"Base {name} could not be fetched from the hub ({type(error).__name__}); check the name, the network and "
            "your access, or name a local folder."
        ) from error


def resolve_base(base: Base) -> Path | str:
    """Return the folder of a base model, checked, or the hub name of one that has to be fetched.

    Raises InvalidInput with every fault of the folder.
    """
    located = locate_base(base)
    if isinstance(located, Path):
        check_base(located)
    return located


def fetch_base(base: Base) -> Path:
    """Return the folder of a base model; a hub name is downloaded first (weights, config, tokenizer, template only)."""
    resolved = resolve_base(base)
    if isinstance(resolved, Path):
        return resolved
    folder = _fetch(resolved)
    check_base(folder)
    return folder


_kept: dict[Base, BaseFolder] = {}


@contextmanager
def keep_base_open(base: Base) -> Iterator[None]:
    """Give everybody who opens this base meanwhile the same open files, so that they are hashed once."""
    with open_base(base) as opened:
        _kept[base] = opened
        try:
            yield
        finally:
            del _kept[base]


@contextmanager
def open_base(base: Base, needs_template: bool = True) -> Iterator[BaseFolder]:
    """Open a base's files, each once: what is loaded from them are the bytes that were checked.

    needs_template: whether a base without a chat template, of its own or named with its digest, is a fault.
    Raises InvalidInput with every fault of the folder, Tampered where a pinned base is another one.
    """
    if base in _kept:
        yield _kept[base]
        return
    located = locate_base(base)
    with BaseFolder(located if isinstance(located, Path) else _fetch(located)) as opened:
        if isinstance(base, PinnedBase):
            opened.template = base.template
        _require_base(opened, needs_template and opened.template is None)
        if isinstance(base, PinnedBase):
            opened.require(base.digest)
        _require_known_format(opened)
        yield opened


def pin_base(base: Base) -> PinnedBase:
    """Return the base with its digest, of what lies there now unless it has one already."""
    if isinstance(base, PinnedBase):
        return base
    with open_base(base) as opened:
        return PinnedBase(base, opened.digest())


def base_digest(folder: Path) -> str:
    """Return the digest of a base's folder, as BaseFolder.digest() says."""
    with BaseFolder(folder) as opened:
        return opened.digest()


def check_base(folder: Path) -> None:
    """Raise InvalidInput with everything that keeps the folder from being a base model."""
    with BaseFolder(folder) as opened:
        _require_base(opened)


def _require_base(opened: BaseFolder, needs_template: bool = True) -> None:
    faults = [*_config_faults(opened), *_weight_faults(opened), *_tokenizer_faults(opened), *opened.faults]
    if needs_template and not has_template(opened):
        faults.append(
            "there is no chat template; make a project with one by name (`sdk init --template`), or use the model's "
            "instruct version"
        )
    if faults:
        raise InvalidInput(f"{opened.path} cannot be used as a base model.", faults)


def read_json(opened: BaseFolder, name: str, faults: list[str]) -> Mapping[str, Any]:
    """Return a JSON object of the base, empty where it is none; why is added to the faults."""
    return parse_object(name, opened.small[name], faults)


def shards(opened: BaseFolder) -> list[str]:
    """Return the files that hold the weights of a checked base, in transformers' order."""
    if INDEX not in opened.small:
        return [SINGLE]
    return sorted(set(read_json(opened, INDEX, [])["weight_map"].values()))


def _own_code_fault(name: str) -> str:
    return (
        f"{name} asks for code of its own (auto_map), which is never run; use a model that transformers supports itself"
    )


def _config_faults(opened: BaseFolder) -> list[str]:
    faults: list[str] = []
    if "config.json" not in opened.small:
        if (opened.path / "adapter_config.json").is_file():
            return ["this is an adapter, not a base; name the folder of the model that it was trained on"]
        return ["config.json is missing; name the folder that holds it (in a hub cache: snapshots/<revision>)"]
    config = read_json(opened, "config.json", faults)
    if faults:
        return faults
    if "auto_map" in config:
        faults.append(_own_code_fault("config.json"))
    kind = not_decoder_fault(config)
    faults += [fault for fault in (kind, stored_format_fault(config)) if fault is not None]
    faults += [
        f"config.json: {name} names code of a repository; leave it out"
        for part in (config, *(value for value in config.values() if isinstance(value, dict)))
        for name in _KERNELS
        if "/" in str(part.get(name, ""))
    ]
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    known = {causal} if isinstance(causal, str) else set(causal or ())
    architectures = config.get("architectures") or []
    if kind is not None:
        return faults
    if causal is None and "auto_map" not in config:
        faults.append("config.json: its model_type is not a causal language model that transformers knows")
    elif causal is not None and architectures and not known & set(architectures):
        faults.append(f"config.json: {', '.join(map(str, architectures))} is not a causal language model")
    return faults


def _weight_faults(opened: BaseFolder) -> list[str]:
    faults: list[str] = []
    if INDEX not in opened.small:
        pickled = any("weights are pickles" in fault for fault in opened.faults)
        return [] if SINGLE in opened.weights or pickled else [f"{SINGLE} is missing"]
    if SINGLE in opened.weights:
        faults.append(f"there are both {SINGLE} and {INDEX}, and libraries differ in which they read; take one away")
    listed = read_json(opened, INDEX, faults).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        return [*faults, f"{INDEX} has no weight_map; fetch it again"]
    for name in sorted(set(map(str, listed.values()))):
        if not _SHARD.fullmatch(name):
            faults.append(f"{INDEX} names {name!r}, which is no file of this folder that ends in .safetensors")
        elif name not in opened.weights:
            faults.append(f"{name} is missing although {INDEX} lists it; fetch it again")
    return faults


def _require_known_format(opened: BaseFolder) -> None:
    """Raise InvalidInput where a file of weights is none, or one is quantized and config.json does not say how."""
    quantized = stored_format(read_json(opened, "config.json", [])) is not None
    for name in shards(opened):
        try:
            entries = read_header(opened.weights[name])
        except ValueError as error:
            raise InvalidInput(f"{opened.path}: its weights are damaged ({name}); fetch them again.") from error
        strange = next((tensor for tensor, entry in entries.items() if entry.kind not in _PLAIN), None)
        if strange is not None and not quantized:
            raise InvalidInput(
                f"{opened.path}: {strange[:200]!r} in {name} is stored as {entries[strange].kind}, and config.json has "
                "no quantization_config that says what its numbers mean; take the release of this model in 16 bits."
            )


def _tokenizer_faults(opened: BaseFolder) -> list[str]:
    faults: list[str] = []
    if "tokenizer.json" not in opened.small:
        faults.append("tokenizer.json is missing; save the tokenizer with AutoTokenizer…save_pretrained")
    name = "tokenizer_config.json"
    config = read_json(opened, name, faults) if name in opened.small else {}
    if "auto_map" in config:
        faults.append(_own_code_fault(name))
    return faults


def has_template(opened: BaseFolder) -> bool:
    """Tell whether a base has a chat template of its own."""
    name = "tokenizer_config.json"
    config = read_json(opened, name, []) if name in opened.small else {}
    return bool(config.get("chat_template")) or any(name.startswith("chat_template.") for name in opened.small)
