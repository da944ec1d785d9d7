"""The export step: an admitted package becomes files that an engine loads, and these are asked what it was asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sdk.data import Row
from sdk.data.base_folder import BaseFolder
from sdk.data.measures import Measures
from sdk.export.convert import convert_adapter, convert_model, converter_versions, find_converter, xllamacpp_version
from sdk.export.engines import (
    Engine,
    InLlama,
    InTransformers,
    context_for,
    load_adapter,
    load_merged,
)
from sdk.export.export_settings import ExportSettings
from sdk.export.matrices import as_plain_lora, changes_of
from sdk.export.merge import MergedWeights, write_merged
from sdk.export.modelfile import write_modelfile
from sdk.export.parity import ask_engine, certify, what_to_ask
from sdk.export.target import wipe_folder
from sdk.export.weight_files import write_new
from sdk.files.regular_files import CONFIG_BYTES, read_regular
from sdk.likeness import check_behaviour
from sdk.model.adapted import AdaptedModel
from sdk.model.chat import Chat
from sdk.records import Behaviour, Metric, OnProgress, Parity, Quantization, canonical_json

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
GGUF, GGUF_ADAPTER, MODELFILE = "model.gguf", "adapter.gguf", "Modelfile"
_WORK = "work"  # folder inside of the exported one, gone before anything is signed


@dataclass(frozen=True)
class Source:
    """What was admitted: an opened base, how it is quantized, the adapter, and the package's tokenizer files."""

    base: BaseFolder
    quantization: Quantization
    config: Mapping[str, Any]
    weights: bytearray
    tokenizer: Sequence[Path]
    prompt: str
    max_new_tokens: int
    behaviour: Behaviour | None  # None: the package is older than such seals


@dataclass
class Written:
    """What was written, and what is needed besides to try it."""

    weight_type: str
    tools: dict[str, str]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def write_form(source: Source, settings: ExportSettings, out: Path, on_progress: OnProgress) -> Written:
    """Write the files of the form to the folder `out`, which is empty.

    Raises InvalidInput where this adapter cannot have that form, StepFailed where the converter or the disk fails.
    """
    tools = {name: version(name) for name in ("torch", "transformers", "peft", "safetensors")}
    if settings.format == "peft":
        _write_adapter(source, out, canonical_json(dict(source.config)), bytes(source.weights))
        return Written("f32", tools)
    merged = out if settings.format == "merged" else _folder(out / _WORK / "model")
    changes = {} if settings.format == "gguf-lora" else changes_of(source.config, source.weights)
    plain = as_plain_lora(source.config, source.weights) if settings.format == "gguf-lora" else None
    weights = MergedWeights(source.base, source.quantization, changes, settings.onto, settings.cast)
    kind = write_merged(source.base, weights, merged, on_progress)
    if settings.format == "merged":
        return Written(kind, tools)
    converter = find_converter(settings.converter)
    tools |= {"xllamacpp": xllamacpp_version(), **converter_versions(converter)}
    on_progress("convert", 0, None, {})
    if plain is not None:
        adapter = _folder(out / _WORK / "adapter")
        _write_adapter(source, adapter, *plain)
        convert_adapter(converter, adapter, merged, out / GGUF_ADAPTER)
        convert_model(converter, merged, out / _WORK / GGUF, settings.gguf_dtype)
        wipe_folder(adapter)
        wipe_folder(merged)
        return Written("f32", tools, [f"measured on the base as {settings.gguf_dtype} GGUF"])
    convert_model(converter, merged, out / GGUF, settings.gguf_dtype)
    wipe_folder(merged)
    return Written(settings.gguf_dtype, tools)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, mode=0o700)
    return path


def _write_adapter(source: Source, out: Path, config: bytes, weights: bytes) -> None:
    write_new(out / ADAPTER_CONFIG, config)
    write_new(out / ADAPTER_WEIGHTS, weights)
    for path in source.tokenizer:
        write_new(out / path.name, read_regular(path, 8 * CONFIG_BYTES))


@contextmanager
def open_engine(
    source: Source, settings: ExportSettings, out: Path, chat: Chat, context: int, on_progress: OnProgress
) -> Iterator[Engine]:
    """Load what was written, in the engine that will serve it."""
    if settings.format == "peft":
        yield load_adapter(out, source.base, source.quantization, on_progress)
    elif settings.format == "merged":
        yield load_merged(out, on_progress)
    else:
        lora = settings.format == "gguf-lora"
        model = out / _WORK / GGUF if lora else out / GGUF
        with InLlama(model, out / GGUF_ADAPTER if lora else None, chat, context, on_progress) as engine:
            yield engine


def export_files(
    source: Source,
    settings: ExportSettings,
    out: Path,
    load_approved: Callable[[], AdaptedModel],
    held: tuple[Sequence[Row], Measures, Metric],
    on_progress: OnProgress,
) -> tuple[Written, Parity]:
    """Write the files of a form to the empty folder `out`, and ask them and the approved model the same.

    load_approved: the un-merged model, which is gone again before the files are loaded; held: the domain's questions or
    held-out texts, and what answers are judged by. Raises InvalidInput where this adapter cannot have that form,
    Refused where its tokenizer or chat template is another one, StepFailed where converter, engine or disk fail.
    """
    began = time.monotonic()
    written = write_form(source, settings, out, on_progress)
    written.seconds = time.monotonic() - began
    began = time.monotonic()
    approved = load_approved()
    chat, room = Chat(approved.tokenizer), getattr(approved.model.config, "max_position_embeddings", None)
    rows, measures, metric = held
    asked = what_to_ask(rows, chat, source.prompt, source.max_new_tokens, room)
    before = ask_engine(InTransformers(approved.model, chat, on_progress), asked)
    del approved
    probes = source.behaviour.prompts() if source.behaviour else []
    context = context_for([*asked.rows, *probes], asked.tokens, room)
    with open_engine(source, settings, out, chat, context, on_progress) as engine:
        after = ask_engine(engine, asked)
        check = None
        if source.behaviour is not None:
            check = check_behaviour(
                source.behaviour, engine.behave(source.behaviour), _bits(settings, written, source.behaviour)
            )
        parity = certify(engine.name, asked, before, after, (measures, metric), check, began)
    if (out / _WORK).exists():
        wipe_folder(out / _WORK)
    if settings.format == "gguf":
        _add_modelfile(source, out, chat, written)
    return written, parity


def _bits(settings: ExportSettings, written: Written, behaviour: Behaviour) -> int:
    """Return the bits of the most coarsely rounded weights of those written and those sealed; 16 for the same ones.

    bfloat16 has eight significant bits, and what an adapter changes falls below the last of them, as in q8_0.
    """
    kind = settings.gguf_dtype if settings.format == "gguf-lora" else written.weight_type
    bits = 8 if kind == "q8_0" or ("bf16" in kind and settings.format != "gguf-lora") else 16
    same = settings.format == "peft" or settings.onto == "trained-base"
    return bits if same and bits == 16 else min(bits, behaviour.bits)


def _add_modelfile(source: Source, out: Path, chat: Chat, written: Written) -> None:
    text = write_modelfile(chat, source.prompt, source.max_new_tokens, GGUF)
    if text is None:
        written.notes.append("no Modelfile: Ollama's template language cannot say this chat template")
    else:
        write_new(out / MODELFILE, text.encode())
