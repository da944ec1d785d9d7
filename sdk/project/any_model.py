"""Advice on any model for any machine. No project is needed and nothing is recorded.

Reading rows brings Arrow, the hub its client, and either takes longer than all the rest of an answer: each is imported
where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk.advise import advise, find_model
from sdk.errors import InvalidInput
from sdk.hardware import detect_hardware
from sdk.records import Advice, Hardware, ModelShape, Needs, OnProgress
from sdk.store import EMBEDDED, embedded_base

_NO_PROMPT = ""  # a system prompt is the domain's, and without a project there is none


def advise_for_model(
    model: str,
    hardware: Hardware | None,
    needs: Mapping[str, Any],
    *,
    hub: bool = False,
    data: Path | None = None,
    on_progress: OnProgress,
) -> Advice:
    """Pick method and settings for a model that need not be here.

    model: a catalogue name, a folder, a config.json or, with hub, a name on the hub. hardware: None: this machine.
    needs: fields of Needs; None: not stated. data: rows that the needs are completed by. Raises InvalidInput, which
    names the rows that are too long where their tokens are known, and StepFailed where the hub cannot be asked.
    """
    shape = _fetch_shape(model) if hub else find_model(model)
    hardware = hardware or detect_hardware()
    stated = {name: value for name, value in needs.items() if value is not None}
    if data is not None:
        stated |= _needs_of_rows(data, model, shape, stated.get("max_length"), on_progress)
    return advise(shape, hardware, Needs(**stated))


def _fetch_shape(model: str) -> ModelShape:
    from sdk.advise.hub import fetch_shape

    return fetch_shape(model)


def _needs_of_rows(
    data: Path, model: str, shape: ModelShape, max_length: int | None, on_progress: OnProgress
) -> dict[str, Any]:
    """Measure the rows: the needs that follow from them."""
    from sdk.data import read_rows
    from sdk.data.lengths import count_tokens, measure_lengths

    rows, base = read_rows(data).rows, _tokenizer_folder(model)
    lengths = measure_lengths(rows, base, _NO_PROMPT, on_progress)
    limit = max_length or shape.max_position_embeddings
    if lengths.exact and lengths.longest[0] > limit:
        counted = zip(rows, count_tokens(rows, base, _NO_PROMPT), strict=True)
        raise InvalidInput(
            f"{data} has rows longer than "
            + (f"--seq {limit}; make it {lengths.longest[0]}" if max_length else f"the {limit} tokens of {shape.name}")
            + ", or shorten or remove these rows.",
            [f"id {row.id}: {tokens} tokens" for row, tokens in counted if tokens > limit],
        )
    return {"lengths": lengths, "rows": lengths.rows, "max_length": max_length or min(lengths.longest[0], limit)}


def _tokenizer_folder(model: str) -> Path | None:
    """Return where the model's tokenizer lies, if the model was not given by a name of the catalogue or the hub."""
    if model == EMBEDDED:
        return embedded_base()
    path = Path(model).expanduser()
    folder = path.parent if path.is_file() else path
    return folder if folder.is_dir() else None
